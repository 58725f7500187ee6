//! What an outcome is about, which only its decision says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What is known of a call from its decision on.
const ABOUT: [&str; 9] = [
    "peer",
    "server",
    "direction",
    "mcp.method.name",
    "gen_ai.tool.name",
    "gen_ai.prompt.name",
    "mcp.resource.uri",
    "subject",
    "jsonrpc.request.id",
];

/// Decisions that are remembered. There are never so many calls under way; but of those that a
/// crash cut off, no outcome comes.
const MOST: usize = 1 << 16;

/// The decisions whose outcomes have not come yet, by their numbers.
#[derive(Default)]
pub(super) struct Decisions(BTreeMap<u64, Map<String, Value>>);

impl Decisions {
    /// Takes notice of an entry, in order; to an outcome it adds what the call was.
    pub(super) fn complete(&mut self, entry: &mut Map<String, Value>) {
        let number = |name: &str| entry.get(name).and_then(Value::as_u64);
        match entry.get("type").and_then(Value::as_str) {
            Some("call.decision") if entry.get("decision").is_some_and(|word| word == "allow") => {
                let Some(number) = number("entry") else { return };
                let about = ABOUT.iter().filter_map(|&name| {
                    entry.get(name).map(|value| (name.to_owned(), value.clone()))
                });
                self.0.insert(number, about.collect());
                if self.0.len() > MOST {
                    self.0.pop_first();
                }
            }
            Some("call.outcome") => {
                let about = number("decision_entry").and_then(|number| self.0.remove(&number));
                for (name, value) in about.into_iter().flatten() {
                    entry.entry(name).or_insert(value);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_is_about_what_was_decided() {
        let mut decisions = Decisions::default();
        let mut complete = |entry: Value| {
            let Value::Object(mut entry) = entry else { unreachable!() };
            decisions.complete(&mut entry);
            Value::Object(entry)
        };
        for entry in [5, 6] {
            complete(json!({
                "entry": entry, "type": "call.decision", "server": "files", "decision": "allow",
                "gen_ai.tool.name": format!("tool{entry}"), "jsonrpc.request.id": "1",
            }));
        }
        let outcome = json!({ "entry": 7, "type": "call.outcome", "decision_entry": 6 });
        assert_eq!(
            complete(outcome.clone()),
            json!({
                "entry": 7, "type": "call.outcome", "decision_entry": 6, "server": "files",
                "gen_ai.tool.name": "tool6", "jsonrpc.request.id": "1",
            })
        );
        assert_eq!(complete(outcome.clone()), outcome, "a call ends once");
    }
}
