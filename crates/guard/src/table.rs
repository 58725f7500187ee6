//! The decision table: a policy compiled once, so that a decision costs the same with ten
//! rules or ten thousand.
//!
//! A decision finds the most specific pattern of the peer and of the tool, each by one hash
//! or one walk along the name, and looks up the rules under each pair on their two chains.
//! How long those are depends on how patterns nest, not on how many there are.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sealwire_names::Timestamp;

use crate::index::{Names, Peers, Standing};
use crate::operation::{Needs, needs};
use crate::policy::{DEFAULT_LEVEL, DEFAULT_LOCAL_CEILING, DEFAULT_PEER_CEILING};
use crate::{
    AuthMethod, Decision, Direction, Effect, Gate, Level, NamePattern, PeerPattern, Policy,
    Principal, Request, Rule, ServerPolicy, Space,
};

/// A compiled [`Policy`]. It never changes; a new policy is a new table.
#[derive(Debug)]
pub struct Table {
    zero_trust: bool,
    labels: Vec<String>,
    /// Of rules, and of the ceilings that hold everywhere.
    peers: Peers<Said>,
    ceilings: Ceilings,
    everywhere: Rules,
    servers: HashMap<Box<str>, ServerTable, RandomState>,
}

/// A ceiling, and which of the list it is.
type Said = (Level, u32);
/// Ceilings as they were given, to be told.
type Ceilings = Vec<(PeerPattern, Level)>;

#[derive(Debug)]
struct ServerTable {
    default_level: Option<Level>,
    auth_method: AuthMethod,
    levels: Vec<(Space, NamePattern, Level)>,
    ceilings: Option<(Peers<Said>, Ceilings)>,
    rules: Rules,
}

/// The rules of one server, or of all.
#[derive(Debug)]
struct Rules([Spaced; Space::ALL.len()]);

#[derive(Debug)]
struct Spaced {
    names: Names,
    /// By the name's node and the peer's.
    verdicts: HashMap<(u32, u32), Verdict, RandomState>,
}

/// The first rule of each effect.
#[derive(Clone, Copy, Debug, Default)]
struct Verdict {
    deny: Option<u32>,
    allow: Option<u32>,
}

/// What rules say about one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ruled {
    pub(crate) deny: Option<u32>,
    pub(crate) allow: Option<u32>,
    /// A rule that allows it and names both peer and object exactly.
    pub(crate) exact: Option<u32>,
}

/// Where a level comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LevelSource {
    Method,
    Listed(u32),
    ServerDefault,
    Unstated,
}

/// Where a ceiling comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CeilingSource {
    Server(u32),
    Policy(u32),
    Unstated,
}

/// What a request lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lacks {
    pub(crate) server: bool,
    pub(crate) ceiling: bool,
    pub(crate) rule: bool,
    pub(crate) exact_rule: bool,
    pub(crate) agent_token: bool,
    pub(crate) approval: bool,
}

/// All that a decision rests on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) ruled: Ruled,
    /// The rule without which it would not pass.
    pub(crate) grant: Option<u32>,
    pub(crate) level: Option<(Level, LevelSource)>,
    pub(crate) ceiling: Option<(Option<Level>, CeilingSource)>,
    pub(crate) lacks: Lacks,
}

impl Judged {
    fn passes(&self) -> bool {
        self.ruled.deny.is_none() && self.lacks == Lacks::default()
    }
}

impl Gate for Table {
    fn decide(&self, request: &Request<'_>, _now: Timestamp) -> Decision {
        let judged = self.judge(request);
        if judged.passes() {
            return Decision::Allow;
        }
        Decision::Deny(self.refusal(request, &judged))
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        self.judge(request).passes()
    }

    fn level(&self, request: &Request<'_>) -> Option<Level> {
        let server = self.servers.get(request.server)?;
        server.needed(needs(request.direction, request.method), request).map(|(level, _)| level)
    }
}

impl Table {
    /// Compiles `policy`.
    pub fn compile(policy: &Policy) -> Self {
        let mut peers = Peers::new();
        for (index, (pattern, level)) in policy.ceilings.iter().enumerate() {
            let node = peers.node(pattern);
            peers.say(node, (*level, index as u32));
        }
        let mut everywhere = Rules::new();
        let mut servers: Vec<_> = policy.servers.iter().map(|s| (s, ServerTable::new(s))).collect();
        for (index, rule) in policy.rules.iter().enumerate() {
            let nodes: Vec<_> = rule.peers.iter().map(|pattern| peers.node(pattern)).collect();
            nodes.iter().for_each(|node| peers.rule(*node));
            if rule.is_everywhere() {
                everywhere.add(rule, index as u32, &nodes);
                continue;
            }
            for (server, table) in &mut servers {
                if rule.is_at(&server.entry) {
                    table.rules.add(rule, index as u32, &nodes);
                }
            }
        }
        let of_rules = policy.rules.iter().flat_map(|rule| &rule.peers);
        peers.finish(policy.ceilings.iter().map(|(pattern, _)| pattern).chain(of_rules));
        everywhere.finish(&policy.rules, &[], Rule::is_everywhere);
        for (server, table) in &mut servers {
            let is_here = |rule: &Rule| !rule.is_everywhere() && rule.is_at(&server.entry);
            table.rules.finish(&policy.rules, &server.levels, is_here);
        }
        Self {
            zero_trust: policy.zero_trust,
            labels: policy.rules.iter().map(|rule| rule.label.clone()).collect(),
            peers,
            ceilings: policy.ceilings.clone(),
            everywhere,
            servers: servers
                .into_iter()
                .map(|(s, table)| (s.name.as_str().into(), table))
                .collect(),
        }
    }

    /// Whether requests may be about a server of this name.
    pub fn knows(&self, server: &str) -> bool {
        self.servers.contains_key(server)
    }

    #[inline]
    pub(crate) fn judge(&self, request: &Request<'_>) -> Judged {
        let mut judged = Judged::default();
        let Some(server) = self.servers.get(request.server) else {
            judged.lacks.server = true;
            return judged;
        };
        let peer = self.peers.find(request.peer);
        let method_space = match request.direction {
            Direction::ToServer => Space::Method,
            Direction::ToClient => Space::ClientMethod,
        };
        let needs = needs(request.direction, request.method);
        // About a tool, prompt or resource the most is said under its own name.
        let named = match needs {
            Needs::Named(space) if space != method_space => {
                Some((space, request.subject.unwrap_or_default()))
            }
            _ => None,
        };
        let ruled = &mut judged.ruled;
        for rules in [&server.rules, &self.everywhere] {
            let about_it = needs == Needs::Named(method_space) || needs == Needs::Rule;
            rules.look(method_space, request.method, about_it, &self.peers, &peer, ruled);
            if let Some((space, name)) = named {
                rules.look(space, name, true, &self.peers, &peer, ruled);
            }
        }
        let Some(level) = server.needed(needs, request) else {
            if needs == Needs::Rule {
                judged.grant = ruled.allow;
                judged.lacks.rule = ruled.allow.is_none();
            }
            return judged;
        };
        let ceiling = self.ceiling(server, request.peer, &peer);
        judged.level = Some(level);
        judged.ceiling = Some(ceiling);
        let is_within = ceiling.0.is_some_and(|ceiling| level.0 <= ceiling);
        judged.grant = match level.0 {
            Level::Privileged => ruled.exact,
            _ => ruled.allow.filter(|_| !is_within),
        };
        judged.lacks = lacks(level.0, is_within, judged.grant.is_some(), server.auth_method);
        judged
    }

    fn ceiling(
        &self,
        server: &ServerTable,
        principal: Principal<'_>,
        peer: &Standing<Said>,
    ) -> (Option<Level>, CeilingSource) {
        if let Some((peers, _)) = &server.ceilings
            && let Some((level, index)) = peers.find(principal).said
        {
            return (Some(level), CeilingSource::Server(index));
        }
        if let Some((level, index)) = peer.said {
            return (Some(level), CeilingSource::Policy(index));
        }
        let unstated = match principal {
            _ if self.zero_trust => None,
            Principal::Peer(_) => Some(DEFAULT_PEER_CEILING),
            Principal::Local => Some(DEFAULT_LOCAL_CEILING),
        };
        (unstated, CeilingSource::Unstated)
    }

    pub(crate) fn label(&self, rule: u32) -> &str {
        &self.labels[rule as usize]
    }

    /// The pattern of a server's list that gives the level.
    pub(crate) fn listed(&self, server: &str, index: u32) -> Option<&NamePattern> {
        let levels = &self.servers.get(server)?.levels;
        levels.get(index as usize).map(|(_, pattern, _)| pattern)
    }

    /// The pattern that gives the ceiling.
    pub(crate) fn ceiling_pattern(
        &self,
        server: &str,
        source: CeilingSource,
    ) -> Option<&PeerPattern> {
        let (ceilings, index) = match source {
            CeilingSource::Server(index) => {
                (&self.servers.get(server)?.ceilings.as_ref()?.1, index)
            }
            CeilingSource::Policy(index) => (&self.ceilings, index),
            CeilingSource::Unstated => return None,
        };
        ceilings.get(index as usize).map(|(pattern, _)| pattern)
    }
}

/// What an operation of `level` lacks. Agent tokens and approvals cannot be presented yet,
/// so where they are asked for, they are missing.
fn lacks(level: Level, is_within: bool, granted: bool, auth: AuthMethod) -> Lacks {
    let asks = level >= Level::Authorized;
    Lacks {
        ceiling: !is_within && !granted,
        exact_rule: level == Level::Privileged && !granted,
        agent_token: asks && auth == AuthMethod::AgentToken,
        approval: asks && auth == AuthMethod::Approval,
        ..Lacks::default()
    }
}

impl ServerTable {
    fn new(server: &ServerPolicy) -> Self {
        let ceilings = (!server.ceilings.is_empty()).then(|| {
            let mut peers = Peers::new();
            for (index, (pattern, level)) in server.ceilings.iter().enumerate() {
                let node = peers.node(pattern);
                peers.say(node, (*level, index as u32));
            }
            peers.finish(server.ceilings.iter().map(|(pattern, _)| pattern));
            (peers, server.ceilings.clone())
        });
        let mut rules = Rules::new();
        for (index, (space, pattern, _)) in server.levels.iter().enumerate() {
            let names = &mut rules.0[*space as usize].names;
            let node = names.node(pattern);
            names.say(node, index as u32);
        }
        Self {
            default_level: server.default_level,
            auth_method: server.auth_method,
            levels: server.levels.clone(),
            ceilings,
            rules,
        }
    }

    /// The level of what needs one.
    #[inline]
    fn needed(&self, needs: Needs, request: &Request<'_>) -> Option<(Level, LevelSource)> {
        match needs {
            Needs::Nothing | Needs::Rule => None,
            Needs::Fixed(level) => Some((level, LevelSource::Method)),
            Needs::Named(Space::Method | Space::ClientMethod) => Some(self.unlisted()),
            Needs::Named(space) => Some(self.level(space, request.subject.unwrap_or_default())),
        }
    }

    #[inline]
    fn level(&self, space: Space, name: &str) -> (Level, LevelSource) {
        let names = &self.rules.0[space as usize].names;
        match names.said(names.find(name)) {
            Some(index) => (self.levels[index as usize].2, LevelSource::Listed(index)),
            None => self.unlisted(),
        }
    }

    fn unlisted(&self) -> (Level, LevelSource) {
        match self.default_level {
            Some(level) => (level, LevelSource::ServerDefault),
            None => (DEFAULT_LEVEL, LevelSource::Unstated),
        }
    }
}

impl Rules {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Spaced { names: Names::new(), verdicts: HashMap::default() }))
    }

    fn add(&mut self, rule: &Rule, index: u32, peers: &[u32]) {
        for (space, pattern) in &rule.objects {
            let spaced = &mut self.0[*space as usize];
            let name = spaced.names.node(pattern);
            spaced.names.rule(name);
            for peer in peers {
                let verdict = spaced.verdicts.entry((name, *peer)).or_default();
                match rule.effect {
                    Effect::Allow => verdict.allow.get_or_insert(index),
                    Effect::Deny => verdict.deny.get_or_insert(index),
                };
            }
        }
    }

    fn finish(
        &mut self,
        rules: &[Rule],
        levels: &[(Space, NamePattern, Level)],
        is_here: impl Fn(&Rule) -> bool,
    ) {
        let of_rules = || {
            rules
                .iter()
                .filter(|rule| is_here(rule))
                .flat_map(|rule| rule.objects.iter().map(|(space, pattern)| (*space, pattern)))
        };
        for space in Space::ALL {
            let levels = levels.iter().map(|(space, pattern, _)| (*space, pattern));
            let all = of_rules().chain(levels).filter(|(of, _)| *of == space);
            let patterns: Vec<_> = all.map(|(_, pattern)| pattern).collect();
            self.0[space as usize].names.finish(patterns.into_iter());
        }
    }

    /// Adds what these rules say. `about_it` tells whether a rule that gives this name has
    /// named what is done, rather than how it is asked for.
    #[inline]
    fn look(
        &self,
        space: Space,
        name: &str,
        about_it: bool,
        peers: &Peers<Said>,
        peer: &Standing<Said>,
        ruled: &mut Ruled,
    ) {
        let spaced = &self.0[space as usize];
        if spaced.verdicts.is_empty() {
            return;
        }
        let of_peer = peers.chain(peer);
        for (name, name_is_exact) in spaced.names.chain(spaced.names.find(name)) {
            for (peer, peer_is_exact) in of_peer.clone() {
                let Some(verdict) = spaced.verdicts.get(&(name, peer)) else { continue };
                ruled.deny = earlier(ruled.deny, verdict.deny);
                ruled.allow = earlier(ruled.allow, verdict.allow);
                if about_it && name_is_exact && peer_is_exact {
                    ruled.exact = earlier(ruled.exact, verdict.allow);
                }
            }
        }
    }
}

/// The rule that stands first is the one that is told.
fn earlier(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
