//! Settings that can have no effect: rules that match nothing, and tables for what is not here.
//! Whoever wrote them thinks that they do something.

use sealwire::agents::KeyStore;
use sealwire::config::{CaConfig, ListenConfig, SecureMcpConfig};
use sealwire::pins::{PinStore, server_of};
use sealwire_guard::{Effect, NamePattern, PeerPattern, PinKind, RemarkKind, Space};
use sealwire_identity::{TokenUri, token_of};
use sealwire_names::Kind;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;

/// Looks at what the configuration says.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let unused = Unused { case, config };
    let mark = report.mark();
    unused.remarks(report);
    unused.peers(report);
    unused.names(report);
    unused.tables(report);
    if report.mark() == mark {
        report.passed("every setting can have an effect", case.context.config_file.display());
    }
}

struct Unused<'a, 'c> {
    case: &'a Case<'c>,
    config: &'a SecureMcpConfig,
}

impl Unused<'_, '_> {
    fn key(&self, key: &str) -> String {
        format!("{}: {key}", self.case.context.config_file.display())
    }

    /// What can be seen of the policy alone, as `policy check` tells it.
    fn remarks(&self, report: &mut Report) {
        for remark in self.config.policy.review() {
            let (finding, remedy) = match remark.kind {
                RemarkKind::Contradiction => (
                    Finding::warning(Id::RuleContradicted, remark.what),
                    "remove it, or narrow the rule that denies",
                ),
                RemarkKind::CeilingWithoutEffect => (
                    Finding::note(Id::CeilingWithoutEffect, remark.what),
                    "write 2, and a rule that names peer and tool for what is of level 3",
                ),
                RemarkKind::NothingCallable => (
                    Finding::note(Id::NothingCallable, remark.what),
                    "see `sealwire policy suggest`",
                ),
                RemarkKind::AuthMethodUnavailable => (
                    Finding::warning(Id::AuthMethodUnavailable, remark.what),
                    "write auth_method = \"mtls\", or leave it out",
                ),
                _ => (
                    Finding::warning(Id::RuleNeverApplies, remark.what),
                    "remove it, or write it as it is meant",
                ),
            };
            let servers = &self.config.servers;
            let place = match servers.get(&remark.about) {
                Some(entry) => self.case.table(entry),
                None if remark.kind == RemarkKind::CeilingWithoutEffect => {
                    self.key(&format!("ceilings of {}", remark.about))
                }
                None => remark.about,
            };
            report.found(finding.at(place).fix(remedy));
        }
    }

    /// Patterns of peers that nobody can be: of another trust domain than the only one whose
    /// names are believed here, or of the kind that never connects.
    fn peers(&self, report: &mut Report) {
        let policy = &self.config.policy;
        let rules = policy
            .rules
            .iter()
            .flat_map(|rule| rule.peers.iter().map(move |peer| (rule.label.clone(), peer)));
        let ceilings = policy.ceilings.iter().map(|(peer, _)| ("[policy] ceilings", peer));
        let limits = self.config.rate_limits.iter().flat_map(|limits| &limits.peers);
        let limits = limits.map(|(peer, _)| ("[security.rate_limiting] peers", peer));
        let keyed = ceilings.chain(limits).map(|(key, peer)| (self.key(key), peer));
        let of_servers = policy.servers.iter().flat_map(|server| {
            let place = self.key(&format!("[mcp_servers.{}.policy] ceilings", server.entry));
            server.ceilings.iter().map(move |(peer, _)| (place.clone(), peer))
        });
        for (place, peer) in rules.chain(keyed).chain(of_servers) {
            let (domain, kind) = match peer {
                PeerPattern::Exact(id) => (id.trust_domain(), id.kind()),
                PeerPattern::Prefix(domain, kind, _) => (domain, *kind),
                PeerPattern::Any | PeerPattern::Local => continue,
            };
            let what = if *domain != self.config.trust_domain {
                let ours = &self.config.trust_domain;
                format!("{peer} is of another trust domain, and only peers of {ours} are let in")
            } else if kind == Kind::McpServer {
                format!("{peer} names a server, and servers do not call")
            } else {
                continue;
            };
            let found = Finding::warning(Id::RuleNeverApplies, what).at(place);
            report.found(found.fix("name a peer as kind/name, such as core/laptop, or remove it"));
        }
    }

    /// Names of tools and prompts that a server does not have, as far as it has been pinned.
    fn names(&self, report: &mut Report) {
        let Ok(Some(pins)) = PinStore::open_existing(&self.config.layout()) else { return };
        for entry in self.case.entries() {
            let Ok(server) = server_of(self.config, entry) else { continue };
            let Ok(known) = pins.entries(Some(&server)) else { continue };
            for (place, space, pattern) in self.named(&entry.name) {
                let kind = if space == Space::Tool { PinKind::Tool } else { PinKind::Prompt };
                let mut of_kind = known.iter().filter(|pin| pin.kind == kind).peekable();
                // Nothing of that kind was ever listed: nothing is known.
                if of_kind.peek().is_none() || of_kind.any(|pin| pattern.matches(&pin.name)) {
                    continue;
                }
                let noun = space.noun();
                let what = format!("{} has shown no {noun} that {pattern} matches", entry.name);
                let found = Finding::warning(Id::NameUnknown, what).at(place).of(&entry.name);
                report.found(found.fix(format!(
                    "correct the name, or remove it: `sealwire policy check {}` asks the server for \
                     what it has now",
                    entry.name
                )));
            }
        }
    }

    /// Every name of a tool or prompt that is meant for this server, and where it stands.
    fn named(&self, entry: &str) -> Vec<(String, Space, NamePattern)> {
        let (policy, mut named) = (&self.config.policy, Vec::new());
        let is_named = |space: Space| matches!(space, Space::Tool | Space::Prompt);
        for server in policy.servers.iter().filter(|server| server.entry == entry) {
            for (space, pattern, _) in server.levels.iter().filter(|(space, _, _)| is_named(*space))
            {
                let place = self.key(&format!("[mcp_servers.{entry}.policy] {}", space.key()));
                named.push((place, *space, pattern.clone()));
            }
        }
        for rule in &policy.rules {
            // What is said of all servers need not fit each.
            if rule.servers != [NamePattern::Exact(entry.into())] {
                continue;
            }
            for (space, pattern) in rule.objects.iter().filter(|(space, _)| is_named(*space)) {
                // To deny what is not there yet is caution.
                let is_caution =
                    rule.effect == Effect::Deny && matches!(pattern, NamePattern::Prefix(_));
                if !is_caution {
                    named.push((rule.label.clone(), *space, pattern.clone()));
                }
            }
        }
        let limits = self.config.rate_limits.iter().flat_map(|limits| &limits.servers);
        for (pattern, _) in limits.filter(|server| server.entry == entry).flat_map(|s| &s.tools) {
            let place = self.key(&format!("[mcp_servers.{entry}.rate_limiting] tools"));
            named.push((place, Space::Tool, pattern.clone()));
        }
        named
    }

    /// Tables for what this home is not.
    fn tables(&self, report: &mut Report) {
        let config = self.config;
        let mut unused = |key: &str, what: &str, remedy: &str| {
            let found = Finding::note(Id::SettingUnused, what).at(self.key(key));
            report.found(found.fix(remedy));
        };
        if config.ca != CaConfig::default() && !self.case.context.home.has_authority() {
            unused(
                "[ca]",
                "the authority's key is not in this home, so that nobody joins or renews here",
                "move the table to the home that has the authority's key, or remove it",
            );
        }
        let serves = config.servers.values().any(|entry| entry.role.is_served());
        let usual = ListenConfig::default();
        let listens = |listen: &ListenConfig| {
            (
                listen.address,
                listen.max_connections,
                listen.max_connections_per_peer,
                listen.max_detached_per_peer,
                listen.resume_window,
            )
        };
        if !serves && !config.servers.is_empty() {
            let remedy = "remove it, or serve something: an entry with command and no transport";
            if listens(&config.listen) != listens(&usual) {
                unused("[listen]", "nothing is served here, so that nothing listens", remedy);
            }
            if config.admin.address.is_some() {
                unused("[admin]", "nothing is served here, and `serve` alone tells health", remedy);
            }
            if config.alerts.enabled {
                let what = "nothing is served here, and `serve` alone sends alerts: nobody is told";
                unused("[audit.alerts]", what, remedy);
            }
        }
        let layout = config.layout();
        let pairs = config.servers.values().filter_map(|entry| entry.role.pair());
        let named = pairs.map(|(_, key)| key).chain([&config.client_key]);
        let (agents, ca_key) = (KeyStore::of(config).files_there(), layout.ca_key());
        let mut made = agents.iter().chain([&ca_key]);
        let any = named.into_iter().any(|key| TokenUri::is_in(key))
            || made.any(|key| matches!(token_of(key), Ok(Some(_))));
        if config.pkcs11_module.is_some() && !any {
            unused(
                "[pkcs11] module",
                "no key of this home is in a token",
                "remove it, or move a key there: docs/hardware.md",
            );
        }
        let agents = &config.agent_security;
        if agents.agents.is_empty() {
            let remedy = "name the agents of this home in agents of [agent_security], or remove it";
            if !agents.trust.can_communicate_with.is_empty() || !agents.trust.privileged.is_empty()
            {
                let what = "this home has no agent, so that nobody asks who may write to whom";
                unused("[agent_security.trust]", what, remedy);
            }
            if !config.mailbox.groups.is_empty() {
                let what = "this home has no agent, so that nobody writes to a group";
                unused("[mailbox.groups]", what, remedy);
            }
        }
        for agent in &agents.trust.privileged {
            if !agents.trust.can_communicate_with.contains_key(agent) && !agents.agents.is_empty() {
                let what = format!("{agent} is privileged, and may write to nobody");
                unused(
                    "[agent_security.trust] privileged_agents",
                    &what,
                    "give it can_communicate_with, or remove it there",
                );
            }
        }
    }
}
