use std::collections::{BTreeSet, HashMap, HashSet};

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::Entry;

/// Which agent may write to which: `[agent_security.trust]`.
///
/// Nobody may, unless it says so. It is asked twice about each message, by the sender and by
/// the receiver, each with its own: whoever changes one of the two programs gains nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustMatrix {
    partners: HashMap<AgentId, Partners>,
    privileged: HashSet<AgentId>,
    quarantined: HashMap<AgentId, Entry>,
}

/// Whom an agent may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partners {
    /// Every agent that is known: `"*"`.
    Everybody,
    /// These.
    These(BTreeSet<AgentId>),
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// What every partner may send.
    Ordinary,
    /// What only a privileged agent may send, and only to its partners: to shut down.
    Privileged,
}

impl TrustMatrix {
    /// One in which nobody may write to anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on, `from` may write to `partners`, and to nobody else.
    pub fn allow(&mut self, from: AgentId, partners: Partners) {
        self.partners.insert(from, partners);
    }

    /// Makes an agent privileged. It needs partners all the same.
    pub fn privilege(&mut self, agent: AgentId) {
        self.privileged.insert(agent);
    }

    /// While the entry holds, an agent neither sends nor receives, whatever else is allowed.
    pub fn quarantine(&mut self, agent: AgentId, entry: Entry) {
        self.quarantined.insert(agent, entry);
    }

    /// May `from` send this to `to` at the moment `now`?
    ///
    /// # Errors
    /// `not_trusted`, with what is missing; or what a quarantine says of either.
    pub fn check(
        &self,
        from: &AgentId,
        to: &AgentId,
        power: Power,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !self.quarantined.is_empty() {
            let mut entries =
                [from, to].into_iter().filter_map(|agent| self.quarantined.get(agent));
            if let Some(entry) = entries.find(|entry| entry.holds(now)) {
                return Err(entry.refusal());
            }
        }
        let partner = match self.partners.get(from) {
            Some(Partners::Everybody) => true,
            Some(Partners::These(partners)) => partners.contains(to),
            None => false,
        };
        let missing = if !partner {
            format!("{from} may not write to {to}: {to} is not in its can_communicate_with")
        } else if power == Power::Privileged && !self.privileged.contains(from) {
            format!("{from} may not shut down {to}: it is not among privileged_agents")
        } else {
            return Ok(());
        };
        Err(Refusal::new(RefusalCode::NotTrusted, missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    const NOW: Timestamp = Timestamp::from_unix_millis(0);

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    fn matrix() -> TrustMatrix {
        let mut matrix = TrustMatrix::new();
        matrix.allow(agent("Coder"), Partners::These([agent("Tester")].into()));
        matrix.allow(agent("General"), Partners::Everybody);
        matrix.allow(agent("Chief"), Partners::These([agent("Coder")].into()));
        matrix.privilege(agent("Chief"));
        matrix.privilege(agent("Hermit"));
        matrix
    }

    #[test]
    fn each_agent_has_its_partners_and_nobody_else() {
        let matrix = matrix();
        for (from, to, power, allowed) in [
            ("Coder", "Tester", Power::Ordinary, true),
            ("Tester", "Coder", Power::Ordinary, false),
            ("Coder", "General", Power::Ordinary, false),
            ("Coder", "Coder", Power::Ordinary, false),
            ("General", "Chief", Power::Ordinary, true),
            ("Nobody", "General", Power::Ordinary, false),
            // Everybody is not everything.
            ("General", "Coder", Power::Privileged, false),
            ("Chief", "Coder", Power::Privileged, true),
            // And a privilege is no partner.
            ("Chief", "Tester", Power::Privileged, false),
            ("Hermit", "Coder", Power::Privileged, false),
        ] {
            let decision = matrix.check(&agent(from), &agent(to), power, NOW);
            assert_eq!(decision.is_ok(), allowed, "{from} to {to}, {power:?}: {decision:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let matrix = matrix();
        let refusal = |from, to, power| {
            let refusal = matrix.check(&agent(from), &agent(to), power, NOW).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::NotTrusted);
            refusal.reason
        };
        assert!(refusal("Coder", "Chief", Power::Ordinary).contains("can_communicate_with"));
        assert!(refusal("General", "Chief", Power::Privileged).contains("privileged_agents"));
    }

    #[test]
    fn a_quarantined_agent_neither_sends_nor_receives() {
        let mut matrix = matrix();
        let entry = |until| Entry {
            target: Target::Agent(agent("Tester")),
            reason: "it floods".to_owned(),
            since: NOW,
            until,
            incident: None,
        };
        let check = |matrix: &TrustMatrix, from, to, now| {
            let at = Timestamp::from_unix_millis(now);
            matrix.check(&agent(from), &agent(to), Power::Ordinary, at)
        };
        for until in [None, Some(Timestamp::from_unix_millis(10))] {
            matrix.quarantine(agent("Tester"), entry(until));
            for (from, to) in [("Coder", "Tester"), ("Tester", "Coder")] {
                assert_eq!(check(&matrix, from, to, 9), Err(entry(until).refusal()));
            }
        }
        assert_eq!(check(&matrix, "Coder", "Tester", 10), Ok(()), "it has expired");
        assert!(check(&matrix, "Tester", "Coder", 10).is_err(), "as before");
    }
}
