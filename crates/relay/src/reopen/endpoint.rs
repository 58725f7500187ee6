//! What becomes of each message while one server is gone and the next has not opened yet.

use std::future::Future;
use std::task::{Context, Poll};

use super::{Phase, ServingSide};
use crate::endpoint::{Endpoint, EndpointError, Incoming};
use crate::held::Bearing;
use crate::link::{Ending, LinkError};
use crate::message::{ErrorCode, Head, Parser, error_answer};
use crate::opening::{Replay, Terms};

/// Bytes held beyond which the client is not read.
const BACKLOG: usize = 1024 * 1024;
const READY: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

impl ServingSide {
    /// Sends what was held, as far as there is room for it.
    fn release(&mut self) {
        if matches!(self.phase, Phase::Open) {
            while self.link.was_connected() && self.link.has_room() {
                let Some(message) = self.held.pop() else { break };
                if message.len() <= self.link.send_limit() {
                    self.link.send(&message);
                } else if let Some(id) = Bearing::of(&message).awaited() {
                    // The old server took larger messages than the new one does.
                    let (code, word) = (ErrorCode::InvalidRequest, "message_too_large");
                    let answer = error_answer(Some(&id), code, "the message is too large", word);
                    self.own.push_back(answer);
                }
            }
        }
        let is_replaying = matches!(self.phase, Phase::Replaying(_));
        if let Some(ending) = self.finishing
            && self.held.is_empty()
            && !is_replaying
        {
            self.link.finish(ending);
        }
    }

    /// The new server's answer to the opening has come. What of it is for the client, if
    /// anything, is in `lent` afterwards.
    fn agree(&mut self, replay: &Replay, is_error: bool) -> bool {
        let for_client = replay.terms.is_none();
        if let Some(terms) = &replay.terms {
            let why = match Terms::read(&self.lent) {
                _ if is_error => "its server refuses the client's initialize",
                Some(new) if new == **terms => "",
                Some(_) => "its server has other capabilities, or speaks another revision",
                None => "its server's answer to the client's initialize cannot be compared",
            };
            if !why.is_empty() {
                self.fault = Some(LinkError::NotReopened(why));
                return false;
            }
        }
        self.phase = if self.stops { Phase::Draining } else { Phase::Open };
        self.outage = None;
        if replay.initialized && !is_error {
            self.link.send(READY);
            self.own.extend(replay.terms.iter().flat_map(|terms| terms.lists_changed()));
        }
        tracing::info!("the conversation goes on with a new server");
        self.release();
        for_client
    }

    /// The old server is gone, and no new one has been able to say anything yet.
    fn is_nobody_there(&self) -> bool {
        self.outage.is_some() && !self.link.was_connected()
    }

    fn holds_back(&self) -> bool {
        !self.held.is_empty() || self.outage.is_some() || !matches!(self.phase, Phase::Open)
    }
}

impl Endpoint for ServingSide {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault.into()));
        }
        if !self.own.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.release();
        let filled = self.link.poll_fill(cx);
        if let Some(outage) = &mut self.outage {
            if matches!(self.phase, Phase::Open) && self.link.was_connected() {
                self.outage = None;
                self.release();
            } else if outage.deadline.as_mut().poll(cx).is_ready() {
                let error = if self.link.was_connected() {
                    LinkError::NotReopened("its server does not answer the client's initialize")
                } else {
                    let last = String::from("the attempt is still under way");
                    LinkError::GaveUp { waited: outage.since.elapsed(), last }
                };
                return Poll::Ready(Err(error.into()));
            }
        }
        // An answer of our own may have come to be here; nothing else would have it read.
        if filled.is_pending() && !self.own.is_empty() {
            return Poll::Ready(Ok(()));
        }
        filled
    }

    fn next(&mut self) -> Option<Incoming<'_>> {
        while self.own.is_empty()
            && let Phase::Replaying(replay) = &self.phase
        {
            match self.link.next()? {
                Incoming::Message(message) => {
                    self.lent.clear();
                    self.lent.extend_from_slice(message);
                }
                Incoming::Oversized { .. } => continue,
                Incoming::Drain => return Some(Incoming::Drain),
                Incoming::End(ending) => return Some(Incoming::End(ending)),
            }
            match Parser::default().parse(&self.lent) {
                Ok(Head::Response { id: Some(id), is_error, .. }) if id == replay.id => {
                    let replay = replay.clone();
                    if self.agree(&replay, is_error) {
                        return Some(Incoming::Message(&self.lent));
                    }
                    if self.fault.is_some() {
                        return None;
                    }
                }
                Ok(Head::Response { .. }) => {
                    tracing::debug!("an answer of the new server to what it has not been asked");
                }
                _ => return Some(Incoming::Message(&self.lent)),
            }
        }
        if let Some(message) = self.own.pop_front() {
            self.lent = message;
            return Some(Incoming::Message(&self.lent));
        }
        self.link.next()
    }

    fn consumed(&mut self, position: u64) {
        self.link.consumed(position);
    }

    fn position(&self) -> u64 {
        self.link.position()
    }

    fn limits_itself(&self) -> bool {
        true
    }

    /// While another server is looked for, the client is read all the same, within a bound:
    /// else nobody would notice that it has ended.
    fn has_room(&self) -> bool {
        if !self.holds_back() {
            return self.link.has_room();
        }
        let may_pass = matches!(self.phase, Phase::Open) || !self.link.was_connected();
        self.held.bytes() < BACKLOG && (may_pass || self.link.has_room())
    }

    fn is_overfull(&self) -> bool {
        self.link.is_overfull() || self.held.bytes() > 2 * BACKLOG
    }

    fn send(&mut self, message: &[u8]) {
        self.accepted += 1;
        if !self.holds_back() {
            return self.link.send(message);
        }
        match (Bearing::of(message), &self.phase) {
            (Bearing::Cancels(Some(id)), _) if self.held.requests().contains(&id) => {
                self.held.push(message);
            }
            // Of what went with the old server.
            (Bearing::Refers | Bearing::Cancels(_), _) if self.is_nobody_there() => {}
            (Bearing::Cancels(_), Phase::Replaying(_)) => {}
            // Its server, old or new, is there and waits for it.
            (Bearing::Refers, Phase::Draining | Phase::Replaying(_))
            | (Bearing::Cancels(_), Phase::Draining) => self.link.send(message),
            _ => self.held.push(message),
        }
    }

    fn finish(&mut self, ending: Ending) {
        self.finishing = Some(ending);
        self.release();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        self.link.poll_flush(cx)
    }

    fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What is held is kept until it is sent or answered, as in a link.
    fn handed_over(&self) -> u64 {
        self.accepted
    }

    fn is_settled(&self) -> bool {
        self.held.is_empty() && self.link.is_settled()
    }

    fn can_rest(&self) -> bool {
        self.link.can_rest()
    }

    fn rest(&mut self) {
        self.link.rest();
    }

    fn send_limit(&self) -> usize {
        self.link.send_limit()
    }
}
