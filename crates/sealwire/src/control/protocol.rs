//! What is said on the control socket: one JSON object in a line each way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::local_event::LocalEvent;

/// What a running `serve` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Tell what is going on.
    Status {},
    /// Read the configuration and all files again, now.
    Reload {},
    /// Shut a target out.
    QuarantineAdd {
        /// `peer`, `agent` or `server`.
        kind: String,
        /// Its name: a SPIFFE ID, an agent's name, or a server's name on the wire.
        name: String,
        /// Why.
        reason: String,
        /// Until when, in milliseconds since 1970.
        until: Option<i64>,
    },
    /// Let a target in again.
    QuarantineLift {
        /// As above.
        kind: String,
        /// As above.
        name: String,
    },
    /// Who is shut out.
    QuarantineList {},
    /// Record what a command does, in the log that only `serve` writes while it runs.
    Record {
        /// What follows the time in an entry.
        entry: String,
    },
    /// Record what happened between a client of this machine and a server that its `connect` has
    /// started.
    RecordLocal {
        /// That, in order.
        events: Vec<LocalEvent>,
    },
    /// Revoke certificates.
    Revoke {
        /// `certificate` or `name`.
        kind: String,
        /// A fingerprint, or a SPIFFE ID.
        what: String,
        /// Of a certificate, what is signed of it; without that, one by which somebody is
        /// connected is meant.
        signed: Option<String>,
        /// Why.
        reason: String,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done; what is to be told of it.
    Done(Value),
    /// It is not.
    Failed {
        /// Why.
        what: String,
        /// What to do.
        fix: String,
    },
}

impl Answer {
    pub(crate) fn failed(what: impl ToString, fix: &str) -> Self {
        Self::Failed { what: what.to_string(), fix: fix.to_owned() }
    }
}
