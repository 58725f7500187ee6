//! The SQLite store as two or more processes see it: each `SqliteTransport` has a connection, a
//! thread and locks of its own, as a process has.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::fs;
use std::time::Duration;

use common::{Time, agent, code, deliver, letter, open, receive, text, texts};
use sealwire_envelope::KeyId;
use sealwire_mailbox::{Seen, SqliteTransport, Stream, Transport, TransportError};
use sealwire_names::RefusalCode;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn order_is_by_priority_then_age() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (sender, receiver) = (open(&path, time.options()), open(&path, time.options()));
    for (number, priority) in [(1, 5), (2, 9), (3, 5), (4, 9), (5, 0)] {
        sender.put(letter(&time, "A", &["B"], number, priority)).await.unwrap();
    }
    let round = receiver.take(&agent("B"), 10).await.unwrap();
    assert_eq!(texts(&round), ["A 2", "A 4", "A 1", "A 3", "A 5"]);
    assert!(receiver.take(&agent("A"), 10).await.unwrap().taken.is_empty());
}

#[tokio::test]
async fn what_one_process_holds_is_not_overtaken_in_another() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (one, two) = (open(&path, time.options()), open(&path, time.options()));
    for (from, number, priority) in [("A", 1, 5), ("A", 2, 5), ("C", 3, 5), ("A", 4, 7)] {
        one.put(letter(&time, from, &["B"], number, priority)).await.unwrap();
    }
    let first = one.take(&agent("B"), 2).await.unwrap();
    assert_eq!(texts(&first), ["A 4", "A 1"]);
    // Not "A 2", which comes after "A 1".
    let second = two.take(&agent("B"), 10).await.unwrap();
    assert_eq!(texts(&second), ["C 3"]);
    assert!(second.due.is_some(), "two knows when one's lease ends");

    let held = &first.taken[1];
    assert_eq!(held.seen, Seen::Never);
    deliver(&one, held).await.unwrap();
    one.acknowledge(&held.lease).await.unwrap();
    assert_eq!(texts(&two.take(&agent("B"), 10).await.unwrap()), ["A 2"]);
}

#[tokio::test]
async fn what_is_put_off_comes_first_when_it_is_due() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    for number in 1..=3 {
        store.put(letter(&time, "A", &["B"], number, 5)).await.unwrap();
    }
    let round = store.take(&agent("B"), 1).await.unwrap();
    let due = sealwire_names::Timestamp::from_unix_millis(time.now().unix_millis() + 2_000);
    store.release(&round.taken[0].lease, due).await.unwrap();
    let round = store.take(&agent("B"), 10).await.unwrap();
    assert_eq!((round.taken.len(), round.due), (0, Some(due)));
    time.forward(2 * SECOND);
    assert_eq!(texts(&store.take(&agent("B"), 10).await.unwrap()), ["A 1", "A 2", "A 3"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_lost_and_the_next_delivery_says_again() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (one, two) = (open(&path, time.options()), open(&path, time.options()));
    one.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let (taken, again) = receive(&one, "B").await;
    assert!(!again);

    time.forward(16 * SECOND);
    let (other, again) = receive(&two, "B").await;
    assert!(again, "the first may have done it");
    assert_eq!(other.seen, Seen::ThisOne);
    let lost = one.acknowledge(&taken.lease).await.unwrap_err();
    assert!(matches!(lost, TransportError::LeaseLost), "{lost}");
    two.acknowledge(&other.lease).await.unwrap();
    let twice = two.acknowledge(&other.lease).await.unwrap_err();
    assert!(matches!(twice, TransportError::LeaseLost), "{twice}");
}

#[tokio::test]
async fn a_clock_put_back_does_not_prolong_the_lease_of_the_dead() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let (killed, other) = (open(&path, time.options()), open(&path, time.options()));
    killed.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    receive(&killed, "B").await;
    time.back(600 * SECOND);
    assert!(receive(&other, "B").await.1, "ten minutes is no lease");
}

#[tokio::test]
async fn what_was_not_delivered_cannot_be_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let taken = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    let early = store.acknowledge(&taken.lease).await.unwrap_err();
    assert!(matches!(early, TransportError::LeaseLost), "{early}");
    deliver(&store, &taken).await.unwrap();
    store.acknowledge(&taken.lease).await.unwrap();
}

#[tokio::test]
async fn abandoned_mail_is_there_again_at_once() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let round = store.take(&agent("B"), 1).await.unwrap();
    store.abandon(&round.taken[0].lease);
    // Never delivered to anybody: not marked.
    assert!(!receive(&store, "B").await.1);
}

#[tokio::test]
async fn a_copy_is_refused_before_and_after_the_original_is_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    for _ in 0..3 {
        store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    }
    let (first, _) = receive(&store, "B").await;
    let copy = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    assert_eq!(copy.seen, Seen::Another);
    assert_eq!(code(&deliver(&store, &copy).await.unwrap_err()), RefusalCode::MessageReplayed);
    store.acknowledge(&first.lease).await.unwrap();
    drop(store);

    let store = open(&path, time.options());
    time.forward(16 * SECOND);
    let round = store.take(&agent("B"), 5).await.unwrap();
    assert_eq!(round.taken.len(), 2);
    for copy in &round.taken {
        assert_eq!(copy.seen, Seen::Another);
        assert_eq!(code(&deliver(&store, copy).await.unwrap_err()), RefusalCode::MessageReplayed);
    }
}

#[tokio::test]
async fn an_id_is_its_senders_own() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    store.put(letter(&time, "Mallory", &["B"], 1, 9)).await.unwrap();
    store.put(letter(&time, "A", &["B", "C"], 1, 0)).await.unwrap();
    assert_eq!(text(&receive(&store, "B").await.0), "Mallory 1");
    assert_eq!(text(&receive(&store, "B").await.0), "A 1");
    assert_eq!(text(&receive(&store, "C").await.0), "A 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_copies_at_once_one_is_delivered() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let stores: Vec<_> = (0..5).map(|_| open(&path, time.options())).collect();
    for _ in 0..50 {
        stores[0].put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    }
    // Held by one process, so that all are out at the same time.
    let round = stores[0].take(&agent("B"), 50).await.unwrap();
    assert_eq!(round.taken.len(), 50);
    let mut tasks = tokio::task::JoinSet::new();
    for taken in round.taken {
        let store = stores[0].clone();
        tasks.spawn(async move { deliver(&store, &taken).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(code(error), RefusalCode::MessageReplayed);
    }
}

#[tokio::test]
async fn a_database_put_back_delivers_nothing_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    for number in 1..=3 {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
    }
    let stream = Stream { key: KeyId::from_bytes([1; 32]), audience: [2; 32] };
    let before = store.number(stream.clone(), 1, time.now()).await.unwrap();
    drop(store);
    settle(&path);
    let copy = fs::read(&path).unwrap();

    let store = open(&path, time.options());
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();
    drop(store);
    settle(&path);
    fs::write(&path, copy).unwrap();

    let store = open(&path, time.options());
    assert!(store.take(&agent("B"), 9).await.unwrap().taken.is_empty());
    let dead = store.dead_letters(Some(agent("B"))).await.unwrap();
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().all(|letter| letter.code == "replay_state_lost"), "{dead:?}");
    let after = store.number(stream, 1, time.now()).await.unwrap();
    assert_ne!(before.epoch, after.epoch, "numbers may have been given out since the copy");

    // An attacker who kept the first message sends it again.
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let kept = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    assert_eq!(code(&deliver(&store, &kept).await.unwrap_err()), RefusalCode::ReplayStateLost);
    store
        .bury(&kept.lease, deliver(&store, &kept).await.unwrap_err().refusal().unwrap().clone())
        .await
        .unwrap();

    // The operator knows that 2 and 3 were not delivered.
    for letter in &dead[1..] {
        assert!(store.release_dead_letter(letter.number).await.unwrap());
    }
    for released in ["A 2", "A 3"] {
        let (taken, _) = receive(&store, "B").await;
        assert_eq!(text(&taken), released);
        store.acknowledge(&taken.lease).await.unwrap();
    }
    // What is made later is as good as ever.
    time.forward(301 * SECOND);
    store.put(letter(&time, "A", &["B"], 4, 0)).await.unwrap();
    assert_eq!(text(&receive(&store, "B").await.0), "A 4");
}

#[tokio::test]
async fn a_copied_database_delivers_nothing_by_itself_wherever_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    drop(store);
    settle(&path);
    for with_witness in [false, true] {
        let elsewhere = home.path().join(format!("copy-{with_witness}"));
        fs::create_dir_all(elsewhere.join("state.db-mail")).unwrap();
        let copy = elsewhere.join("state.db");
        fs::copy(&path, &copy).unwrap();
        private(&elsewhere.join("state.db-mail"));
        if with_witness {
            let witness = "state.db-mail/witness";
            fs::copy(home.path().join(witness), elsewhere.join(witness)).unwrap();
        }
        let store = open(&copy, time.options());
        assert!(store.take(&agent("B"), 1).await.unwrap().taken.is_empty());
        assert_eq!(store.dead_letters(None).await.unwrap()[0].code, "replay_state_lost");
    }
    assert_eq!(text(&receive(&open(&path, time.options()), "B").await.0), "A 1");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_open_takes_no_more_mail() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    fs::rename(&path, home.path().join("away")).unwrap();
    let error = store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap_err();
    assert!(error.to_string().contains("replaced or removed"), "{error}");
}

#[tokio::test]
async fn mail_that_waited_behind_five_thousand_is_delivered() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    let mut old = letter(&time, "A", &["B"], 0, 0);
    old.message.expires =
        sealwire_names::Timestamp::from_unix_millis(time.now().unix_millis() + 3 * 86_400_000);
    store.put(old).await.unwrap();
    time.forward(2 * DAY);
    for chunk in (1..=5_000_u64).collect::<Vec<_>>().chunks(500) {
        let mut tasks = tokio::task::JoinSet::new();
        for &number in chunk {
            let (store, letter) = (store.clone(), letter(&time, "A", &["B"], number, 9));
            tasks.spawn(async move { store.put(letter).await.unwrap() });
        }
        tasks.join_all().await;
        let round = store.take(&agent("B"), 500).await.unwrap();
        assert_eq!(round.taken.len(), 500);
        let mut tasks = tokio::task::JoinSet::new();
        for taken in round.taken {
            let store = store.clone();
            tasks.spawn(async move {
                deliver(&store, &taken).await.unwrap();
                store.acknowledge(&taken.lease).await.unwrap();
            });
        }
        tasks.join_all().await;
    }
    assert_eq!(text(&receive(&store, "B").await.0), "A 0");
}

#[tokio::test]
async fn ids_are_kept_until_messages_expire_and_a_clock_put_back_opens_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    let original = letter(&time, "A", &["B"], 1, 0);
    store.put(original.clone()).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();

    time.forward(DAY - SECOND);
    store.put(original.clone()).await.unwrap();
    let copy = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    assert_eq!(code(&deliver(&store, &copy).await.unwrap_err()), RefusalCode::MessageReplayed);
    store
        .bury(&copy.lease, deliver(&store, &copy).await.unwrap_err().refusal().unwrap().clone())
        .await
        .unwrap();

    // Everything has expired and is forgotten with the next transaction.
    time.forward(2 * DAY);
    store.put(letter(&time, "A", &["C"], 2, 0)).await.unwrap();
    time.back(2 * DAY + 600 * SECOND);
    store.put(original).await.unwrap();
    let copy = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    assert_eq!(copy.seen, Seen::Never, "it is forgotten");
    assert_eq!(code(&deliver(&store, &copy).await.unwrap_err()), RefusalCode::MessageExpired);
}

#[tokio::test]
async fn what_is_never_acknowledged_becomes_a_dead_letter() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_deliveries = 3;
    let store = open(&home.path().join("state.db"), options);
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    store.put(letter(&time, "A", &["B"], 2, 0)).await.unwrap();
    for again in [false, true, true] {
        let (taken, redelivered) = receive(&store, "B").await;
        assert_eq!((text(&taken).as_str(), redelivered), ("A 1", again));
        store.abandon(&taken.lease);
    }
    assert_eq!(text(&receive(&store, "B").await.0), "A 2");
    let dead = store.dead_letters(None).await.unwrap();
    assert_eq!(dead[0].code, "delivery_limit");
    assert!(store.remove_dead_letter(dead[0].number).await.unwrap());
    assert!(!store.remove_dead_letter(dead[0].number).await.unwrap());
}

#[tokio::test]
async fn a_full_mailbox_refuses_a_group_message_for_all() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_messages = 2;
    let store = open(&home.path().join("state.db"), options);
    for from in ["A", "C"] {
        store.put(letter(&time, from, &["B"], 1, 0)).await.unwrap();
    }
    let error = store.put(letter(&time, "A", &["C", "B"], 3, 0)).await.unwrap_err();
    assert_eq!(code(&error), RefusalCode::MailboxFull);
    assert!(error.to_string().contains("mailbox of B"), "{error}");
    assert_eq!(store.waiting(agent("C")).await.unwrap(), 0);
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();
    store.put(letter(&time, "A", &["C", "B"], 3, 0)).await.unwrap();
    assert_eq!(store.waiting(agent("C")).await.unwrap(), 1);
}

#[tokio::test]
async fn tasks_go_on_while_a_file_cannot_be_opened_yet() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.db");
    drop(open(&path, Time::new().options()));
    // As if a process had been stopped while it writes.
    let writer = fs::File::options().write(true).open(home.path().join("state.db-mail/writer"));
    let writer = writer.unwrap();
    writer.lock().unwrap();
    let (go, gone) = std::sync::mpsc::channel();
    let goes = std::thread::spawn(move || {
        let told = gone.recv_timeout(Duration::from_secs(60)).is_ok();
        writer.unlock().unwrap();
        told
    });
    let opening = SqliteTransport::open_in_task(&path, Time::new().options());
    let task = async { go.send(()).unwrap() };
    let (store, ()) = tokio::join!(opening, task);
    assert!(goes.join().unwrap(), "the task had to wait for the file");
    assert_eq!(store.unwrap().waiting(agent("B")).await.unwrap(), 0);
}

#[tokio::test]
async fn one_sender_leaves_room_for_others() {
    let time = Time::new();
    let size = letter(&time, "A", &["B"], 0, 0).message.as_bytes().len() as u64;
    for (messages, bytes) in [(10, u64::MAX), (u64::MAX, 10 * size)] {
        let home = tempfile::tempdir().unwrap();
        let mut options = time.options();
        (options.max_messages, options.max_bytes) = (messages, bytes);
        let store = open(&home.path().join("state.db"), options);
        // All at once, so that some share a commit.
        let mut puts = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (store, letter) = (store.clone(), letter(&time, "A", &["B"], number, 0));
            puts.spawn(async move { store.put(letter).await });
        }
        let put = puts.join_all().await;
        assert_eq!(put.iter().filter(|put| put.is_ok()).count(), 5);
        let refused = put.into_iter().find_map(Result::err).unwrap();
        assert_eq!(code(&refused), RefusalCode::MailboxFull);
        assert!(refused.to_string().contains("A has 5 messages"), "{refused}");
        for number in 0..5 {
            store.put(letter(&time, "C", &["B"], number, 0)).await.unwrap();
        }
        let full = store.put(letter(&time, "D", &["B"], 0, 0)).await.unwrap_err();
        assert!(full.to_string().contains("mailbox of B is full"), "{full}");
        // What is taken still counts, and what is acknowledged does not.
        let (taken, _) = receive(&store, "B").await;
        assert!(text(&taken).starts_with("A "));
        store.put(letter(&time, "A", &["B"], 20, 0)).await.unwrap_err();
        store.acknowledge(&taken.lease).await.unwrap();
        store.put(letter(&time, "C", &["B"], 5, 0)).await.unwrap_err();
        store.put(letter(&time, "A", &["B"], 20, 0)).await.unwrap();
    }
}

#[tokio::test]
async fn mail_that_expires_is_a_dead_letter_and_then_nothing() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let store = open(&home.path().join("state.db"), time.options());
    store.put(letter(&time, "A", &["B", "C"], 1, 0)).await.unwrap();
    time.forward(DAY);
    assert!(store.take(&agent("B"), 1).await.unwrap().taken.is_empty());
    // C never looks; the upkeep finds it.
    let dead = store.dead_letters(None).await.unwrap();
    assert_eq!(dead.iter().map(|letter| &*letter.code).collect::<Vec<_>>(), ["message_expired"; 2]);
    time.forward(30 * DAY);
    store.take(&agent("B"), 1).await.unwrap();
    assert!(store.dead_letters(None).await.unwrap().is_empty());

    let mut endless = letter(&time, "A", &["B"], 2, 0);
    endless.message.expires =
        sealwire_names::Timestamp::from_unix_millis(time.now().unix_millis() + 31 * 86_400_000);
    assert_eq!(code(&store.put(endless).await.unwrap_err()), RefusalCode::MessageLifetime);
}

#[tokio::test]
async fn dead_letters_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_dead = 5;
    let store = open(&home.path().join("state.db"), options);
    let refusal = sealwire_names::Refusal::new(RefusalCode::MessageReplayed, "a test");
    for number in 1..=20 {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
        let taken = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
        store.bury(&taken.lease, refusal.clone()).await.unwrap();
    }
    let dead = store.dead_letters(Some(agent("B"))).await.unwrap();
    assert_eq!(dead.len(), 5);
    assert_eq!(dead[4].message_id.as_bytes()[7], 20, "the oldest went");
}

#[tokio::test]
async fn numbers_go_on_across_processes() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let stream = Stream { key: KeyId::from_bytes([1; 32]), audience: [2; 32] };
    let other = Stream { key: KeyId::from_bytes([1; 32]), audience: [3; 32] };
    let expires = letter(&time, "A", &["B"], 1, 0).message.expires;
    let first = open(&path, time.options()).number(stream.clone(), 3, expires).await.unwrap();
    let second = open(&path, time.options()).number(stream.clone(), 1, expires).await.unwrap();
    assert_eq!((first.first, first.count, second.first), (0, 3, 3));
    assert_eq!(first.epoch, second.epoch);
    let elsewhere = open(&path, time.options()).number(other, 1, expires).await.unwrap();
    assert_eq!(elsewhere.first, 0);
    assert_ne!(elsewhere.epoch, first.epoch);
    // After the last expiry the epoch is forgotten, here and by receivers.
    time.forward(2 * DAY);
    let store = open(&path, time.options());
    store.take(&agent("B"), 1).await.unwrap();
    let later = store.number(stream, 1, expires).await.unwrap();
    assert_eq!(later.first, 0);
    assert_ne!(later.epoch, first.epoch);
}

#[tokio::test]
async fn another_processs_mail_wakes_a_receiver() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let mut options = time.options();
    // A receiver that only looked from time to time would not come back within the test.
    options.slowest_look = Duration::from_secs(3600);
    let (sender, receiver) = (open(&path, options.clone()), open(&path, options));
    let mut bell = receiver.bell(&agent("B"));
    let waiting = tokio::spawn(async move {
        loop {
            let round = receiver.take(&agent("B"), 1).await.unwrap();
            if let Some(taken) = round.taken.into_iter().next() {
                return text(&taken);
            }
            bell.heard(Time::new().now(), None).await;
        }
    });
    sender.put(letter(&time, "A", &["C"], 1, 0)).await.unwrap();
    sender.put(letter(&time, "A", &["B"], 2, 0)).await.unwrap();
    assert_eq!(waiting.await.unwrap(), "A 2");
}

#[test]
fn what_others_can_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.db");
    drop(open(&path, Time::new().options()));
    for file in [path.clone(), home.path().join("state.db-mail")] {
        let mode = |mode| {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&file, permissions).unwrap();
        };
        let usual = if file.is_dir() { 0o700 } else { 0o600 };
        mode(usual | 0o044);
        let error = SqliteTransport::open(&path, Time::new().options()).err().unwrap();
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
        mode(usual);
        drop(open(&path, Time::new().options()));
    }
    settle(&path);
    fs::write(&path, "this is no database, however one looks at it".repeat(99)).unwrap();
    let error = SqliteTransport::open(&path, Time::new().options()).err().unwrap();
    assert!(error.to_string().contains("no SQLite database"), "{error}");
}

#[test]
fn another_version_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.db");
    drop(open(&path, Time::new().options()));
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("UPDATE component_version SET version = 1", []).unwrap();
    let error = SqliteTransport::open(&path, Time::new().options()).err().unwrap();
    assert!(error.to_string().contains("version 1, this program knows 3"), "{error}");
}

/// Waits until whoever had the database open has let go of it, and has the log written into it.
fn settle(path: &std::path::Path) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let busy: i64 =
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
}

fn private(path: &std::path::Path) {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(path, permissions).unwrap();
}
