//! Calls, one by one: an entry may be about several, and an outcome that has an entry of its own
//! says of its call only what its decision does not.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

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

/// Calls that an entry may be about.
const IN_ENTRY: RangeInclusive<u64> = 2..=4_096;

/// Decisions that are remembered. There are never so many calls under way; but of those that a
/// crash cut off, no outcome comes.
const MOST: usize = 1 << 16;

/// Entries as if each were about one call.
#[derive(Default)]
pub(super) struct Calls {
    /// The decisions whose outcomes have not come yet, by entry and place in it.
    decided: BTreeMap<(u64, u64), Map<String, Value>>,
}

impl Calls {
    /// What an entry says, call by call; an entry that is not about calls as it is. Entries come
    /// in order.
    pub(super) fn of(&mut self, entry: Map<String, Value>) -> Vec<Map<String, Value>> {
        let mut records = one_by_one(entry);
        records.iter_mut().for_each(|record| self.complete(record));
        records
    }

    /// To an outcome it adds what the call was.
    fn complete(&mut self, record: &mut Map<String, Value>) {
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let place = |entry: &str, call: &str| Some((number(entry)?, number(call).unwrap_or(0)));
        match record.get("type").and_then(Value::as_str) {
            Some("call.decision")
                if record.get("decision").is_some_and(|word| word == "allow")
                    && !record.contains_key("outcome") =>
            {
                let Some(place) = place("entry", "call") else { return };
                let about = ABOUT.iter().filter_map(|&name| {
                    record.get(name).map(|value| (name.to_owned(), value.clone()))
                });
                self.decided.insert(place, about.collect());
                if self.decided.len() > MOST {
                    self.decided.pop_first();
                }
            }
            Some("call.outcome") => {
                let about = place("decision_entry", "decision_call")
                    .and_then(|place| self.decided.remove(&place));
                for (name, value) in about.into_iter().flatten() {
                    record.entry(name).or_insert(value);
                }
            }
            _ => {}
        }
    }
}

/// Of several calls, each with what they share, what is its own of each list, and its place in
/// `call`.
fn one_by_one(mut entry: Map<String, Value>) -> Vec<Map<String, Value>> {
    let calls = entry.get("calls").and_then(Value::as_u64).filter(|calls| IN_ENTRY.contains(calls));
    let Some(calls) = calls else { return vec![entry] };
    entry.remove("calls");
    let at = |place: u64| {
        let own = |(name, value): (&String, &Value)| {
            let value = match value {
                Value::Array(values) => values.get(usize::try_from(place).ok()?)?,
                value => value,
            };
            Some((name.clone(), value.clone()))
        };
        let mut record: Map<_, _> = entry.iter().filter_map(own).collect();
        record.insert("call".to_owned(), place.into());
        record
    };
    (0..calls).map(at).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(calls: &mut Calls, entry: Value) -> Value {
        let Value::Object(entry) = entry else { unreachable!() };
        calls.of(entry).into_iter().map(Value::Object).collect()
    }

    #[test]
    fn an_outcome_is_about_what_was_decided() {
        let mut calls = Calls::default();
        for entry in [5, 6] {
            let decision = json!({
                "entry": entry, "type": "call.decision", "server": "files", "decision": "allow",
                "gen_ai.tool.name": format!("tool{entry}"), "jsonrpc.request.id": "1",
            });
            assert_eq!(of(&mut calls, decision.clone()), json!([decision]));
        }
        let outcome = json!({ "entry": 7, "type": "call.outcome", "decision_entry": 6 });
        assert_eq!(
            of(&mut calls, outcome.clone()),
            json!([{
                "entry": 7, "type": "call.outcome", "decision_entry": 6, "server": "files",
                "gen_ai.tool.name": "tool6", "jsonrpc.request.id": "1",
            }])
        );
        assert_eq!(of(&mut calls, outcome.clone()), json!([outcome]), "a call ends once");
    }

    #[test]
    fn calls_that_share_an_entry_are_told_apart() {
        let mut calls = Calls::default();
        let decisions = json!({
            "entry": 5, "type": "call.decision", "decision": "allow", "server": "files",
            "calls": 2, "jsonrpc.request.id": ["1", "2"], "arguments": ["a"],
        });
        let told = of(&mut calls, decisions);
        assert_eq!(
            told,
            json!([
                { "entry": 5, "call": 0, "type": "call.decision", "decision": "allow",
                  "server": "files", "jsonrpc.request.id": "1", "arguments": "a" },
                { "entry": 5, "call": 1, "type": "call.decision", "decision": "allow",
                  "server": "files", "jsonrpc.request.id": "2" },
            ])
        );
        let outcomes = json!({
            "entry": 6, "type": "call.outcome", "outcome": "result",
            "calls": 2, "decision_entry": [5, 5], "decision_call": [1, 0],
        });
        let told = of(&mut calls, outcomes);
        let ids = [&told[0]["jsonrpc.request.id"], &told[1]["jsonrpc.request.id"]];
        assert_eq!(ids, ["2", "1"]);
        assert!(calls.decided.is_empty());
    }

    #[test]
    fn a_decision_with_its_outcome_waits_for_none() {
        let mut calls = Calls::default();
        let ended = json!({
            "entry": 5, "type": "call.decision", "decision": "allow", "outcome": "result",
            "calls": 2, "jsonrpc.request.id": ["1", "2"], "duration_us": [7, 9],
        });
        let told = of(&mut calls, ended);
        assert_eq!([&told[0]["duration_us"], &told[1]["duration_us"]], [7, 9]);
        assert!(calls.decided.is_empty());
    }

    #[test]
    fn an_entry_that_says_it_is_about_too_many_calls_stays_as_it_is() {
        for calls in [json!(0), json!(u64::MAX), json!("2"), json!([1, 2])] {
            let entry = json!({ "entry": 5, "type": "call.decision", "calls": calls });
            assert_eq!(of(&mut Calls::default(), entry.clone()), json!([entry]));
        }
    }
}
