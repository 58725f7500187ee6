//! The files that a configuration names: there, private where they must be, and fitting
//! each other. Nothing is bound or started.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sealwire_identity::{Credential, Error, PeerVerifier, Role, TrustAnchors};
use sealwire_names::{Kind, PeerId, Timestamp};

use super::{ConfigError, Problem, SecureMcpConfig, ServerEntry, ServerRole};
use crate::config::error::Problems;

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
    /// When that certificate expires.
    pub not_after: Timestamp,
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
        let mut problems = Problems::default();
        let mut checked = CheckedFiles { servers: Vec::new(), warnings: Vec::new() };
        if let Err(error) = TrustAnchors::load(&self.ca_cert, self.trust_domain.clone()) {
            problems.push(of_identity(&self.ca_cert, &error));
        }
        for entry in self.servers.values() {
            match self.check_certificate(entry) {
                Ok(server) => checked.servers.push(server),
                Err(problem) => problems.push(problem),
            }
            check_program(entry, &mut problems, &mut checked.warnings);
        }
        self.check_agents(&mut problems, &mut checked.warnings);
        problems.into_result(Some(checked))
    }

    fn check_certificate(&self, entry: &ServerEntry) -> Result<CheckedServer, Problem> {
        let (cert, key, expected) = match &entry.role {
            ServerRole::Serve { tls_cert, tls_key, .. } => {
                let id =
                    PeerId::new(self.trust_domain.clone(), Kind::McpServer, &entry.server_name);
                (tls_cert, tls_key, id.ok())
            }
            ServerRole::Connect { tls_cert, tls_key, .. } => (tls_cert, tls_key, None),
        };
        let anchors = TrustAnchors::load(&entry.trusted_ca, self.trust_domain.clone())
            .map_err(|error| of_identity(&entry.trusted_ca, &error))?;
        let issued_by_us = entry.trusted_ca == self.ca_cert;
        let credential =
            self.check_pair(cert, key, expected.as_ref(), issued_by_us.then_some(anchors))?;
        Ok(CheckedServer {
            name: entry.name.clone(),
            presents: credential.id().clone(),
            not_after: credential.not_after(),
        })
    }

    fn check_agents(&self, problems: &mut Problems, warnings: &mut Vec<String>) {
        for agent in &self.agents {
            let pair = self.layout().pair(Kind::Agent, agent.as_str());
            if !pair.cert.exists() && !pair.key.exists() {
                warnings.push(format!(
                    "agent {agent} has no certificate yet: run `sealwire cert issue --all`"
                ));
                continue;
            }
            let id = PeerId::new(self.trust_domain.clone(), Kind::Agent, agent.as_str()).ok();
            let anchors = TrustAnchors::load(&self.ca_cert, self.trust_domain.clone()).ok();
            if let Err(problem) = self.check_pair(&pair.cert, &pair.key, id.as_ref(), anchors) {
                problems.push(problem);
            }
        }
    }

    /// Loads a pair and, if the anchors that its peers use are known, verifies it as they
    /// will. A peer of another home may trust another authority; then only its own dates
    /// and its trust domain are checked here.
    fn check_pair(
        &self,
        cert: &Path,
        key: &Path,
        expected: Option<&PeerId>,
        anchors: Option<TrustAnchors>,
    ) -> Result<Credential, Problem> {
        let credential = Credential::load(cert, key).map_err(|error| of_identity(cert, &error))?;
        let id = credential.id();
        let reissue =
            || format!("run `sealwire cert issue {} --kind {} --force`", id.name(), id.kind());
        if *id.trust_domain() != self.trust_domain {
            let what = format!("{id} is not of trust domain {}", self.trust_domain);
            return Err(Problem::with_file(cert, what, "issue a certificate in this home"));
        }
        if let Some(expected) = expected
            && id != expected
        {
            let what = format!("names {id}, and {expected} is needed");
            let remedy =
                format!("issue a certificate for {}, or correct server_name", expected.name());
            return Err(Problem::with_file(cert, what, remedy));
        }
        let now = Timestamp::from(SystemTime::now());
        if credential.not_after() <= now {
            let what = format!("expired at {}", credential.not_after());
            return Err(Problem::with_file(cert, what, reissue()));
        }
        if let Some(anchors) = anchors {
            let role = if id.kind() == Kind::McpServer { Role::Server } else { Role::Client };
            let verifier = PeerVerifier::new(Arc::new(anchors), role);
            verifier
                .verify(credential.chain(), Some(id), now)
                .map_err(|refusal| Problem::with_file(cert, refusal.to_string(), reissue()))?;
        }
        Ok(credential)
    }
}

fn check_program(entry: &ServerEntry, problems: &mut Problems, warnings: &mut Vec<String>) {
    let ServerRole::Serve { command, cwd, .. } = &entry.role else { return };
    if let Some(cwd) = cwd
        && !cwd.is_dir()
    {
        let what = format!("is not a directory, and {} is to run in it", entry.name);
        problems.push(Problem::with_file(cwd, what, "make it, or correct cwd"));
    }
    if command.contains('/') {
        let file = PathBuf::from(command);
        if !is_program(&file) {
            let what = format!("is not a program, and {} is to be started with it", entry.name);
            let remedy = "install it, make it executable, or correct command";
            problems.push(Problem::with_file(&file, what, remedy));
        }
    } else if !in_path(command) {
        warnings.push(format!(
            "{}: {command} is not in the PATH of this shell; `serve` must find it in its own",
            entry.name
        ));
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
