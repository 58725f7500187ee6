//! What the tests of the store share.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sealwire_mailbox::{
    Clock, Delivered, Label, Letter, Round, SqliteOptions, SqliteTransport, Taken, Transport,
    TransportError,
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

/// Message `number` of `from`, which lives for a day.
pub fn letter(time: &Time, from: &str, to: &[&str], number: u64, priority: u8) -> Letter {
    let mut message_id = [0; 16];
    message_id[..8].copy_from_slice(&number.to_be_bytes());
    let mut key = [0; 32];
    key[..from.len()].copy_from_slice(from.as_bytes());
    let label = Label {
        from: agent(from),
        key,
        message_id,
        priority,
        issued: time.now(),
        expires: Timestamp::from_unix_millis(time.now().unix_millis() + 86_400_000),
    };
    let to = to.iter().map(|name| agent(name)).collect();
    Letter { bytes: format!("{from} {number}").into_bytes().into(), to, label }
}

pub fn text(taken: &Taken) -> String {
    String::from_utf8(taken.bytes.to_vec()).unwrap()
}

pub fn texts(round: &Round) -> Vec<String> {
    round.taken.iter().map(text).collect()
}

pub async fn deliver(
    transport: &impl Transport,
    taken: &Taken,
) -> Result<Delivered, TransportError> {
    transport.deliver(&taken.lease, &taken.label).await
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
