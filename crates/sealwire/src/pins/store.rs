//! The tables, and everything that is asked of them.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::types::Type;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use sealwire_guard::{Book, Definition, PinHash, PinKind};
use sealwire_names::{PeerId, Timestamp};

use super::{Entry, Kept};
use crate::database::{self, StateError, Tables};
use crate::home::Home;

/// Most definitions of one server, and bytes of their texts, that are approved on first use,
/// and as many again that wait for approval. Tools in use have a few hundred bytes each.
const MOST: i64 = 4_096;
const MOST_BYTES: i64 = 16 << 20;

const TABLES: Tables = Tables {
    component: "pins",
    version: 1,
    create: "
CREATE TABLE pin_definition (
    server TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    hash BLOB NOT NULL, text TEXT NOT NULL,
    since INTEGER NOT NULL,       -- milliseconds since 1970
    by_operator INTEGER NOT NULL, -- 0: on first use
    PRIMARY KEY (server, kind, name)
) STRICT;
CREATE TABLE pin_pending (
    server TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    hash BLOB NOT NULL, text TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (server, kind, name)
) STRICT;
CREATE TABLE pin_first (
    server TEXT NOT NULL, kind TEXT NOT NULL,
    begun INTEGER NOT NULL,       -- when the first listing did
    ended INTEGER NOT NULL,       -- 1: it had its last page, or an operator approved
    PRIMARY KEY (server, kind)
) STRICT;
CREATE TABLE pin_number (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
INSERT INTO pin_number (one, number) VALUES (1, 0);
",
};

/// Why pins cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was to be approved is not what the server gave last.
    #[error("{kind} {name:?} has changed again meanwhile", kind = kind.as_str())]
    Changed {
        /// What is defined.
        kind: PinKind,
        /// Its name.
        name: String,
    },
}

/// The open pins of a home.
#[derive(Debug)]
pub struct PinStore {
    /// For those who ask whether a call may pass: it waits for nobody.
    reader: Mutex<Connection>,
    /// Waits for other processes, and for the disk. Opened beside the other one, as whatever
    /// stands at the path later may be another file.
    writer: Mutex<Connection>,
    file: PathBuf,
}

/// What a transaction does.
pub(super) type Db<'t> = Transaction<'t>;

impl PinStore {
    /// Opens the pins of `home`, and makes their file, for its owner alone, if there is none.
    ///
    /// # Errors
    /// If it cannot be used, or others could use it too.
    pub fn open(home: &Home) -> Result<Self, PinError> {
        let reader = Mutex::new(database::open(home, &TABLES)?);
        let writer = Mutex::new(database::open_again(home)?);
        Ok(Self { reader, writer, file: home.state_file() })
    }

    /// As [`open`](Self::open), but makes nothing: `None` if there is no file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(home: &Home) -> Result<Option<Self>, PinError> {
        if database::exists(home)? { Self::open(home).map(Some) } else { Ok(None) }
    }

    /// All that is known, of one server or of each, by server, kind and name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn entries(&self, server: Option<&PeerId>) -> Result<Vec<Entry>, PinError> {
        let server = server.map(ToString::to_string);
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT k.server, k.kind, k.name, d.hash, d.text, d.since, d.by_operator,
                     p.hash, p.text, p.since
                 FROM (SELECT server, kind, name FROM pin_definition
                       UNION SELECT server, kind, name FROM pin_pending) k
                 LEFT JOIN pin_definition d USING (server, kind, name)
                 LEFT JOIN pin_pending p USING (server, kind, name)
                 WHERE ?1 IS NULL OR k.server = ?1 ORDER BY k.server, k.kind, k.name",
            )?;
            let rows = statement.query_map([server], |row| {
                let kept = |first: usize, by_operator| {
                    let Some(hash) = row.get::<_, Option<[u8; 32]>>(first)? else {
                        return Ok(None);
                    };
                    let since = Timestamp::from_unix_millis(row.get(first + 2)?);
                    let text = row.get(first + 1)?;
                    Ok::<_, rusqlite::Error>(Some(Kept {
                        hash: PinHash(hash),
                        text,
                        since,
                        by_operator,
                    }))
                };
                Ok(Entry {
                    server: row.get(0)?,
                    kind: kind(row.get(1)?, 1)?,
                    name: row.get(2)?,
                    approved: kept(3, row.get::<_, Option<bool>>(6)?.unwrap_or_default())?,
                    pending: kept(7, false)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Approves the definitions that wait in `entries`, all or none. They are on the disk
    /// when this returns.
    ///
    /// # Errors
    /// [`PinError::Changed`] if one of them is not what the server gave last, or if it cannot
    /// be written.
    pub fn approve(&self, entries: &[Entry], now: Timestamp) -> Result<(), PinError> {
        let pending = entries.iter().filter_map(|entry| Some((entry, entry.pending.as_ref()?)));
        let gone = self.write(|db| {
            for (entry, kept) in pending {
                let Entry { server, kind, name, .. } = entry;
                let key = (server, kind.as_str(), name, kept.hash.0);
                let is_there = db.execute(
                    "DELETE FROM pin_pending
                     WHERE server = ?1 AND kind = ?2 AND name = ?3 AND hash = ?4",
                    key,
                )?;
                if is_there == 0 {
                    return Ok(Err((*kind, name.clone())));
                }
                put(db, server, (*kind, name, kept.hash, &kept.text), now, true)?;
                end(db, server, *kind, now, true)?;
            }
            Ok(Ok(()))
        })?;
        gone.map_err(|(kind, name)| PinError::Changed { kind, name })
    }

    /// How often anything has been written.
    pub(super) fn number(&self) -> Result<i64, PinError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT number FROM pin_number")?;
            statement.query_row([], |row| row.get(0))
        })
    }

    /// What is known of a server.
    pub(super) fn book(&self, server: &str) -> Result<Book, PinError> {
        self.read(|db| book(db, server))
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, PinError> {
        work(&lock(&self.reader)).map_err(|reason| self.fault(reason))
    }

    /// Does `work` as a whole, or nothing of it: where it gives an inner error, too.
    pub(super) fn write<T, E>(
        &self,
        work: impl FnOnce(&Db<'_>) -> rusqlite::Result<Result<T, E>>,
    ) -> Result<Result<T, E>, PinError> {
        let transact = || {
            let mut db = lock(&self.writer);
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            if done.is_ok() {
                transaction.execute("UPDATE pin_number SET number = number + 1", [])?;
                transaction.commit()?;
            }
            Ok(done)
        };
        transact().map_err(|reason| self.fault(reason))
    }

    fn fault(&self, reason: rusqlite::Error) -> PinError {
        StateError::Database { file: self.file.clone(), reason }.into()
    }
}

fn lock(db: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    db.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a server.
pub(super) fn book(db: &Connection, server: &str) -> rusqlite::Result<Book> {
    let mut book = Book::default();
    let mut first =
        db.prepare_cached("SELECT kind, begun, ended FROM pin_first WHERE server = ?1")?;
    let mut rows = first.query([server])?;
    while let Some(row) = rows.next()? {
        let begun = Timestamp::from_unix_millis(row.get(1)?);
        book.note_first(kind(row.get(0)?, 0)?, begun, row.get(2)?);
    }
    for (table, note) in [
        ("pin_definition", Book::approve as fn(&mut Book, PinKind, &str, PinHash)),
        ("pin_pending", Book::note_pending),
    ] {
        let select = format!("SELECT kind, name, hash FROM {table} WHERE server = ?1");
        let mut statement = db.prepare_cached(&select)?;
        let mut rows = statement.query([server])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            note(&mut book, kind(row.get(0)?, 0)?, &name, PinHash(row.get(2)?));
        }
    }
    Ok(book)
}

/// Notes a definition that is approved.
pub(super) fn put(
    db: &Connection,
    server: &str,
    (kind, name, hash, text): (PinKind, &str, PinHash, &str),
    now: Timestamp,
    by_operator: bool,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO pin_definition
         (server, kind, name, hash, text, since, by_operator) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((server, kind.as_str(), name, hash.0, text, now.unix_millis(), by_operator))
    .map(drop)
}

/// Notes a definition that is not approved.
pub(super) fn put_pending(
    db: &Connection,
    (server, kind): (&str, PinKind),
    definition: &Definition<'_>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Definition { name, hash, text } = definition;
    db.prepare_cached(
        "INSERT OR REPLACE INTO pin_pending (server, kind, name, hash, text, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((server, kind.as_str(), name.as_ref(), hash.0, text, now.unix_millis()))
    .map(drop)
}

/// Forgets that something differed.
pub(super) fn restore(
    db: &Connection,
    (server, kind): (&str, PinKind),
    name: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM pin_pending WHERE server = ?1 AND kind = ?2 AND name = ?3")?
        .execute((server, kind.as_str(), name))
        .map(drop)
}

/// Notes that the first listing of a kind has begun, and perhaps ended.
pub(super) fn end(
    db: &Connection,
    server: &str,
    kind: PinKind,
    now: Timestamp,
    ended: bool,
) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO pin_first (server, kind, begun, ended) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (server, kind) DO UPDATE SET ended = max(ended, excluded.ended)",
        (server, kind.as_str(), now.unix_millis(), ended),
    )
    .map(drop)
}

/// How many more definitions of a server, and bytes of them, there is room for.
pub(super) fn room(
    db: &Connection,
    server: &str,
    is_pending: bool,
) -> rusqlite::Result<(i64, i64)> {
    let table = if is_pending { "pin_pending" } else { "pin_definition" };
    let select = format!("SELECT count(*), total(length(text)) FROM {table} WHERE server = ?1");
    db.query_row(&select, [server], |row| {
        let bytes: f64 = row.get(1)?;
        // Far below 2^53.
        Ok((MOST - row.get::<_, i64>(0)?, MOST_BYTES - bytes as i64))
    })
}

fn kind(text: String, column: usize) -> rusqlite::Result<PinKind> {
    text.parse().map_err(|()| {
        let reason = format!("{text:?} is nothing that is pinned").into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason)
    })
}
