mod changes;
mod reload;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::config::{SecureMcpConfig, ServerEntry, ServerRole};
use sealwire::evidence;
use sealwire::home::{CertificatePair, Home};
use sealwire::incidents::{IncidentSink, Raised};
use sealwire::metrics::{MetricsSink, SecurityMetrics};
use sealwire::revocations::ListFiles;
use sealwire::state::State;
use sealwire_audit::{AuditSink, Change, ChangeKind, Event, Journal, LogSink};
use sealwire_guard::IncidentAction;
use sealwire_identity::{CertificateSummary, RevocationLists};
use sealwire_relay::{ServeConfig, Server};
use serde_json::json;
use tokio::sync::mpsc;

use self::reload::{Cause, Loaded, Outcome, Reloader, Running, Start, load};
use super::certificates::leaf;
use super::signals;
use super::watch::FileWatch;
use crate::admin::{Admin, Answers, Readiness};
use crate::alerts::{Alert, AlertSink, Alerts, Kind};
use crate::cli::{Context, Failure};
use crate::control::{Answer, Counting, Recorder, Reload, Service, Socket};
use crate::joining::{Following, Renewing};
use crate::notify;

/// Incidents that wait to be acted upon.
const MOST_RAISED: usize = 256;
/// How long we wait for what is revoked before we serve nobody.
const FIRST_LIST: Duration = Duration::from_secs(5);
/// How much longer than it drains another `serve` may take to end.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// Serve MCP servers over mutual TLS
///
/// Starts one process of the server for each client that connects, and ends it with the
/// conversation. SIGTERM and SIGINT stop accepting, let calls under way finish, and end
/// the servers.
///
/// When the configuration, a certificate, a key or a file of trust anchors changes, and on
/// SIGHUP, everything is read again. If all of it holds, new connections go by it, and
/// those there are go on; if not, all stays as it is and the log says why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire serve                      every server of the configuration that has a command
  sealwire serve github filesystem    only these two
  sealwire --log-format json serve    one JSON object for each log line")]
pub(crate) struct Arguments {
    /// The servers to serve [default: all that the configuration serves]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let Start { mut loaded, mut serving, seen } = load(context, &arguments.names)?;
    for warning in &loaded.checked.warnings {
        tracing::warn!("{warning}");
    }
    let home = loaded.config.layout();
    let state = state(&home)?;
    let patience = loaded.config.listen.drain_timeout + TAKE_OVER;
    let claim = Socket::claim(&home, patience)?;
    let journal = journal(&loaded.config, patience)?;
    let recorder = recorder(journal.as_ref());
    let alerts =
        Alerts::start(&home, loaded.alerts.take(), (Arc::clone(&recorder), journal.clone()))?;
    let metrics = Arc::new(SecurityMetrics::new());
    count_served(&metrics, &loaded.config, &serving);
    let recorder = MetricsSink::new(recorder, Arc::clone(&metrics));
    let (incidents, mut raised) = counting(&loaded.config, recorder, &alerts);
    serving.audit = Arc::clone(&incidents) as _;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        let terminal_lost = signals::terminal_lost()?;
        let hangup = signals::hangup()?;
        let readiness = Arc::new(Readiness::default());
        readiness.recording(journal.clone());
        let (answers, measured) = answers(&readiness, &metrics);
        let admin = match loaded.config.admin.address {
            Some(address) => Some(Admin::start(address, Arc::clone(&answers)).await?),
            None => None,
        };
        let mut server = Server::bind(serving).await.map_err(|error| {
            Failure::new(error.to_string())
                .fix("stop what listens there, or choose another address in [listen]")
        })?;
        let names = &arguments.names;
        let (reloads, mut asked) = mpsc::channel(1);
        let lists = ListFiles::of(&loaded.config).load(SystemTime::now().into())?;
        let is_told = loaded.config.renew_from.is_some();
        let domain = (loaded.config.trust_domain.clone(), lists, is_told);
        // Before anybody is let in.
        let counting = (Arc::clone(&incidents), journal.clone(), Arc::clone(&metrics));
        let telling = (Arc::clone(&readiness), alerts.clone());
        let service =
            Service::new((home, state), server.control(), domain, counting, telling, reloads);
        let service = service.map_err(|error| unreadable(&error))?;
        let _first = measured.set(service.clone());
        service.follow();
        let acting = service.clone();
        tokio::spawn(async move {
            while let Some(raised) = raised.recv().await {
                acting.raise(raised).await;
            }
        });
        let following = following(&loaded.config, names, &service);
        service.known(FIRST_LIST).await;
        server.start();
        readiness.serving(&loaded.config, &loaded.checked, names);
        let reloader = Reloader::new(context, names, hangup, FileWatch::new(), (loaded, seen));
        let Loaded { config, .. } = reloader.active();
        let addresses = server.addresses();
        let own = presented(config, names);
        service.serving(&config.trust_domain, addresses, own, (None, is_told));
        // Before anybody is told that it serves: who is told may send commands.
        let socket = claim.listen(service.clone());
        log_addresses(&server);
        let renewing = renewing(config, names);
        let mut running = Running {
            renewing,
            following,
            server,
            admin,
            answers,
            metrics,
            incidents,
            alerts,
            journal,
        };
        notify::ready("Serving");
        notify::keep_watchdog_fed();
        tokio::select! {
            () = stop => {}
            () = terminal_lost => {}
            () = reload_for_ever(reloader, names, &mut running, &service, &mut asked) => {}
        }
        drop(asked);
        // Another one may take our place while we drain, but for the log. Who has things recorded here, as clients of
        // local servers do, goes on with that. We follow the quarantine in any case.
        let mut socket = socket.filter(|_| running.journal.is_some());
        socket.iter_mut().for_each(Socket::drains);
        running.answers.readiness.draining();
        notify::stopping(running.server.drain_timeout());
        running.server.drain().await;
        running.alerts.stop();
        if let Some(socket) = socket {
            // The log is ours until this process is gone, and so is this.
            std::mem::forget(socket.close().await);
        }
        if let Some(error) = running.journal.and_then(|journal| journal.close().err()) {
            tracing::error!(%error, "the end of the audit log could not be written");
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Serves what the files say, whenever they change. Cancelling it leaves what runs as it
/// is, by the old configuration or by the new one.
async fn reload_for_ever(
    mut reloader: Reloader<'_>,
    names: &[String],
    running: &mut Running,
    service: &Service,
    asked: &mut mpsc::Receiver<Reload>,
) {
    loop {
        let (mut cause, tell) = tokio::select! {
            cause = reloader.wanted() => (cause, None),
            Some(tell) = asked.recv() => (Cause::Signal, Some(tell)),
        };
        notify::reloading();
        let before = running.server.addresses();
        let outcome = reloader.reload(&mut cause, running).await;
        let refusal = match &outcome {
            Outcome::Refused(reason) => Some(reason.as_str()),
            _ => None,
        };
        let is_news = reloader.is_news(cause, refusal);
        match &outcome {
            Outcome::Replaced(changes) => {
                tracing::info!(changes = changes.join("; "), "configuration reloaded");
                if running.server.addresses() != before {
                    log_addresses(&running.server);
                }
            }
            Outcome::Unchanged if cause == Cause::Signal => {
                tracing::info!("configuration read again: nothing has changed");
            }
            Outcome::Unchanged => tracing::debug!("nothing has changed that matters here"),
            Outcome::Refused(reason) if is_news => {
                running.alerts.raise(Alert::new(Kind::ReloadRefused));
                tracing::error!(reason, "reload refused, the old configuration stays");
            }
            Outcome::Refused(_) => tracing::debug!("the files are as bad as before"),
        }
        record_reload(&outcome, is_news, running);
        if let Some(tell) = tell {
            let _nobody_waits = tell.send(told(&outcome));
        }
        match outcome {
            Outcome::Refused(reason) => {
                running.answers.readiness.reload_refused(reason);
                notify::ready("Serving; the last reload was refused");
            }
            Outcome::Replaced(_) | Outcome::Unchanged => {
                let Loaded { config, checked, .. } = reloader.active();
                running.renewing = renewing(config, names);
                running.following = following(config, names, service);
                running.answers.readiness.serving(config, checked, names);
                let addresses = running.server.addresses();
                let own = presented(config, names);
                let told = (lists(config), config.renew_from.is_some());
                service.serving(&config.trust_domain, addresses, own, told);
                notify::ready("Serving");
            }
        }
    }
}

/// Renews what we present, if it is to renew itself.
fn renewing(config: &SecureMcpConfig, names: &[String]) -> Renewing {
    Renewing::start(config, pairs(config, names))
}

/// Goes by what the authority says is revoked, if it is to be asked.
fn following(config: &SecureMcpConfig, names: &[String], service: &Service) -> Following {
    let service = service.clone();
    let learn = move |list| {
        let service = service.clone();
        async move { service.learn(list).await }
    };
    Following::start(config, pairs(config, names).into_iter().next(), learn)
}

/// What we present.
fn pairs(config: &SecureMcpConfig, names: &[String]) -> Vec<CertificatePair> {
    let pair = |entry: &ServerEntry| match &entry.role {
        ServerRole::Serve { tls_cert, tls_key, .. } if is_served(names, &entry.name) => {
            Some(CertificatePair { cert: tls_cert.clone(), key: tls_key.clone() })
        }
        _ => None,
    };
    config.servers.values().filter_map(pair).collect()
}

/// Whether a server is among those named; none named are all.
fn is_served(names: &[String], name: &String) -> bool {
    names.is_empty() || names.contains(name)
}

/// What authorities say is revoked. It was in order just now.
fn lists(config: &SecureMcpConfig) -> Option<RevocationLists> {
    ListFiles::of(config)
        .load(SystemTime::now().into())
        .inspect_err(|error| {
            tracing::error!(%error, "the revocation lists cannot be read; those before hold");
        })
        .ok()
}

/// The certificates that we present, by server. Each has just been read and was in order.
fn presented(config: &SecureMcpConfig, names: &[String]) -> Vec<(String, CertificateSummary)> {
    let entries = config.servers.values();
    let of_entry = |entry: &ServerEntry| match &entry.role {
        ServerRole::Serve { tls_cert, .. } if is_served(names, &entry.name) => {
            Some((entry.name.clone(), leaf(tls_cert).ok()?))
        }
        _ => None,
    };
    entries.filter_map(of_entry).collect()
}

/// Records how a reload went, if it made a difference.
fn record_reload(outcome: &Outcome, is_news: bool, running: &Running) {
    let (kind, detail) = match outcome {
        Outcome::Replaced(changes) => (ChangeKind::ConfigChanged, &changes.join("; ")),
        Outcome::Refused(reason) if is_news => (ChangeKind::ConfigRefused, reason),
        _ => return,
    };
    let change = Change { kind, subject: None, detail, until: None };
    if let Err(error) = running.incidents.record(&Event::Change(&change)) {
        tracing::error!(%error, "the audit log failed");
    }
}

/// The log of what happens, which is begun. Another process may still have it for so long.
fn journal(config: &SecureMcpConfig, patience: Duration) -> Result<Option<Arc<Journal>>, Failure> {
    let fix = "let whoever runs `serve` write there, name another [audit] log_dir, or see what \
               `sealwire audit verify` says";
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new("the audit log cannot be written").because(error).fix(fix)
    };
    let journal = evidence::open(config, patience).map_err(|error| failed(&error))?;
    let Some(journal) = journal else {
        tracing::info!("no audit log is kept");
        return Ok(None);
    };
    journal.start(env!("CARGO_PKG_VERSION")).map_err(|error| failed(&error))?;
    Ok(Some(Arc::new(journal)))
}

/// Where everything is recorded.
fn recorder(journal: Option<&Arc<Journal>>) -> Arc<dyn AuditSink> {
    match journal {
        Some(journal) => Arc::new((Arc::clone(journal), LogSink)),
        None => Arc::new(LogSink),
    }
}

/// What is told to whoever asked for a reload.
fn told(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Replaced(changes) => Answer::Done(json!({"changes": changes})),
        Outcome::Unchanged => Answer::Done(json!({"changes": []})),
        Outcome::Refused(reason) => Answer::failed(
            format!("reload refused, the old configuration stays: {reason}"),
            "put that right, and reload again",
        ),
    }
}

/// What is told at the address of `[admin]`, and where to find what is measured for it, which is
/// not there from the beginning.
fn answers(
    readiness: &Arc<Readiness>,
    metrics: &Arc<SecurityMetrics>,
) -> (Arc<Answers>, Arc<OnceLock<Service>>) {
    let measured = Arc::new(OnceLock::<Service>::new());
    let (service, metrics) = (Arc::clone(&measured), Arc::clone(metrics));
    let metrics = Box::new(move || {
        let levels = service.get().map(Service::levels).unwrap_or_default();
        metrics.text(&levels)
    });
    (Arc::new(Answers { readiness: Arc::clone(readiness), metrics }), measured)
}

/// The servers that events may be about from now on.
fn count_served(metrics: &SecurityMetrics, config: &SecureMcpConfig, serving: &ServeConfig) {
    let services = serving.listeners.iter().flat_map(|listener| &listener.services);
    let is_local = |entry: &&ServerEntry| matches!(entry.role, ServerRole::Local { .. });
    // What is called of those is recorded here, too, and so counted.
    let local = config.servers.values().filter(is_local).map(|entry| entry.server_name.as_str());
    let names = services.map(|service| service.server_name.as_str()).chain(local);
    let gate = config.guard(|entry| !matches!(entry.role, ServerRole::Connect { .. }));
    metrics.serving(Arc::new(gate), names);
}

/// What counts refusals, and where it tells that they are too many.
fn counting(
    config: &SecureMcpConfig,
    recorder: Recorder,
    alerts: &Alerts,
) -> (Arc<Counting>, mpsc::Receiver<Raised>) {
    let (tell, told) = mpsc::channel(MOST_RAISED);
    let raise = move |raised: Raised| {
        // What strangers can bring about leaves room for what shuts somebody out.
        let has_room =
            raised.rule.action != IncidentAction::Notify || tell.capacity() > MOST_RAISED / 2;
        if !has_room || tell.try_send(raised).is_err() {
            tracing::error!("more incidents at once than can be acted upon: one was not");
        }
    };
    let alerts = alerts.clone();
    let sink = AlertSink::new(recorder, move |alert| alerts.raise(alert));
    (Arc::new(IncidentSink::new(sink, config.incidents.clone(), raise)), told)
}

/// The state of the home. What cannot be kept cannot be enforced after a restart.
fn state(home: &Home) -> Result<State, Failure> {
    State::open(home).map_err(|error| match error.is_denied() {
        true => error.into(),
        false => unreadable(&error),
    })
}

/// Who is to be kept out must be known before anybody is let in.
fn unreadable(error: &sealwire::state::StateError) -> Failure {
    Failure::new("it is not known who is quarantined")
        .because(error)
        .fix("put the file in order; only if it is lost, move it away and quarantine anew")
}

fn log_addresses(server: &Server) {
    for (address, servers) in server.addresses() {
        tracing::info!(%address, servers = servers.join(","), "listening");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sealwire_audit::Message;
    use sealwire_names::{Refusal, RefusalCode};

    use super::*;

    /// Alerts that go nowhere.
    pub(super) fn nobody_told() -> (tempfile::TempDir, Alerts) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        (dir, Alerts::start(&home, None, (Arc::new(LogSink), None)).unwrap())
    }

    /// A recorder whose metrics nobody reads.
    pub(super) fn nobody_counts() -> Recorder {
        MetricsSink::new(Arc::new(LogSink) as _, Arc::default())
    }

    #[test]
    fn strangers_in_any_number_leave_room_for_a_peer_to_be_shut_out() {
        let rules = "[incidents.failed_handshakes]\ntrigger = 1\n\
                     [incidents.denied_requests]\ntrigger = 1\naction = \"quarantine\"";
        let config = SecureMcpConfig::parse(Path::new("/h"), rules).unwrap();
        let (_home, alerts) = nobody_told();
        let (counting, mut raised) = counting(&config, nobody_counts(), &alerts);
        let refusal = Refusal::new(RefusalCode::TlsHandshake, "");
        for number in 0..1_000_u16 {
            let [high, low] = number.to_be_bytes();
            let address = Some(std::net::SocketAddr::from(([10, 0, high, low], 1)));
            let (peer, server, refusal) = (None, None, &refusal);
            let event = Event::ConnectionRefused { address, peer, server, refusal };
            counting.record(&event).unwrap();
        }
        let peer = "spiffe://x/core/a".parse().unwrap();
        let message = Message {
            peer: Some(&peer),
            server: "s",
            direction: "to_server",
            method: "tools/call",
            subject: None,
            id: None,
            certificate: None,
            arguments: None,
            policy: None,
            at: None,
        };
        let refusal = Refusal::new(RefusalCode::NotAuthorized, "");
        counting.record(&Event::Decision { message: &message, denied: Some(&refusal) }).unwrap();
        let mut actions = Vec::new();
        while let Ok(raised) = raised.try_recv() {
            actions.push(raised.rule.action);
        }
        assert_eq!(actions.len(), MOST_RAISED / 2 + 1);
        assert_eq!(actions.last(), Some(&IncidentAction::Quarantine));
    }
}
