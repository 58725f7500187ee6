use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::bundle::Bundle;
use crate::ids::KeyId;
use crate::signing::VerifyingKey;

/// The agents that are known: their vouched bundles, and the keys that are revoked.
///
/// What is in here is believed. Somebody has to have vouched for each bundle before, each
/// successor included: an operator who compared the fingerprint, or an authority.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// By signing key; shared, so that a copy of the directory is cheap, and its table small.
    bundles: HashMap<KeyId, Arc<Bundle>>,
    /// The bundles' signing keys per agent, ascending by number.
    agents: HashMap<AgentId, Vec<(u64, KeyId)>>,
    revoked: HashSet<KeyId>,
}

impl Directory {
    /// An empty one: nobody is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a bundle that somebody vouched for. One that is in here already changes
    /// nothing.
    ///
    /// # Errors
    /// [`RefusalCode::BundleConflict`] if another bundle has the same signing key, or the
    /// same agent and number: one of them is not what was vouched for.
    /// [`RefusalCode::SenderKeyRevoked`] if one of its keys is revoked.
    pub fn vouch(&mut self, bundle: Bundle) -> Result<(), Refusal> {
        let kid = bundle.signing.kid();
        for key in [kid, bundle.recipient.kid()] {
            if self.revoked.contains(&key) {
                let reason = format!("key {key} of {} is revoked", bundle.agent);
                return Err(Refusal::new(RefusalCode::SenderKeyRevoked, reason));
            }
        }
        if let Some(known) = self.bundles.get(&kid) {
            return if **known == bundle { Ok(()) } else { Err(conflict(&bundle, known)) };
        }
        let numbers = self.agents.entry(bundle.agent.clone()).or_default();
        match numbers.binary_search_by_key(&bundle.number, |(number, _)| *number) {
            Ok(same) => {
                let known = self.bundles.get(&numbers[same].1).map_or(&bundle, Arc::as_ref);
                Err(conflict(&bundle, known))
            }
            Err(place) => {
                numbers.insert(place, (bundle.number, kid));
                self.bundles.insert(kid, Arc::new(bundle));
                Ok(())
            }
        }
    }

    /// Revokes a key, known or not, for good. A revoked signing key verifies nothing any
    /// more, and a bundle with a revoked key is no longer sealed to.
    pub fn revoke(&mut self, kid: KeyId) {
        self.revoked.insert(kid);
    }

    /// The key that verifies what `from` signed with key `kid`.
    ///
    /// # Errors
    /// `sender_unknown`, `sender_key_unknown`, `sender_key_revoked`, `sender_key_expired`.
    pub fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> Result<VerifyingKey, Refusal> {
        let Some(bundle) = self.bundles.get(kid).filter(|bundle| bundle.agent == *from) else {
            let (code, reason) = if self.agents.contains_key(from) {
                (RefusalCode::SenderKeyUnknown, format!("{from} has no key {kid} that is known"))
            } else {
                (RefusalCode::SenderUnknown, format!("no agent {from} is known"))
            };
            return Err(Refusal::new(code, reason));
        };
        if self.revoked.contains(kid) {
            let reason = format!("key {kid} of {from} is revoked");
            return Err(Refusal::new(RefusalCode::SenderKeyRevoked, reason));
        }
        if !bundle.valid_at(now) {
            let Bundle { not_before, not_after, .. } = &**bundle;
            let reason =
                format!("key {kid} of {from} is valid from {not_before} to {not_after}, not now");
            return Err(Refusal::new(RefusalCode::SenderKeyExpired, reason));
        }
        Ok(bundle.signing)
    }

    /// The bundle to seal to: of those that are valid now and not revoked, the one with the
    /// highest number.
    pub fn current(&self, agent: &AgentId, now: Timestamp) -> Option<&Bundle> {
        let numbers = self.agents.get(agent)?;
        let bundles = numbers.iter().rev().filter_map(|(_, kid)| self.bundles.get(kid));
        bundles.map(Arc::as_ref).find(|bundle| {
            let keys = [bundle.signing.kid(), bundle.recipient.kid()];
            bundle.valid_at(now) && !keys.iter().any(|key| self.revoked.contains(key))
        })
    }

    /// Whether a key is revoked.
    pub fn is_revoked(&self, kid: &KeyId) -> bool {
        self.revoked.contains(kid)
    }

    /// Whether an agent is known, whatever its keys.
    pub fn knows(&self, agent: &AgentId) -> bool {
        self.agents.contains_key(agent)
    }

    /// Every known agent, in no order.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.agents.keys()
    }

    /// Every bundle of an agent, ascending by number.
    pub fn bundles(&self, agent: &AgentId) -> impl Iterator<Item = &Bundle> {
        let numbers = self.agents.get(agent).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|(_, kid)| self.bundles.get(kid)).map(Arc::as_ref)
    }
}

fn conflict(new: &Bundle, known: &Bundle) -> Refusal {
    let reason = format!(
        "bundle {} of {} with key {} contradicts bundle {} of {} with key {}, which is known",
        new.number,
        new.agent,
        new.fingerprint(),
        known.number,
        known.agent,
        known.fingerprint()
    );
    Refusal::new(RefusalCode::BundleConflict, reason)
}
