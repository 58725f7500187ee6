//! The decision table against an oracle that goes through all rules one by one and compares
//! texts: written apart from the table, and as slow as it likes.

#![allow(clippy::unwrap_used)] // in helpers, too

use proptest::prelude::*;
use sealwire_guard::{
    AuthMethod, Decision, Direction, Effect, Gate, Level, NamePattern, PeerPattern, Policy,
    Principal, Request, Rule, ServerPolicy, Space, Table,
};
use sealwire_names::{PeerId, RefusalCode, Timestamp, TrustDomain};

const DOMAIN: &str = "d.example";
const SERVERS: [&str; 3] = ["git", "github", "time"];
/// Names such that one is the beginning of another, and some are alike in other ways.
const NAMES: [&str; 8] = ["", "a", "ab", "abc", "abd", "b", "B", "é"];
const PATTERNS: [&str; 12] =
    ["*", "a*", "ab*", "abc*", "b*", "B*", "é*", "a", "ab", "abc", "b", "unused"];
const PEERS: [&str; 7] = [
    "local",
    "spiffe://d.example/core/core",
    "spiffe://d.example/core/cord",
    "spiffe://d.example/agent/core",
    "spiffe://d.example/agent/a",
    "spiffe://e.example/core/core",
    "spiffe://d.example/user/x",
];
const PEER_PATTERNS: [&str; 12] = [
    "*",
    "local",
    "core/core",
    "core/c*",
    "core/cor*",
    "core/*",
    "agent/*",
    "agent/a",
    "spiffe://e.example/core/core",
    "spiffe://e.example/core/*",
    "spiffe://d.example/core/core",
    "user/y",
];
const TO_SERVER: [&str; 12] = [
    "initialize",
    "tools/list",
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "completion/complete",
    "notifications/cancelled",
    "a",
    "abc",
    "sampling/createMessage",
    "B",
];
const TO_CLIENT: [&str; 6] =
    ["sampling/createMessage", "roots/list", "notifications/progress", "ping", "a", "tools/call"];
const METHOD_PATTERNS: [&str; 10] = [
    "*",
    "tools/*",
    "tools/call",
    "sampling/*",
    "roots/list",
    "notifications/*",
    "a*",
    "abc",
    "initialize",
    "resources/read",
];

#[derive(Clone, Debug)]
struct RuleText {
    deny: bool,
    peers: Vec<&'static str>,
    servers: Vec<&'static str>,
    /// Each with its kind: 0 method, 1 tool, 2 prompt, 3 resource, 4 client's method.
    objects: Vec<(usize, &'static str)>,
}

#[derive(Clone, Debug)]
struct ServerText {
    default_level: Option<u8>,
    auth: usize,
    levels: Vec<(usize, &'static str, u8)>,
    ceilings: Vec<(&'static str, u8)>,
}

#[derive(Clone, Debug)]
struct PolicyText {
    zero_trust: bool,
    ceilings: Vec<(&'static str, u8)>,
    servers: Vec<ServerText>,
    rules: Vec<RuleText>,
}

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(all)
}

fn object() -> impl Strategy<Value = (usize, &'static str)> {
    (0..5_usize).prop_flat_map(|kind| {
        let patterns: &'static [&'static str] =
            if matches!(kind, 0 | 4) { &METHOD_PATTERNS } else { &PATTERNS };
        one_of(patterns).prop_map(move |pattern| (kind, pattern))
    })
}

fn ceilings() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
    let all = proptest::collection::vec((one_of(&PEER_PATTERNS), 0..4_u8), 0..4);
    all.prop_map(|mut ceilings| {
        // A table of TOML has each key once; two spellings of one peer are refused there.
        ceilings.sort_by_key(|(pattern, _)| full(pattern));
        ceilings.dedup_by_key(|(pattern, _)| full(pattern));
        ceilings
    })
}

fn server() -> impl Strategy<Value = ServerText> {
    let levels = proptest::collection::vec((1..4_usize, one_of(&PATTERNS), 0..4_u8), 0..6);
    (proptest::option::of(0..4_u8), 0..3_usize, levels, ceilings()).prop_map(
        |(default_level, auth, mut levels, ceilings)| {
            levels.sort();
            levels.dedup_by_key(|(kind, pattern, _)| (*kind, *pattern));
            ServerText { default_level, auth, levels, ceilings }
        },
    )
}

fn rule() -> impl Strategy<Value = RuleText> {
    let servers: &'static [&'static str] = &["*", "git", "git*", "github", "time", "other"];
    (
        proptest::bool::weighted(0.3),
        proptest::collection::vec(one_of(&PEER_PATTERNS), 1..3),
        proptest::collection::vec(one_of(servers), 1..3),
        proptest::collection::vec(object(), 1..4),
    )
        .prop_map(|(deny, peers, servers, objects)| RuleText { deny, peers, servers, objects })
}

fn policy() -> impl Strategy<Value = PolicyText> {
    (
        proptest::bool::weighted(0.2),
        ceilings(),
        proptest::collection::vec(server(), SERVERS.len()),
        proptest::collection::vec(rule(), 0..8),
    )
        .prop_map(|(zero_trust, ceilings, servers, rules)| PolicyText {
            zero_trust,
            ceilings,
            servers,
            rules,
        })
}

fn level(number: u8) -> Level {
    Level::from_number(number.into()).unwrap()
}

fn peer_pattern(text: &str) -> PeerPattern {
    PeerPattern::parse(text, &DOMAIN.parse::<TrustDomain>().unwrap()).unwrap()
}

fn name_pattern(text: &str) -> NamePattern {
    text.parse().unwrap()
}

fn as_read(text: &PolicyText) -> Policy {
    let ceilings = |all: &[(&str, u8)]| {
        all.iter().map(|(pattern, number)| (peer_pattern(pattern), level(*number))).collect()
    };
    let servers = SERVERS.iter().zip(&text.servers).map(|(name, server)| ServerPolicy {
        name: (*name).to_owned(),
        entry: (*name).to_owned(),
        default_level: server.default_level.map(level),
        auth_method: AuthMethod::ALL[server.auth],
        levels: server
            .levels
            .iter()
            .map(|(kind, pattern, number)| {
                (Space::ALL[*kind], name_pattern(pattern), level(*number))
            })
            .collect(),
        ceilings: ceilings(&server.ceilings),
    });
    let rules = text.rules.iter().enumerate().map(|(index, rule)| Rule {
        label: format!("rule {index}"),
        effect: if rule.deny { Effect::Deny } else { Effect::Allow },
        peers: rule.peers.iter().map(|pattern| peer_pattern(pattern)).collect(),
        servers: rule.servers.iter().map(|pattern| name_pattern(pattern)).collect(),
        objects: rule
            .objects
            .iter()
            .map(|(kind, pattern)| (Space::ALL[*kind], name_pattern(pattern)))
            .collect(),
    });
    Policy {
        zero_trust: text.zero_trust,
        ceilings: ceilings(&text.ceilings),
        servers: servers.collect(),
        rules: rules.collect(),
    }
}

// The oracle. It sees texts only.

fn full(pattern: &str) -> String {
    if matches!(pattern, "*" | "local") || pattern.starts_with("spiffe:") {
        pattern.to_owned()
    } else {
        format!("spiffe://{DOMAIN}/{pattern}")
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// What the most specific of the patterns that match says.
fn closest<'p>(said: impl Iterator<Item = (String, u8)> + 'p, name: &str) -> Option<u8> {
    said.filter(|(pattern, _)| matches(pattern, name))
        .max_by_key(|(pattern, _)| (!pattern.ends_with('*'), pattern.len()))
        .map(|(_, number)| number)
}

#[derive(Debug, PartialEq)]
enum Answer {
    Allowed,
    Denied(RefusalCode),
}

fn oracle(
    policy: &PolicyText,
    peer: &str,
    server_name: &str,
    to_server: bool,
    method: &str,
    subject: Option<&str>,
) -> Answer {
    use Answer::{Allowed, Denied};
    use RefusalCode::{AgentTokenRequired, ApprovalRequired, NotAuthorized};
    let Some(at) = SERVERS.iter().position(|name| *name == server_name) else {
        return Denied(NotAuthorized);
    };
    let server = &policy.servers[at];
    let kind = match method {
        _ if !to_server => 4,
        "tools/call" => 1,
        "prompts/get" => 2,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => 3,
        _ => 0,
    };
    let name = if matches!(kind, 0 | 4) { method } else { subject.unwrap_or("") };
    let mut allowed = false;
    let mut exactly = false;
    for rule in &policy.rules {
        if !rule.servers.iter().any(|pattern| matches(pattern, server_name)) {
            continue;
        }
        for pattern in rule.peers.iter().map(|pattern| full(pattern)) {
            if !matches(&pattern, peer) {
                continue;
            }
            for (of, object) in &rule.objects {
                let by_method = *of == if to_server { 0 } else { 4 } && matches(object, method);
                let by_name = *of == kind && matches(object, name);
                if !by_method && !by_name {
                    continue;
                }
                if rule.deny {
                    return Denied(NotAuthorized);
                }
                allowed = true;
                exactly |= by_name && !object.ends_with('*') && !pattern.ends_with('*');
            }
        }
    }
    if !to_server {
        let is_news = method == "ping" || method.starts_with("notifications/");
        return if is_news || allowed { Allowed } else { Denied(NotAuthorized) };
    }
    let level = match (kind, method) {
        (0, "initialize" | "ping" | "tools/list" | "notifications/cancelled") => 0,
        (0, "completion/complete") => 1,
        (0, _) => server.default_level.unwrap_or(3),
        _ => {
            let listed = server.levels.iter().filter(|(of, _, _)| *of == kind);
            let listed = listed.map(|(_, pattern, number)| ((*pattern).to_owned(), *number));
            closest(listed, name).or(server.default_level).unwrap_or(3)
        }
    };
    let own = |all: &[(&'static str, u8)]| {
        closest(all.iter().map(|(pattern, number)| (full(pattern), *number)), peer)
    };
    let otherwise = if peer == "local" { 2 } else { 1 };
    let otherwise = if policy.zero_trust { None } else { Some(otherwise) };
    let ceiling = own(&server.ceilings).or(own(&policy.ceilings)).or(otherwise);
    let granted = if level == 3 { exactly } else { allowed };
    if !granted && ceiling.is_none_or(|ceiling| ceiling < level) {
        return Denied(NotAuthorized);
    }
    match (level, server.auth) {
        (2 | 3, 1) => Denied(AgentTokenRequired),
        (2 | 3, 2) => Denied(ApprovalRequired),
        (3, _) if !granted => Denied(ApprovalRequired),
        _ => Allowed,
    }
}

fn cases() -> u32 {
    std::env::var("SEALWIRE_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_table_decides_as_the_oracle_does(
        text in policy(),
        requests in proptest::collection::vec(
            (
                one_of(&PEERS),
                proptest::sample::select(&["git", "github", "time", "other"][..]),
                prop_oneof![
                    one_of(&TO_SERVER).prop_map(|method| (true, method)),
                    one_of(&TO_CLIENT).prop_map(|method| (false, method)),
                ],
                proptest::option::of(one_of(&NAMES)),
            ),
            12,
        ),
    ) {
        let table = Table::compile(&as_read(&text));
        for (peer, server, (to_server, method), subject) in requests {
            let id = peer.parse::<PeerId>();
            let request = Request {
                peer: id.as_ref().map_or(Principal::Local, Principal::Peer),
                server,
                direction: if to_server { Direction::ToServer } else { Direction::ToClient },
                method,
                subject,
            };
            let expected = oracle(&text, peer, server, to_server, method, subject);
            let decision = table.decide(&request, Timestamp::from_unix_millis(0));
            prop_assert_eq!(table.allows(&request), decision == Decision::Allow);
            let explained = table.explain(&request);
            prop_assert_eq!(&explained.decision, &decision);
            prop_assert_eq!(table.level(&request), explained.level);
            let told = explained.rule.is_some_and(|(effect, _)| effect == Effect::Deny)
                || !explained.missing.is_empty();
            prop_assert_eq!(told, decision != Decision::Allow, "a denial is explained");
            let found = match decision {
                Decision::Allow => Answer::Allowed,
                Decision::Deny(refusal) | Decision::Later(refusal, _) => Answer::Denied(refusal.code),
            };
            prop_assert_eq!(found, expected, "{:?}", request);
        }
    }
}
