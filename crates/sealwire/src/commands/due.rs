//! When what this home goes by has to be renewed, rotated or brought again, and until when it
//! holds: authorities, certificates, agents' keys, lists of what is revoked.
//!
//! It is read from the files and the state alone, so that it can be told whether anything runs
//! or not. What cannot be read is left out: the doctor says what is wrong with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwire::agents::KeyStore;
use sealwire::config::SecureMcpConfig;
use sealwire::home::Home;
use sealwire::revocations::ListFiles;
use sealwire::state::State;
use sealwire_identity::{CertificateSummary, describe, files};
use sealwire_names::{PeerId, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::certificates::{certificate_files, ends_soon};
use crate::cli::printable;
use crate::joining::renewed_by;

/// From how long before its end a certificate should be renewed that does not renew itself: from
/// then on the doctor warns.
const BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// Which part of its life is left to an authority when another one should begin to take its place:
/// what it issues ends with it, and its successor must be known everywhere by then.
const LAST_PART: u32 = 10;

/// One thing that does not hold for ever.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Due {
    pub(crate) kind: Kind,
    /// Whose it is.
    pub(crate) what: String,
    /// The file, or the service.
    #[serde(rename = "where")]
    pub(crate) place: String,
    /// From when on it should be replaced; `None` if nobody here can.
    #[serde(serialize_with = "text_if_any")]
    pub(crate) due: Option<Timestamp>,
    /// Until when it holds.
    #[serde(serialize_with = "text_of")]
    pub(crate) until: Timestamp,
    pub(crate) state: Urgency,
    /// How it is replaced.
    pub(crate) how: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// An authority that is trusted, our own among them.
    Authority,
    /// A certificate that is presented, with its key.
    Certificate,
    /// An agent's keys for messages.
    AgentKeys,
    /// What says what is revoked.
    RevocationList,
}

/// Whether it can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Urgency {
    Good,
    Due,
    Expired,
}

/// Everything of a home, what ends first at the top. Without a configuration, what is in the home.
pub(crate) fn all(
    home: &Home,
    config: Option<&SecureMcpConfig>,
    invocation: &str,
    now: Timestamp,
) -> Vec<Due> {
    let mut look = Look { home, config, invocation, now, found: Vec::new() };
    look.authorities();
    look.issuing();
    look.certificates();
    if let Some(config) = config {
        look.agents(config);
        look.lists(config);
    }
    look.found.sort_by(|a, b| (a.until, &a.what, &a.place).cmp(&(b.until, &b.what, &b.place)));
    look.found
}

/// Those of [`all`], as JSON has them, in lines.
pub(crate) fn text(all: &Value) -> String {
    list(all).iter().map(line).collect()
}

/// Those that cannot wait, and the one that can wait least.
pub(crate) fn summary(all: &Value) -> String {
    let is_good = |one: &&Value| one["state"] == "good";
    let urgent = list(all).iter().filter(|one| !is_good(one));
    // Times of one form compare like their texts.
    let waiting = list(all).iter().filter(|one| is_good(one) && one["due"].is_string());
    let next = waiting.min_by_key(|one| one["due"].as_str());
    urgent.chain(next).map(line).collect()
}

fn list(all: &Value) -> &[Value] {
    all.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn line(one: &Value) -> String {
    let word = |key: &str| printable(one[key].as_str().unwrap_or_default());
    let noun = match one["kind"].as_str() {
        Some("authority") => "authority",
        Some("certificate") => "certificate of",
        Some("agent_keys") => "keys of agent",
        _ => "revocation list of",
    };
    let (what, until, how) = (word("what"), word("until"), word("how"));
    match (one["state"].as_str(), one["due"].as_str()) {
        (Some("expired"), _) => format!("EXPIRED {until}: {noun} {what}; {how}\n"),
        (Some("due"), Some(due)) => {
            format!("DUE since {}, until {until}: {noun} {what}; {how}\n", printable(due))
        }
        (_, Some(due)) => format!("due {}, until {until}: {noun} {what}\n", printable(due)),
        (_, None) => format!("until {until}: {noun} {what}\n"),
    }
}

struct Look<'a> {
    home: &'a Home,
    config: Option<&'a SecureMcpConfig>,
    invocation: &'a str,
    now: Timestamp,
    found: Vec<Due>,
}

impl Look<'_> {
    fn add(
        &mut self,
        kind: Kind,
        (what, place): (&str, String),
        due: Option<Timestamp>,
        until: Timestamp,
        how: String,
    ) {
        let state = match due {
            _ if until <= self.now => Urgency::Expired,
            Some(due) if due <= self.now => Urgency::Due,
            _ => Urgency::Good,
        };
        let what = what.to_owned();
        self.found.push(Due { kind, what, place, due, until, state, how });
    }

    /// The files of trust anchors.
    fn anchors(&self) -> BTreeSet<PathBuf> {
        let named = self.config.iter().flat_map(|config| {
            let of_servers = config.servers.values().map(|entry| entry.trusted_ca.clone());
            of_servers.chain([config.ca_cert.clone()])
        });
        named.chain([self.home.ca_cert()]).collect()
    }

    fn authorities(&mut self) {
        let is_ours = self.home.has_authority();
        for file in self.anchors() {
            for authority in summaries(&file) {
                let life = authority.not_before.until(authority.not_after).unwrap_or_default();
                let due = before(authority.not_after, life / LAST_PART);
                let how = if is_ours && file == self.home.ca_cert() {
                    format!("run: {} ca rotate", self.invocation)
                } else {
                    "take the next one from whoever runs it, before this one ends".to_owned()
                };
                let place = file.display().to_string();
                let what = (authority.subject.as_str(), place);
                self.add(Kind::Authority, what, Some(due), authority.not_after, how);
            }
        }
    }

    /// The authority below the root of this home.
    fn issuing(&mut self) {
        let file = self.home.issuing_cert();
        let Some(issuing) = summaries(&file).into_iter().next() else { return };
        let life = issuing.not_before.until(issuing.not_after).unwrap_or_default();
        let due = before(issuing.not_after, life / LAST_PART);
        let how = format!("run: {} ca renew-issuing", self.invocation);
        let what = (issuing.subject.as_str(), file.display().to_string());
        self.add(Kind::Authority, what, Some(due), issuing.not_after, how);
    }

    fn certificates(&mut self) {
        let mut files: BTreeSet<PathBuf> =
            certificate_files(self.home).unwrap_or_default().into_iter().collect();
        if let Some(config) = self.config {
            files.insert(config.client_cert.clone());
            let pairs = config.servers.values().filter_map(|entry| entry.role.pair());
            files.extend(pairs.map(|(cert, _)| cert.clone()));
        }
        let anchors = self.anchors();
        let issuing = self.home.issuing_cert();
        for file in files.difference(&anchors).filter(|file| **file != issuing) {
            // What follows the leaf is its chain, which goes with it.
            let Some(leaf) = summaries(file).into_iter().next() else { continue };
            let (not_before, not_after) = (leaf.not_before, leaf.not_after);
            let by_itself = self.config.and_then(|config| config.renew_from.as_ref());
            let (due, how) = match by_itself {
                Some(service) => (
                    renewed_by(&leaf),
                    format!("it renews itself while `serve` or `connect` runs: see {service}"),
                ),
                None => {
                    (before(not_after, ends_soon(not_before, not_after, BEFORE)), self.issue(&leaf))
                }
            };
            let name = leaf.uris.first().unwrap_or(&leaf.subject);
            let what = (name.as_str(), file.display().to_string());
            self.add(Kind::Certificate, what, Some(due), not_after, how);
        }
    }

    /// How a certificate is made anew that nobody renews.
    fn issue(&self, leaf: &CertificateSummary) -> String {
        let named = leaf.uris.first().and_then(|uri| uri.parse::<PeerId>().ok());
        match named.filter(|_| self.home.has_authority()) {
            Some(id) => format!(
                "run: {} cert issue {} --kind {} --force",
                self.invocation,
                id.name(),
                id.kind()
            ),
            None => "have its authority issue another one".to_owned(),
        }
    }

    fn agents(&mut self, config: &SecureMcpConfig) {
        let store = KeyStore::of(config);
        for agent in config.agent_security.agents.iter().filter(|agent| store.has(agent)) {
            let Ok(keys) = store.look(agent) else { continue };
            let (due, until) = (store.due(&keys.bundle), keys.bundle.not_after);
            let place = store.directory().join(format!("{agent}-bundle")).display().to_string();
            let how = format!("run: {} key rotate {agent}", self.invocation);
            self.add(Kind::AgentKeys, (agent.as_str(), place), Some(due), until, how);
        }
        for (agent, generations) in store.known(self.now).unwrap_or_default() {
            let Some(newest) = generations.first() else { continue };
            let place = store.known_dir().display().to_string();
            let how = "its home rotates it: bring the new bundle, and run key import".to_owned();
            self.add(Kind::AgentKeys, (agent.as_str(), place), None, newest.bundle.not_after, how);
        }
    }

    fn lists(&mut self, config: &SecureMcpConfig) {
        if let Ok(lists) = ListFiles::of(config).load(self.now) {
            for list in lists.iter() {
                let life = list.this_update.until(list.next_update).unwrap_or_default();
                // A root's holds for years.
                let due = before(list.next_update, (life / 4).min(BEFORE));
                let how = "bring the authority's list of now: sealwire cert crl writes it";
                let what = (list.issuer.as_str(), "crl".to_owned());
                self.add(Kind::RevocationList, what, Some(due), list.next_update, how.to_owned());
            }
        }
        let Some(service) = &config.renew_from else { return };
        let Ok(Some(state)) = State::open_existing(&config.layout()) else { return };
        let Ok(Some(edition)) = state.denylist() else { return };
        let how = "it is told while `serve` or `connect` runs here, and `ca serve` there";
        let what = ("the authority", service.clone());
        self.add(Kind::RevocationList, what, None, edition.until(), how.to_owned());
    }
}

fn summaries(file: &Path) -> Vec<CertificateSummary> {
    let read = files::read_public(file).and_then(|pem| describe(&pem, ""));
    read.unwrap_or_default()
}

fn before(end: Timestamp, time: Duration) -> Timestamp {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(end.unix_millis().saturating_sub(millis))
}

fn text_of<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn text_if_any<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => text_of(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use sealwire_identity::CertificateAuthority;

    use super::*;

    fn found(home: &Home, days: u64) -> Due {
        let later = SystemTime::now() + Duration::from_secs(days * 86_400);
        all(home, None, "sealwire", later.into()).remove(0)
    }

    #[test]
    fn an_authority_is_due_in_the_last_tenth_of_its_life() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let (domain, life) = ("x.example".parse().unwrap(), Duration::from_secs(100 * 86_400));
        CertificateAuthority::create(&home.ca_dir(), &domain, life).unwrap();
        let fresh = found(&home, 0);
        assert_eq!((fresh.kind, fresh.state), (Kind::Authority, Urgency::Good));
        assert_eq!(fresh.how, "run: sealwire ca rotate");
        assert_eq!(found(&home, 89).state, Urgency::Good);
        assert_eq!(found(&home, 91).state, Urgency::Due);
        assert_eq!(found(&home, 101).state, Urgency::Expired);
        let text = summary(&serde_json::to_value([found(&home, 91)]).unwrap());
        assert!(text.starts_with("DUE since 2") && text.ends_with("run: sealwire ca rotate\n"));
    }
}
