//! What the state of the home says that nobody has been told of: incidents, quarantine and
//! revocations, whichever process wrote them.
//!
//! The state is what is asked, and not whoever writes it: so nothing is missed while nobody
//! runs, and nothing is told twice. What was there when alerts were first turned on is not news.

use std::collections::BTreeSet;

use sealwire::incidents::SecurityIncident;
use sealwire::state::{AlertChange, KeptAlerts, State, StateError};
use sealwire_guard::Entry;
use sealwire_identity::Revocation;
use sealwire_names::Timestamp;

use super::alert::{Alert, Kind};

/// Latest incidents that are looked at.
const INCIDENTS: u32 = 200;
/// Before the first look, nothing was news.
const FIRST: &str = "first";
const INCIDENT: &str = "incident ";

/// What has been told of the state.
#[derive(Debug)]
pub(super) struct News {
    told: BTreeSet<String>,
    unkept: Vec<AlertChange>,
}

impl News {
    pub(super) fn new(kept: &KeptAlerts) -> Self {
        Self { told: kept.told.iter().cloned().collect(), unkept: Vec::new() }
    }

    /// What is new, the oldest first.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub(super) fn look(&mut self, state: &State, now: Timestamp) -> Result<Vec<Alert>, StateError> {
        let (entries, revoked) = (state.quarantined(now)?, state.revoked()?);
        let mut incidents = state.incidents(INCIDENTS)?;
        incidents.reverse();
        let is_first = !self.told.contains(FIRST);
        let mut alerts = Vec::new();
        let mut current = BTreeSet::from([FIRST.to_owned()]);

        let numbers = self.told.iter().filter_map(|key| key.strip_prefix(INCIDENT)?.parse().ok());
        let last: u64 = numbers.max().unwrap_or(0);
        let newest = incidents.last().map_or(last, |incident| incident.id.max(last));
        alerts.extend(incidents.iter().filter(|incident| incident.id > last).map(of_incident));
        current.insert(format!("{INCIDENT}{newest}"));

        for entry in &entries {
            let (kind, name) = (entry.target.kind(), entry.target.name());
            let key = format!("quarantine {kind} {name} {}", entry.since.unix_millis());
            // What follows from an incident is told with it.
            if !self.told.contains(&key) && entry.incident.is_none() {
                alerts.push(of_entry(entry));
            }
            current.insert(key);
        }
        for revocation in &revoked {
            let (kind, what) = (revocation.what.kind(), revocation.what.text());
            let key = format!("revocation {kind} {what} {}", revocation.at.unix_millis());
            if !self.told.contains(&key) {
                alerts.push(of_revocation(revocation));
            }
            current.insert(key);
        }
        let gone = self.told.difference(&current).map(|key| AlertChange::Gone(key.clone()));
        let new = current.difference(&self.told).map(|key| AlertChange::Told(key.clone()));
        self.unkept.extend(gone.chain(new));
        self.told = current;
        Ok(if is_first { Vec::new() } else { alerts })
    }

    /// What differs from what is kept on the disk.
    pub(super) fn changes(&self) -> &[AlertChange] {
        &self.unkept
    }

    /// All of it is kept now.
    pub(super) fn kept(&mut self) {
        self.unkept.clear();
    }
}

fn of_incident(incident: &SecurityIncident) -> Alert {
    let kind = match &*incident.action {
        "quarantine" | "suspend" => Kind::IncidentActed,
        _ => Kind::Incident,
    };
    let alert = Alert::new(kind)
        .about(&incident.subject_kind, &incident.subject)
        .at(incident.at)
        .with("what", &incident.kind)
        .with("events", format!("{} within {:?}", incident.events, incident.window))
        .with("incident", incident.id)
        .with("action", &incident.action);
    match kind {
        Kind::IncidentActed => alert.with("until", incident.until),
        _ => alert,
    }
}

fn of_entry(entry: &Entry) -> Alert {
    let name = entry.target.name();
    let alert = Alert::new(Kind::Quarantined).about(entry.target.kind(), &name).at(entry.since);
    match entry.until {
        Some(until) => alert.with("until", until),
        None => alert.with("until", "lifted"),
    }
}

fn of_revocation(revocation: &Revocation) -> Alert {
    let (kind, what) = (revocation.what.kind(), revocation.what.text());
    Alert::new(Kind::Revoked).about(kind, &what).at(revocation.at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sealwire::home::Home;
    use sealwire::incidents::Raised;
    use sealwire_guard::{IncidentAction, IncidentKind, IncidentRule, Subject, Target};
    use sealwire_identity::Revoked;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn raise(state: &mut State, name: &str, action: IncidentAction) {
        let hour = Duration::from_secs(3_600);
        let rule = IncidentRule { trigger: 3, window: hour, action, expiry: hour };
        let subject = Subject::Peer(format!("spiffe://x/core/{name}").parse().unwrap());
        let raised = Raised { kind: IncidentKind::DeniedRequests, subject, rule };
        state.raise(&raised, &"x".parse().unwrap(), at(5)).unwrap().unwrap();
    }

    fn shut_out(state: &mut State, name: &str, since: i64) {
        let target = Target::parse("agent", name).unwrap();
        let (reason, since) = ("s3cret".to_owned(), at(since));
        state.quarantine(&Entry { target, reason, since, until: None, incident: None }).unwrap();
    }

    fn told(alerts: &[Alert]) -> Vec<String> {
        let told = |alert: &Alert| {
            format!("{} {}", alert.kind.as_str(), alert.subject.as_ref().unwrap().name)
        };
        alerts.iter().map(told).collect()
    }

    fn keep(news: &mut News, state: &mut State) {
        state.keep_alerts(news.changes()).unwrap();
        news.kept();
    }

    #[test]
    fn each_thing_is_told_once_whoever_wrote_it_and_however_often_we_start() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let (mut state, kept) = State::open_with_alerts(&home).unwrap();
        shut_out(&mut state, "Old", 1);
        raise(&mut state, "old", IncidentAction::Notify);
        let mut news = News::new(&kept);
        assert_eq!(news.look(&state, at(9)).unwrap(), [], "what was there before is no news");
        keep(&mut news, &mut state);

        let mut other = State::open(&home).unwrap();
        raise(&mut other, "a", IncidentAction::Notify);
        raise(&mut other, "b", IncidentAction::Quarantine);
        shut_out(&mut other, "C", 2);
        let what = Revoked::Name("spiffe://x/core/d".parse().unwrap());
        let revocation = Revocation { what, at: at(3), reason: "s3cret".to_owned() };
        other.revoke(&revocation).unwrap();
        let alerts = news.look(&state, at(9)).unwrap();
        let expected = [
            "incident spiffe://x/core/a",
            "incident_acted spiffe://x/core/b",
            "quarantined C",
            "revoked spiffe://x/core/d",
        ];
        assert_eq!(told(&alerts), expected);
        assert!(!format!("{alerts:?}").contains("s3cret"), "reasons may say anything");
        assert_eq!(news.look(&state, at(9)).unwrap(), []);

        // Not kept, it is told again after a restart; kept, it is not.
        let kept = State::open_with_alerts(&home).unwrap().1;
        assert_eq!(told(&News::new(&kept).look(&state, at(9)).unwrap()), expected);
        keep(&mut news, &mut state);
        let kept = State::open_with_alerts(&home).unwrap().1;
        let mut news = News::new(&kept);
        assert_eq!(news.look(&state, at(9)).unwrap(), []);

        // Lifted and shut out anew is news, and what is gone takes no room.
        let target = Target::parse("agent", "C").unwrap();
        other.lift(&target).unwrap();
        assert_eq!(news.look(&state, at(9)).unwrap(), []);
        shut_out(&mut other, "C", 7);
        assert_eq!(told(&news.look(&state, at(9)).unwrap()), ["quarantined C"]);
        let before = news.told.len();
        shut_out(&mut other, "C", 8);
        news.look(&state, at(9)).unwrap();
        assert_eq!(news.told.len(), before);
    }
}
