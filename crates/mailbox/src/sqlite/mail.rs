//! Putting, taking and giving back.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};
use sealwire_envelope::{KeyId, MessageId};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use super::books::Heap;
use super::lanes::Lanes;
use super::rows::NewRow;
use super::writer::Work;
use super::{Fault, dead, replay};
use crate::clock::after;
use crate::transport::Fixed;
use crate::{Label, Lease, Letter, Round, Taken, TransportError};

pub(super) fn put(
    work: &mut Work<'_>,
    letter: Letter,
) -> Result<Result<(), TransportError>, Fault> {
    let size = letter.message.as_bytes().len() as u64;
    if let Err(refusal) = acceptable(work, &letter, size)? {
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
    let mut bytes = body.is_none().then(|| letter.message.into_bytes());
    for agent in &letter.to {
        let (to, from) = (agent.as_str(), label.from.as_str());
        let number = work.books.put(work.db, to, from, size.cast_signed())?;
        let row = NewRow {
            number,
            agent: agent.clone(),
            label: label.clone(),
            size: size.cast_signed(),
            body,
            bytes: bytes.take(),
        };
        work.rows.add(work.db, row)?;
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
    let from = letter.message.from.as_str();
    for agent in &letter.to {
        let waiting = work.books.of(work.db, agent.as_str())?.waiting;
        if !waiting.has_room(size, options.max_messages, options.max_bytes) {
            let Heap { messages, bytes } = waiting;
            let reason = format!(
                "the mailbox of {agent} is full: {messages} messages and {bytes} bytes wait, at \
                 most {} and {} may; let it receive, or raise the limit",
                options.max_messages, options.max_bytes
            );
            return Ok(Err(Refusal::new(RefusalCode::MailboxFull, reason)));
        }
        // Whoever sends without end must leave room for others. While it is half empty, he does;
        // and one message there may always be.
        let (most, most_bytes) = (options.max_messages.div_ceil(2), options.max_bytes.div_ceil(2));
        if !waiting.has_room(size, most, most_bytes) {
            work.rows.write(work.db)?;
            let share = work.books.share(work.db, agent.as_str(), from)?;
            if share.messages > 0 && !share.has_room(size, most, most_bytes) {
                let Heap { messages, bytes } = share;
                let reason = format!(
                    "{from} has {messages} messages and {bytes} bytes in the mailbox of {agent}; \
                     of one sender at most half of what there is room for may wait, {most} and \
                     {most_bytes}; let {agent} receive, or raise the limit"
                );
                return Ok(Err(Refusal::new(RefusalCode::MailboxFull, reason)));
            }
        }
    }
    Ok(Ok(()))
}

pub(super) fn take(work: &mut Work<'_>, agent: &AgentId, most: usize) -> Result<Round, Fault> {
    let name = agent.as_str();
    let now = work.now.unix_millis();
    // A lease that lasts longer than leases do is of a time before the clock was put back.
    let longest = after(after(work.now, work.options.lease), work.options.lease).unix_millis();
    let ended: Vec<i64> = work
        .db
        .prepare_cached(
            "DELETE FROM mail_lease
             WHERE agent = ?1 AND (until <= ?2 OR (holder IS NOT NULL AND until > ?3))
             RETURNING record",
        )?
        .query_map((name, now, longest), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ended.into_iter().try_for_each(|record| wait(work, record))?;
    let (mut taken, mut lanes) = (Vec::new(), Lanes::of(work, name)?);
    while taken.len() < most
        && let Some(next) = lanes.next(work)?
    {
        match work.db.prepare_cached(RECORD)?.query_row([next], |row| Ok(record(next, row)))? {
            Ok(record) => match overdue(work, &record)? {
                Some(refusal) => dead::bury(work, next, &refusal)?,
                None => taken.push(lease(work, agent, record)?),
            },
            // Somebody else than us wrote or spoilt it. It must not keep back what follows.
            Err(_not_ours) => {
                tracing::error!(%agent, record = next, "mail cannot be read, and is removed");
                dead::erase(work, next)?;
            }
        }
    }
    let due: Option<i64> = work
        .db
        .prepare_cached("SELECT min(until) FROM mail_lease WHERE agent = ?1 AND holder IS NOT ?2")?
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
        .prepare_cached("UPDATE mail_record SET state = 1, takes = ?2 WHERE id = ?1")?
        .execute((record.id, take))?;
    let Record { size, body, .. } = record;
    let (from, priority) = (record.label.from.clone(), record.label.priority);
    let fixed = Fixed { from, priority, size, body };
    let holder = work.holder;
    let lease = Lease { agent: agent.clone(), record: record.id, take, holder, fixed };
    hold(work, &lease, until, Some(work.holder))?;
    let seen = replay::look(work, agent, &record.label, record.id)?;
    Ok(Taken { bytes: record.bytes, label: record.label, lease, seen })
}

pub(super) fn release(
    work: &Work<'_>,
    lease: &Lease,
    due: Timestamp,
) -> Result<Result<(), TransportError>, Fault> {
    if held(work, lease)?.is_none() {
        return Ok(Err(TransportError::LeaseLost));
    }
    if due > work.now {
        // Put off: nobody holds it, and this was the end of the lease.
        work.db
            .prepare_cached("UPDATE mail_record SET takes = takes + 1 WHERE id = ?1")?
            .execute([lease.record])?;
        hold(work, lease, due.unix_millis(), None)?;
    } else {
        free(work, lease.record)?;
        wait(work, lease.record)?;
    }
    Ok(Ok(()))
}

/// A message whose lease or deferral has ended waits as before.
fn wait(work: &Work<'_>, record: i64) -> Result<(), Fault> {
    work.db
        .prepare_cached("UPDATE mail_record SET state = 0 WHERE id = ?1 AND state = 1")?
        .execute([record])?;
    Ok(())
}

/// Forgets the lease or the deferral of a message, while that is still here.
pub(super) fn free(work: &Work<'_>, record: i64) -> Result<(), Fault> {
    work.db
        .prepare_cached(
            "DELETE FROM mail_lease WHERE (agent, sender, priority, record) =
                 (SELECT agent, sender, priority, id FROM mail_record WHERE id = ?1)",
        )?
        .execute([record])?;
    Ok(())
}

fn hold(work: &Work<'_>, lease: &Lease, until: i64, holder: Option<i64>) -> Result<(), Fault> {
    let Lease { agent, record, fixed: Fixed { from, priority, .. }, .. } = lease;
    work.db
        .prepare_cached(
            "INSERT OR REPLACE INTO mail_lease (agent, sender, priority, record, until, holder)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((agent.as_str(), from.as_str(), priority, record, until, holder))?;
    Ok(())
}

/// Removes a message that was delivered, with its lease, if that holds. Returns whether it did.
pub(super) fn finish(work: &mut Work<'_>, lease: &Lease) -> Result<bool, Fault> {
    let Lease { agent, record, take, holder, fixed } = lease;
    // Whatever ends a lease changes the state of the message, or how often it was taken.
    let ended = *holder == work.holder
        && work.hot.end.execute(
            work.db,
            "DELETE FROM mail_record WHERE id = ?1 AND takes = ?2 AND state = 1 AND claimed = 1",
            (record, take),
        )? > 0;
    if ended {
        work.hot.free.execute(
            work.db,
            "DELETE FROM mail_lease
             WHERE agent = ?1 AND sender = ?2 AND priority = ?3 AND record = ?4",
            (agent.as_str(), fixed.from.as_str(), fixed.priority, record),
        )?;
        dead::erase_body(work, fixed.body)?;
    }
    Ok(ended)
}

pub(super) const HELD: &str = "
    SELECT released FROM mail_record JOIN mail_lease USING (agent, sender, priority)
    WHERE id = ?1 AND record = ?1 AND takes = ?2 AND holder = ?3 AND agent = ?4";

/// Whether the message of a lease passes in spite of lost replay state; `None` if the lease does
/// not hold any more.
pub(super) fn held(work: &Work<'_>, lease: &Lease) -> Result<Option<bool>, Fault> {
    Ok(work
        .db
        .prepare_cached(HELD)?
        .query_row((lease.record, lease.take, work.holder, lease.agent.as_str()), |row| row.get(0))
        .optional()?)
}

/// Prolongs all leases of this process; tells whether there are any.
pub(super) fn renew(work: &Work<'_>) -> Result<bool, Fault> {
    let until = after(work.now, work.options.lease).unix_millis();
    let renewed = work
        .db
        .prepare_cached("UPDATE mail_lease SET until = ?2 WHERE holder = ?1")?
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
    size: i64,
    body: Option<i64>,
    bytes: Arc<[u8]>,
}

const RECORD: &str = "
    SELECT sender, priority, issued, expires, takes, deliveries, key, message_id, size, body,
        coalesce(bytes, (SELECT bytes FROM mail_body WHERE mail_body.id = body))
    FROM mail_record WHERE id = ?1";

fn record(id: i64, row: &Row<'_>) -> rusqlite::Result<Record> {
    let label = Label {
        from: agent(row, 0)?,
        priority: row.get(1)?,
        issued: Timestamp::from_unix_millis(row.get(2)?),
        expires: Timestamp::from_unix_millis(row.get(3)?),
        key: KeyId::from_bytes(row.get(6)?),
        message_id: MessageId::from_bytes(row.get(7)?),
    };
    let bytes = row.get_ref(10)?.as_blob().map_err(rusqlite::Error::from)?.into();
    let (takes, deliveries) = (row.get(4)?, row.get(5)?);
    Ok(Record { id, takes, deliveries, label, size: row.get(8)?, body: row.get(9)?, bytes })
}

/// An agent's name from a column.
pub(super) fn agent(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentId> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}
