use std::fmt;

/// How much an operation may do. All levels need mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// 0: reads what anybody in the trust domain may know.
    Public,
    /// 1: reads and searches.
    Authenticated,
    /// 2: writes.
    Authorized,
    /// 3: runs programs, reaches the network, or anything else.
    Privileged,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 4] =
        [Self::Public, Self::Authenticated, Self::Authorized, Self::Privileged];

    /// The level of that number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|level| u64::from(level.number()) == number)
    }

    /// The number that configurations use.
    pub const fn number(self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Authenticated => 1,
            Self::Authorized => 2,
            Self::Privileged => 3,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Authenticated => "authenticated",
            Self::Authorized => "authorized",
            Self::Privileged => "privileged",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.as_str())
    }
}

/// What a server asks for beside mutual TLS, from level 2 on. The stronger of it and of
/// what the level asks for holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMethod {
    /// Nothing.
    #[default]
    Mtls,
    /// A token of the agent on whose behalf the peer calls.
    AgentToken,
    /// A person who approves the call.
    Approval,
}

impl AuthMethod {
    /// Every method, weakest first.
    pub const ALL: [Self; 3] = [Self::Mtls, Self::AgentToken, Self::Approval];

    /// The word that configurations use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mtls => "mtls",
            Self::AgentToken => "agent_token",
            Self::Approval => "approval",
        }
    }
}
