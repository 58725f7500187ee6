//! Reading the configuration, certificates and trust anchors again while serving.
//!
//! SIGHUP asks for it, and so does any file that changes. All is read and checked as at
//! the start; only if all of it holds does it replace what is served, in one step.
//! Otherwise what is served stays as it is, and the log tells why.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealwire::Snapshot;
use sealwire::config::{
    AuditConfig, CheckedFiles, LogConfig, SecureMcpConfig, ServerEntry, ServerRole,
};
use sealwire::metrics::SecurityMetrics;
use sealwire::serving::serve_config;
use sealwire_audit::Journal;
use sealwire_relay::{ServeConfig, Server};
use tokio::signal::unix::Signal;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use super::changes::{changes, later};
use crate::admin::{Admin, Answers};
use crate::alerts::{Alerts, Setup};
use crate::cli::{Context, Failure};
use crate::commands::watch::{FileWatch, SLOW};
use crate::control::Counting;
use crate::joining::{Following, Renewing};

/// Time from the first sign of a change to looking at it: files are replaced together.
const SETTLE: Duration = Duration::from_millis(300);
/// How long files that do not fit each other may be half replaced, and no fault.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks meanwhile.
const AGAIN: Duration = Duration::from_millis(200);

/// A configuration in which everything holds, with its files.
pub(super) struct Loaded {
    pub(super) config: SecureMcpConfig,
    pub(super) checked: CheckedFiles,
    /// Certificates, keys and trust anchors, no younger than what was checked.
    pub(super) identity: Snapshot,
    /// How alerts are sent, until that is taken up; `None` if they are not.
    pub(super) alerts: Option<Setup>,
}

/// What runs by it.
pub(super) struct Running {
    pub(super) server: Server,
    /// For health checks and metrics, if they are to be told.
    pub(super) admin: Option<Admin>,
    pub(super) answers: Arc<Answers>,
    pub(super) metrics: Arc<SecurityMetrics>,
    /// What counts refusals.
    pub(super) incidents: Arc<Counting>,
    /// What tells operators.
    pub(super) alerts: Alerts,
    /// What keeps our certificates from expiring.
    pub(super) renewing: Renewing,
    /// What tells us which certificates are revoked.
    pub(super) following: Following,
    /// The log, if one is kept.
    pub(super) journal: Option<Arc<Journal>>,
}

/// Why the configuration is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// SIGHUP.
    Signal,
    /// A file has changed.
    Files,
}

/// How that ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The new configuration is served; what it changed.
    Replaced(Vec<String>),
    /// Nothing has changed that `serve` goes by.
    Unchanged,
    /// The old configuration stays; why, in one line.
    Refused(String),
}

/// Follows the files of a running `serve`.
pub(super) struct Reloader<'a> {
    context: &'a Context,
    names: &'a [String],
    hangup: Signal,
    watch: FileWatch,
    look: Interval,
    /// What is served.
    active: Loaded,
    /// The log as it was set up at the start, and stays.
    log: LogConfig,
    /// What was read last and is not served, because files it names are not in order.
    rejected: Option<SecureMcpConfig>,
    /// Files in which faults were found.
    faulty: Vec<PathBuf>,
    /// The files when they were last read.
    seen: Snapshot,
    /// What was last said about a refusal.
    told: Option<String>,
}

/// Reads and checks everything, at the start.
pub(super) fn load(context: &Context, names: &[String]) -> Result<Start, Failure> {
    // Read twice: once to know which files count, and once after looking at those, so that
    // no change in between goes unnoticed.
    let seen = Snapshot::take(files(&context.load_config()?));
    let (loaded, serving) = prepare(context.load_config()?, context, names)?;
    Ok(Start { loaded, serving, seen })
}

/// What `serve` begins with.
pub(super) struct Start {
    pub(super) loaded: Loaded,
    pub(super) serving: ServeConfig,
    /// All files, no younger than what was loaded.
    pub(super) seen: Snapshot,
}

/// Checks everything that a configuration names.
fn prepare(
    config: SecureMcpConfig,
    context: &Context,
    names: &[String],
) -> Result<(Loaded, ServeConfig), Failure> {
    let identity = Snapshot::take(config.identity_files());
    let checked = config.check_files()?;
    let serving = serve_config(&config, names)?;
    if serving.listeners.is_empty() {
        let failure =
            Failure::config("there is nothing to serve").at(context.config_file.display());
        let is_local = |entry: &&ServerEntry| matches!(entry.role, ServerRole::Local { .. });
        let local: Vec<_> = config.servers.values().filter(is_local).collect();
        if let Some(first) = local.first() {
            let names: Vec<_> = local.iter().map(|entry| entry.name.as_str()).collect();
            let why = format!(
                "{} stay{} on this machine: `sealwire connect` starts what a client asks for, and \
                 needs no `serve`",
                names.join(", "),
                if names.len() == 1 { "s" } else { "" },
            );
            return Err(failure.because(why).fix(format!(
                "to let others use one, take transport = \"stdio\" out of its table, such as \
                 [mcp_servers.{}], and let `sealwire cert issue` make a certificate for it",
                first.name,
            )));
        }
        return Err(failure.because("no [mcp_servers.<name>] table has a command").fix(
            "add one: [mcp_servers.demo] with command = \"sealwire\", \
                 args = [\"demo-server\"], default_level = 1",
        ));
    }
    let alerts = Setup::load(&config)?;
    Ok((Loaded { config, checked, identity, alerts }, serving))
}

impl<'a> Reloader<'a> {
    /// Begins to watch the files of what is served. Must be called within a tokio runtime.
    pub(super) fn new(
        context: &'a Context,
        names: &'a [String],
        hangup: Signal,
        watch: FileWatch,
        (active, seen): (Loaded, Snapshot),
    ) -> Self {
        let mut look = interval(SLOW);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloader = Self {
            context,
            names,
            hangup,
            watch,
            look,
            log: active.config.log.clone(),
            active,
            rejected: None,
            faulty: Vec::new(),
            seen,
            told: None,
        };
        reloader.follow();
        tracing::debug!("following the files");
        reloader
    }

    /// What is served.
    pub(super) fn active(&self) -> &Loaded {
        &self.active
    }

    /// Waits until there is a reason to read everything again.
    pub(super) async fn wanted(&mut self) -> Cause {
        loop {
            let is_told = tokio::select! {
                _ = self.hangup.recv() => return Cause::Signal,
                () = self.watch.stirred() => true,
                _ = self.look.tick() => false,
            };
            if is_told && timeout(SETTLE, self.hangup.recv()).await.is_ok() {
                return Cause::Signal;
            }
            self.follow();
            if Snapshot::take(self.files()) != self.seen {
                return Cause::Files;
            }
            if is_told {
                tracing::debug!("files were touched, and none has changed");
            }
        }
    }

    /// Reads everything again, and serves it if it holds.
    ///
    /// Files that are being replaced one after the other do not fit each other for a
    /// moment. That is waited for, unless a signal says that all is there, which is the
    /// cause from then on.
    pub(super) async fn reload(&mut self, cause: &mut Cause, running: &mut Running) -> Outcome {
        let began = Instant::now();
        loop {
            let failure = match self.attempt(running).await {
                Ok(changes) if changes.is_empty() => return Outcome::Unchanged,
                Ok(changes) => return Outcome::Replaced(changes),
                Err(failure) => failure,
            };
            if *cause == Cause::Signal || began.elapsed() >= PATIENCE {
                return Outcome::Refused(failure.one_line());
            }
            tracing::debug!(reason = %failure.one_line(), "not in order, or not yet");
            tokio::select! {
                () = sleep(AGAIN) => {}
                _ = self.hangup.recv() => *cause = Cause::Signal,
            }
        }
    }

    /// Whether a refusal says anything new. A file that stays bad is told of once, unless
    /// somebody asks.
    pub(super) fn is_news(&mut self, cause: Cause, refusal: Option<&str>) -> bool {
        let again = self.told.as_deref() == refusal;
        self.told = refusal.map(str::to_owned);
        cause == Cause::Signal || !again
    }

    async fn attempt(&mut self, running: &mut Running) -> Result<Vec<String>, Failure> {
        // Looked at before they are read: what changes meanwhile is found next time.
        self.seen = Snapshot::take(self.files());
        let attempted = self.replace(running).await;
        self.follow();
        attempted
    }

    async fn replace(&mut self, running: &mut Running) -> Result<Vec<String>, Failure> {
        let Context { home, config_file, .. } = self.context;
        let config = SecureMcpConfig::load_file(home.root(), config_file).map_err(|error| {
            self.faulty = error.problems().iter().map(|problem| problem.file.clone()).collect();
            Failure::from(error)
        })?;
        let config = self.context.with_credentials(config);
        self.rejected = Some(config.clone());
        // What is kept there holds for whoever has been let in.
        if config.state_dir != self.active.config.state_dir {
            return Err(Failure::config("[state] directory cannot change while `serve` runs")
                .at(config_file.display())
                .fix("move what is in it, and restart `serve`"));
        }
        let audit = |config: &SecureMcpConfig| {
            let AuditConfig { enabled, log_dir, durability, rules: _ } = config.audit.clone();
            (enabled, log_dir, durability)
        };
        // What runs is recorded where it began.
        if audit(&config) != audit(&self.active.config) {
            let what = "[audit] enabled, log_dir and durability cannot change while `serve` runs";
            return Err(Failure::config(what).at(config_file.display()).fix("restart `serve`"));
        }
        let (mut loaded, mut serving) = prepare(config, self.context, self.names)?;
        serving.audit = Arc::clone(&running.incidents) as _;
        let changes = changes(&self.active, &loaded, self.names);
        if !changes.is_empty() {
            let address = loaded.config.admin.address;
            let admin = match address {
                Some(address) if self.active.config.admin.address != Some(address) => {
                    Some(Admin::start(address, Arc::clone(&running.answers)).await?)
                }
                _ => None,
            };
            running.alerts.replace(loaded.alerts.take())?;
            // Before it is served: nothing of a new server goes uncounted.
            super::count_served(&running.metrics, &loaded.config, &serving);
            running.server.replace(serving).await.map_err(|error| {
                Failure::new(error.to_string()).fix("choose another address, or restart `serve`")
            })?;
            running.incidents.replace(loaded.config.incidents.clone());
            if let Some(journal) = &running.journal {
                journal.replace(loaded.config.audit.rules);
            }
            if admin.is_some() || address.is_none() {
                running.admin = admin;
            }
        }
        let later = later(&self.log, &loaded.config.log);
        if !later.is_empty() && loaded.config.log != self.active.config.log {
            let keys = later.join(", ");
            tracing::warn!(keys, "these take effect only when serve is started anew");
        }
        for warning in &loaded.checked.warnings {
            if !self.active.checked.warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        (self.rejected, self.faulty) = (None, Vec::new());
        self.active = loaded;
        Ok(changes)
    }

    /// Every file that may decide.
    fn files(&self) -> Vec<PathBuf> {
        let configs = std::iter::once(&self.active.config).chain(&self.rejected);
        configs.flat_map(files).chain(self.faulty.iter().filter_map(absolute)).collect()
    }

    fn follow(&mut self) {
        let configs = std::iter::once(&self.active.config).chain(&self.rejected);
        let directories: Vec<PathBuf> = configs.flat_map(SecureMcpConfig::include_dirs).collect();
        let files = self.files();
        self.watch.follow(&files, &directories);
    }
}

/// Every file of a configuration.
fn files(config: &SecureMcpConfig) -> Vec<PathBuf> {
    let files = config.source_files().into_iter().chain(config.identity_files());
    files.filter_map(|file| absolute(&file)).collect()
}

fn absolute(file: &PathBuf) -> Option<PathBuf> {
    std::path::absolute(file).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sealwire::home::Home;
    use sealwire_identity::{CertificateAuthority, KeyAlgorithm, LeafRequest};

    use super::*;

    const TABLE: &str = "[mcp_servers.a]\ncommand = \"true\"\n";

    fn context(root: &std::path::Path) -> Context {
        let home = Home::at(root).unwrap();
        fs::write(home.config_file(), TABLE).unwrap();
        let validity = Duration::from_secs(86_400);
        let trust_domain = sealwire::config::DEFAULT_TRUST_DOMAIN.parse().unwrap();
        let ca = CertificateAuthority::create(&home.ca_dir(), &trust_domain, validity).unwrap();
        let id = "spiffe://sealwire.internal/mcp-server/a".parse().unwrap();
        let pair = home.pair_of(&id);
        let (dns, ip, key_algorithm) = (vec!["a".into()], vec![], KeyAlgorithm::EcdsaP256);
        let leaf = ca.issue(&LeafRequest { id, dns, ip, validity, key_algorithm }).unwrap();
        sealwire_identity::files::create_private_dir(pair.cert.parent().unwrap()).unwrap();
        leaf.write(&pair.cert, &pair.key).unwrap();
        let config_file = home.config_file();
        Context { home, config_file, credentials: None, invocation: "sealwire".into() }
    }

    /// Where nothing announces changes, on a network file system perhaps.
    #[tokio::test(start_paused = true)]
    async fn a_change_that_nobody_announces_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path());
        let text = |rest: &str| format!("[listen]\naddress = \"127.0.0.1:0\"\n{rest}{TABLE}");
        fs::write(&context.config_file, text("")).unwrap();
        let Start { loaded, serving, seen } = load(&context, &[]).unwrap();
        let server = Server::bind(serving).await.unwrap();
        let (_home, alerts) = super::super::tests::nobody_told();
        let metrics = Arc::new(SecurityMetrics::new());
        let recorder = super::super::tests::nobody_counts();
        let (incidents, _) = super::super::counting(&loaded.config, recorder, &alerts);
        let (answers, _) = super::super::answers(&Arc::default(), &metrics);
        let (admin, journal) = (None, None);
        let (renewing, following) = (Renewing::default(), Following::default());
        let mut running = Running {
            server,
            admin,
            answers,
            metrics,
            incidents,
            alerts,
            renewing,
            following,
            journal,
        };
        let hangup = crate::commands::signals::hangup().unwrap();
        let mut reloader = Reloader::new(&context, &[], hangup, FileWatch::blind(), (loaded, seen));
        let unheard = timeout(SLOW * 3, reloader.wanted()).await;
        assert!(unheard.is_err(), "nothing has changed, and yet {unheard:?}");
        fs::write(&context.config_file, text("max_connections = 7\n")).unwrap();
        let mut cause = timeout(SLOW * 2, reloader.wanted()).await.expect("it is noticed");
        assert_eq!(cause, Cause::Files);
        let outcome = reloader.reload(&mut cause, &mut running).await;
        let Outcome::Replaced(changes) = outcome else { panic!("{outcome:?}") };
        assert_eq!(changes, ["max_connections 1024 -> 7", "max_connections_per_peer 256 -> 7"]);
    }
}
