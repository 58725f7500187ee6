//! The gate that a configuration describes: policy and limits, in their order.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sealwire_names::{Fingerprint, Timestamp};

use crate::{Decision, Gate, Level, Limited, Limiter, Request, Table};

/// Decides by a policy and by limits: first the peer's own limit, so that what policy denies
/// counts as well; then policy; then the other limits, which what is denied does not use up.
#[derive(Debug)]
pub struct Guard {
    table: Table,
    limiter: Option<Limiter>,
    policies: HashMap<Box<str>, Fingerprint, RandomState>,
}

impl Guard {
    /// A gate that goes by these; without a limiter, requests are as many as they are.
    pub fn new(table: Table, limiter: Option<Limiter>) -> Self {
        Self { table, limiter, policies: HashMap::default() }
    }

    /// The same, with the hash of what holds for each server: that of [`Policy::canonical`].
    /// It is computed once, for decisions to be recorded with it.
    ///
    /// [`Policy::canonical`]: crate::Policy::canonical
    pub fn with_policies(
        mut self,
        hashes: impl IntoIterator<Item = (String, Fingerprint)>,
    ) -> Self {
        self.policies = hashes.into_iter().map(|(name, hash)| (name.into(), hash)).collect();
        self
    }
}

impl Gate for Guard {
    fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        let Some(limiter) = &self.limiter else { return self.table.decide(request, now) };
        if let Err(limited) = limiter.count_peer(request) {
            return refused(limited);
        }
        match self.table.decide(request, now) {
            Decision::Allow => limiter.count(request).map_or_else(refused, |()| Decision::Allow),
            denied => denied,
        }
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        self.table.allows(request)
    }

    fn level(&self, request: &Request<'_>) -> Option<Level> {
        self.table.level(request)
    }

    fn policy(&self, server: &str) -> Option<Fingerprint> {
        self.policies.get(server).copied()
    }
}

fn refused(limited: Limited) -> Decision {
    match limited {
        Limited::Unregistered(refusal) => Decision::Deny(refusal),
        Limited::For(wait, refusal) => Decision::Later(refusal, wait),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Direction, Policy, Principal, Rate, RateLimits, ServerPolicy};

    #[test]
    fn what_policy_denies_counts_for_its_peer_and_for_nothing_else() {
        let server = |name: &str, level| ServerPolicy {
            name: name.into(),
            entry: name.into(),
            default_level: Some(level),
            ..ServerPolicy::default()
        };
        let servers = vec![server("open", Level::Public), server("shut", Level::Privileged)];
        let table = || Table::compile(&Policy { servers: servers.clone(), ..Policy::default() });
        let guard = |limits: &RateLimits| {
            let limiter = Limiter::with_clock(limits, || Duration::from_secs(1));
            Guard::new(table(), Some(limiter))
        };
        let request = |server| Request {
            peer: Principal::Local,
            server,
            direction: Direction::ToServer,
            method: "tools/call",
            subject: Some("t"),
        };
        let decide =
            |guard: &Guard, server| guard.decide(&request(server), Timestamp::from_unix_millis(0));
        let rate = Some(Rate::new(1.0, 1).unwrap());

        let of_peer = guard(&RateLimits { each_peer: rate, ..RateLimits::default() });
        assert!(matches!(decide(&of_peer, "shut"), Decision::Deny(_)));
        let Decision::Later(_, wait) = decide(&of_peer, "open") else { panic!("it counted") };
        assert_eq!(wait, Duration::from_secs(1));
        assert!(of_peer.allows(&request("open")), "lists are not limited");

        let in_total = guard(&RateLimits { total: rate, ..RateLimits::default() });
        assert!(matches!(decide(&in_total, "shut"), Decision::Deny(_)));
        assert_eq!(decide(&in_total, "open"), Decision::Allow);
        assert!(matches!(decide(&in_total, "open"), Decision::Later(..)));
    }
}
