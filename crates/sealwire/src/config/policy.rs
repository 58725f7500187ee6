//! `[policy]` and `[mcp_servers.<name>.policy]`: who may do what.
//!
//! A mistake in a rule that denies is a hole, so nothing is taken for granted here: a rule
//! that cannot apply is refused where that can be seen from the configuration alone.

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{SHA256, digest};
use sealwire_guard::{
    AuthMethod, Effect, Guard, Level, Limiter, NamePattern, PeerPattern, Policy, Rule,
    ServerPolicy, Space, Table,
};
use sealwire_names::{Fingerprint, TrustDomain};

use super::document::{Located, Place, Section};
use super::error::Problems;
use super::{SecureMcpConfig, ServerEntry, schema, typed};

/// The spaces that a server's policy lists levels for.
const LISTED: [Space; 3] = [Space::Tool, Space::Prompt, Space::Resource];

/// `[policy]`, or that of one server, as typed.
#[derive(Debug, Default)]
pub(crate) struct TypedPolicy {
    ceilings: Vec<Located<(String, u64)>>,
    levels: Vec<(Space, Located<(String, u64)>)>,
    rules: Vec<TypedRule>,
}

#[derive(Debug)]
struct TypedRule {
    at: Place,
    effect: Effect,
    /// Its place among those of its list, from 1.
    number: usize,
    peers: Option<Located<Vec<String>>>,
    servers: Option<Located<Vec<String>>>,
    direction: Option<Located<String>>,
    methods: Option<Located<Vec<String>>>,
    /// In the order of [`LISTED`].
    named: [Option<Located<Vec<String>>>; 3],
}

impl TypedPolicy {
    /// Reads `[policy]`.
    pub(crate) fn read(section: &Section<'_>, problems: &mut Problems) -> Self {
        let ceilings = section.integers("ceilings", 0..=3, problems);
        Self { ceilings, levels: Vec::new(), rules: rules(section, problems) }
    }

    /// Reads `[mcp_servers.<name>.policy]`.
    pub(crate) fn read_servers(section: &Section<'_>, problems: &mut Problems) -> Self {
        let mut typed = Self::read(section, problems);
        for space in LISTED {
            let levels = section.integers(space.key(), 0..=3, problems);
            typed.levels.extend(levels.into_iter().map(|level| (space, level)));
        }
        typed
    }
}

fn rules(section: &Section<'_>, problems: &mut Problems) -> Vec<TypedRule> {
    let mut found = Vec::new();
    for effect in [Effect::Allow, Effect::Deny] {
        let sections = section.list_of_sections(effect.as_str(), &schema::RULE, problems);
        for (index, (at, rule)) in sections.into_iter().enumerate() {
            found.push(TypedRule {
                at,
                effect,
                number: index + 1,
                peers: rule.strings("peers", problems),
                servers: rule.strings("servers", problems),
                direction: rule.string("direction", problems),
                methods: rule.strings("methods", problems),
                named: LISTED.map(|space| rule.strings(space.key(), problems)),
            });
        }
    }
    found
}

/// The level that `[defaults]` gives to each server that gives none.
pub(crate) fn of_every_server(defaults: &typed::Defaults) -> Option<Level> {
    Level::from_number(defaults.default_level.as_ref()?.value)
}

/// Checks all of it.
pub(crate) fn check(
    typed: &typed::Typed,
    home: &TrustDomain,
    servers: &BTreeMap<String, ServerEntry>,
    problems: &mut Problems,
) -> Policy {
    let mut checker = Checker { home, servers, zero_trust: typed.zero_trust(), problems };
    let mut rules = checker.rules(&typed.policy, None);
    let mut of_servers = Vec::new();
    for (name, server) in &typed.servers {
        if !servers.contains_key(&name.value) {
            continue;
        }
        rules.extend(checker.rules(&server.policy, Some(&name.value)));
        of_servers.push(ServerPolicy {
            name: name.value.clone(),
            entry: name.value.clone(),
            default_level: checker.default_level(server, &typed.defaults),
            auth_method: checker.auth_method(server, &typed.defaults),
            levels: checker.levels(&server.policy),
            ceilings: checker.ceilings(&server.policy),
        });
    }
    Policy {
        zero_trust: typed.zero_trust(),
        ceilings: checker.ceilings(&typed.policy),
        servers: of_servers,
        rules,
    }
}

struct Checker<'a> {
    home: &'a TrustDomain,
    servers: &'a BTreeMap<String, ServerEntry>,
    zero_trust: bool,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn default_level(&mut self, server: &typed::Server, of: &typed::Defaults) -> Option<Level> {
        let given = server.default_level.as_ref().or(of.default_level.as_ref())?;
        if self.zero_trust {
            let remedy = "remove it and list the server's tools in its policy; \
                          `sealwire policy suggest SERVER` drafts that";
            self.problems.push(given.at.problem("is not accepted by zero_trust_mode", remedy));
        }
        Level::from_number(given.value)
    }

    fn auth_method(&mut self, server: &typed::Server, of: &typed::Defaults) -> AuthMethod {
        let Some(given) = server.auth_method.as_ref().or(of.auth_method.as_ref()) else {
            return AuthMethod::default();
        };
        let found = AuthMethod::ALL.into_iter().find(|method| method.as_str() == given.value);
        if found.is_none() {
            let what = format!("{:?} is not one of them", given.value);
            let remedy = "write one of \"mtls\", \"agent_token\", \"approval\"";
            self.problems.push(given.at.problem(what, remedy));
        }
        found.unwrap_or_default()
    }

    fn levels(&mut self, policy: &TypedPolicy) -> Vec<(Space, NamePattern, Level)> {
        let mut levels = Vec::new();
        for (space, Located { value: (text, number), at }) in &policy.levels {
            let pattern = self.name(text, at);
            levels.extend(pattern.zip(Level::from_number(*number)).map(|(p, l)| (*space, p, l)));
        }
        levels
    }

    fn ceilings(&mut self, policy: &TypedPolicy) -> Vec<(PeerPattern, Level)> {
        let mut seen: HashMap<PeerPattern, &Place> = HashMap::new();
        let mut ceilings = Vec::new();
        for Located { value: (text, number), at } in &policy.ceilings {
            let Some(pattern) = self.peer(text, at) else { continue };
            if let Some(first) = seen.insert(pattern.clone(), at) {
                let what = format!("names the same peers as line {}", first.line());
                self.problems.push(at.problem(what, "keep one of the two"));
            }
            ceilings.extend(Level::from_number(*number).map(|level| (pattern, level)));
        }
        ceilings
    }

    /// The rules of `[policy]`, or of one server.
    fn rules(&mut self, policy: &TypedPolicy, server: Option<&str>) -> Vec<Rule> {
        policy.rules.iter().filter_map(|rule| self.rule(rule, server)).collect()
    }

    fn rule(&mut self, rule: &TypedRule, server: Option<&str>) -> Option<Rule> {
        let table = match server {
            Some(name) => format!("mcp_servers.{name}.policy"),
            None => "policy".to_owned(),
        };
        let file = rule.at.file().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let label = format!(
            "[[{table}.{}]] {} ({file}:{})",
            rule.effect.as_str(),
            rule.number,
            rule.at.line()
        );
        let peers = match &rule.peers {
            Some(given) => self.each(given, |checker, text| checker.peer(text, &given.at))?,
            None => vec![PeerPattern::Any],
        };
        let servers = match (&rule.servers, server) {
            (Some(given), Some(_)) => {
                let remedy = "remove it: the rule stands in the policy of one server";
                self.problems.push(given.at.problem("has no effect here", remedy));
                return None;
            }
            (Some(given), None) => {
                self.each(given, |checker, text| checker.server(text, &given.at))?
            }
            (None, Some(name)) => vec![NamePattern::Exact(name.into())],
            (None, None) => vec![NamePattern::any()],
        };
        let objects = self.objects(rule)?;
        Some(Rule { label, effect: rule.effect, peers, servers, objects })
    }

    fn objects(&mut self, rule: &TypedRule) -> Option<Vec<(Space, NamePattern)>> {
        let methods_in = match rule.direction.as_ref().map(|given| (given.value.as_str(), given)) {
            None | Some(("to_server", _)) => Space::Method,
            Some(("to_client", _)) => Space::ClientMethod,
            Some((other, given)) => {
                let what = format!("{other:?} is not a direction");
                let remedy = "write \"to_server\", the default, or \"to_client\"";
                self.problems.push(given.at.problem(what, remedy));
                return None;
            }
        };
        let mut objects = Vec::new();
        let lists =
            LISTED.into_iter().zip(&rule.named).filter_map(|(s, list)| Some((s, list.as_ref()?)));
        for (space, given) in lists {
            if methods_in == Space::ClientMethod {
                let what = "has no effect on what goes to the client";
                let remedy = "name methods, such as \"sampling/createMessage\"";
                self.problems.push(given.at.problem(what, remedy));
                return None;
            }
            let patterns = self.each(given, |checker, text| checker.name(text, &given.at))?;
            objects.extend(patterns.into_iter().map(|pattern| (space, pattern)));
        }
        if let Some(given) = &rule.methods {
            let patterns = self.each(given, |checker, text| checker.name(text, &given.at))?;
            objects.extend(patterns.into_iter().map(|pattern| (methods_in, pattern)));
        }
        if objects.is_empty() {
            if rule.effect == Effect::Allow {
                let remedy = "name methods, tools, prompts or resources; \"*\" names all";
                self.problems.push(rule.at.problem("does not say what it allows", remedy));
                return None;
            }
            objects.push((methods_in, NamePattern::any()));
        }
        Some(objects)
    }

    /// Each of a list that must not be empty; what is wrong has been said if it is `None`.
    fn each<T>(
        &mut self,
        given: &Located<Vec<String>>,
        mut check: impl FnMut(&mut Self, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        if given.value.is_empty() {
            let remedy = "name something, or remove the rule";
            self.problems.push(given.at.problem("is empty, so the rule never applies", remedy));
        }
        let checked: Vec<_> = given.value.iter().filter_map(|text| check(self, text)).collect();
        (!checked.is_empty()).then_some(checked)
    }

    fn peer(&mut self, text: &str, at: &Place) -> Option<PeerPattern> {
        let parsed = PeerPattern::parse(text, self.home);
        self.parsed(
            text,
            at,
            parsed,
            "write it like \"agent/CodeExpert\", \"core/*\", \"local\" or \"*\"",
        )
    }

    fn name(&mut self, text: &str, at: &Place) -> Option<NamePattern> {
        self.parsed(text, at, text.parse(), "write a name, or its beginning and a '*'")
    }

    fn server(&mut self, text: &str, at: &Place) -> Option<NamePattern> {
        let pattern = self.name(text, at)?;
        if let NamePattern::Exact(name) = &pattern
            && !self.servers.contains_key(&**name)
        {
            let what = format!("there is no [mcp_servers.{name}]");
            let known: Vec<_> = self.servers.keys().map(String::as_str).collect();
            let remedy = format!("name one of those there are: {}", known.join(", "));
            self.problems.push(at.problem(what, remedy));
        }
        Some(pattern)
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        text: &str,
        at: &Place,
        parsed: Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        parsed
            .map_err(|error| self.problems.push(at.problem(format!("{text:?}: {error}"), remedy)))
            .ok()
    }
}

impl SecureMcpConfig {
    /// The gate for the entries that `which` picks, by the names that they have on the wire:
    /// policy, and limits of which nothing has been used.
    pub fn guard(&self, which: impl Fn(&ServerEntry) -> bool) -> Guard {
        let on_wire = |entry: &str| {
            let entry = self.servers.get(entry).filter(|entry| which(entry))?;
            Some(entry.server_name.clone())
        };
        let mut policy = self.policy.clone();
        policy.servers.retain_mut(|server| match on_wire(&server.entry) {
            Some(name) => {
                server.name = name;
                true
            }
            None => false,
        });
        let limiter = self.rate_limits.clone().map(|mut limits| {
            limits.servers.retain_mut(|server| match on_wire(&server.entry) {
                Some(name) => {
                    server.name = name;
                    true
                }
                None => false,
            });
            Limiter::new(&limits)
        });
        let hashes = policy
            .servers
            .iter()
            .filter_map(|server| Some((server.name.clone(), self.policy_hash(&server.entry)?)));
        Guard::new(Table::compile(&policy), limiter).with_policies(hashes)
    }

    /// The SHA-256 of what decides about requests to the server with this table: policy and
    /// limits, in the writing of [`Policy::canonical`]. `None` if there is no such server.
    pub fn policy_hash(&self, entry: &str) -> Option<Fingerprint> {
        let text = self.policy.canonical(entry, self.rate_limits.as_ref())?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Some(Fingerprint::from_sha256(hash))
    }
}
