//! Calls, one by one: an entry may be about several, and an outcome that has an entry of its own
//! says of its call only what its decision does not.

use std::collections::BTreeMap;
use std::mem;
use std::ops::RangeInclusive;
use std::rc::Rc;

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

/// How many calls an entry may be about, where it says so (docs/spec/audit.md §2).
pub(in crate::commands) const IN_ENTRY: RangeInclusive<u64> = 2..=4_096;

/// Decisions that are remembered. There are never so many calls under way; but of those that a
/// crash cut off, no outcome comes.
const MOST: usize = 1 << 16;

/// Entries as if each were about one call.
#[derive(Default)]
pub(super) struct Calls {
    /// The decisions whose outcomes have not come yet, by entry and place in it.
    decided: BTreeMap<(u64, u64), About>,
}

/// What is known of a call: with others of its entry, and by itself. An entry may be about
/// thousands; what they share is kept once.
struct About {
    shared: Rc<Map<String, Value>>,
    own: Map<String, Value>,
}

impl Calls {
    /// What an entry says, call by call; an entry that is not about calls as it is. Entries come
    /// in order, and all of each is taken.
    pub(super) fn of(
        &mut self,
        mut entry: Map<String, Value>,
    ) -> impl Iterator<Item = Map<String, Value>> {
        let calls = entry.get("calls").and_then(Value::as_u64);
        let calls = calls.filter(|calls| IN_ENTRY.contains(calls));
        if calls.is_some() {
            entry.remove("calls");
        }
        let is_shared = |(name, value): &(&String, &Value)| {
            ABOUT.contains(&name.as_str()) && !(calls.is_some() && value.is_array())
        };
        let shared: Map<_, _> = match is_open(&entry) {
            true => entry.iter().filter(is_shared).map(cloned).collect(),
            false => Map::new(),
        };
        let shared = Rc::new(shared);
        (0..calls.unwrap_or(1)).map(move |place| {
            let mut record = match calls {
                Some(_) => one_of(&entry, place),
                None => mem::take(&mut entry),
            };
            self.complete(&mut record, &shared);
            record
        })
    }

    /// To an outcome it adds what the call was.
    fn complete(&mut self, record: &mut Map<String, Value>, shared: &Rc<Map<String, Value>>) {
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let place = |entry: &str, call: &str| Some((number(entry)?, number(call).unwrap_or(0)));
        if is_open(record) {
            let Some(place) = place("entry", "call") else { return };
            let is_own = |(name, _): &(&String, &Value)| {
                ABOUT.contains(&name.as_str()) && !shared.contains_key(*name)
            };
            let own = record.iter().filter(is_own).map(cloned).collect();
            self.decided.insert(place, About { shared: Rc::clone(shared), own });
            if self.decided.len() > MOST {
                self.decided.pop_first();
            }
        } else if is_of(record, "call.outcome") {
            let about = place("decision_entry", "decision_call");
            let Some(about) = about.and_then(|place| self.decided.remove(&place)) else { return };
            for (name, value) in about.shared.iter().map(cloned).chain(about.own) {
                record.entry(name).or_insert(value);
            }
        }
    }
}

fn is_of(entry: &Map<String, Value>, kind: &str) -> bool {
    entry.get("type").is_some_and(|word| word == kind)
}

/// Whether an outcome is to come.
fn is_open(entry: &Map<String, Value>) -> bool {
    is_of(entry, "call.decision")
        && entry.get("decision").is_some_and(|word| word == "allow")
        && !entry.contains_key("outcome")
}

/// Of several calls the one at that place, with what they share, what is its own of each list, and
/// its place in `call`.
fn one_of(entry: &Map<String, Value>, place: u64) -> Map<String, Value> {
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
}

fn cloned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(calls: &mut Calls, entry: Value) -> Value {
        let Value::Object(entry) = entry else { unreachable!() };
        calls.of(entry).map(Value::Object).collect()
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

    /// A line of 64 KiB may be about 4,096 calls.
    #[test]
    fn what_calls_share_is_in_memory_once() {
        let mut calls = Calls::default();
        let entry = json!({
            "entry": 5, "type": "call.decision", "decision": "allow", "calls": 4_096,
            "server": "x".repeat(60_000),
        });
        let Value::Object(entry) = entry else { unreachable!() };
        for record in calls.of(entry) {
            assert_eq!(record["server"].as_str().map(str::len), Some(60_000));
        }
        let mut decided = calls.decided.values();
        let first = decided.next().unwrap();
        assert!(decided.all(|one| Rc::ptr_eq(&one.shared, &first.shared) && one.own.is_empty()));
        assert_eq!(calls.decided.len(), 4_096);
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
