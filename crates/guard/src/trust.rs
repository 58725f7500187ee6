use std::collections::{BTreeSet, HashMap, HashSet};

use sealwire_names::{AgentId, Refusal, RefusalCode};

/// Which agent may write to which: `[agent_security.trust]`.
///
/// Nobody may, unless it says so. It is asked twice about each message, by the sender and by
/// the receiver, each with its own: whoever changes one of the two programs gains nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustMatrix {
    partners: HashMap<AgentId, Partners>,
    privileged: HashSet<AgentId>,
    quarantined: HashMap<AgentId, Refusal>,
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

    /// From now on, an agent neither sends nor receives, whatever else is allowed. `refusal`
    /// says why, see [`Entry::refusal`](crate::Entry::refusal).
    pub fn quarantine(&mut self, agent: AgentId, refusal: Refusal) {
        self.quarantined.insert(agent, refusal);
    }

    /// May `from` send this to `to`?
    ///
    /// # Errors
    /// `not_trusted`, with what is missing; or what a quarantine says of either.
    pub fn check(&self, from: &AgentId, to: &AgentId, power: Power) -> Result<(), Refusal> {
        if !self.quarantined.is_empty()
            && let Some(refusal) = [from, to].iter().find_map(|agent| self.quarantined.get(*agent))
        {
            return Err(refusal.clone());
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
            let decision = matrix.check(&agent(from), &agent(to), power);
            assert_eq!(decision.is_ok(), allowed, "{from} to {to}, {power:?}: {decision:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let matrix = matrix();
        let refusal = |from, to, power| {
            let refusal = matrix.check(&agent(from), &agent(to), power).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::NotTrusted);
            refusal.reason
        };
        assert!(refusal("Coder", "Chief", Power::Ordinary).contains("can_communicate_with"));
        assert!(refusal("General", "Chief", Power::Privileged).contains("privileged_agents"));
    }

    #[test]
    fn a_quarantined_agent_neither_sends_nor_receives() {
        let mut matrix = matrix();
        let refusal = Refusal::new(RefusalCode::AgentQuarantined, "it floods");
        matrix.quarantine(agent("Tester"), refusal.clone());
        for (from, to) in [("Coder", "Tester"), ("Tester", "Coder")] {
            let refused = matrix.check(&agent(from), &agent(to), Power::Ordinary);
            assert_eq!(refused, Err(refusal.clone()));
        }
    }
}
