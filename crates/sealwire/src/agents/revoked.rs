//! Agents whose names are revoked: what they had by then counts no more, and what is made since does.

use std::collections::HashMap;

use sealwire_envelope::{Bundle, Directory};
use sealwire_identity::{Revocations, Revoked};
use sealwire_names::{AgentId, Kind, Timestamp};

use super::{KeyError, KeyStore};
use crate::config::SecureMcpConfig;
use crate::revocations::{ListFiles, revoked};

/// Up to when the keys of whom are revoked.
///
/// It is the name of an agent's certificate that is revoked, `agent/NAME`: with it go the keys
/// for messages that it had by then, of this home or elsewhere, and the mail under way with them.
#[derive(Clone, Debug, Default)]
pub struct RevokedAgents(HashMap<AgentId, Timestamp>);

impl RevokedAgents {
    /// Those of a home.
    ///
    /// # Errors
    /// If it is not known what is revoked.
    pub fn of(config: &SecureMcpConfig) -> Result<Self, KeyError> {
        let all = revoked(&config.layout())
            .map_err(|error| KeyError::State { reason: error.to_string() })?;
        let mut agents = HashMap::<AgentId, Timestamp>::new();
        for revocation in all {
            let Revoked::Name(id) = &revocation.what else { continue };
            let is_ours = id.kind() == Kind::Agent && *id.trust_domain() == config.trust_domain;
            let Some(agent) = id.name().parse().ok().filter(|_| is_ours) else { continue };
            let at = agents.entry(agent).or_insert(revocation.at);
            *at = revocation.at.max(*at);
        }
        Ok(Self(agents))
    }

    /// From when on keys of that agent count again, if it was revoked: the first whole second after
    /// that, as bundles count in seconds.
    pub fn count_from(&self, agent: &AgentId) -> Option<Timestamp> {
        let at = self.0.get(agent)?;
        Some(Timestamp::from_unix_seconds(at.unix_seconds().saturating_add(1)))
    }

    /// Whether that bundle counts.
    ///
    /// # Errors
    /// [`KeyError::Revoked`].
    pub fn check(&self, bundle: &Bundle) -> Result<(), KeyError> {
        match self.count_from(&bundle.agent).filter(|from| bundle.not_before < *from) {
            Some(from) => Err(KeyError::Revoked { agent: bundle.agent.clone(), from }),
            None => Ok(()),
        }
    }
}

/// Which keys count no more: because their agent's name is revoked, or the authority by whose word
/// they were taken.
#[derive(Clone, Debug)]
pub struct RevokedKeys {
    agents: RevokedAgents,
    vouched: Vec<Bundle>,
}

impl RevokedKeys {
    /// Those of a home.
    ///
    /// # Errors
    /// If it is not known what is revoked, and what is wrong with a file.
    pub fn of(
        config: &SecureMcpConfig,
        store: &KeyStore,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let lists = ListFiles::of(config).load_late(now)?;
        let all = revoked(&config.layout())
            .map_err(|error| KeyError::State { reason: error.to_string() })?;
        let vouched = store.vouched_by_revoked(&Revocations::new(all).with_lists(lists))?;
        Ok(Self { agents: RevokedAgents::of(config)?, vouched })
    }

    /// Whether that bundle is one of them.
    pub fn holds(&self, bundle: &Bundle) -> bool {
        self.agents.check(bundle).is_err() || self.vouched.contains(bundle)
    }

    /// Takes out of a directory what does not count. It stays known there, and revoked.
    pub(super) fn revoke_in(&self, directory: &mut Directory) {
        let of_agents = self.agents.0.keys().flat_map(|agent| directory.bundles(agent));
        let gone = of_agents.filter(|bundle| self.holds(bundle)).chain(&self.vouched);
        let keys: Vec<_> =
            gone.flat_map(|bundle| [bundle.signing.kid(), bundle.recipient.kid()]).collect();
        keys.into_iter().for_each(|kid| directory.revoke(kid));
    }
}
