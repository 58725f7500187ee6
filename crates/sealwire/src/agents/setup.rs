//! From configuration and files to what a channel goes by.

use std::time::SystemTime;

use sealwire_envelope::{Bundle, Directory, Group};
use sealwire_guard::{Entry, Partners, Target, TrustMatrix};
use sealwire_mailbox::{
    AgentKeys, ChannelSettings, Rate, SecureAgentChannel, SqliteOptions, SqliteTransport,
    TransportError,
};
use sealwire_names::{AgentId, Timestamp};

use super::{KeyError, KeyStore, RevokedAgents, RevokedKeys};
use crate::config::{AgentSecurityConfig, Recipients, SecureMcpConfig};
use crate::state::quarantine_agents;

/// Opens the mailbox of a home, and makes its file if there is none.
///
/// # Errors
/// If the file cannot be used, or others could use it too.
pub async fn open_mailbox(config: &SecureMcpConfig) -> Result<SqliteTransport, TransportError> {
    let mut options = SqliteOptions::default();
    options.retention = config.mailbox.retention;
    options.max_messages = config.mailbox.max_messages_per_agent;
    options.clock_tolerance = config.agent_security.timestamp_tolerance;
    SqliteTransport::open_in_task(&config.mailbox.file, options).await
}

/// The channel of one agent of a home: what it sends, and what is sent to it.
///
/// # Errors
/// As [`settings`].
pub fn open_channel(
    config: &SecureMcpConfig,
    agent: &AgentId,
    mailbox: SqliteTransport,
) -> Result<SecureAgentChannel<SqliteTransport>, KeyError> {
    Ok(SecureAgentChannel::new(settings(config, agent)?, mailbox))
}

/// What the channel of one agent goes by: its keys, the agents that are known, the groups,
/// the rules, the quarantine, the limits. All of it is read anew, and a change of it takes effect when it is
/// handed to [`SecureAgentChannel::replace`].
///
/// # Errors
/// If the agent has no keys here, or a file of any agent's keys is not in order.
pub fn settings(config: &SecureMcpConfig, agent: &AgentId) -> Result<ChannelSettings, KeyError> {
    let now = Timestamp::from(SystemTime::now());
    let store = KeyStore::of(config);
    let own = store.own(agent)?;
    let revoked = RevokedAgents::of(config)?.check(&own.bundle);
    let keys = AgentKeys { agent: agent.clone(), signing: own.signing, recipients: own.recipients };
    let limits = &config.agent_security;
    let rate = Rate::new(limits.max_messages_per_sec, limits.burst_size)
        .map_err(|reason| KeyError::Crypto { reason })?;
    let mut settings = ChannelSettings::new(keys);
    settings.directory = directory(config, &store, now)?;
    settings.groups = groups(config);
    settings.trust = trust_matrix(&config.agent_security);
    quarantine_agents(&config.layout(), &mut settings.trust)
        .map_err(|error| KeyError::State { reason: error.to_string() })?;
    // It neither sends nor receives by them, in processes that run, too.
    if let Err(revoked) = revoked {
        let reason = format!("{revoked}; {}", revoked.remedy());
        let target = Target::Agent(agent.clone());
        let entry = Entry { target, reason, since: now, until: None, incident: None };
        settings.trust.quarantine(agent.clone(), entry);
    }
    settings.rate = Some(rate);
    Ok(settings)
}

/// The agents that are known: those of this home that have keys, and those whose bundles
/// were imported; with the keys that they had before, while mail may wait.
///
/// # Errors
/// If a file is not in order.
pub fn directory(
    config: &SecureMcpConfig,
    store: &KeyStore,
    now: Timestamp,
) -> Result<Directory, KeyError> {
    let mut directory = Directory::new();
    let mut vouch = |bundle: Bundle| {
        let file = store.directory().join(format!("{}-bundle", bundle.agent));
        directory
            .vouch(bundle)
            .map_err(|refusal| KeyError::Bundle { file, reason: refusal.to_string() })
    };
    for agent in config.agent_security.agents.iter().filter(|agent| store.has(agent)) {
        for generation in store.generations(agent)? {
            vouch(generation.bundle)?;
        }
    }
    for generation in store.known(now)?.into_values().flatten() {
        vouch(generation.bundle)?;
    }
    RevokedKeys::of(config, store, now)?.revoke_in(&mut directory);
    Ok(directory)
}

/// The rules of who may send to whom.
pub fn trust_matrix(config: &AgentSecurityConfig) -> TrustMatrix {
    let mut matrix = TrustMatrix::new();
    for (agent, recipients) in &config.trust.can_communicate_with {
        let partners = match recipients {
            Recipients::Everybody => Partners::Everybody,
            Recipients::These(these) => Partners::These(these.iter().cloned().collect()),
        };
        matrix.allow(agent.clone(), partners);
    }
    for agent in &config.trust.privileged {
        matrix.privilege(agent.clone());
    }
    matrix
}

fn groups(config: &SecureMcpConfig) -> Vec<Group> {
    let groups = config.mailbox.groups.iter();
    groups
        .map(|(name, group)| Group::new(name.clone(), group.version, group.members.clone()))
        .collect()
}
