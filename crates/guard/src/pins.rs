//! Pins: what a server says of its tools, prompts, resource templates and of itself stays as
//! it was approved.
//!
//! A model does what descriptions tell it. A server that was reviewed once can write another
//! one the next day; so each definition is remembered by its hash, and passes only while it
//! is the one that was approved.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sealwire_names::{Refusal, RefusalCode, Timestamp};

/// How long a first listing may take, from its first page to its last. A server whose
/// listing never ends could otherwise add to it for ever.
pub const FIRST_LISTING: Duration = Duration::from_secs(600);

/// What kind of definition is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinKind {
    /// A tool, as `tools/list` shows it.
    Tool,
    /// A prompt, as `prompts/list` shows it.
    Prompt,
    /// A template, as `resources/templates/list` shows it.
    ResourceTemplate,
    /// `instructions` of `initialize` or `server/discover`; its name is empty.
    Instructions,
}

impl PinKind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::Tool, Self::Prompt, Self::ResourceTemplate, Self::Instructions];

    /// The kind as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::ResourceTemplate => "resource_template",
            Self::Instructions => "instructions",
        }
    }

    /// What a method uses by name, if it uses anything that is pinned. Which template a
    /// resource that is read comes from cannot be told.
    #[inline]
    pub fn used_by(method: &str) -> Option<Self> {
        match method {
            "tools/call" => Some(Self::Tool),
            "prompts/get" => Some(Self::Prompt),
            _ => None,
        }
    }
}

impl FromStr for PinKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// How a server's definitions come to be approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinMode {
    /// The first listing is approved as it comes; what differs later needs an operator.
    #[default]
    FirstUse,
    /// An operator approves everything.
    Approved,
    /// Nothing is remembered or compared.
    Off,
}

impl PinMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::FirstUse, Self::Approved, Self::Off];

    /// The mode as it is configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::Approved => "approved",
            Self::Off => "off",
        }
    }
}

/// SHA-256 of a definition's canonical JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PinHash(pub [u8; 32]);

impl fmt::Display for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One definition that a server gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition<'a> {
    /// By which name it is used.
    pub name: std::borrow::Cow<'a, str>,
    /// What it is known by from one listing to the next.
    pub hash: PinHash,
    /// Its canonical JSON.
    pub text: String,
}

/// What one result shows of the definitions of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Of what kind they are.
    pub kind: PinKind,
    /// The definitions, in their order.
    pub definitions: &'a [Definition<'a>],
    /// Whether the listing, of which this may be the last page, has been seen from its
    /// beginning to its end.
    pub ends: bool,
}

/// Whether a definition may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is the approved one.
    Passes {
        /// It differed when it was seen last.
        restored: bool,
    },
    /// It is not.
    Blocked {
        /// Why.
        refusal: Refusal,
        /// It was not known before that the server gives this one.
        is_news: bool,
    },
}

/// The pins of one server, at one end of the wire.
pub trait Pins: Send + Sync {
    /// Which definitions of a page may be shown, in their order. How many have been approved
    /// just now, as the first, is the second value.
    ///
    /// # Errors
    /// [`RefusalCode::PinsUnavailable`] if what is approved is not known; nothing may be shown.
    fn shown(&self, page: Page<'_>, now: Timestamp) -> Result<(Vec<Shown>, usize), Refusal>;

    /// Whether the tool or prompt of that name may be used by a client to which its server
    /// has shown the definition `seen`, if any.
    ///
    /// # Errors
    /// Why not.
    fn used(
        &self,
        kind: PinKind,
        name: &str,
        seen: Option<&PinHash>,
        now: Timestamp,
    ) -> Result<(), Refusal>;
}

/// What is known of one server's definitions.
#[derive(Clone, Debug, Default)]
pub struct Book {
    approved: [HashMap<Box<str>, PinHash>; PinKind::ALL.len()],
    /// What differs from it, as seen last.
    pending: [HashMap<Box<str>, PinHash>; PinKind::ALL.len()],
    /// Since when the first listing runs, or ran; and whether it had its last page.
    first: [Option<(Timestamp, bool)>; PinKind::ALL.len()],
}

/// What a book says about a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the approved one; `true` if it differed when it was seen last.
    Approved(bool),
    /// It is of the first listing, and to be approved.
    First,
    /// It is not approved; `true` if that was known already.
    Blocked(Refusal, bool),
}

impl Book {
    /// Notes what has been approved.
    pub fn approve(&mut self, kind: PinKind, name: &str, hash: PinHash) {
        self.approved[kind as usize].insert(name.into(), hash);
        self.pending[kind as usize].remove(name);
    }

    /// Notes what differs from what has been approved.
    pub fn note_pending(&mut self, kind: PinKind, name: &str, hash: PinHash) {
        self.pending[kind as usize].insert(name.into(), hash);
    }

    /// Notes that a first listing began then, and whether it has ended.
    pub fn note_first(&mut self, kind: PinKind, begun: Timestamp, ended: bool) {
        self.first[kind as usize] = Some((begun, ended));
    }

    /// Whether a first listing of that kind has begun, or anything of it was approved.
    pub fn has_begun(&self, kind: PinKind) -> bool {
        self.first[kind as usize].is_some()
    }

    /// Whether the first listing of that kind is still to come, or under way.
    pub fn is_first(&self, kind: PinKind, now: Timestamp) -> bool {
        match self.first[kind as usize] {
            None => true,
            Some((_, true)) => false,
            Some((begun, false)) => {
                // A clock that was put back counts as one that ran on.
                let since = now.unix_millis().abs_diff(begun.unix_millis());
                Duration::from_millis(since) <= FIRST_LISTING
            }
        }
    }

    /// What holds for each definition of a page.
    pub fn judge_page(&self, mode: PinMode, page: &Page<'_>, now: Timestamp) -> Vec<Standing> {
        let Page { kind, definitions, .. } = *page;
        let judge = |it: &Definition<'_>| self.judge(mode, (kind, &it.name), &it.hash, now);
        let mut standings: Vec<_> = definitions.iter().map(judge).collect();
        let mut first: HashMap<&str, PinHash> = HashMap::new();
        for (definition, standing) in definitions.iter().zip(&mut standings) {
            // What is shown a second time, and differs, is no part of a first listing.
            if *standing == Standing::First {
                let earlier = first.entry(&definition.name).or_insert(definition.hash);
                if *earlier != definition.hash {
                    let code = RefusalCode::PinChanged;
                    let hash = Some(&definition.hash);
                    let refusal = refusal(code, kind, &definition.name, hash);
                    *standing = Standing::Blocked(refusal, false);
                }
            }
        }
        let differ: HashSet<&str> = definitions
            .iter()
            .zip(&standings)
            .filter(|(_, standing)| matches!(standing, Standing::Blocked(..)))
            .map(|(definition, _)| definition.name.as_ref())
            .collect();
        for (definition, standing) in definitions.iter().zip(&mut standings) {
            if let Standing::Approved(restored) = standing {
                *restored &= !differ.contains(definition.name.as_ref());
            }
        }
        standings
    }

    /// What holds for a definition that the server shows.
    fn judge(
        &self,
        mode: PinMode,
        (kind, name): (PinKind, &str),
        hash: &PinHash,
        now: Timestamp,
    ) -> Standing {
        let index = kind as usize;
        let pending = self.pending[index].get(name);
        let code = match self.approved[index].get(name) {
            Some(approved) if approved == hash => return Standing::Approved(pending.is_some()),
            Some(_) => RefusalCode::PinChanged,
            None if mode == PinMode::FirstUse && self.is_first(kind, now) => {
                return Standing::First;
            }
            None => self.missing(kind),
        };
        let is_known = pending == Some(hash);
        Standing::Blocked(refusal(code, kind, name, Some(hash)), is_known)
    }

    /// What is said of something that is not approved: where others of its kind were, it is an
    /// addition, and else the server is new.
    fn missing(&self, kind: PinKind) -> RefusalCode {
        if self.has_begun(kind) { RefusalCode::PinAdded } else { RefusalCode::PinUnapproved }
    }

    /// Whether what has that name may be used by a client that was shown `seen`.
    ///
    /// # Errors
    /// Why not.
    pub fn used(
        &self,
        mode: PinMode,
        (kind, name): (PinKind, &str),
        seen: Option<&PinHash>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let index = kind as usize;
        let pending = self.pending[index].get(name);
        match (self.approved[index].get(name), seen) {
            (Some(approved), Some(seen)) if approved == seen => Ok(()),
            (Some(_), Some(seen)) => Err(refusal(RefusalCode::PinChanged, kind, name, Some(seen))),
            (Some(_), None) if pending.is_none() => Ok(()),
            (Some(_), None) => Err(refusal(RefusalCode::PinChanged, kind, name, pending)),
            (None, None) if mode == PinMode::FirstUse && self.is_first(kind, now) => Ok(()),
            (None, _) => Err(refusal(self.missing(kind), kind, name, seen.or(pending))),
        }
    }
}

fn refusal(code: RefusalCode, kind: PinKind, name: &str, hash: Option<&PinHash>) -> Refusal {
    let what = match kind {
        PinKind::Instructions => "the server's instructions".to_owned(),
        _ => format!("the definition of {} {name:?}", kind.as_str()),
    };
    let why = match code {
        RefusalCode::PinChanged => "is not the one that was approved",
        RefusalCode::PinAdded => "was not among those that were approved",
        _ => "has not been approved",
    };
    let hash = hash.map(|hash| format!(" (SHA-256 {hash})")).unwrap_or_default();
    Refusal::new(code, format!("{what}{hash} {why}; see `sealwire pins diff`"))
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
