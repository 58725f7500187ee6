use std::sync::Arc;
use std::task::{Context, Poll};

use sealwire_audit::{AuditSink, Event, Position};

use super::SecurityMetrics;

/// Counts the events that it hands on.
#[derive(Debug)]
pub struct MetricsSink<S> {
    inner: S,
    metrics: Arc<SecurityMetrics>,
}

impl<S: AuditSink> MetricsSink<S> {
    /// Hands events on to `inner`, and counts them in `metrics`.
    pub fn new(inner: S, metrics: Arc<SecurityMetrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S: AuditSink> AuditSink for MetricsSink<S> {
    fn record(&self, event: &Event<'_>) -> std::io::Result<Position> {
        let recorded = self.inner.record(event);
        if recorded.is_err() {
            self.metrics.count_unrecorded();
        }
        // What was to be allowed, and cannot be recorded, is denied: that comes as an event of its
        // own. Whatever else there is has happened, recorded or not.
        if recorded.is_ok() || !matches!(event, Event::Decision { denied: None, .. }) {
            self.metrics.count(event);
        }
        recorded
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.poll_durable(position, cx)
    }
}
