//! What of the audit's events is an alert at once, and that the audit itself fails.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealwire_audit::{AuditSink, Event, PinStep};

use super::{Alert, Alerts, Kind};

/// What fails for each call is told once in this time, with a count.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands events on to another sink. What passes costs a look at the kind of event.
pub(crate) struct AlertSink<S> {
    inner: S,
    alerts: Alerts,
    failures: Mutex<(Option<Instant>, u64)>,
}

impl<S> AlertSink<S> {
    pub(crate) fn new(inner: S, alerts: Alerts) -> Self {
        Self { inner, alerts, failures: Mutex::default() }
    }

    fn failed(&self) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, count) = &mut *failures;
        *count += 1;
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            *last = Some(Instant::now());
            let count = std::mem::take(count);
            self.alerts.raise(Alert { count, ..Alert::new(Kind::AuditFailed) });
        }
    }
}

impl<S: AuditSink> AuditSink for AlertSink<S> {
    fn record(&self, event: &Event<'_>) -> io::Result<()> {
        let recorded = self.inner.record(event);
        if recorded.is_err() {
            self.failed();
        }
        if let Event::Pin(pin) = event
            && let PinStep::Blocked { name, refusal } = pin.step
        {
            let alert = Alert::new(Kind::DefinitionBlocked).about("server", pin.server);
            let definition = format!("{} {name}", pin.kind);
            self.alerts.raise(alert.with("definition", definition).with("code", refusal.code));
        }
        recorded
    }
}
