//! Decisions, outcomes and other entries in any order, by a clock that goes to and fro over midnight.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const START: Timestamp = Timestamp::from_unix_millis(0);

/// A decision's number, or its place if it was recorded at once.
type Held = Result<NonZeroU64, (u64, u64)>;

/// What may come in any order.
#[derive(Clone, Debug)]
enum Step {
    /// A decision, at that time in milliseconds, with one of a few texts.
    Hold(i64, usize),
    /// The outcome of one that has none yet.
    End(usize),
    Push(i64),
    Commit,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    // Around one of three midnights.
    let moment = (1..4i64, -2..2i64).prop_map(|(day, millis)| day * 86_400_000 + millis);
    prop_oneof![
        12 => (moment.clone(), 0..18usize).prop_map(|(at, text)| Step::Hold(at, text)),
        8 => any::<usize>().prop_map(Step::End),
        1 => moment.prop_map(Step::Push),
        1 => Just(Step::Commit),
        1 => Just(Step::Take),
    ]
}

proptest! {
    /// Each decision is recorded once, on the day whose key its arguments have, and each outcome
    /// once, of its decision; whatever the clock says.
    #[test]
    fn nothing_is_lost_or_of_another(steps in prop::collection::vec(step(), 1..200)) {
        let mut gathering = Gathering::new(0, Day::of(START));
        let mut lines: Vec<(Day, Value)> = Vec::new();
        let mut take = |gathering: &mut Gathering| {
            let Some(mut batch) = gathering.take(&mut Batch::default()) else { return };
            let written = batch.write(|day, text| {
                let text = std::str::from_utf8(text).unwrap().lines();
                lines.extend(text.map(|line| (day, serde_json::from_str(line).unwrap())));
                Ok::<_, ()>(())
            });
            written.unwrap();
        };
        // By its number: its day and text, and, where that is known, its entry.
        let mut decided = Vec::new();
        let mut open: Vec<(usize, Held)> = Vec::new();
        for step in steps {
            match step {
                Step::Hold(at, text) => {
                    let at = Timestamp::from_unix_millis(at);
                    let day = gathering.day_of(at);
                    let number = decided.len();
                    let id = format!("\"{number}\"");
                    let own = Own { id: Some(id.as_bytes()), ..Own::default() };
                    let shared = format!("\"type\":\"call.decision\",\"text\":{text}");
                    let body = CallBody { shared: [shared.as_bytes(), b""], own, is_cut: false };
                    let held = gathering.hold(at, &body);
                    let held = held.ok_or_else(|| gathering.push_call(at, &body));
                    decided.push((day, text));
                    open.push((number, held));
                }
                Step::End(which) if !open.is_empty() => {
                    let (number, held) = open.swap_remove(which % open.len());
                    let micros = number as u64;
                    let place = match held {
                        Ok(held) => gathering.end(held, CallResult::Result, micros),
                        Err(place) => Err(Some(place)),
                    };
                    if let Err(place) = place {
                        let own = Own {
                            decision: Some(place.expect("it is remembered")),
                            duration_us: Some(micros),
                            ..Own::default()
                        };
                        let shared: [&[u8]; 2] = [b"\"type\":\"call.outcome\"", b""];
                        gathering.push_call(Timestamp::from_unix_millis(86_400_000), &CallBody { shared, own, is_cut: false });
                    }
                }
                Step::End(_) => {}
                Step::Push(at) => {
                    let at = Timestamp::from_unix_millis(at);
                    gathering.push(at, b"\"type\":\"t\"}");
                }
                Step::Commit => gathering.record_held(),
                Step::Take => take(&mut gathering),
            }
        }
        gathering.record_held();
        take(&mut gathering);

        let mut places = BTreeMap::new();
        let mut ended = Vec::new();
        prop_assert!(lines.is_sorted_by_key(|(day, _)| *day));
        for (at, (day, entry)) in lines.iter().enumerate() {
            prop_assert_eq!(&entry["entry"], at);
            let count = entry.get("calls").map_or(1, |calls| calls.as_u64().unwrap());
            for call in 0..count {
                let own = |name: &str| match entry.get(name) {
                    Some(Value::Array(values)) => values.get(call as usize).cloned(),
                    value => value.cloned(),
                };
                let number = |name: &str| own(name)?.as_u64();
                match entry["type"].as_str().unwrap() {
                    "call.decision" => {
                        let id = own("jsonrpc.request.id").unwrap();
                        let id: usize = id.as_str().unwrap().parse().unwrap();
                        prop_assert_eq!((*day, &entry["text"]), (decided[id].0, &decided[id].1.into()));
                        prop_assert!(places.insert((at as u64, call), id as u64).is_none());
                        if entry.get("outcome").is_some() {
                            prop_assert_eq!(number("duration_us"), Some(id as u64));
                            ended.push(id as u64);
                        }
                    }
                    "call.outcome" => {
                        let of = (number("decision_entry").unwrap(), number("decision_call").unwrap());
                        prop_assert_eq!(number("duration_us"), places.get(&of).copied());
                        ended.push(places[&of]);
                    }
                    _ => {}
                }
            }
        }
        let mut all: Vec<_> = places.into_values().collect();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..decided.len() as u64));
        let is_open = |number: &u64| open.iter().any(|(one, _)| *one as u64 == *number);
        let closed: Vec<_> = (0..decided.len() as u64).filter(|number| !is_open(number)).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, closed);
    }
}
