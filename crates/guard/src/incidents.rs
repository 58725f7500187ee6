use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::{IncidentAction, IncidentKind, IncidentRule, IncidentRules, Subject, Target};
use sealwire_names::TrustDomain;

/// What comes beyond a rate counts once in this time. Requests that somebody on the way holds
/// back, and lets go at once, are one event, however many they are.
const BREATH: Duration = Duration::from_secs(1);

/// Counts events, and says when they are an incident.
///
/// Each kind counts each subject apart. What is remembered is bounded: of a subject no more
/// events than its rule waits for, and of a kind [`MOST_SUBJECTS`](Self::MOST_SUBJECTS). Beyond
/// that, whoever has been quiet for longest is forgotten, so that many addresses can hide one
/// another, and never a peer.
#[derive(Debug, Default)]
pub struct Incidents {
    rules: IncidentRules,
    seen: [HashMap<Subject, Seen, RandomState>; IncidentKind::ALL.len()],
}

/// What is remembered of a subject. It is never without an event, but while it is told.
#[derive(Debug, Default)]
struct Seen {
    /// When its events were, the oldest first.
    events: VecDeque<Duration>,
    /// Until when it is not told again.
    told_until: Option<Duration>,
}

impl Incidents {
    /// Most subjects of a kind that are remembered.
    pub const MOST_SUBJECTS: usize = 1_024;

    /// Without any event yet.
    pub fn new(rules: IncidentRules) -> Self {
        Self { rules, seen: Default::default() }
    }

    /// From now on, goes by other rules; what has been seen counts on.
    pub fn replace(&mut self, rules: IncidentRules) {
        for kind in IncidentKind::ALL {
            if rules.of(kind).action == IncidentAction::Off {
                self.seen[kind as usize].clear();
            }
        }
        self.rules = rules;
    }

    /// One more event. `now` is the time since some moment, which never goes back. If that makes
    /// it an incident, the rule by which it is; the subject's count begins anew.
    pub fn observe(
        &mut self,
        kind: IncidentKind,
        subject: &Subject,
        now: Duration,
    ) -> Option<IncidentRule> {
        let rule = *self.rules.of(kind);
        if rule.action == IncidentAction::Off {
            return None;
        }
        let subjects = &mut self.seen[kind as usize];
        if !subjects.contains_key(subject) && subjects.len() >= Self::MOST_SUBJECTS {
            forget_the_quietest(subjects);
        }
        let seen = subjects.entry(subject.clone()).or_default();
        if seen.told_until.is_some_and(|until| now < until) {
            return None;
        }
        seen.told_until = None;
        if kind == IncidentKind::RateLimited
            && seen.events.back().is_some_and(|latest| now < *latest + BREATH)
        {
            return None;
        }
        seen.events.push_back(now);
        let begins = now.checked_sub(rule.window);
        // An event that is as old as the window is long is outside it.
        while seen.events.front().is_some_and(|event| begins.is_some_and(|start| *event <= start)) {
            seen.events.pop_front();
        }
        if seen.events.len() < rule.trigger as usize {
            return None;
        }
        if rule.action == IncidentAction::Notify {
            *seen = Seen { events: VecDeque::new(), told_until: Some(now + rule.expiry) };
        } else {
            subjects.remove(subject);
        }
        Some(rule)
    }

    /// Counts anew for everybody who is shut out as `target`, which was lifted. `home` is the
    /// trust domain in which agents are peers.
    pub fn forget(&mut self, target: &Target, home: &TrustDomain) {
        for subjects in &mut self.seen {
            subjects.retain(|subject, _| match (subject, target) {
                // By either name, as an agent's own peer is shut out with it.
                (Subject::Peer(peer), Target::Peer(other)) => peer != other,
                _ => subject.target(home).as_ref() != Some(target),
            });
        }
    }
}

impl Seen {
    /// When it was last heard of.
    fn latest(&self) -> Duration {
        self.events.back().copied().max(self.told_until).unwrap_or_default()
    }
}

fn forget_the_quietest(subjects: &mut HashMap<Subject, Seen, RandomState>) {
    let quietest = subjects.iter().min_by_key(|(_, seen)| seen.latest());
    if let Some(subject) = quietest.map(|(subject, _)| subject.clone()) {
        subjects.remove(&subject);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: IncidentKind = IncidentKind::DeniedRequests;

    fn peer(number: u32) -> Subject {
        Subject::Peer(format!("spiffe://x/core/p{number}").parse().unwrap())
    }

    fn rules(trigger: u32, action: IncidentAction) -> IncidentRules {
        let (window, expiry) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut rules = IncidentRules::default();
        for kind in IncidentKind::ALL {
            rules.set(kind, IncidentRule { trigger, window, action, expiry });
        }
        rules
    }

    fn incidents(trigger: u32, action: IncidentAction) -> Incidents {
        Incidents::new(rules(trigger, action))
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn as_many_as_the_trigger_within_the_window_are_an_incident() {
        let mut incidents = incidents(3, IncidentAction::Quarantine);
        let mut see = |subject, now| incidents.observe(KIND, &peer(subject), at(now)).is_some();
        assert!(!see(1, 0) && !see(1, 50));
        assert!(!see(1, 100), "the first is out of the window");
        assert!(!see(2, 101) && !see(2, 101), "each subject counts apart");
        assert!(see(1, 149));
        // Anew: whoever comes back after the quarantine has as many as before.
        assert!(!see(1, 150) && !see(1, 150) && see(1, 150));
    }

    #[test]
    fn what_is_only_told_is_told_once_until_it_expires() {
        let mut incidents = incidents(2, IncidentAction::Notify);
        let mut see = |now| incidents.observe(KIND, &peer(1), at(now)).is_some();
        assert!(!see(0) && see(1));
        assert!((2..301).all(|now| !see(now)));
        assert!(!see(301), "the window begins anew");
        assert!(see(302));
    }

    #[test]
    fn a_burst_beyond_a_rate_is_one_event() {
        let kind = IncidentKind::RateLimited;
        let mut rules = rules(3, IncidentAction::Quarantine);
        rules.set(kind, IncidentRule { window: at(10_000), ..*rules.of(kind) });
        let mut incidents = Incidents::new(rules);
        let mut see = |now| incidents.observe(kind, &peer(1), at(now)).is_some();
        assert!((0..1_000).all(|_| !see(0)), "a thousand at once");
        assert!(!see(1_000) && !see(1_999));
        assert!(see(2_000), "and again, and again");
    }

    #[test]
    fn kinds_count_apart_and_one_that_is_off_not_at_all() {
        let mut incidents = incidents(2, IncidentAction::Quarantine);
        assert!(incidents.observe(KIND, &peer(1), at(0)).is_none());
        assert!(incidents.observe(IncidentKind::RateLimited, &peer(1), at(0)).is_none());
        incidents.replace(rules(2, IncidentAction::Off));
        assert!((0..9).all(|now| incidents.observe(KIND, &peer(1), at(now)).is_none()));
        incidents.replace(rules(2, IncidentAction::Quarantine));
        assert!(incidents.observe(KIND, &peer(1), at(9)).is_none(), "nothing was counted");
    }

    #[test]
    fn whoever_is_lifted_begins_anew() {
        let home = "x".parse().unwrap();
        let agent = Subject::Peer("spiffe://x/agent/A".parse().unwrap());
        let mut incidents = incidents(2, IncidentAction::Quarantine);
        for subject in [&agent, &peer(1), &peer(2)] {
            assert!(incidents.observe(KIND, subject, at(0)).is_none());
        }
        incidents.forget(&Target::Agent("A".parse().unwrap()), &home);
        incidents.forget(&peer(1).target(&home).unwrap(), &home);
        assert!(incidents.observe(KIND, &agent, at(1)).is_none());
        assert!(incidents.observe(KIND, &peer(1), at(1)).is_none());
        assert!(incidents.observe(KIND, &peer(2), at(1)).is_some());
    }

    #[test]
    fn many_addresses_take_no_more_room_and_hide_no_peer() {
        let mut incidents = incidents(1_000, IncidentAction::Quarantine);
        incidents.observe(KIND, &peer(1), at(0));
        for number in 0..3_000_u32 {
            let address = Subject::Address(std::net::Ipv4Addr::from_bits(number).into());
            incidents.observe(IncidentKind::FailedHandshakes, &address, at(number.into()));
        }
        let of = |kind: IncidentKind| &incidents.seen[kind as usize];
        assert_eq!(of(IncidentKind::FailedHandshakes).len(), Incidents::MOST_SUBJECTS);
        assert!(of(KIND).contains_key(&peer(1)));
        // Who was heard of last is still there.
        let last = Subject::Address(std::net::Ipv4Addr::from_bits(2_999).into());
        assert!(of(IncidentKind::FailedHandshakes).contains_key(&last));
    }

    proptest! {
        /// Against the plain words: an incident is when, with this event, as many as the trigger
        /// lie within the window, of those since the last incident and outside its expiry.
        #[test]
        fn it_is_what_the_words_say(
            steps in proptest::collection::vec((0_u64..60, 0_u32..3), 1..200),
            trigger in 1_u32..6,
            notify in any::<bool>(),
        ) {
            let action = if notify { IncidentAction::Notify } else { IncidentAction::Quarantine };
            let mut incidents = incidents(trigger, action);
            let mut events: HashMap<u32, Vec<u64>> = HashMap::new();
            let mut quiet: HashMap<u32, u64> = HashMap::new();
            let mut now = 0;
            for (step, subject) in steps {
                now += step;
                let raised = incidents.observe(KIND, &peer(subject), at(now)).is_some();
                let expected = if quiet.get(&subject).is_some_and(|until| now < *until) {
                    false
                } else {
                    let events = events.entry(subject).or_default();
                    events.push(now);
                    events.iter().filter(|event| **event + 100 > now).count() >= trigger as usize
                };
                prop_assert_eq!(raised, expected);
                if raised {
                    events.remove(&subject);
                    if notify {
                        quiet.insert(subject, now + 300);
                    }
                }
                for seen in incidents.seen.iter().flat_map(HashMap::values) {
                    prop_assert!(seen.events.len() <= trigger as usize);
                }
            }
        }
    }
}
