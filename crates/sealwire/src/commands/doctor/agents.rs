//! The keys of agents, and who is named in the rules and known to nobody.

use std::collections::BTreeSet;
use std::path::Path;

use sealwire::agents::{Generation, KeyError, KeyStore};
use sealwire::config::{Recipients, SecureMcpConfig};
use sealwire_names::AgentId;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;

/// Looks at the keys of each agent, and at the bundles of agents elsewhere.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let store = KeyStore::of(config);
    let named = named(config);
    for agent in &config.agent_security.agents {
        own(case, &store, agent, &named, report);
    }
    let known = match store.known(case.now) {
        Ok(known) => known,
        Err(error) => {
            report.found(unusable(&error, &store.known_dir()));
            return;
        }
    };
    for generations in known.values() {
        let Some(Generation { bundle, .. }) = generations.first() else { continue };
        if bundle.not_after <= case.now {
            let what = format!("the bundle of {} expired at {}", bundle.agent, bundle.not_after);
            let remedy = "ask its owner for the new one: sealwire key export NAME";
            let found = Finding::warning(Id::AgentKeysExpired, what);
            report.found(found.at(store.known_dir().display()).fix(remedy));
        }
    }
    let everybody: BTreeSet<&AgentId> =
        config.agent_security.agents.iter().chain(known.keys()).collect();
    for (agent, table) in named {
        if !everybody.contains(agent) {
            let what = format!("{agent} is named in {table}, and nobody knows that agent");
            let remedy = "correct the name, add it to agents in [agent_security], or import its \
                          bundle: sealwire key import FILE";
            let place = case.context.config_file.display();
            report.found(Finding::warning(Id::AgentUnknown, what).at(place).fix(remedy));
        }
    }
}

fn own(
    case: &Case<'_>,
    store: &KeyStore,
    agent: &AgentId,
    named: &BTreeSet<(&AgentId, String)>,
    report: &mut Report,
) {
    let place = store.directory().join(format!("{agent}-bundle"));
    if !store.has(agent) {
        // One that no rule names may be there for its certificate alone.
        if named.iter().any(|(name, _)| *name == agent) {
            let what = format!("agent {agent} has no keys, and can neither send nor receive");
            let found = Finding::warning(Id::AgentKeysMissing, what);
            let found = found.at(store.directory().display());
            report.found(found.run(case.sealwire(&format!("key new {agent}"))));
        }
        return;
    }
    let bundle = match store.look(agent) {
        Ok(keys) => keys.bundle,
        Err(error) => return report.found(unusable(&error, &place)),
    };
    let (due, until) = (store.due(&bundle), bundle.not_after);
    let rotate = case.sealwire(&format!("key rotate {agent}"));
    if until <= case.now {
        let what =
            format!("the keys of agent {agent} expired at {until}: nobody takes its messages");
        report.found(Finding::error(Id::AgentKeysExpired, what).at(place.display()).run(rotate));
    } else if due <= case.now {
        let what = format!("the keys of agent {agent} are due since {due}, and expire at {until}");
        report.found(Finding::warning(Id::AgentKeysDue, what).at(place.display()).run(rotate));
    } else {
        let what = format!("agent {agent} has keys, due for rotation at {due}");
        report.passed(what, place.display());
    }
}

fn unusable(error: &KeyError, place: &Path) -> Finding {
    let found = Finding::error(Id::AgentKeysUnusable, error.to_string()).at(place.display());
    found.fix(error.remedy())
}

/// Every agent that the rules name, and where.
fn named(config: &SecureMcpConfig) -> BTreeSet<(&AgentId, String)> {
    let trust = &config.agent_security.trust;
    let mut named = BTreeSet::new();
    for agent in &trust.privileged {
        named.insert((agent, "privileged_agents".to_owned()));
    }
    for (agent, recipients) in &trust.can_communicate_with {
        let table = format!("[agent_security.trust.{agent}]");
        named.insert((agent, table.clone()));
        if let Recipients::These(recipients) = recipients {
            named.extend(recipients.iter().map(|recipient| (recipient, table.clone())));
        }
    }
    for (name, group) in &config.mailbox.groups {
        let table = format!("[mailbox.groups.{name}]");
        named.extend(group.members.iter().map(|member| (member, table.clone())));
    }
    named
}
