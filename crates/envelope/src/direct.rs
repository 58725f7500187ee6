use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::directory::Directory;
use crate::error::{Deferred, OpenError};
use crate::group::Group;
use crate::hpke::RecipientKey;
use crate::ids::{GroupRef, KeyId};
use crate::message::SecureAgentMessage;
use crate::open::{Opened, Receiving, TimeRule, open};
use crate::replay::{ReplayLimits, ReplayWindow};
use crate::signing::VerifyingKey;

/// What a receiver decides by itself: the trust matrix and the rate limit.
pub trait Rules {
    /// May the sender send this? Nothing of it is proven yet; record nothing.
    ///
    /// # Errors
    /// The refusal to be given, usually `not_trusted`.
    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal>;

    /// May one more message of this sender pass now? Its signature holds.
    ///
    /// # Errors
    /// How long to wait.
    fn admit(&self, message: &SecureAgentMessage) -> Result<(), Deferred>;
}

/// The receiving end of a channel without a store: a connection, a queue in memory.
///
/// [`open`](Self::open) may be called from several threads; of the same message it succeeds
/// once. What was received is forgotten with this value, and a new one refuses what its
/// predecessor may have accepted ([`ReplayWindow`]).
#[derive(Debug)]
pub struct DirectReceiver<R> {
    /// Who receives.
    pub agent: AgentId,
    /// The receiver's keys: the current one, and older ones while messages may be under way.
    pub keys: Vec<RecipientKey>,
    /// Those who are believed.
    pub directory: Directory,
    /// What the receiver decides by itself.
    pub rules: R,
    groups: HashMap<GroupRef, Group>,
    window: Mutex<ReplayWindow>,
    times: TimeRule,
}

impl<R: Rules> DirectReceiver<R> {
    /// A receiver that begins now and has received nothing.
    pub fn new(
        agent: AgentId,
        keys: Vec<RecipientKey>,
        directory: Directory,
        rules: R,
        limits: ReplayLimits,
        now: Timestamp,
    ) -> Self {
        let ReplayLimits { tolerance, max_future_skew, .. } = limits;
        Self {
            agent,
            keys,
            directory,
            rules,
            groups: HashMap::new(),
            window: Mutex::new(ReplayWindow::new(limits, now)),
            times: TimeRule::Direct { tolerance, max_future_skew },
        }
    }

    /// Makes a version of a group's roster known.
    pub fn add_group(&mut self, group: Group) {
        self.groups.insert(group.reference().clone(), group);
    }

    /// Forgets a version of a group's roster: messages to it are refused from now on.
    pub fn remove_group(&mut self, group: &GroupRef) {
        self.groups.remove(group);
    }

    /// Opens a message.
    ///
    /// # Errors
    /// As [`open`](crate::open()).
    pub fn open(&self, bytes: &[u8], now: Timestamp) -> Result<Opened, OpenError> {
        open(bytes, &self.agent, &mut Turn { receiver: self, now }, now, self.times)
    }

    fn window(&self) -> MutexGuard<'_, ReplayWindow> {
        // No change to the window is left half done by a panic: it has none.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One message's way through a receiver.
struct Turn<'a, R> {
    receiver: &'a DirectReceiver<R>,
    now: Timestamp,
}

impl<R: Rules> Receiving for Turn<'_, R> {
    fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> Result<VerifyingKey, Refusal> {
        self.receiver.directory.sender_key(from, kid, now)
    }

    fn group(&self, group: &GroupRef) -> Result<&Group, Refusal> {
        self.receiver.groups.get(group).ok_or_else(|| {
            let reason = format!("the receiver knows no such roster: {group}");
            Refusal::new(RefusalCode::RosterUnknown, reason)
        })
    }

    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey> {
        self.receiver.keys.iter().find(|key| key.public().kid() == *kid)
    }

    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.receiver.rules.trusted(message)
    }

    fn seen(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.receiver.window().seen(message)
    }

    fn admit(&mut self, message: &SecureAgentMessage) -> Result<(), Deferred> {
        self.receiver.rules.admit(message)
    }

    fn claim(&mut self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.receiver.window().claim(message, self.now)
    }
}
