//! `[audit.alerts]`: an operator is told at the time, not when he looks.
//!
//! All of it is done by one thread of `serve`, with a runtime of its own. Whoever has something
//! to tell hands it over and goes on: no call ever waits for an alert. The thread looks for
//! [`news`] in the state of the home, keeps what waits in [`queue`] there too, and delivers it
//! by each [`channel`] as often as it takes. An alert may arrive twice; each has an id.
//!
//! `connect` and the other commands never start any of this.

mod address;
mod alert;
mod channel;
mod dial;
mod http;
mod news;
mod queue;
mod sink;
mod smtp;
mod text;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use sealwire::home::Home;
use sealwire::state::State;
use sealwire_audit::{AuditSink, Journal};
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};

pub(crate) use alert::{Alert, Kind};
pub(crate) use channel::{Channel, Setup};
pub(crate) use sink::AlertSink;

use crate::cli::Failure;
use worker::Worker;

/// Alerts that wait to be taken by the thread.
const MOST_RAISED: usize = 256;
/// Pause before it is tried again to hand over a configuration.
const PAUSE: Duration = Duration::from_millis(10);

/// Where alerts are raised. It costs nothing where none are configured.
#[derive(Clone)]
pub(crate) struct Alerts(Arc<Inner>);

struct Inner {
    home: Home,
    recording: Recording,
    /// Held for a moment alone: whoever raises an alert takes it.
    sender: Mutex<Option<Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// What the thread and those who raise alerts both see.
#[derive(Default)]
struct Shared {
    is_enabled: AtomicBool,
    on_security_events: AtomicBool,
    /// Alerts that the thread could not take.
    lost: AtomicU64,
    status: Mutex<Status>,
}

/// How it goes.
#[derive(Clone, Default)]
struct Status {
    channels: BTreeMap<String, queue::Channel>,
    lost: u64,
    /// Why what waits is not on the disk, if it is not.
    unkept: Option<String>,
}

/// Where it is recorded that an alert could not be delivered, and the log, if one is kept.
pub(crate) type Recording = (Arc<dyn AuditSink>, Option<Arc<Journal>>);

enum Message {
    Raised(Alert),
    Configured(Option<Setup>),
}

impl Alerts {
    /// Begins to deliver what waits, if anything is to be sent.
    ///
    /// # Errors
    /// If what waits cannot be read, or no thread can be started.
    pub(crate) fn start(
        home: &Home,
        setup: Option<Setup>,
        recording: Recording,
    ) -> Result<Self, Failure> {
        let alerts = Self(Arc::new(Inner {
            home: home.clone(),
            recording,
            sender: Mutex::default(),
            thread: Mutex::default(),
            shared: Arc::default(),
        }));
        alerts.replace(setup)?;
        Ok(alerts)
    }

    /// From now on, goes by another configuration.
    ///
    /// # Errors
    /// As [`start`](Self::start); then all is as it was.
    pub(crate) fn replace(&self, setup: Option<Setup>) -> Result<(), Failure> {
        let Inner { home, recording, sender, thread, shared } = &*self.0;
        let enabled = setup.is_some();
        let on_security_events = setup.as_ref().is_some_and(|setup| setup.on_security_events);
        let running = lock(sender).clone();
        match (running, setup) {
            (None, None) => {}
            (Some(running), setup) => configure(&running, setup)?,
            (None, Some(setup)) => {
                let (state, kept) = State::open_with_alerts(home)?;
                let (new, receiver) = channel(MOST_RAISED);
                let worker =
                    Worker::new(setup, state, &kept, Arc::clone(shared), recording.clone());
                let spawned = std::thread::Builder::new()
                    .name("alerts".to_owned())
                    .spawn(move || worker.run(receiver));
                let spawned =
                    spawned.map_err(|error| Failure::new("cannot start").because(error))?;
                *lock(thread) = Some(spawned);
                *lock(sender) = Some(new);
            }
        }
        shared.is_enabled.store(enabled, Ordering::Relaxed);
        shared.on_security_events.store(on_security_events, Ordering::Relaxed);
        Ok(())
    }

    /// Tells of something. Never waits: what there is no room for is counted.
    pub(crate) fn raise(&self, alert: Alert) {
        let Inner { sender, shared, .. } = &*self.0;
        let is_wanted =
            !alert.kind.is_security_event() || shared.on_security_events.load(Ordering::Relaxed);
        if !shared.is_enabled.load(Ordering::Relaxed) || !is_wanted {
            return;
        }
        let lost = alert.count;
        let send = |sender: &Sender<Message>| sender.try_send(Message::Raised(alert)).is_ok();
        if !lock(sender).as_ref().is_some_and(send) {
            shared.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// How it goes, for `status`.
    pub(crate) fn status(&self) -> Value {
        let shared = &self.0.shared;
        let Status { channels, lost, unkept } = lock(&shared.status).clone();
        json!({
            "enabled": shared.is_enabled.load(Ordering::Relaxed),
            "channels": channels,
            "lost": lost + shared.lost.load(Ordering::Relaxed),
            "unkept": unkept,
        })
    }

    /// Ends. What waits is kept, and delivered after the next start.
    pub(crate) fn stop(&self) {
        self.0.shared.is_enabled.store(false, Ordering::Relaxed);
        let sender = lock(&self.0.sender).take();
        drop(sender);
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread {
            let _it_said_why = thread.join();
        }
    }
}

/// Hands a configuration to the thread. Its queue may be full for a moment, and this is not to
/// be lost.
fn configure(sender: &Sender<Message>, setup: Option<Setup>) -> Result<(), Failure> {
    let mut message = Message::Configured(setup);
    loop {
        message = match sender.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message)) => message,
            Err(TrySendError::Closed(_)) => {
                return Err(Failure::new("alerts have ended").fix("restart `serve`"));
            }
        };
        sleep(PAUSE);
    }
}

/// What happens under the locks cannot leave anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
