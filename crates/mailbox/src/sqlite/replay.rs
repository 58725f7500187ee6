//! Which messages were delivered: unseen → delivered, as this record → done.
//!
//! Each step is in the transaction in which the message itself takes it, so a crash leaves either
//! both or neither. The same stored record may be delivered again, a copy of it never.

use rusqlite::OptionalExtension;
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use super::books::Store;
use super::writer::Work;
use super::{Fault, mail};
use crate::clock::after;
use crate::{Delivered, Label, Lease, Seen, TransportError};

pub(super) fn look(
    work: &Work<'_>,
    agent: &AgentId,
    label: &Label,
    record: i64,
) -> Result<Seen, Fault> {
    let known: Option<i64> = work
        .db
        .prepare_cached(
            "SELECT record FROM mail_replay WHERE message_id = ?3 AND agent = ?1 AND key = ?2",
        )?
        .query_row((agent.as_str(), label.key.as_bytes(), label.message_id.as_bytes()), |row| {
            row.get(0)
        })
        .optional()?;
    Ok(match known {
        None => Seen::Never,
        Some(by) if by == record => Seen::ThisOne,
        Some(_) => Seen::Another,
    })
}

pub(super) fn deliver(
    work: &mut Work<'_>,
    lease: &Lease,
    label: &Label,
) -> Result<Result<Delivered, TransportError>, Fault> {
    let Some(released) = mail::held(work, lease)? else {
        return Ok(Err(TransportError::LeaseLost));
    };
    let redelivered = match look(work, &lease.agent, label, lease.record)? {
        Seen::ThisOne => true,
        Seen::Another => {
            let reason = format!("{} has had this message before", lease.agent);
            return Ok(Err(Refusal::new(RefusalCode::MessageReplayed, reason).into()));
        }
        Seen::Never => {
            if let Err(refusal) = can_be_new(work, released, label) {
                return Ok(Err(refusal.into()));
            }
            false
        }
    };
    if !redelivered {
        work.db
            .prepare_cached(
                "INSERT INTO mail_replay (agent, key, message_id, expires, record)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                lease.agent.as_str(),
                label.key.as_bytes(),
                label.message_id.as_bytes(),
                label.expires.unix_millis(),
                lease.record,
            ))?;
        work.books.store.claims += 1;
    }
    work.db
        .prepare_cached(
            "UPDATE mail_record SET deliveries = deliveries + 1, claimed = 1 WHERE id = ?1",
        )?
        .execute([lease.record])?;
    Ok(Ok(Delivered { redelivered }))
}

/// A delivery of which nobody heard is none.
pub(super) fn uncount(work: &Work<'_>, lease: &Lease) -> Result<(), Fault> {
    work.db
        .prepare_cached(
            "UPDATE mail_record SET deliveries = max(deliveries - 1, 0)
             WHERE id = ?1 AND takes = ?2",
        )?
        .execute((lease.record, lease.take))?;
    Ok(())
}

/// An id that is not remembered is new only if it could not have been forgotten.
fn can_be_new(work: &Work<'_>, released: bool, label: &Label) -> Result<(), Refusal> {
    check_lifetime(work, label.expires)?;
    let Store { purged, lost, .. } = work.books.store;
    if label.expires.unix_millis() <= purged {
        let reason = format!("it expired on {}, and ids of that time are forgotten", label.expires);
        return Err(Refusal::new(RefusalCode::MessageExpired, reason));
    }
    if label.issued.unix_millis() <= lost && !released {
        let reason = format!(
            "it was made on {}, and what was delivered until {} is not known any more",
            label.issued,
            Timestamp::from_unix_millis(lost)
        );
        return Err(Refusal::new(RefusalCode::ReplayStateLost, reason));
    }
    Ok(())
}

/// Ids are remembered until messages expire: that must be a bounded time.
pub(super) fn check_lifetime(work: &Work<'_>, expires: Timestamp) -> Result<(), Refusal> {
    let options = work.options;
    let last = after(after(work.now, options.retention), options.clock_tolerance);
    if expires <= last {
        return Ok(());
    }
    let reason = format!("it expires on {expires}; mail is kept until {last} at most");
    Err(Refusal::new(RefusalCode::MessageLifetime, reason))
}

pub(super) fn acknowledge(
    work: &mut Work<'_>,
    lease: &Lease,
) -> Result<Result<(), TransportError>, Fault> {
    // What was never delivered has no id on record, and would leave none behind.
    if !mail::finish(work, lease)? {
        return Ok(Err(TransportError::LeaseLost));
    }
    work.books.end(work.db, lease.agent.as_str(), lease.fixed.size)?;
    // Told to the witness, too: a copy from before this would deliver it again.
    work.books.store.claims += 1;
    Ok(Ok(()))
}
