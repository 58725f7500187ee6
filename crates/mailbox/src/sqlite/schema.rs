//! Tables of the component `mail` in a database that other components share.

use rusqlite::{Connection, OptionalExtension};

use super::Fault;

/// Changed with the tables below.
const VERSION: i64 = 3;
const COMPONENT: &str = "mail";

/// A dead letter.
pub(super) const DEAD: i64 = 2;

/// The number of a message is never given to another one, so that neither a lease nor the replay
/// state can be about the wrong one. `bytes` come last: what looks at the other columns need not
/// read past them.
const TABLES: &str = "
CREATE TABLE mail_record (
    id INTEGER PRIMARY KEY,       -- counted by mail_box
    agent TEXT NOT NULL,
    sender TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,       -- 0 waiting, 1 held: on lease or put off, 2 dead
    since INTEGER NOT NULL,       -- dead: since when
    takes INTEGER NOT NULL,       -- how often it was taken: names one lease
    deliveries INTEGER NOT NULL,
    claimed INTEGER NOT NULL,     -- it was delivered, and its id is in mail_replay
    released INTEGER NOT NULL,    -- an operator let it pass in spite of lost replay state
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    size INTEGER NOT NULL,
    key BLOB NOT NULL,
    message_id BLOB NOT NULL,
    code TEXT,                    -- dead: why
    reason TEXT,
    body INTEGER,                 -- a message to several agents is kept once, in mail_body
    bytes BLOB
) STRICT;
-- Each ends with the id, which SQLite adds by itself.
CREATE INDEX mail_waiting ON mail_record (agent, priority DESC, sender) WHERE state = 0;
CREATE INDEX mail_dead ON mail_record (agent) WHERE state = 2;
CREATE INDEX mail_lost ON mail_record (agent, size) WHERE state = 2 AND code = 'replay_state_lost';
CREATE INDEX mail_shared ON mail_record (body) WHERE body IS NOT NULL;
CREATE TABLE mail_body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE mail_box (
    agent TEXT PRIMARY KEY,
    messages INTEGER NOT NULL, bytes INTEGER NOT NULL,
    dead INTEGER NOT NULL, dead_bytes INTEGER NOT NULL,
    last INTEGER NOT NULL         -- the number of its last message
) STRICT, WITHOUT ROWID;
CREATE TABLE mail_numbers (
    key BLOB NOT NULL, audience BLOB NOT NULL,
    epoch INTEGER NOT NULL, next INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (key, audience)
) STRICT, WITHOUT ROWID;
CREATE INDEX mail_numbers_expires ON mail_numbers (expires);
CREATE TABLE mail_store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL,             -- random, as in the witness
    file INTEGER NOT NULL,        -- inode: a copy has another one
    claims INTEGER NOT NULL,      -- deliveries and acknowledgements, as in the witness
    purged INTEGER NOT NULL,      -- ids that expired up to then are forgotten
    lost INTEGER NOT NULL,        -- what was issued up to then may have been delivered
    upkeep INTEGER NOT NULL       -- when it was last done
) STRICT;
";

/// What was delivered to whom, of which signing key: an id alone is the sender's choice, and could
/// be somebody else's. Ids are random, and each falls on another page of an index: that has nothing
/// else in it, and the rest is in the order in which it came.
const REPLAY: &str = "
CREATE TABLE mail_replay (
    place INTEGER PRIMARY KEY,
    agent TEXT NOT NULL, key BLOB NOT NULL, message_id BLOB NOT NULL,
    expires INTEGER NOT NULL,
    record INTEGER NOT NULL       -- delivered as this; once that is gone, done
) STRICT;
CREATE INDEX mail_replay_id ON mail_replay (message_id);
CREATE INDEX mail_replay_expires ON mail_replay (expires);
";

/// Of those messages that are held. Apart from them: their pages are full, and would be split if a
/// message took more room when it is taken. In the order in which lanes ask for it, so that it
/// needs no index.
const LEASES: &str = "
CREATE TABLE mail_lease (
    agent TEXT NOT NULL, sender TEXT NOT NULL, priority INTEGER NOT NULL, record INTEGER NOT NULL,
    until INTEGER NOT NULL,       -- when it waits again
    holder INTEGER,               -- on lease to whom; NULL: put off
    PRIMARY KEY (agent, sender, priority, record)
) STRICT, WITHOUT ROWID;
";

/// From version 2, in which leases had a table by number, and the messages an index for them.
const FROM_2: &str = "
INSERT INTO mail_lease
    SELECT agent, sender, priority, id, until, holder FROM mail_lease_2 JOIN mail_record ON id = record;
DROP TABLE mail_lease_2;
DROP INDEX mail_held;
INSERT INTO mail_replay (agent, key, message_id, expires, record)
    SELECT agent, key, message_id, expires, record FROM mail_replay_2 ORDER BY expires;
DROP TABLE mail_replay_2;
";

/// Makes the tables unless they are there. To be called within a transaction; returns whether
/// they are new.
pub(super) fn prepare(db: &Connection) -> Result<bool, Fault> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS component_version (
            component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    let version: Option<i64> = db
        .query_row(
            "SELECT version FROM component_version WHERE component = ?1",
            [COMPONENT],
            |row| row.get(0),
        )
        .optional()?;
    match version {
        Some(VERSION) => Ok(false),
        Some(2) => {
            db.execute_batch(
                "ALTER TABLE mail_lease RENAME TO mail_lease_2;
                 ALTER TABLE mail_replay RENAME TO mail_replay_2;
                 DROP INDEX mail_replay_expires",
            )?;
            [LEASES, REPLAY, FROM_2].iter().try_for_each(|sql| db.execute_batch(sql))?;
            db.execute(
                "UPDATE component_version SET version = ?2 WHERE component = ?1",
                (COMPONENT, VERSION),
            )?;
            Ok(false)
        }
        Some(other) => Err(Fault::Unusable(format!(
            "its mail tables have version {other}, this program knows {VERSION}; use the program \
             that wrote it, or move the file away"
        ))),
        None => {
            [TABLES, LEASES, REPLAY].iter().try_for_each(|sql| db.execute_batch(sql))?;
            db.execute(
                "INSERT INTO component_version (component, version) VALUES (?1, ?2)",
                (COMPONENT, VERSION),
            )?;
            Ok(true)
        }
    }
}
