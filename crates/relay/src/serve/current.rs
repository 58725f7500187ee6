//! The gate of a conversation: always that of the configuration which holds now.

use std::sync::{Arc, Mutex, PoisonError};

use sealwire_guard::{Decision, Gate, Request};
use sealwire_names::Timestamp;

use super::offer::Offered;

/// Follows what is offered: a policy that is replaced holds from the next message on, also
/// in conversations that began before. What is no longer offered is decided about by the
/// last policy that knew it.
pub(super) struct CurrentGate {
    offered: Arc<Offered>,
    server: Arc<str>,
    /// The gate, and the number of the offer that it is of. Only the conversation's own task
    /// asks, so the lock is free; it costs less than a lock that all conversations share.
    held: Mutex<(u64, Arc<dyn Gate>)>,
}

impl CurrentGate {
    /// For a conversation with a server that is offered.
    pub(super) fn new(offered: Arc<Offered>, server: Arc<str>) -> Self {
        let number = offered.number();
        let held = Mutex::new((number, Arc::clone(&offered.now().gate)));
        Self { offered, server, held }
    }

    fn ask<T>(&self, question: impl FnOnce(&dyn Gate) -> T) -> T {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the offer itself: should that be replaced in between, it is looked at
        // once more next time.
        let number = self.offered.number();
        if held.0 != number {
            held.0 = number;
            let offer = self.offered.now();
            if offer.has_service(&self.server) {
                held.1 = Arc::clone(&offer.gate);
            }
        }
        question(&*held.1)
    }
}

impl Gate for CurrentGate {
    fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        self.ask(|gate| gate.decide(request, now))
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        self.ask(|gate| gate.allows(request))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::ServeConfig;
    use super::super::offer::Offer;
    use super::*;
    use sealwire_audit::LogSink;
    use sealwire_guard::{AllowAuthenticated, DenyAll, Direction, Principal};
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
        let gate = CurrentGate::new(Arc::clone(&offered), "s".into());
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
}
