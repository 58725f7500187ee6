//! What is kept of quarantines, incidents and revocations, as commands show it in JSON.

use sealwire::home::Home;
use sealwire::incidents::SecurityIncident;
use sealwire_audit::Status;
use sealwire_guard::Entry;
use sealwire_identity::{CertificateSummary, Revocation};
use sealwire_names::Timestamp;
use serde_json::{Value, json};

use super::local::{LocalConversation, local_conversations};

/// Somebody who is shut out.
pub(crate) fn as_json(entry: &Entry) -> Value {
    json!({
        "kind": entry.target.kind(),
        "name": entry.target.name(),
        "reason": entry.reason,
        "since": entry.since.to_string(),
        "until": entry.until.map(|until| until.to_string()),
        "incident": entry.incident,
    })
}

/// What `connect` has started on this machine.
pub(crate) fn local_as_json(home: &Home) -> Vec<Value> {
    let shown = |conversation: LocalConversation| {
        json!({
            "server": conversation.server,
            "process": conversation.process,
            "since": Timestamp::from_unix_millis(conversation.since).to_string(),
        })
    };
    local_conversations(home).into_iter().map(shown).collect()
}

/// A revocation.
pub(crate) fn revocation_as_json(revocation: &Revocation) -> Value {
    json!({
        "kind": revocation.what.kind(),
        "what": revocation.what.text(),
        "reason": revocation.reason,
        "at": revocation.at.to_string(),
    })
}

/// A certificate that a server presents.
pub(super) fn certificate_as_json(server: &str, own: &CertificateSummary) -> Value {
    json!({
        "server": server,
        "id": own.uris.first(),
        "issuer": own.issuer,
        "serial": own.serial,
        "not_before": own.not_before.to_string(),
        "not_after": own.not_after.to_string(),
    })
}

/// How the audit log is.
pub(super) fn log_as_json(log: &Status) -> Value {
    let checkpoint = log.checkpoint.as_ref().map(|checkpoint| {
        json!({
            "entries": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "at": log.signed.map(|at| at.to_string()),
        })
    });
    json!({
        "entries": log.entries,
        "first": log.first,
        "bytes": log.bytes,
        "most_bytes": log.most_bytes,
        "nearly_full": log.is_nearly_full,
        "trouble": log.trouble,
        "checkpoint": checkpoint,
    })
}

/// Refusals that were too many.
pub(crate) fn incident_as_json(incident: &SecurityIncident) -> Value {
    json!({
        "id": incident.id,
        "kind": incident.kind,
        "subject_kind": incident.subject_kind,
        "subject": incident.subject,
        "events": incident.events,
        "window_ms": u64::try_from(incident.window.as_millis()).unwrap_or(u64::MAX),
        "action": incident.action,
        "at": incident.at.to_string(),
        "until": incident.until.to_string(),
    })
}
