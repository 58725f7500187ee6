//! What a running `serve` does for a command.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sealwire::home::Home;
use sealwire::incidents::{IncidentSink, Raised, SecurityIncident};
use sealwire::metrics::{Levels, LogLevels, MetricsSink, SecurityMetrics};
use sealwire::state::{State, StateError};
use sealwire_audit::{AuditSink, Journal, Position, Status};
use sealwire_guard::{Entry, Quarantine, Target};
use sealwire_identity::{CertificateSummary, Revocation, RevocationList, RevocationLists};
use sealwire_names::{Timestamp, TrustDomain};
use sealwire_relay::{Control, ConversationReport};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::known::Known;
use super::local::local_conversations;
use super::local_event::{LocalEvent, Place};
use super::protocol::{Answer, Request};
use super::shown::{
    as_json, certificate_as_json, incident_as_json, local_as_json, log_as_json, revocation_as_json,
};
use crate::admin::Readiness;
use crate::alerts::{Alert, AlertSink, Alerts, Kind};
use crate::cli::lost_log_lines;

/// How often it is looked whether another process has changed the quarantine.
const LOOK: Duration = Duration::from_secs(1);
/// How long it is waited for that a disk takes what a local conversation needs recorded, and for a
/// moment in between.
const DISK: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);

/// Incidents that are shown.
pub(crate) const SHOWN: u32 = 20;

/// Records what happens, and counts it.
pub(crate) type Recorder = MetricsSink<Arc<dyn AuditSink>>;

/// The same, telling of what cannot be recorded, and counting refusals.
pub(crate) type Counting = IncidentSink<AlertSink<Recorder>>;

/// What counts and records, the log if one is kept, and what was counted.
pub(crate) type Recording = (Arc<Counting>, Option<Arc<Journal>>, Arc<SecurityMetrics>);

/// A request to read all files again, and where to tell how that ended.
pub(crate) type Reload = oneshot::Sender<Answer>;

/// Carries out commands.
#[derive(Clone)]
pub(crate) struct Service(pub(super) Arc<Inner>);

pub(super) struct Inner {
    home: Home,
    pub(super) relay: Control,
    state: Mutex<State>,
    pub(super) incidents: Arc<Counting>,
    /// The log, if one is kept.
    journal: Option<Arc<Journal>>,
    metrics: Arc<SecurityMetrics>,
    pub(super) readiness: Arc<Readiness>,
    alerts: Alerts,
    reloads: mpsc::Sender<Reload>,
    pub(super) serving: Mutex<Serving>,
    /// Notified when the authority has told what is revoked.
    pub(super) told: Notify,
    since: Timestamp,
}

/// What is served at the moment.
pub(super) struct Serving {
    pub(super) trust_domain: TrustDomain,
    addresses: Vec<(SocketAddr, Vec<String>)>,
    pub(super) entries: Vec<Entry>,
    /// What was there before is in force.
    pub(super) is_begun: bool,
    pub(super) revoked: Vec<Revocation>,
    /// What authorities say is.
    pub(super) lists: RevocationLists,
    /// Until when it is known what is revoked.
    pub(super) known: Known,
    /// The certificates that we present, by server.
    pub(super) own: Vec<(String, CertificateSummary)>,
    /// The servers of which they are revoked.
    pub(super) own_revoked: Vec<String>,
    /// The latest, the last one first.
    pub(super) incidents: Vec<SecurityIncident>,
}

impl Service {
    /// Puts what `state` says in force.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn new(
        (home, state): (Home, State),
        relay: Control,
        (trust_domain, lists, is_told): (TrustDomain, RevocationLists, bool),
        (incidents, journal, metrics): Recording,
        (readiness, alerts): (Arc<Readiness>, Alerts),
        reloads: mpsc::Sender<Reload>,
    ) -> Result<Self, StateError> {
        let known = Known::of(state.denylist()?);
        let serving = Serving {
            trust_domain,
            addresses: Vec::new(),
            entries: Vec::new(),
            is_begun: false,
            revoked: Vec::new(),
            lists: RevocationLists::default(),
            known,
            own: Vec::new(),
            own_revoked: Vec::new(),
            incidents: Vec::new(),
        };
        let service = Self(Arc::new(Inner {
            home,
            relay,
            state: Mutex::new(state),
            incidents,
            journal,
            metrics,
            readiness,
            alerts,
            reloads,
            serving: Mutex::new(serving),
            told: Notify::new(),
            since: SystemTime::now().into(),
        }));
        service.want_known(&mut lock(&service.0.serving), is_told);
        service.enforce(&lock(&service.0.state))?;
        service.enforce_lists(&mut lock(&service.0.serving), lists);
        Ok(service)
    }

    /// From now on, this is what is served, these are the certificates for it, this is what
    /// authorities say is revoked (`None` if that cannot be read, and what was before holds), and
    /// whether an authority elsewhere tells what else is.
    pub(crate) fn serving(
        &self,
        trust_domain: &TrustDomain,
        addresses: Vec<(SocketAddr, Vec<String>)>,
        own: Vec<(String, CertificateSummary)>,
        (lists, is_told): (Option<RevocationLists>, bool),
    ) {
        let mut serving = lock(&self.0.serving);
        self.want_known(&mut serving, is_told);
        if let Some(lists) = lists {
            self.enforce_lists(&mut serving, lists);
        }
        serving.addresses = addresses;
        serving.own = own;
        self.look_at_own(&mut serving);
        if serving.trust_domain != *trust_domain {
            serving.trust_domain = trust_domain.clone();
            self.0.relay.quarantine(Quarantine::new(trust_domain, serving.entries.clone()));
        }
    }

    /// Follows what other processes write, until it is aborted. A command that finds no socket
    /// writes the file alone; so does one that this process's start has overtaken.
    pub(crate) fn follow(&self) -> JoinHandle<()> {
        let service = self.clone();
        tokio::spawn(async move {
            let mut told = None;
            loop {
                sleep(LOOK).await;
                let looking = service.clone();
                let looked = tokio::task::spawn_blocking(move || looking.look()).await;
                let failed = match looked {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                if failed != told {
                    if let Some(error) = &failed {
                        tracing::error!(
                            error,
                            "what is revoked and who is quarantined cannot be read; what was before holds"
                        );
                    }
                    told = failed;
                }
            }
        })
    }

    fn look(&self) -> Result<(), StateError> {
        self.look_whether_known(&mut lock(&self.0.serving));
        lock(&self.0.state).news(|state| self.enforce(state)).map(|_| ())
    }

    /// Acts upon an incident: keeps it, tells it, and cuts off whoever is to be shut out.
    pub(crate) async fn raise(&self, raised: Raised) {
        let service = self.clone();
        let acted = tokio::task::spawn_blocking(move || service.act(&raised)).await;
        let failed = acted.unwrap_or_else(|error| Some(error.to_string()));
        if let Some(error) = failed {
            tracing::error!(error, "an incident could not be kept; the next `serve` will not know");
        }
    }

    /// Why it could not be kept, if so.
    fn act(&self, raised: &Raised) -> Option<String> {
        let now = SystemTime::now().into();
        let home = lock(&self.0.serving).trust_domain.clone();
        let mut state = lock(&self.0.state);
        let kept = state.raise(raised, &home, now);
        if let Ok(None) = kept {
            return None;
        }
        raised.tell(self.0.incidents.inner(), kept.as_ref().ok().copied().flatten(), now);
        if kept.is_err() {
            let (subject, name) = (raised.subject.kind(), raised.subject.name());
            let alert = Alert::new(Kind::IncidentLost).about(subject, &name);
            self.0.alerts.raise(alert.with("what", raised.kind));
        }
        let is_kept = kept.is_ok();
        let kept = kept.and_then(|_| self.enforce(&state));
        if kept.is_err()
            && let Some(entry) = raised.entry(&home, now)
        {
            // Shut out all the same, while we are here.
            let mut serving = lock(&self.0.serving);
            serving.entries.push(entry);
            self.0.relay.quarantine(Quarantine::new(&home, serving.entries.clone()));
            drop(serving);
            if is_kept {
                state.look_again();
            }
        }
        kept.err().map(|error| error.to_string())
    }

    /// Does what a command asks for.
    pub(crate) async fn carry_out(&self, request: Request) -> Answer {
        match request {
            Request::Status {} => Answer::Done(self.status()),
            Request::Reload {} => self.reload().await,
            Request::QuarantineList {} => Answer::Done(json!(self.entries())),
            Request::QuarantineAdd { kind, name, reason, until } => {
                let Some(target) = Target::parse(&kind, &name) else {
                    return no_target(&kind, &name);
                };
                let until = until.map(Timestamp::from_unix_millis);
                let since = SystemTime::now().into();
                let entry = Entry { target, reason, since, until, incident: None };
                let ends = self.concerned(&entry.target);
                let added = move |state: &mut State| state.quarantine(&entry);
                self.change(added).await.map_or_else(
                    |answer| answer,
                    |()| Answer::Done(json!({"conversations_ended": ends})),
                )
            }
            Request::Record { entry } => self.record(&entry).await,
            Request::RecordLocal { events } => self.record_local(&events).await,
            Request::Revoke { kind, what, signed, reason } => {
                self.revoke((&kind, &what, signed.as_deref()), reason).await
            }
            Request::QuarantineLift { kind, name } => {
                let Some(target) = Target::parse(&kind, &name) else {
                    return no_target(&kind, &name);
                };
                let lifted = self.change(move |state| state.lift(&target)).await;
                lifted
                    .map_or_else(|answer| answer, |lifted| Answer::Done(json!({"lifted": lifted})))
            }
        }
    }

    /// Records an entry of a command's, waits until it is as durable as any, and counts it.
    async fn record(&self, entry: &str) -> Answer {
        let recorded = match &self.0.journal {
            Some(journal) => match journal.append(entry.as_bytes()) {
                Ok(position) => poll_fn(|cx| journal.poll_durable(position, cx)).await,
                Err(error) => Err(error),
            },
            None => Ok(()),
        };
        match recorded {
            Ok(()) => {
                self.0.metrics.count_entry(entry);
                Answer::Done(json!({}))
            }
            Err(error) => {
                self.0.metrics.count_unrecorded();
                unrecorded(&error)
            }
        }
    }

    /// Records what happened between a client of this machine and its server, as durably as
    /// anything, and counts it. What follows from it, its `connect` sees to. Its conversation ends
    /// if this fails; so what a disk does not take is waited for, and nothing is recorded twice.
    async fn record_local(&self, events: &[LocalEvent]) -> Answer {
        let log = self.0.incidents.inner();
        let give_up = Instant::now() + DISK;
        while self.0.journal.as_ref().is_some_and(|journal| !journal.is_writable())
            && Instant::now() < give_up
        {
            sleep(RETRY).await;
        }
        let append = |entry: &str| match &self.0.journal {
            Some(journal) => {
                let position = journal.append(entry.as_bytes())?;
                self.0.metrics.count_entry(entry);
                Ok(position)
            }
            None => Ok(Position::default()),
        };
        let recorded: io::Result<Vec<Position>> =
            events.iter().map(|event| event.record(log, append)).collect();
        let durable = match recorded {
            Ok(positions) => {
                let last = positions.iter().fold(Position::default(), |last, one| last.and(*one));
                loop {
                    match poll_fn(|cx| log.poll_durable(last, cx)).await {
                        Err(_) if Instant::now() < give_up => sleep(RETRY).await,
                        done => break done.map(|()| positions),
                    }
                }
            }
            Err(error) => Err(error),
        };
        match durable {
            Ok(positions) => {
                let positions: Vec<_> = positions.into_iter().map(Place::of).collect();
                Answer::Done(json!({"positions": positions}))
            }
            Err(error) => unrecorded(&error),
        }
    }

    /// Changes the state, and puts it in force. Not on a thread that serves: it waits for the
    /// disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, Answer> {
        let service = self.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let mut state = lock(&service.0.state);
            let fix = "see whether the file and its disk are in order";
            let done = work(&mut state).map_err(|error| Answer::failed(error, fix))?;
            service.enforce(&state).map_err(|error| {
                state.look_again();
                Answer::failed(error, fix)
            })?;
            Ok(done)
        });
        changed.await.unwrap_or_else(|error| Err(Answer::failed(error, "look into the log")))
    }

    async fn reload(&self) -> Answer {
        let (tell, told) = oneshot::channel();
        let stopping = || Answer::failed("serve is shutting down", "wait for the next one");
        if self.0.reloads.send(tell).await.is_err() {
            return stopping();
        }
        told.await.unwrap_or_else(|_| stopping())
    }

    /// How many conversations a quarantine of that target ends.
    fn concerned(&self, target: &Target) -> usize {
        let now: Timestamp = SystemTime::now().into();
        let entry = Entry {
            target: target.clone(),
            reason: String::new(),
            since: now,
            until: None,
            incident: None,
        };
        let alone = Quarantine::new(&lock(&self.0.serving).trust_domain, vec![entry]);
        let conversations = self.0.relay.report().conversations;
        let ends = |of: &&ConversationReport| alone.check(&of.peer, &of.server, now).is_err();
        conversations.iter().filter(ends).count()
    }

    fn entries(&self) -> Vec<Value> {
        let now = SystemTime::now().into();
        let serving = lock(&self.0.serving);
        serving.entries.iter().filter(|entry| entry.holds(now)).map(as_json).collect()
    }

    fn revoked(&self) -> Vec<Value> {
        lock(&self.0.serving).revoked.iter().map(revocation_as_json).collect()
    }

    /// What we present, with when it is to be another one.
    fn certificates(&self) -> Vec<Value> {
        let serving = lock(&self.0.serving);
        serving.own.iter().map(|(server, own)| certificate_as_json(server, own)).collect()
    }

    /// Which lists of what is revoked are gone by.
    fn revocations(&self) -> Value {
        let serving = lock(&self.0.serving);
        let mut shown = serving.known.as_json();
        let list = |list: &RevocationList| {
            json!({
                "issuer": list.issuer,
                "number": list.number,
                "made": list.this_update.to_string(),
                "until": list.next_update.to_string(),
                "revoked": list.len(),
            })
        };
        shown["crl"] = serving.lists.iter().map(list).collect();
        shown
    }

    fn incidents(&self) -> Vec<Value> {
        lock(&self.0.serving).incidents.iter().map(incident_as_json).collect()
    }

    /// What is not counted, but is so at the moment.
    pub(crate) fn levels(&self) -> Levels {
        let mut conversations = HashMap::new();
        for conversation in self.0.relay.report().conversations {
            *conversations.entry(conversation.server.to_string()).or_default() += 1;
        }
        for conversation in local_conversations(&self.0.home) {
            *conversations.entry(conversation.server).or_default() += 1;
        }
        let now = SystemTime::now().into();
        let serving = lock(&self.0.serving);
        let held = serving.entries.iter().filter(|entry| entry.holds(now));
        Levels {
            conversations,
            quarantined: held.map(|entry| entry.target.clone()).collect(),
            certificates: self.0.readiness.certificates(),
            is_ready: self.0.readiness.is_ready(),
            log: self.0.journal.as_ref().map(|journal| log_levels(&journal.status())),
            log_lines_lost: lost_log_lines().lines,
        }
    }

    fn status(&self) -> Value {
        let report = self.0.relay.report();
        let listeners: Vec<Value> = lock(&self.0.serving)
            .addresses
            .iter()
            .map(|(address, servers)| json!({"address": address.to_string(), "servers": servers}))
            .collect();
        let conversations: Vec<Value> = report
            .conversations
            .iter()
            .map(|conversation| {
                json!({
                    "peer": conversation.peer.to_string(),
                    "certificate": conversation.presented.fingerprint.to_string(),
                    "server": &*conversation.server,
                    "since": conversation.since.to_string(),
                    "allowed": conversation.allowed,
                    "denied": conversation.denied,
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "since": self.0.since.to_string(),
            "listeners": listeners,
            "conversations": conversations,
            "local_conversations": local_as_json(&self.0.home),
            "conversations_ended": report.ended,
            "messages": {"allowed": report.allowed, "denied": report.denied},
            "connections_refused": report.refused,
            "quarantine": self.entries(),
            "revoked": self.revoked(),
            "certificates": self.certificates(),
            "revocations": self.revocations(),
            "incidents": self.incidents(),
            "audit": self.0.journal.as_ref().map(|journal| log_as_json(&journal.status())),
            "alerts": self.0.alerts.status(),
        })
    }
}

/// What metrics tell of the audit log.
fn log_levels(log: &Status) -> LogLevels {
    LogLevels {
        entries: log.entries,
        bytes: log.bytes,
        most_bytes: log.most_bytes,
        is_nearly_full: log.is_nearly_full,
        is_writable: log.trouble.is_none(),
        checkpoint: log.checkpoint.as_ref().map(|checkpoint| (checkpoint.size, checkpoint.root.0)),
        signed: log.signed,
    }
}

fn unrecorded(error: &io::Error) -> Answer {
    let what = format!("the audit log cannot be written: {error}");
    Answer::failed(what, "see to the disk that `[audit] log_dir` is on")
}

fn no_target(kind: &str, name: &str) -> Answer {
    let what = format!("{kind:?} {name:?} is nothing that can be quarantined");
    Answer::failed(what, "name a peer by its SPIFFE ID, an agent or a server by its name")
}

/// What happens under the locks cannot leave anything half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
