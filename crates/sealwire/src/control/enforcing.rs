//! From what the state says to what is in force.

use std::time::SystemTime;

use sealwire::state::{State, StateError};
use sealwire_guard::{Entry, Quarantine};
use sealwire_identity::{Revocation, Revocations};

use super::service::{SHOWN, Service, Serving, lock};

impl Service {
    /// Puts in force what the state says, if that is anything new.
    ///
    /// # Errors
    /// If it cannot be read; then nothing has changed.
    pub(super) fn enforce(&self, state: &State) -> Result<(), StateError> {
        let entries = state.quarantined(SystemTime::now().into())?;
        let (incidents, revoked) = (state.incidents(SHOWN)?, state.revoked()?);
        let mut serving = lock(&self.0.serving);
        serving.incidents = incidents;
        self.enforce_revoked(&mut serving, revoked);
        self.enforce_quarantine(&mut serving, entries);
        Ok(())
    }

    fn enforce_revoked(&self, serving: &mut Serving, revoked: Vec<Revocation>) {
        if serving.revoked == revoked {
            return;
        }
        for revocation in revoked.iter().filter(|revocation| !serving.revoked.contains(revocation))
        {
            let Revocation { what, at, reason } = revocation;
            tracing::warn!(%what, reason, %at, "revoked");
        }
        self.0.relay.revoke(Revocations::new(revoked.iter().cloned()));
        serving.revoked = revoked;
        self.look_at_own(serving);
    }

    /// Tells which of the certificates that we present are revoked: whoever knows it refuses us.
    pub(super) fn look_at_own(&self, serving: &mut Serving) {
        let revocations = Revocations::new(serving.revoked.iter().cloned());
        let mut revoked = Vec::new();
        for (server, own) in &serving.own {
            let Err(refusal) = revocations.check_summary(own) else { continue };
            if !serving.own_revoked.contains(server) {
                tracing::error!(
                    server,
                    reason = refusal.reason,
                    "we present a revoked certificate: have another one issued, which is taken up by itself"
                );
            }
            revoked.push(server.clone());
        }
        self.0.readiness.revoked(revoked.clone());
        serving.own_revoked = revoked;
    }

    fn enforce_quarantine(&self, serving: &mut Serving, entries: Vec<Entry>) {
        // One that has expired is no longer in the state, and does no harm meanwhile.
        if serving.entries == entries {
            return;
        }
        let now = SystemTime::now().into();
        for entry in entries.iter().filter(|entry| !serving.entries.contains(entry)) {
            tracing::warn!(who = %entry.target, reason = entry.reason, until = entry.until.map(tracing::field::display), "quarantined");
        }
        for entry in &serving.entries {
            if entries.iter().any(|other| other.target == entry.target) {
                continue;
            }
            // However it ended, who comes back begins anew.
            self.0.incidents.forget(&entry.target, &serving.trust_domain);
            if entry.holds(now) {
                tracing::info!(who = %entry.target, "quarantine lifted");
            }
        }
        self.0.relay.quarantine(Quarantine::new(&serving.trust_domain, entries.clone()));
        serving.entries = entries;
    }
}
