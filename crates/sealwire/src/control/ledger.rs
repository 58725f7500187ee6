//! The log of what happens between a client of this machine and a server that its `connect` has
//! started.
//!
//! Several may run, and a `serve` as well, and the log has one writer at a time. A thread takes
//! what has gathered, and hands it to the `serve` that runs; if none does, it has the log for so
//! long as that takes. Nothing leaves, in either direction, before what is recorded about it is
//! there.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use sealwire::config::SecureMcpConfig;
use sealwire_audit::{AuditSink, Event, Journal, Position};
use serde::Deserialize;
use serde_json::Value;

use super::local_event::{LocalEvent, Place};
use super::protocol::Request;
use super::turn::{PATIENCE, Recorder, Turn};

/// How long to wait before it is tried again to write.
const RETRY: Duration = Duration::from_millis(250);
/// How long the log is kept for what may follow at once; others wait for it.
const HOLD: Duration = Duration::from_millis(20);
/// How long it is kept at most, whatever follows, and how long it is then left to others, who look
/// for it more often than that.
const MOST_HELD: Duration = Duration::from_millis(500);
const LEFT: Duration = Duration::from_millis(50);
/// Largest arguments of a call that can be recorded: they have to be handed over.
pub(super) const MAX_ARGUMENTS: usize = 16 << 20;
/// What is handed over at once, in bytes, unless a single event is larger.
const MAX_BATCH: usize = 1 << 20;

/// Records by whoever writes the log.
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    config: SecureMcpConfig,
    state: Mutex<State>,
    stirred: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be recorded, each with its number here, which counts from 1.
    waiting: Vec<(u64, LocalEvent)>,
    last: u64,
    recorded: u64,
    failed: Option<String>,
    is_closing: bool,
    wakers: Vec<Waker>,
}

impl Ledger {
    /// The log of that configuration. It is not looked at before something happens.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn start(config: &SecureMcpConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            config: config.clone(),
            state: Mutex::default(),
            stirred: Condvar::new(),
        });
        let writer = Writer { shared: Arc::clone(&shared), decisions: HashMap::new(), held: None };
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let thread = Mutex::new(Some(thread.spawn(|| writer.run())?));
        Ok(Self { shared, thread })
    }

    /// Waits until all is recorded. Nothing more is.
    ///
    /// # Errors
    /// If it cannot be.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.shared.lock().is_closing = true;
        self.shared.stirred.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
        let state = self.shared.lock();
        match &state.failed {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }
}

impl AuditSink for Ledger {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        if let Event::Decision { message, .. } = event
            && message.arguments.is_some_and(|arguments| arguments.len() > MAX_ARGUMENTS)
        {
            let why = format!("arguments of more than {MAX_ARGUMENTS} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let Some(event) = LocalEvent::of(event) else { return Ok(Position::default()) };
        let mut state = self.shared.lock();
        if let Some(why) = &state.failed {
            return Err(io::Error::other(why.clone()));
        }
        state.last += 1;
        let number = state.last;
        state.waiting.push((number, event));
        self.shared.stirred.notify_all();
        Ok(Position::after(number))
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        if state.recorded >= position.entries() {
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = &state.failed {
            return Poll::Ready(Err(io::Error::other(why.clone())));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Shared {
    /// What happens under the lock cannot leave anything half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// Where decisions are in the log whose outcome is still to come, by their number here.
    decisions: HashMap<u64, Place>,
    /// The log, and since when.
    held: Option<(Journal, Instant)>,
}

impl Writer {
    fn run(mut self) {
        while let Some(mut batch) = self.next() {
            for (_, event) in &mut batch {
                if let LocalEvent::Outcome { decision, .. } = event {
                    *decision = self.decisions.remove(&decision.entries()).unwrap_or_default();
                }
            }
            let (numbers, events): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let recorded = self.deliver(&events);
            let mut state = self.shared.lock();
            match recorded {
                Ok(positions) => {
                    for ((number, event), position) in numbers.iter().zip(&events).zip(positions) {
                        if matches!(event, LocalEvent::Decision { denied: None, .. }) {
                            self.decisions.insert(*number, position);
                        }
                    }
                    state.recorded = numbers.last().copied().unwrap_or(state.recorded);
                }
                Err(error) => state.failed = Some(error.to_string()),
            }
            let has_failed = state.failed.is_some();
            let wakers = std::mem::take(&mut state.wakers);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            if has_failed {
                return;
            }
        }
    }

    /// What is to be recorded next; `None` once nothing more is.
    fn next(&mut self) -> Option<Vec<(u64, LocalEvent)>> {
        if self.held.as_ref().is_some_and(|(_, since)| since.elapsed() >= MOST_HELD) {
            self.held = None;
            sleep(LEFT);
        }
        let mut state = self.shared.lock();
        let give_up = Instant::now() + HOLD;
        while state.waiting.is_empty() {
            if state.is_closing {
                return None;
            }
            let stirred = &self.shared.stirred;
            if self.held.is_some() {
                let left = give_up.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.held = None;
                    continue;
                }
                let (woken, _) =
                    stirred.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
                state = woken;
            } else {
                state = stirred.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut size = 0;
        let mut within = |(_, event): &(u64, LocalEvent)| {
            size += event.size();
            size <= MAX_BATCH
        };
        let count = state.waiting.iter().take_while(|one| within(one)).count().max(1);
        Some(state.waiting.drain(..count).collect())
    }

    fn deliver(&mut self, events: &[LocalEvent]) -> io::Result<Vec<Place>> {
        if self.held.is_none() {
            let request = || Request::RecordLocal { events: events.to_vec() };
            match Turn::new().take(&self.shared.config, request)? {
                Recorder::Serve(answer) => return positions(&answer, events.len()),
                Recorder::Us(journal) => self.held = journal.map(|it| (it, Instant::now())),
            }
        }
        match &self.held {
            Some((journal, _)) => write(journal, events),
            None => Ok(vec![Place::default(); events.len()]),
        }
    }
}

/// Writes events. What a disk does not take now is kept, and it may take it soon.
fn write(journal: &Journal, events: &[LocalEvent]) -> io::Result<Vec<Place>> {
    let append = |entry: &str| journal.append(entry.as_bytes());
    let record = |event: &LocalEvent| event.record(journal, append).map(Place::of);
    let recorded: Vec<_> = events.iter().map(record).collect::<io::Result<_>>()?;
    let give_up = Instant::now() + PATIENCE;
    let mut has_failed = false;
    while let Err(error) = journal.flush() {
        if Instant::now() >= give_up {
            return Err(error);
        }
        if !has_failed {
            has_failed = true;
            tracing::error!(%error, "the audit log cannot be written; what waits for it is tried again");
        }
        sleep(RETRY);
    }
    if has_failed {
        tracing::info!("the audit log can be written again");
    }
    Ok(recorded)
}

fn positions(answer: &Value, count: usize) -> io::Result<Vec<Place>> {
    let places = Vec::<Place>::deserialize(&answer["positions"]).unwrap_or_default();
    if places.len() != count {
        return Err(io::Error::other("serve is of another version: restart it"));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};

    use sealwire_audit::Message;

    use super::*;

    async fn record(ledger: &Ledger) -> io::Result<()> {
        let message = Message {
            peer: None,
            server: "s",
            direction: "to_server",
            method: "tools/call",
            subject: Some("t"),
            id: None,
            certificate: None,
            arguments: None,
            policy: None,
            at: None,
        };
        let position = ledger.record(&Event::Decision { message: &message, denied: None })?;
        poll_fn(|cx| ledger.poll_durable(position, cx)).await
    }

    #[test]
    fn one_that_always_has_something_to_record_does_not_keep_the_log_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        sealwire::state::make_private_directory(&home).unwrap();
        let config = SecureMcpConfig::parse(&home, "").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ledgers = [Ledger::start(&config).unwrap(), Ledger::start(&config).unwrap()];
        let [busy, other] = &ledgers;
        runtime.block_on(record(busy)).unwrap();
        let is_done = AtomicBool::new(false);
        let recorded = std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    while !is_done.load(Ordering::Relaxed) {
                        runtime.block_on(record(busy)).unwrap();
                    }
                });
            }
            let recorded = runtime.block_on(record(other));
            is_done.store(true, Ordering::Relaxed);
            recorded
        });
        recorded.unwrap();
        ledgers.iter().for_each(|ledger| ledger.close().unwrap());
    }
}
