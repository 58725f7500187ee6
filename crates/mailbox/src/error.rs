use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealwire_envelope::SealError;
use sealwire_names::Refusal;

/// Why a transport did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// It would not: the mailbox is full, the message is a copy, its replay state is lost.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The lease ran out, and the message was handed to somebody else or is gone.
    ///
    /// Whatever was done with the message will perhaps be done again by the next receiver.
    #[error("the lease of this message has ended; it may be delivered again")]
    LeaseLost,
    /// The file that holds the mail cannot be used.
    #[error("{}: {problem}", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do where that is known.
        problem: Arc<str>,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The transport has been closed, or its writer died.
    #[error("the mailbox is closed")]
    Closed,
}

impl TransportError {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Why a message was not sent, received or acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// It may not be: an unknown agent, the trust matrix, a full mailbox.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// This agent sends faster than it may. Nothing was sent.
    #[error("{agent} sends faster than its rate allows; try again in {wait:?}")]
    TooFast {
        /// This agent.
        agent: sealwire_names::AgentId,
        /// How long until it may send again.
        wait: Duration,
    },
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It could not be recorded, and so it may not happen.
    #[error("the audit log cannot be written: {0}")]
    Audit(std::io::Error),
    /// The transport failed.
    #[error(transparent)]
    Transport(TransportError),
}

impl From<TransportError> for ChannelError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Refused(refusal) => Self::Refused(refusal),
            error => Self::Transport(error),
        }
    }
}
