use sealwire_names::AgentId;

use crate::GroupRef;

/// A group's roster at one version.
///
/// A message to a group is sealed to each member the roster of that version has, and says
/// which version that was. So there is never a message to "all", in clear or otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    reference: GroupRef,
    members: Vec<AgentId>,
}

impl Group {
    /// A roster. The order of the members does not matter; one named twice is one member.
    pub fn new(name: AgentId, version: u64, members: impl IntoIterator<Item = AgentId>) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort();
        members.dedup();
        Self { reference: GroupRef { name, version }, members }
    }

    /// The group's name and the roster's version.
    pub fn reference(&self) -> &GroupRef {
        &self.reference
    }

    /// The members, ascending.
    pub fn members(&self) -> &[AgentId] {
        &self.members
    }

    /// Whether this agent is a member.
    pub fn has(&self, agent: &AgentId) -> bool {
        self.members.binary_search(agent).is_ok()
    }

    /// Those who receive what `from` sends: every member but the sender.
    pub fn receivers<'a>(&'a self, from: &'a AgentId) -> impl Iterator<Item = &'a AgentId> {
        self.members.iter().filter(move |member| *member != from)
    }
}
