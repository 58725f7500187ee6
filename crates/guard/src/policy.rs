//! A policy as it is read, before it is compiled into a [`Table`](crate::Table).

use crate::{AuthMethod, Level, NamePattern, PeerPattern, Space};

/// The ceiling of a peer that no pattern names: who has proved a name may read and search.
pub const DEFAULT_PEER_CEILING: Level = Level::Authenticated;
/// The ceiling of the local process where no pattern names it: all but what is privileged.
pub const DEFAULT_LOCAL_CEILING: Level = Level::Authorized;
/// The level of what no list of a server's names, where the server says nothing else.
pub const DEFAULT_LEVEL: Level = Level::Privileged;

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether a peer that no ceiling names may do nothing at all, not even list.
    pub zero_trust: bool,
    /// The highest level each peer may use. The most specific pattern counts.
    pub ceilings: Vec<(PeerPattern, Level)>,
    /// The MCP servers there are. About another one, everything is denied.
    pub servers: Vec<ServerPolicy>,
    /// What is allowed beyond levels and ceilings, and what is denied whatever they are.
    pub rules: Vec<Rule>,
}

/// What holds for one MCP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerPolicy {
    /// The name that requests give.
    pub name: String,
    /// The name that rules give: that of its table. Mostly the same.
    pub entry: String,
    /// The level of what `levels` does not name; [`DEFAULT_LEVEL`] if nothing is said.
    pub default_level: Option<Level>,
    /// What it asks for beside mutual TLS.
    pub auth_method: AuthMethod,
    /// Levels of tools, prompts and resources. The most specific pattern counts.
    pub levels: Vec<(Space, NamePattern, Level)>,
    /// Ceilings that hold here, in place of those of [`Policy::ceilings`], for the peers
    /// that they match.
    pub ceilings: Vec<(PeerPattern, Level)>,
}

/// What a rule does. A rule that denies wins over all that allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Lets pass what level and ceiling would not. What is privileged it lets pass only if
    /// it names the peer and the tool, prompt or resource exactly.
    Allow,
    /// Lets nothing pass.
    Deny,
}

impl Effect {
    /// The key that lists such rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One rule: it applies where one of its peers, one of its servers and one of its objects
/// match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in reasons and explanations: where it stands.
    pub label: String,
    /// What it does.
    pub effect: Effect,
    /// To whom it applies.
    pub peers: Vec<PeerPattern>,
    /// At which servers, by the names of their tables.
    pub servers: Vec<NamePattern>,
    /// To what.
    pub objects: Vec<(Space, NamePattern)>,
}

impl Rule {
    /// Whether it applies at every server there is or may be.
    pub fn is_everywhere(&self) -> bool {
        self.servers.contains(&NamePattern::any())
    }

    /// Whether it applies at the server with this table.
    pub fn is_at(&self, entry: &str) -> bool {
        self.servers.iter().any(|pattern| pattern.matches(entry))
    }
}
