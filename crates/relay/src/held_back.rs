//! What waits for the log before it leaves.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use sealwire_audit::Position;
use sealwire_guard::Direction;

use crate::conversation::Conversation;
use crate::endpoint::{Endpoint, EndpointError};

/// Parts that wait one by one; what comes then waits with the last.
const PARTS: usize = 64;

/// How much of what a sink was given may leave once how much of the log lasts.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    parts: VecDeque<(Position, u64)>,
    /// Up to here it may leave.
    free: u64,
    /// A sink that writes everything or nothing waits for the log.
    is_full: bool,
}

impl HeldBack {
    /// Whether nothing is to be added before some of it has left.
    pub(crate) fn is_full(&self, sink: &impl Endpoint) -> bool {
        self.is_full && sink.given().is_none()
    }

    /// Writes what may leave of what the sink was given. The log as it is now says what may.
    ///
    /// # Errors
    /// If the log fails, and so nothing of it ever may.
    pub(crate) fn poll_leave(
        &mut self,
        direction: Direction,
        conversation: &Conversation,
        sink: &mut impl Endpoint,
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<Result<(), EndpointError>>> {
        let Some(given) = sink.given() else {
            let recorded = conversation.poll_recorded(direction, cx)?;
            self.is_full = recorded.is_pending();
            return Ok(match recorded {
                Poll::Ready(()) => sink.poll_flush(cx),
                Poll::Pending => Poll::Pending,
            });
        };
        self.add(conversation.recorded_up_to(direction), given);
        while let Some(&(position, end)) = self.parts.front() {
            if conversation.poll_lasts(position, cx)?.is_pending() {
                return Ok(sink.poll_flush_to(self.free, cx));
            }
            self.parts.pop_front();
            self.free = end;
        }
        Ok(sink.poll_flush(cx))
    }

    /// Up to `given`, it needs as much of the log as `position` says.
    fn add(&mut self, position: Position, given: u64) {
        if self.parts.back().map_or(self.free, |last| last.1) == given {
            return;
        }
        if self.parts.len() == PARTS {
            self.parts.pop_back();
        }
        self.parts.push_back((position, given));
    }
}
