//! What is done from time to time, by whichever process writes then.

use sealwire_names::{Refusal, RefusalCode};

use super::writer::Work;
use super::{Fault, dead};

/// Between two times, in milliseconds.
const EVERY: u64 = 60_000;
/// Most rows of a kind at a time: others wait for this transaction.
const MOST: i64 = 2_000;

pub(super) fn if_due(work: &mut Work<'_>) -> Result<(), Fault> {
    let now = work.now.unix_millis();
    // A clock that was put back must not put it off.
    if work.books.store.upkeep.abs_diff(now) > EVERY {
        work.books.store.upkeep = now;
        forget_expired(work, now)?;
        bury_expired(work, now)?;
        erase_dead(work, now)?;
    }
    Ok(())
}

/// Forgets the ids of expired messages, and remembers the last expiry of those: if the clock is
/// put back, such messages stay expired. It is not the time of now that is remembered, or a
/// clock that was a year ahead for a moment would close the mailbox for a year.
///
/// An id whose message is still here is kept: whoever has it in hand may acknowledge it.
fn forget_expired(work: &mut Work<'_>, now: i64) -> Result<(), Fault> {
    let last: Option<i64> = work
        .db
        .prepare_cached(
            "SELECT max(expires) FROM (SELECT expires FROM mail_replay
                 WHERE expires <= ?1
                     AND NOT EXISTS (SELECT 1 FROM mail_record WHERE id = mail_replay.record)
                 ORDER BY expires LIMIT ?2)",
        )?
        .query_row((now, MOST), |row| row.get(0))?;
    if let Some(last) = last {
        work.db
            .prepare_cached(
                "DELETE FROM mail_replay WHERE expires <= ?1
                     AND NOT EXISTS (SELECT 1 FROM mail_record WHERE id = mail_replay.record)",
            )?
            .execute([last])?;
        let purged = &mut work.books.store.purged;
        *purged = last.max(*purged);
    }
    work.db.prepare_cached("DELETE FROM mail_numbers WHERE expires <= ?1")?.execute([now])?;
    Ok(())
}

fn bury_expired(work: &mut Work<'_>, now: i64) -> Result<(), Fault> {
    let expired = numbers(
        work,
        "SELECT id FROM mail_record WHERE state <> 2 AND expires <= ?1
             AND NOT EXISTS (SELECT 1 FROM mail_lease AS lease
                 WHERE lease.agent = mail_record.agent AND lease.sender = mail_record.sender
                     AND lease.priority = mail_record.priority AND record = id AND until > ?1)
         LIMIT ?2",
        now,
    )?;
    let refusal =
        Refusal::new(RefusalCode::MessageExpired, "it expired before it was acknowledged");
    expired.into_iter().try_for_each(|record| dead::bury(work, record, &refusal))
}

fn erase_dead(work: &mut Work<'_>, now: i64) -> Result<(), Fault> {
    let retention = i64::try_from(work.options.retention.as_millis()).unwrap_or(i64::MAX);
    let old = numbers(
        work,
        "SELECT id FROM mail_record WHERE state = 2 AND since <= ?1 LIMIT ?2",
        now.saturating_sub(retention),
    )?;
    old.into_iter().try_for_each(|record| dead::erase(work, record))
}

fn numbers(work: &Work<'_>, select: &str, moment: i64) -> Result<Vec<i64>, Fault> {
    let mut select = work.db.prepare_cached(select)?;
    let found = select.query_map((moment, MOST), |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
