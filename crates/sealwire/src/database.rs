//! The file of what must outlive a process, `state.db`: where it is, whose, and how it is shared.
//!
//! Several parts keep tables in it, each under a component's name, and several processes may
//! have it open. Who writes waits for the others.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

use crate::home::Home;
use crate::private;

/// How long others may write before we give up.
const BUSY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The tables of one component.
pub(crate) struct Tables {
    pub(crate) component: &'static str,
    /// Changed with what `create` makes.
    pub(crate) version: i64,
    pub(crate) create: &'static str,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file or its directory cannot be used.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The database says no.
    #[error("{}: {reason}", file.display())]
    Database {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: rusqlite::Error,
    },
    /// It holds what this program cannot read.
    #[error("{}: {reason}", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl StateError {
    /// Whether there is no place for it: no such directory, or one that may not be entered or
    /// written.
    pub fn is_denied(&self) -> bool {
        let Self::File { reason, .. } = self else { return false };
        matches!(
            reason.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

/// Opens the state file of `home` with these tables, and makes its directory, the file and the
/// tables where there are none.
///
/// # Errors
/// If it cannot be used, or others could use it too; if there is none, and one in the home
/// itself, which would be forgotten.
pub(crate) fn open(home: &Home, tables: &Tables) -> Result<Connection, StateError> {
    let file = home.state_file();
    left_behind(home)?;
    let unusable = |reason| StateError::File { file: file.clone(), reason };
    private::make_directory(home.state_dir())
        .map_err(|reason| StateError::File { file: home.state_dir().to_owned(), reason })?;
    let metadata = private::open(&file).and_then(|it| it.metadata()).map_err(unusable)?;
    check_private(&metadata, &file)?;
    let fault = |reason| StateError::Database { file: file.clone(), reason };
    let mut db = connect(&file).map_err(fault)?;
    prepare(&mut db, home, tables)?;
    Ok(db)
}

/// Makes these tables in the open state file of `home`, unless they are there.
///
/// # Errors
/// If it cannot be written, or they are of another version.
pub(crate) fn prepare(db: &mut Connection, home: &Home, tables: &Tables) -> Result<(), StateError> {
    let file = home.state_file();
    let made = make(db, tables);
    let version = made.map_err(|reason| StateError::Database { file: file.clone(), reason })?;
    let Tables { component, version: known, .. } = tables;
    if version == *known {
        return Ok(());
    }
    let reason = format!(
        "its tables of {component:?} have version {version}, this program knows {known}; use the \
         program that wrote it"
    );
    Err(StateError::Unusable { file, reason })
}

/// One more connection to the state file of `home`, which has just been opened.
///
/// # Errors
/// If it cannot be used.
pub(crate) fn open_again(home: &Home) -> Result<Connection, StateError> {
    let file = home.state_file();
    connect(&file).map_err(|reason| StateError::Database { file, reason })
}

/// A connection to the state file of `home` for one who only reads; `None` if there is no file.
/// It waits for nobody who writes.
///
/// # Errors
/// If it cannot be used, or others could use it too.
pub(crate) fn open_to_read(home: &Home) -> Result<Option<Connection>, StateError> {
    if !exists(home)? {
        return Ok(None);
    }
    let file = home.state_file();
    let metadata = file.metadata();
    let metadata = metadata.map_err(|reason| StateError::File { file: file.clone(), reason })?;
    check_private(&metadata, &file)?;
    open_again(home).map(Some)
}

fn check_private(metadata: &std::fs::Metadata, file: &Path) -> Result<(), StateError> {
    if private::is_private(metadata) {
        return Ok(());
    }
    let reason = "it can be used by others; chmod go-rwx it".to_owned();
    Err(StateError::Unusable { file: file.to_owned(), reason })
}

/// Whether `home` has a state file. Makes nothing.
///
/// # Errors
/// If that cannot be told, or it has one where it is not looked for.
pub(crate) fn exists(home: &Home) -> Result<bool, StateError> {
    match home.state_file().try_exists() {
        Ok(false) => left_behind(home).map(|()| false),
        Ok(true) => Ok(true),
        Err(reason) => Err(StateError::File { file: home.state_file(), reason }),
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(file)?;
    db.busy_timeout(BUSY)?;
    // SQLite itself does not wait for whoever changes the journal mode.
    let give_up = Instant::now() + BUSY;
    loop {
        match db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < give_up =>
            {
                sleep(PAUSE);
            }
            done => break drop(done?),
        }
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync does not reach the disk (macOS). No effect elsewhere.
    db.pragma_update(None, "fullfsync", true)?;
    // The mailbox writes the log back when it sees fit.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

/// Makes the tables unless they are there; their version.
fn make(db: &mut Connection, tables: &Tables) -> rusqlite::Result<i64> {
    let db = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS component_version (
            component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    let select = "SELECT version FROM component_version WHERE component = ?1";
    let version = db.query_row(select, [tables.component], |row| row.get(0)).optional()?;
    if let Some(version) = version {
        return Ok(version);
    }
    db.execute_batch(tables.create)?;
    db.execute(
        "INSERT INTO component_version (component, version) VALUES (?1, ?2)",
        (tables.component, tables.version),
    )?;
    db.commit()?;
    Ok(tables.version)
}

/// Refuses to begin a new state where one is left in the home: who is quarantined in that one
/// would be let in.
fn left_behind(home: &Home) -> Result<(), StateError> {
    // What may not be looked at is not ours: the home of a service is closed to it.
    let is_there = |file: &PathBuf| matches!(file.try_exists(), Ok(true));
    let Some(old) = home.abandoned_state_file().filter(is_there) else { return Ok(()) };
    let file = home.state_file();
    if is_there(&file) {
        return Ok(());
    }
    let reason = format!(
        "the state is still in {}: move it here with all that begins with its name \
         (state.db-wal, state.db-mail), or away if it is to be forgotten",
        old.display()
    );
    Err(StateError::Unusable { file, reason })
}
