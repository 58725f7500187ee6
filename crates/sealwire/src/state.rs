//! What must outlive `serve` and is no configuration: who is quarantined.
//!
//! It is in the home's `state.db`, which the mailbox shares; the tables here are those of the
//! component `guard`. Several processes may have it open. Who writes waits for the others, and
//! each change is on the disk before it is told.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use sealwire_guard::{Entry, Target, TrustMatrix};
use sealwire_names::Timestamp;

use crate::home::Home;

/// Changed with the tables below.
const VERSION: i64 = 1;
const COMPONENT: &str = "guard";
/// How long others may write before we give up.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
CREATE TABLE guard_quarantine (
    kind TEXT NOT NULL, name TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,       -- milliseconds since 1970
    until INTEGER,                -- NULL: until it is lifted
    incident INTEGER,             -- NULL: by an operator
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
";

/// The open state of a home.
#[derive(Debug)]
pub struct State {
    db: Connection,
    file: PathBuf,
    /// Changed whenever the quarantine does, for programs that watch files.
    stamp: PathBuf,
    seen: i64,
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
    /// Whether there is no home, or it may not be entered or written, as where it belongs to
    /// somebody else: nobody can have put anything there through us, either.
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

impl State {
    /// Opens the state of `home`, and makes its file, for its owner alone, if there is none.
    ///
    /// # Errors
    /// If it cannot be used, or others could use it too.
    pub fn open(home: &Home) -> Result<Self, StateError> {
        let file = home.state_file();
        let unusable = |reason| StateError::File { file: file.clone(), reason };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mode = options.open(&file).and_then(|opened| opened.metadata()).map_err(unusable)?;
        if mode.permissions().mode() & 0o077 != 0 {
            let reason = "it can be used by others; chmod go-rwx it".to_owned();
            return Err(StateError::Unusable { file, reason });
        }
        let fault = |reason| StateError::Database { file: file.clone(), reason };
        let db = Self::database(&file).map_err(fault)?;
        let mut state = Self { db, file, stamp: home.quarantine_stamp(), seen: 0 };
        state.prepare()?;
        state.seen = state.version()?;
        Ok(state)
    }

    /// As [`open`](Self::open), but makes nothing: `None` if there is no file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(home: &Home) -> Result<Option<Self>, StateError> {
        match home.state_file().try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Self::open(home).map(Some),
            Err(reason) => Err(StateError::File { file: home.state_file(), reason }),
        }
    }

    fn database(file: &Path) -> rusqlite::Result<Connection> {
        let db = Connection::open(file)?;
        db.busy_timeout(BUSY)?;
        let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode != "wal" {
            db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        }
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "fullfsync", true)?;
        // The mailbox writes the log back when it sees fit.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(db)
    }

    fn prepare(&mut self) -> Result<(), StateError> {
        let file = self.file.clone();
        let version = self.write(|db| {
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
            if let Some(version) = version {
                return Ok(version);
            }
            db.execute_batch(TABLES)?;
            db.execute(
                "INSERT INTO component_version (component, version) VALUES (?1, ?2)",
                (COMPONENT, VERSION),
            )?;
            Ok(VERSION)
        })?;
        if version == VERSION {
            return Ok(());
        }
        let reason = format!(
            "its tables of the guard have version {version}, this program knows {VERSION}; use \
             the program that wrote it"
        );
        Err(StateError::Unusable { file, reason })
    }

    /// Who is quarantined now.
    ///
    /// # Errors
    /// If it cannot be read; or holds what nobody can have written, as then it is not known
    /// who is to be kept out.
    pub fn quarantined(&self, now: Timestamp) -> Result<Vec<Entry>, StateError> {
        let rows = self.rows(now).map_err(|reason| self.fault(reason))?;
        let entry = |(kind, name, reason, since, until, incident): Row| {
            let target = Target::parse(&kind, &name).ok_or_else(|| StateError::Unusable {
                file: self.file.clone(),
                reason: format!("it quarantines {kind:?} {name:?}, which cannot be"),
            })?;
            Ok(Entry {
                target,
                reason,
                since: Timestamp::from_unix_millis(since),
                until: until.map(Timestamp::from_unix_millis),
                incident: incident.map(i64::cast_unsigned),
            })
        };
        rows.into_iter().map(entry).collect()
    }

    fn rows(&self, now: Timestamp) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.db.prepare_cached(
            "SELECT kind, name, reason, since, until, incident FROM guard_quarantine
             WHERE until IS NULL OR until > ?1 ORDER BY since, kind, name",
        )?;
        let rows = statement.query_map([now.unix_millis()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        rows.collect()
    }

    /// Quarantines a target, in place of what held for it before. It is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn quarantine(&mut self, entry: &Entry) -> Result<(), StateError> {
        self.write(|db| {
            db.execute(
                "DELETE FROM guard_quarantine WHERE until <= ?1",
                [entry.since.unix_millis()],
            )?;
            db.execute(
                "INSERT OR REPLACE INTO guard_quarantine
                 (kind, name, reason, since, until, incident) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    entry.target.kind(),
                    entry.target.name(),
                    &entry.reason,
                    entry.since.unix_millis(),
                    entry.until.map(Timestamp::unix_millis),
                    entry.incident.map(u64::cast_signed),
                ),
            )?;
            Ok(())
        })?;
        self.ring();
        Ok(())
    }

    /// Lifts a quarantine; whether there was one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn lift(&mut self, target: &Target) -> Result<bool, StateError> {
        let lifted = self.write(|db| {
            db.execute(
                "DELETE FROM guard_quarantine WHERE kind = ?1 AND name = ?2",
                (target.kind(), target.name()),
            )
        })?;
        self.ring();
        Ok(lifted > 0)
    }

    /// Whether another process has written anything since this was last asked.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn has_changed(&mut self) -> Result<bool, StateError> {
        let version = self.version()?;
        Ok(std::mem::replace(&mut self.seen, version) != version)
    }

    fn version(&self) -> Result<i64, StateError> {
        let version = self.db.query_row("PRAGMA data_version", [], |row| row.get(0));
        version.map_err(|reason| self.fault(reason))
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let transact = || {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        transact().map_err(|reason| StateError::Database { file: self.file.clone(), reason })
    }

    /// Tells those who watch files. They would notice at their next look in any case.
    fn ring(&self) {
        let now = Timestamp::from(SystemTime::now());
        let told = self.stamp.parent().map_or(Ok(()), make_private_directory).and_then(|()| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut stamp = options.open(&self.stamp)?;
            io::Write::write_all(&mut stamp, format!("{now}\n").as_bytes())
        });
        if let Err(error) = told {
            tracing::warn!(file = %self.stamp.display(), %error, "cannot be written");
        }
    }

    fn fault(&self, reason: rusqlite::Error) -> StateError {
        StateError::Database { file: self.file.clone(), reason }
    }
}

type Row = (String, String, String, i64, Option<i64>, Option<i64>);

/// Shuts the quarantined agents of `home` out of the rules of who may write to whom.
///
/// # Errors
/// If it is not known who they are.
pub fn quarantine_agents(home: &Home, matrix: &mut TrustMatrix) -> Result<(), StateError> {
    let Some(state) = State::open_existing(home)? else { return Ok(()) };
    for entry in state.quarantined(SystemTime::now().into())? {
        if let Target::Agent(agent) = &entry.target {
            matrix.quarantine(agent.clone(), entry.refusal());
        }
    }
    Ok(())
}

/// Makes a directory for its owner alone, unless it is there; one that others can enter is
/// closed to them.
///
/// # Errors
/// If it cannot be made, or is not ours to close.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn entry(name: &str, until: Option<i64>) -> Entry {
        let target = Target::parse("agent", name).unwrap();
        let (reason, until) = ("test".to_owned(), until.map(at));
        Entry { target, reason, since: at(1), until, incident: None }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        (dir, home)
    }

    #[test]
    fn what_is_quarantined_survives_until_it_expires_or_is_lifted() {
        let (_dir, home) = home();
        assert!(State::open_existing(&home).unwrap().is_none());
        let mut state = State::open(&home).unwrap();
        state.quarantine(&entry("A", None)).unwrap();
        state.quarantine(&entry("B", Some(10))).unwrap();
        drop(state);
        let mut state = State::open_existing(&home).unwrap().unwrap();
        assert_eq!(state.quarantined(at(9)).unwrap(), [entry("A", None), entry("B", Some(10))]);
        assert_eq!(state.quarantined(at(10)).unwrap(), [entry("A", None)]);
        assert!(state.lift(&entry("A", None).target).unwrap());
        assert!(!state.lift(&entry("A", None).target).unwrap());
        assert_eq!(state.quarantined(at(10)).unwrap(), []);
    }

    #[test]
    fn a_change_by_another_process_is_noticed() {
        let (_dir, home) = home();
        let (mut one, mut other) = (State::open(&home).unwrap(), State::open(&home).unwrap());
        assert!(!one.has_changed().unwrap());
        other.quarantine(&entry("A", None)).unwrap();
        assert!(one.has_changed().unwrap());
        assert!(!one.has_changed().unwrap());
        assert_eq!(one.quarantined(at(2)).unwrap().len(), 1);
    }

    #[test]
    fn what_others_can_use_or_nobody_can_read_is_refused() {
        let (_dir, home) = home();
        let state = State::open(&home).unwrap();
        state
            .db
            .execute("INSERT INTO guard_quarantine VALUES ('peer','?','',0,NULL,NULL)", [])
            .unwrap();
        let error = state.quarantined(at(1)).unwrap_err();
        assert!(error.to_string().contains("cannot be"), "{error}");
        fs::set_permissions(home.state_file(), fs::Permissions::from_mode(0o640)).unwrap();
        let error = State::open(&home).unwrap_err();
        assert!(error.to_string().contains("chmod"), "{error}");
    }
}
