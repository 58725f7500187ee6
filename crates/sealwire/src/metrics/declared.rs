//! Every metric there is: its name, kind, unit, labels and what it says. Nothing else makes one,
//! and docs/metrics.md lists the same.
//!
//! What a label may be is one of a list that we know: a server of the configuration, a word of
//! ours. Never a peer, a tool, an address or anything else that others choose: each would be a
//! series of its own, and their number theirs to choose.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labelled::{Kind, Labelled};

/// What all names begin with.
const PREFIX: &str = "sealwire";

/// One metric, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    unit: Option<&'static str>,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    /// Its name in a query; of a histogram, without `_bucket`, `_sum` or `_count`.
    pub fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let total = if self.kind == Counter::<u64>::WORD { "_total" } else { "" };
        format!("{PREFIX}_{}{unit}{total}", self.name)
    }

    /// Its unit: `seconds` or `bytes`; of what is only counted, none.
    pub fn unit(&self) -> Option<&'static str> {
        self.unit
    }
}

macro_rules! declare {
    ($($field:ident: $kind:ident $([$($label:ident),+])? $(in $unit:ident)? $help:literal)+) => {
        /// Where each is counted.
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $field: Labelled<$kind>,)+
        }

        /// Every metric, in the order in which they are shown.
        pub const DECLARED: &[Metric] = &[$(Metric {
            name: stringify!($field),
            unit: declare!(@unit $($unit)?),
            kind: <$kind as Kind>::WORD,
            labels: &[$($(stringify!($label)),+)?],
            help: $help,
        }),+];

        impl Families {
            /// All of them, and the registry that shows them.
            pub(super) fn new() -> (Self, Registry) {
                let mut registry = Registry::with_prefix(PREFIX);
                let families = Self {
                    $($field: Labelled::new(&[$($(stringify!($label)),+)?]),)+
                };
                $(
                    let unit: Option<&str> = declare!(@unit $($unit)?);
                    let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
                    families.$field.register(&mut registry, stringify!($field), $help, unit);
                )+
                (families, registry)
            }
        }
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(stringify!($unit)) };
}

declare! {
    // Connections.
    tls_connections: Counter [server]
        "Mutually authenticated TLS connections that were let in, reconnects among them"
    reconnects: Counter [server]
        "Those that came back to their conversation after a network cut"
    connections_refused: Counter [reason]
        "Connections that were refused, by refusal code"
    mtls_successes: Counter
        "TLS handshakes in which the peer's certificate was verified, whatever came of the connection"
    mtls_failures: Counter [reason]
        "TLS handshakes that failed, or whose certificate is not accepted, by refusal code"
    conversations: Gauge [server]
        "Conversations there are, connected or waiting for their peer to come back"

    // Messages of MCP.
    decisions: Counter [server, level, decision]
        "Requests and notifications decided upon, by the level of what they ask for (0 to 3, or none) and allow or deny"
    messages_denied: Counter [server, reason]
        "Requests and notifications that were denied, by refusal code"
    calls: Counter [server, result]
        "Requests of clients that have ended: with a result, an error, or unanswered"
    call_duration: Histogram [server] in seconds
        "Time from the decision about a client's request to its answer"
    definitions_blocked: Counter [server, reason]
        "Definitions of servers that differ from what was approved, by refusal code"

    // Messages between agents.
    agent_messages: Counter [step]
        "What happened to messages between agents"
    agent_messages_refused: Counter [reason]
        "Messages between agents that were not sent or not delivered, by refusal code"

    // What is an attack, or may be one.
    signature_verifications: Counter [of, result]
        "Signatures verified, of messages and of peers' certificates: valid or invalid"
    limits_exceeded: Counter [limit]
        "What was refused or put off because of a limit, by refusal code"
    replays_detected: Counter [reason]
        "Messages and connections that were there before, by refusal code"
    incidents: Counter [kind]
        "Incidents: refusals that were too many"
    quarantined: Gauge [kind]
        "Peers, agents and servers that are shut out"

    // Certificates.
    certificate_expiry_timestamp: Gauge [server] in seconds
        "When the certificate of a server, or one that vouches for it, expires, since 1970"
    ready: Gauge
        "Whether clients can be sent here (1), as /readyz says"

    // The audit log.
    audit_failures: Counter
        "Events that could not be recorded; calls are denied for it"
    audit_entries: Gauge
        "Entries that the audit log has had, those that were pruned among them"
    audit_size: Gauge in bytes
        "What the audit log takes on disk"
    audit_limit: Gauge in bytes
        "What the audit log may take (max_total_size); beyond it calls are denied"
    audit_nearly_full: Gauge
        "Whether there will soon be no room for the audit log (1)"
    audit_writable: Gauge
        "Whether the audit log can be written (1); while it cannot, calls are denied"
    audit_checkpoint_entries: Gauge
        "Entries that the latest signed checkpoint covers: the size of the tree"
    audit_checkpoint_timestamp: Gauge in seconds
        "When the latest checkpoint was signed, since 1970"
    audit_checkpoint_root: Gauge [word]
        "The root hash of the latest checkpoint, in eight numbers of 32 bits, the first one first"

    // This process.
    log_lines_lost: Counter
        "Lines of the program's log that could not be written"
    start_timestamp: Gauge in seconds
        "When this process began to serve, since 1970"
    build_info: Gauge [version]
        "The version that runs; always 1"
}
