//! What is revoked, as the state of a home says, and those who connect by it.
//!
//! A list that comes from elsewhere (of another machine, or of the authority) belongs here, too:
//! what is in force is all of it together, one [`Revocations`].

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension, Transaction};
use sealwire_identity::{Revocation, RevocationLists, Revocations, Revoked};
use sealwire_names::Timestamp;
use tokio::sync::watch;

use crate::Snapshot;
use crate::config::SecureMcpConfig;
use crate::database::{self, StateError, Tables};
use crate::home::Home;

/// How often whoever is connected looks whether anything was revoked.
const LOOK: Duration = Duration::from_secs(1);

/// How many seconds ahead a name may be revoked by commands that follow each other closely.
pub const MOST_AHEAD: i64 = 5;

/// The files that say what authorities have revoked, and whose word counts.
#[derive(Clone, Debug, Default)]
pub struct ListFiles {
    lists: Vec<PathBuf>,
    issuers: Vec<PathBuf>,
}

impl ListFiles {
    /// Those of a configuration. Lists may be by its trust anchors, and by the authorities
    /// between them and certificates of its own.
    pub fn of(config: &SecureMcpConfig) -> Self {
        if config.crl.is_empty() {
            return Self::default();
        }
        let mut issuers = BTreeSet::from([config.ca_cert.clone(), config.client_cert.clone()]);
        for entry in config.servers.values() {
            let Some((tls_cert, _)) = entry.role.pair() else { continue };
            issuers.extend([entry.trusted_ca.clone(), tls_cert.clone()]);
        }
        // What is missing is told where it is used.
        let issuers = issuers.into_iter().filter(|file| file.exists()).collect();
        Self { lists: config.crl.clone(), issuers }
    }

    /// Reads and verifies them.
    ///
    /// # Errors
    /// As [`RevocationLists::load`].
    pub fn load(&self, now: Timestamp) -> Result<RevocationLists, sealwire_identity::Error> {
        RevocationLists::load(&paths(&self.lists), &paths(&self.issuers), now)
    }

    /// What they say, whatever their age: enough to know a revoked service from which new ones come.
    ///
    /// # Errors
    /// As [`RevocationLists::load_late`].
    pub fn load_late(&self, now: Timestamp) -> Result<RevocationLists, sealwire_identity::Error> {
        RevocationLists::load_late(&paths(&self.lists), &paths(&self.issuers), now)
    }
}

fn paths(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}

pub(crate) const TABLES: Tables = Tables {
    component: "revocations",
    version: 1,
    create: "
CREATE TABLE revoked (
    kind TEXT NOT NULL, what TEXT NOT NULL,
    signed TEXT,                  -- of a certificate: SHA-256 of what its issuer has signed
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,          -- milliseconds since 1970
    PRIMARY KEY (kind, what)
) STRICT, WITHOUT ROWID;
",
};

/// What is revoked in `home`, the first one first. Makes nothing, and waits for nobody who
/// writes.
///
/// # Errors
/// If it cannot be read; or holds what nobody can have written, as then it is not known what is
/// revoked.
pub fn revoked(home: &Home) -> Result<Vec<Revocation>, StateError> {
    let Some(db) = database::open_to_read(home)? else { return Ok(Vec::new()) };
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'revoked'";
    let there = db.query_row(table, [], |_| Ok(())).optional();
    let fault = |reason| StateError::Database { file: home.state_file(), reason };
    match there.map_err(fault)? {
        Some(()) => read(&db, home),
        None => Ok(Vec::new()),
    }
}

/// The same, by an open connection.
pub(crate) fn read(db: &Connection, home: &Home) -> Result<Vec<Revocation>, StateError> {
    let rows = || -> rusqlite::Result<Vec<Row>> {
        let select = "SELECT kind, what, signed, reason, at FROM revoked ORDER BY at, kind, what";
        let mut statement = db.prepare_cached(select)?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
        rows.collect()
    };
    let file = home.state_file();
    let rows = rows().map_err(|reason| StateError::Database { file, reason })?;
    let revocation = |(kind, what, signed, reason, at): Row| {
        let what = Revoked::parse(&kind, &what, signed.as_deref()).ok_or_else(|| {
            StateError::Unusable {
                file: home.state_file(),
                reason: format!("it revokes {kind:?} {what:?}, which cannot be"),
            }
        })?;
        Ok(Revocation { what, at: Timestamp::from_unix_millis(at), reason })
    };
    rows.into_iter().map(revocation).collect()
}

type Row = (String, String, Option<String>, String, i64);

/// When a revocation by command is to hold from: now, or a moment later for a name that has just
/// been revoked. What is issued after a revocation is valid from the second that follows; to be
/// cut off by another one in the same second, it must not be later than that one.
pub(crate) fn after_what_was_issued(
    db: &Transaction<'_>,
    revocation: &Revocation,
) -> rusqlite::Result<Timestamp> {
    let Revoked::Name(id) = &revocation.what else { return Ok(revocation.at) };
    let select = "SELECT at FROM revoked WHERE kind = 'name' AND what = ?1";
    let before = db.query_row(select, [id.to_string()], |row| row.get::<_, i64>(0)).optional()?;
    let Some(before) = before.map(Timestamp::from_unix_millis) else { return Ok(revocation.at) };
    let ahead = before.unix_seconds() - revocation.at.unix_seconds();
    // Further ahead is not this second's work, but that of another clock.
    let is_of_now = (0..=MOST_AHEAD).contains(&ahead);
    let next = Timestamp::from_unix_seconds(before.unix_seconds() + 1);
    Ok(if is_of_now { next } else { revocation.at })
}

/// Adds a revocation; whether it says anything new. A name can be revoked once more, for the
/// certificates issued to it since; what has been said of one certificate stays.
pub(crate) fn keep(db: &Transaction<'_>, revocation: &Revocation) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "INSERT INTO revoked (kind, what, signed, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kind, what) DO UPDATE SET reason = excluded.reason, at = excluded.at
         WHERE kind = 'name' AND excluded.at > at",
        (
            revocation.what.kind(),
            revocation.what.text(),
            revocation.what.signed().map(ToString::to_string),
            &revocation.reason,
            revocation.at.unix_millis(),
        ),
    )?;
    Ok(changed > 0)
}

/// What is revoked for those who connect: read before each dial, and while a connection stands.
#[derive(Clone)]
pub(crate) struct Followed(Arc<Inner>);

struct Inner {
    /// `None` where there is no home, and nothing is known of revocations.
    home: Option<Home>,
    files: ListFiles,
    told: watch::Sender<Arc<Revocations>>,
    looked: Mutex<Looked>,
}

/// When and how it was last read.
struct Looked {
    at: Instant,
    /// What tells of changes, as it was before.
    stamp: Snapshot,
    lists: RevocationLists,
    failed: Option<String>,
}

impl Followed {
    /// Nothing is revoked, and nothing ever will be.
    pub(crate) fn nothing() -> Self {
        Self::new(None, ListFiles::default(), Snapshot::default(), Revocations::default())
    }

    /// What is revoked in the home of that configuration, and by the lists that it names.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn of(config: &SecureMcpConfig) -> crate::Result<Self> {
        let (home, files) = (config.layout(), ListFiles::of(config));
        let stamp = stamp(&home, &files);
        let lists = files.load(SystemTime::now().into())?;
        let now = Revocations::new(revoked(&home)?).with_lists(lists);
        Ok(Self::new(Some(home), files, stamp, now))
    }

    fn new(home: Option<Home>, files: ListFiles, stamp: Snapshot, now: Revocations) -> Self {
        let looked = Mutex::new(Looked {
            at: Instant::now(),
            stamp,
            lists: now.lists().clone(),
            failed: None,
        });
        Self(Arc::new(Inner { home, files, told: watch::Sender::new(Arc::new(now)), looked }))
    }

    /// As it was last read.
    pub(crate) fn now(&self) -> Arc<Revocations> {
        Arc::clone(&self.0.told.borrow())
    }

    /// To be told of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Revocations>> {
        self.0.told.subscribe()
    }

    /// Reads it again, unless that has just been done. If it cannot be read, what was read before
    /// holds, and a warning tells why, once.
    pub(crate) fn look(&self) {
        let mut looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.at.elapsed() >= LOOK {
            self.read(&mut looked);
        }
    }

    fn read(&self, looked: &mut Looked) {
        let Some(home) = &self.0.home else { return };
        (looked.at, looked.stamp) = (Instant::now(), stamp(home, &self.0.files));
        let read = revoked(home).map_err(|error| error.to_string()).and_then(|all| {
            let lists = self.0.files.load(SystemTime::now().into());
            let lists = lists.map_err(|error| error.to_string())?;
            lists.check_follows(&looked.lists)?;
            Ok((all, lists))
        });
        let failed = match read {
            Ok((all, lists)) => {
                looked.lists = lists.clone();
                let now = Arc::new(Revocations::new(all).with_lists(lists));
                self.0.told.send_if_modified(|held| *std::mem::replace(held, now.clone()) != *now);
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed.as_ref().filter(|_| failed != looked.failed) {
            tracing::warn!(error, "what is revoked cannot be read; what was before holds");
        }
        looked.failed = failed;
    }

    /// Reads it whenever something was revoked, until it is dropped.
    pub(crate) async fn follow(self) -> Infallible {
        let Some(home) = self.0.home.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK).await;
            self.look_for_news(&home);
        }
    }

    /// Reads it if something was revoked, or it could not be read when something was: what is
    /// missed then would be missed for good.
    fn look_for_news(&self, home: &Home) {
        let now = stamp(home, &self.0.files);
        let mut looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.stamp != now || looked.failed.is_some() {
            self.read(&mut looked);
        }
    }
}

fn stamp(home: &Home, files: &ListFiles) -> Snapshot {
    Snapshot::take(files.lists.iter().cloned().chain([home.quarantine_stamp()]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::State;

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        drop(State::open(&home).unwrap());
        let config = SecureMcpConfig::parse(dir.path(), "").unwrap();
        let followed = Followed::of(&config).unwrap();
        let mut state = State::open(&home).unwrap();
        let what = Revoked::Name("spiffe://x/core/a".parse().unwrap());
        let at = Timestamp::from_unix_millis(0);
        state.revoke(&Revocation { what, at, reason: "test".to_owned() }).unwrap();
        drop(state);
        let (file, kept) = (home.state_file(), dir.path().join("kept"));
        fs::rename(&file, &kept).unwrap();
        fs::write(&file, "no database").unwrap();
        followed.look_for_news(&home);
        assert_eq!(*followed.now(), Revocations::default(), "what was before holds");
        fs::rename(&kept, &file).unwrap();
        followed.look_for_news(&home);
        assert_ne!(*followed.now(), Revocations::default());
    }
}
