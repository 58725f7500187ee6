//! `[mailbox]`: where messages between agents wait, how many and how long.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_names::AgentId;

use super::agents::{agent, agents};
use super::check::path;
use super::document::Located;
use super::error::Problems;
use super::typed_agents;
use crate::home::Home;

/// `[mailbox]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxConfig {
    /// The SQLite file.
    pub file: PathBuf,
    /// How long a message may wait, and how long an old recipient key is kept.
    pub retention: Duration,
    /// Most messages that wait for one agent.
    pub max_messages_per_agent: u64,
    /// The groups, by name.
    pub groups: BTreeMap<AgentId, GroupConfig>,
}

/// A group of agents: `[mailbox.groups.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The version of this list of members; it grows with each change of it.
    pub version: u64,
    /// The members, in the order given.
    pub members: Vec<AgentId>,
}

/// Checks `[mailbox]`. `known` are the home's agents, whose names no group may have.
pub(crate) fn check(
    home: &Home,
    typed: &typed_agents::Mailbox,
    known: &[AgentId],
    problems: &mut Problems,
) -> MailboxConfig {
    let file = typed.file.as_ref().and_then(|given| path(home, given, problems));
    let number = |given: &Option<Located<u64>>, default: u64| {
        given.as_ref().map_or(default, |given| given.value)
    };
    MailboxConfig {
        file: file.unwrap_or_else(|| home.state_file()),
        retention: Duration::from_secs(number(&typed.retention_days, 30) * 86_400),
        max_messages_per_agent: number(&typed.max_messages_per_agent, 10_000),
        groups: groups(&typed.groups, known, problems),
    }
}

fn groups(
    typed: &[(Located<String>, typed_agents::Group)],
    known: &[AgentId],
    problems: &mut Problems,
) -> BTreeMap<AgentId, GroupConfig> {
    let mut groups = BTreeMap::new();
    for (name, group) in typed {
        let Some(id) = agent(name, &name.value, problems) else { continue };
        if let Some(taken) = known.iter().find(|taken| same(taken, &id)) {
            let what = format!("{taken} is an agent");
            problems.push(name.at.problem(what, "give the group another name"));
        }
        // Roster versions tell two lists of members apart, so there is no default.
        let (Some(version), Some(members)) = (&group.version, &group.members) else {
            let remedy = "add version = 1 and members = [\"…\"]";
            problems.push(name.at.problem("lacks version or members", remedy));
            continue;
        };
        if members.value.is_empty() {
            problems.push(members.at.problem("is empty", "name members, or remove the group"));
        }
        let members = agents(members, problems);
        groups.insert(id, GroupConfig { version: version.value, members });
    }
    groups
}

fn same(one: &AgentId, other: &AgentId) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}
