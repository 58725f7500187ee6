//! Opening the database, and finding out whether it is the one that was closed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sealwire_names::{RefusalCode, Timestamp};

use super::bells::Ringer;
use super::schema::{self, DEAD};
use super::turnstile::Turnstile;
use super::witness::{Testimony, Witness};
use super::writer::Desk;
use super::{Fault, SqliteOptions, files};
use crate::clock::after;
use crate::transport::random;

/// Only against programs that do not queue at the turnstile.
const BUSY: Duration = Duration::from_secs(30);
/// Statements kept prepared: all there are.
const STATEMENTS: usize = 64;

pub(super) fn bell_directory(database: &Path) -> PathBuf {
    files::beside(database).join("bells")
}

pub(super) fn desk(database: &Path, options: &SqliteOptions) -> Result<Desk, Fault> {
    let directory = files::beside(database);
    files::create_directory(&bell_directory(database))?;
    files::check_private(&directory)?;
    // SQLite gives its -wal and -shm files the mode of the database.
    drop(files::open_or_create(database)?);
    files::check_private(database)?;

    let turnstile = Turnstile::open(&directory)?;
    let mut witness = Witness::open(&directory)?;
    // One process opens at a time: to create the tables, and because SQLite itself does not
    // wait for whoever changes the journal mode or recovers the log.
    let pass = turnstile.enter()?;
    let db = Connection::open(database)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Unusable(format!(
            "it cannot be written ahead here (journal mode {mode}); put it on a local disk"
        )));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync does not reach the disk (macOS). No effect elsewhere.
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    // A process that sends one message would write all of the log into the database, wait for
    // the disk twice, and remove it. The log is bounded by the checkpoints of those who write.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;

    // Otherwise a statement that compares a column without an index is compiled anew each time
    // that it is used, in case that another plan would suit the value it is given this time.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;

    let file = files::number_of(database)?;
    let transaction = Transaction::new_unchecked(&db, TransactionBehavior::Immediate)?;
    let store = if schema::prepare(&transaction)? {
        let store = random()?;
        create(&transaction, &store, file)?;
        witness.establish(&Testimony { store, claims: 0, at: options.clock.now() })?;
        store
    } else {
        recognise(&transaction, &mut witness, file, options)?
    };
    transaction.commit()?;
    drop(pass);

    Ok(Desk {
        path: database.to_owned(),
        db,
        options: options.clone(),
        turnstile,
        witness,
        ringer: Ringer::new(&bell_directory(database)),
        holder: i64::from_ne_bytes(random()?),
        store,
        file,
        level: None,
    })
}

fn create(db: &Connection, store: &[u8; 16], file: i64) -> Result<(), Fault> {
    db.execute(
        "INSERT INTO mail_store (one, id, file, claims, purged, lost, upkeep)
         VALUES (1, ?1, ?2, 0, ?3, ?3, 0)",
        (store, file, i64::MIN),
    )?;
    Ok(())
}

/// Whether this database knows all that it has ever known. It does if it is the same file, and
/// counts at least as many deliveries and acknowledgements as its witness. Within the turnstile nobody else
/// writes either of them.
fn recognise(
    db: &Connection,
    witness: &mut Witness,
    file: i64,
    options: &SqliteOptions,
) -> Result<[u8; 16], Fault> {
    let (store, was, claims): ([u8; 16], i64, i64) =
        db.query_row("SELECT id, file, claims FROM mail_store", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let claims = claims.cast_unsigned();
    let testimony = witness.read()?;
    let now = options.clock.now();
    let last = testimony.as_ref().map_or(now, |seen| seen.at.max(now));
    let why = match testimony {
        Some(Testimony { store: other, .. }) if other != store => "its witness is another one's",
        Some(Testimony { claims: seen, .. }) if seen > claims => "it is older than its witness",
        Some(_) if was != file => "it is a copy",
        Some(_) => return Ok(store),
        None => "its witness is missing",
    };
    let store = random()?;
    lose(db, last, &store, file, options.clock_tolerance)?;
    witness.establish(&Testimony { store, claims, at: last })?;
    tracing::warn!(
        "the mailbox has lost its replay state: {why}; what waited in it is now dead letters \
         ({}), to be released by an operator",
        RefusalCode::ReplayStateLost
    );
    Ok(store)
}

/// What was made until `now`, or until the witness saw a delivery if the clock was put back since,
/// may have been delivered already, as far as we know.
fn lose(
    db: &Connection,
    now: Timestamp,
    store: &[u8; 16],
    file: i64,
    skew: Duration,
) -> Result<(), Fault> {
    db.execute(
        "UPDATE mail_record SET state = ?1, since = ?2, released = 0, code = ?3,
             reason = 'the mailbox was restored or copied: it may have been delivered already'
         WHERE state <> ?1",
        (DEAD, now.unix_millis(), RefusalCode::ReplayStateLost.as_str()),
    )?;
    db.execute("DELETE FROM mail_lease", [])?;
    db.execute(
        "UPDATE mail_box SET dead = dead + messages, dead_bytes = dead_bytes + bytes,
             messages = 0, bytes = 0",
        [],
    )?;
    // Numbers may have been given out that this database does not know of.
    db.execute("DELETE FROM mail_numbers", [])?;
    let lost = after(now, skew).unix_millis();
    db.execute(
        "UPDATE mail_store SET id = ?1, file = ?2, lost = max(lost, ?3)",
        (store, file, lost),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use crate::SqliteOptions;
    use crate::sqlite::mail::HELD;

    #[test]
    fn statements_are_compiled_once() {
        let home = tempfile::tempdir().unwrap();
        let desk = super::desk(&home.path().join("state.db"), &SqliteOptions::default()).unwrap();
        for take in 0..9 {
            let mut look = desk.db.prepare_cached(HELD).unwrap();
            assert!(!look.exists((1, take, 7, "B")).unwrap());
            assert_eq!(look.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
