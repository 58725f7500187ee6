//! Two agents, or more, that know each other, and a receiver with a replay window.

use std::collections::HashMap;
use std::time::Duration;

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::*;

/// When the tests take place.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_359_845);
pub(crate) const HOUR: i64 = 3_600;

pub(crate) fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

pub(crate) fn later(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.unix_seconds() + seconds)
}

/// An agent with its keys.
pub(crate) struct Agent {
    pub(crate) name: AgentId,
    pub(crate) signing: SigningKey,
    pub(crate) recipient: RecipientKey,
    pub(crate) bundle: Bundle,
}

impl Agent {
    pub(crate) fn new(name: &str) -> Self {
        Self::valid(name, later(-HOUR), later(90 * 24 * HOUR))
    }

    pub(crate) fn valid(name: &str, not_before: Timestamp, not_after: Timestamp) -> Self {
        let signing = SigningKey::generate().unwrap();
        let recipient = RecipientKey::generate().unwrap();
        let request = BundleRequest { agent: agent(name), number: 1, not_before, not_after };
        let bytes = Bundle::make(&request, &signing, recipient.public()).unwrap();
        let bundle = Bundle::decode(&bytes).unwrap();
        Self { name: agent(name), signing, recipient, bundle }
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender { agent: &self.name, key: &self.signing }
    }

    /// A message to one other agent, with number `seq` of epoch 1.
    pub(crate) fn seal(&self, content: &[u8], to: &Self, seq: u64) -> SecureAgentMessage {
        let draft = Draft::new(MessageType::TaskRequest, content);
        self.seal_draft(&draft, &To::Agent(&to.bundle), seq)
    }

    pub(crate) fn seal_draft(
        &self,
        draft: &Draft<'_>,
        to: &To<'_>,
        seq: u64,
    ) -> SecureAgentMessage {
        seal(draft, &self.sender(), to, Nonce { epoch: 1, seq }, NOW).unwrap()
    }
}

/// A receiver: believes everybody it knows, and lets through `budget` messages.
pub(crate) struct Receiver<'a> {
    pub(crate) me: &'a Agent,
    pub(crate) directory: Directory,
    pub(crate) groups: HashMap<GroupRef, Group>,
    pub(crate) window: ReplayWindow,
    pub(crate) now: Timestamp,
    pub(crate) times: TimeRule,
    pub(crate) distrusted: Option<AgentId>,
    pub(crate) budget: usize,
    /// Which of the questions were asked.
    pub(crate) asked: std::cell::RefCell<Vec<&'static str>>,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(me: &'a Agent, known: &[&Agent]) -> Self {
        let mut directory = Directory::new();
        known.iter().for_each(|other| directory.vouch(other.bundle.clone()).unwrap());
        Self {
            me,
            directory,
            groups: HashMap::new(),
            window: ReplayWindow::new(ReplayLimits::default(), later(-HOUR)),
            now: NOW,
            times: TimeRule::DIRECT,
            distrusted: None,
            budget: usize::MAX,
            asked: std::cell::RefCell::default(),
        }
    }

    pub(crate) fn open(&mut self, bytes: &[u8]) -> Result<Opened, OpenError> {
        let (now, times) = (self.now, self.times);
        open(bytes, &self.me.name.clone(), self, now, times)
    }

    /// The code it refuses these bytes with.
    pub(crate) fn refuses(&mut self, bytes: &[u8]) -> RefusalCode {
        match self.open(bytes) {
            Err(OpenError::Refused(refusal)) => refusal.code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

impl Receiving for Receiver<'_> {
    fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> Result<VerifyingKey, Refusal> {
        self.asked.borrow_mut().push("sender_key");
        self.directory.sender_key(from, kid, now)
    }

    fn group(&self, group: &GroupRef) -> Result<&Group, Refusal> {
        let unknown = || Refusal::new(RefusalCode::RosterUnknown, format!("{group} is not known"));
        self.groups.get(group).ok_or_else(unknown)
    }

    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey> {
        Some(&self.me.recipient).filter(|key| key.public().kid() == *kid)
    }

    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.asked.borrow_mut().push("trusted");
        if self.distrusted.as_ref() == Some(&message.from) {
            return Err(Refusal::new(RefusalCode::NotTrusted, "not in the matrix"));
        }
        Ok(())
    }

    fn seen(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.asked.borrow_mut().push("seen");
        self.window.seen(message)
    }

    fn admit(&mut self, message: &SecureAgentMessage) -> Result<(), Deferred> {
        self.asked.borrow_mut().push("admit");
        if self.budget == 0 {
            return Err(Deferred { from: message.from.clone(), wait: Duration::from_secs(1) });
        }
        self.budget -= 1;
        Ok(())
    }

    fn claim(&mut self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.asked.borrow_mut().push("claim");
        self.window.claim(message, self.now)
    }
}
