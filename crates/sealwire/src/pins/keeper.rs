//! The pins of one server, as a running relay asks for them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sealwire_guard::{Book, Page, PinHash, PinKind, PinMode, Pins, Shown, Standing};
use sealwire_names::{PeerId, Refusal, RefusalCode, Timestamp};

use super::store::{self, Db, PinError, PinStore};

/// For how long a look at the file is good, in milliseconds.
const FRESH: i64 = 200;

struct Keeper {
    store: Arc<PinStore>,
    server: String,
    mode: PinMode,
    /// What is known, and how often had been written by then.
    held: RwLock<(i64, Book)>,
    /// When the file was looked at last, in milliseconds since 1970.
    looked: AtomicI64,
}

impl PinStore {
    /// The pins of `server`, or `None` if they are off.
    ///
    /// # Errors
    /// If what is approved cannot be read.
    pub fn of(
        self: &Arc<Self>,
        server: &PeerId,
        mode: PinMode,
    ) -> Result<Option<Arc<dyn Pins>>, PinError> {
        if mode == PinMode::Off {
            return Ok(None);
        }
        let server = server.to_string();
        let held = RwLock::new((self.number()?, self.book(&server)?));
        let (store, looked) = (Arc::clone(self), AtomicI64::new(i64::MIN));
        Ok(Some(Arc::new(Keeper { store, server, mode, held, looked })))
    }
}

impl Keeper {
    /// Finds out what others have written since.
    fn look(&self, now: Timestamp) -> Result<(), PinError> {
        let number = self.store.number()?;
        if self.with(|(held, _)| *held) != number {
            self.replace(number, self.store.book(&self.server)?);
        }
        self.looked.store(now.unix_millis(), Ordering::Relaxed);
        Ok(())
    }

    fn with<T>(&self, look: impl FnOnce(&(i64, Book)) -> T) -> T {
        look(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, number: i64, book: Book) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = (number, book);
    }

    /// Whether a page changes anything that is kept.
    fn is_new(&self, book: &Book, standings: &[Standing], page: &Page<'_>, now: Timestamp) -> bool {
        let turns = self.mode == PinMode::FirstUse
            && book.is_first(page.kind, now)
            && (page.ends || !book.has_begun(page.kind));
        turns
            || standings.iter().any(|standing| {
                matches!(
                    standing,
                    Standing::First | Standing::Approved(true) | Standing::Blocked(_, false)
                )
            })
    }

    /// Keeps what a page changes; what is on it is judged once more, by what is known now
    /// that nobody else writes.
    fn keep(&self, db: &Db<'_>, page: &Page<'_>, now: Timestamp) -> rusqlite::Result<Told> {
        let (server, kind) = (self.server.as_str(), page.kind);
        let book = store::book(db, server)?;
        let mut told = Told::default();
        let mut approved = store::room(db, server, false)?;
        let mut pending = store::room(db, server, true)?;
        let standings = book.judge_page(self.mode, page, now);
        for (standing, definition) in standings.into_iter().zip(page.definitions) {
            let bytes = i64::try_from(definition.text.len()).unwrap_or(i64::MAX);
            let take = |room: &mut (i64, i64)| {
                *room = (room.0 - 1, room.1 - bytes);
                room.0 >= 0 && room.1 >= 0
            };
            let name = definition.name.as_ref();
            let standing = match standing {
                Standing::First if !take(&mut approved) => {
                    let reason = "the server defines more than is approved on first use";
                    let refusal = Refusal::new(RefusalCode::PinAdded, reason);
                    Standing::Blocked(refusal, false)
                }
                standing => standing,
            };
            told.shown.push(match standing {
                Standing::Approved(restored) => {
                    if restored {
                        store::restore(db, (server, kind), name)?;
                    }
                    Shown::Passes { restored }
                }
                Standing::First => {
                    let what = (kind, name, definition.hash, definition.text.as_str());
                    store::put(db, server, what, now, false)?;
                    told.first += 1;
                    Shown::Passes { restored: false }
                }
                Standing::Blocked(refusal, is_known) => {
                    let is_news = !is_known && take(&mut pending);
                    if is_news {
                        store::put_pending(db, (server, kind), definition, now)?;
                    }
                    // Beyond the limit it is blocked all the same.
                    told.beyond += usize::from(!is_known && !is_news);
                    Shown::Blocked { refusal, is_news }
                }
            });
        }
        if self.mode == PinMode::FirstUse && book.is_first(kind, now) {
            store::end(db, server, kind, now, page.ends)?;
        }
        Ok(told)
    }
}

/// What becomes of a page.
#[derive(Default)]
struct Told {
    shown: Vec<Shown>,
    first: usize,
    /// How many are blocked without being kept.
    beyond: usize,
}

impl Pins for Keeper {
    fn shown(&self, page: Page<'_>, now: Timestamp) -> Result<(Vec<Shown>, usize), Refusal> {
        self.look(now).map_err(unavailable)?;
        let (standings, is_new) = self.with(|(_, book)| {
            let standings = book.judge_page(self.mode, &page, now);
            let is_new = self.is_new(book, &standings, &page, now);
            (standings, is_new)
        });
        if !is_new {
            let shown = standings.into_iter().map(|standing| match standing {
                Standing::Approved(restored) => Shown::Passes { restored },
                // Neither is possible where nothing is new; what is not approved is blocked.
                Standing::First => Shown::Blocked { refusal: lost(), is_news: false },
                Standing::Blocked(refusal, _) => Shown::Blocked { refusal, is_news: false },
            });
            return Ok((shown.collect(), 0));
        }
        let kept = self.store.write(|db| self.keep(db, &page, now).map(Ok::<_, ()>));
        let Ok(told) = kept.map_err(unavailable)? else { return Err(lost()) };
        if told.beyond > 0 {
            let (server, kind) = (&self.server, page.kind.as_str());
            let definitions = told.beyond;
            tracing::warn!(
                server,
                kind,
                definitions,
                "blocked, and not kept: too many wait for approval"
            );
        }
        self.look(now).map_err(unavailable)?;
        Ok((told.shown, told.first))
    }

    fn used(
        &self,
        kind: PinKind,
        name: &str,
        seen: Option<&PinHash>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let used = || self.with(|(_, book)| book.used(self.mode, (kind, name), seen, now));
        let looked = self.looked.load(Ordering::Relaxed);
        let is_fresh = now.unix_millis().abs_diff(looked) < FRESH.unsigned_abs();
        if is_fresh && used().is_ok() {
            return Ok(());
        }
        // It may just have been approved.
        self.look(now).map_err(unavailable)?;
        used()
    }
}

fn unavailable(error: PinError) -> Refusal {
    Refusal::new(RefusalCode::PinsUnavailable, error.to_string())
}

fn lost() -> Refusal {
    Refusal::new(RefusalCode::PinsUnavailable, "what is approved could not be kept")
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
