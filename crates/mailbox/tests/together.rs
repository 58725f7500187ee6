//! Messages that share a transaction.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use common::{Time, agent, code, letter, open, texts};
use sealwire_mailbox::Transport;
use sealwire_names::RefusalCode;

#[tokio::test]
async fn of_many_put_at_once_each_is_there_in_its_place_and_counts() {
    let home = tempfile::tempdir().unwrap();
    let time = Time::new();
    let mut options = time.options();
    options.max_messages = 100;
    let store = open(&home.path().join("state.db"), options);
    // One to begin with, so that the others find the writer busy.
    store.put(letter(&time, "A", &["B"], 1, 0)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 2..=70 {
        let to: &[&str] = if number % 10 == 0 { &["B", "C"] } else { &["B"] };
        let (store, letter) = (store.clone(), letter(&time, "A", to, number, 0));
        tasks.spawn(async move { (number, store.put(letter).await) });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(number, _)| *number);
    for (number, result) in results {
        // Half of the mailbox, and not one more, though some of it was not written yet.
        match result {
            Ok(()) => assert!(number <= 50, "{number} was put"),
            Err(error) => {
                assert!(number > 50, "{number}: {error}");
                assert_eq!(code(&error), RefusalCode::MailboxFull);
            }
        }
    }
    let expected: Vec<_> = (1..=50).map(|number| format!("A {number}")).collect();
    assert_eq!(texts(&store.take(&agent("B"), 100).await.unwrap()), expected);
    assert_eq!(store.waiting(agent("B")).await.unwrap(), 50);
    let both = texts(&store.take(&agent("C"), 100).await.unwrap());
    assert_eq!(both, ["A 10", "A 20", "A 30", "A 40", "A 50"]);
}
