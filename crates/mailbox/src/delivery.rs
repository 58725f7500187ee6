use std::fmt;
use std::sync::Arc;

use sealwire_audit::{AgentStep, AuditSink};
use sealwire_envelope::{MessageId, Opened, SecureAgentMessage};
use sealwire_names::{AgentId, Timestamp};
use zeroize::Zeroizing;

use crate::channel::record;
use crate::{ChannelError, Lease, Transport};

/// A message that is genuine, in the hands of its receiver.
///
/// It stays with this receiver until it is [acknowledged](Self::ack), however long that takes.
/// If this is dropped, or the process ends, it is delivered again, marked as
/// [`redelivered`](Self::redelivered). An effect that must happen once is committed together with
/// [`message_id`](Self::message_id), by the receiver, before it acknowledges.
#[must_use = "a message that is not acknowledged is delivered again"]
pub struct Delivery<T: Transport> {
    opened: Opened,
    redelivered: bool,
    held: Held<T>,
    audit: Arc<dyn AuditSink>,
}

impl<T: Transport> Delivery<T> {
    pub(crate) fn new(
        opened: Opened,
        redelivered: bool,
        held: Held<T>,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        Self { opened, redelivered, held, audit }
    }

    /// The message: each field is its sender's word.
    pub fn message(&self) -> &SecureAgentMessage {
        &self.opened.message
    }

    /// The verified sender.
    pub fn from(&self) -> &AgentId {
        &self.opened.message.from
    }

    /// The message's id.
    pub fn message_id(&self) -> MessageId {
        self.opened.message.metadata.message_id
    }

    /// What was sent. Wiped from memory with the delivery.
    pub fn content(&self) -> &[u8] {
        &self.opened.content
    }

    /// It was delivered before, and nobody acknowledged it: its effect may be there already.
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Says that it is done: it is never delivered again. Returns when that is on disk, with what
    /// was sent.
    ///
    /// # Errors
    /// [`TransportError::LeaseLost`](crate::TransportError::LeaseLost), in a
    /// [`ChannelError::Transport`], if the process was stopped for so long that somebody else has
    /// it now. [`ChannelError::Audit`]: it is done, and not recorded. After other errors it is
    /// delivered again.
    pub async fn ack(mut self) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let Held { transport, lease, .. } = &self.held;
        transport.acknowledge(lease).await?;
        self.held.ended = true;
        let agent = &self.held.lease.agent;
        record(&*self.audit, agent, &self.opened.message, AgentStep::Acknowledged)?;
        Ok(std::mem::take(&mut self.opened.content))
    }

    /// Gives it back, to be delivered again not before `due`. What the same sender sent later
    /// with the same priority waits behind it.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn release(mut self, due: Timestamp) -> Result<(), ChannelError> {
        self.held.transport.release(&self.held.lease, due).await?;
        self.held.ended = true;
        Ok(())
    }
}

/// Shows everything but the content.
impl<T: Transport> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("opened", &self.opened)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

/// A lease that is given back when it is dropped, unless it ended otherwise.
pub(crate) struct Held<T: Transport> {
    pub(crate) transport: T,
    pub(crate) lease: Lease,
    pub(crate) ended: bool,
}

impl<T: Transport> Drop for Held<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.transport.abandon(&self.lease);
        }
    }
}
