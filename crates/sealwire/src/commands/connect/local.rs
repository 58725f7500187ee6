//! A server that stays on this machine: started here, and guarded as one that is served.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sealwire::Snapshot;
use sealwire::config::{SecureMcpConfig, ServerEntry, ServerRole};
use sealwire::pins::{PinStore, server_of};
use sealwire::serving::child_config;
use sealwire::state::{State, StateError};
use sealwire_audit::{AuditSink, LogSink};
use sealwire_guard::{Decision, Gate, Level, PinMode, Quarantine, Request};
use sealwire_names::{Fingerprint, Timestamp};
use sealwire_relay::{ChildConfig, LocalConfig, LocalServer, RelayError, stdio};
use tokio::sync::watch;
use tokio::time::sleep;

use super::stay_awake;
use crate::cli::{Context, Failure};
use crate::commands::signals;
use crate::control::{Ledger, OwnCounting, counting};

/// How often it is looked whether the server was suspended, or the configuration changed.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(
    config: &SecureMcpConfig,
    entry: &ServerEntry,
    context: &Context,
) -> Result<(), Failure> {
    let Some(child) = child_config(&entry.role) else {
        return Err(sealwire::Error::Local(entry.name.clone()).into());
    };
    let home = config.layout();
    let state = State::open(&home).map_err(unknown)?;
    let quarantine = watch::Sender::new(Arc::new(quarantined(config, &state).map_err(unknown)?));
    let pins = match entry.pins {
        PinMode::Off => None,
        mode => {
            let store = Arc::new(PinStore::open(&home).map_err(sealwire::Error::from)?);
            store.of(&server_of(config, entry)?, mode).map_err(sealwire::Error::from)?
        }
    };
    let ledger = match config.audit.enabled {
        true => Some(Arc::new(Ledger::start(config).map_err(|error| {
            Failure::new("cannot start a thread for the audit log").because(error)
        })?)),
        false => None,
    };
    let audit: Arc<dyn AuditSink> = match &ledger {
        Some(ledger) => Arc::new((Arc::clone(ledger), LogSink)),
        None => Arc::new(LogSink),
    };
    let audit = Arc::new(counting(config, audit));
    let gate = Arc::new(CurrentGate::new(gate_of(config, &entry.name)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let following = Following {
        context,
        name: &entry.name,
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
    // Before it runs: by the time a conversation is cut, it would have been at work already.
    let shut_out = quarantine.borrow().check_server(&entry.server_name, SystemTime::now().into());
    if let Err(refusal) = shut_out {
        return Err(failed(&entry.name, &child, &RelayError::Refused(refusal)));
    }
    let relayed = runtime.block_on(async {
        let stop = signals::stop()?;
        let client = stdio(how.max_message)
            .map_err(|error| Failure::new("cannot use standard input or output").because(error))?;
        let server =
            LocalServer::start(how).map_err(|error| not_started(&entry.name, &child, &error))?;
        let relayed = tokio::select! {
            relayed = server.relay_stdio(client, Box::pin(stop)) => relayed,
            never = following.follow(config.clone()) => match never {},
        };
        relayed.map_err(|error| failed(&entry.name, &child, &error))
    });
    // A thread that still waits for a terminal's input must not keep the process alive.
    runtime.shutdown_background();
    let recorded = ledger.map_or(Ok(()), |ledger| ledger.close());
    relayed?;
    recorded.map_err(|error| {
        Failure::new("the end of the conversation could not be recorded")
            .because(error)
            .fix("see to the disk that `[audit] log_dir` is on")
    })
}

fn unknown(error: StateError) -> Failure {
    match error.is_denied() {
        true => error.into(),
        false => Failure::new("it is not known what is suspended")
            .because(error)
            .fix("put the file in order; only if it is lost, move it away and quarantine anew"),
    }
}

fn quarantined(config: &SecureMcpConfig, state: &State) -> Result<Quarantine, StateError> {
    let entries = state.quarantined(SystemTime::now().into())?;
    Ok(Quarantine::new(&config.trust_domain, entries))
}

fn gate_of(config: &SecureMcpConfig, name: &str) -> Arc<dyn Gate> {
    Arc::new(config.guard(|entry| entry.name == name))
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
    Failure::new(format!("the server {name} cannot be started")).at(command).because(error).fix(fix)
}

fn failed(name: &str, child: &ChildConfig, error: &RelayError) -> Failure {
    let failure = Failure::new(format!("the server {name} failed")).at(&child.command);
    match error {
        RelayError::ServerFailed => failure
            .because("its process ended with an error")
            .fix("what it wrote stands above; `sealwire doctor` starts it on trial"),
        RelayError::Refused(refusal) => Failure::new(format!("the server {name} is shut out"))
            .because(refusal)
            .fix("see `sealwire quarantine list`"),
        other => Failure::new(format!("the conversation with {name} broke off"))
            .because(other)
            .fix("see `sealwire doctor`"),
    }
}

/// What holds for this conversation, while it lasts.
struct Following<'c> {
    context: &'c Context,
    name: &'c str,
    state: State,
    quarantine: watch::Sender<Arc<Quarantine>>,
    gate: Arc<CurrentGate>,
    audit: Arc<OwnCounting>,
}

impl Following<'_> {
    /// Goes by what others write, until it is dropped. What cannot be read leaves what was before.
    async fn follow(mut self, mut config: SecureMcpConfig) -> Infallible {
        let mut seen = Snapshot::take(config.source_files());
        let mut told = None;
        loop {
            sleep(LOOK).await;
            let looked = self.look(&config).map_err(|error| error.to_string()).err();
            if let Some(error) = looked.as_ref().filter(|_| looked != told) {
                tracing::error!(error, "what is suspended cannot be read; what was before holds");
            }
            told = looked;
            let now = Snapshot::take(config.source_files());
            if now != seen {
                seen = now;
                self.reload(&mut config);
            }
        }
    }

    fn look(&mut self, config: &SecureMcpConfig) -> Result<(), StateError> {
        if self.state.has_changed()? {
            self.quarantine.send_replace(Arc::new(quarantined(config, &self.state)?));
        }
        Ok(())
    }

    fn reload(&self, config: &mut SecureMcpConfig) {
        let loaded = match self.context.load_config() {
            Ok(loaded) => loaded,
            Err(failure) => {
                let reason = failure.one_line();
                tracing::error!(reason, "reload refused; the policy of before stays");
                return;
            }
        };
        let is_there = |entry: &ServerEntry| matches!(entry.role, ServerRole::Local { .. });
        if loaded.servers.get(self.name).is_some_and(is_there) {
            self.gate.replace(gate_of(&loaded, self.name));
            self.audit.replace(loaded.incidents.clone());
            tracing::info!("policy and limits are read again");
        }
        *config = loaded;
    }
}

/// The gate of the configuration that holds now.
struct CurrentGate(RwLock<Arc<dyn Gate>>);

impl CurrentGate {
    fn new(gate: Arc<dyn Gate>) -> Self {
        Self(RwLock::new(gate))
    }

    fn replace(&self, gate: Arc<dyn Gate>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = gate;
    }

    fn now(&self) -> Arc<dyn Gate> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gate for CurrentGate {
    fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        self.now().decide(request, now)
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        self.now().allows(request)
    }

    fn level(&self, request: &Request<'_>) -> Option<Level> {
        self.now().level(request)
    }

    fn policy(&self, server: &str) -> Option<Fingerprint> {
        self.now().policy(server)
    }
}
