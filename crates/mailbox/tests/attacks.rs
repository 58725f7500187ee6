//! What somebody tries who copies, edits or floods the store, or whose clock lies.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::fs;
use std::future::Future as _;
use std::time::Duration;

use common::*;
use sealwire_envelope::{Draft, Group, MessageType, Nonce, Sender, To, seal};
use sealwire_mailbox::{
    Letter, MemoryTransport, Recipient, SecureAgentChannel, SqliteTransport, Transport,
    TransportError,
};
use sealwire_names::{Refusal, RefusalCode};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_clock_that_was_a_year_ahead_for_a_while_does_not_close_the_mailbox() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    let original = letter(&time, "A", &["B"], 1, 0);
    store.put(original.clone()).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();

    time.forward(365 * DAY);
    store.take(&agent("B"), 1).await.unwrap();
    time.back(365 * DAY);

    // What was forgotten meanwhile stays refused.
    store.put(original).await.unwrap();
    let copy = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    let refused = deliver(&store, &copy).await.unwrap_err();
    assert_eq!(code(&refused), RefusalCode::MessageExpired);
    store.bury(&copy.lease, refused.refusal().unwrap().clone()).await.unwrap();
    // What could not have been forgotten is taken.
    time.forward(Duration::from_secs(1));
    store.put(letter(&time, "A", &["B"], 2, 0)).await.unwrap();
    assert_eq!(text(&receive(&store, "B").await.0), "A 2");
}

#[tokio::test]
async fn mail_that_expires_in_its_receivers_hands_can_be_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    time.forward(2 * DAY);
    // Any transaction does the upkeep; the lease is held as long as this process lives.
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    let held = "UPDATE mail_lease SET until = 9000000000000";
    database.execute_batch(held).unwrap();
    store.put(letter(&time, "A", &["C"], 2, 0)).await.unwrap();
    store.acknowledge(&taken.lease).await.unwrap();
    assert!(store.dead_letters(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn mail_of_a_restored_database_is_not_pushed_out_by_what_is_refused_later() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let mut options = time.options();
    options.max_dead = 3;
    let store = open(&path, options.clone());
    for number in 1..=20 {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
    }
    drop(store);
    settle(&path);
    fs::remove_file(home.path().join("state.db-mail/witness")).unwrap();

    let store = open(&path, options);
    let lost = store.dead_letters(None).await.unwrap();
    assert_eq!(lost.len(), 20);
    time.forward(Duration::from_secs(400));
    let refusal = Refusal::new(RefusalCode::NotTrusted, "a test");
    for number in 100..=110 {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
        let taken = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
        store.bury(&taken.lease, refusal.clone()).await.unwrap();
    }
    let dead = store.dead_letters(None).await.unwrap();
    let (kept, other): (Vec<_>, Vec<_>) =
        dead.iter().partition(|letter| letter.code == "replay_state_lost");
    assert_eq!(kept.len(), 20, "they wait for the operator");
    assert_eq!(other.len(), 3, "others are bounded as ever");
    for letter in lost {
        assert!(store.release_dead_letter(letter.number).await.unwrap());
    }
    assert_eq!(text(&receive(&store, "B").await.0), "A 1");
}

#[tokio::test]
async fn a_copy_from_just_before_an_acknowledgement_is_found_out() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    settle(&path);
    let copy = fs::read(&path).unwrap();
    store.acknowledge(&taken.lease).await.unwrap();
    drop(store);
    settle(&path);
    fs::write(&path, copy).unwrap();

    let store = open(&path, time.options());
    assert!(store.take(&agent("B"), 1).await.unwrap().taken.is_empty(), "it was acknowledged");
    assert_eq!(store.dead_letters(None).await.unwrap()[0].code, "replay_state_lost");
}

/// C's channel, and a message of A's to the group `crew`, in which C is, in C's mailbox.
async fn to_the_crew(members: &[&str]) -> (SecureAgentChannel<SqliteTransport>, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    let group = Group::new(agent("crew"), 1, members.iter().map(|name| agent(name)));
    let mut of_c = settings(&["A", "B", "C"], time.now()).remove(2);
    of_c.groups = vec![group.clone()];
    let c = SecureAgentChannel::new(of_c, store.clone());

    let (keys_of_a, _) = keys("A", time.now());
    let others: Vec<_> = group.receivers(&keys_of_a.agent).cloned().collect();
    let bundles: Vec<_> = others.iter().map(|name| keys(name.as_str(), time.now()).1).collect();
    let sender = Sender { agent: &keys_of_a.agent, key: &keys_of_a.signing };
    let draft = Draft::new(MessageType::StatusUpdate, b"hello");
    let to = To::Group(&group, &bundles.iter().collect::<Vec<_>>());
    let message = seal(&draft, &sender, &to, Nonce { epoch: 1, seq: 1 }, time.now()).unwrap();
    store.put(Letter { message, to: vec![agent("C")] }).await.unwrap();
    (c, home)
}

#[tokio::test]
async fn nobody_speaks_to_a_group_that_he_is_not_in() {
    let (c, _home) = to_the_crew(&["A", "B", "C"]).await;
    assert!(c.try_receive().await.unwrap().is_some());
    let (c, _home) = to_the_crew(&["B", "C"]).await;
    let mut of_a = settings(&["A", "B", "C"], Time::new().now()).remove(0);
    of_a.groups = vec![Group::new(agent("crew"), 1, ["B", "C"].map(agent))];
    let a = SecureAgentChannel::new(of_a, c.transport().clone());
    let draft = Draft::new(MessageType::StatusUpdate, b"hello");
    let sent = a.send_secure(Recipient::Group(agent("crew")), &draft).await.unwrap_err();
    assert!(sent.to_string().contains("not a member"), "{sent}");
    assert!(c.try_receive().await.unwrap().is_none());
    assert_eq!(c.transport().dead_letters(None).await.unwrap()[0].code, "not_trusted");
}

#[tokio::test]
async fn records_that_somebody_spoilt_do_not_stop_the_rest() {
    for spoilt in [
        "sender = 'no name'",
        "message_id = x'00'",
        "key = x''",
        "bytes = NULL",
        "bytes = zeroblob(2000000)",
        "bytes = x'd284'",
        "body = 77, bytes = NULL",
    ] {
        let home = tempfile::tempdir().unwrap();
        let (time, path) = (Time::new(), home.path().join("state.db"));
        let store = open(&path, time.options());
        let mut all = settings(&["A", "B"], time.now()).into_iter();
        let a = SecureAgentChannel::new(all.next().unwrap(), store.clone());
        let b = SecureAgentChannel::new(all.next().unwrap(), store.clone());
        a.send_secure(agent("B"), &Draft::new(MessageType::StatusUpdate, b"1")).await.unwrap();
        a.send_secure(agent("B"), &Draft::new(MessageType::StatusUpdate, b"2")).await.unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute(&format!("UPDATE mail_record SET {spoilt} WHERE id = 1"), []).unwrap();

        let delivery = b.receive_secure().await.unwrap_or_else(|e| panic!("{spoilt}: {e}"));
        assert_eq!(delivery.content(), b"2", "{spoilt}");
        delivery.ack().await.unwrap();
        assert_eq!(store.waiting(agent("B")).await.unwrap(), 0, "{spoilt}");
        let dead = store.dead_letters(None).await.unwrap_or_else(|e| panic!("{spoilt}: {e}"));
        for letter in dead {
            assert!(store.remove_dead_letter(letter.number).await.unwrap(), "{spoilt}");
        }
        // The books are right: whatever comes later is counted.
        a.send_secure(agent("B"), &Draft::new(MessageType::StatusUpdate, b"3")).await.unwrap();
        assert_eq!(store.waiting(agent("B")).await.unwrap(), 1, "{spoilt}");
    }
}

#[tokio::test]
async fn a_receiver_that_gives_up_often_does_not_make_a_dead_letter() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_deliveries = 2;
    let store = open(&home.path().join("state.db"), options);
    let mut all = settings(&["A", "B"], time.now()).into_iter();
    let a = SecureAgentChannel::new(all.next().unwrap(), store.clone());
    let b = SecureAgentChannel::new(all.next().unwrap(), store.clone());
    a.send_secure(agent("B"), &Draft::new(MessageType::StatusUpdate, b"1")).await.unwrap();
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    database.busy_timeout(Duration::from_secs(30)).unwrap();
    for _ in 0..5 {
        let mut receiving = Box::pin(b.receive_secure());
        // It asks to take, and then to deliver. Whatever it asks for is done, and the second
        // answer is not heard.
        for _ in 0..2 {
            let poll = std::future::poll_fn(|context| {
                std::task::Poll::Ready(receiving.as_mut().poll(context).is_ready())
            });
            // The answer cannot come before it is waited for.
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(!poll.await);
            database.execute_batch("COMMIT").unwrap();
            settled(&store).await;
        }
        drop(receiving);
    }
    assert!(store.dead_letters(None).await.unwrap().is_empty(), "nobody was given it");
    assert_eq!(b.receive_secure().await.unwrap().content(), b"1");
}

#[tokio::test]
async fn whoever_lost_a_lease_neither_delivers_nor_buries() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (stopped, other) = (open(&path, time.options()), open(&path, time.options()));
    stopped.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let stale = stopped.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    // Its lease ends, as if the process had been stopped for so long.
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("UPDATE mail_lease SET until = 0").unwrap();
    let (taken, _) = receive(&other, "B").await;
    let lost = |result| matches!(result, Err(TransportError::LeaseLost));
    assert!(lost(deliver(&stopped, &stale).await.map(drop)));
    let refusal = Refusal::new(RefusalCode::NotTrusted, "a test");
    assert!(lost(stopped.bury(&stale.lease, refusal).await));
    assert!(lost(stopped.release(&stale.lease, time.now()).await));
    assert!(lost(stopped.acknowledge(&stale.lease).await));
    other.acknowledge(&taken.lease).await.unwrap();
}

#[tokio::test]
async fn mail_that_would_have_to_be_remembered_for_too_long_is_refused_on_receipt_too() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let mut options = time.options();
    options.retention = DAY / 2;
    let (sender, receiver) = (open(&path, time.options()), open(&path, options));
    sender.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let taken = receiver.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    let refused = deliver(&receiver, &taken).await.unwrap_err();
    assert_eq!(code(&refused), RefusalCode::MessageLifetime);
}

#[tokio::test]
async fn an_old_lease_does_not_end_a_new_one() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let old = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    store.abandon(&old.lease);
    let (new, _) = receive(&store, "B").await;
    let released = store.release(&old.lease, time.now()).await;
    assert!(matches!(released, Err(TransportError::LeaseLost)));
    store.acknowledge(&new.lease).await.unwrap();
}

#[tokio::test]
async fn an_old_lease_is_never_about_a_later_message() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (stopped, other) = (open(&path, time.options()), open(&path, time.options()));
    stopped.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let (old, _) = receive(&stopped, "B").await;
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("UPDATE mail_lease SET until = 0").unwrap();
    let (taken, _) = receive(&other, "B").await;
    other.acknowledge(&taken.lease).await.unwrap();

    // The mailbox is empty, and yet the next message is another one, for anybody.
    for to in ["B", "C"] {
        stopped.put(letter(&time, "A", &[to], 2, 0)).await.unwrap();
        let (new, _) = receive(&stopped, to).await;
        assert_ne!(new.lease, old.lease);
        assert!(matches!(stopped.acknowledge(&old.lease).await, Err(TransportError::LeaseLost)));
        stopped.bury(&new.lease, Refusal::new(RefusalCode::NotTrusted, "a test")).await.unwrap();
        let dead = stopped.dead_letters(Some(agent(to))).await.unwrap();
        assert!(stopped.remove_dead_letter(dead[0].number).await.unwrap());
        assert!(!stopped.remove_dead_letter(dead[0].number).await.unwrap());
    }
}

#[tokio::test]
async fn another_stores_witness_tells_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    settle(&path);
    let copy = fs::read(&path).unwrap();
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();
    drop(store);
    settle(&path);
    fs::write(&path, copy).unwrap();
    // One that has seen nothing yet, so that nothing seems to be missing.
    let other = home.path().join("other.db");
    drop(open(&other, time.options()));
    let witness = "witness";
    fs::copy(
        home.path().join("other.db-mail").join(witness),
        home.path().join("state.db-mail").join(witness),
    )
    .unwrap();

    let store = open(&path, time.options());
    assert!(store.take(&agent("B"), 1).await.unwrap().taken.is_empty());
    assert_eq!(store.dead_letters(None).await.unwrap()[0].code, "replay_state_lost");
    // A sender whose clock is ahead, as far as may be, could have sent this before the loss.
    let mut ahead = letter(&time, "A", &["C"], 2, 0);
    ahead.message.timestamp =
        sealwire_names::Timestamp::from_unix_millis(time.now().unix_millis() + 300_000);
    store.put(ahead).await.unwrap();
    let taken = store.take(&agent("C"), 1).await.unwrap().taken.remove(0);
    let refused = deliver(&store, &taken).await.unwrap_err();
    assert_eq!(code(&refused), RefusalCode::ReplayStateLost);
}

#[tokio::test]
async fn a_clock_put_back_during_a_restore_opens_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    drop(open(&path, time.options()));
    settle(&path);
    let copy = fs::read(&path).unwrap();
    let store = open(&path, time.options());
    let original = letter(&time, "A", &["B"], 1, 0);
    store.put(original.clone()).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();
    drop(store);
    settle(&path);
    fs::write(&path, copy).unwrap();

    time.back(Duration::from_secs(600));
    drop(open(&path, time.options()));
    time.forward(Duration::from_secs(600));
    let store = open(&path, time.options());
    store.put(original).await.unwrap();
    let again = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    let refused = deliver(&store, &again).await.unwrap_err();
    assert_eq!(code(&refused), RefusalCode::ReplayStateLost);
}

#[tokio::test]
async fn a_message_from_before_the_process_is_not_taken_in_memory() {
    let time = Time::new();
    let before = letter(&time, "A", &["B"], 1, 0);
    time.forward(Duration::from_secs(2));
    let memory = MemoryTransport::with_capacity(9, time.clock());
    memory.put(before).await.unwrap();
    let taken = memory.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    let refused = deliver(&memory, &taken).await.unwrap_err();
    assert_eq!(code(&refused), RefusalCode::MessageBeforeStart);
}

#[tokio::test]
async fn few_large_messages_fill_a_mailbox_too_and_its_dead_letters() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    let size = letter(&time, "A", &["B"], 0, 0).message.as_bytes().len() as u64;
    options.max_bytes = 2 * size;
    let store = open(&home.path().join("state.db"), options);
    let refusal = Refusal::new(RefusalCode::NotTrusted, "a test");
    for number in 1..=4 {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
        let taken = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
        store.bury(&taken.lease, refusal.clone()).await.unwrap();
    }
    assert_eq!(store.dead_letters(None).await.unwrap().len(), 2);
    for from in ["A", "C"] {
        store.put(letter(&time, from, &["B"], 5, 0)).await.unwrap();
    }
    let full = store.put(letter(&time, "A", &["B"], 7, 0)).await.unwrap_err();
    assert_eq!(code(&full), RefusalCode::MailboxFull);
}

/// All that was asked of the store so far is done.
async fn settled(store: &SqliteTransport) {
    store.waiting(agent("nobody")).await.unwrap();
}

fn settle(path: &std::path::Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}
