//! What holds for a server that `connect` has started, as others change it meanwhile.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sealwire::Snapshot;
use sealwire::config::{SecureMcpConfig, ServerEntry, ServerRole};
use sealwire::state::{State, StateError};
use sealwire_guard::{Decision, Gate, Level, Quarantine, Request};
use sealwire_names::{Fingerprint, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cli::{Context, Failure};
use crate::control::OwnCounting;

/// How often it is looked whether the server was suspended, or the configuration changed.
const LOOK: Duration = Duration::from_secs(1);

/// What holds for this conversation, while it lasts.
pub(super) struct Following<'c> {
    pub(super) context: &'c Context,
    pub(super) name: &'c str,
    pub(super) sources: Sources,
    pub(super) state: State,
    pub(super) quarantine: watch::Sender<Arc<Quarantine>>,
    pub(super) gate: Arc<CurrentGate>,
    pub(super) audit: Arc<OwnCounting>,
}

impl Following<'_> {
    /// Goes by what others write, until it is dropped. What cannot be read leaves what was before,
    /// and is looked at again.
    pub(super) async fn follow(mut self) -> Infallible {
        let (mut unread, mut refused) = (None, None);
        loop {
            sleep(LOOK).await;
            let failed = self.look().map_err(|error| error.to_string()).err();
            if let Some(error) = failed.as_ref().filter(|_| failed != unread) {
                tracing::error!(error, "what is suspended cannot be read; what was before holds");
            }
            unread = failed;
            let failed = self.reload().map_err(|failure| failure.one_line()).err();
            if let Some(reason) = failed.as_ref().filter(|_| failed != refused) {
                tracing::error!(reason, "reload refused; the policy of before stays");
            }
            refused = failed;
        }
    }

    fn look(&mut self) -> Result<(), StateError> {
        let config = &self.sources.config;
        if let Some(quarantine) = self.state.news(|state| quarantined(config, state))? {
            self.quarantine.send_replace(Arc::new(quarantine));
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Failure> {
        if !self.sources.reload(|| self.context.load_config())? {
            return Ok(());
        }
        let loaded = &self.sources.config;
        if loaded.servers.get(self.name).is_some_and(is_local) {
            self.gate.replace(gate_of(loaded, self.name));
            self.audit.replace(loaded.incidents.clone());
            tracing::info!("policy and limits are read again");
        } else {
            tracing::warn!(
                "the configuration does not start it any more; the policy of before stays"
            );
        }
        Ok(())
    }
}

/// Whether a server is one that `connect` starts.
pub(super) fn is_local(entry: &ServerEntry) -> bool {
    matches!(entry.role, ServerRole::Local { .. })
}

/// Who is shut out.
pub(super) fn quarantined(
    config: &SecureMcpConfig,
    state: &State,
) -> Result<Quarantine, StateError> {
    let entries = state.quarantined(SystemTime::now().into())?;
    Ok(Quarantine::new(&config.trust_domain, entries))
}

/// What decides about calls of a server.
pub(super) fn gate_of(config: &SecureMcpConfig, name: &str) -> Arc<dyn Gate> {
    Arc::new(config.guard(|entry| entry.name == name))
}

/// A configuration, and its files as they were before it was read.
pub(super) struct Sources {
    pub(super) config: SecureMcpConfig,
    seen: Snapshot,
}

impl Sources {
    /// Reads it once more than `config` was, after a look at the files: no change in between goes
    /// unnoticed.
    pub(super) fn of(
        config: SecureMcpConfig,
        load: impl Fn() -> Result<SecureMcpConfig, Failure>,
    ) -> Result<Self, Failure> {
        let mut files = config.source_files();
        loop {
            let seen = Snapshot::take(files.iter().cloned());
            let config = load()?;
            let named = config.source_files();
            if named == files {
                return Ok(Self { config, seen });
            }
            // It includes others now: a look at those is missing.
            files = named;
        }
    }

    /// Reads it again if its files have changed, or it could not be read then; whether it did.
    fn reload(
        &mut self,
        load: impl Fn() -> Result<SecureMcpConfig, Failure>,
    ) -> Result<bool, Failure> {
        if Snapshot::take(self.config.source_files()) == self.seen {
            return Ok(false);
        }
        *self = Self::of(self.config.clone(), load)?;
        Ok(true)
    }
}

/// The gate of the configuration that holds now.
pub(super) struct CurrentGate(RwLock<Arc<dyn Gate>>);

impl CurrentGate {
    pub(super) fn new(gate: Arc<dyn Gate>) -> Self {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OPEN: &str = "[mcp_servers.x]\ntransport = \"stdio\"\ncommand = \"x\"\n";

    #[test]
    fn what_changes_after_the_look_at_the_files_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealwire.toml");
        fs::write(&file, OPEN).unwrap();
        let load = || SecureMcpConfig::load(dir.path()).map_err(Failure::from);
        let first = load().unwrap();
        // Another one comes between the two times that it is read, and right after.
        fs::write(&file, format!("{OPEN}default_level = 1\n")).unwrap();
        let mut sources = Sources::of(first, load).unwrap();
        let policy = |sources: &Sources| gate_of(&sources.config, "x").policy("x");
        let before = policy(&sources);
        fs::write(&file, format!("{OPEN}default_level = 2\n")).unwrap();
        assert!(sources.reload(load).unwrap());
        assert_ne!(policy(&sources), before);
        assert!(!sources.reload(load).unwrap());
    }

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealwire.toml");
        fs::write(&file, OPEN).unwrap();
        let load = || SecureMcpConfig::load(dir.path()).map_err(Failure::from);
        let mut sources = Sources::of(load().unwrap(), load).unwrap();
        fs::write(&file, format!("{OPEN}default_level = 2\n")).unwrap();
        let fails = || Err(Failure::new("too many open files"));
        sources.reload(fails).unwrap_err();
        assert!(sources.reload(load).unwrap(), "it is not taken for read");
    }
}
