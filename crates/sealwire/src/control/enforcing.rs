//! From what the state says to what is in force.

use std::fmt::Display;
use std::time::SystemTime;

use sealwire::state::{State, StateError};
use sealwire_audit::{AuditSink, Change, ChangeKind, Event};
use sealwire_guard::{Entry, Quarantine};
use sealwire_identity::{Revocation, RevocationLists, Revocations};
use sealwire_names::Timestamp;

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
        serving.is_begun = true;
        Ok(())
    }

    /// Records what is new. What held before we began was recorded then.
    fn record_change(
        &self,
        serving: &Serving,
        kind: ChangeKind,
        subject: &dyn Display,
        detail: &str,
        until: Option<Timestamp>,
    ) {
        if !serving.is_begun {
            return;
        }
        let change = Change { kind, subject: Some(subject), detail, until };
        if let Err(error) = self.0.incidents.record(&Event::Change(&change)) {
            tracing::error!(%error, "the audit log failed");
        }
    }

    fn enforce_revoked(&self, serving: &mut Serving, revoked: Vec<Revocation>) {
        if serving.revoked == revoked {
            return;
        }
        for revocation in revoked.iter().filter(|revocation| !serving.revoked.contains(revocation))
        {
            let Revocation { what, at, reason } = revocation;
            tracing::warn!(%what, reason, %at, "revoked");
            self.record_change(serving, ChangeKind::Revocation, what, reason, None);
        }
        serving.revoked = revoked;
        self.put_in_force(serving);
        self.look_at_own(serving);
    }

    /// Goes by these lists of authorities from now on, unless they are older than those before.
    pub(super) fn enforce_lists(&self, serving: &mut Serving, lists: RevocationLists) {
        if serving.lists == lists {
            return;
        }
        if let Err(reason) = lists.check_follows(&serving.lists) {
            tracing::error!(reason, "an older revocation list is not taken up");
            return;
        }
        for list in lists.iter().filter(|list| !serving.lists.iter().any(|old| old == *list)) {
            let (issuer, number, until) = (&list.issuer, &list.number, list.next_update);
            tracing::info!(issuer, number, %until, revoked = list.len(), "revocation list");
        }
        serving.lists = lists;
        self.put_in_force(serving);
        self.look_at_own(serving);
    }

    pub(super) fn put_in_force(&self, serving: &Serving) {
        self.0.relay.revoke(revocations(serving));
    }

    /// Tells which of the certificates that we present are revoked: whoever knows it refuses us.
    pub(super) fn look_at_own(&self, serving: &mut Serving) {
        let revocations = revocations(serving);
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
            self.record_change(
                serving,
                ChangeKind::QuarantineAdded,
                &entry.target,
                &entry.reason,
                entry.until,
            );
        }
        for entry in &serving.entries {
            if entries.iter().any(|other| other.target == entry.target) {
                continue;
            }
            // However it ended, who comes back begins anew.
            self.0.incidents.forget(&entry.target, &serving.trust_domain);
            if entry.holds(now) {
                tracing::info!(who = %entry.target, "quarantine lifted");
                let (kind, target) = (ChangeKind::QuarantineLifted, &entry.target);
                self.record_change(serving, kind, target, &entry.reason, None);
            }
        }
        self.0.relay.quarantine(Quarantine::new(&serving.trust_domain, entries.clone()));
        serving.entries = entries;
    }
}

/// All that is not to be believed any more.
fn revocations(serving: &Serving) -> Revocations {
    let all = Revocations::new(serving.revoked.iter().cloned()).with_lists(serving.lists.clone());
    match serving.known.until() {
        Some(until) => all.with_known_until(until),
        None => all,
    }
}
