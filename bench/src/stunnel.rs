//! Debian's stunnel: its version, and what all its configuration files begin with.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::certificates::{Certificates, Pair, SERVER_NAME};
use crate::process::Launch;
use crate::setup::{Found, Setup};

const PROGRAM: &str = "stunnel";

/// stunnel as it is installed here.
pub struct Stunnel {
    directory: PathBuf,
    certificates: Certificates,
    /// The key exchange both ends use.
    group: &'static str,
}

impl Stunnel {
    /// Looks for it, and notes its version.
    ///
    /// # Errors
    /// If it is there and cannot be started.
    pub fn find(setup: &mut Setup) -> Result<Found<Self>> {
        let version = match Command::new(PROGRAM).arg("-version").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Err("stunnel is not installed (apt install stunnel4)".to_owned()));
            }
            found => String::from_utf8_lossy(&found?.stderr).into_owned(),
        };
        let is_version = |line: &&str| line.starts_with("stunnel ") || line.starts_with("Running ");
        let words: Vec<_> = version.lines().filter(is_version).map(str::trim).collect();
        // X25519MLKEM768 came with OpenSSL 3.5; older ones cannot be given the group
        // that sealwire uses. Only the time to connect depends on it.
        let group = if hybrid_group(&version) { "X25519MLKEM768" } else { "X25519" };
        let words = format!("{} (group {group})", words.join(", "));
        setup.versions.insert(PROGRAM.to_owned(), words);
        let (directory, certificates) = (setup.directory.clone(), setup.certificates.clone());
        Ok(Ok(Self { directory, certificates, group }))
    }

    /// The serving end: `service` tells what is accepted and where it goes.
    ///
    /// # Errors
    /// If its configuration cannot be written.
    pub fn serving(&self, name: &str, service: &str) -> Result<Launch> {
        self.launch(name, &self.certificates.server, service)
    }

    /// The connecting end: `service` tells what is connected to, and from where.
    ///
    /// # Errors
    /// If its configuration cannot be written.
    pub fn connecting(&self, name: &str, service: &str) -> Result<Launch> {
        let service =
            format!("{service}client = yes\nsni = {SERVER_NAME}\ncheckHost = {SERVER_NAME}\n");
        self.launch(name, &self.certificates.client, &service)
    }

    fn launch(&self, name: &str, pair: &Pair, service: &str) -> Result<Launch> {
        let config: PathBuf = self.directory.join(format!("{name}.conf"));
        let text = format!(
            "foreground = yes\nsyslog = no\ndebug = err\npid =\n\
             socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
             sslVersion = TLSv1.3\nciphersuites = TLS_AES_256_GCM_SHA384\ncurves = {}\n\
             CAfile = {}\ncert = {}\nkey = {}\nverifyChain = yes\n{service}",
            self.group,
            self.certificates.ca.display(),
            pair.cert.display(),
            pair.key.display(),
        );
        fs::write(&config, text)?;
        Ok(Launch::new(PROGRAM, self.directory.join(format!("{name}.log"))).args([config]))
    }
}

/// Whether the OpenSSL in use, as `stunnel -version` tells it, has X25519MLKEM768.
fn hybrid_group(version: &str) -> bool {
    let running =
        version.lines().find_map(|line| line.trim().strip_prefix("Running  with OpenSSL "));
    let compiled =
        || version.lines().find_map(|line| line.split_once("with OpenSSL ").map(|(_, v)| v));
    let number = running.or_else(compiled).unwrap_or_default();
    let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
    (parts.next(), parts.next()) >= (Some(3), Some(5))
}

#[cfg(test)]
mod tests {
    use super::hybrid_group;

    #[test]
    fn the_running_openssl_decides_the_group() {
        let old = "stunnel 5.68\nCompiled with OpenSSL 3.0.9 30 May 2023\nRunning  with OpenSSL 3.0.19 27 Jan 2026";
        assert!(!hybrid_group(old));
        assert!(hybrid_group("Compiled/running with OpenSSL 3.5.1 1 Jul 2025"));
        assert!(hybrid_group("Running  with OpenSSL 4.0.0"));
        assert!(!hybrid_group(""));
    }
}
