//! What must outlive `serve` and is no configuration: who is quarantined, the incidents that led
//! to it, and what is revoked.
//!
//! It is in `state.db` of the home's state directory, which the mailbox shares; the tables here
//! are those of the components `guard`, `incidents`, `revocations` and `denylist`. Several processes may have it open. Who
//! writes waits for the others, and each change is on the disk before it is told.

mod alerts;
mod incidents;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use sealwire_guard::{Entry, Target, TrustMatrix};
use sealwire_identity::Revocation;
use sealwire_names::Timestamp;

pub use alerts::{AlertChange, KeptAlerts};

pub use crate::database::StateError;
use crate::database::{self, Tables};
use crate::denylist::{self, Denylist, Edition};
use crate::home::Home;
use crate::private;
pub use crate::private::make_private_directory;
use crate::revocations;

const TABLES: Tables = Tables {
    component: "guard",
    version: 1,
    create: "
CREATE TABLE guard_quarantine (
    kind TEXT NOT NULL, name TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,       -- milliseconds since 1970
    until INTEGER,                -- NULL: until it is lifted
    incident INTEGER,             -- NULL: by an operator
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
",
};

/// The open state of a home.
#[derive(Debug)]
pub struct State {
    db: Connection,
    home: Home,
    file: PathBuf,
    /// Changed whenever the quarantine or a revocation does, for programs that watch files.
    stamp: PathBuf,
    seen: i64,
}

impl State {
    /// Opens the state of `home`, and makes its directory and its file, for their owner alone,
    /// if there are none.
    ///
    /// # Errors
    /// If it cannot be used, or others could use it too; if there is none, and one in the home
    /// itself, which would be forgotten.
    pub fn open(home: &Home) -> Result<Self, StateError> {
        let mut db = database::open(home, &TABLES)?;
        database::prepare(&mut db, home, &incidents::TABLES)?;
        database::prepare(&mut db, home, &revocations::TABLES)?;
        database::prepare(&mut db, home, &denylist::TABLES)?;
        let (file, stamp) = (home.state_file(), home.quarantine_stamp());
        let mut state = Self { db, home: home.clone(), file, stamp, seen: 0 };
        state.seen = state.version()?;
        Ok(state)
    }

    /// As [`open`](Self::open), but makes nothing: `None` if there is no file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(home: &Home) -> Result<Option<Self>, StateError> {
        if database::exists(home)? { Self::open(home).map(Some) } else { Ok(None) }
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
        self.write(|db| insert(db, entry))?;
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

    /// What is revoked, the first one first.
    ///
    /// # Errors
    /// As [`revocations::revoked`].
    pub fn revoked(&self) -> Result<Vec<Revocation>, StateError> {
        revocations::read(&self.db, &self.home)
    }

    /// Revokes by command; whether that says anything new. It is on the disk when this returns.
    /// A name that was revoked in the same second is revoked up to the next one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn revoke(&mut self, revocation: &Revocation) -> Result<bool, StateError> {
        let is_new = self.write(|db| {
            let at = revocations::after_what_was_issued(db, revocation)?;
            revocations::keep(db, &Revocation { at, ..revocation.clone() })
        })?;
        self.ring();
        Ok(is_new)
    }

    /// Takes over what an authority elsewhere says is revoked, unless a later list of it was taken
    /// over before. How much of it is new; or why it is not taken.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn learn(&mut self, list: &Denylist) -> Result<Result<usize, String>, StateError> {
        let learned = self.write(|db| denylist::learn(db, list))?;
        if learned.as_ref().is_ok_and(|new| *new > 0) {
            self.ring();
        }
        Ok(learned)
    }

    /// The list of an authority elsewhere that was taken over last.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn denylist(&self) -> Result<Option<Edition>, StateError> {
        denylist::edition(&self.db, false).map_err(|reason| self.fault(reason))
    }

    /// Of the list that our authority makes now, what comes after the last one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn next_denylist(
        &mut self,
        issued: Timestamp,
        max_age: Duration,
    ) -> Result<Edition, StateError> {
        self.write(|db| denylist::next(db, issued, max_age))
    }

    /// What `read` finds, if another process has written anything since it last found something.
    /// After a failure it is read again when next asked for: a quarantine that could not be read
    /// once must not be missed for good.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn news<T>(
        &mut self,
        read: impl FnOnce(&Self) -> Result<T, StateError>,
    ) -> Result<Option<T>, StateError> {
        let version = self.version()?;
        if version == self.seen {
            return Ok(None);
        }
        let found = read(self)?;
        // What was written meanwhile has another number, and is news the next time.
        self.seen = version;
        Ok(Some(found))
    }

    /// What there is, is news: what this process has written itself could not be put in force.
    pub fn look_again(&mut self) {
        self.seen = 0;
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
            let mut stamp = private::open(&self.stamp)?;
            stamp.set_len(0)?;
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

/// Writes an entry in place of what held for its target; those that have expired go.
fn insert(db: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    db.execute("DELETE FROM guard_quarantine WHERE until <= ?1", [entry.since.unix_millis()])?;
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
            matrix.quarantine(agent.clone(), entry.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
    fn what_is_revoked_stays_so() {
        use sealwire_identity::Revoked;
        let (_dir, home) = home();
        assert_eq!(revocations::revoked(&home).unwrap(), []);
        assert!(!home.state_file().exists(), "nothing is made by looking");
        let revocation = |what: &Revoked, millis, reason: &str| Revocation {
            what: what.clone(),
            at: at(millis),
            reason: reason.to_owned(),
        };
        let name = Revoked::Name("spiffe://x/core/a".parse().unwrap());
        let (fingerprint, signed) = ("07".repeat(32), "08".repeat(32));
        let one = Revoked::parse("certificate", &fingerprint, Some(&signed)).unwrap();
        let mut state = State::open(&home).unwrap();
        assert!(state.revoke(&revocation(&name, 5_000, "first")).unwrap());
        assert!(state.revoke(&revocation(&one, 6_000, "lost")).unwrap());
        // What was issued since is revoked as well, and a clock that was set back revokes no less.
        assert!(state.revoke(&revocation(&name, 90_100, "again")).unwrap());
        assert!(!state.revoke(&revocation(&name, 70_000, "late")).unwrap());
        assert!(!state.revoke(&revocation(&one, 90_000, "other")).unwrap());
        // What was issued since in the same second is valid from the next one.
        assert!(state.revoke(&revocation(&name, 90_900, "once more")).unwrap());
        assert!(state.revoke(&revocation(&name, 90_950, "and once more")).unwrap());
        drop(state);
        let expected =
            [revocation(&one, 6_000, "lost"), revocation(&name, 92_000, "and once more")];
        assert_eq!(revocations::revoked(&home).unwrap(), expected);
        let state = State::open(&home).unwrap();
        assert_eq!(state.revoked().unwrap(), expected);
        state.db.execute("INSERT INTO revoked VALUES ('name','?',NULL,'',0)", []).unwrap();
        let error = revocations::revoked(&home).unwrap_err();
        assert!(error.to_string().contains("cannot be"), "{error}");
    }

    #[test]
    fn a_change_by_another_process_is_noticed() {
        let (_dir, home) = home();
        let (mut one, mut other) = (State::open(&home).unwrap(), State::open(&home).unwrap());
        let read = |state: &State| state.quarantined(at(2));
        assert_eq!(one.news(read).unwrap(), None);
        other.quarantine(&entry("A", None)).unwrap();
        assert_eq!(one.news(read).unwrap().unwrap().len(), 1);
        assert_eq!(one.news(read).unwrap(), None);
    }

    #[test]
    fn what_could_not_be_read_is_still_news() {
        let (_dir, home) = home();
        let (mut one, mut other) = (State::open(&home).unwrap(), State::open(&home).unwrap());
        other.quarantine(&entry("A", None)).unwrap();
        one.news(|state| Err::<(), _>(state.fault(rusqlite::Error::InvalidQuery))).unwrap_err();
        let read = |state: &State| state.quarantined(at(2));
        assert_eq!(one.news(read).unwrap().unwrap().len(), 1);
        assert_eq!(one.news(read).unwrap(), None);
        // Also what it has written itself.
        one.quarantine(&entry("B", None)).unwrap();
        assert_eq!(one.news(read).unwrap(), None);
        one.look_again();
        assert_eq!(one.news(read).unwrap().unwrap().len(), 2);
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
