//! Messages that cannot be delivered, and how messages end.

use rusqlite::OptionalExtension;
use sealwire_envelope::MessageId;
use sealwire_names::{AgentId, Refusal, Timestamp};

use super::books::Heap;
use super::schema::DEAD;
use super::writer::Work;
use super::{Fault, mail};
use crate::{Lease, TransportError};

/// A message that was not delivered, and will not be unless an operator releases it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Names it in this database.
    pub number: i64,
    /// Whom it was for.
    pub agent: AgentId,
    /// Who put it there; not verified.
    pub from: AgentId,
    /// Its id; not verified.
    pub message_id: MessageId,
    /// How many bytes it has.
    pub size: u64,
    /// Since when it is dead.
    pub since: Timestamp,
    /// Why: a [`RefusalCode`](sealwire_names::RefusalCode) as text.
    pub code: String,
    /// The whole reason.
    pub reason: String,
}

pub(super) fn list(work: &Work<'_>, agent: Option<&AgentId>) -> Result<Vec<DeadLetter>, Fault> {
    let mut select = work.db.prepare_cached(
        "SELECT id, agent, sender, message_id, size, since, code, reason FROM mail_record
         WHERE state = 2 AND (?1 IS NULL OR agent = ?1) ORDER BY id",
    )?;
    let letters = select.query_map([agent.map(AgentId::as_str)], |row| {
        Ok(DeadLetter {
            number: row.get(0)?,
            agent: mail::agent(row, 1)?,
            from: mail::agent(row, 2)?,
            message_id: MessageId::from_bytes(row.get(3)?),
            size: row.get::<_, i64>(4)?.cast_unsigned(),
            since: Timestamp::from_unix_millis(row.get(5)?),
            code: row.get(6)?,
            reason: row.get(7)?,
        })
    })?;
    Ok(letters.collect::<Result<_, _>>()?)
}

pub(super) fn bury_leased(
    work: &mut Work<'_>,
    lease: &Lease,
    reason: &Refusal,
) -> Result<Result<(), TransportError>, Fault> {
    if mail::held(work, lease)?.is_none() {
        return Ok(Err(TransportError::LeaseLost));
    }
    bury(work, lease.record, reason)?;
    Ok(Ok(()))
}

/// Makes a dead letter of a live one.
pub(super) fn bury(work: &mut Work<'_>, record: i64, refusal: &Refusal) -> Result<(), Fault> {
    let (agent, size): (String, i64) = work
        .db
        .prepare_cached(
            "UPDATE mail_record
             SET state = 2, since = ?2, released = 0, code = ?3, reason = ?4
             WHERE id = ?1 AND state <> 2 RETURNING agent, size",
        )?
        .query_row(
            (record, work.now.unix_millis(), refusal.code.as_str(), &refusal.reason),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    mail::free(work, record)?;
    work.books.end(work.db, &agent, size)?;
    work.books.of(work.db, &agent)?.dead.add(size);
    limit(work, &agent)
}

/// Whoever sends what is refused must not fill the disk with it. Nor may he push out what waited
/// when the replay state was lost: until an operator has looked at it, that is mail. Of it there
/// may be as much as may wait.
fn limit(work: &mut Work<'_>, agent: &str) -> Result<(), Fault> {
    loop {
        let Heap { messages: dead, bytes } = work.books.of(work.db, agent)?.dead;
        let (max_dead, max_bytes) = (work.options.max_dead, work.options.max_bytes);
        let within = |dead: i64, bytes: i64| {
            dead.cast_unsigned() <= max_dead && bytes.cast_unsigned() <= max_bytes
        };
        if within(dead, bytes) {
            return Ok(());
        }
        let (lost, lost_bytes): (i64, i64) = work
            .db
            .prepare_cached(
                "SELECT count(*), coalesce(sum(size), 0) FROM mail_record
                 WHERE state = 2 AND agent = ?1 AND code = 'replay_state_lost'",
            )?
            .query_row([agent], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let kept = lost.cast_unsigned() <= work.options.max_messages
            && lost_bytes.cast_unsigned() <= max_bytes;
        if kept && within(dead - lost, bytes - lost_bytes) {
            return Ok(());
        }
        let oldest: Option<i64> = work
            .db
            .prepare_cached(
                "SELECT min(id) FROM mail_record
                 WHERE state = 2 AND agent = ?1 AND (NOT ?2 OR code <> 'replay_state_lost')",
            )?
            .query_row((agent, kept), |row| row.get(0))?;
        let Some(oldest) = oldest else { return Ok(()) };
        erase(work, oldest)?;
    }
}

pub(super) fn release(work: &mut Work<'_>, number: i64) -> Result<bool, Fault> {
    let found: Option<(String, i64)> = work
        .db
        .prepare_cached(
            "UPDATE mail_record SET state = 0, deliveries = 0, released = 1,
                 code = NULL, reason = NULL
             WHERE id = ?1 AND state = 2 RETURNING agent, size",
        )?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((agent, size)) = found else { return Ok(false) };
    work.books.revive(work.db, &agent, size)?;
    if let Ok(agent) = agent.parse() {
        work.after.rings.insert(agent);
    }
    Ok(true)
}

pub(super) fn remove(work: &mut Work<'_>, number: i64) -> Result<bool, Fault> {
    let exists = work
        .db
        .prepare_cached("SELECT 1 FROM mail_record WHERE id = ?1 AND state = ?2")?
        .exists((number, DEAD))?;
    if exists {
        erase(work, number)?;
    }
    Ok(exists)
}

/// Removes a message for good, whether it is dead or not. If it was delivered, its id will be
/// refused from now on: the replay state remembers it as that of a message that is no more.
pub(super) fn erase(work: &mut Work<'_>, record: i64) -> Result<(), Fault> {
    mail::free(work, record)?;
    let (agent, state, size, body): (String, i64, i64, Option<i64>) = work
        .db
        .prepare_cached("DELETE FROM mail_record WHERE id = ?1 RETURNING agent, state, size, body")?
        .query_row([record], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    if state == DEAD {
        work.books.of(work.db, &agent)?.dead.remove(size);
    } else {
        work.books.end(work.db, &agent, size)?;
    }
    erase_body(work, body)
}

/// Erases what a message has in common with others, once the last of them is gone.
pub(super) fn erase_body(work: &Work<'_>, body: Option<i64>) -> Result<(), Fault> {
    if let Some(body) = body {
        work.db
            .prepare_cached(
                "DELETE FROM mail_body WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM mail_record WHERE body = ?1)",
            )?
            .execute([body])?;
    }
    Ok(())
}
