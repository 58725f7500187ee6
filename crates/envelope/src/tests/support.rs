//! Agents that know each other, receivers for them, and hands that forge.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::header::Header;
use crate::layers::{self, Encrypted, Recipient, Signed};
use crate::message::Parsed;
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
        Self::with_bundle(name, 1, later(-HOUR), later(90 * 24 * HOUR))
    }

    pub(crate) fn with_bundle(
        name: &str,
        number: u64,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Self {
        let (signing, recipient) =
            (SigningKey::generate().unwrap(), RecipientKey::generate().unwrap());
        let request = BundleRequest { agent: agent(name), number, not_before, not_after };
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
        self.seal_at(draft, to, Nonce { epoch: 1, seq }, NOW)
    }

    pub(crate) fn seal_at(
        &self,
        draft: &Draft<'_>,
        to: &To<'_>,
        nonce: Nonce,
        now: Timestamp,
    ) -> SecureAgentMessage {
        seal(draft, &self.sender(), to, nonce, now).unwrap()
    }

    /// A receiver that started an hour ago and believes `known`.
    pub(crate) fn receiver(&self, known: &[&Self]) -> DirectReceiver<Everybody> {
        self.receiver_since(known, later(-HOUR), ReplayLimits::default())
    }

    pub(crate) fn receiver_since(
        &self,
        known: &[&Self],
        since: Timestamp,
        limits: ReplayLimits,
    ) -> DirectReceiver<Everybody> {
        let mut directory = Directory::new();
        known.iter().for_each(|other| directory.vouch(other.bundle.clone()).unwrap());
        let key = RecipientKey::from_bytes(&self.recipient.to_bytes()).unwrap();
        let rules = Everybody { budget: AtomicUsize::new(usize::MAX), distrusted: None };
        DirectReceiver::new(self.name.clone(), vec![key], directory, rules, limits, since)
    }
}

/// Lets `budget` messages pass, of everybody but one.
#[derive(Debug)]
pub(crate) struct Everybody {
    pub(crate) budget: AtomicUsize,
    pub(crate) distrusted: Option<AgentId>,
}

impl Rules for Everybody {
    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        if self.distrusted.as_ref() == Some(&message.from) {
            return Err(Refusal::new(RefusalCode::NotTrusted, "not in the matrix"));
        }
        Ok(())
    }

    fn admit(&self, message: &SecureAgentMessage) -> Result<(), Deferred> {
        let take = |left: usize| left.checked_sub(1);
        let taken = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let wait = Duration::from_secs(1);
        taken.map(|_| ()).map_err(|_| Deferred { from: message.from.clone(), wait })
    }
}

/// The code with which these bytes are refused.
pub(crate) fn refused<R: Rules>(receiver: &DirectReceiver<R>, bytes: &[u8]) -> RefusalCode {
    refused_at(receiver, bytes, NOW)
}

pub(crate) fn refused_at<R: Rules>(
    receiver: &DirectReceiver<R>,
    bytes: &[u8],
    now: Timestamp,
) -> RefusalCode {
    match receiver.open(bytes, now) {
        Err(OpenError::Refused(refusal)) => {
            assert!(!refusal.reason.is_empty());
            refusal.code
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// A message taken apart, to be put together in another way.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) header: Header,
    pub(crate) iv: [u8; 12],
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) recipients: Vec<Recipient>,
    signature: [u8; 64],
}

impl Forged {
    pub(crate) fn of(message: &SecureAgentMessage) -> Self {
        let Parsed { signed, header, encrypted } = Parsed::decode(message.as_bytes()).unwrap();
        Self {
            header,
            iv: encrypted.iv,
            ciphertext: encrypted.ciphertext.to_vec(),
            recipients: encrypted.recipients,
            signature: signed.signature,
        }
    }

    pub(crate) fn with(message: &SecureAgentMessage, change: impl FnOnce(&mut Self)) -> Self {
        let mut forged = Self::of(message);
        change(&mut forged);
        forged
    }

    fn payload(&self) -> Vec<u8> {
        let recipients = layers::encode_recipients(&self.recipients);
        Encrypted::encode(&self.iv, &self.ciphertext, &recipients)
    }

    /// With the signature as it was.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        Signed::encode(&self.header.encode(), &self.payload(), &self.signature)
    }

    /// With a new signature.
    pub(crate) fn signed(&self, key: &SigningKey) -> Vec<u8> {
        let (protected, payload) = (self.header.encode(), self.payload());
        let signature = key.sign(&layers::message_to_be_signed(&protected, &payload)).unwrap();
        Signed::encode(&protected, &payload, &signature)
    }

    /// Makes the header have the digest of the recipients there are.
    pub(crate) fn redigest(&mut self) {
        self.header.recipients_digest =
            crate::ids::sha256(&[&layers::encode_recipients(&self.recipients)]);
    }
}

/// A [`Receiving`] that says yes, and notes what it was asked.
pub(crate) struct Asked<'a> {
    pub(crate) me: &'a Agent,
    pub(crate) from: &'a Agent,
    pub(crate) asked: std::cell::RefCell<Vec<&'static str>>,
    pub(crate) groups: HashMap<GroupRef, Group>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(me: &'a Agent, from: &'a Agent) -> Self {
        Self { me, from, asked: std::cell::RefCell::default(), groups: HashMap::new() }
    }

    fn note(&self, question: &'static str) {
        self.asked.borrow_mut().push(question);
    }
}

impl Receiving for Asked<'_> {
    fn sender_key(&self, _: &AgentId, _: &KeyId, _: Timestamp) -> Result<VerifyingKey, Refusal> {
        self.note("sender_key");
        Ok(*self.from.signing.verifying_key())
    }

    fn group(&self, group: &GroupRef) -> Result<&Group, Refusal> {
        self.note("group");
        Ok(&self.groups[group])
    }

    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey> {
        self.note("recipient_key");
        Some(&self.me.recipient).filter(|key| key.public().kid() == *kid)
    }

    fn trusted(&self, _: &SecureAgentMessage) -> Result<(), Refusal> {
        self.note("trusted");
        Ok(())
    }

    fn seen(&self, _: &SecureAgentMessage) -> Result<(), Refusal> {
        self.note("seen");
        Ok(())
    }

    fn admit(&mut self, _: &SecureAgentMessage) -> Result<(), Deferred> {
        self.note("admit");
        Ok(())
    }

    fn claim(&mut self, _: &SecureAgentMessage) -> Result<(), Refusal> {
        self.note("claim");
        Ok(())
    }
}
