//! In which order an agent's mail is taken.
//!
//! A lane is the messages of one sender with one priority. Of each lane only the first can be
//! next, so lanes are looked through, and not messages: whoever fills the mailbox, and has to
//! wait, does not make each look for others' mail longer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::OptionalExtension;

use super::Fault;
use super::writer::Work;

/// Each lane of an agent with its first message that waits, and the first that is put off, or on
/// lease to another process: what comes after that must not overtake it.
const LANES: &str = "
    WITH RECURSIVE lane (priority, sender, first) AS (
        SELECT * FROM (
            SELECT priority, sender, id FROM mail_record WHERE agent = ?1 AND state = 0
            ORDER BY priority DESC, sender, id LIMIT 1)
        UNION ALL
        SELECT next.priority, next.sender, next.id
        FROM lane CROSS JOIN mail_record AS next ON next.id = coalesce(
            (SELECT id FROM mail_record
             WHERE agent = ?1 AND state = 0 AND priority = lane.priority AND sender > lane.sender
             ORDER BY sender, id LIMIT 1),
            (SELECT id FROM mail_record
             WHERE agent = ?1 AND state = 0 AND priority < lane.priority
             ORDER BY priority DESC, sender, id LIMIT 1)))
    SELECT priority, sender, first,
        (SELECT record FROM mail_lease
         WHERE agent = ?1 AND sender = lane.sender AND priority = lane.priority
             AND holder IS NOT ?2
         ORDER BY record LIMIT 1)
    FROM lane";

/// By priority, then by age.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    priority: i64,
    first: Reverse<i64>,
    sender: String,
    barrier: Option<i64>,
}

/// What waits for an agent, and may be taken by this process.
pub(super) struct Lanes<'a> {
    agent: &'a str,
    heads: BinaryHeap<Lane>,
    /// Of which a message was just taken.
    used: Option<Lane>,
}

impl<'a> Lanes<'a> {
    pub(super) fn of(work: &Work<'_>, agent: &'a str) -> Result<Self, Fault> {
        let mut lanes = Self { agent, heads: BinaryHeap::new(), used: None };
        let mut select = work.db.prepare_cached(LANES)?;
        let mut rows = select.query((agent, work.holder))?;
        while let Some(row) = rows.next()? {
            // Whoever spoils a name loses the rest of the lane until the next look.
            let sender = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default());
            let (priority, sender) = (row.get(0)?, sender.into_owned());
            let (first, barrier) = (Reverse(row.get(2)?), row.get(3)?);
            lanes.put_back(Lane { priority, first, sender, barrier });
        }
        Ok(lanes)
    }

    /// The number of the next message. The one before must not wait any more.
    pub(super) fn next(&mut self, work: &Work<'_>) -> Result<Option<i64>, Fault> {
        if let Some(mut lane) = self.used.take() {
            let following = work
                .db
                .prepare_cached(
                    "SELECT id FROM mail_record
                     WHERE agent = ?1 AND state = 0 AND priority = ?2 AND sender = ?3 AND id > ?4
                     ORDER BY id LIMIT 1",
                )?
                .query_row((self.agent, lane.priority, &lane.sender, lane.first.0), |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(first) = following {
                lane.first = Reverse(first);
                self.put_back(lane);
            }
        }
        self.used = self.heads.pop();
        Ok(self.used.as_ref().map(|lane| lane.first.0))
    }

    fn put_back(&mut self, lane: Lane) {
        if lane.barrier.is_none_or(|barrier| lane.first.0 < barrier) {
            self.heads.push(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus};

    use super::LANES;
    use crate::sqlite::schema;

    /// What looking for B's next message costs, in steps of SQLite's machine, behind `many`
    /// messages of one sender that has to wait.
    fn steps(many: i64) -> i32 {
        let db = Connection::open_in_memory().unwrap();
        schema::prepare(&db).unwrap();
        let put =
            "INSERT INTO mail_record (agent, sender, priority, state, since, takes, deliveries,
                claimed, released, issued, expires, size, key, message_id, bytes)
            VALUES ('B', ?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 1, zeroblob(32), zeroblob(16), x'00')";
        for number in 0..many {
            db.execute(put, ("Hasty", 255, i64::from(number == 0))).unwrap();
        }
        db.execute("INSERT INTO mail_lease VALUES ('B', 'Hasty', 255, 1, 0, NULL)", []).unwrap();
        db.execute(put, ("Slow", 0, 0)).unwrap();
        let mut lanes = db.prepare(LANES).unwrap();
        let found: Vec<(String, i64, Option<i64>)> = lanes
            .query_map(("B", 7), |row| Ok((row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(found, [("Hasty".into(), 2, Some(1)), ("Slow".into(), many + 1, None)]);
        lanes.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_sender_that_has_to_wait_does_not_slow_down_others() {
        let (few, many) = (steps(10), steps(2_000));
        assert!(many <= few * 2, "{few} steps behind 10 messages, {many} behind 2,000");
    }
}
