//! Processes that are killed at any moment, under load: nothing acknowledged is lost, nothing is
//! acknowledged twice, and who commits ids with effects has each effect once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{AgentProcess, be_agent_if_told, short_leases, soak};
use common::{agent, open};
use rusqlite::Connection;

#[test]
fn agent_process() {
    be_agent_if_told();
}

/// Two senders and two receivers, each of which is replaced when it is killed.
const ROLES: [&str; 4] = ["send A", "send C", "receive B", "receive B"];

#[tokio::test]
async fn killed_at_any_moment_under_load() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("state.db");
    let store = open(&database, short_leases());
    let mut witness = Witness::new(&database);

    // Each process of a sender has numbers of its own, ascending from one to the next.
    let mut generation = 0_u64;
    let mut start = |role: usize| {
        generation += 1;
        let role = match ROLES[role] {
            receiver if receiver.starts_with("receive") => receiver.to_owned(),
            sender => format!("{sender} {} 1000000", generation * 1_000_000),
        };
        AgentProcess::start(&database, &role)
    };
    let mut running: Vec<_> = (0..ROLES.len()).map(&mut start).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..soak(50, 200) {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) as usize % ROLES.len();
        // Not before it does something, and then at any moment.
        running[victim].wait_for_lines(2 + (random >> 40) as usize % 40);
        let replaced = start(victim);
        let killed = std::mem::replace(&mut running[victim], replaced);
        witness.heard(killed.kill());
    }
    // The senders end, the receivers have until the mailbox is empty.
    for sender in running.drain(..2) {
        witness.heard(sender.kill());
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    while store.waiting(agent("B")).await.unwrap() > 0 {
        assert!(Instant::now() < deadline, "mail is stuck");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for receiver in running {
        witness.heard(receiver.kill());
    }
    assert!(store.dead_letters(None).await.unwrap().is_empty());
    witness.testify();
}

/// What the processes said, and what the databases say.
struct Witness {
    mail: Connection,
    effects: Connection,
    sent: HashSet<String>,
    acknowledged: HashMap<String, u32>,
    /// Deliveries whose effect was there already.
    repeated: u32,
}

impl Witness {
    fn new(database: &Path) -> Self {
        let mail = Connection::open(database).unwrap();
        mail.busy_timeout(Duration::from_secs(60)).unwrap();
        // Every acknowledgement that was ever committed.
        mail.execute_batch(
            "CREATE TABLE test_done (id TEXT NOT NULL);
             CREATE TRIGGER test_done AFTER DELETE ON mail_record WHEN old.claimed
                 BEGIN INSERT INTO test_done VALUES (lower(hex(old.message_id))); END;
             CREATE TRIGGER test_gone AFTER DELETE ON mail_record
                 BEGIN INSERT INTO test_done VALUES ('gone'); END;",
        )
        .unwrap();
        let effects = Connection::open(database.with_file_name("effects.db")).unwrap();
        effects
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE effect (place INTEGER PRIMARY KEY AUTOINCREMENT,
                     id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL, number INTEGER NOT NULL);",
            )
            .unwrap();
        Self { mail, effects, sent: HashSet::new(), acknowledged: HashMap::new(), repeated: 0 }
    }

    fn heard(&mut self, lines: Vec<String>) {
        for line in lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["sent", _, _, id] => assert!(self.sent.insert(id.to_owned()), "{id} twice"),
                ["acknowledged", id] => *self.acknowledged.entry(id.to_owned()).or_default() += 1,
                ["repeated", _] => self.repeated += 1,
                ["receiving"] | ["did" | "lost", _] => {}
                _ => panic!("{line}"),
            }
        }
    }

    fn testify(&self) {
        let mut effects = HashSet::new();
        let mut order: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut select =
            self.effects.prepare("SELECT id, sender, number FROM effect ORDER BY place").unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            assert!(effects.insert(row.get::<_, String>(0).unwrap()));
            let number = row.get::<_, i64>(2).unwrap().cast_unsigned();
            order.entry(row.get(1).unwrap()).or_default().push(number);
        }
        let lost: Vec<_> = self.sent.difference(&effects).collect();
        assert!(lost.is_empty(), "sent, and without effect: {lost:?}");
        for (sender, numbers) in &order {
            assert!(numbers.is_sorted(), "{sender}'s messages took effect out of order");
        }
        for (id, times) in &self.acknowledged {
            assert_eq!(*times, 1, "{id} was acknowledged {times} times to its receivers");
            assert!(effects.contains(id));
        }
        let done = |sql: &str| self.mail.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let committed = done("SELECT count(*) FROM test_done WHERE id <> 'gone'");
        let distinct = done("SELECT count(DISTINCT id) FROM test_done WHERE id <> 'gone'");
        assert_eq!(committed, distinct, "an acknowledgement was committed twice");
        assert_eq!(distinct, effects.len() as i64);
        assert_eq!(done("SELECT count(*) FROM test_done WHERE id = 'gone'"), distinct);
        assert_eq!(done("SELECT count(*) FROM mail_replay"), distinct, "an id is not remembered");
        for database in [&self.mail, &self.effects] {
            let sound: String =
                database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
        println!(
            "{} messages said to be sent, {} effects, {} acknowledgements heard, {} repeated",
            self.sent.len(),
            effects.len(),
            self.acknowledged.len(),
            self.repeated
        );
    }
}
