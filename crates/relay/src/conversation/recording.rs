//! What of a conversation is recorded, and what has to last before what depends on it leaves.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use sealwire_audit::{CallResult, Event, Message, PinEvent, PinStep, Position};
use sealwire_guard::Direction;
use sealwire_names::{Refusal, RefusalCode};

use super::{ByPolicy, Conversation, Denied, Use, opposite};
use crate::in_flight::Call;
use crate::message::RequestId;
use crate::pinning::News;

/// Longest part of a name or URI that is kept or logged with a refusal, in bytes.
const MAX_SUBJECT: usize = 256;

impl Conversation {
    /// Ready once everything about what goes in that direction is recorded as durably as it
    /// should be: until then, none of it may leave.
    pub(crate) fn poll_recorded(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_lasts(self.recorded_up_to(direction), cx)
    }

    /// What of the log has to last before what goes in that direction leaves.
    pub(crate) fn recorded_up_to(&self, direction: Direction) -> Position {
        self.recorded[direction as usize]
    }

    /// Ready once so much of the log lasts.
    pub(crate) fn poll_lasts(
        &self,
        position: Position,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.audit.poll_durable(position, cx)
    }

    pub(super) fn record_allowed(
        &mut self,
        direction: Direction,
        id: Option<&RequestId>,
        used: Use<'_>,
        policy: ByPolicy,
    ) -> Result<Position, Denied> {
        let Use { method, subject, arguments, .. } = used;
        let presented = self.presented.as_ref().map(|peer| peer.borrow().fingerprint);
        let message = Message {
            certificate: presented.as_ref(),
            arguments: arguments.map(str::as_bytes),
            policy: policy.as_ref(),
            ..self.message(direction, id, method, subject)
        };
        let recorded = self.audit.record(&Event::Decision { message: &message, denied: None });
        let position = recorded.map_err(|error| {
            let reason = format!("the audit log failed: {error}");
            Denied { policy, ..Refusal::new(RefusalCode::NotAuthorized, reason).into() }
        })?;
        self.holds(direction, position);
        Ok(position)
    }

    pub(super) fn log_refusal(
        &mut self,
        direction: Direction,
        id: Option<&RequestId>,
        Use { method, subject, .. }: Use<'_>,
        (refusal, policy): (&Refusal, ByPolicy),
    ) {
        let message = Message {
            policy: policy.as_ref(),
            ..self.message(direction, id, method, subject.map(shortened))
        };
        let event = Event::Decision { message: &message, denied: Some(refusal) };
        let position = self.recorded(&event);
        // Whoever sent it is told.
        self.holds(opposite(direction), position);
    }

    /// What goes in that direction does not leave before the log is durable up to there.
    fn holds(&mut self, direction: Direction, position: Position) {
        let held = &mut self.recorded[direction as usize];
        *held = held.and(position);
    }

    /// Logs the refusal of a message for its form, as long as it is not one of too many.
    pub(super) fn log_malformed(
        &mut self,
        direction: Direction,
        id: Option<&RequestId>,
        refusal: &Refusal,
        now: Instant,
    ) {
        if direction == Direction::ToClient {
            let Some(suppressed) = self.throttle.admit(1, now) else { return };
            self.log_suppressed(suppressed);
        }
        // Nobody was asked about what cannot be understood.
        self.log_refusal(direction, id, Use::of(""), (refusal, None));
    }

    fn log_suppressed(&self, refusals: u64) {
        if refusals > 0 {
            tracing::warn!(server = %self.server, "{refusals} refusals of the server's messages suppressed");
        }
    }

    pub(super) fn record_outcome(
        &mut self,
        direction: Direction,
        id: &RequestId,
        call: &Call,
        result: CallResult,
        now: Instant,
    ) {
        let message =
            self.message(direction, Some(id), &call.target.method, call.target.subject.as_deref());
        let duration = now.saturating_duration_since(call.since);
        let decision = call.decision;
        let event = Event::Outcome { message: &message, decision, result, duration };
        let position = self.recorded(&event);
        self.holds(opposite(direction), position);
    }

    /// What is new of the server's definitions.
    pub(super) fn tell(&mut self, news: &News, now: Instant) {
        if !matches!(news, News::Pinned { .. }) {
            let Some(untold) = self.definitions.admit(1, now) else { return };
            self.log_untold(untold);
        }
        let (kind, step) = match news {
            News::Pinned { kind, definitions } => {
                (kind, PinStep::Pinned { definitions: *definitions })
            }
            News::Blocked { kind, name, refusal } => {
                (kind, PinStep::Blocked { name: shortened(name), refusal })
            }
            News::Restored { kind, name } => (kind, PinStep::Restored { name: shortened(name) }),
        };
        let (peer, server, kind) = (self.peer.as_ref(), &*self.server, kind.as_str());
        self.recorded(&Event::Pin(&PinEvent { peer, server, kind, step }));
    }

    fn log_untold(&self, definitions: u64) {
        if definitions > 0 {
            let server = &*self.server;
            tracing::warn!(server, definitions, "others changed, too; see `sealwire pins diff`");
        }
    }

    fn message<'a>(
        &'a self,
        direction: Direction,
        id: Option<&'a RequestId>,
        method: &'a str,
        subject: Option<&'a str>,
    ) -> Message<'a> {
        Message {
            peer: self.peer.as_ref(),
            server: &self.server,
            direction: direction.as_str(),
            method,
            subject,
            id: id.map(RequestId::recorded),
            certificate: None,
            arguments: None,
            policy: None,
            at: self.at,
        }
    }

    /// Records what has already been decided. There is nothing left to deny, so a
    /// failure can only be told.
    fn recorded(&self, event: &Event<'_>) -> Position {
        self.audit.record(event).unwrap_or_else(|error| {
            tracing::error!(%error, "the audit log failed");
            Position::default()
        })
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let suppressed = self.throttle.suppressed();
        self.log_suppressed(suppressed);
        let untold = self.definitions.suppressed();
        self.log_untold(untold);
    }
}

/// As much of a name or URI as is kept until the answer comes, or logged with a refusal.
pub(super) fn shortened(subject: &str) -> &str {
    &subject[..subject.floor_char_boundary(MAX_SUBJECT)]
}
