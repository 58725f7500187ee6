//! A policy in one writing: what decides the same is written the same, so that a hash of it
//! names what was in force (docs/spec/audit.md §2).

use std::collections::BTreeSet;

use crate::policy::DEFAULT_LEVEL;
use crate::{NamePattern, Policy, Rate, RateLimits, Rule, Space};

/// The first line. Another writing would need another one: hashes in old logs stay true.
const VERSION: &str = "sealwire-policy/1";

impl Policy {
    /// All that decides about requests to the server with the table `entry`, by this policy
    /// and by `limits`; `None` if there is no such server. In which order it was written, how
    /// it was spread over rules, and where they stand is not in it, nor how the server is
    /// called.
    pub fn canonical(&self, entry: &str, limits: Option<&RateLimits>) -> Option<String> {
        let server = self.servers.iter().find(|server| server.entry == entry)?;
        let mut lines = BTreeSet::new();
        lines.insert(format!("zero_trust {}", self.zero_trust));
        lines.insert(format!("auth_method {}", server.auth_method.as_str()));
        let default_level = server.default_level.unwrap_or(DEFAULT_LEVEL);
        lines.insert(format!("default_level {}", default_level.number()));
        for (word, ceilings) in [("ceiling", &self.ceilings), ("ceiling_here", &server.ceilings)] {
            let line =
                |(peer, level): &(_, crate::Level)| format!("{word} {peer} {}", level.number());
            lines.extend(ceilings.iter().map(line));
        }
        for (space, name, level) in &server.levels {
            lines.insert(format!("level {} {} {}", level.number(), word(*space), counted(name)));
        }
        for rule in self.rules.iter().filter(|rule| rule.is_at(entry)) {
            of_rule(rule, &mut lines);
        }
        if let Some(limits) = limits {
            of_limits(limits, entry, &mut lines);
        }
        let mut text = format!("{VERSION}\n");
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        Some(text)
    }
}

/// A rule applies to each of its peers with each of its objects: a line for each pair.
fn of_rule(rule: &Rule, lines: &mut BTreeSet<String>) {
    let effect = rule.effect.as_str();
    for peer in &rule.peers {
        for (space, name) in &rule.objects {
            lines.insert(format!("{effect} {peer} {} {}", word(*space), counted(name)));
        }
    }
}

fn of_limits(limits: &RateLimits, entry: &str, lines: &mut BTreeSet<String>) {
    lines.insert(format!("refuse_unregistered {}", limits.refuse_unregistered));
    let rates = [("limit_each_peer", limits.each_peer), ("limit_total", limits.total)];
    for (word, rate) in rates {
        lines.extend(rate.map(|rate| format!("{word} {}", of_rate(rate))));
    }
    for (peer, rate) in &limits.peers {
        lines.insert(format!("limit_peer {peer} {}", of_rate(*rate)));
    }
    let Some(server) = limits.servers.iter().find(|server| server.entry == entry) else { return };
    lines.extend(server.total.map(|rate| format!("limit_server {}", of_rate(rate))));
    for (name, rate) in &server.tools {
        lines.insert(format!("limit_tool {} {}", of_rate(*rate), counted(name)));
    }
}

const fn word(space: Space) -> &'static str {
    match space {
        Space::ClientMethod => "client_method",
        other => other.noun(),
    }
}

/// Names are what others chose, and may hold spaces and line feeds: how many bytes there are
/// stands in front.
fn counted(name: &NamePattern) -> String {
    let name = name.to_string();
    format!("{}:{name}", name.len())
}

fn of_rate(rate: Rate) -> String {
    format!("{} {}", rate.period().as_nanos(), rate.burst())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Level, PeerPattern, ServerLimits, ServerPolicy};

    fn rule(effect: Effect, peers: &[&str], servers: &[&str], tools: &[&str]) -> Rule {
        let home = "home.example".parse().unwrap();
        Rule {
            label: format!("{peers:?} {tools:?}"),
            effect,
            peers: peers.iter().map(|text| PeerPattern::parse(text, &home).unwrap()).collect(),
            servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            objects: tools.iter().map(|text| (Space::Tool, text.parse().unwrap())).collect(),
        }
    }

    fn policy(rules: Vec<Rule>) -> Policy {
        let server = |entry: &str| ServerPolicy {
            name: format!("on-wire-{entry}"),
            entry: entry.into(),
            levels: vec![(Space::Tool, "read_*".parse().unwrap(), Level::Authenticated)],
            ..ServerPolicy::default()
        };
        let ceilings = vec![(PeerPattern::Any, Level::Public)];
        Policy { servers: vec![server("a"), server("b")], ceilings, rules, ..Policy::default() }
    }

    #[test]
    fn it_is_written_as_the_specification_says() {
        let rules = vec![rule(Effect::Allow, &["agent/x", "local"], &["a"], &["read", "w\n*"])];
        let limits = RateLimits {
            each_peer: Some(Rate::new(10.0, 20).unwrap()),
            servers: vec![ServerLimits {
                name: "on-wire-a".into(),
                entry: "a".into(),
                total: None,
                tools: vec![("read".parse().unwrap(), Rate::new(0.5, 1).unwrap())],
            }],
            ..RateLimits::default()
        };
        let text = "sealwire-policy/1\n\
                    allow local tool 3:w\n*\n\
                    allow local tool 4:read\n\
                    allow spiffe://home.example/agent/x tool 3:w\n*\n\
                    allow spiffe://home.example/agent/x tool 4:read\n\
                    auth_method mtls\n\
                    ceiling * 0\n\
                    default_level 3\n\
                    level 1 tool 6:read_*\n\
                    limit_each_peer 100000000 20\n\
                    limit_tool 2000000000 1 4:read\n\
                    refuse_unregistered false\n\
                    zero_trust false\n";
        assert_eq!(policy(rules).canonical("a", Some(&limits)).as_deref(), Some(text));
        assert_eq!(policy(Vec::new()).canonical("c", None), None);
    }

    #[test]
    fn what_decides_the_same_is_the_same_and_nothing_else_is() {
        let allow = |peers: &[&str], servers: &[&str], tools: &[&str]| {
            rule(Effect::Allow, peers, servers, tools)
        };
        let at = |entry: &str, rules| policy(rules).canonical(entry, None).unwrap();
        let one = at("a", vec![allow(&["core/x", "core/y"], &["*"], &["read"])]);
        let other =
            vec![allow(&["core/y"], &["a"], &["read"]), allow(&["core/x"], &["a"], &["read"])];
        assert_eq!(one, at("a", other));
        assert_eq!(one, at("b", vec![allow(&["core/x", "core/y"], &["*"], &["read"])]));
        for rules in [
            Vec::new(),
            vec![rule(Effect::Deny, &["core/x", "core/y"], &["a"], &["read"])],
            vec![allow(&["core/x", "core/y"], &["b"], &["read"])],
            vec![allow(&["core/x", "core/y"], &["a"], &["read*"])],
            vec![allow(&["core/x", "core/*"], &["a"], &["read"])],
        ] {
            assert_ne!(one, at("a", rules));
        }
    }
}
