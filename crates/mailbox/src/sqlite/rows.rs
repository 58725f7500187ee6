//! The messages that one transaction puts: written several at a time.
//!
//! A statement opens the table and each of its indexes anew, and looks for the place from the top;
//! for the rows after its first it is there already.

use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use sealwire_names::AgentId;

use super::Fault;
use super::hot::Slot;
use crate::Label;

/// Rows of one statement.
const TOGETHER: usize = 16;
const COLUMNS: usize = 11;

static MANY: LazyLock<String> = LazyLock::new(|| insert(TOGETHER));
static ONE: LazyLock<String> = LazyLock::new(|| insert(1));

/// A message for one of its receivers.
pub(super) struct NewRow {
    pub(super) number: i64,
    pub(super) agent: AgentId,
    pub(super) label: Label,
    pub(super) size: i64,
    /// Where it is kept for all of them; if it is not, `bytes` are here.
    pub(super) body: Option<i64>,
    pub(super) bytes: Option<Vec<u8>>,
}

/// What is to be written before anybody looks.
#[derive(Default)]
pub(super) struct Rows<'a> {
    rows: Vec<NewRow>,
    many: Slot<'a>,
    one: Slot<'a>,
}

impl<'a> Rows<'a> {
    pub(super) fn add(&mut self, db: &'a Connection, row: NewRow) -> Result<(), Fault> {
        self.rows.push(row);
        if self.rows.len() == TOGETHER {
            self.many.execute(db, &MANY, values(&self.rows))?;
            self.rows.clear();
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn write(&mut self, db: &'a Connection) -> Result<(), Fault> {
        for row in self.rows.chunks(1) {
            self.one.execute(db, &ONE, values(row))?;
        }
        self.rows.clear();
        Ok(())
    }
}

fn insert(rows: usize) -> String {
    let row = "(?, ?, ?, ?, 0, 0, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?)";
    format!(
        "INSERT INTO mail_record (id, agent, sender, priority, state, since, takes, deliveries,
             claimed, released, issued, expires, size, key, message_id, body, bytes)
         VALUES {}",
        vec![row; rows].join(", ")
    )
}

fn values(rows: &[NewRow]) -> impl rusqlite::Params {
    params_from_iter(rows.iter().flat_map(|row| -> [ToSqlOutput<'_>; COLUMNS] {
        let blob = |bytes| ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        let null = || ToSqlOutput::Owned(Value::Null);
        let NewRow { number, agent, label, size, body, bytes } = row;
        [
            (*number).into(),
            agent.as_str().into(),
            label.from.as_str().into(),
            label.priority.into(),
            label.issued.unix_millis().into(),
            label.expires.unix_millis().into(),
            (*size).into(),
            blob(label.key.as_bytes()),
            blob(label.message_id.as_bytes()),
            body.map_or_else(null, Into::into),
            bytes.as_deref().map_or_else(null, blob),
        ]
    }))
}
