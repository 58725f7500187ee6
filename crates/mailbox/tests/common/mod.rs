//! What the tests of the store share.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, none of which uses all")]

pub mod process;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sealwire_envelope::{
    Bundle, BundleRequest, Draft, KeyId, MessageId, MessageType, Nonce, RecipientKey,
    SecureAgentMessage, Sender, SigningKey, To, seal,
};
use sealwire_mailbox::{
    AgentKeys, ChannelSettings, Clock, Delivered, Letter, Round, SqliteOptions, SqliteTransport,
    Taken, Transport, TransportError,
};
use sealwire_names::{AgentId, RefusalCode, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct Time(Arc<AtomicI64>);

impl Time {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    pub fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_unix_millis(time.load(Ordering::SeqCst)))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }

    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    pub fn back(&self, by: Duration) {
        self.0.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
    }

    pub fn options(&self) -> SqliteOptions {
        let mut options = SqliteOptions::default();
        options.clock = self.clock();
        options
    }
}

pub fn open(database: &Path, options: SqliteOptions) -> SqliteTransport {
    SqliteTransport::open(database, options).unwrap()
}

pub fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

/// An agent's keys, which are the same each time, and the bundle by which others know it.
pub fn keys(name: &str, now: Timestamp) -> (AgentKeys, Bundle) {
    let secret = |filler| {
        let mut bytes = [filler; 32];
        // The first byte of an X25519 key is not all its own.
        bytes[1..=name.len()].copy_from_slice(name.as_bytes());
        bytes
    };
    let signing = SigningKey::from_seed(&secret(1)).unwrap();
    let recipient = RecipientKey::from_bytes(&secret(2)).unwrap();
    let agent = agent(name);
    let day = 86_400;
    let not_before = Timestamp::from_unix_seconds(now.unix_seconds() - day);
    let not_after = Timestamp::from_unix_seconds(now.unix_seconds() + 200 * day);
    let request = BundleRequest { agent: agent.clone(), number: 1, not_before, not_after };
    let bundle = Bundle::make(&request, &signing, recipient.public()).unwrap();
    (AgentKeys { agent, signing, recipients: vec![recipient] }, Bundle::decode(&bundle).unwrap())
}

/// Settings of each agent, with the others known and everybody allowed to write to everybody.
pub fn settings(names: &[&str], now: Timestamp) -> Vec<ChannelSettings> {
    let (keys, bundles): (Vec<_>, Vec<_>) = names.iter().map(|name| keys(name, now)).unzip();
    let settings = |keys| {
        let mut settings = ChannelSettings::new(keys);
        for (name, bundle) in names.iter().zip(&bundles) {
            settings.directory.vouch(bundle.clone()).unwrap();
            settings.trust.allow(agent(name), sealwire_guard::Partners::Everybody);
        }
        settings
    };
    keys.into_iter().map(settings).collect()
}

/// What the store sees of message `number` of `from`, which lives for a day. The bytes are those
/// of another message; the store does not read them.
pub fn letter(time: &Time, from: &str, to: &[&str], number: u64, priority: u8) -> Letter {
    static TEMPLATE: LazyLock<SecureAgentMessage> = LazyLock::new(|| {
        let now = Time::new().now();
        let (sender, _) = keys("S", now);
        let (_, receiver) = keys("R", now);
        let draft = Draft::new(MessageType::StatusUpdate, b"content");
        let sender = Sender { agent: &sender.agent, key: &sender.signing };
        seal(&draft, &sender, &To::Agent(&receiver), Nonce { epoch: 1, seq: 1 }, now).unwrap()
    });
    let mut message_id = [0; 16];
    message_id[..8].copy_from_slice(&number.to_be_bytes());
    let mut key = [0; 32];
    key[..from.len()].copy_from_slice(from.as_bytes());
    let mut message = TEMPLATE.clone();
    message.from = agent(from);
    message.sender_kid = KeyId::from_bytes(key);
    message.metadata.message_id = MessageId::from_bytes(message_id);
    message.metadata.priority = priority;
    message.timestamp = time.now();
    message.expires = Timestamp::from_unix_millis(time.now().unix_millis() + 86_400_000);
    Letter { message, to: to.iter().map(|name| agent(name)).collect() }
}

/// The message that the store says this is, as it was when its signature held.
pub fn message(taken: &Taken) -> SecureAgentMessage {
    let mut message = SecureAgentMessage::decode(&taken.bytes).unwrap();
    message.from = taken.label.from.clone();
    message.sender_kid = taken.label.key;
    message.metadata.message_id = taken.label.message_id;
    message.timestamp = taken.label.issued;
    message.expires = taken.label.expires;
    message
}

/// Sender and number.
pub fn text(taken: &Taken) -> String {
    let number: [u8; 8] = taken.label.message_id.as_bytes()[..8].try_into().unwrap();
    format!("{} {}", taken.label.from, u64::from_be_bytes(number))
}

pub fn texts(round: &Round) -> Vec<String> {
    round.taken.iter().map(text).collect()
}

pub async fn deliver(
    transport: &impl Transport,
    taken: &Taken,
) -> Result<Delivered, TransportError> {
    transport.deliver(&taken.lease, &message(taken)).await
}

/// Takes one message, and delivers it.
pub async fn receive(transport: &impl Transport, to: &str) -> (Taken, bool) {
    let round = transport.take(&agent(to), 1).await.unwrap();
    let taken = round.taken.into_iter().next().expect("there is a message");
    let delivered = deliver(transport, &taken).await.unwrap();
    (taken, delivered.redelivered)
}

pub fn code(error: &TransportError) -> RefusalCode {
    error.refusal().unwrap_or_else(|| panic!("no refusal: {error}")).code
}
