//! What a conversation knows of its server's pins: which definitions the client was shown,
//! and how far a listing has come.

use std::collections::HashMap;
use std::sync::Arc;

use sealwire_guard::{Definition, Page, PinHash, PinKind, Pins, Shown};
use sealwire_names::{Refusal, RefusalCode, Timestamp};

use crate::message::{Asked, ListKind, Listing};

/// Most definitions of one server's that differ, and are remembered in one conversation.
const MAX_DEVIANT: usize = 4_096;
/// Longest cursor by which pages are joined, in bytes.
const MAX_CURSOR: usize = 4_096;

/// What the audit is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    Pinned { kind: PinKind, definitions: usize },
    Blocked { kind: PinKind, name: String, refusal: Refusal },
    Restored { kind: PinKind, name: String },
}

/// Compares definitions with a server's pins, if there are any to compare with.
#[derive(Default)]
pub(crate) struct Pinning {
    pins: Option<Arc<dyn Pins>>,
    /// The cursor of the page with which the listing goes on that was begun last.
    next: HashMap<PinKind, Box<str>>,
    /// What this conversation's server shows, where it is not what is approved.
    deviant: HashMap<(PinKind, Box<str>), PinHash>,
}

impl Pinning {
    pub(crate) fn new(pins: Option<Arc<dyn Pins>>) -> Self {
        Self { pins, ..Self::default() }
    }

    /// Whether the result of `method` holds instructions that are to be compared.
    #[inline]
    pub(crate) fn opens(&self, method: &str) -> bool {
        self.pins.is_some() && matches!(method, "initialize" | "server/discover")
    }

    /// Which page of a list that is pinned a request asks for.
    #[inline]
    pub(crate) fn page(&self, method: &str, page: Asked<'_>) -> Asked<'static> {
        if self.pins.is_none() || ListKind::of(method).is_none() {
            return Asked::First;
        }
        match page {
            Asked::First => Asked::First,
            Asked::At(cursor) if cursor.len() <= MAX_CURSOR => {
                Asked::At(cursor.into_owned().into())
            }
            Asked::At(_) | Asked::Unclear => Asked::Unclear,
        }
    }

    /// Whether what `method` uses is as it was approved.
    #[inline]
    pub(crate) fn used(
        &self,
        method: &str,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let (Some(kind), Some(name)) = (PinKind::used_by(method), subject) else { return Ok(()) };
        let seen = match self.deviant.is_empty() {
            true => None,
            false => self.deviant.get(&(kind, name.into())),
        };
        pins.used(kind, name, seen, now)
    }

    /// Which of a list's items may be shown; `None` if all may.
    pub(crate) fn list(
        &mut self,
        kind: ListKind,
        page: &Asked<'_>,
        (listing, message): (&Listing<'_>, &[u8]),
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> Result<Option<Vec<bool>>, Refusal> {
        let Some(kind) = kind.pinned.filter(|_| self.pins.is_some()) else { return Ok(None) };
        let definitions = listing.definitions(message)?;
        let ends = self.turn(kind, page, listing.next.as_deref());
        self.compare(Page { kind, definitions: &definitions, ends }, now, news).map(Some)
    }

    /// Whether the instructions of an opening may be shown.
    pub(crate) fn instructions(
        &mut self,
        (listing, message): (&Listing<'_>, &[u8]),
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> Result<bool, Refusal> {
        let definition = listing.instructions(message)?;
        let definitions = definition.as_slice();
        let page = Page { kind: PinKind::Instructions, definitions, ends: true };
        Ok(!self.compare(page, now, news)?.contains(&false))
    }

    fn compare(
        &mut self,
        page: Page<'_>,
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> Result<Vec<bool>, Refusal> {
        let Some(pins) = &self.pins else { return Ok(vec![true; page.definitions.len()]) };
        let kind = page.kind;
        let (shown, pinned) = pins.shown(page, now)?;
        if pinned > 0 {
            news.push(News::Pinned { kind, definitions: pinned });
        }
        let mut allowed = Vec::with_capacity(shown.len());
        for (shown, Definition { name, hash, .. }) in shown.into_iter().zip(page.definitions) {
            match shown {
                Shown::Passes { restored } => {
                    if !self.deviant.is_empty() {
                        self.deviant.remove(&(kind, name.as_ref().into()));
                    }
                    if restored {
                        news.push(News::Restored { kind, name: name.to_string() });
                    }
                    allowed.push(true);
                }
                Shown::Blocked { refusal, is_news } => {
                    self.deviant.insert((kind, name.as_ref().into()), *hash);
                    if is_news {
                        news.push(News::Blocked { kind, name: name.to_string(), refusal });
                    }
                    allowed.push(false);
                }
            }
        }
        if self.deviant.len() > MAX_DEVIANT {
            // What could not be remembered could be used.
            self.pins = Some(Arc::new(Nothing));
            self.deviant.clear();
        }
        // Whoever implements `Pins` may have answered for fewer.
        allowed.resize(page.definitions.len(), false);
        Ok(allowed)
    }

    /// Notes a page; whether with it a listing ends of which every page was seen.
    fn turn(&mut self, kind: PinKind, page: &Asked<'_>, next: Option<&str>) -> bool {
        let joins = match page {
            Asked::First => true,
            Asked::At(cursor) => self.next.get(&kind).is_some_and(|next| **next == **cursor),
            Asked::Unclear => false,
        };
        if !joins {
            return false;
        }
        match next {
            Some(cursor) if cursor.len() <= MAX_CURSOR => {
                self.next.insert(kind, cursor.into());
                false
            }
            Some(_) => {
                self.next.remove(&kind);
                false
            }
            None => {
                self.next.remove(&kind);
                true
            }
        }
    }
}

/// The pins of a server with which a conversation has lost patience: nothing passes.
struct Nothing;

impl Nothing {
    fn refusal() -> Refusal {
        let reason = format!("the server shows more than {MAX_DEVIANT} definitions not approved");
        Refusal::new(RefusalCode::PinUnapproved, reason)
    }
}

impl Pins for Nothing {
    fn shown(&self, _page: Page<'_>, _now: Timestamp) -> Result<(Vec<Shown>, usize), Refusal> {
        Err(Self::refusal())
    }

    fn used(
        &self,
        _kind: PinKind,
        _name: &str,
        _seen: Option<&PinHash>,
        _now: Timestamp,
    ) -> Result<(), Refusal> {
        Err(Self::refusal())
    }
}

#[cfg(test)]
#[path = "pinning_tests.rs"]
mod tests;
