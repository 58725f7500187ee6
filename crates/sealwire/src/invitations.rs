//! Who may join a home's trust domain, once, and until when: the invitations of its authority.
//!
//! They are a table of `state.db`, which `sealwire invite` writes and `sealwire ca serve` reads.
//! Of a token it holds a name and what proofs are checked with, neither of which is the token.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use sealwire_identity::join::{Secret, TokenId};
use sealwire_names::{PeerId, Timestamp};

use crate::database::{self, StateError, Tables};
use crate::home::Home;

/// So many wrong proofs, and an invitation is dead.
pub const MOST_FAILURES: u32 = 5;
/// How long it is remembered what an invitation was, after it has expired.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);

const TABLES: Tables = Tables {
    component: "invitations",
    version: 1,
    create: "
CREATE TABLE invitation (
    token BLOB PRIMARY KEY,       -- the token's name
    secret BLOB NOT NULL,         -- what proofs are checked with
    peer TEXT NOT NULL,           -- whom it invites
    made INTEGER NOT NULL,        -- milliseconds since 1970
    expires INTEGER NOT NULL,
    lifetime INTEGER NOT NULL,    -- of the certificate, milliseconds
    servers TEXT NOT NULL,        -- what the invited machine is to reach, JSON
    failures INTEGER NOT NULL DEFAULT 0,
    used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE joined (
    peer TEXT PRIMARY KEY,        -- who has a certificate by an invitation
    lifetime INTEGER NOT NULL,    -- of its certificate, milliseconds
    at INTEGER NOT NULL           -- milliseconds since 1970
) STRICT, WITHOUT ROWID;
",
};

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Whom it invites: the name that the certificate will have.
    pub peer: PeerId,
    /// When it was made.
    pub made: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
    /// How long the certificate will be valid.
    pub lifetime: Duration,
    /// What the invited machine is to reach, as JSON that this table does not look into.
    pub servers: String,
}

/// Why somebody who says that he is invited is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no such invitation.
    Unknown,
    /// The invitation is there, and he has not proven that he has it.
    Unproven(PeerId),
    /// There were too many who have not.
    Dead(PeerId),
    /// Somebody has used it.
    Used(PeerId),
    /// It has expired.
    Expired(PeerId),
}

/// An invitation, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The token's name.
    pub token: TokenId,
    /// The invitation.
    pub invitation: Invitation,
    /// How many wrong proofs there were.
    pub failures: u32,
    /// When it was used, if it was.
    pub used: Option<Timestamp>,
}

/// The invitations of a home.
#[derive(Debug)]
pub struct Invitations {
    db: Connection,
    home: Home,
}

impl Invitations {
    /// Opens the state of `home`, and makes what is missing of it.
    ///
    /// # Errors
    /// If it cannot be used, or others could use it too.
    pub fn open(home: &Home) -> Result<Self, StateError> {
        Ok(Self { db: database::open(home, &TABLES)?, home: home.clone() })
    }

    /// One more connection to what this process has opened before. Waits for nobody who writes.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open_again(home: &Home) -> Result<Self, StateError> {
        Ok(Self { db: database::open_again(home)?, home: home.clone() })
    }

    /// Adds an invitation. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(
        &mut self,
        token: &TokenId,
        secret: &Secret,
        invitation: &Invitation,
    ) -> Result<(), StateError> {
        let Invitation { peer, made, expires, lifetime, servers } = invitation;
        let remembered = i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX);
        let written = self.db.transaction().and_then(|db| {
            db.execute(
                "DELETE FROM invitation WHERE expires < ?1",
                [made.unix_millis().saturating_sub(remembered)],
            )?;
            db.execute(
                "INSERT INTO invitation (token, secret, peer, made, expires, lifetime, servers)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    token.as_slice(),
                    secret.bytes().as_slice(),
                    peer.to_string(),
                    made.unix_millis(),
                    expires.unix_millis(),
                    i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
                    servers,
                ),
            )?;
            db.commit()
        });
        written.map_err(|reason| self.fault(reason))
    }

    /// What speaks against somebody of whom `proves` says whether he has proven an invitation, if
    /// anything does. Changes nothing, and waits for nobody who writes: so whoever knows no
    /// invitation keeps nobody from writing either.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn check(
        &self,
        token: &TokenId,
        now: Timestamp,
        proves: impl FnOnce(&Secret) -> bool,
    ) -> Result<Option<Denied>, StateError> {
        let found = find(&self.db, token).map_err(|reason| self.fault(reason))?;
        Ok(found.map_or(Some(Denied::Unknown), |found| found.denied(now, proves)))
    }

    /// Takes up an invitation that `proves` says was proven: of several who do so, one has it.
    /// That, and what speaks against it, is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be read or written: then nobody has it.
    pub fn take(
        &mut self,
        token: &TokenId,
        now: Timestamp,
        proves: impl FnOnce(&Secret) -> bool,
    ) -> Result<Result<(Invitation, Secret), Denied>, StateError> {
        let (file, taken) = (self.home.state_file(), self.try_take(token, now, proves));
        taken.map_err(|reason| StateError::Database { file, reason })
    }

    fn try_take(
        &mut self,
        token: &TokenId,
        now: Timestamp,
        proves: impl FnOnce(&Secret) -> bool,
    ) -> rusqlite::Result<Result<(Invitation, Secret), Denied>> {
        let db = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(found) = find(&db, token)? else { return Ok(Err(Denied::Unknown)) };
        let denied = found.denied(now, proves);
        match &denied {
            Some(Denied::Dead(_)) => {}
            Some(_) => {
                let add = "UPDATE invitation SET failures = failures + 1 WHERE token = ?1";
                db.execute(add, [token.as_slice()])?;
            }
            None => {
                let used = (now.unix_millis(), token.as_slice());
                db.execute("UPDATE invitation SET used = ?1 WHERE token = ?2", used)?;
            }
        }
        db.commit()?;
        Ok(match denied {
            Some(denied) => Err(denied),
            None => Ok((found.invitation, found.secret)),
        })
    }

    /// Remembers that a peer has joined, by an invitation that was taken up: from now on its
    /// certificates are renewed. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn joined(&mut self, invitation: &Invitation, now: Timestamp) -> Result<(), StateError> {
        let lifetime = i64::try_from(invitation.lifetime.as_millis()).unwrap_or(i64::MAX);
        // Not before it was invited, whatever the clock says: it is no less joined for that.
        let at = now.max(invitation.made).unix_millis();
        let written = self.db.execute(
            "INSERT OR REPLACE INTO joined (peer, lifetime, at) VALUES (?1, ?2, ?3)",
            (invitation.peer.to_string(), lifetime, at),
        );
        written.map(drop).map_err(|reason| self.fault(reason))
    }

    /// Every invitation that is remembered, the oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn all(&self) -> Result<Vec<Listed>, StateError> {
        let rows = || -> rusqlite::Result<Vec<Listed>> {
            let select = format!("SELECT {COLUMNS} FROM invitation ORDER BY made, token");
            let mut statement = self.db.prepare(&select)?;
            let rows = statement.query_map([], |row| {
                let Found { token, invitation, failures, used, .. } = Found::of(row)?;
                Ok(Listed { token, invitation, failures, used })
            })?;
            rows.collect()
        };
        rows().map_err(|reason| self.fault(reason))
    }

    /// Withdraws an invitation: nobody joins by it any more. Whether it was there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn withdraw(&mut self, token: &TokenId) -> Result<bool, StateError> {
        let gone = self.db.execute("DELETE FROM invitation WHERE token = ?1", [token.as_slice()]);
        gone.map(|gone| gone > 0).map_err(|reason| self.fault(reason))
    }

    /// How long the certificates of a peer are valid that has joined, and when it did; `None` if
    /// it has not.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lifetime(&self, peer: &PeerId) -> Result<Option<(Duration, Timestamp)>, StateError> {
        let select = "SELECT lifetime, at FROM joined WHERE peer = ?1";
        let found = self.db.query_row(select, [peer.to_string()], |row| {
            let millis: i64 = row.get(0)?;
            let at = Timestamp::from_unix_millis(row.get(1)?);
            Ok((Duration::from_millis(millis.unsigned_abs()), at))
        });
        found.optional().map_err(|reason| self.fault(reason))
    }

    /// Everybody who has joined by an invitation, or is invited.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn peers(&self) -> Result<BTreeSet<PeerId>, StateError> {
        let rows = || -> rusqlite::Result<Vec<String>> {
            let select = "SELECT peer FROM joined UNION SELECT peer FROM invitation";
            let mut statement = self.db.prepare(select)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        let names = rows().map_err(|reason| self.fault(reason))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The longest life of a certificate of anybody who has joined; zero if nobody has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn longest_lifetime(&self) -> Result<Duration, StateError> {
        let select = "SELECT coalesce(max(lifetime), 0) FROM joined";
        let millis = self.db.query_row(select, [], |row| row.get::<_, i64>(0));
        millis.map(|millis| Duration::from_millis(millis.unsigned_abs())).map_err(|r| self.fault(r))
    }

    fn fault(&self, reason: rusqlite::Error) -> StateError {
        StateError::Database { file: self.home.state_file(), reason }
    }
}

/// An invitation as the table has it.
struct Found {
    token: TokenId,
    secret: Secret,
    invitation: Invitation,
    failures: u32,
    used: Option<Timestamp>,
}

const COLUMNS: &str = "token, secret, peer, made, expires, lifetime, servers, failures, used";

fn find(db: &Connection, token: &TokenId) -> rusqlite::Result<Option<Found>> {
    let select = format!("SELECT {COLUMNS} FROM invitation WHERE token = ?1");
    db.query_row(&select, [token.as_slice()], Found::of).optional()
}

impl Found {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let peer: String = row.get(2)?;
        let peer = peer.parse().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
        })?;
        let lifetime: i64 = row.get(5)?;
        let invitation = Invitation {
            peer,
            made: Timestamp::from_unix_millis(row.get(3)?),
            expires: Timestamp::from_unix_millis(row.get(4)?),
            lifetime: Duration::from_millis(lifetime.unsigned_abs()),
            servers: row.get(6)?,
        };
        let used: Option<i64> = row.get(8)?;
        Ok(Self {
            token: row.get(0)?,
            secret: Secret::from_bytes(row.get(1)?),
            invitation,
            failures: row.get(7)?,
            used: used.map(Timestamp::from_unix_millis),
        })
    }

    fn denied(&self, now: Timestamp, proves: impl FnOnce(&Secret) -> bool) -> Option<Denied> {
        let peer = self.invitation.peer.clone();
        if self.failures >= MOST_FAILURES {
            Some(Denied::Dead(peer))
        } else if !proves(&self.secret) {
            Some(Denied::Unproven(peer))
        } else if self.used.is_some() {
            Some(Denied::Used(peer))
        } else if now >= self.invitation.expires {
            Some(Denied::Expired(peer))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use sealwire_identity::join::Token;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(second)
    }

    fn invited() -> (tempfile::TempDir, Invitations, TokenId, Invitation) {
        let dir = tempfile::tempdir().unwrap();
        let mut invitations = Invitations::open(&Home::at(dir.path()).unwrap()).unwrap();
        let invitation = Invitation {
            peer: "spiffe://example.org/core/laptop".parse().unwrap(),
            made: at(1_000),
            expires: at(1_600),
            lifetime: Duration::from_secs(60),
            servers: "{}".into(),
        };
        let token = Token::generate().unwrap();
        invitations.add(&token.id(), &token.secret(), &invitation).unwrap();
        (dir, invitations, token.id(), invitation)
    }

    #[test]
    fn an_invitation_is_good_once_and_until_it_expires() {
        let (_dir, mut all, token, invitation) = invited();
        let peer = invitation.peer.clone();
        assert_eq!(all.take(&[0; 16], at(1_001), |_| true).unwrap().unwrap_err(), Denied::Unknown);
        let late = all.take(&token, at(1_600), |_| true).unwrap().unwrap_err();
        assert_eq!(late, Denied::Expired(peer.clone()));
        assert_eq!(all.lifetime(&peer).unwrap(), None);
        let (taken, _) = all.take(&token, at(1_599), |_| true).unwrap().unwrap();
        assert_eq!(taken, invitation);
        // He has not joined before he is told so: the name may be revoked.
        assert_eq!(all.lifetime(&peer).unwrap(), None);
        all.joined(&taken, at(1_599)).unwrap();
        assert_eq!(all.lifetime(&peer).unwrap(), Some((invitation.lifetime, at(1_599))));
        assert_eq!(all.lifetime(&"spiffe://x/core/a".parse().unwrap()).unwrap(), None);
        let again = all.take(&token, at(1_599), |_| true).unwrap().unwrap_err();
        assert_eq!(again, Denied::Used(peer));
    }

    #[test]
    fn what_is_only_looked_at_is_as_good_as_before() {
        let (dir, all, token, invitation) = invited();
        let peer = invitation.peer;
        let writer = Connection::open(dir.path().join("state.db")).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..=MOST_FAILURES {
            let unproven = all.check(&token, at(1_001), |_| false).unwrap();
            assert_eq!(unproven, Some(Denied::Unproven(peer.clone())));
        }
        assert_eq!(all.check(&[0; 16], at(1_001), |_| true).unwrap(), Some(Denied::Unknown));
        assert_eq!(all.check(&token, at(1_001), |_| true).unwrap(), None);
    }

    #[test]
    fn what_is_withdrawn_is_unknown() {
        let (_dir, mut all, token, invitation) = invited();
        all.take(&token, at(1_001), |_| false).unwrap().unwrap_err();
        let listed = Listed { token, invitation, failures: 1, used: None };
        assert_eq!(all.all().unwrap(), [listed]);
        assert!(all.withdraw(&token).unwrap());
        assert!(!all.withdraw(&token).unwrap());
        assert_eq!(all.all().unwrap(), []);
        assert_eq!(all.check(&token, at(1_001), |_| true).unwrap(), Some(Denied::Unknown));
    }

    #[test]
    fn five_wrong_proofs_are_its_end() {
        let (_dir, mut all, token, Invitation { peer, .. }) = invited();
        for _ in 0..MOST_FAILURES {
            let denied = all.take(&token, at(1_001), |_| false).unwrap().unwrap_err();
            assert_eq!(denied, Denied::Unproven(peer.clone()));
        }
        let denied = all.take(&token, at(1_001), |_| true).unwrap().unwrap_err();
        assert_eq!(denied, Denied::Dead(peer));
    }

    #[test]
    fn of_two_who_come_at_once_one_is_let_in() {
        let (dir, all, token, _) = invited();
        drop(all);
        let home = Home::at(dir.path()).unwrap();
        let let_in = std::thread::scope(|scope| {
            let one = || {
                let mut all = Invitations::open(&home).unwrap();
                all.take(&token, at(1_001), |_| true).unwrap().is_ok()
            };
            let both: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            both.into_iter().map(|one| one.join().unwrap()).filter(|let_in| *let_in).count()
        });
        assert_eq!(let_in, 1);
    }
}
