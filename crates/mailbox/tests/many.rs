//! Many short-lived senders, and many hostile ones.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;

use common::process::{be_agent_if_told, command, short_leases, soak};
use common::{Time, agent, open, settings};
use sealwire_envelope::{Draft, KeyId, MessageType, SecureAgentMessage};
use sealwire_mailbox::{
    Clock, Letter, MemoryTransport, SecureAgentChannel, SqliteTransport, Transport,
};

#[test]
fn agent_process() {
    be_agent_if_told();
}

#[tokio::test]
async fn senders_that_live_for_one_message_stay_accepted() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("state.db");
    let senders = soak(1_000, 10_000);
    let mut running = std::collections::VecDeque::new();
    for number in 0..senders {
        if running.len() == 8 {
            finish(running.pop_front().unwrap());
        }
        let role = format!("send A {number} 1");
        running.push_back(command(&database, &role).stdout(Stdio::null()).spawn().unwrap());
    }
    running.into_iter().for_each(finish);

    let all = settings(&["A", "B", "C"], Clock::system().now());
    let store = open(&database, short_leases());
    let mut channels =
        all.into_iter().map(|settings| SecureAgentChannel::new(settings, store.clone()));
    let b = channels.nth(1).unwrap();
    let (mut numbers, mut epochs) = (Vec::new(), BTreeMap::new());
    let mut acks = tokio::task::JoinSet::new();
    while let Some(delivery) = b.try_receive().await.unwrap() {
        numbers.push(std::str::from_utf8(delivery.content()).unwrap().parse::<u64>().unwrap());
        let nonce = delivery.message().nonce;
        epochs.entry(nonce.epoch).or_insert_with(Vec::new).push(nonce.seq);
        acks.spawn(delivery.ack());
    }
    acks.join_all().await.into_iter().for_each(|acknowledged| drop(acknowledged.unwrap()));
    assert!(store.dead_letters(None).await.unwrap().is_empty());
    numbers.sort_unstable();
    assert_eq!(numbers, (0..senders).collect::<Vec<_>>());
    assert_eq!(epochs.len(), 1, "each process began an epoch of its own");
    for seqs in epochs.values_mut() {
        seqs.sort_unstable();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "a number was used twice");
    }
}

fn finish(mut child: std::process::Child) {
    assert!(child.wait().unwrap().success());
}

/// A message from B as of `number` other keys: nothing but the key id differs.
async fn genuine(store: &SqliteTransport, time: &Time) -> SecureAgentMessage {
    let a = SecureAgentChannel::new(settings(&["A", "B"], time.now()).remove(0), store.clone());
    a.send_secure(agent("B"), &Draft::new(MessageType::StatusUpdate, b"x")).await.unwrap();
    let round = store.take(&agent("B"), 1).await.unwrap();
    let refusal = sealwire_names::Refusal::new(sealwire_names::RefusalCode::NotTrusted, "a test");
    store.bury(&round.taken[0].lease, refusal).await.unwrap();
    store.remove_dead_letter(store.dead_letters(None).await.unwrap()[0].number).await.unwrap();
    SecureAgentMessage::decode(&round.taken[0].bytes).unwrap()
}

fn from_key(message: &SecureAgentMessage, number: u64) -> SecureAgentMessage {
    let kid = message.sender_kid;
    let mut bytes = message.as_bytes().to_vec();
    let at = bytes.windows(32).position(|window| window == kid.as_bytes()).unwrap();
    bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
    let hostile = SecureAgentMessage::decode(&bytes).unwrap();
    assert_ne!(hostile.sender_kid, KeyId::from_bytes([0; 32]));
    hostile
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a_hundred_thousand_keys_that_nobody_knows_leave_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_dead = 100;
    let store = open(&home.path().join("state.db"), options);
    let template = genuine(&store, &time).await;

    let memory = MemoryTransport::with_capacity(1_000, time.clock());
    let b = |transport| {
        let settings = settings(&["A", "B"], time.now()).remove(1);
        SecureAgentChannel::new(settings, transport)
    };
    let receiver = b(memory.clone());
    let before = resident();
    for number in 0..100_000 {
        let message = from_key(&template, number);
        memory.put(Letter { message, to: vec![agent("B")] }).await.unwrap();
        if number % 1_000 == 999 {
            assert!(receiver.try_receive().await.unwrap().is_none());
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before");

    let receiver =
        SecureAgentChannel::new(settings(&["A", "B"], time.now()).remove(1), store.clone());
    for number in 0..soak(500, 100_000) {
        let message = from_key(&template, number);
        store.put(Letter { message, to: vec![agent("B")] }).await.unwrap();
        if number % 250 == 249 {
            assert!(receiver.try_receive().await.unwrap().is_none());
        }
    }
    let dead = store.dead_letters(None).await.unwrap();
    assert_eq!(dead.len(), 100);
    assert!(dead.iter().all(|letter| letter.code == "sender_key_unknown"), "{dead:?}");
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    let remembered: i64 =
        database.query_row("SELECT count(*) FROM mail_replay", [], |row| row.get(0)).unwrap();
    assert_eq!(remembered, 0, "nothing is recorded against a sender whose signature nobody saw");
}
