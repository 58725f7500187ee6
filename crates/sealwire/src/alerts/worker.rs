//! The thread that does it all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use sealwire::state::{KeptAlerts, State};
use sealwire_audit::{AuditSink, Event, Journal};
use sealwire_names::Timestamp;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::alert::{Alert, Kind};
use super::channel::{Channel, Setup};
use super::dial::Undelivered;
use super::news::News;
use super::queue::{Batch, Now, Queue};
use super::{Message, Recording, Shared, Status, lock};

/// How often it looks for news, and for what is to be told again.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    channels: BTreeMap<&'static str, Arc<Channel>>,
    on_security_events: bool,
    state: State,
    news: News,
    queue: Queue,
    shared: Arc<Shared>,
    audit: Arc<dyn AuditSink>,
    /// The log, if one is kept.
    journal: Option<Arc<Journal>>,
    /// That there is little room for it has been told.
    is_room_told: bool,
    start: Instant,
    unread: Option<String>,
    unkept: Option<String>,
    /// What the state said has not been looked at.
    is_unseen: bool,
}

/// How one delivery ended.
type Ended = (&'static str, Batch, Result<(), Undelivered>);

impl Worker {
    pub(super) fn new(
        setup: Setup,
        state: State,
        kept: &KeptAlerts,
        shared: Arc<Shared>,
        (audit, journal): Recording,
    ) -> Self {
        let (queue, unreadable) = Queue::new(kept, setup.repeat_after, setup.give_up_after);
        if unreadable > 0 {
            tracing::error!(
                alerts = unreadable,
                "alerts of another version cannot be read, and are dropped"
            );
        }
        let mut worker = Self {
            channels: BTreeMap::new(),
            on_security_events: true,
            state,
            news: News::new(kept),
            queue,
            shared,
            audit,
            journal,
            is_room_told: false,
            start: Instant::now(),
            unread: None,
            unkept: None,
            is_unseen: true,
        };
        worker.configure(Some(setup));
        worker.look();
        worker.keep();
        worker
    }

    pub(super) fn run(mut self, receiver: Receiver<Message>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.work(receiver));
                // A name service that does not answer must not keep us.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "alerts cannot be delivered"),
        }
    }

    async fn work(&mut self, mut receiver: Receiver<Message>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deliveries = JoinSet::new();
        loop {
            self.begin(&mut deliveries);
            let next = self.queue.next_attempt().map(|at| at.saturating_sub(self.start.elapsed()));
            tokio::select! {
                message = receiver.recv() => {
                    let Some(message) = message else { break };
                    self.take(message);
                    while let Ok(message) = receiver.try_recv() {
                        self.take(message);
                    }
                    self.keep();
                }
                Some(ended) = deliveries.join_next() => {
                    match ended {
                        Ok(ended) => self.ended(ended),
                        Err(error) => tracing::error!(%error, "a delivery has failed"),
                    }
                    self.keep();
                }
                _ = look.tick() => {
                    self.look();
                    self.look_at_room();
                    self.queue.lose(self.shared.lost.swap(0, Ordering::Relaxed));
                    self.queue.tick(self.now());
                    self.keep();
                }
                () = sleep(next.unwrap_or(LOOK)) => {}
            }
        }
        self.keep();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Raised(alert) => self.queue.raise(alert, self.now()),
            Message::Configured(setup) => self.configure(setup),
        }
    }

    fn configure(&mut self, setup: Option<Setup>) {
        // Turned off, what waits still waits for those who were configured; nothing is sent.
        let Some(setup) = setup else {
            self.channels.clear();
            return;
        };
        let names: Vec<&str> = setup.channels.keys().copied().collect();
        self.queue.configure(&names, setup.repeat_after, setup.give_up_after);
        self.on_security_events = setup.on_security_events;
        self.channels = setup.channels;
    }

    /// Begins to deliver what is due.
    fn begin(&mut self, deliveries: &mut JoinSet<Ended>) {
        let now = self.now();
        for (name, channel) in &self.channels {
            let Some(batch) = self.queue.due(name, now) else { continue };
            let (name, channel) = (*name, Arc::clone(channel));
            deliveries.spawn(async move {
                let alerts = batch.alerts.clone();
                let delivery = tokio::spawn(async move { channel.deliver(&alerts).await });
                let done = delivery.await.unwrap_or_else(|error| {
                    Err(Undelivered::new(format!("the attempt itself failed: {error}")))
                });
                (name, batch, done)
            });
        }
    }

    fn ended(&mut self, (name, batch, done): Ended) {
        let now = self.now();
        let Err(Undelivered { reason, retry_after }) = done else {
            tracing::debug!(channel = name, alerts = batch.ids.len(), "alerts delivered");
            return self.queue.delivered(name, &batch.ids, now);
        };
        let before = self.queue.channels().get(name).map_or(0, |channel| channel.failures);
        if before == 0 {
            tracing::warn!(channel = name, reason, "alerts could not be delivered; they wait");
        }
        let given_up = self.queue.failed(name, reason.clone(), retry_after, jitter(), now);
        if given_up > 0 {
            self.given_up(name, given_up, &reason);
        }
    }

    /// Looks for what the state says that is new.
    fn look(&mut self) {
        if self.channels.is_empty() {
            return;
        }
        let (news, now) = (&mut self.news, SystemTime::now().into());
        let looked = match self.is_unseen {
            true => news.look(&self.state, now).map(Some),
            false => self.state.news(|state| news.look(state, now)),
        };
        let failed = match looked {
            Ok(alerts) => {
                self.is_unseen = false;
                let now = self.now();
                let alerts = alerts.into_iter().flatten();
                for alert in alerts.filter(|_| self.on_security_events) {
                    self.queue.raise(alert, now);
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if failed.is_some() && failed != self.unread {
            tracing::error!(error = failed, "what there is to tell cannot be read");
        }
        self.unread = failed;
    }

    /// Looks whether there will soon be no room for the log.
    fn look_at_room(&mut self) {
        let Some(journal) = &self.journal else { return };
        let log = journal.status();
        if log.is_nearly_full && !self.is_room_told {
            let alert = Alert::new(Kind::AuditNearlyFull).with("bytes", log.bytes);
            let alert = match log.most_bytes {
                Some(most) => alert.with("max_total_size", most),
                None => alert,
            };
            self.queue.raise(alert, self.now());
        }
        self.is_room_told = log.is_nearly_full;
    }

    /// Keeps on the disk what has changed. What cannot be kept is delivered all the same.
    fn keep(&mut self) {
        let journal = self.journal.as_ref();
        // It takes in what was recorded before an alert; what cannot be written has none.
        self.queue.stand(|| journal?.checkpoint().ok());
        let mut changes = self.queue.changes();
        changes.extend_from_slice(self.news.changes());
        let kept = match changes.is_empty() {
            true => Ok(()),
            false => self.state.keep_alerts(&changes),
        };
        let failed = match kept {
            Ok(()) => {
                self.queue.kept();
                self.news.kept();
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if failed.is_some() && failed != self.unkept {
            tracing::error!(error = failed, "alerts cannot be kept; a restart would forget them");
        }
        self.unkept = failed;
        let (channels, lost, unkept) =
            (self.queue.channels(), self.queue.lost_in_all(), self.unkept.clone());
        *lock(&self.shared.status) = Status { channels, lost, unkept };
    }

    fn given_up(&self, channel: &str, alerts: usize, reason: &str) {
        tracing::error!(channel, alerts, reason, "alerts are given up");
        let event = Event::AlertsGivenUp { channel, alerts, reason };
        if let Err(error) = self.audit.record(&event) {
            tracing::error!(%error, "the audit log failed");
        }
    }

    fn now(&self) -> Now {
        let wall = Timestamp::from(SystemTime::now()).unix_millis();
        Now { wall, steady: self.start.elapsed() }
    }
}

/// At random between nothing and one.
fn jitter() -> f64 {
    let mut bytes = [0_u8; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}
