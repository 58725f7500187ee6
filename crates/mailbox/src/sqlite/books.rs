//! What a transaction counts: read once, kept at hand by its jobs, written once.
//!
//! Sixty-four messages for one agent change its counts sixty-four times, and one row once. The
//! turnstile and the transaction let nobody else change them meanwhile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension};

use super::Fault;

/// How many messages there are, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heap {
    pub(super) messages: i64,
    pub(super) bytes: i64,
}

impl Heap {
    /// One more, of so many bytes.
    pub(super) fn add(&mut self, size: i64) {
        self.messages += 1;
        self.bytes += size;
    }

    /// Whether one more of so many bytes fits.
    pub(super) fn has_room(&self, size: u64, most: u64, most_bytes: u64) -> bool {
        self.messages.cast_unsigned() < most
            && self.bytes.cast_unsigned().saturating_add(size) <= most_bytes
    }

    pub(super) fn remove(&mut self, size: i64) {
        self.messages -= 1;
        self.bytes -= size;
    }
}

/// What there is for an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// On lease or not.
    pub(super) waiting: Heap,
    pub(super) dead: Heap,
    /// The number of the last message that was put.
    last: i64,
}

/// What `mail_store` says that transactions change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Store {
    /// Deliveries and acknowledgements, as the witness counts them.
    pub(super) claims: i64,
    /// Ids of messages that expired up to then are forgotten.
    pub(super) purged: i64,
    /// What was issued up to then may have been delivered.
    pub(super) lost: i64,
    /// When the upkeep was last done.
    pub(super) upkeep: i64,
}

/// The books of one transaction.
pub(super) struct Books {
    pub(super) store: Store,
    /// As it was read.
    before: Store,
    /// Of each agent that was asked about: its counts now, and as they were read.
    boxes: BTreeMap<String, (Count, Count)>,
    /// The number of the last message for any agent, once it was asked for.
    last: Option<i64>,
    /// How much of an agent's waiting mail is from a sender, where that was asked for.
    shares: BTreeMap<(String, String), Heap>,
}

impl Books {
    pub(super) fn open(db: &Connection) -> Result<Self, Fault> {
        let store = db
            .prepare_cached("SELECT claims, purged, lost, upkeep FROM mail_store")?
            .query_row([], |row| {
                Ok(Store {
                    claims: row.get(0)?,
                    purged: row.get(1)?,
                    lost: row.get(2)?,
                    upkeep: row.get(3)?,
                })
            })?;
        Ok(Self {
            store,
            before: store,
            boxes: BTreeMap::new(),
            last: None,
            shares: BTreeMap::new(),
        })
    }

    /// The counts of an agent, to be changed.
    pub(super) fn of(&mut self, db: &Connection, agent: &str) -> Result<&mut Count, Fault> {
        match self.boxes.entry(agent.to_owned()) {
            Entry::Occupied(known) => Ok(&mut known.into_mut().0),
            Entry::Vacant(unknown) => {
                let count = db
                    .prepare_cached(
                        "SELECT messages, bytes, dead, dead_bytes, last FROM mail_box
                         WHERE agent = ?1",
                    )?
                    .query_row([agent], |row| {
                        let waiting = Heap { messages: row.get(0)?, bytes: row.get(1)? };
                        let dead = Heap { messages: row.get(2)?, bytes: row.get(3)? };
                        Ok(Count { waiting, dead, last: row.get(4)? })
                    })
                    .optional()?
                    .unwrap_or_default();
                Ok(&mut unknown.insert((count, count)).0)
            }
        }
    }

    /// Counts one more message for an agent, and returns a number for it that none ever had.
    pub(super) fn put(
        &mut self,
        db: &Connection,
        agent: &str,
        sender: &str,
        size: i64,
    ) -> Result<i64, Fault> {
        let last = match self.last {
            Some(last) => last,
            // If somebody put messages there by hand, they must not stop what follows.
            None => db
                .prepare_cached(
                    "SELECT max(coalesce((SELECT max(last) FROM mail_box), 0),
                         coalesce((SELECT max(id) FROM mail_record), 0))",
                )?
                .query_row([], |row| row.get(0))?,
        };
        let number = last + 1;
        let count = self.of(db, agent)?;
        count.waiting.add(size);
        count.last = number;
        self.last = Some(number);
        if !self.shares.is_empty()
            && let Some(share) = self.shares.get_mut(&(agent.to_owned(), sender.to_owned()))
        {
            share.add(size);
        }
        Ok(number)
    }

    /// Counts one message for an agent less, that does not wait any more.
    pub(super) fn end(&mut self, db: &Connection, agent: &str, size: i64) -> Result<(), Fault> {
        // Whose it was is not known here.
        self.shares.clear();
        self.of(db, agent)?.waiting.remove(size);
        Ok(())
    }

    /// Counts a dead letter of an agent as one that waits.
    pub(super) fn revive(&mut self, db: &Connection, agent: &str, size: i64) -> Result<(), Fault> {
        self.shares.clear();
        let count = self.of(db, agent)?;
        count.dead.remove(size);
        count.waiting.add(size);
        Ok(())
    }

    /// How much of what waits for an agent is from one sender. Looks through it, once for this
    /// transaction.
    pub(super) fn share(
        &mut self,
        db: &Connection,
        agent: &str,
        sender: &str,
    ) -> Result<Heap, Fault> {
        match self.shares.entry((agent.to_owned(), sender.to_owned())) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(unknown) => {
                let share = db
                    .prepare_cached(
                        "SELECT count(*), coalesce(sum(size), 0) FROM (
                             SELECT size FROM mail_record
                             WHERE state = 0 AND agent = ?1 AND sender = ?2
                             UNION ALL SELECT size FROM mail_record
                             WHERE state = 1 AND agent = ?1 AND sender = ?2)",
                    )?
                    .query_row((agent, sender), |row| {
                        Ok(Heap { messages: row.get(0)?, bytes: row.get(1)? })
                    })?;
                Ok(*unknown.insert(share))
            }
        }
    }

    /// Writes what has changed. Returns how many claims there are now, if there are more.
    pub(super) fn close(self, db: &Connection) -> Result<Option<u64>, Fault> {
        for (agent, (count, before)) in &self.boxes {
            if count != before {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO mail_box
                         (agent, messages, bytes, dead, dead_bytes, last)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    agent,
                    count.waiting.messages,
                    count.waiting.bytes,
                    count.dead.messages,
                    count.dead.bytes,
                    count.last,
                ))?;
            }
        }
        let Store { claims, purged, lost, upkeep } = self.store;
        if self.store != self.before {
            db.prepare_cached(
                "UPDATE mail_store
                 SET claims = ?1, purged = ?2, lost = ?3, upkeep = ?4",
            )?
            .execute((claims, purged, lost, upkeep))?;
        }
        Ok((claims != self.before.claims).then_some(claims.cast_unsigned()))
    }
}
