//! A server that stays on this machine: started here, and guarded as one that is served.

use std::sync::Arc;
use std::time::SystemTime;

use sealwire::config::{SecureMcpConfig, ServerRole};
use sealwire::pins::{PinStore, server_of};
use sealwire::serving::child_config;
use sealwire::state::{State, StateError};
use sealwire_audit::{AuditSink, Event, LogSink};
use sealwire_guard::PinMode;
use sealwire_names::Refusal;
use sealwire_relay::{ChildConfig, LocalConfig, LocalServer, RelayError, stdio};
use tokio::sync::watch;

use super::following::{CurrentGate, Following, Sources, gate_of, is_local, quarantined};
use super::stay_awake;
use crate::cli::{Context, Failure, Page};
use crate::commands::signals;
use crate::control::{Ledger, announce, counting};

/// Most variables that are named because a server is not given them.
const MOST_NAMED: usize = 40;

pub(super) fn run(config: SecureMcpConfig, name: &str, context: &Context) -> Result<(), Failure> {
    let sources = Sources::of(config, || context.load_config())?;
    let config = sources.config.clone();
    let found = config.servers.get(name).filter(|entry| is_local(entry));
    let Some((entry, child)) = found.and_then(|entry| Some((entry, child_config(&entry.role)?)))
    else {
        let what = format!("{name} was taken out of the configuration just now");
        return Err(Failure::config(what).at(context.config_file.display()).fix("start it again"));
    };
    let home = config.layout();
    let state = State::open(&home).map_err(unknown)?;
    let quarantine = watch::Sender::new(Arc::new(quarantined(&config, &state).map_err(unknown)?));
    let pins = match entry.pins {
        PinMode::Off => None,
        mode => {
            let store = Arc::new(PinStore::open(&home).map_err(sealwire::Error::from)?);
            store.of(&server_of(&config, entry)?, mode).map_err(sealwire::Error::from)?
        }
    };
    let ledger = match config.audit.enabled {
        true => Some(Arc::new(Ledger::start(&config).map_err(|error| {
            Failure::new("cannot start a thread for the audit log").because(error)
        })?)),
        false => None,
    };
    let audit: Arc<dyn AuditSink> = match &ledger {
        Some(ledger) => Arc::new((Arc::clone(ledger), LogSink)),
        None => Arc::new(LogSink),
    };
    let audit = Arc::new(counting(&config, audit));
    // Before it runs: by the time a conversation is cut, it would have been at work already.
    let shut_out = quarantine.borrow().check_server(&entry.server_name, SystemTime::now().into());
    if let Err(refusal) = shut_out {
        record_refused(&*audit, &entry.server_name, &refusal);
        let recorded = ledger.map_or(Ok(()), |ledger| ledger.close());
        let failure = failed(name, &child, &RelayError::Refused(refusal));
        return Err(match recorded {
            Ok(()) => failure,
            Err(error) => failure.because(format!("and that could not be recorded: {error}")),
        });
    }
    let announced = announce(&home, &entry.server_name);
    if let Err(error) = &announced {
        tracing::warn!(%error, "`sealwire status` will not know of this conversation");
    }
    tell_withheld(name, &entry.role, &child);
    let gate = Arc::new(CurrentGate::new(gate_of(&config, name)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let following = Following {
        context,
        name,
        sources,
        state,
        quarantine: quarantine.clone(),
        gate: Arc::clone(&gate),
        audit: Arc::clone(&audit),
    };
    let how = LocalConfig {
        server_name: entry.server_name.clone(),
        child: child.clone(),
        max_message: config.listen.max_message_size,
        drain_timeout: config.listen.drain_timeout,
        stay_awake: stay_awake(),
        gate,
        audit,
        pins,
        quarantine: quarantine.subscribe(),
    };
    let relayed = runtime.block_on(async {
        let stop = signals::stop()?;
        let client = stdio(how.max_message)
            .map_err(|error| Failure::new("cannot use standard input or output").because(error))?;
        let server = LocalServer::start(how).map_err(|error| not_started(name, &child, &error))?;
        let relayed = tokio::select! {
            relayed = server.relay_stdio(client, Box::pin(stop)) => relayed,
            never = following.follow() => match never {},
        };
        relayed.map_err(|error| failed(name, &child, &error))
    });
    // A thread that still waits for a terminal's input must not keep the process alive.
    runtime.shutdown_background();
    drop(announced);
    let recorded = ledger.map_or(Ok(()), |ledger| ledger.close());
    relayed?;
    recorded.map_err(|error| {
        Failure::new("the end of the conversation could not be recorded")
            .because(error)
            .fix("see to the disk that `[audit] log_dir` is on")
    })
}

fn record_refused(audit: &impl AuditSink, server: &str, refusal: &Refusal) {
    let server = Some(server);
    let event = Event::ConnectionRefused { address: None, peer: None, server, refusal };
    if let Err(error) = audit.record(&event) {
        tracing::error!(%error, "the audit log failed");
    }
}

/// A server that its client has started until now had the client's whole environment. Whoever has
/// said what it gets, knows that.
fn tell_withheld(name: &str, role: &ServerRole, child: &ChildConfig) {
    let mut withheld = child.withheld();
    let is_said = matches!(role, ServerRole::Local { env, env_vars, .. }
        if !env.is_empty() || !env_vars.is_empty());
    if withheld.is_empty() || is_said {
        return;
    }
    let more = withheld.len().saturating_sub(MOST_NAMED);
    withheld.truncate(MOST_NAMED);
    let variables = withheld.join(", ");
    tracing::warn!(
        variables,
        more,
        "the server is not given these variables of the client's: name those that it needs in \
         env_vars of [mcp_servers.{name}]"
    );
}

fn unknown(error: StateError) -> Failure {
    match error.is_denied() {
        true => error.into(),
        false => Failure::new("it is not known what is suspended")
            .because(error)
            .fix("put the file in order; only if it is lost, move it away and quarantine anew"),
    }
}

fn not_started(name: &str, child: &ChildConfig, error: &std::io::Error) -> Failure {
    let command = &child.command;
    let fix = match error.kind() {
        std::io::ErrorKind::NotFound if child.cwd.as_ref().is_some_and(|cwd| !cwd.is_dir()) => {
            format!("make its working directory, or correct cwd of [mcp_servers.{name}]")
        }
        std::io::ErrorKind::NotFound => format!(
            "install it, or write its full path in command of [mcp_servers.{name}]: a client may \
             start sealwire with another PATH than a shell's"
        ),
        _ => format!("see `sealwire doctor {name}`"),
    };
    Failure::new(format!("the server {name} cannot be started"))
        .at(command)
        .because(error)
        .fix(fix)
        .see(Page::LocalServers)
}

fn failed(name: &str, child: &ChildConfig, error: &RelayError) -> Failure {
    let failure = Failure::new(format!("the server {name} failed")).at(&child.command);
    let failure = failure.see(Page::LocalServers);
    match error {
        RelayError::ServerFailed => {
            failure.because("its process ended with an error").fix(format!(
                "what it wrote stands above; if it misses a variable of the client's environment, \
                 name that in env_vars of [mcp_servers.{name}]; `sealwire doctor {name}` starts it \
                 on trial"
            ))
        }
        RelayError::Refused(refusal) => Failure::new(format!("the server {name} is shut out"))
            .because(refusal)
            .fix("see `sealwire quarantine list`")
            .see(Page::of_refusal(refusal.code)),
        other => Failure::new(format!("the conversation with {name} broke off"))
            .because(other)
            .fix("see `sealwire doctor`")
            .see(Page::LocalServers),
    }
}
