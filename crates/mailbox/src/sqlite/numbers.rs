//! Numbers of messages, counted on across processes.

use rusqlite::OptionalExtension;
use sealwire_names::Timestamp;

use super::Fault;
use super::writer::Work;
use crate::transport::random;
use crate::{Numbers, Stream};

/// Most audiences that one key counts for at a time.
const MAX_STREAMS: i64 = 4_096;

/// So that many short-lived senders with one key do not each begin an epoch: a receiver
/// remembers a few of each key, and could not tell them from an attack.
pub(super) fn lease(
    work: &Work<'_>,
    stream: &Stream,
    count: u32,
    expires: Timestamp,
) -> Result<Numbers, Fault> {
    let known: Option<(i64, i64)> = work
        .db
        .prepare_cached("SELECT epoch, next FROM mail_numbers WHERE key = ?1 AND audience = ?2")?
        .query_row((stream.key.as_bytes(), &stream.audience), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let known = known.filter(|(_, next)| next.checked_add(count.into()).is_some());
    let (epoch, first) = match known {
        Some(known) => known,
        None => {
            make_room(work, stream)?;
            (i64::from_ne_bytes(random()?), 0)
        }
    };
    work.db
        .prepare_cached(
            "INSERT INTO mail_numbers (key, audience, epoch, next, expires)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET epoch = excluded.epoch, next = excluded.next,
                 expires = max(expires, excluded.expires)",
        )?
        .execute((
            stream.key.as_bytes(),
            &stream.audience,
            epoch,
            first + i64::from(count),
            expires.unix_millis(),
        ))?;
    Ok(Numbers { epoch: epoch.cast_unsigned(), first: first.cast_unsigned(), count })
}

/// Forgets the stream of this key that was used least lately. If it is used again, it begins
/// another epoch, which is random: no number is ever used twice.
fn make_room(work: &Work<'_>, stream: &Stream) -> Result<(), Fault> {
    let streams: i64 = work
        .db
        .prepare_cached("SELECT count(*) FROM mail_numbers WHERE key = ?1")?
        .query_row([stream.key.as_bytes()], |row| row.get(0))?;
    if streams >= MAX_STREAMS {
        work.db
            .prepare_cached(
                "DELETE FROM mail_numbers WHERE key = ?1 AND audience =
                     (SELECT audience FROM mail_numbers WHERE key = ?1 ORDER BY expires LIMIT 1)",
            )?
            .execute([stream.key.as_bytes()])?;
    }
    Ok(())
}
