//! The state of one conversation over a link, without any I/O: sequence numbers,
//! acknowledgements, retransmission (docs/spec/link.md §5–§7).
//!
//! A cut loses whatever was under way in either direction. Both sides keep what they
//! sent until the other side has *handed it on*, and tell each other on resumption
//! what they have *received*; so each message is delivered once, in order, as long as
//! both processes live.

use std::collections::VecDeque;

use super::frame::{Ending, Frame};
use super::outgoing::Outgoing;
use super::violation::Violation;

/// How many unacknowledged bytes a side accepts unless it says otherwise.
pub(crate) const DEFAULT_WINDOW: u32 = 4 * 1024 * 1024;
/// Most that we keep for a peer, whatever window it offers: what it does not acknowledge
/// costs our memory, not its own.
const MAX_PEER_WINDOW: usize = 16 * 1024 * 1024;

/// What a received frame means to the conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A message to hand on.
    Message(&'a [u8]),
    /// The peer's direction has ended.
    Fin(Ending),
    /// The serving side is about to stop.
    Drain,
    /// Nothing to do.
    Nothing,
}

/// Both directions of one conversation.
pub(crate) struct Session {
    outgoing: Outgoing,
    /// Unacknowledged bytes that the peer accepts.
    peer_window: usize,
    /// Unacknowledged bytes that we accept.
    window: usize,
    received: u64,
    consumed: u64,
    acked: u64,
    /// Lengths of the messages received and not yet handed on, oldest first.
    unconsumed: VecDeque<usize>,
    /// Their sum.
    unconsumed_bytes: usize,
    /// Bytes handed on since our last acknowledgement.
    unacked: usize,
    fin: Option<Ending>,
    /// The peer has read our [`Frame::Drain`], and we all that it had sent before.
    drain_is_known: bool,
}

/// Number of the ping that follows a [`Frame::Drain`]; no count of messages gets there.
const AFTER_DRAIN: u64 = u64::MAX;

impl Session {
    /// A new conversation.
    pub(crate) fn new(window: u32) -> Self {
        Self {
            outgoing: Outgoing::default(),
            peer_window: DEFAULT_WINDOW as usize,
            window: window as usize,
            received: 0,
            consumed: 0,
            acked: 0,
            unconsumed: VecDeque::new(),
            unconsumed_bytes: 0,
            unacked: 0,
            fin: None,
            drain_is_known: false,
        }
    }

    /// Queues the announcement that we are about to stop.
    pub(crate) fn announce_drain(&mut self) {
        self.outgoing.control(&Frame::Drain);
        self.outgoing.control(&Frame::Ping(AFTER_DRAIN));
    }

    /// Whether what the peer sends from now on, it sends in the knowledge of our drain.
    pub(crate) fn drain_is_known(&self) -> bool {
        self.drain_is_known
    }

    /// The last sequence number received; 0 for none.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The last sequence number given out.
    pub(crate) fn queued(&self) -> u64 {
        self.outgoing.queued()
    }

    /// How the peer's direction ended, if it has.
    pub(crate) fn fin(&self) -> Option<Ending> {
        self.fin
    }

    /// Our direction.
    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// See [`Outgoing::can_rest`].
    pub(crate) fn can_rest(&self) -> bool {
        self.outgoing.can_rest()
    }

    /// See [`Outgoing::never_written`].
    pub(crate) fn never_written(&self) -> impl Iterator<Item = &[u8]> {
        self.outgoing.never_written()
    }

    /// Whether the peer has room for another message. A single message may exceed the
    /// window, else a large one could never be sent.
    pub(crate) fn has_room(&self) -> bool {
        let retained = self.outgoing.retained();
        retained == 0 || retained < self.peer_window
    }

    /// Whether even short answers of our own no longer fit: a peer that asks for them
    /// and reads nothing is not to fill our memory.
    pub(crate) fn is_overfull(&self) -> bool {
        self.outgoing.retained() > self.peer_window + self.window
    }

    /// Whether our direction, its end included, has been handed on by the peer.
    pub(crate) fn is_settled(&self) -> bool {
        self.outgoing.is_settled()
    }

    /// Everything up to `seq` has been handed on; its room is free again.
    pub(crate) fn consumed(&mut self, seq: u64) {
        while self.consumed < seq {
            self.consumed += 1;
            let length = self.unconsumed.pop_front().unwrap_or(0);
            self.unconsumed_bytes -= length;
            self.unacked += length;
        }
        // The peer's end is acknowledged at once: it waits for nothing else.
        if self.unacked >= self.window / 4 || self.fin.is_some() {
            self.acknowledge();
        }
    }

    /// Queues a ping, unless so much waits already that it would only add to it.
    pub(crate) fn ping(&mut self) {
        if !self.outgoing.is_crowded() {
            self.outgoing.control(&Frame::Ping(self.received));
        }
    }

    /// Whether an acknowledgement is due that has not been queued.
    pub(crate) fn owes_ack(&self) -> bool {
        self.consumed > self.acked
    }

    /// Queues the acknowledgement of everything handed on so far.
    pub(crate) fn acknowledge(&mut self) {
        if self.owes_ack() && !self.outgoing.is_crowded() {
            self.acked = self.consumed;
            self.unacked = 0;
            self.outgoing.control(&Frame::Ack(self.consumed));
        }
    }

    /// Goes on over a new connection to a peer that has received `peer_received` and
    /// accepts `peer_window` unacknowledged bytes. `greeting`, if it is still to be
    /// sent, goes ahead of everything else.
    ///
    /// # Errors
    /// [`Violation`] if the peer's account contradicts ours.
    pub(crate) fn resume(
        &mut self,
        peer_received: u64,
        peer_window: u32,
        greeting: &[u8],
    ) -> Result<(), Violation> {
        self.outgoing.resume(peer_received)?;
        self.outgoing.greet(greeting);
        self.peer_window = (peer_window as usize).min(MAX_PEER_WINDOW);
        // The acknowledgement may have been lost with the old connection.
        self.acked = 0;
        self.acknowledge();
        Ok(())
    }

    /// Takes a frame that arrived after the greeting.
    ///
    /// # Errors
    /// [`Violation`] if it breaks the protocol.
    pub(crate) fn receive<'a>(&mut self, frame: &Frame<'a>) -> Result<Received<'a>, Violation> {
        match *frame {
            Frame::Data { seq, message } => {
                self.number(seq)?;
                // One message may exceed the window, as in [`Self::has_room`], and the
                // peer's own answers may exceed it as much again.
                if self.unconsumed_bytes > 2 * self.window {
                    return Err(Violation::WindowExceeded(self.window));
                }
                self.unconsumed.push_back(message.len());
                self.unconsumed_bytes += message.len();
                Ok(Received::Message(message))
            }
            Frame::Fin { seq, ending } => {
                self.number(seq)?;
                self.fin = Some(ending);
                Ok(Received::Fin(ending))
            }
            Frame::Ack(seq) => self.outgoing.acknowledged(seq).map(|()| Received::Nothing),
            Frame::Ping(number) => {
                if !self.outgoing.is_crowded() {
                    self.outgoing.control(&Frame::Pong(number));
                }
                Ok(Received::Nothing)
            }
            Frame::Drain => Ok(Received::Drain),
            Frame::Pong(AFTER_DRAIN) => {
                self.drain_is_known = true;
                Ok(Received::Nothing)
            }
            Frame::Pong(_) | Frame::Control { .. } => Ok(Received::Nothing),
            Frame::Hello(_) => Err(Violation::Unexpected("HELLO")),
            Frame::Welcome(_) => Err(Violation::Unexpected("WELCOME")),
            Frame::Refused(_) => Err(Violation::Unexpected("REFUSED")),
        }
    }

    fn number(&mut self, seq: u64) -> Result<(), Violation> {
        if self.fin.is_some() {
            return Err(Violation::AfterFin);
        }
        let expected = self.received + 1;
        if seq != expected {
            return Err(Violation::Gap { expected, got: seq });
        }
        self.received = seq;
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
