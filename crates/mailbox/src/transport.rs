//! What carries sealed messages from one agent to another, whatever it is made of.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sealwire_envelope::{KeyId, MessageId, SecureAgentMessage, TimeRule};
use sealwire_names::{AgentId, Refusal, Timestamp};
use tokio::sync::watch;

use crate::TransportError;

/// Carries sealed messages: keeps them until they are acknowledged, and knows which it has
/// delivered before.
///
/// A transport sees ciphertext and [`Label`]s, never content. The life of one message in it:
///
/// 1. [`put`](Self::put): it is there, durably, for each of its receivers.
/// 2. [`take`](Self::take): a receiver has it on lease. Nobody else gets it, nor what the same
///    sender sent later with the same priority, until the lease ends.
/// 3. [`deliver`](Self::deliver), after the signature was verified: its message id is recorded
///    as seen. In the same transaction the message counts as delivered.
/// 4. [`acknowledge`](Self::acknowledge): it is gone, and its id will be refused until it
///    expires. Or [`release`](Self::release): it will be taken again. Or
///    [`bury`](Self::bury): it is a dead letter.
///
/// A transport is a handle: clones are the same transport. Everything here may be called from
/// many tasks at once. Dropping a future does not undo what it has begun, except that nothing
/// stays on lease to nobody.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Keeps a message for its receivers, for all of them or for none. When this returns `Ok`,
    /// it is as durable as this transport makes anything.
    ///
    /// # Errors
    /// `mailbox_full` if a receiver's quota is used up.
    fn put(&self, letter: Letter) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Leases up to `most` messages for `agent`: by priority, the highest first; then by age.
    /// The messages of one sender with one priority come in the order in which they were put.
    ///
    /// The lease lasts as long as this transport lives, and a little longer.
    ///
    /// # Errors
    /// If the transport fails.
    fn take(
        &self,
        agent: &AgentId,
        most: usize,
    ) -> impl Future<Output = Result<Round, TransportError>> + Send;

    /// Records that a verified message is being delivered, unless it was before.
    ///
    /// # Errors
    /// `message_replayed` if another message with this id was delivered; `replay_state_lost` if
    /// nobody knows whether this one was; [`TransportError::LeaseLost`].
    fn deliver(
        &self,
        lease: &Lease,
        message: &SecureAgentMessage,
    ) -> impl Future<Output = Result<Delivered, TransportError>> + Send;

    /// Removes a delivered message for good.
    ///
    /// # Errors
    /// [`TransportError::LeaseLost`] if it is not this receiver's any more, or never was delivered.
    fn acknowledge(&self, lease: &Lease)
    -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Gives a message back, to be taken again not before `due`.
    ///
    /// # Errors
    /// [`TransportError::LeaseLost`].
    fn release(
        &self,
        lease: &Lease,
        due: Timestamp,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Puts a message among the dead letters, with the reason.
    ///
    /// # Errors
    /// [`TransportError::LeaseLost`].
    fn bury(
        &self,
        lease: &Lease,
        reason: Refusal,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// As [`release`](Self::release), at once and without waiting: for what is dropped.
    fn abandon(&self, lease: &Lease);

    /// Which times of issue are accepted: what the replay state can tell.
    fn times(&self) -> TimeRule;

    /// What time it is for those who use this transport.
    fn now(&self) -> Timestamp;

    /// Rings when there may be something to take for `agent`.
    fn bell(&self, agent: &AgentId) -> Bell;

    /// The next `count` numbers of messages from a signing key to an audience. `expires` is when
    /// the last message that carries one of them will have expired.
    ///
    /// # Errors
    /// If the transport fails.
    fn number(
        &self,
        stream: Stream,
        count: u32,
        expires: Timestamp,
    ) -> impl Future<Output = Result<Numbers, TransportError>> + Send;
}

/// A sealed message and where it goes.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The message; its bytes are kept exactly as they were signed.
    pub message: SecureAgentMessage,
    /// Who is to get it: one, or each member of a group.
    pub to: Vec<AgentId>,
}

/// What a transport reads of a message. From a store it is a claim of whoever put it there: it
/// orders the mail, and nothing else. What counts is in the message whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The sender.
    pub from: AgentId,
    /// The sender's signing key.
    pub key: KeyId,
    /// The message's id, chosen by the sender.
    pub message_id: MessageId,
    /// The more, the earlier.
    pub priority: u8,
    /// When it was made.
    pub issued: Timestamp,
    /// When it is of no use any more.
    pub expires: Timestamp,
}

impl Label {
    /// What the message says.
    pub fn of(message: &SecureAgentMessage) -> Self {
        Self {
            from: message.from.clone(),
            key: message.sender_kid,
            message_id: message.metadata.message_id,
            priority: message.metadata.priority,
            issued: message.timestamp,
            expires: message.expires,
        }
    }
}

/// What [`Transport::take`] found.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// The messages, in the order in which they are to be delivered.
    pub taken: Vec<Taken>,
    /// When there may be more without anybody putting it there: a lease or a deferral ends.
    pub due: Option<Timestamp>,
}

/// A message on lease.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The bytes, exactly as put.
    pub bytes: Arc<[u8]>,
    /// What the store says about it.
    pub label: Label,
    /// What is needed to finish it.
    pub lease: Lease,
    /// Whether a message with this key and id was delivered before. The verified head must
    /// have the same; [`Transport::deliver`] asks again.
    pub seen: Seen,
}

/// A cheap look at the replay state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not yet.
    Never,
    /// This stored message was delivered, and not acknowledged.
    ThisOne,
    /// Another one was, or this id was acknowledged: a replay.
    Another,
}

/// The right to finish a message: this message, taken this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(crate) agent: AgentId,
    pub(crate) record: i64,
    pub(crate) take: i64,
    /// Which process has it, where there are several.
    pub(crate) holder: i64,
    /// What never changes of the message, so that it need not be read to end it.
    pub(crate) fixed: Fixed,
}

/// See [`Lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// As of [`Label`].
    pub(crate) from: AgentId,
    pub(crate) priority: u8,
    /// In bytes.
    pub(crate) size: i64,
    /// Where it is kept, if it is kept once for several receivers.
    pub(crate) body: Option<i64>,
}

/// A delivery that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// It was delivered before and not acknowledged: look whether its effect is there already.
    pub redelivered: bool,
}

/// Whose numbers: each signing key counts for each audience.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The signing key.
    pub key: KeyId,
    /// A digest of the audience.
    pub audience: [u8; 32],
}

/// Numbers that no message has carried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Random; another one where what was counted may have been lost.
    pub epoch: u64,
    /// The first number.
    pub first: u64,
    /// How many from there.
    pub count: u32,
}

/// Tells that a mailbox may have something new.
///
/// Make it first, take, and wait if there was nothing: what comes in between is not missed.
#[derive(Clone, Debug)]
pub struct Bell {
    rings: watch::Receiver<u64>,
    /// The longest time that a message can lie there without the bell having rung.
    slowest: Duration,
}

impl Bell {
    pub(crate) fn new(rings: watch::Receiver<u64>, slowest: Duration) -> Self {
        Self { rings, slowest }
    }

    /// Resolves when it rings, at `due`, or when it is time to look in any case: a sender that
    /// was killed cannot ring.
    pub async fn heard(&mut self, now: Timestamp, due: Option<Timestamp>) {
        let wait = due.map_or(self.slowest, |due| {
            now.until(due).unwrap_or(Duration::from_millis(1)).min(self.slowest)
        });
        // The sender lives in the transport; if that is gone, the next call to it says so.
        let _rang_or_late = tokio::time::timeout(wait, async {
            if self.rings.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], TransportError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| TransportError::Randomness)?;
    Ok(bytes)
}
