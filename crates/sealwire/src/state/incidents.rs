//! The incidents that there have been, beside what they led to.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};
use sealwire_guard::Entry;
use sealwire_names::{Timestamp, TrustDomain};

use super::{State, StateError, insert};
use crate::database::Tables;
use crate::incidents::{Raised, SecurityIncident};

/// How many of each kind are kept. Those of one kind, which strangers may be able to bring about,
/// displace none of another.
const KEPT: u32 = 200;

pub(super) const TABLES: Tables = Tables {
    component: "incidents",
    version: 1,
    create: "
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject_kind TEXT NOT NULL, subject TEXT NOT NULL,
    events INTEGER NOT NULL, window INTEGER NOT NULL,  -- milliseconds
    action TEXT NOT NULL,
    at INTEGER NOT NULL, until INTEGER NOT NULL        -- milliseconds since 1970
) STRICT;
",
};

impl State {
    /// Keeps an incident, and quarantines whoever it is to be, in one step; its number. `home`
    /// is the trust domain in which agents are peers.
    ///
    /// `None`, and nothing is changed, if whoever is to be shut out is so already, and for no
    /// less time: what an operator has said is not cut short.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn raise(
        &mut self,
        raised: &Raised,
        home: &TrustDomain,
        now: Timestamp,
    ) -> Result<Option<u64>, StateError> {
        let entry = raised.entry(home, now);
        let is_entry = entry.is_some();
        let id = self.write(|db| {
            if let Some(entry) = &entry
                && is_shut_out(db, entry)?
            {
                return Ok(None);
            }
            let id = keep(db, raised, now)?;
            if let Some(entry) = entry {
                let reason = format!("incident {id}: {}", entry.reason);
                insert(db, &Entry { reason, incident: Some(id), ..entry })?;
            }
            Ok(Some(id))
        })?;
        if is_entry && id.is_some() {
            self.ring();
        }
        Ok(id)
    }

    /// The latest incidents, the last one first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn incidents(&self, most: u32) -> Result<Vec<SecurityIncident>, StateError> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = self.db.prepare_cached(
                "SELECT id, kind, subject_kind, subject, events, window, action, at, until
                 FROM incidents ORDER BY id DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([most], |row| {
                let millis: i64 = row.get(5)?;
                let id: i64 = row.get(0)?;
                Ok(SecurityIncident {
                    id: id.cast_unsigned(),
                    kind: row.get(1)?,
                    subject_kind: row.get(2)?,
                    subject: row.get(3)?,
                    events: row.get(4)?,
                    window: Duration::from_millis(millis.unsigned_abs()),
                    action: row.get(6)?,
                    at: Timestamp::from_unix_millis(row.get(7)?),
                    until: Timestamp::from_unix_millis(row.get(8)?),
                })
            })?;
            rows.collect()
        };
        read().map_err(|reason| self.fault(reason))
    }
}

/// Whether the target is quarantined for at least as long.
fn is_shut_out(db: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<bool> {
    let found = db
        .query_row(
            "SELECT 1 FROM guard_quarantine
             WHERE kind = ?1 AND name = ?2 AND (until IS NULL OR until >= ?3)",
            (
                entry.target.kind(),
                entry.target.name(),
                entry.until.map_or(i64::MAX, Timestamp::unix_millis),
            ),
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
}

fn keep(db: &Transaction<'_>, raised: &Raised, now: Timestamp) -> rusqlite::Result<u64> {
    let Raised { kind, subject, rule } = raised;
    db.execute(
        "INSERT INTO incidents
         (kind, subject_kind, subject, events, window, action, at, until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            kind.as_str(),
            subject.kind(),
            subject.name(),
            rule.trigger,
            i64::try_from(rule.window.as_millis()).unwrap_or(i64::MAX),
            rule.action.as_str(),
            now.unix_millis(),
            raised.until(now).unix_millis(),
        ),
    )?;
    let id = db.last_insert_rowid();
    db.execute(
        "DELETE FROM incidents WHERE kind = ?1 AND id <=
         (SELECT id FROM incidents WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (kind.as_str(), KEPT),
    )?;
    Ok(id.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use sealwire_guard::{IncidentAction, IncidentKind, IncidentRule, Subject, Target};

    use super::*;
    use crate::home::Home;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn home() -> TrustDomain {
        "x".parse().unwrap()
    }

    fn raised(subject: &str, action: IncidentAction) -> Raised {
        let (window, expiry) = (Duration::from_secs(2), Duration::from_millis(100));
        let rule = IncidentRule { trigger: 3, window, action, expiry };
        let subject = Subject::Peer(subject.parse().unwrap());
        Raised { kind: IncidentKind::DeniedRequests, subject, rule }
    }

    fn state() -> (tempfile::TempDir, Home, State) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let state = State::open(&home).unwrap();
        (dir, home, state)
    }

    #[test]
    fn an_incident_and_its_quarantine_are_kept_together() {
        let (_dir, layout, mut state) = state();
        let quarantine = raised("spiffe://x/core/a", IncidentAction::Quarantine);
        assert_eq!(state.raise(&quarantine, &home(), at(5)).unwrap(), Some(1));
        let notify = raised("spiffe://x/core/b", IncidentAction::Notify);
        assert_eq!(state.raise(&notify, &home(), at(6)).unwrap(), Some(2));
        drop(state);
        let state = State::open(&layout).unwrap();
        let kept = state.incidents(9).unwrap();
        assert_eq!(kept.iter().map(|kept| kept.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((kept[1].subject.as_str(), kept[1].events), ("spiffe://x/core/a", 3));
        assert_eq!((kept[1].at, kept[1].until), (at(5), at(105)));
        let entries = state.quarantined(at(104)).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].incident, entries[0].until), (Some(1), Some(at(105))));
        assert_eq!(entries[0].reason, "incident 1: 3 denied_requests within 2s");
        assert_eq!(state.quarantined(at(105)).unwrap(), []);
    }

    #[test]
    fn what_an_operator_said_is_not_cut_short() {
        let (_dir, _, mut state) = state();
        let target = Target::Agent("A".parse().unwrap());
        let mut by_hand = Entry {
            target,
            reason: "by hand".to_owned(),
            since: at(0),
            until: None,
            incident: None,
        };
        let agent = raised("spiffe://x/agent/A", IncidentAction::Quarantine);
        state.quarantine(&by_hand).unwrap();
        assert_eq!(state.raise(&agent, &home(), at(1)).unwrap(), None);
        assert_eq!(state.quarantined(at(2)).unwrap(), [by_hand.clone()]);
        assert_eq!(state.incidents(9).unwrap(), []);
        // One that would have ended earlier is made longer.
        by_hand.until = Some(at(50));
        state.quarantine(&by_hand).unwrap();
        assert_eq!(state.raise(&agent, &home(), at(1)).unwrap(), Some(1));
        assert_eq!(state.quarantined(at(2)).unwrap()[0].until, Some(at(101)));
    }

    #[test]
    fn old_ones_make_room_and_many_of_one_kind_displace_no_other() {
        let (_dir, _, mut state) = state();
        let first = raised("spiffe://x/core/a", IncidentAction::Notify);
        state.raise(&first, &home(), at(0)).unwrap();
        let subject = Subject::Address("192.0.2.1".parse().unwrap());
        let noise = Raised { kind: IncidentKind::FailedHandshakes, subject, ..first };
        for number in 0..KEPT + 5 {
            state.raise(&noise, &home(), at(number.into())).unwrap();
        }
        let kept = state.incidents(u32::MAX).unwrap();
        assert_eq!(kept.len(), KEPT as usize + 1);
        assert_eq!(kept[0].id, u64::from(KEPT) + 6);
        assert_eq!(kept[KEPT as usize].id, 1);
    }
}
