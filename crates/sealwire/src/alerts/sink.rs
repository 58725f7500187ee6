//! What of the audit's events is an alert at once, and that the audit itself fails.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sealwire_audit::{AuditSink, Event, PinStep, Position};

use super::{Alert, Kind};

/// What fails for each call is told once in this time, with a count.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands events on to another sink. What passes costs a look at the kind of event.
pub(crate) struct AlertSink<S> {
    inner: S,
    raise: Box<dyn Fn(Alert) + Send + Sync>,
    failures: Mutex<(Option<Instant>, u64)>,
}

impl<S> AlertSink<S> {
    /// `raise` is called on any thread, also for a call that waits for it.
    pub(crate) fn new(inner: S, raise: impl Fn(Alert) + Send + Sync + 'static) -> Self {
        Self { inner, raise: Box::new(raise), failures: Mutex::default() }
    }

    fn failed(&self) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, count) = &mut *failures;
        *count += 1;
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            *last = Some(Instant::now());
            let count = std::mem::take(count);
            (self.raise)(Alert { count, ..Alert::new(Kind::AuditFailed) });
        }
    }
}

impl<S: AuditSink> AuditSink for AlertSink<S> {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        let recorded = self.inner.record(event);
        if recorded.is_err() {
            self.failed();
        }
        if let Event::Pin(pin) = event
            && let PinStep::Blocked { name, refusal } = pin.step
        {
            let alert = Alert::new(Kind::DefinitionBlocked).about("server", pin.server);
            let definition = format!("{} {name}", pin.kind);
            (self.raise)(alert.with("definition", definition).with("code", refusal.code));
        }
        recorded
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_durable(position, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sealwire_audit::PinEvent;
    use sealwire_names::{Refusal, RefusalCode};

    use super::*;

    /// Records nothing, or everything.
    struct Sink(bool);

    impl AuditSink for Sink {
        fn record(&self, _event: &Event<'_>) -> io::Result<Position> {
            if self.0 { Ok(Position::default()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
    }

    fn watched(inner: Sink) -> (AlertSink<Sink>, Arc<Mutex<Vec<Alert>>>) {
        let raised = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&raised);
        (AlertSink::new(inner, move |alert| heard.lock().unwrap().push(alert)), raised)
    }

    fn refused() -> Refusal {
        Refusal::new(RefusalCode::PinChanged, "not what was approved")
    }

    #[test]
    fn a_log_that_fails_is_told_at_once_and_not_for_each_call() {
        let (sink, raised) = watched(Sink(false));
        let (address, peer, server, refusal) = (None, None, None, &refused());
        for _ in 0..1_000 {
            let event = Event::ConnectionRefused { address, peer, server, refusal };
            sink.record(&event).unwrap_err();
        }
        let raised = raised.lock().unwrap();
        assert_eq!((raised[0].kind, raised[0].count), (Kind::AuditFailed, 1));
        assert!(raised.len() < 500, "{}", raised.len());
    }

    #[test]
    fn a_blocked_definition_is_told_by_its_name_and_nothing_that_passes_is() {
        let (sink, raised) = watched(Sink(true));
        let refusal = refused();
        let step = PinStep::Blocked { name: "delete", refusal: &refusal };
        let blocked = PinEvent { peer: None, server: "files", kind: "tool", step };
        sink.record(&Event::Pin(&blocked)).unwrap();
        let restored = PinEvent { step: PinStep::Restored { name: "delete" }, ..blocked };
        sink.record(&Event::Pin(&restored)).unwrap();
        let raised = raised.lock().unwrap();
        let [alert] = &raised[..] else { panic!("{raised:?}") };
        assert_eq!(alert.key(), "definition_blocked server files tool delete");
    }
}
