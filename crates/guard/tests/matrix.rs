//! Each level, with each piece that may be missing, for each kind of operation in each
//! direction: the decision, and what is told to be missing.

#![allow(clippy::unwrap_used)] // in helpers, too

use sealwire_guard::{
    AuthMethod, Decision, Direction, Effect, Explanation, Level, Missing, NamePattern, PeerPattern,
    Policy, Principal, Request, Rule, ServerPolicy, Space, Table,
};
use sealwire_names::{PeerId, RefusalCode};

use AuthMethod::{AgentToken, Approval, Mtls};
use Level::{Authenticated, Authorized, Privileged, Public};

/// How a rule names the peer and the object, if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Named {
    Not,
    Broadly,
    Exactly,
}

const KINDS: [(Space, &str); 4] = [
    (Space::Tool, "tools/call"),
    (Space::Prompt, "prompts/get"),
    (Space::Resource, "resources/read"),
    (Space::Resource, "resources/subscribe"),
];

fn peer() -> PeerId {
    "spiffe://d.example/agent/a".parse().unwrap()
}

fn rule(effect: Effect, named: Named, space: Space, object: &str) -> Option<Rule> {
    let (peer, object) = match named {
        Named::Not => return None,
        Named::Broadly => (PeerPattern::Any, NamePattern::any()),
        Named::Exactly => (PeerPattern::Exact(peer()), object.parse().unwrap()),
    };
    Some(Rule {
        label: "the rule".into(),
        effect,
        peers: vec![peer],
        servers: vec![NamePattern::any()],
        objects: vec![(space, object)],
    })
}

fn explain(policy: &Policy, direction: Direction, method: &str, subject: &str) -> Explanation {
    Table::compile(policy).explain(&Request {
        peer: Principal::Peer(&peer()),
        server: "s",
        direction,
        method,
        subject: Some(subject),
    })
}

/// The missing pieces, and the code.
fn told(explanation: &Explanation) -> (Vec<Missing>, Option<RefusalCode>) {
    let code = match &explanation.decision {
        Decision::Allow => None,
        Decision::Deny(refusal) | Decision::Later(refusal, _) => Some(refusal.code),
    };
    (explanation.missing.clone(), code)
}

fn server(level: Option<Level>, space: Space, auth_method: AuthMethod) -> ServerPolicy {
    ServerPolicy {
        name: "s".into(),
        entry: "s".into(),
        auth_method,
        levels: level.map(|level| (space, "x".parse().unwrap(), level)).into_iter().collect(),
        ..ServerPolicy::default()
    }
}

#[test]
fn on_the_way_to_the_server() {
    let mut seen = 0;
    for (space, method) in KINDS {
        for level in Level::ALL {
            for ceiling in Level::ALL {
                for auth in AuthMethod::ALL {
                    for named in [Named::Not, Named::Broadly, Named::Exactly] {
                        let policy = Policy {
                            ceilings: vec![(PeerPattern::Exact(peer()), ceiling)],
                            servers: vec![server(Some(level), space, auth)],
                            rules: rule(Effect::Allow, named, space, "x").into_iter().collect(),
                            ..Policy::default()
                        };
                        let explained = explain(&policy, Direction::ToServer, method, "x");
                        let case = format!("{method} {level:?} {ceiling:?} {auth:?} {named:?}");
                        assert_eq!(
                            told(&explained),
                            expected(level, ceiling, auth, named),
                            "{case}"
                        );
                        assert_eq!(explained.level, Some(level), "{case}");
                        assert_eq!(explained.ceiling, Some(ceiling), "{case}");
                        seen += 1;
                    }
                }
            }
        }
    }
    assert_eq!(seen, 4 * 4 * 4 * 3 * 3);
}

/// The table of docs/policy.md.
fn expected(
    level: Level,
    ceiling: Level,
    auth: AuthMethod,
    named: Named,
) -> (Vec<Missing>, Option<RefusalCode>) {
    use RefusalCode::{AgentTokenRequired, ApprovalRequired, NotAuthorized};
    let token = (auth == AgentToken).then_some(Missing::AgentToken);
    let approval = (auth == Approval).then_some(Missing::Approval);
    let asked: Vec<_> = token.or(approval).into_iter().collect();
    let code_for_asked = match auth {
        Mtls => None,
        AgentToken => Some(AgentTokenRequired),
        Approval => Some(ApprovalRequired),
    };
    match (level, named) {
        (Public | Authenticated, Named::Not) if ceiling < level => {
            (vec![Missing::Ceiling], Some(NotAuthorized))
        }
        (Public | Authenticated, _) => (vec![], None),
        (Authorized, Named::Not) if ceiling < level => {
            ([vec![Missing::Ceiling], asked].concat(), Some(NotAuthorized))
        }
        (Authorized, _) | (Privileged, Named::Exactly) => (asked, code_for_asked),
        (Privileged, _) => {
            let missing = [vec![Missing::ExactRule], asked].concat();
            let code = if ceiling < level {
                NotAuthorized
            } else {
                code_for_asked.unwrap_or(ApprovalRequired)
            };
            (missing, Some(code))
        }
    }
}

#[test]
fn a_rule_that_denies_wins_over_everything() {
    for (space, method) in KINDS {
        for named in [Named::Broadly, Named::Exactly] {
            let rules = [
                rule(Effect::Allow, Named::Exactly, space, "x"),
                rule(Effect::Deny, named, space, "x"),
            ];
            let policy = Policy {
                ceilings: vec![(PeerPattern::Any, Privileged)],
                servers: vec![server(Some(Public), space, Mtls)],
                rules: rules.into_iter().flatten().collect(),
                ..Policy::default()
            };
            let explained = explain(&policy, Direction::ToServer, method, "x");
            assert_eq!(told(&explained), (vec![], Some(RefusalCode::NotAuthorized)));
            assert_eq!(explained.rule, Some((Effect::Deny, "the rule".into())));
        }
    }
}

#[test]
fn what_nothing_lists_is_privileged() {
    for (space, method) in KINDS {
        let policy = Policy {
            ceilings: vec![(PeerPattern::Any, Privileged)],
            servers: vec![server(None, space, Mtls)],
            ..Policy::default()
        };
        let explained = explain(&policy, Direction::ToServer, method, "x");
        assert_eq!(explained.level, Some(Privileged));
        assert_eq!(told(&explained).0, [Missing::ExactRule]);
    }
}

#[test]
fn a_method_that_is_unknown_is_like_a_tool_that_nothing_lists() {
    for (default_level, ceiling, passes) in [
        (None, Privileged, false),
        (Some(Authorized), Authorized, true),
        (Some(Authorized), Public, false),
    ] {
        let policy = Policy {
            ceilings: vec![(PeerPattern::Any, ceiling)],
            servers: vec![ServerPolicy { default_level, ..server(None, Space::Tool, Mtls) }],
            ..Policy::default()
        };
        let explained = explain(&policy, Direction::ToServer, "vendor/thing", "x");
        assert_eq!(explained.decision == Decision::Allow, passes);
    }
}

#[test]
fn what_every_conversation_needs_is_of_level_0_and_zero_trust_denies_even_that() {
    for zero_trust in [false, true] {
        for method in ["initialize", "ping", "tools/list", "server/discover", "notifications/x"] {
            let servers = vec![server(None, Space::Tool, Mtls)];
            let policy = Policy { zero_trust, servers, ..Policy::default() };
            let explained = explain(&policy, Direction::ToServer, method, "x");
            assert_eq!(explained.level, Some(Public), "{method}");
            assert_eq!(explained.decision == Decision::Allow, !zero_trust, "{method}");
            let missing: &[Missing] = if zero_trust { &[Missing::Ceiling] } else { &[] };
            assert_eq!(explained.missing, missing, "{method}");
        }
    }
}

#[test]
fn on_the_way_to_the_client_only_news_passes_without_a_rule() {
    let methods = ["sampling/createMessage", "elicitation/create", "roots/list", "tools/call"];
    for ceiling in Level::ALL {
        for named in [Named::Not, Named::Broadly, Named::Exactly] {
            for method in methods {
                let decide = |space| {
                    let policy = Policy {
                        ceilings: vec![(PeerPattern::Any, ceiling)],
                        servers: vec![server(Some(Public), Space::Tool, Approval)],
                        rules: rule(Effect::Allow, named, space, method).into_iter().collect(),
                        ..Policy::default()
                    };
                    explain(&policy, Direction::ToClient, method, "x")
                };
                let explained = decide(Space::ClientMethod);
                assert_eq!(explained.decision == Decision::Allow, named != Named::Not, "{method}");
                assert_eq!(explained.level, None);
                // A rule about the other direction says nothing about this one.
                assert_eq!(told(&decide(Space::Method)).0, [Missing::Rule], "{method}");
            }
        }
    }
    let policy = Policy { servers: vec![server(None, Space::Tool, Mtls)], ..Policy::default() };
    for method in ["notifications/progress", "notifications/message", "ping"] {
        let explained = explain(&policy, Direction::ToClient, method, "x");
        assert_eq!(explained.decision, Decision::Allow, "{method}");
    }
}

#[test]
fn a_server_that_is_not_in_the_policy_is_denied() {
    let policy = Policy { ceilings: vec![(PeerPattern::Any, Privileged)], ..Policy::default() };
    for direction in [Direction::ToServer, Direction::ToClient] {
        let explained = explain(&policy, direction, "ping", "x");
        assert_eq!(explained.missing, [Missing::Server]);
    }
}

#[test]
fn reasons_name_what_decided_and_cannot_steer_a_terminal() {
    let policy =
        Policy { servers: vec![server(Some(Authorized), Space::Tool, Mtls)], ..Policy::default() };
    let reason =
        |subject| match explain(&policy, Direction::ToServer, "tools/call", subject).decision {
            Decision::Deny(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        };
    assert_eq!(
        reason("x"),
        "tools/call \"x\" on s for spiffe://d.example/agent/a is of level 2 (authorized), as the \
         server's policy lists \"x\"; the ceiling is 1 (authenticated), as no ceiling names it; \
         it lacks a ceiling of that level, or a rule that allows it"
    );
    assert!(reason("\u{1b}[2J\n").contains("\\u{1b}[2J\\n"));
    assert!(reason(&"y".repeat(10_000)).len() < 1_000);
}
