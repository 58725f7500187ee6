use std::fmt;
use std::time::Duration;

use sealwire_names::{AgentId, Refusal, Timestamp};

/// The cryptographic library or the system's randomness failed: nothing that a message or
/// a caller could have caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed at {what}")]
pub struct CryptoError {
    what: &'static str,
}

impl CryptoError {
    /// What a key that is held elsewhere could not do; why is for its holder to log.
    pub fn elsewhere() -> Self {
        Self { what: "signing with a key that is held elsewhere" }
    }

    /// For `map_err`: drops the library's error, which says nothing.
    pub(crate) fn of<E>(what: &'static str) -> impl Fn(E) -> Self {
        move |_| Self { what }
    }
}

/// Why a message was not sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The content is larger than a message carries.
    #[error("the content has {size} bytes; a message carries at most {limit}: send a reference")]
    ContentTooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most a message carries, in bytes.
        limit: usize,
    },
    /// A message lives less than a second, or too long.
    #[error("a message lives from 1 s to {} days, not {ttl:?}", limit.as_secs() / 86_400)]
    Ttl {
        /// The time to live that was asked for.
        ttl: Duration,
        /// The longest there is.
        limit: Duration,
    },
    /// The clock is before 1970 or after the year 292 million.
    #[error("the clock says {0}, which no message can carry")]
    Clock(Timestamp),
    /// Nobody is to receive the message.
    #[error("the message is to nobody: name an agent, or a group with members besides {from}")]
    NoRecipient {
        /// The sender.
        from: AgentId,
    },
    /// More receivers than a message has.
    #[error("the message is to {count} agents; at most {limit} are possible: send it in parts")]
    TooManyRecipients {
        /// How many were asked for.
        count: usize,
        /// The most there are.
        limit: usize,
    },
    /// An agent, or a key, occurs twice among the receivers.
    #[error("{agent} is among the receivers twice, or shares a key with another one")]
    DuplicateRecipient {
        /// The agent.
        agent: AgentId,
    },
    /// An agent's keys are not valid now.
    #[error(
        "the keys of {agent} are valid from {not_before} to {not_after}, not now: get its new bundle"
    )]
    BundleNotValid {
        /// The agent.
        agent: AgentId,
        /// From when on they are valid.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
    },
    /// The bundles are not those of the group's members.
    #[error(
        "the keys given are not those of all members of the group {group} but the sender: {agent} is missing or too much"
    )]
    Roster {
        /// The group.
        group: AgentId,
        /// The first agent that differs.
        agent: AgentId,
    },
    /// The cryptographic library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Why a message was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is refused, for good.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is genuine, but the sender sends too fast: to be tried again later.
    #[error(transparent)]
    Deferred(#[from] Deferred),
}

/// A genuine message that comes too fast. It is put back, never dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Deferred {
    /// Who sends too fast.
    pub from: AgentId,
    /// How long until it may pass.
    pub wait: Duration,
}

impl fmt::Display for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sends faster than allowed; again in {:?}", self.from, self.wait)
    }
}
