/// A broken rule. The conversation cannot go on: its sides disagree about the past.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A sequence number was left out or repeated.
    #[error("message {got} arrived where {expected} was due")]
    Gap {
        /// The number due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The peer acknowledges what was never sent.
    #[error("the peer acknowledges {acked}, but only {sent} were sent")]
    AckBeyondSent {
        /// The number acknowledged.
        acked: u64,
        /// The last number sent.
        sent: u64,
    },
    /// The peer says that it has received less than it acknowledged.
    #[error("the peer has received {received}, yet had acknowledged {acked}")]
    ReceivedBackwards {
        /// What it says now.
        received: u64,
        /// What it acknowledged before.
        acked: u64,
    },
    /// More was sent than we had offered to hold.
    #[error("more than twice the window of {0} bytes was sent without waiting for acknowledgement")]
    WindowExceeded(usize),
    /// Something followed the end of a direction.
    #[error("a message arrived after the end of its direction")]
    AfterFin,
    /// The welcome is for another conversation than the one to be resumed.
    #[error("the serving side welcomes us to another conversation")]
    OtherConversation,
    /// A frame that has no place here.
    #[error("unexpected {0} frame")]
    Unexpected(&'static str),
}
