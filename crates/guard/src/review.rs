//! What is odd about a policy: rules that never apply, and settings that do not do what
//! they seem to.

use crate::{Effect, Level, NamePattern, Policy, Rule, ServerPolicy, Space};

/// Something in a policy that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What kind of remark it is.
    pub kind: RemarkKind,
    /// The rule, server or peer it is about.
    pub about: String,
    /// What is odd.
    pub what: String,
}

/// Kinds of remarks, with words that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemarkKind {
    /// What one rule allows another denies, always.
    Contradiction,
    /// A rule that never decides anything.
    NeverApplies,
    /// A ceiling that gives no more than a lower one.
    CeilingWithoutEffect,
    /// A server of which nothing can be called.
    NothingCallable,
    /// Calls that are refused because of what cannot be presented yet.
    AuthMethodUnavailable,
}

impl RemarkKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contradiction => "contradiction",
            Self::NeverApplies => "never_applies",
            Self::CeilingWithoutEffect => "ceiling_without_effect",
            Self::NothingCallable => "nothing_callable",
            Self::AuthMethodUnavailable => "auth_method_unavailable",
        }
    }
}

impl Policy {
    /// Looks for oddities. None of them makes a policy unsafe by itself; each is likely to
    /// mean that it is not what its author thinks.
    pub fn review(&self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            remarks.extend(self.of_rule(index, rule));
        }
        let ceilings = self.servers.iter().flat_map(|server| &server.ceilings);
        for (pattern, level) in self.ceilings.iter().chain(ceilings) {
            if *level == Level::Privileged {
                remarks.push(Remark {
                    kind: RemarkKind::CeilingWithoutEffect,
                    about: pattern.to_string(),
                    what:
                        "a ceiling of 3 lets nothing pass that 2 would not: level 3 takes a rule \
                           that names peer and tool exactly"
                            .to_owned(),
                });
            }
        }
        self.servers.iter().for_each(|server| remarks.extend(self.of_server(server)));
        remarks
    }

    fn of_rule(&self, index: usize, rule: &Rule) -> Option<Remark> {
        let remark = |kind, what| Some(Remark { kind, about: rule.label.clone(), what });
        if !self.servers.is_empty() && !self.servers.iter().any(|s| rule.is_at(&s.entry)) {
            return remark(RemarkKind::NeverApplies, "matches no server".to_owned());
        }
        let denies = |other: &&Rule| other.effect == Effect::Deny && covers(other, rule);
        if rule.effect == Effect::Allow
            && let Some(denial) = self.rules.iter().find(denies)
        {
            let what = format!("{} denies all that it allows", denial.label);
            return remark(RemarkKind::Contradiction, what);
        }
        let earlier = self.rules[..index].iter();
        let same = earlier.filter(|other| other.effect == rule.effect);
        if let Some(first) = same.into_iter().find(|other| covers(other, rule)) {
            let what = format!("{} does the same, and more", first.label);
            return remark(RemarkKind::NeverApplies, what);
        }
        if rule.effect == Effect::Allow && self.is_too_broad(rule) {
            let what = "all it could match is of level 3, which takes a rule that names peer and \
                        tool exactly: give them levels, or name them";
            return remark(RemarkKind::NeverApplies, what.to_owned());
        }
        None
    }

    /// Whether a rule that allows meets privileged operations only, and names none exactly.
    fn is_too_broad(&self, rule: &Rule) -> bool {
        let names_a_peer = rule.peers.iter().any(crate::PeerPattern::is_exact);
        let servers = || self.servers.iter().filter(|server| rule.is_at(&server.entry));
        rule.objects.iter().all(|(space, pattern)| {
            let is_exact = matches!(pattern, NamePattern::Exact(_));
            space.method().is_some()
                && !(names_a_peer && is_exact)
                && servers().all(|server| lowest(server, *space, pattern) == Level::Privileged)
        })
    }

    fn of_server(&self, server: &ServerPolicy) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut remark = |kind, what: String| {
            remarks.push(Remark { kind, about: server.entry.clone(), what });
        };
        if server.auth_method != crate::AuthMethod::Mtls {
            let what = format!(
                "auth_method = {:?}: all calls of level 2 and 3 are refused, as neither agent \
                 tokens nor approvals can be presented yet",
                server.auth_method.as_str()
            );
            remark(RemarkKind::AuthMethodUnavailable, what);
        }
        let lowest = lowest(server, Space::Tool, &NamePattern::any());
        let names_one = |rule: &Rule| {
            rule.effect == Effect::Allow
                && rule.is_at(&server.entry)
                && rule.objects.iter().any(|(space, _)| *space == Space::Tool)
        };
        if lowest == Level::Privileged && !self.rules.iter().any(names_one) {
            let what = "no tool can be called: none has a level below 3 and no rule names one; \
                        give it default_level, or see `sealwire policy suggest`";
            remark(RemarkKind::NothingCallable, what.to_owned());
        }
        remarks
    }
}

/// The lowest level that something which `pattern` matches may have.
fn lowest(server: &ServerPolicy, space: Space, pattern: &NamePattern) -> Level {
    let of_space = || server.levels.iter().filter(|(of, _, _)| *of == space);
    let within = of_space().filter(|(_, listed, _)| pattern.covers(listed));
    // What holds for the pattern as a whole: the longest that covers it, or the default.
    let around = of_space()
        .filter(|(_, listed, _)| listed.covers(pattern))
        .max_by_key(|(_, listed, _)| listed.to_string().len());
    let whole = match around {
        Some((_, _, level)) => *level,
        None => server.default_level.unwrap_or(crate::DEFAULT_LEVEL),
    };
    within.map(|(_, _, level)| *level).fold(whole, Ord::min)
}

/// Whether `broad` applies wherever `narrow` does.
fn covers(broad: &Rule, narrow: &Rule) -> bool {
    let object = |broad: &(Space, NamePattern), narrow: &(Space, NamePattern)| {
        let by_method = broad.0 == Space::Method
            && narrow.0.method().is_some_and(|method| {
                // Resources are subscribed to as well as read.
                broad.1.matches(method)
                    && (narrow.0 != Space::Resource || broad.1.matches("resources/subscribe"))
                    && (narrow.0 != Space::Resource || broad.1.matches("resources/unsubscribe"))
            });
        by_method || (broad.0 == narrow.0 && broad.1.covers(&narrow.1))
    };
    let all = |narrow: &(Space, NamePattern)| broad.objects.iter().any(|b| object(b, narrow));
    narrow.peers.iter().all(|narrow| broad.peers.iter().any(|b| b.covers(narrow)))
        && narrow.servers.iter().all(|narrow| broad.servers.iter().any(|b| b.covers(narrow)))
        && narrow.objects.iter().all(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuthMethod, PeerPattern};

    fn rule(label: &str, effect: Effect, peer: &str, tool: &str) -> Rule {
        let home = "d.example".parse().unwrap();
        Rule {
            label: label.to_owned(),
            effect,
            peers: vec![PeerPattern::parse(peer, &home).unwrap()],
            servers: vec![NamePattern::any()],
            objects: vec![(Space::Tool, tool.parse().unwrap())],
        }
    }

    fn server(default_level: Option<Level>) -> ServerPolicy {
        ServerPolicy { entry: "s".into(), default_level, ..ServerPolicy::default() }
    }

    fn kinds(policy: &Policy) -> Vec<(RemarkKind, String)> {
        policy.review().into_iter().map(|remark| (remark.kind, remark.about)).collect()
    }

    #[test]
    fn a_sound_policy_has_nothing_odd() {
        let rules = vec![
            rule("a", Effect::Allow, "agent/x", "run"),
            rule("b", Effect::Deny, "agent/*", "delete_*"),
        ];
        let servers = vec![server(Some(Level::Authorized))];
        assert_eq!(kinds(&Policy { rules, servers, ..Policy::default() }), []);
    }

    #[test]
    fn rules_that_never_apply_are_found() {
        use RemarkKind::{Contradiction, NeverApplies};
        let rules = vec![
            rule("deny", Effect::Deny, "agent/*", "delete_*"),
            rule("denied", Effect::Allow, "agent/x", "delete_repo"),
            rule("again", Effect::Deny, "agent/x", "delete_a*"),
            rule("broad", Effect::Allow, "agent/*", "run_*"),
            rule("good", Effect::Allow, "agent/x", "run"),
            Rule {
                servers: vec!["t*".parse().unwrap()],
                ..rule("nowhere", Effect::Deny, "*", "a")
            },
        ];
        let policy = Policy { rules, servers: vec![server(None)], ..Policy::default() };
        let about = |kind, label: &str| (kind, label.to_owned());
        assert_eq!(
            kinds(&policy),
            [
                about(Contradiction, "denied"),
                about(NeverApplies, "again"),
                about(NeverApplies, "broad"),
                about(NeverApplies, "nowhere"),
            ]
        );
        let mut with_levels = policy.clone();
        with_levels.servers[0].levels =
            vec![(Space::Tool, "run_t*".parse().unwrap(), Level::Authorized)];
        assert!(!kinds(&with_levels).contains(&about(NeverApplies, "broad")));
    }

    #[test]
    fn settings_that_do_less_than_they_seem_are_found() {
        let policy = Policy {
            ceilings: vec![(PeerPattern::Any, Level::Privileged)],
            servers: vec![ServerPolicy { auth_method: AuthMethod::AgentToken, ..server(None) }],
            ..Policy::default()
        };
        use RemarkKind::{AuthMethodUnavailable, CeilingWithoutEffect, NothingCallable};
        let found: Vec<_> = kinds(&policy).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(found, [CeilingWithoutEffect, AuthMethodUnavailable, NothingCallable]);
    }
}
