//! Putting, taking and giving back.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};
use sealwire_envelope::{KeyId, MessageId};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use super::books::Heap;
use super::dead::Stored;
use super::schema::{HELD, WAITING};
use super::writer::Work;
use super::{Fault, dead, replay};
use crate::clock::after;
use crate::{Label, Lease, Letter, Round, Taken, TransportError};

pub(super) fn put(
    work: &mut Work<'_>,
    letter: &Letter,
) -> Result<Result<(), TransportError>, Fault> {
    let size = letter.message.as_bytes().len() as u64;
    if let Err(refusal) = acceptable(work, letter, size)? {
        return Ok(Err(refusal.into()));
    }
    // Nothing has been written so far: a refusal leaves no trace in the transaction it shares.
    let body = match letter.to.len() {
        1 => None,
        _ => {
            work.db
                .prepare_cached("INSERT INTO mail_body (bytes) VALUES (?1)")?
                .execute([letter.message.as_bytes()])?;
            Some(work.db.last_insert_rowid())
        }
    };
    let label = Label::of(&letter.message);
    for agent in &letter.to {
        let number = work.books.number(work.db)?;
        work.db
            .prepare_cached(
                "INSERT INTO mail_record (id, agent, sender, priority, state, until, holder, takes,
                     deliveries, claimed, released, issued, expires, size, key, message_id, body,
                     bytes)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, 0, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute((
                number,
                agent.as_str(),
                label.from.as_str(),
                label.priority,
                work.now.unix_millis(),
                work.holder,
                label.issued.unix_millis(),
                label.expires.unix_millis(),
                size.cast_signed(),
                label.key.as_bytes(),
                label.message_id.as_bytes(),
                body,
                body.is_none().then_some(letter.message.as_bytes()),
            ))?;
        work.books.of(work.db, agent.as_str())?.waiting.add(size.cast_signed());
        if !work.after.rings.contains(agent) {
            work.after.rings.insert(agent.clone());
        }
    }
    Ok(Ok(()))
}

fn acceptable(
    work: &mut Work<'_>,
    letter: &Letter,
    size: u64,
) -> Result<Result<(), Refusal>, Fault> {
    let options = work.options;
    if let Err(refusal) = replay::check_lifetime(work, letter.message.expires) {
        return Ok(Err(refusal));
    }
    for agent in &letter.to {
        let Heap { messages, bytes } = work.books.of(work.db, agent.as_str())?.waiting;
        if messages.cast_unsigned() >= options.max_messages
            || bytes.cast_unsigned() + size > options.max_bytes
        {
            let reason = format!(
                "the mailbox of {agent} is full: {messages} messages and {bytes} bytes wait, at \
                 most {} and {} may; let it receive, or raise the limit",
                options.max_messages, options.max_bytes
            );
            return Ok(Err(Refusal::new(RefusalCode::MailboxFull, reason)));
        }
    }
    Ok(Ok(()))
}

/// Of each lane, that is the messages of one sender with one priority, only the first can be next,
/// so lanes are looked through, and not messages: whoever fills the mailbox, and has to wait, does
/// not make each look for others' mail longer.
///
/// A message waits behind an earlier one of its lane that is put off, or on lease to another
/// process: or it could overtake it.
const NEXT: &str = "
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
    SELECT id, sender, priority, issued, expires, takes, deliveries, key, message_id,
           coalesce(bytes, (SELECT bytes FROM mail_body WHERE mail_body.id = body))
    FROM mail_record WHERE id = (
        SELECT first FROM lane WHERE NOT EXISTS (
            SELECT 1 FROM mail_record AS earlier
            WHERE earlier.state = 1 AND earlier.agent = ?1 AND earlier.sender = lane.sender
              AND earlier.priority = lane.priority AND earlier.id < lane.first
              AND earlier.holder IS NOT ?2)
        ORDER BY priority DESC, first LIMIT 1)";

pub(super) fn take(work: &mut Work<'_>, agent: &AgentId, most: usize) -> Result<Round, Fault> {
    let name = agent.as_str();
    let now = work.now.unix_millis();
    // A lease that lasts longer than leases do is of a time before the clock was put back.
    let longest = after(after(work.now, work.options.lease), work.options.lease).unix_millis();
    work.db
        .prepare_cached(
            "UPDATE mail_record SET state = 0
             WHERE state = 1 AND agent = ?1
                 AND (until <= ?2 OR (holder IS NOT NULL AND until > ?3))",
        )?
        .execute((name, now, longest))?;
    let mut taken = Vec::new();
    while taken.len() < most {
        let found =
            work.db.prepare_cached(NEXT)?.query_row((name, work.holder), record).optional()?;
        match found {
            None => break,
            Some(Ok(record)) => match overdue(work, &record)? {
                Some(refusal) => dead::bury(work, record.id, &refusal)?,
                None => taken.push(lease(work, agent, record)?),
            },
            // Somebody else than us wrote or spoilt it. It must not keep back what follows.
            Some(Err(id)) => {
                tracing::error!(%agent, record = id, "mail cannot be read, and is removed");
                dead::erase(work, id)?;
            }
        }
    }
    let due: Option<i64> = work
        .db
        .prepare_cached(
            "SELECT min(until) FROM mail_record
             WHERE state = 1 AND agent = ?1 AND holder IS NOT ?2",
        )?
        .query_row((name, work.holder), |row| row.get(0))?;
    work.after.leases |= !taken.is_empty();
    Ok(Round { taken, due: due.map(Timestamp::from_unix_millis) })
}

fn overdue(work: &Work<'_>, record: &Record) -> Result<Option<Refusal>, Fault> {
    let expires = record.label.expires;
    if expires <= work.now {
        let reason = format!("it expired on {expires}, before it was acknowledged");
        return Ok(Some(Refusal::new(RefusalCode::MessageExpired, reason)));
    }
    let most = work.options.max_deliveries;
    if record.deliveries >= i64::from(most) {
        let reason = format!("it was delivered {most} times, and never acknowledged");
        return Ok(Some(Refusal::new(RefusalCode::DeliveryLimit, reason)));
    }
    Ok(None)
}

fn lease(work: &Work<'_>, agent: &AgentId, record: Record) -> Result<Taken, Fault> {
    let until = after(work.now, work.options.lease).unix_millis();
    let take = record.takes + 1;
    work.db
        .prepare_cached(
            "UPDATE mail_record SET state = 1, until = ?2, holder = ?3, takes = ?4 WHERE id = ?1",
        )?
        .execute((record.id, until, work.holder, take))?;
    let seen = replay::look(work, agent, &record.label, record.id)?;
    let lease = Lease { agent: agent.clone(), record: record.id, take };
    Ok(Taken { bytes: record.bytes, label: record.label, lease, seen })
}

pub(super) fn release(
    work: &Work<'_>,
    lease: &Lease,
    due: Timestamp,
) -> Result<Result<(), TransportError>, Fault> {
    // Put off without a holder, or simply waiting.
    let state = if due > work.now { HELD } else { WAITING };
    let changed = work
        .db
        .prepare_cached(
            "UPDATE mail_record SET state = ?4, until = ?5, holder = NULL
             WHERE id = ?1 AND takes = ?2 AND holder = ?3 AND state = 1",
        )?
        .execute((lease.record, lease.take, work.holder, state, due.unix_millis()))?;
    Ok(if changed == 1 { Ok(()) } else { Err(TransportError::LeaseLost) })
}

/// A message on lease.
pub(super) struct Held {
    /// It was delivered, and its id is remembered.
    pub(super) claimed: bool,
    /// It passes in spite of lost replay state.
    pub(super) released: bool,
    pub(super) stored: Stored,
}

/// The message of a lease, if that holds still.
pub(super) fn held(work: &Work<'_>, lease: &Lease) -> Result<Option<Held>, Fault> {
    Ok(work
        .db
        .prepare_cached(
            "SELECT claimed, released, size, body FROM mail_record
             WHERE id = ?1 AND takes = ?2 AND holder = ?3 AND state = 1 AND agent = ?4",
        )?
        .query_row((lease.record, lease.take, work.holder, lease.agent.as_str()), |row| {
            let stored = Stored { record: lease.record, size: row.get(2)?, body: row.get(3)? };
            Ok(Held { claimed: row.get(0)?, released: row.get(1)?, stored })
        })
        .optional()?)
}

/// Prolongs all leases of this process; tells whether there are any.
pub(super) fn renew(work: &Work<'_>) -> Result<bool, Fault> {
    let until = after(work.now, work.options.lease).unix_millis();
    let renewed = work
        .db
        .prepare_cached("UPDATE mail_record SET until = ?2 WHERE state = 1 AND holder = ?1")?
        .execute((work.holder, until))?;
    Ok(renewed > 0)
}

pub(super) fn waiting(work: &mut Work<'_>, agent: &AgentId) -> Result<u64, Fault> {
    Ok(work.books.of(work.db, agent.as_str())?.waiting.messages.cast_unsigned())
}

struct Record {
    id: i64,
    takes: i64,
    deliveries: i64,
    label: Label,
    bytes: Arc<[u8]>,
}

/// A record, or the number of one that is none.
fn record(row: &Row<'_>) -> rusqlite::Result<Result<Record, i64>> {
    let id = row.get(0)?;
    Ok(read(id, row).map_err(|_not_ours| id))
}

fn read(id: i64, row: &Row<'_>) -> rusqlite::Result<Record> {
    let label = Label {
        from: agent(row, 1)?,
        priority: row.get(2)?,
        issued: Timestamp::from_unix_millis(row.get(3)?),
        expires: Timestamp::from_unix_millis(row.get(4)?),
        key: KeyId::from_bytes(row.get(7)?),
        message_id: MessageId::from_bytes(row.get(8)?),
    };
    let bytes = row.get_ref(9)?.as_blob().map_err(rusqlite::Error::from)?.into();
    Ok(Record { id, takes: row.get(5)?, deliveries: row.get(6)?, label, bytes })
}

/// An agent's name from a column.
pub(super) fn agent(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentId> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus};

    use super::NEXT;
    use crate::sqlite::schema;

    /// What looking for B's next message costs, in steps of SQLite's machine, behind `many`
    /// messages of one sender that has to wait.
    fn steps(many: i64) -> i32 {
        let db = Connection::open_in_memory().unwrap();
        schema::prepare(&db).unwrap();
        let put =
            "INSERT INTO mail_record (agent, sender, priority, state, until, takes, deliveries,
                claimed, released, issued, expires, size, key, message_id, bytes)
            VALUES ('B', ?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 1, zeroblob(32), zeroblob(16), x'00')";
        for number in 0..many {
            db.execute(put, ("Hasty", 255, i64::from(number == 0))).unwrap();
        }
        db.execute(put, ("Slow", 0, 0)).unwrap();
        let mut next = db.prepare(NEXT).unwrap();
        let sender: String = next.query_row(("B", 7), |row| row.get(1)).unwrap();
        assert_eq!(sender, "Slow");
        next.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_sender_that_has_to_wait_does_not_slow_down_others() {
        let (few, many) = (steps(10), steps(2_000));
        assert!(many <= few * 2, "{few} steps behind 10 messages, {many} behind 2,000");
    }
}
