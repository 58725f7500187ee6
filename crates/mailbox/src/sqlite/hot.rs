//! Statements that one transaction uses for each of its jobs.

use rusqlite::{CachedStatement, Connection, Params};

use super::Fault;

/// Looked up once for a transaction: to find a statement among those that are compiled, and to put
/// it back, costs a tenth of its use.
#[derive(Default)]
pub(super) struct Hot<'a> {
    pub(super) free: Slot<'a>,
    pub(super) end: Slot<'a>,
}

/// Room for a statement: always the same one.
#[derive(Default)]
pub(super) struct Slot<'a>(Option<CachedStatement<'a>>);

impl<'a> Slot<'a> {
    /// Executes it, and returns how many rows it changed.
    pub(super) fn execute(
        &mut self,
        db: &'a Connection,
        sql: &str,
        values: impl Params,
    ) -> Result<usize, Fault> {
        let statement = match &mut self.0 {
            Some(statement) => statement,
            empty => empty.insert(db.prepare_cached(sql)?),
        };
        Ok(statement.execute(values)?)
    }
}
