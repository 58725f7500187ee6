//! What is counted for a monitoring system, and shown in the text format of Prometheus and
//! OpenMetrics.
//!
//! [`SecurityMetrics`] counts events as they are recorded: a [`MetricsSink`] stands before the
//! audit sink. What is not an event (how many conversations there are, until when certificates
//! are valid, how the audit log is) is told it as [`Levels`] when somebody looks.
//!
//! A message that passes costs a look-up of its server, one of its level and a few additions;
//! nothing is allocated, and nothing is locked but for readers.

mod classes;
mod declared;
mod entries;
mod labelled;
mod levels;
mod served;
mod sink;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use sealwire_audit::{AgentStep, Event, Message, PinStep};
use sealwire_guard::{Direction, Gate, IncidentKind, Level};
use sealwire_names::{PeerId, RefusalCode};

use self::declared::Families;
pub use self::declared::{DECLARED, Metric};
use self::labelled::Labelled;
use self::levels::seconds;
pub use self::levels::{Levels, LogLevels};
use self::served::{OfServer, Served};
pub use self::sink::MetricsSink;

/// The content type of [`SecurityMetrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts what happens.
pub struct SecurityMetrics {
    families: Families,
    served: RwLock<Served>,
    mtls_successes: Counter,
    audit_failures: Counter,
    registry: Mutex<Registry>,
}

/// What can happen to a message between agents.
const AGENT_STEPS: [&str; 9] = [
    "sending",
    "sent",
    "send_failed",
    "delivered",
    REDELIVERED,
    "acknowledged",
    "deferred",
    "not_sent",
    "refused",
];
const REDELIVERED: &str = "redelivered";
impl Default for SecurityMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl SecurityMetrics {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let (families, registry) = Families::new();
        // What is known beforehand begins at zero: of what only appears with its first event, that
        // one would be no increase.
        let begin = |family: &Labelled<Counter>, codes: &mut dyn Iterator<Item = RefusalCode>| {
            codes.for_each(|code| drop(family.of([code.as_str()])));
        };
        begin(&families.connections_refused, &mut classes::of_connections());
        begin(&families.mtls_failures, &mut classes::OF_MTLS.iter().copied());
        begin(&families.limits_exceeded, &mut classes::OF_LIMITS.iter().copied());
        begin(&families.replays_detected, &mut classes::OF_REPLAYS.iter().copied());
        begin(&families.agent_messages_refused, &mut classes::of_mail());
        for kind in IncidentKind::ALL {
            families.incidents.of([kind.as_str()]);
        }
        for step in AGENT_STEPS {
            families.agent_messages.of([step]);
        }
        for of in ["certificate", "message"] {
            for result in ["valid", "invalid"] {
                families.signature_verifications.of([of, result]);
            }
        }
        families.log_lines_lost.alone();
        families.build_info.of([env!("CARGO_PKG_VERSION")]).set(1);
        families.start_timestamp.alone().set(seconds(SystemTime::now().into()));
        Self {
            mtls_successes: families.mtls_successes.alone(),
            audit_failures: families.audit_failures.alone(),
            families,
            served: RwLock::default(),
            registry: Mutex::new(registry),
        }
    }

    /// From now on, these servers are served, and `gate` knows the levels of what is asked for.
    /// What was counted of others stays.
    pub fn serving<'s>(&self, gate: Arc<dyn Gate>, servers: impl IntoIterator<Item = &'s str>) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        served.gate = Some(gate);
        for server in servers {
            let of_server = || OfServer::new(&self.families, server);
            served.servers.entry(server.to_owned()).or_insert_with(of_server);
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event<'_>) {
        match event {
            Event::Decision { message, denied } => {
                self.decided(message, denied.map(|refusal| refusal.code));
            }
            Event::Outcome { message, result, duration, .. }
                if message.direction == Direction::ToServer.as_str() =>
            {
                self.on(message.server, |server| server.ended(*result, *duration));
            }
            Event::ConnectionAccepted(connection) => {
                self.verified();
                self.on(connection.server, |server| server.tls_connections.inc());
            }
            Event::ConnectionResumed(connection) => {
                self.verified();
                self.on(connection.server, |server| {
                    server.tls_connections.inc();
                    server.reconnects.inc()
                });
            }
            Event::ConnectionRefused { peer, refusal, .. } => {
                self.connection_refused(*peer, refusal.code);
            }
            Event::AgentMessage(message) => self.agent_message(&message.step),
            Event::Pin(pin) => {
                if let PinStep::Blocked { refusal, .. } = pin.step {
                    let labels = [pin.server, refusal.code.as_str()];
                    self.families.definitions_blocked.of(labels).inc();
                }
            }
            Event::Incident(incident) => {
                self.families.incidents.of([incident.kind]).inc();
            }
            _ => {}
        }
    }

    /// Counts an event that could not be recorded.
    pub fn count_unrecorded(&self) {
        self.audit_failures.inc();
    }

    /// All that was counted, and how things are now, as [`CONTENT_TYPE`].
    pub fn text(&self, levels: &Levels) -> String {
        // One at a time, so that nobody sees half of what another one tells.
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(levels);
        let mut text = String::new();
        // A string takes whatever is written.
        let _never_fails = encode(&mut text, &registry);
        text
    }

    fn decided(&self, message: &Message<'_>, denied: Option<RefusalCode>) {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = served.servers.get(message.server) {
            let level = served.level(message).map_or(Level::ALL.len(), |level| level as usize);
            server.decisions[level][usize::from(denied.is_some())].inc();
        }
        drop(served);
        if let Some(code) = denied {
            self.families.messages_denied.of([message.server, code.as_str()]).inc();
            self.refused(code);
        }
    }

    fn connection_refused(&self, peer: Option<&PeerId>, code: RefusalCode) {
        self.families.connections_refused.of([code.as_str()]).inc();
        self.refused(code);
        // Whose name is known was verified, and may be refused for another reason; but a
        // certificate that is revoked is none.
        if peer.is_some() && code != RefusalCode::CertificateRevoked {
            self.verified();
        } else if classes::OF_MTLS.contains(&code) {
            self.families.mtls_failures.of([code.as_str()]).inc();
        }
        if code == RefusalCode::CertificateSignature {
            self.signature("certificate", false);
        }
    }

    fn agent_message(&self, step: &AgentStep<'_>) {
        let (word, refused) = match step {
            AgentStep::Sending => ("sending", None),
            AgentStep::Sent => ("sent", None),
            AgentStep::SendFailed { .. } => ("send_failed", None),
            AgentStep::Delivered { again: false } => ("delivered", None),
            AgentStep::Delivered { again: true } => (REDELIVERED, None),
            AgentStep::Acknowledged => ("acknowledged", None),
            AgentStep::Deferred { .. } => ("deferred", None),
            AgentStep::NotSent(refusal) => ("not_sent", Some(refusal.code)),
            AgentStep::Refused(refusal) => ("refused", Some(refusal.code)),
        };
        self.agent_step(word, refused);
    }

    /// One of [`AGENT_STEPS`].
    fn agent_step(&self, step: &str, refused: Option<RefusalCode>) {
        self.families.agent_messages.of([step]).inc();
        let verified = match step {
            "delivered" | REDELIVERED | "deferred" => Some(true),
            "refused" => refused.and_then(classes::signature_holds),
            _ => None,
        };
        if let Some(holds) = verified {
            self.signature("message", holds);
        }
        if step == "deferred" {
            self.refused(RefusalCode::AgentRateLimited);
        }
        if let Some(code) = refused {
            self.families.agent_messages_refused.of([code.as_str()]).inc();
            self.refused(code);
        }
    }

    /// What any refusal may be.
    fn refused(&self, code: RefusalCode) {
        if classes::OF_LIMITS.contains(&code) {
            self.families.limits_exceeded.of([code.as_str()]).inc();
        }
        if classes::OF_REPLAYS.contains(&code) {
            self.families.replays_detected.of([code.as_str()]).inc();
        }
    }

    /// A peer's certificate was.
    fn verified(&self) {
        self.mtls_successes.inc();
        self.signature("certificate", true);
    }

    fn signature(&self, of: &str, holds: bool) {
        let result = if holds { "valid" } else { "invalid" };
        self.families.signature_verifications.of([of, result]).inc();
    }

    fn on<T>(&self, server: &str, count: impl FnOnce(&OfServer) -> T) {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.servers.get(server).map(count);
    }
}

impl fmt::Debug for SecurityMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityMetrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
