//! What is counted for each message, by server: resolved once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use sealwire_audit::{CallResult, Message};
use sealwire_guard::{Direction, Gate, Level, Principal, Request};

use super::classes;
use super::declared::Families;

/// What is served now, with what is counted for each message at hand.
#[derive(Default)]
pub(super) struct Served {
    pub(super) gate: Option<Arc<dyn Gate>>,
    pub(super) servers: HashMap<String, OfServer>,
}

#[derive(Clone)]
pub(super) struct OfServer {
    /// By level, the last one for what has none; allowed and denied.
    pub(super) decisions: [[Counter; 2]; Level::ALL.len() + 1],
    /// In the order of [`RESULTS`].
    pub(super) calls: [Counter; RESULTS.len()],
    pub(super) call_duration: Histogram,
    pub(super) tls_connections: Counter,
    pub(super) reconnects: Counter,
}

pub(super) const RESULTS: [CallResult; 3] =
    [CallResult::Result, CallResult::Error, CallResult::Unanswered];
/// For what has no level.
const NO_LEVEL: &str = "none";

impl Served {
    /// The level of what a message asks for, if it has one.
    pub(super) fn level(&self, message: &Message<'_>) -> Option<Level> {
        // Of what could not be understood nothing is known.
        if message.method.is_empty() || message.direction != Direction::ToServer.as_str() {
            return None;
        }
        self.gate.as_ref()?.level(&Request {
            peer: Principal::Local,
            server: message.server,
            direction: Direction::ToServer,
            method: message.method,
            subject: message.subject,
        })
    }
}

impl OfServer {
    pub(super) fn new(families: &Families, server: &str) -> Self {
        // As of all that is known beforehand.
        for code in classes::of_messages() {
            families.messages_denied.of([server, code.as_str()]);
        }
        for code in classes::OF_DEFINITIONS {
            families.definitions_blocked.of([server, code.as_str()]);
        }
        Self {
            decisions: std::array::from_fn(|level| {
                let level = Level::ALL.get(level).map(|level| level.number().to_string());
                let level = level.as_deref().unwrap_or(NO_LEVEL);
                ["allow", "deny"].map(|decision| families.decisions.of([server, level, decision]))
            }),
            calls: RESULTS.map(|result| families.calls.of([server, &result.to_string()])),
            call_duration: families.call_duration.of([server]),
            tls_connections: families.tls_connections.of([server]),
            reconnects: families.reconnects.of([server]),
        }
    }

    pub(super) fn ended(&self, result: CallResult, duration: Duration) {
        if let Some(index) = RESULTS.iter().position(|of| *of == result) {
            self.calls[index].inc();
        }
        // What nobody answered took no time.
        if result != CallResult::Unanswered {
            self.call_duration.observe(duration.as_secs_f64());
        }
    }
}
