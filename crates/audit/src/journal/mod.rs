//! The sink that keeps evidence: [`Journal`].
//!
//! An event becomes a line in memory, or part of one, under one short lock. With `fsync` a thread
//! writes what has gathered and waits for the disk, and while it waits more gathers: one wait is
//! good for all of it. With `interval`, and for what tells only how something ended, whoever is
//! about to let a message go writes what has gathered, without waiting for the disk, and a thread
//! syncs it within a second; there, that a request was allowed waits for its outcome, a second at
//! most, to be one entry with it. Another thread hashes what is written, and signs it each second.
//!
//! What cannot be written is not lost: it stays in memory, is tried again, and meanwhile nothing
//! more is taken, so that nothing more is allowed.

#[cfg(test)]
mod power_tests;
mod shared;
mod syncing;
#[cfg(test)]
mod tests;
mod threads;
mod upkeep;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use sealwire_names::{Refusal, Timestamp};

use self::shared::{Shared, lock};
use crate::call::{CallDraft, micros};
use crate::day::Day;
use crate::entry::{self, Body, Class};
use crate::note::{Checkpoint, Signer};
use crate::recovery::{self, OpenError, Torn};
use crate::text::{NotCanonical, parse_body};
use crate::{AuditSink, CallResult, Event, MAX_LINE, Message, Position, body_of};

/// What is always kept free of a line for its number and time.
const HEAD: usize = 64;

thread_local! {
    /// Where what is said of calls is put together before the lock is taken.
    static DECISION: RefCell<CallDraft> = RefCell::default();
    static OUTCOME: RefCell<CallDraft> = RefCell::default();
}

/// When what an entry allows may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: a power cut loses nothing that was let through. What was denied, and
    /// how a call ended, is told when the system has it, and on the disk within a second.
    Fsync,
    /// When the system has it; that a request was allowed, before its answer leaves or within a
    /// second. A process that is killed loses no request that was answered, and of those that were
    /// not at most what was let through in the last second; a power cut, all of that second.
    Interval,
}

/// What of a log can be changed while it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether calls that are allowed, and their outcomes, are recorded.
    pub calls: bool,
    /// Whether messages between agents are recorded.
    pub messages: bool,
    /// Whether connections, refusals, incidents and changes are recorded.
    pub security: bool,
    /// Days that are kept.
    pub retention_days: u32,
    /// Bytes of lines beyond which nothing more is recorded.
    pub max_total_size: Option<u64>,
}

impl Rules {
    fn include(&self, class: Class) -> bool {
        match class {
            Class::Call => self.calls,
            Class::Message => self.messages,
            Class::Security => self.security,
        }
    }
}

/// A log, and how it is to be written.
#[derive(Debug)]
pub struct Settings {
    /// Where it is.
    pub directory: PathBuf,
    /// Who signs it.
    pub signer: Signer,
    /// When an entry is as good as written.
    pub durability: Durability,
    /// What is recorded, and how long it is kept.
    pub rules: Rules,
}

/// What there is to tell of a log.
#[derive(Clone, Debug)]
pub struct Status {
    /// Entries, with those that were pruned.
    pub entries: u64,
    /// The first that is kept.
    pub first: u64,
    /// Bytes of lines.
    pub bytes: u64,
    /// Bytes of lines beyond which nothing more is recorded.
    pub most_bytes: Option<u64>,
    /// Whether there will soon be no room for it.
    pub is_nearly_full: bool,
    /// The latest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// When that was signed, if it was by this process.
    pub signed: Option<Timestamp>,
    /// Why nothing can be recorded, if so.
    pub trouble: Option<String>,
}

/// Writes the log of one directory, and keeps others from it.
pub struct Journal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the log, or begins it. What of its end is torn, or stands after a hole that a power cut
    /// has left, is cut off, and an entry says so.
    ///
    /// Nothing runs yet: what is recorded is written when it is waited for, or by
    /// [`Journal::flush`].
    ///
    /// # Errors
    /// If another process has it, it cannot be used, or it is not what was signed of it.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let Settings { directory, signer, durability, rules } = settings;
        let opened = recovery::open(&directory, signer)?;
        let (torn, restored) = (opened.torn.clone(), opened.restored);
        let shared = Arc::new(Shared::new(directory, opened, durability, rules));
        let this = Self { shared, threads: Mutex::default() };
        if restored > 0 {
            tracing::warn!(bytes = restored, "the end of the audit log was lost, and is put back");
        }
        if let Some(torn) = &torn {
            let Torn { bytes, entries, .. } = *torn;
            match entries {
                0 => tracing::warn!(
                    bytes,
                    "the end of the audit log was torn; what was no entry is cut off"
                ),
                _ => tracing::warn!(
                    bytes,
                    entries,
                    "the end of the audit log has a hole: what stands after it had not reached the \
                     disk for certain, and is cut off"
                ),
            }
        }
        if restored > 0 || torn.is_some() {
            this.shared.own("log.recovered", |body| {
                if restored > 0 {
                    body.number("restored_bytes", restored);
                }
                if let Some(torn) = &torn {
                    body.number("cut_bytes", torn.bytes).hex("sha256", &torn.sha256);
                    if torn.entries > 0 {
                        body.number("cut_entries", torn.entries);
                    }
                }
            });
        }
        Ok(this)
    }

    /// Writes and signs from now on by threads of its own, until [`Journal::close`], and records
    /// that it began. `version` is that of the program.
    ///
    /// # Errors
    /// If a thread cannot be started, or the first entry cannot be written.
    pub fn start(&self, version: &str) -> io::Result<()> {
        let durability = match self.shared.durability {
            Durability::Fsync => "fsync",
            Durability::Interval => "interval",
        };
        self.shared.own("log.start", |body| {
            body.text("version", version).text("durability", durability);
        });
        self.shared.flush()?;
        self.shared.prune_old()?;
        let mut threads = lock(&self.threads);
        threads.extend(threads::start(&self.shared)?);
        self.shared.is_running.store(true, Release);
        Ok(())
    }

    /// Records what another process wants to be recorded: what follows the time in a line.
    ///
    /// # Errors
    /// `InvalidData` if it is not an entry that a command may make; else as
    /// [`AuditSink::record`].
    pub fn append(&self, body: &[u8]) -> io::Result<Position> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let kind = parse_body(body).map_err(|error: NotCanonical| invalid(error.to_string()))?;
        // What the log says of itself, and of calls, only its writer knows.
        if ["log.", "call.", "connection.", "refusals"].iter().any(|of| kind.starts_with(of)) {
            return Err(invalid(format!("an entry {kind:?} is not a command's to make")));
        }
        if body.len() > MAX_LINE - HEAD {
            return Err(invalid("the entry is too long".to_owned()));
        }
        let class = match kind.strip_prefix("message.") {
            None | Some("not_sent" | "refused") => Class::Security,
            Some(_) => Class::Message,
        };
        let rules = self.shared.rules();
        if !rules.include(class) {
            return Ok(Position::default());
        }
        self.shared.may_record(&rules)?;
        Ok(self.shared.push(body))
    }

    /// Writes, syncs and signs everything that has been recorded.
    ///
    /// # Errors
    /// If something of that fails.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.flush()
    }

    /// The latest checkpoint of everything that has been recorded, signed.
    ///
    /// # Errors
    /// As [`Journal::flush`].
    pub fn checkpoint(&self) -> io::Result<String> {
        self.shared.flush()?;
        let edge = lock(&self.shared.edge);
        // The signature of one text by one key is always the same (RFC 8032).
        Ok(edge.signed().map_or_else(String::new, |signed| edge.signer().checkpoint(&signed)))
    }

    /// Goes by other rules from now on.
    pub fn replace(&self, rules: Rules) {
        *self.shared.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.shared.wake_keeper();
    }

    /// Whether what was recorded last could be written. Costs nothing.
    pub fn is_writable(&self) -> bool {
        !self.shared.is_in_trouble()
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Records that it ends, writes and signs all there is, and takes nothing more. A log that
    /// was never started, or is closed, is left as it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn close(&self) -> io::Result<()> {
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return Ok(());
        }
        self.shared.stop();
        for thread in threads {
            let _panicked = thread.join();
        }
        self.shared.is_running.store(false, Release);
        self.shared.tell_refusals();
        self.shared.own("log.stop", |_| {});
        let flushed = self.shared.flush().and_then(|()| self.shared.calm_down());
        self.shared.is_closed.store(true, Release);
        flushed
    }

    fn record_event(&self, event: &Event<'_>) -> io::Result<Position> {
        let shared = &*self.shared;
        let rules = shared.rules();
        // A call whose decision is recorded has its outcome, whatever the rules are by then.
        let is_of_recorded =
            matches!(event, Event::Outcome { decision, .. } if *decision != Position::default());
        if !rules.include(entry::class(event)) && !is_of_recorded {
            return Ok(Position::default());
        }
        match event {
            // Its call was allowed: that cannot be denied any more. There are no more of them than
            // calls under way, and whoever waits until one is durable is told that it is not.
            Event::Outcome { .. } => shared.is_open()?,
            _ => shared.may_record(&rules)?,
        }
        // Strangers may bring about as many as they like; a client of this machine has no address.
        if let Event::ConnectionRefused {
            address: address @ Some(_), peer: None, refusal, ..
        } = event
        {
            lock(&shared.refusals).count(refusal.code, *address, SystemTime::now().into());
            return Ok(Position::default());
        }
        let position = match *event {
            Event::Decision { message, denied } => {
                DECISION.with_borrow_mut(|draft| self.decided(draft, message, denied))?
            }
            Event::Outcome { message, decision, result, duration } => {
                // That it happened is on the disk.
                self.ended(message, decision, result, duration).outlasting_us()
            }
            _ => shared.push(&body_of(event)),
        };
        Ok(position)
    }

    fn decided(
        &self,
        draft: &mut CallDraft,
        message: &Message<'_>,
        denied: Option<&Refusal>,
    ) -> io::Result<Position> {
        let shared = &*self.shared;
        let is_awaited_by_answer =
            shared.durability == Durability::Interval && message.id.is_some();
        // What a client of this machine does, another process tells, and knows by its entry.
        let may_be_held = is_awaited_by_answer && message.peer.is_some();
        let mut day = None;
        loop {
            let now = message.at.unwrap_or_else(|| SystemTime::now().into());
            let supposed = day.unwrap_or_else(|| Day::of(now));
            let hash = match message.arguments {
                Some(arguments) => Some(shared.keys.hash(supposed, arguments)?),
                None => None,
            };
            draft.decided(message, denied, hash.as_ref());
            let gathering = lock(&shared.gathering);
            let actual = gathering.day_of(now);
            if hash.is_none() || supposed == actual {
                return Ok(match denied {
                    // What is denied does not happen.
                    Some(_) => shared.push_call(gathering, now, draft.body()).outlasting_us(),
                    None if may_be_held => shared.hold(gathering, now, draft.body()),
                    None => {
                        let position = shared.push_call(gathering, now, draft.body());
                        // Written with the outcome, before any answer leaves.
                        if is_awaited_by_answer { position.unawaited() } else { position }
                    }
                });
            }
            // The clock went back over midnight, and the key is that of another day.
            day = Some(actual);
        }
    }

    fn ended(
        &self,
        message: &Message<'_>,
        decision: Position,
        result: CallResult,
        duration: Duration,
    ) -> Position {
        let shared = &*self.shared;
        let mut gathering = lock(&shared.gathering);
        let held = decision.held.map(|number| gathering.end(number, result, micros(duration)));
        let decision = match held {
            Some(Ok((entry, call))) => {
                shared.relieve(gathering);
                return Position::of_call(entry, call);
            }
            Some(Err(recorded)) => {
                recorded.map_or(Position::default(), |(entry, call)| Position::of_call(entry, call))
            }
            None => decision,
        };
        let now = message.at.unwrap_or_else(|| SystemTime::now().into());
        OUTCOME.with_borrow_mut(|draft| {
            draft.ended(message, decision, result, duration);
            shared.push_call(gathering, now, draft.body())
        })
    }
}

impl AuditSink for Journal {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        self.record_event(event)
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_durable(position, cx)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the end of the audit log could not be written");
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorded = self.shared.recorded.load(Relaxed);
        f.debug_struct("Journal").field("recorded", &recorded).finish_non_exhaustive()
    }
}

/// What an entry of the log about itself is made of; for `Shared`.
fn own_body(kind: &str, members: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Body::new(&mut out, kind);
    members(&mut body);
    body.end();
    out
}

/// Loads what another thread stored before it told us.
fn load(of: &std::sync::atomic::AtomicU64) -> u64 {
    of.load(Acquire)
}
