//! The figures of a report: each is a question to the entries of the log, stated in one place,
//! so that what is printed as the question is what was asked.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::super::audit::IN_ENTRY;

/// Most different values that a figure is divided by; the rest is counted together.
const MAX_GROUPS: usize = 200;
/// Under what that is.
const OTHERS: &str = "(others)";

/// A question to the log.
pub(super) struct Figure {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The type of entry, or the begin of it and a star.
    kind: &'static str,
    /// What else an entry must have: a member, with a value, or the begin of one and a star, or
    /// with any.
    with: &'static [(&'static str, Option<&'static str>)],
    answer: Answer,
}

/// What is told of the entries that fit.
enum Answer {
    /// How many.
    Count,
    /// How many, by the text of a member.
    By(&'static str),
    /// The sums of a member that has counts by name.
    Sum(&'static str),
}

const fn figure(
    id: &'static str,
    title: &'static str,
    kind: &'static str,
    with: &'static [(&'static str, Option<&'static str>)],
    answer: Answer,
) -> Figure {
    Figure { id, title, kind, with, answer }
}

/// All of them.
pub(super) const FIGURES: [Figure; 30] = [
    figure("entries", "entries by type", "*", &[], Answer::By("type")),
    figure("connections", "connections accepted", "connection.accepted", &[], Answer::Count),
    figure(
        "connections.resumed",
        "connections resumed after a network cut",
        "connection.resumed",
        &[],
        Answer::Count,
    ),
    figure(
        "connections.mutual",
        "connections accepted with a verified client certificate",
        "connection.accepted",
        &[("certificate", None)],
        Answer::Count,
    ),
    figure(
        "connections.by_peer",
        "connections accepted, by verified peer",
        "connection.accepted",
        &[],
        Answer::By("peer"),
    ),
    figure(
        "connections.suites",
        "connections accepted, by TLS cipher suite",
        "connection.accepted",
        &[("tls.cipher", None)],
        Answer::By("tls.cipher"),
    ),
    figure(
        "connections.groups",
        "connections accepted, by TLS key exchange group",
        "connection.accepted",
        &[("tls.curve", None)],
        Answer::By("tls.curve"),
    ),
    figure(
        "connections.refused",
        "connections of verified peers refused, by reason",
        "connection.refused",
        &[],
        Answer::By("reason"),
    ),
    figure(
        "connections.refused_unverified",
        "connections of others refused, by reason",
        "refusals",
        &[],
        Answer::Sum("counts"),
    ),
    figure("decisions", "decisions about messages", "call.decision", &[], Answer::By("decision")),
    figure(
        "decisions.by_server",
        "decisions, by server",
        "call.decision",
        &[],
        Answer::By("server"),
    ),
    figure(
        "decisions.denied",
        "messages denied, by reason",
        "call.decision",
        &[("decision", Some("deny"))],
        Answer::By("reason"),
    ),
    figure(
        "decisions.policies",
        "decisions, by the policy that was in force",
        "call.decision",
        &[("policy", None)],
        Answer::By("policy"),
    ),
    figure(
        "outcomes",
        "requests let through, by how they ended",
        "call.*",
        &[("outcome", None)],
        Answer::By("outcome"),
    ),
    figure(
        "messages",
        "messages between agents, by what happened",
        "message.*",
        &[],
        Answer::By("type"),
    ),
    figure(
        "messages.refused",
        "messages between agents refused, by reason",
        "message.refused",
        &[],
        Answer::By("reason"),
    ),
    figure(
        "pins",
        "changes of tool definitions, by what happened",
        "pin.*",
        &[],
        Answer::By("type"),
    ),
    figure("incidents", "incidents, by kind", "incident", &[], Answer::By("kind")),
    figure(
        "incidents.actions",
        "incidents, by what followed",
        "incident",
        &[],
        Answer::By("action"),
    ),
    figure(
        "quarantine.added",
        "peers, agents and servers shut out",
        "quarantine.added",
        &[],
        Answer::Count,
    ),
    figure(
        "quarantine.lifted",
        "peers, agents and servers let in again",
        "quarantine.lifted",
        &[],
        Answer::Count,
    ),
    figure("revocations", "certificates revoked", "revocation", &[], Answer::Count),
    figure("certificates.issued", "certificates issued", "certificate.issued", &[], Answer::Count),
    figure("keys.changed", "keys made or rotated", "key.changed", &[], Answer::Count),
    figure(
        "keys.rotated",
        "keys of agents rotated, by agent",
        "key.changed",
        &[("detail", Some("rotated*"))],
        Answer::By("subject"),
    ),
    figure("config.changed", "configurations taken into use", "config.changed", &[], Answer::Count),
    figure("config.refused", "configurations refused", "config.refused", &[], Answer::Count),
    figure(
        "alerts.failed",
        "alerts that could not be delivered",
        "alert.failed",
        &[],
        Answer::Count,
    ),
    figure("log.starts", "starts of the recording program", "log.start", &[], Answer::Count),
    figure(
        "log.recovered",
        "ends of the log that a crash had torn",
        "log.recovered",
        &[],
        Answer::Count,
    ),
];

impl fmt::Display for Figure {
    /// The question, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.answer {
            Answer::Count | Answer::By(_) => {
                f.write_str("number of entries")?;
                if ["*", "call."].iter().any(|begin| self.kind.starts_with(begin)) {
                    f.write_str(" (one with `calls` counts as so many as these are)")?;
                }
            }
            Answer::Sum(member) => write!(f, "sums of `{member}` of entries")?,
        }
        write!(f, " with type {}", self.kind)?;
        for (member, value) in self.with {
            match value {
                Some(value) => write!(f, " and {member} {value}")?,
                None => write!(f, " and any {member}")?,
            }
        }
        match self.answer {
            Answer::By(member) => write!(f, ", by {member}"),
            Answer::Count | Answer::Sum(_) => Ok(()),
        }
    }
}

impl Figure {
    fn fits(&self, entry: &Map<String, Value>) -> bool {
        matches(self.kind, text(entry, "type"))
            && self.with.iter().all(|(member, value)| match value {
                Some(value) => matches(value, text(entry, member)),
                None => entry.contains_key(*member),
            })
    }
}

/// What came out so far, in the order of [`FIGURES`].
pub(super) struct Counted(Vec<(u64, BTreeMap<String, u64>)>);

impl Counted {
    pub(super) fn new() -> Self {
        Self(FIGURES.iter().map(|_| Default::default()).collect())
    }

    pub(super) fn add(&mut self, entry: &Map<String, Value>) {
        let calls = entry.get("calls").and_then(Value::as_u64);
        let calls = calls.filter(|calls| IN_ENTRY.contains(calls)).unwrap_or(1);
        for (figure, (count, groups)) in FIGURES.iter().zip(&mut self.0) {
            if !figure.fits(entry) {
                continue;
            }
            match figure.answer {
                Answer::Count => *count = count.saturating_add(calls),
                Answer::By(member) => add(groups, text(entry, member), calls),
                Answer::Sum(member) => {
                    let counts = entry.get(member).and_then(Value::as_object);
                    for (name, value) in counts.into_iter().flatten() {
                        add(groups, name, value.as_u64().unwrap_or_default());
                    }
                }
            }
        }
    }

    /// The figure of that name: a number, or numbers by name.
    pub(super) fn value(&self, id: &str) -> Value {
        let found = FIGURES.iter().zip(&self.0).find(|(figure, _)| figure.id == id);
        match found {
            Some((Figure { answer: Answer::Count, .. }, (count, _))) => json!(count),
            Some((_, (_, groups))) => json!(groups),
            None => Value::Null,
        }
    }
}

fn add(groups: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    let is_full = groups.len() >= MAX_GROUPS && !groups.contains_key(name);
    let sum = groups.entry(if is_full { OTHERS } else { name }.to_owned()).or_default();
    *sum = sum.saturating_add(count);
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => text.starts_with(begin),
        None => text == pattern,
    }
}

fn text<'e>(entry: &'e Map<String, Value>, member: &str) -> &'e str {
    entry.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_name_of_its_own_and_says_what_it_asks() {
        let mut ids: Vec<_> = FIGURES.iter().map(|figure| figure.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), FIGURES.len());
        let denied = FIGURES.iter().find(|figure| figure.id == "decisions.denied").unwrap();
        assert_eq!(
            denied.to_string(),
            "number of entries (one with `calls` counts as so many as these are) with type \
             call.decision and decision deny, by reason"
        );
    }

    #[test]
    fn groups_are_bounded_and_nothing_is_lost() {
        let mut counted = Counted::new();
        for n in 0..1_000 {
            let entry =
                json!({"type": "connection.accepted", "peer": format!("p{n}"), "certificate": "a"});
            counted.add(entry.as_object().unwrap());
        }
        counted.add(json!({"type": "refusals", "counts": {"a": 3, "b": 4}}).as_object().unwrap());
        counted.add(json!({"type": "refusals", "counts": {"a": 5}}).as_object().unwrap());
        let denied = json!({"type": "call.decision", "decision": "deny", "calls": 2});
        counted.add(denied.as_object().unwrap());
        let outcome = json!({"type": "call.outcome", "outcome": "error"});
        counted.add(outcome.as_object().unwrap());
        let ended =
            json!({"type": "call.decision", "decision": "allow", "outcome": "result", "calls": 3});
        counted.add(ended.as_object().unwrap());
        // No entry is about so many: it counts as one.
        let hostile = json!({"type": "call.decision", "decision": "ask", "calls": i64::MAX});
        (0..3).for_each(|_| counted.add(hostile.as_object().unwrap()));
        let hostile = json!({"type": "refusals", "counts": {"c": i64::MAX}});
        (0..3).for_each(|_| counted.add(hostile.as_object().unwrap()));
        assert_eq!(counted.value("decisions"), json!({"allow": 3, "ask": 3, "deny": 2}));
        let by_peer = counted.value("connections.by_peer");
        let by_peer = by_peer.as_object().unwrap();
        assert_eq!(by_peer.len(), MAX_GROUPS + 1);
        assert_eq!(by_peer.values().filter_map(Value::as_u64).sum::<u64>(), 1_000);
        assert_eq!(counted.value("connections"), 1_000);
        assert_eq!(
            counted.value("connections.refused_unverified"),
            json!({"a": 8, "b": 4, "c": u64::MAX})
        );
        assert_eq!(counted.value("outcomes"), json!({"error": 1, "result": 3}));
    }
}
