//! The files that a configuration names: there, private where they must be, and fitting
//! each other. Nothing is bound or started.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sealwire_identity::{Credential, Error, PeerVerifier, Revocations, Role, TrustAnchors};
use sealwire_names::{AgentId, Fingerprint, Kind, PeerId, RefusalCode, Timestamp};

use super::{ConfigError, Problem, Secret, SecureMcpConfig, ServerEntry, ServerRole};
use crate::agents::KeyStore;
use crate::config::error::Problems;
use crate::revocations::{ListFiles, revoked};

/// What [`SecureMcpConfig::check_files`] found to be in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedFiles {
    /// The certificate that each entry presents.
    pub servers: Vec<CheckedServer>,
    /// What may be meant, and works, but should be known.
    pub warnings: Vec<String>,
}

/// An entry whose files are in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedServer {
    /// The name of its table.
    pub name: String,
    /// The name in the certificate that it presents.
    pub presents: PeerId,
    /// That certificate.
    pub fingerprint: Fingerprint,
    /// When it expires.
    pub not_after: Timestamp,
    /// When the first of that certificate and those that vouch for it expires, as far as
    /// they are known here.
    pub valid_until: Timestamp,
}

impl SecureMcpConfig {
    /// Checks every file the configuration names, as `serve` and `connect` will: trust
    /// anchors, certificate chains, that each key is private and fits its certificate,
    /// that names, trust domain and validity are right, and that commands and working
    /// directories exist.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file.
    pub fn check_files(&self) -> Result<CheckedFiles, ConfigError> {
        let mut check = Check {
            config: self,
            problems: Problems::default(),
            warnings: Vec::new(),
            revocations: Revocations::default(),
            now: SystemTime::now().into(),
        };
        match revoked(&self.layout()) {
            Ok(all) => check.revocations = Revocations::new(all),
            // Whoever needs that to be known ends by it.
            Err(error) => {
                let warning = format!("which certificates are revoked is not known: {error}");
                check.warnings.push(warning);
            }
        }
        match ListFiles::of(self).load(check.now) {
            Ok(lists) => check.revocations = check.revocations.with_lists(lists),
            Err(error) => {
                let file = self.crl.first().unwrap_or(&self.file);
                check.problems.push(of_identity(file, &error));
            }
        }
        let servers = check.all();
        check.alerts();
        let warnings = check.warnings;
        check.problems.into_result(Some(CheckedFiles { servers, warnings }))
    }
}

/// A certificate, its key, and what they are used for.
struct Presented<'a> {
    cert: &'a Path,
    key: &'a Path,
    role: Role,
    /// The name that it must have, where there is but one.
    expected: Option<PeerId>,
}

/// One pass over everything.
struct Check<'a> {
    config: &'a SecureMcpConfig,
    problems: Problems,
    warnings: Vec<String>,
    revocations: Revocations,
    now: Timestamp,
}

impl Check<'_> {
    fn all(&mut self) -> Vec<CheckedServer> {
        let config = self.config;
        let ca_cert = &config.ca_cert;
        let own_anchors = self.anchors(ca_cert);
        // Without a server to connect to nothing presents it, so it may be missing.
        if config.client_cert.exists() || config.client_key.exists() {
            let (cert, key) = (&config.client_cert, &config.client_key);
            let own = Presented { cert, key, role: Role::Client, expected: None };
            self.pair(&own, own_anchors.as_ref());
        }
        for agent in &config.agent_security.agents {
            self.agent(agent, own_anchors.as_ref());
            self.agent_keys(agent);
        }
        let mut servers = Vec::new();
        for entry in config.servers.values() {
            self.program(entry);
            let Some(presented) = self.presented(entry) else { continue };
            let anchors = self.anchors(&entry.trusted_ca);
            if let Some((credential, valid_until)) = self.pair(&presented, anchors.as_ref()) {
                servers.push(CheckedServer {
                    name: entry.name.clone(),
                    presents: credential.id().clone(),
                    fingerprint: credential.fingerprint(),
                    not_after: credential.not_after(),
                    valid_until,
                });
            }
        }
        servers
    }

    /// The secrets of alerts. A variable may be set where `serve` is started, and only there.
    fn alerts(&mut self) {
        if !self.config.alerts.enabled {
            return;
        }
        for (key, secret) in self.config.alerts.secrets() {
            let Err((what, remedy)) = secret.read() else { continue };
            match secret {
                Secret::File(file) => {
                    self.problems.push(Problem::with_file(file, format!("{key}: {what}"), remedy));
                }
                Secret::Variable(_) => {
                    self.warnings.push(format!("{key}: {what}; `serve` must find it in its own"));
                }
            }
        }
    }

    fn anchors(&mut self, file: &Path) -> Option<Arc<TrustAnchors>> {
        match TrustAnchors::load(file, self.config.trust_domain.clone()) {
            Ok(anchors) => Some(Arc::new(anchors)),
            Err(error) => {
                self.problems.push(of_identity(file, &error));
                None
            }
        }
    }

    fn agent(&mut self, agent: &AgentId, anchors: Option<&Arc<TrustAnchors>>) {
        let pair = self.config.layout().pair(Kind::Agent, agent.as_str());
        if !pair.cert.exists() && !pair.key.exists() {
            let warning =
                format!("agent {agent} has no certificate yet: run `sealwire cert issue --all`");
            self.warnings.push(warning);
            return;
        }
        let expected = self.id(Kind::Agent, agent.as_str());
        let (cert, key) = (&pair.cert, &pair.key);
        self.pair(&Presented { cert, key, role: Role::Client, expected }, anchors);
    }

    /// What an agent signs and reads messages with; an agent need not have it.
    fn agent_keys(&mut self, agent: &AgentId) {
        let store = KeyStore::of(self.config);
        if store.has(agent)
            && let Err(error) = store.look(agent)
        {
            let problem = Problem::with_file(store.directory(), error.to_string(), error.remedy());
            self.problems.push(problem);
        }
    }

    fn presented<'e>(&self, entry: &'e ServerEntry) -> Option<Presented<'e>> {
        let (cert, key) = entry.role.pair()?;
        Some(match entry.role.is_served() {
            true => {
                let expected = self.id(Kind::McpServer, &entry.server_name);
                Presented { cert, key, role: Role::Server, expected }
            }
            false => Presented { cert, key, role: Role::Client, expected: None },
        })
    }

    /// Loads a pair and verifies it as a peer will that trusts the same authorities: until
    /// when, too.
    fn pair(
        &mut self,
        presented: &Presented<'_>,
        anchors: Option<&Arc<TrustAnchors>>,
    ) -> Option<(Credential, Timestamp)> {
        let cert = presented.cert;
        let credential = match Credential::load(cert, presented.key) {
            Ok(credential) => credential,
            Err(error) => {
                let mut fix = error.remedy();
                if error.is_missing_file() {
                    fix.push_str(
                        "; a certificate that is not there yet is issued, with its key, by: ",
                    );
                    fix.push_str("sealwire cert issue NAME, or --all");
                }
                self.problems.push(Problem::with_file(cert, error.to_string(), fix));
                return None;
            }
        };
        let mut valid_until = credential.not_after();
        let id = credential.id();
        let reissue = || {
            format!(
                "`sealwire cert issue {} --kind {} --force` makes a new one",
                id.name(),
                id.kind()
            )
        };
        if let Some(expected) = presented.expected.as_ref().filter(|expected| *expected != id) {
            let what = format!("names {id}, and {expected} is needed");
            let remedy = format!("name the certificate of {}, or issue one", expected.name());
            self.problems.push(Problem::with_file(cert, what, remedy));
        } else if let Some(anchors) = anchors {
            let verifier = PeerVerifier::new(Arc::clone(anchors), presented.role);
            match verifier.verify(credential.chain(), Some(id), self.now) {
                Ok(verified) => valid_until = verified.not_after,
                // The two ends may trust different authorities; that is for the peer to say.
                Err(refusal) if refusal.code == RefusalCode::UnknownIssuer => {
                    self.warnings.push(format!(
                        "{}: no authority that is trusted here vouches for it: peers must \
                         trust another",
                        cert.display()
                    ));
                }
                Err(refusal) => {
                    let problem = Problem::with_file(cert, refusal.to_string(), reissue());
                    self.problems.push(problem);
                }
            }
        }
        if let Err(refusal) = self.revocations.check_own(&credential) {
            self.problems.push(Problem::with_file(cert, refusal.to_string(), reissue()));
        }
        Some((credential, valid_until))
    }

    fn id(&self, kind: Kind, name: &str) -> Option<PeerId> {
        PeerId::new(self.config.trust_domain.clone(), kind, name).ok()
    }

    fn program(&mut self, entry: &ServerEntry) {
        let (ServerRole::Serve { command, cwd, .. } | ServerRole::Local { command, cwd, .. }) =
            &entry.role
        else {
            return;
        };
        if let Some(cwd) = cwd
            && !cwd.is_dir()
        {
            let what = format!("is not a directory, and {} is to run in it", entry.name);
            self.problems.push(Problem::with_file(cwd, what, "make it, or correct cwd"));
        }
        if command.contains('/') {
            let file = Path::new(command);
            if !is_program(file) {
                let what = format!("is not a program, and {} is to be started with it", entry.name);
                let remedy = "install it, make it executable, or correct command";
                self.problems.push(Problem::with_file(file, what, remedy));
            }
        } else if !in_path(command) {
            self.warnings.push(format!(
                "{}: {command} is not in the PATH of this shell; `{}` must find it in its own",
                entry.name,
                if entry.role.is_served() { "serve" } else { "connect" }
            ));
        }
    }
}

fn in_path(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_program(&dir.join(command)))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// What identity says, with the remedy that the home's own commands offer.
fn of_identity(file: &Path, error: &Error) -> Problem {
    Problem::with_file(file, error.to_string(), error.remedy())
}
