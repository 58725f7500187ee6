//! A mailbox that an older program left.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Time, agent, code, deliver, letter, open, receive, text};
use rusqlite::Connection;
use sealwire_mailbox::{Seen, Transport};
use sealwire_names::RefusalCode;

/// Makes of the tables what they were in version 2.
const BACK_TO_2: &str = "
ALTER TABLE mail_lease RENAME TO new_lease;
CREATE TABLE mail_lease (
    record INTEGER PRIMARY KEY, until INTEGER NOT NULL, holder INTEGER
) STRICT;
INSERT INTO mail_lease SELECT record, until, holder FROM new_lease;
DROP TABLE new_lease;
CREATE INDEX mail_held ON mail_record (agent, sender, priority) WHERE state = 1;

DROP INDEX mail_replay_expires;
ALTER TABLE mail_replay RENAME TO new_replay;
CREATE TABLE mail_replay (
    agent TEXT NOT NULL, key BLOB NOT NULL, message_id BLOB NOT NULL,
    expires INTEGER NOT NULL, record INTEGER NOT NULL,
    PRIMARY KEY (agent, key, message_id)
) STRICT, WITHOUT ROWID;
INSERT INTO mail_replay SELECT agent, key, message_id, expires, record FROM new_replay;
DROP TABLE new_replay;
CREATE INDEX mail_replay_expires ON mail_replay (expires);
UPDATE component_version SET version = 2 WHERE component = 'mail';
";

#[tokio::test]
async fn mail_of_version_2_keeps_its_leases_and_its_replay_state() {
    let home = tempfile::tempdir().unwrap();
    let (time, path) = (Time::new(), home.path().join("state.db"));
    let store = open(&path, time.options());
    let done = letter(&time, "A", &["B"], 1, 0);
    store.put(done.clone()).await.unwrap();
    let (taken, _) = receive(&store, "B").await;
    store.acknowledge(&taken.lease).await.unwrap();
    for number in [2, 3] {
        store.put(letter(&time, "A", &["B"], number, 0)).await.unwrap();
    }
    receive(&store, "B").await;
    store.waiting(agent("B")).await.unwrap();
    drop(store);
    let made = tables(&path);
    Connection::open(&path).unwrap().execute_batch(BACK_TO_2).unwrap();
    assert_ne!(tables(&path), made);

    let store = open(&path, time.options());
    assert_eq!(tables(&path), made);
    let round = store.take(&agent("B"), 9).await.unwrap();
    assert!(round.taken.is_empty(), "A 2 is on lease, and A 3 must not overtake it");
    assert!(round.due.is_some());
    time.forward(Duration::from_secs(16));
    let (taken, again) = receive(&store, "B").await;
    assert_eq!((text(&taken).as_str(), again, taken.seen), ("A 2", true, Seen::ThisOne));
    store.acknowledge(&taken.lease).await.unwrap();
    let (taken, again) = receive(&store, "B").await;
    assert_eq!((text(&taken).as_str(), again), ("A 3", false));
    store.acknowledge(&taken.lease).await.unwrap();
    assert_eq!(store.waiting(agent("B")).await.unwrap(), 0);

    store.put(done).await.unwrap();
    let copy = store.take(&agent("B"), 1).await.unwrap().taken.remove(0);
    assert_eq!(code(&deliver(&store, &copy).await.unwrap_err()), RefusalCode::MessageReplayed);
}

/// All tables and indexes, as they were declared.
fn tables(path: &Path) -> Vec<String> {
    let database = Connection::open(path).unwrap();
    let mut select = database
        .prepare(
            "SELECT coalesce(sql, name) FROM sqlite_schema WHERE name LIKE '%mail%' ORDER BY 1",
        )
        .unwrap();
    let found = select.query_map([], |row| row.get(0)).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}
