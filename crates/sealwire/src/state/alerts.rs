//! Alerts that wait to be delivered, and what has been told. What an alert says is no business
//! of the state: it is text here.

use rusqlite::Transaction;

use super::{State, StateError};
use crate::database::{self, Tables};
use crate::home::Home;

const TABLES: Tables = Tables {
    component: "alerts",
    version: 1,
    create: "
CREATE TABLE alert_waiting (
    id INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    channels TEXT NOT NULL        -- those that lack it, between spaces
) STRICT;
-- What is counted for a while after it was told, by what makes alerts the same.
CREATE TABLE alert_repeated (
    key TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- What of this state has been told: each once, however often we start.
CREATE TABLE alert_told (
    key TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
",
};

/// All that is kept of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptAlerts {
    /// By number: what each says, and the channels that lack it.
    pub waiting: Vec<(u64, String, Vec<String>)>,
    /// What is counted, by what makes alerts the same.
    pub repeated: Vec<(String, String)>,
    /// What has been told.
    pub told: Vec<String>,
}

/// One difference to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// An alert waits for these channels.
    Waits(u64, String, Vec<String>),
    /// It waits for none.
    Done(u64),
    /// Something is counted.
    Repeats(String, String),
    /// It no longer is.
    Ended(String),
    /// Something has been told.
    Told(String),
    /// It is no longer in the state, and may be forgotten.
    Gone(String),
}

impl State {
    /// Opens the state of `home` like [`State::open`], with what is kept of alerts.
    ///
    /// # Errors
    /// As [`State::open`]; if what is kept of alerts cannot be read.
    pub fn open_with_alerts(home: &Home) -> Result<(Self, KeptAlerts), StateError> {
        let mut state = Self::open(home)?;
        database::prepare(&mut state.db, home, &TABLES)?;
        let kept = state.kept_alerts().map_err(|reason| state.fault(reason))?;
        Ok((state, kept))
    }

    fn kept_alerts(&self) -> rusqlite::Result<KeptAlerts> {
        let mut waiting =
            self.db.prepare("SELECT id, body, channels FROM alert_waiting ORDER BY id")?;
        let waiting = waiting.query_map([], |row| {
            let (id, channels): (i64, String) = (row.get(0)?, row.get(2)?);
            let channels = channels.split_whitespace().map(str::to_owned).collect();
            Ok((id.cast_unsigned(), row.get(1)?, channels))
        })?;
        let mut repeated = self.db.prepare("SELECT key, body FROM alert_repeated")?;
        let repeated = repeated.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut told = self.db.prepare("SELECT key FROM alert_told")?;
        let told = told.query_map([], |row| row.get(0))?;
        Ok(KeptAlerts {
            waiting: waiting.collect::<rusqlite::Result<_>>()?,
            repeated: repeated.collect::<rusqlite::Result<_>>()?,
            told: told.collect::<rusqlite::Result<_>>()?,
        })
    }

    /// Keeps what has changed, all of it or nothing. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_alerts(&mut self, changes: &[AlertChange]) -> Result<(), StateError> {
        self.write(|db| changes.iter().try_for_each(|change| keep(db, change)))
    }
}

fn keep(db: &Transaction<'_>, change: &AlertChange) -> rusqlite::Result<()> {
    match change {
        AlertChange::Waits(id, body, channels) => db.execute(
            "INSERT OR REPLACE INTO alert_waiting (id, body, channels) VALUES (?1, ?2, ?3)",
            (id.cast_signed(), body, channels.join(" ")),
        ),
        AlertChange::Done(id) => {
            db.execute("DELETE FROM alert_waiting WHERE id = ?1", [id.cast_signed()])
        }
        AlertChange::Repeats(key, body) => db.execute(
            "INSERT OR REPLACE INTO alert_repeated (key, body) VALUES (?1, ?2)",
            (key, body),
        ),
        AlertChange::Ended(key) => db.execute("DELETE FROM alert_repeated WHERE key = ?1", [key]),
        AlertChange::Told(key) => {
            db.execute("INSERT OR IGNORE INTO alert_told (key) VALUES (?1)", [key])
        }
        AlertChange::Gone(key) => db.execute("DELETE FROM alert_told WHERE key = ?1", [key]),
    }
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_counts_and_was_told_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let (mut state, kept) = State::open_with_alerts(&home).unwrap();
        assert_eq!(kept, KeptAlerts::default());
        let text = |text: &str| text.to_owned();
        let both = vec![text("slack"), text("email")];
        let changes = [
            AlertChange::Waits(7, text("seven"), both.clone()),
            AlertChange::Waits(8, text("eight"), both),
            AlertChange::Repeats(text("k"), text("1")),
            AlertChange::Told(text("a b")),
            AlertChange::Told(text("a b")),
            AlertChange::Told(text("c")),
        ];
        state.keep_alerts(&changes).unwrap();
        let changes = [
            AlertChange::Waits(7, text("seven"), vec![text("email")]),
            AlertChange::Done(8),
            AlertChange::Repeats(text("k"), text("2")),
            AlertChange::Gone(text("c")),
        ];
        state.keep_alerts(&changes).unwrap();
        drop(state);
        let (mut state, kept) = State::open_with_alerts(&home).unwrap();
        let expected = KeptAlerts {
            waiting: vec![(7, text("seven"), vec![text("email")])],
            repeated: vec![(text("k"), text("2"))],
            told: vec![text("a b")],
        };
        assert_eq!(kept, expected);
        state.keep_alerts(&[AlertChange::Ended(text("k"))]).unwrap();
        assert_eq!(State::open_with_alerts(&home).unwrap().1.repeated, []);
    }
}
