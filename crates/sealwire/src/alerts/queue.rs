//! Which alert waits for which channel, what is counted instead of sent, and when to try again.
//!
//! No I/O and no clock here: the time is passed in, and what is to be kept on the disk is told
//! as changes. What cannot be kept is delivered all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sealwire::state::{AlertChange, KeptAlerts};
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Kind, Severity};

/// Alerts that wait. Warnings, which strangers may be able to bring about, take half of it.
pub(super) const MOST_WAITING: usize = 1_000;
/// Alerts that are remembered to be counted when they come again.
const MOST_REPEATED: usize = 1_024;
/// Alerts in one message.
pub(super) const MOST_TOGETHER: usize = 20;
/// Pause after a delivery, and after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a failure, also where the receiver asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// A moment: by the calendar, and by a clock that only goes forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds since 1970.
    pub(super) wall: i64,
    /// Since some moment.
    pub(super) steady: Duration,
}

/// All alerts that are not done with.
#[derive(Debug)]
pub(super) struct Queue {
    repeat_after: Duration,
    give_up_after: Duration,
    alerts: BTreeMap<u64, (Alert, BTreeSet<String>)>,
    next: u64,
    repeated: BTreeMap<String, Repeated>,
    channels: BTreeMap<String, Channel>,
    /// Alerts for which there was no room, and which nobody has been told of yet.
    lost: u64,
    lost_in_all: u64,
    unkept_alerts: BTreeSet<u64>,
    unkept_repeated: BTreeSet<String>,
    /// Alerts that do not say yet how the log stood.
    fresh: Vec<u64>,
}

/// An alert that was told, and how often it has come again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Repeated {
    alert: Alert,
    /// Until when it is counted, in milliseconds since 1970.
    until: i64,
    more: u64,
    latest: i64,
}

/// How it goes with one channel. This is what `status` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Channel {
    /// Alerts that wait for it.
    pub(crate) waiting: usize,
    /// Alerts delivered since the start.
    pub(crate) delivered: u64,
    /// Alerts given up since the start.
    pub(crate) given_up: u64,
    /// Attempts that have failed since the last one that did not.
    pub(crate) failures: u32,
    /// Why the last one did.
    pub(crate) last_failure: Option<String>,
    /// What is being delivered; after a failure it is what is tried again, so that the receiver
    /// knows it again.
    #[serde(skip)]
    in_hand: Vec<u64>,
    #[serde(skip)]
    is_busy: bool,
    #[serde(skip)]
    not_before: Duration,
}

/// Alerts for one channel, in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) ids: Vec<u64>,
    pub(super) alerts: Vec<Alert>,
}

impl Queue {
    /// With what was kept; what cannot be read of it is left out, and how much that is.
    pub(super) fn new(
        kept: &KeptAlerts,
        repeat_after: Duration,
        give_up_after: Duration,
    ) -> (Self, usize) {
        let mut queue = Self {
            repeat_after,
            give_up_after,
            alerts: BTreeMap::new(),
            next: 1,
            repeated: BTreeMap::new(),
            channels: BTreeMap::new(),
            lost: 0,
            lost_in_all: 0,
            unkept_alerts: BTreeSet::new(),
            unkept_repeated: BTreeSet::new(),
            fresh: Vec::new(),
        };
        let mut unreadable = 0;
        for (id, body, channels) in &kept.waiting {
            queue.next = queue.next.max(id.saturating_add(1));
            match serde_json::from_str(body) {
                Ok(alert) => {
                    queue.alerts.insert(*id, (alert, channels.iter().cloned().collect()));
                }
                Err(_) => {
                    unreadable += 1;
                    queue.unkept_alerts.insert(*id);
                }
            }
        }
        for (key, body) in &kept.repeated {
            match serde_json::from_str(body) {
                Ok(repeated) => drop(queue.repeated.insert(key.clone(), repeated)),
                Err(_) => drop(queue.unkept_repeated.insert(key.clone())),
            }
        }
        (queue, unreadable)
    }

    /// From now on, alerts go to these channels. What waits for others is forgotten.
    pub(super) fn configure(
        &mut self,
        channels: &[&str],
        repeat_after: Duration,
        give_up_after: Duration,
    ) {
        (self.repeat_after, self.give_up_after) = (repeat_after, give_up_after);
        self.channels.retain(|name, _| channels.contains(&&**name));
        for name in channels {
            let channel = self.channels.entry((*name).to_owned()).or_default();
            // What was changed may be what was wrong.
            channel.not_before = Duration::ZERO;
        }
        let ids: Vec<u64> = self.alerts.keys().copied().collect();
        let gone = |name: &String| !channels.contains(&&**name);
        for id in ids {
            let names = self.alerts.get(&id).map(|(_, channels)| channels.clone());
            for name in names.iter().flatten().filter(|name| gone(name)) {
                self.done(id, name);
            }
        }
    }

    /// Takes an alert: it will be sent, or is counted if it has just been.
    pub(super) fn raise(&mut self, alert: Alert, now: Now) {
        let key = alert.key();
        if let Some(repeated) = self.repeated.get_mut(&key) {
            repeated.more += alert.count;
            repeated.latest = repeated.latest.max(alert.at);
            self.unkept_repeated.insert(key);
            return;
        }
        if self.repeated.len() < MOST_REPEATED {
            self.count_from_now(key, alert.clone(), now);
        }
        self.wait(alert);
    }

    fn count_from_now(&mut self, key: String, alert: Alert, now: Now) {
        let until = now.wall.saturating_add(millis(self.repeat_after));
        let latest = alert.at;
        self.unkept_repeated.insert(key.clone());
        self.repeated.insert(key, Repeated { alert, until, more: 0, latest });
    }

    fn wait(&mut self, alert: Alert) {
        let room = match alert.kind.severity() {
            Severity::Critical => MOST_WAITING,
            Severity::Warning | Severity::Information => MOST_WAITING / 2,
        };
        if self.alerts.len() >= room {
            return self.lose(alert.count);
        }
        let names: BTreeSet<String> = self.channels.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let id = self.next;
        self.next += 1;
        self.unkept_alerts.insert(id);
        self.fresh.push(id);
        self.alerts.insert(id, (alert, names));
    }

    /// Alerts that have come since the last time get the checkpoint that `log` gives; it is
    /// asked for only if there are any.
    pub(super) fn stand(&mut self, log: impl FnOnce() -> Option<String>) {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(note) = (!fresh.is_empty()).then(log).flatten() else { return };
        for id in fresh {
            if let Some((alert, _)) = self.alerts.get_mut(&id) {
                alert.checkpoint = Some(note.clone());
            }
        }
    }

    /// Takes note of alerts that did not even come here.
    pub(super) fn lose(&mut self, alerts: u64) {
        self.lost += alerts;
        self.lost_in_all += alerts;
    }

    /// Ends counting where its time is over: how many there were is an alert.
    pub(super) fn tick(&mut self, now: Now) {
        let latest_end = now.wall.saturating_add(millis(self.repeat_after));
        let is_over = |repeated: &Repeated| {
            // The clock may have been set back.
            repeated.until <= now.wall || repeated.until > latest_end
        };
        let over = self.repeated.iter().filter(|(_, repeated)| is_over(repeated));
        let over: Vec<String> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            let Some(Repeated { alert, more, latest, .. }) = self.repeated.remove(&key) else {
                continue;
            };
            self.unkept_repeated.insert(key.clone());
            if more > 0 {
                let again = alert.again(more, latest);
                self.count_from_now(key, again.clone(), now);
                self.wait(again);
            }
        }
        if self.lost > 0 && self.alerts.len() < MOST_WAITING / 2 {
            let lost = Alert::new(Kind::AlertsLost).with("lost", self.lost);
            self.lost = 0;
            self.wait(lost);
        }
    }

    /// What is to be sent to a channel now, if anything: it is busy with it from then on.
    pub(super) fn due(&mut self, name: &str, now: Now) -> Option<Batch> {
        let channel = self.channels.get_mut(name)?;
        if channel.is_busy || channel.not_before > now.steady {
            return None;
        }
        channel.in_hand.retain(|id| self.alerts.contains_key(id));
        if channel.in_hand.is_empty() {
            let mine = self.alerts.iter().filter(|(_, (_, names))| names.contains(name));
            channel.in_hand = mine.map(|(id, _)| *id).take(MOST_TOGETHER).collect();
        }
        if channel.in_hand.is_empty() {
            return None;
        }
        channel.is_busy = true;
        let ids = channel.in_hand.clone();
        let alerts = ids.iter().filter_map(|id| Some(self.alerts.get(id)?.0.clone())).collect();
        Some(Batch { ids, alerts })
    }

    /// When a channel may be tried again; `None` if nothing waits for it, or it is busy.
    pub(super) fn next_attempt(&self) -> Option<Duration> {
        let waits = |name: &str| self.alerts.values().any(|(_, names)| names.contains(name));
        let idle = self.channels.iter().filter(|(name, channel)| !channel.is_busy && waits(name));
        idle.map(|(_, channel)| channel.not_before).min()
    }

    /// They have been delivered.
    pub(super) fn delivered(&mut self, name: &str, ids: &[u64], now: Now) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.is_busy = false;
            channel.in_hand.clear();
            channel.delivered += ids.len() as u64;
            channel.failures = 0;
            channel.last_failure = None;
            channel.not_before = now.steady + PAUSE;
        }
        for id in ids {
            self.done(*id, name);
        }
    }

    /// They have not; how many are given up by that. `jitter` is between nothing and one.
    pub(super) fn failed(
        &mut self,
        name: &str,
        reason: String,
        wanted: Option<Duration>,
        jitter: f64,
        now: Now,
    ) -> usize {
        let Some(channel) = self.channels.get_mut(name) else { return 0 };
        channel.is_busy = false;
        channel.failures = channel.failures.saturating_add(1);
        channel.last_failure = Some(reason);
        channel.not_before = now.steady + pause(channel.failures, wanted, jitter);
        let oldest = now.wall.saturating_sub(millis(self.give_up_after));
        let is_old = |alert: &Alert| alert.at <= oldest;
        let old =
            self.alerts.iter().filter(|(_, (alert, names))| names.contains(name) && is_old(alert));
        let old: Vec<u64> = old.map(|(id, _)| *id).collect();
        channel.given_up += old.len() as u64;
        channel.in_hand.retain(|id| !old.contains(id));
        for id in &old {
            self.done(*id, name);
        }
        old.len()
    }

    /// One channel is done with an alert.
    fn done(&mut self, id: u64, name: &str) {
        let Some((_, names)) = self.alerts.get_mut(&id) else { return };
        names.remove(name);
        if names.is_empty() {
            self.alerts.remove(&id);
        }
        self.unkept_alerts.insert(id);
    }

    /// What differs from what is kept on the disk.
    pub(super) fn changes(&self) -> Vec<AlertChange> {
        let alert = |id: &u64| match self.alerts.get(id) {
            Some((alert, names)) => {
                let names = names.iter().cloned().collect();
                AlertChange::Waits(*id, serde_json::to_string(alert).unwrap_or_default(), names)
            }
            None => AlertChange::Done(*id),
        };
        let repeated = |key: &String| match self.repeated.get(key) {
            Some(repeated) => {
                let body = serde_json::to_string(repeated).unwrap_or_default();
                AlertChange::Repeats(key.clone(), body)
            }
            None => AlertChange::Ended(key.clone()),
        };
        let alerts = self.unkept_alerts.iter().map(alert);
        alerts.chain(self.unkept_repeated.iter().map(repeated)).collect()
    }

    /// All of them are kept now.
    pub(super) fn kept(&mut self) {
        self.unkept_alerts.clear();
        self.unkept_repeated.clear();
    }

    /// Each channel by its name.
    pub(super) fn channels(&self) -> BTreeMap<String, Channel> {
        let waiting =
            |name: &str| self.alerts.values().filter(|(_, names)| names.contains(name)).count();
        let shown = |(name, channel): (&String, &Channel)| {
            let channel = Channel { waiting: waiting(name), ..channel.clone() };
            (name.clone(), channel)
        };
        self.channels.iter().map(shown).collect()
    }

    /// Alerts for which there was no room since the start.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.lost_in_all
    }
}

/// The pause after that many failures in a row: at random between half and all of it, so that
/// not all who failed together come back together.
fn pause(failures: u32, wanted: Option<Duration>, jitter: f64) -> Duration {
    let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures.min(31) - 1).unwrap_or(u32::MAX));
    let longest = doubled.min(LONGEST_PAUSE);
    longest
        .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
        .max(wanted.unwrap_or_default().min(LONGEST_PAUSE))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
