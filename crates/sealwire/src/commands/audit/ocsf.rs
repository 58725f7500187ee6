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
            "uid": entry.remove("entry").map(|entry| entry.to_string()),
            "event_code": kind,
        },
    });
    let status = match (&entry.get("decision"), &entry.get("outcome")) {
        (Some(decision), _) => Some(*decision == "allow"),
        (_, Some(outcome)) => Some(*outcome == "result"),
        _ if kind.ends_with("refused") || kind.ends_with("failed") => Some(false),
        _ => None,
    };
    event["status_id"] = json!(status.map_or(0, |done| if done { 1 } else { 2 }));
    move_to(&mut event, &mut entry, "detail", &["status_detail"]);
    move_to(&mut event, &mut entry, "reason", &["status_code"]);
    move_to(&mut event, &mut entry, "peer", &["actor", "user", "uid"]);
    move_to(&mut event, &mut entry, "network.peer.address", &["src_endpoint", "ip"]);
    move_to(&mut event, &mut entry, "network.peer.port", &["src_endpoint", "port"]);
    move_to(&mut event, &mut entry, "server", &["dst_endpoint", "svc_name"]);
    if let Some(certificate) = entry.remove("certificate") {
        event["certificate"] =
            json!({ "fingerprints": [{ "algorithm_id": 3, "value": certificate }] });
    }
    if class == API_ACTIVITY {
        move_to(&mut event, &mut entry, "mcp.method.name", &["api", "operation"]);
        move_to(&mut event, &mut entry, "jsonrpc.request.id", &["api", "request", "uid"]);
    }
    if let Some(micros) = entry.remove("duration_us").and_then(|micros| micros.as_u64()) {
        event["duration"] = json!(micros / 1_000);
        entry.insert("duration_us".to_owned(), micros.into());
    }
    if class == DETECTION_FINDING {
        let title = entry.get("kind").cloned().unwrap_or_default();
        event["finding_info"] =
            json!({ "uid": entry.get("incident").map(Value::to_string), "title": title });
    }
    if !entry.is_empty() {
        event["unmapped"] = Value::Object(entry);
    }
    event
}

const API_ACTIVITY: u64 = 6003;
const DETECTION_FINDING: u64 = 2004;

fn classify(kind: &str, entry: &Map<String, Value>) -> Class {
    let of = |category, class, activity, severity| Class { category, class, activity, severity };
    let is_denied = entry.get("decision").is_some_and(|decision| decision == "deny");
    match kind {
        "call.decision" | "call.outcome" => of(6, API_ACTIVITY, 99, if is_denied { 3 } else { 1 }),
        // Authentication: Logon.
        "connection.accepted" | "connection.resumed" => of(3, 3002, 1, 1),
        "connection.refused" | "refusals" => of(3, 3002, 1, 3),
        "incident" => of(2, DETECTION_FINDING, 1, 4),
        "log.start" => of(6, 6002, 3, 1),
        "log.stop" => of(6, 6002, 4, 1),
        // Application lifecycle: other.
        _ if kind.starts_with("log.") => of(6, 6002, 99, 1),
        _ if kind.ends_with("refused") || kind.ends_with("failed") || kind.ends_with("blocked") => {
            of(0, 0, 99, 3)
        }
        // Base event.
        _ => of(0, 0, 99, 1),
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
    fn nothing_of_an_entry_is_lost() {
        let event = of(json!({
            "entry": 1, "time": 2, "type": "connection.accepted", "network.peer.address": "10.0.0.1",
            "network.peer.port": 9, "certificate": "ab", "new": { "a": 1 },
        }));
        assert_eq!(event["class_uid"], 3002);
        assert_eq!(event["src_endpoint"], json!({ "ip": "10.0.0.1", "port": 9 }));
        assert_eq!(event["certificate"]["fingerprints"][0]["value"], "ab");
        assert_eq!(event["unmapped"], json!({ "new": { "a": 1 } }));
        assert_eq!(of(json!({ "type": "incident", "kind": "replays" }))["class_uid"], 2004);
    }
}
