//! Where messages come from and go to.

use std::io;
use std::task::{Context, Poll};

use crate::link::{Ending, LinkError};

/// A stream and a sink of whole messages, polled by one task.
///
/// Four things implement it or will: standard input and output, a child process, a
/// link, an HTTP connection. Messages are borrowed out of the endpoint's own receive
/// buffer and copied once, into the other endpoint's send buffer.
pub trait Endpoint {
    /// Reads more. `Ready(Ok(()))` means that [`Self::next`] may have something new.
    ///
    /// # Errors
    /// When nothing can be received any more; the endpoint is then of no further use.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>>;

    /// The next message at hand, if there is one.
    fn next(&mut self) -> Option<Incoming<'_>>;

    /// Everything that [`Self::next`] returned up to `position` has been handed on.
    fn consumed(&mut self, position: u64);

    /// Counts what [`Self::next`] has returned; the argument for [`Self::consumed`].
    fn position(&self) -> u64;

    /// Whether the peer stops of its own accord while what it sent is not consumed.
    ///
    /// Such an endpoint is always read: what acknowledges one direction travels behind
    /// the messages of the other, and must not wait for them.
    fn limits_itself(&self) -> bool {
        false
    }

    /// Whether another message may be sent. One is always taken, however large.
    fn has_room(&self) -> bool;

    /// Whether not even a short answer of our own should be sent any more, because the
    /// peer does not read.
    fn is_overfull(&self) -> bool;

    /// Queues a message.
    fn send(&mut self, message: &[u8]);

    /// Queues the end of this direction.
    fn finish(&mut self, ending: Ending);

    /// Tells the peer to start nothing new, where there is a way to tell.
    fn announce_drain(&mut self) {}

    /// Whether the peer has been told, so that no request is under way that it would not
    /// have made had it known.
    fn knows_of_drain(&self) -> bool {
        true
    }

    /// Writes what is queued. `Ready(Ok(()))` means that all of it has been written.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>>;

    /// Counts what [`Self::send`] was given, in a unit of its own; the argument for
    /// [`Self::poll_flush_to`]. `None` if only all of it can be written.
    fn given(&self) -> Option<u64> {
        None
    }

    /// Writes what is queued up to there, as far as that is possible now. No more of it is
    /// written, whatever the outcome.
    ///
    /// # Errors
    /// When nothing can be sent any more.
    fn poll_flush_to(
        &mut self,
        _given: u64,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        Poll::Pending
    }

    /// How many messages [`Self::send`] has taken.
    fn accepted(&self) -> u64;

    /// How many of them have been handed to the next in line for good.
    fn handed_over(&self) -> u64;

    /// Whether the end of this direction has reached the other side.
    fn is_settled(&self) -> bool;

    /// Whether there is memory that [`Self::rest`] would give back.
    fn can_rest(&self) -> bool;

    /// Gives back what large messages took.
    fn rest(&mut self);

    /// The largest message that may be sent, in bytes.
    fn send_limit(&self) -> usize {
        usize::MAX
    }
}

/// What an endpoint gives out.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// One message, without its line end.
    Message(&'a [u8]),
    /// A message over the size limit.
    Oversized {
        /// Its first part, or all of it.
        start: &'a [u8],
        /// Its last bytes, where something between was thrown away.
        end: &'a [u8],
    },
    /// The peer starts nothing new and expects the same of us.
    Drain,
    /// Nothing follows.
    End(Ending),
}

/// Why an endpoint failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Reading or writing a local stream failed.
    #[error("{what}: {source}")]
    Io {
        /// Which stream.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The link cannot go on.
    #[error(transparent)]
    Link(#[from] LinkError),
}
