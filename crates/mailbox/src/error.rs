use std::path::PathBuf;
use std::sync::Arc;

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
