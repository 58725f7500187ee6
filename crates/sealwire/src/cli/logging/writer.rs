//! The thread that writes the log, so that nobody else waits for it.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sealwire::config::LogFormat;
use serde_json::json;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::line;
use super::queue::{Lost, Queue};
use super::sink::Sink;

/// How long the last lines may take when the program ends.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Pause before writing is tried again after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// The same for a standard error that somebody else has made non-blocking.
const BUSY: Duration = Duration::from_millis(20);
/// The batch's memory is given back above this size, in bytes.
const KEEP: usize = 64 * 1024;

/// Takes lines from any thread, without ever waiting.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    colour: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of new lines, of the end, and of all being written.
    changed: Condvar,
    format: LogFormat,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Until the thread takes it. Most commands log nothing and never start it.
    sink: Option<Sink>,
    started: bool,
    /// Why nothing can be written at the moment.
    failure: Option<String>,
    closing: bool,
    /// Nothing is waiting or in hand.
    idle: bool,
}

impl Writer {
    pub(super) fn new(sink: Sink, format: LogFormat, colour: bool) -> Self {
        let state = State {
            queue: Queue::default(),
            sink: Some(sink),
            started: false,
            failure: None,
            closing: false,
            idle: true,
        };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), format };
        Self { shared: Arc::new(shared), colour }
    }

    /// Lets the thread write what is waiting and end; waits for that, but not for long.
    pub(super) fn finish(&self) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        let wait = self.shared.changed.wait_timeout_while(state, LAST_LINES, |state| !state.idle);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn lost(&self) -> Lost {
        self.shared.lock().queue.lost()
    }

    fn push(&self, event: &[u8], audit: bool) {
        let mut line = Vec::new();
        line::append(&mut line, event, self.shared.format, self.colour);
        let mut state = self.shared.lock();
        let State { queue, failure, .. } = &mut *state;
        let why = failure.as_deref().unwrap_or(SLOW);
        queue.push(&line, audit, why, |lost, why: &str| self.shared.missing(lost, why));
        if !state.started {
            // If it fails, for want of threads, the next line tries again.
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("log".to_owned());
            state.started = thread.spawn(move || Thread::new(shared).run()).is_ok();
        }
        if std::mem::replace(&mut state.idle, false) {
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}

/// The reason for dropping lines while writing does not fail.
const SLOW: &str = "it takes lines more slowly than they come";

impl Shared {
    /// What happens under the lock cannot leave it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line that stands where lines are missing.
    fn missing(&self, lost: Lost, why: &str) -> Vec<u8> {
        let now = format!("{:.6}", jiff::Timestamp::now());
        let Lost { lines, audit } = lost;
        let event = match self.format {
            LogFormat::Text => format!(
                "{now}  WARN log: log lines were lost lines={lines} audit_lines={audit} \
                 reason={why:?}"
            ),
            LogFormat::Json => json!({
                "timestamp": now, "level": "WARN", "message": "log lines were lost",
                "lines": lines, "audit_lines": audit, "reason": why, "target": "log",
            })
            .to_string(),
        };
        let mut told = Vec::new();
        line::append(&mut told, event.as_bytes(), self.format, false);
        told
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { writer: self, audit: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Event<'a> {
        Event { writer: self, audit: metadata.target() == "audit" }
    }
}

/// Takes one event, which the formatter writes in one piece.
pub(super) struct Event<'a> {
    writer: &'a Writer,
    audit: bool,
}

impl Write for Event<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.writer.push(event, self.audit);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's own state.
struct Thread {
    shared: Arc<Shared>,
    /// That something is wrong with the log has been told.
    told: bool,
}

impl Thread {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, told: false }
    }

    fn run(mut self) {
        let Some(mut sink) = self.shared.lock().sink.take() else { return };
        let mut batch = Vec::new();
        while let Some(count) = self.take(&mut batch) {
            let done = self.write(&mut sink, &batch);
            let rest = batch[start_of_line(&batch, done)..].iter();
            let rest = rest.filter(|byte| **byte == b'\n').count() as u64;
            if rest > 0 {
                let lines = rest.min(count.lines);
                let lost = Lost { lines, audit: lines.min(count.audit) };
                let mut state = self.shared.lock();
                let State { queue, failure, .. } = &mut *state;
                queue.drop_lines(lost, failure.as_deref().unwrap_or(SLOW));
            }
            batch.clear();
            batch.shrink_to(KEEP);
        }
    }

    /// Waits for lines, and counts them. `None` when there will be none.
    fn take(&self, batch: &mut Vec<u8>) -> Option<Lost> {
        let mut state = self.shared.lock();
        while state.queue.is_empty() {
            state.idle = true;
            self.shared.changed.notify_all();
            if state.closing {
                return None;
            }
            let woken = self.shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.queue.take(batch, |lost, why: &str| self.shared.missing(lost, why)))
    }

    /// Writes all of `batch`, however long it takes, unless nobody will ever read it or
    /// the program ends. Tells how many bytes.
    fn write(&mut self, sink: &mut Sink, batch: &[u8]) -> usize {
        let mut done = 0;
        loop {
            let closing = self.shared.lock().closing;
            let astray = match sink.refresh() {
                Ok(moved) => {
                    // A line that was cut short in the old file begins again in the new one.
                    done = if moved { start_of_line(batch, done) } else { done };
                    None
                }
                Err(error) => Some(error),
            };
            let (written, result) = sink.write(&batch[done..]);
            done += written;
            match (result, astray) {
                (Ok(()), None) => {
                    self.well();
                    return done;
                }
                (Ok(()), Some(error)) => {
                    self.tell(sink, "cannot be begun anew, so the old file grows on", &error);
                    return done;
                }
                (Err(error), _) => {
                    self.shared.lock().failure = Some(error.to_string());
                    if error.kind() == ErrorKind::BrokenPipe || closing {
                        return done;
                    }
                    if error.kind() == ErrorKind::WouldBlock {
                        self.pause(BUSY);
                    } else {
                        self.tell(sink, "cannot be written, and what is lost is counted", &error);
                        self.pause(RETRY);
                    }
                }
            }
        }
    }

    /// Says on standard error, once for each time it begins, what is wrong with the log:
    /// on a thread of its own, as nobody may read that either.
    fn tell(&mut self, sink: &Sink, what: &str, error: &io::Error) {
        let Some(name) = sink.name().filter(|_| !std::mem::replace(&mut self.told, true)) else {
            return;
        };
        let text = format!("sealwire: the log {name} {what}: {error}\n");
        let say = move || drop(io::stderr().lock().write_all(text.as_bytes()));
        drop(thread::Builder::new().name("log-failure".to_owned()).spawn(say));
    }

    fn well(&mut self) {
        self.told = false;
        self.shared.lock().failure = None;
    }

    /// Waits, unless the program ends.
    fn pause(&self, time: Duration) {
        let state = self.shared.lock();
        drop(self.shared.changed.wait_timeout_while(state, time, |state| !state.closing));
    }
}

/// Where the line that byte `position` of `batch` is in, or after, begins.
fn start_of_line(batch: &[u8], position: usize) -> usize {
    batch[..position].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}
