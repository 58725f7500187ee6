//! Entries as events of the Open Cybersecurity Schema Framework 1.3.

use serde_json::{Map, Value, json};

const VERSION: &str = "1.3.0";

/// What an entry is there: its class, what was done, how bad it is.
struct Class {
    category: u64,
    class: u64,
    activity: u64,
    severity: u64,
}

/// An event. What the schema has no name for is in `unmapped`, under its own.
pub(super) fn event(mut entry: Map<String, Value>) -> Value {
    let kind = entry.remove("type").unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().to_owned();
    let Class { category, class, activity, severity } = classify(&kind, &entry);
    let uid = match (entry.remove("entry"), entry.remove("call")) {
        // Several events of one entry have names of their own.
        (Some(number), Some(call)) => Some(format!("{number}/{call}")),
        (number, _) => number.map(|number| number.to_string()),
    };
    let mut event = json!({
        "category_uid": category,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "severity_id": severity,
        "time": entry.remove("time"),
        "metadata": {
            "version": VERSION,
            "product": { "name": "sealwire", "vendor_name": "sealwire", "version": env!("CARGO_PKG_VERSION") },
            "log_name": "audit",
            "uid": uid,
            "event_code": kind,
        },
    });
    if activity == OTHER {
        // What is done has a name of its own only here.
        event["activity_name"] = event["metadata"]["event_code"].clone();
    }
    let status = match (&entry.get("decision"), &entry.get("outcome")) {
        (_, Some(outcome)) => Some(*outcome == "result"),
        (Some(decision), _) => Some(*decision == "allow"),
        _ if kind.ends_with("refused") || kind.ends_with("failed") || kind == REFUSALS => {
            Some(false)
        }
        _ => None,
    };
    event["status_id"] = json!(status.map_or(0, |done| if done { 1 } else { 2 }));
    move_to(&mut event, &mut entry, "detail", &["status_detail"]);
    move_to(&mut event, &mut entry, "reason", &["status_code"]);
    match class {
        API_ACTIVITY => of_api(&mut event, &mut entry),
        AUTHENTICATION => of_authentication(&mut event, &mut entry),
        APPLICATION_LIFECYCLE => event["app"] = event["metadata"]["product"].clone(),
        DETECTION_FINDING => of_finding(&mut event, &mut entry),
        _ => {}
    }
    if let Some(micros) = entry.remove("duration_us").and_then(|micros| micros.as_u64()) {
        event["duration"] = json!(micros / 1_000);
        entry.insert("duration_us".to_owned(), micros.into());
    }
    if !entry.is_empty() {
        event["unmapped"] = Value::Object(entry);
    }
    event
}

/// The class must have an actor, the operation, and where it comes from.
fn of_api(event: &mut Value, entry: &mut Map<String, Value>) {
    let peer = entry.remove("peer").unwrap_or_else(|| UNKNOWN.into());
    event["actor"]["user"]["uid"] = peer.clone();
    event["src_endpoint"]["uid"] = peer;
    event["api"]["operation"] = UNKNOWN.into();
    move_to(event, entry, "mcp.method.name", &["api", "operation"]);
    move_to(event, entry, "jsonrpc.request.id", &["api", "request", "uid"]);
    move_to(event, entry, "server", &["dst_endpoint", "svc_name"]);
}

/// The class must have a user, and what he authenticates to.
fn of_authentication(event: &mut Value, entry: &mut Map<String, Value>) {
    match entry.remove("peer") {
        Some(peer) => event["user"]["uid"] = peer,
        None => event["user"]["name"] = UNKNOWN.into(),
    }
    event["service"]["name"] = event["metadata"]["product"]["name"].clone();
    move_to(event, entry, "network.peer.address", &["src_endpoint", "ip"]);
    move_to(event, entry, "network.peer.port", &["src_endpoint", "port"]);
    move_to(event, entry, "server", &["dst_endpoint", "svc_name"]);
}

/// The class must have a finding with a title and an id.
fn of_finding(event: &mut Value, entry: &mut Map<String, Value>) {
    let uid = entry.get("incident").map(Value::to_string);
    event["finding_info"]["uid"] =
        uid.map_or_else(|| event["metadata"]["uid"].clone(), Value::String);
    event["finding_info"]["title"] = entry.get("kind").cloned().unwrap_or_else(|| UNKNOWN.into());
}

const DETECTION_FINDING: u64 = 2004;
const AUTHENTICATION: u64 = 3002;
const APPLICATION_LIFECYCLE: u64 = 6002;
const API_ACTIVITY: u64 = 6003;
/// The activity of each class that has no number.
const OTHER: u64 = 99;
/// Refusals of those who have proven no name, counted together.
const REFUSALS: &str = "refusals";
/// What the schema must have and the entry has not.
const UNKNOWN: &str = "unknown";

fn classify(kind: &str, entry: &Map<String, Value>) -> Class {
    let of = |category, class, activity, severity| Class { category, class, activity, severity };
    let is_denied = entry.get("decision").is_some_and(|decision| decision == "deny");
    match kind {
        "call.decision" | "call.outcome" => {
            of(6, API_ACTIVITY, OTHER, if is_denied { 3 } else { 1 })
        }
        // Authentication: Logon.
        "connection.accepted" | "connection.resumed" => of(3, AUTHENTICATION, 1, 1),
        "connection.refused" | REFUSALS => of(3, AUTHENTICATION, 1, 3),
        "incident" => of(2, DETECTION_FINDING, 1, 4),
        "log.start" => of(6, APPLICATION_LIFECYCLE, 3, 1),
        "log.stop" => of(6, APPLICATION_LIFECYCLE, 4, 1),
        _ if kind.starts_with("log.") => of(6, APPLICATION_LIFECYCLE, OTHER, 1),
        _ if kind.ends_with("refused") || kind.ends_with("failed") || kind.ends_with("blocked") => {
            of(0, 0, OTHER, 3)
        }
        // Base event.
        _ => of(0, 0, OTHER, 1),
    }
}

fn move_to(event: &mut Value, entry: &mut Map<String, Value>, name: &str, path: &[&str]) {
    let Some(value) = entry.remove(name) else { return };
    let mut place = event;
    for part in path {
        place = &mut place[*part];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Value) -> Value {
        let Value::Object(entry) = value else { unreachable!() };
        event(entry)
    }

    #[test]
    fn a_denied_call_is_a_failed_api_activity() {
        let event = of(json!({
            "entry": 7, "time": 5, "type": "call.decision", "decision": "deny", "peer": "spiffe://x/core/a",
            "server": "files", "mcp.method.name": "tools/call", "gen_ai.tool.name": "rm", "reason": "denied",
            "jsonrpc.request.id": "1",
        }));
        assert_eq!(event["class_uid"], 6003);
        assert_eq!(event["type_uid"], 600_399);
        assert_eq!(event["status_id"], 2);
        assert_eq!(event["severity_id"], 3);
        assert_eq!(event["actor"]["user"]["uid"], "spiffe://x/core/a");
        assert_eq!(event["api"]["operation"], "tools/call");
        assert_eq!(event["api"]["request"]["uid"], "1");
        assert_eq!(event["metadata"]["uid"], "7");
        assert_eq!(event["unmapped"]["gen_ai.tool.name"], "rm");
        assert_eq!(event["unmapped"]["decision"], "deny");
    }

    #[test]
    fn a_call_that_was_allowed_succeeds_if_its_outcome_does() {
        for (outcome, status) in [(None, 1), (Some("result"), 1), (Some("error"), 2)] {
            let mut entry = json!({ "type": "call.decision", "decision": "allow" });
            if let Some(outcome) = outcome {
                entry["outcome"] = json!(outcome);
            }
            assert_eq!(of(entry)["status_id"], status, "{outcome:?}");
        }
    }

    #[test]
    fn each_call_of_an_entry_has_a_name_of_its_own() {
        let event = of(json!({ "entry": 7, "call": 2, "time": 5, "type": "call.outcome" }));
        assert_eq!(event["metadata"]["uid"], "7/2");
    }

    #[test]
    fn nothing_of_an_entry_is_lost() {
        let event = of(json!({
            "entry": 1, "time": 2, "type": "connection.accepted", "network.peer.address": "10.0.0.1",
            "network.peer.port": 9, "certificate": "ab", "new": { "a": 1 },
        }));
        assert_eq!(event["class_uid"], 3002);
        assert_eq!(event["src_endpoint"], json!({ "ip": "10.0.0.1", "port": 9 }));
        // A certificate of the schema has an issuer and a serial number, too.
        assert_eq!(event["unmapped"], json!({ "certificate": "ab", "new": { "a": 1 } }));
    }

    #[test]
    fn what_the_schema_must_have_is_there_even_if_the_entry_has_it_not() {
        let refused = of(json!({ "entry": 4, "time": 2, "type": "refusals", "counts": {"a": 1} }));
        assert_eq!((&refused["user"]["name"], &refused["status_id"]), (&json!(UNKNOWN), &json!(2)));
        assert_eq!(refused["service"]["name"], "sealwire");
        let incident = of(json!({ "entry": 4, "time": 2, "type": "incident", "kind": "replays" }));
        assert_eq!(incident["class_uid"], 2004);
        assert_eq!(incident["finding_info"], json!({ "uid": "4", "title": "replays" }));
        let unread =
            of(json!({ "entry": 4, "time": 2, "type": "call.decision", "decision": "deny" }));
        assert_eq!(unread["api"]["operation"], UNKNOWN);
        assert_eq!(unread["activity_name"], "call.decision");
        let started = of(json!({ "entry": 0, "time": 2, "type": "log.start" }));
        assert_eq!(started["app"]["vendor_name"], "sealwire");
    }
}
