//! `[agent_security]`: which agents there are, how fast each may send, and to whom.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_names::AgentId;

use super::check::path;
use super::document::Located;
use super::error::Problems;
use super::typed::Typed;
use super::typed_agents;
use crate::home::Home;

/// Whoever sends to everybody writes this instead of names.
const EVERYBODY: &str = "*";
const DAY: Duration = Duration::from_secs(86_400);

/// How messages between agents are protected, and who may send to whom: `[agent_security]`,
/// with what `[security]` says of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSecurityConfig {
    /// The agents this home has, in the order given.
    pub agents: Vec<AgentId>,
    /// Where their keys are.
    pub keys_directory: PathBuf,
    /// After how long an agent's keys are due to be replaced.
    pub key_rotation: Duration,
    /// How far an agent's clock may differ from ours.
    pub timestamp_tolerance: Duration,
    /// How fast one agent may send, in the long run: messages in a second.
    pub max_messages_per_sec: f64,
    /// How many messages it may send at once after a pause.
    pub burst_size: u32,
    /// Who may send to whom.
    pub trust: TrustConfig,
}

/// Who may send to whom: `[agent_security.trust]`. Whoever is not named may send to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// The agents that may send `Shutdown`.
    pub privileged: Vec<AgentId>,
    /// To whom each may send.
    pub can_communicate_with: BTreeMap<AgentId, Recipients>,
}

/// To whom an agent may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// To every agent that is known: `"*"`.
    Everybody,
    /// To these.
    These(Vec<AgentId>),
}

/// What holds where the configuration says nothing.
impl AgentSecurityConfig {
    fn defaults(home: &Home) -> Self {
        Self {
            agents: Vec::new(),
            keys_directory: home.agent_keys_dir(),
            key_rotation: 90 * DAY,
            timestamp_tolerance: Duration::from_secs(300),
            max_messages_per_sec: 5.0,
            burst_size: 20,
            trust: TrustConfig::default(),
        }
    }
}

/// Checks `[agent_security]` and what `[security]` says of messages.
pub(crate) fn check(home: &Home, typed: &Typed, problems: &mut Problems) -> AgentSecurityConfig {
    let default = AgentSecurityConfig::defaults(home);
    let given = &typed.agent_security;
    nonce_store(&typed.replay, problems);
    let directory = given.keys_directory.as_ref().and_then(|given| path(home, given, problems));
    let whole = |given: &Option<Located<u64>>| {
        given.as_ref().map(|given| u32::try_from(given.value).unwrap_or(u32::MAX))
    };
    AgentSecurityConfig {
        agents: given.agents.as_ref().map(|given| agents(given, problems)).unwrap_or_default(),
        keys_directory: directory.unwrap_or(default.keys_directory),
        key_rotation: whole(&typed.key_rotation_days)
            .map_or(default.key_rotation, |days| days * DAY),
        timestamp_tolerance: (typed.replay.timestamp_tolerance_sec.as_ref())
            .map_or(default.timestamp_tolerance, |given| Duration::from_secs(given.value)),
        max_messages_per_sec: (given.max_messages_per_sec.as_ref())
            .map_or(default.max_messages_per_sec, |given| given.value),
        burst_size: whole(&given.burst_size).unwrap_or(default.burst_size),
        trust: trust(given, problems),
    }
}

/// Where it is kept which messages have been seen.
fn nonce_store(typed: &typed_agents::Replay, problems: &mut Problems) {
    let Some(given) = &typed.nonce_store else { return };
    let why = match &*given.value {
        "sqlite" => return,
        "memory" => "would forget with the process what it has seen, and mail outlives the process",
        "redis" => "is not offered: mail is kept in a SQLite file, and so is what has been seen",
        _ => "is not offered",
    };
    let what = format!("{:?} {why}", given.value);
    problems.push(given.at.problem(what, "write \"sqlite\", the only value, or leave it out"));
}

fn trust(typed: &typed_agents::AgentSecurity, problems: &mut Problems) -> TrustConfig {
    let privileged = typed.privileged_agents.as_ref();
    let mut can_communicate_with = BTreeMap::new();
    for (name, recipients) in &typed.trust {
        let Some(agent) = agent(name, &name.value, problems) else { continue };
        let Some(recipients) = &recipients.can_communicate_with else {
            let remedy = "add can_communicate_with, or remove the table";
            problems.push(name.at.problem("says nothing", remedy));
            continue;
        };
        let to_all = recipients.value.iter().any(|name| name == EVERYBODY);
        if to_all && recipients.value.len() > 1 {
            let what = "\"*\" is everybody, and others are named besides";
            problems.push(recipients.at.problem(what, "write [\"*\"] alone, or the names alone"));
        }
        can_communicate_with.insert(
            agent,
            if to_all {
                Recipients::Everybody
            } else {
                Recipients::These(agents(recipients, problems))
            },
        );
    }
    let privileged = privileged.map(|given| agents(given, problems)).unwrap_or_default();
    TrustConfig { privileged, can_communicate_with }
}

/// A list of agents, each once.
pub(super) fn agents(given: &Located<Vec<String>>, problems: &mut Problems) -> Vec<AgentId> {
    let mut agents: Vec<AgentId> = Vec::new();
    for name in &given.value {
        // One file per agent: names that differ only by case collide on some file systems.
        if agents.iter().any(|other| other.as_str().eq_ignore_ascii_case(name)) {
            let what = format!("{name:?} is there twice, perhaps in another case");
            problems.push(given.at.problem(what, "give each agent a name of its own"));
            continue;
        }
        agents.extend(agent(given, name, problems));
    }
    agents
}

/// A name, as `given` has it.
pub(super) fn agent<T>(given: &Located<T>, name: &str, problems: &mut Problems) -> Option<AgentId> {
    name.parse()
        .map_err(|error| {
            problems.push(given.at.problem(format!("{name:?}: {error}"), "choose another name"));
        })
        .ok()
}
