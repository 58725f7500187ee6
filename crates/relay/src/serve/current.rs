//! The gate of a conversation: always that of the configuration which holds now, behind what is
//! revoked and quarantined now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sealwire_guard::{Decision, Entry, Gate, Request};
use sealwire_identity::VerifiedPeer;
use sealwire_names::{Fingerprint, Refusal, Timestamp};
use tokio::sync::watch;

use super::barred::Barred;
use super::offer::Offered;

/// Follows what is offered: a policy that is replaced holds from the next message on, also
/// in conversations that began before. What is no longer offered is decided about by the
/// last policy that knew it.
///
/// The same holds for the quarantine and for revoked certificates. Whoever is concerned is cut
/// off as well, by the conversation's own task; that may take a moment, and no message passes in
/// it.
pub(super) struct CurrentGate {
    offered: Arc<Offered>,
    server: Arc<str>,
    tally: Arc<Tally>,
    /// Only the conversation's own task asks, so the lock is free; it costs less than a lock
    /// that all conversations share.
    held: Mutex<Held>,
}

/// What a conversation has at hand, so that a message that passes costs a look at three numbers.
struct Held {
    /// The number of the offer that the gate is of.
    number: u64,
    gate: Arc<dyn Gate>,
    /// That of the gate, so that it is looked up once.
    policy: Option<Fingerprint>,
    of_now: OfNow,
    /// That the certificate of the latest connection is revoked.
    revoked: Option<Refusal>,
    /// What the quarantine says of this conversation, expired or not.
    entries: Vec<Entry>,
}

/// Who is kept out, and by which certificate the peer is here.
pub(super) type OfNow = (watch::Receiver<Barred>, watch::Receiver<Arc<VerifiedPeer>>);

/// How many messages of a conversation were decided upon: requests and notifications of either
/// side.
#[derive(Debug, Default)]
pub(super) struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Tally {
    /// How many passed, and how many did not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.allowed.load(Ordering::Relaxed), self.denied.load(Ordering::Relaxed))
    }
}

impl CurrentGate {
    /// For a conversation with a server that is offered.
    pub(super) fn new(
        offered: Arc<Offered>,
        server: Arc<str>,
        mut of_now: OfNow,
        tally: Arc<Tally>,
    ) -> Self {
        let number = offered.number();
        let gate = Arc::clone(&offered.now().gate);
        of_now.0.mark_changed();
        let policy = gate.policy(&server);
        let (revoked, entries) = (None, Vec::new());
        let held = Mutex::new(Held { number, gate, policy, of_now, revoked, entries });
        Self { offered, server, tally, held }
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Held) -> T) -> T {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the offer itself: should that be replaced in between, it is looked at
        // once more next time.
        let number = self.offered.number();
        if held.number != number {
            held.number = number;
            let offer = self.offered.now();
            if offer.has_service(&self.server) {
                held.gate = Arc::clone(&offer.gate);
                held.policy = held.gate.policy(&self.server);
            }
        }
        question(&mut held)
    }
}

impl Held {
    /// Why nothing of the peer passes, if so.
    fn barred(&mut self, server: &str, now: Timestamp) -> Option<Decision> {
        let (barred, presented) = &mut self.of_now;
        if barred.has_changed().unwrap_or(false) || presented.has_changed().unwrap_or(false) {
            let (barred, peer) = (barred.borrow_and_update(), presented.borrow_and_update());
            self.revoked = barred.revocations.check_peer(&peer, now).err();
            self.entries = barred.quarantine.concerning(&peer.id, server).cloned().collect();
        }
        if let Some(refusal) = &self.revoked {
            return Some(Decision::Deny(refusal.clone()));
        }
        let entry = self.entries.iter().find(|entry| entry.holds(now))?;
        Some(Decision::Deny(entry.refusal()))
    }
}

impl Gate for CurrentGate {
    fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        let decision = self.ask(|held| match held.barred(request.server, now) {
            Some(denied) => denied,
            None => held.gate.decide(request, now),
        });
        let count = match &decision {
            Decision::Allow => &self.tally.allowed,
            _ => &self.tally.denied,
        };
        count.fetch_add(1, Ordering::Relaxed);
        decision
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        self.ask(|held| held.gate.allows(request))
    }

    /// What is offered now is not looked at: the latest decision is what is asked about.
    fn policy(&self, _server: &str) -> Option<Fingerprint> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).policy
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::ServeConfig;
    use super::super::offer::Offer;
    use super::*;
    use sealwire_audit::LogSink;
    use sealwire_guard::{AllowAuthenticated, DenyAll, Direction, Principal, Quarantine, Target};
    use sealwire_identity::{Revocation, Revocations, Revoked};
    use sealwire_names::{Fingerprint, PeerId};
    use std::time::Duration;

    fn offer(gate: Arc<dyn Gate>) -> Offer {
        let listeners = Vec::new();
        let second = Duration::from_secs(1);
        let limits = Limits {
            max_connections: 1,
            max_connections_per_peer: 1,
            max_detached_per_peer: 1,
            handshake_timeout: second,
            idle_timeout: second,
            resume_window: second,
            drain_timeout: second,
            max_message: 1,
        };
        let audit = Arc::new(LogSink);
        Offer::new(ServeConfig { listeners, limits, gate, audit })
    }

    #[test]
    fn a_server_that_is_no_longer_offered_keeps_the_last_policy_that_knew_it() {
        let offered = Arc::new(Offered::new(offer(Arc::new(AllowAuthenticated))));
        let (_barred, barred) = watch::channel(Barred::default());
        let (_present, presented) = watch::channel(presented(0));
        let of_now = (barred, presented);
        let gate = CurrentGate::new(Arc::clone(&offered), "s".into(), of_now, Arc::default());
        let request = Request {
            peer: Principal::Local,
            server: "s",
            direction: Direction::ToServer,
            method: "ping",
            subject: None,
        };
        assert!(gate.allows(&request));
        offered.replace(offer(Arc::new(DenyAll)));
        assert!(gate.allows(&request), "nothing of that name is offered");
    }

    fn quarantine(entries: Vec<Entry>) -> Barred {
        let quarantine = Arc::new(Quarantine::new(&"x".parse().unwrap(), entries));
        Barred { quarantine, ..Barred::default() }
    }

    /// A certificate of the one peer there is.
    fn presented(number: u8) -> Arc<VerifiedPeer> {
        let moment = Timestamp::from_unix_millis(0);
        Arc::new(VerifiedPeer {
            id: "spiffe://x/core/a".parse().unwrap(),
            fingerprint: Fingerprint::from_sha256([9; 32]),
            signed: Fingerprint::from_sha256([number; 32]),
            not_before: moment,
            not_after: moment,
            chain: Arc::new([]),
        })
    }

    #[test]
    fn a_revoked_certificate_holds_until_the_peer_is_here_by_another() {
        let offered = Arc::new(Offered::new(offer(Arc::new(AllowAuthenticated))));
        let (change, barred) = watch::channel(Barred::default());
        let (present, presented_now) = watch::channel(presented(1));
        let gate = CurrentGate::new(offered, "s".into(), (barred, presented_now), Arc::default());
        let peer = presented(1).id.clone();
        let request = Request {
            peer: Principal::Peer(&peer),
            server: "s",
            direction: Direction::ToServer,
            method: "ping",
            subject: None,
        };
        let now = Timestamp::from_unix_millis(9_000);
        let allowed = || gate.decide(&request, now) == Decision::Allow;
        assert!(allowed());
        let revoke = |what| {
            let revoked = Revocation { what, at: now, reason: "test".to_owned() };
            let revocations = Arc::new(Revocations::new([revoked]));
            change.send_modify(|barred| barred.revocations = revocations);
        };
        let signed = Fingerprint::from_sha256([2; 32]);
        revoke(Revoked::Certificate { fingerprint: presented(1).fingerprint, signed });
        assert!(allowed());
        // It comes back by the revoked one, and then by a good one again.
        present.send_replace(presented(2));
        assert!(!allowed());
        assert!(!allowed());
        present.send_replace(presented(1));
        assert!(allowed());
        revoke(Revoked::Name(peer.clone()));
        assert!(!allowed());
    }

    #[test]
    fn a_quarantine_holds_from_the_next_message_on_until_it_ends() {
        let offered = Arc::new(Offered::new(offer(Arc::new(AllowAuthenticated))));
        let (change, barred) = watch::channel(Barred::default());
        let (_present, presented) = watch::channel(presented(0));
        let tally = Arc::new(Tally::default());
        let gate = CurrentGate::new(offered, "s".into(), (barred, presented), Arc::clone(&tally));
        let peer: PeerId = "spiffe://x/core/a".parse().unwrap();
        let request = Request {
            peer: Principal::Peer(&peer),
            server: "s",
            direction: Direction::ToServer,
            method: "ping",
            subject: None,
        };
        let at = Timestamp::from_unix_millis;
        assert_eq!(gate.decide(&request, at(0)), Decision::Allow);
        let (target, reason) = (Target::Peer(peer.clone()), "test".to_owned());
        let entry = Entry { target, reason, since: at(0), until: Some(at(9)), incident: None };
        change.send_replace(quarantine(vec![entry.clone()]));
        assert_eq!(gate.decide(&request, at(8)), Decision::Deny(entry.refusal()));
        assert_eq!(gate.decide(&request, at(9)), Decision::Allow, "it has expired");
        change.send_replace(quarantine(vec![Entry { until: None, ..entry }]));
        assert_ne!(gate.decide(&request, at(9)), Decision::Allow);
        change.send_replace(quarantine(Vec::new()));
        assert_eq!(gate.decide(&request, at(9)), Decision::Allow, "it was lifted");
        assert_eq!(tally.counts(), (3, 2));
    }
}
