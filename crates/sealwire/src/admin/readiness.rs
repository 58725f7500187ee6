//! Whether clients can be sent here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sealwire::config::{CheckedFiles, SecureMcpConfig, ServerRole};
use sealwire_audit::Journal;
use sealwire_names::Timestamp;
use serde_json::{Value, json};

/// What `serve` knows of its own state; told by `/readyz`.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    served: Vec<Served>,
    /// Servers whose certificate is revoked.
    revoked: Vec<String>,
    /// Since when it is not known who is revoked, if so.
    unknown_since: Option<Timestamp>,
    /// The audit log, if one is kept.
    journal: Option<Arc<Journal>>,
    /// Why the last reload was refused, and when.
    refused: Option<(Timestamp, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

/// A server, and until when its certificate and everything that vouches for it is valid.
#[derive(Debug)]
struct Served {
    server: String,
    /// On the wire.
    server_name: String,
    valid_until: Timestamp,
}

/// The answer to `/readyz`.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) is_ready: bool,
    pub(super) body: Value,
}

impl Readiness {
    /// Every listener is bound, and this is what is served: at the start, and after each
    /// reload. `names` are the only servers served, unless there are none.
    pub(crate) fn serving(
        &self,
        config: &SecureMcpConfig,
        checked: &CheckedFiles,
        names: &[String],
    ) {
        let served = checked.servers.iter().filter_map(|server| {
            let entry = config.servers.get(&server.name)?;
            let is_served = matches!(entry.role, ServerRole::Serve { .. })
                && (names.is_empty() || names.contains(&server.name));
            is_served.then(|| Served {
                server: server.name.clone(),
                server_name: entry.server_name.clone(),
                valid_until: server.valid_until,
            })
        });
        let mut state = self.lock();
        state.served = served.collect();
        state.refused = None;
        if state.phase == Phase::Starting {
            state.phase = Phase::Serving;
        }
    }

    /// What happens is recorded there, or not done.
    pub(crate) fn recording(&self, journal: Option<Arc<Journal>>) {
        self.lock().journal = journal;
    }

    /// The certificates of these servers, and of no others, are revoked.
    pub(crate) fn revoked(&self, servers: Vec<String>) {
        self.lock().revoked = servers;
    }

    /// It is not known since then who is revoked, so that nobody is let in; or it is known.
    pub(crate) fn unknown_since(&self, since: Option<Timestamp>) {
        self.lock().unknown_since = since;
    }

    /// A reload was refused; what was served before is served on. That is no reason to send
    /// clients away, but one to look.
    pub(crate) fn reload_refused(&self, reason: String) {
        self.lock().refused = Some((SystemTime::now().into(), reason));
    }

    /// Nothing new is accepted any more.
    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.report().is_ready
    }

    /// Until when the certificate of each server, by its name on the wire, and all that vouches
    /// for it, is valid.
    pub(crate) fn certificates(&self) -> Vec<(String, Timestamp)> {
        let of = |served: &Served| (served.server_name.clone(), served.valid_until);
        self.lock().served.iter().map(of).collect()
    }

    pub(super) fn report(&self) -> Report {
        self.report_at(SystemTime::now().into())
    }

    fn report_at(&self, now: Timestamp) -> Report {
        let state = self.lock();
        let mut problems = Vec::new();
        match state.phase {
            Phase::Starting => {
                problems.push(json!({"code": "starting", "what": "not all listeners are bound"}));
            }
            Phase::Draining => {
                problems.push(json!({"code": "draining", "what": "it is shutting down"}));
            }
            Phase::Serving => {}
        }
        for Served { server, valid_until, .. } in &state.served {
            if now > *valid_until {
                problems.push(json!({
                    "code": "certificate_expired",
                    "what": format!(
                        "the certificate of {server}, or one that vouches for it, expired at \
                         {valid_until}"
                    ),
                    "server": server,
                    "not_after": valid_until.to_string(),
                }));
            }
        }
        for server in &state.revoked {
            problems.push(json!({
                "code": "certificate_revoked",
                "what": format!("the certificate of {server} is revoked"),
                "server": server,
            }));
        }
        if state.unknown_since.is_some() {
            problems.push(json!({
                "code": "revocation_unknown",
                "what": "the authority does not tell what is revoked, and nobody is let in",
            }));
        }
        if state.journal.as_ref().is_some_and(|journal| !journal.is_writable()) {
            problems.push(json!({
                "code": "audit_unwritable",
                "what": "the audit log cannot be written, and nothing is allowed until it can",
            }));
        }
        let is_ready = problems.is_empty();
        let status = if is_ready { "ready" } else { "not_ready" };
        let mut body = json!({"status": status, "problems": problems});
        if let Some((when, reason)) = &state.refused {
            body["reload_refused"] = json!({"at": when.to_string(), "reason": reason});
        }
        Report { is_ready, body }
    }

    /// What happens under the lock cannot leave it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000)
    }

    #[test]
    fn readiness_follows_the_life_of_the_process() {
        let readiness = Readiness::default();
        let code = |now| readiness.report_at(at(now)).body["problems"][0]["code"].clone();
        assert_eq!(code(0), "starting");
        readiness.lock().phase = Phase::Serving;
        let (server, server_name) = ("a".to_owned(), "b".to_owned());
        readiness.lock().served = vec![Served { server, server_name, valid_until: at(10) }];
        assert_eq!(readiness.certificates(), [("b".to_owned(), at(10))]);
        assert!(readiness.report_at(at(10)).is_ready);
        assert_eq!(code(11), "certificate_expired");
        assert!(!readiness.report_at(at(11)).is_ready);
        readiness.revoked(vec!["a".to_owned()]);
        assert_eq!(code(10), "certificate_revoked");
        readiness.revoked(Vec::new());
        readiness.unknown_since(Some(at(5)));
        assert_eq!(code(10), "revocation_unknown");
        readiness.unknown_since(None);
        readiness.reload_refused("no key".to_owned());
        let report = readiness.report_at(at(10));
        assert!(report.is_ready);
        assert_eq!(report.body["reload_refused"]["reason"], "no key");
        readiness.draining();
        assert_eq!(code(0), "draining");
        assert!(!readiness.report_at(at(0)).is_ready);
    }
}
