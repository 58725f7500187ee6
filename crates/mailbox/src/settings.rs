use std::fmt;

use aws_lc_rs::digest;
use sealwire_envelope::{
    Audience, Bundle, Directory, Group, MessageType, RecipientKey, SealError, SigningKey, To,
};
use sealwire_guard::{Power, TrustMatrix};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::{Rate, Stream};

/// An agent's own keys.
#[derive(Debug)]
pub struct AgentKeys {
    /// Whose keys these are.
    pub agent: AgentId,
    /// What its messages are signed with.
    pub signing: SigningKey,
    /// What it reads with: the current key, and older ones while mail for them may wait.
    pub recipients: Vec<RecipientKey>,
}

/// All that a channel goes by. [Replaced](crate::SecureAgentChannel::replace) as a whole.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChannelSettings {
    /// The agent's own keys.
    pub keys: AgentKeys,
    /// The agents that are believed.
    pub directory: Directory,
    /// The rosters that are known. Messages are sent to the highest version of a group; those to
    /// an older one can be received while it is here.
    pub groups: Vec<Group>,
    /// Who may write to whom.
    pub trust: TrustMatrix,
    /// How fast this agent may send, and how fast each other one to it; `None`: no limit.
    pub rate: Option<Rate>,
}

impl ChannelSettings {
    /// For an agent that knows nobody and may write to nobody.
    pub fn new(keys: AgentKeys) -> Self {
        let (directory, trust) = (Directory::new(), TrustMatrix::new());
        Self { keys, directory, groups: Vec::new(), trust, rate: None }
    }
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// An agent.
    Agent(AgentId),
    /// Each of these agents.
    Agents(Vec<AgentId>),
    /// Each member of the group of this name, but the sender.
    Group(AgentId),
}

impl From<AgentId> for Recipient {
    fn from(agent: AgentId) -> Self {
        Self::Agent(agent)
    }
}

impl From<&AgentId> for Recipient {
    fn from(agent: &AgentId) -> Self {
        Self::Agent(agent.clone())
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Agents(agents) => {
                f.write_str(&agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(","))
            }
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// Who gets a message, as of one look at the settings.
pub(crate) struct Route {
    pub(crate) members: Vec<AgentId>,
    group: Option<Group>,
    audience: Audience,
}

impl ChannelSettings {
    /// Finds out who gets it, and whether this agent may write to each of them.
    pub(crate) fn route(
        &self,
        to: &Recipient,
        message_type: MessageType,
        now: Timestamp,
    ) -> Result<Route, Refusal> {
        let me = &self.keys.agent;
        let route = match to {
            Recipient::Agent(agent) => Route::new(vec![agent.clone()], None),
            Recipient::Agents(agents) => {
                let mut members = agents.clone();
                members.sort();
                members.dedup();
                Route::new(members, None)
            }
            Recipient::Group(name) => {
                let group = self
                    .groups
                    .iter()
                    .filter(|group| group.reference().name == *name)
                    .max_by_key(|group| group.reference().version);
                let group = group.ok_or_else(|| {
                    let reason = format!("no group {name} is known");
                    Refusal::new(RefusalCode::RosterUnknown, reason)
                })?;
                if !group.has(me) {
                    let reason = format!("{me} is not a member of the group {name}");
                    return Err(Refusal::new(RefusalCode::NotTrusted, reason));
                }
                let members = group.receivers(me).cloned().collect();
                Route::new(members, Some(group.clone()))
            }
        };
        for member in &route.members {
            self.trust.check(me, member, power(message_type), now)?;
        }
        Ok(route)
    }

    /// The bundles to seal to, and with them the envelope's receivers.
    pub(crate) fn with_receivers<R>(
        &self,
        route: &Route,
        now: Timestamp,
        then: impl FnOnce(&To<'_>) -> Result<R, SealError>,
    ) -> Result<Result<R, SealError>, Refusal> {
        let bundles: Vec<&Bundle> = route
            .members
            .iter()
            .map(|member| {
                self.directory.current(member, now).ok_or_else(|| {
                    let reason =
                        format!("no key of {member} is known that is valid now: import its bundle");
                    Refusal::new(RefusalCode::RecipientUnknown, reason)
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(match (&route.group, bundles.as_slice()) {
            (Some(group), bundles) => then(&To::Group(group, bundles)),
            (None, [bundle]) => then(&To::Agent(bundle)),
            (None, bundles) => then(&To::Agents(bundles)),
        })
    }

    /// The stream of numbers that messages to this route belong to.
    pub(crate) fn stream(&self, route: &Route) -> Stream {
        let text = match &route.audience {
            // No name has a line break.
            Audience::Group(group) => format!("group\n{}\n{}", group.name, group.version),
            audience => format!("agents\n{audience}"),
        };
        let mut audience = [0; 32];
        audience.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Stream { key: self.keys.signing.verifying_key().kid(), audience }
    }
}

impl Route {
    fn new(members: Vec<AgentId>, group: Option<Group>) -> Self {
        let audience = match (&group, members.as_slice()) {
            (Some(group), _) => Audience::Group(group.reference().clone()),
            (None, [member]) => Audience::Agent(member.clone()),
            (None, _) => Audience::Agents(members.clone()),
        };
        Self { members, group, audience }
    }
}

/// What a message of this type asks for.
pub(crate) fn power(message_type: MessageType) -> Power {
    match message_type {
        MessageType::Shutdown => Power::Privileged,
        _ => Power::Ordinary,
    }
}
