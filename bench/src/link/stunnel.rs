//! stunnel as a raw tunnel: what people put between a client and a server today.
//! The connecting one runs as from inetd, on the client's pipes; the serving one
//! starts the server for each connection.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use super::{LinkCase, server};
use crate::Result;
use crate::certificates::{Certificates, Pair, SERVER_NAME};
use crate::process::{Launch, free_address};

const PROGRAM: &str = "stunnel";

/// `None` if stunnel is not installed.
pub(super) fn case(
    directory: &Path,
    certificates: &Certificates,
    versions: &mut BTreeMap<String, String>,
) -> Result<Option<LinkCase>> {
    let version = match Command::new(PROGRAM).arg("-version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => String::from_utf8_lossy(&found?.stderr).into_owned(),
    };
    let is_version = |line: &&str| line.starts_with("stunnel ") || line.starts_with("Running ");
    let words: Vec<_> = version.lines().filter(is_version).map(str::trim).collect();
    // X25519MLKEM768 came with OpenSSL 3.5; older ones cannot be given the group
    // that sealwire uses. Only connect_initialize depends on it.
    let group = if hybrid_group(&version) { "X25519MLKEM768" } else { "X25519" };
    versions.insert(PROGRAM.to_owned(), format!("{} (group {group})", words.join(", ")));

    let address = free_address()?;
    let tls = |pair: &Pair| {
        format!(
            "foreground = yes\nsyslog = no\ndebug = err\npid =\n\
             socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
             sslVersion = TLSv1.3\nciphersuites = TLS_AES_256_GCM_SHA384\ncurves = {group}\n\
             CAfile = {}\ncert = {}\nkey = {}\nverifyChain = yes\n",
            certificates.ca.display(),
            pair.cert.display(),
            pair.key.display(),
        )
    };
    let [program, option] = server()?;
    let serve = directory.join("stunnel-serve.conf");
    let service =
        format!("[echo]\naccept = {address}\nexec = {program}\nexecArgs = fake-server {option}\n");
    fs::write(&serve, tls(&certificates.server) + &service)?;
    let connect = directory.join("stunnel-connect.conf");
    let service = format!(
        "client = yes\nconnect = {address}\nsni = {SERVER_NAME}\ncheckHost = {SERVER_NAME}\n"
    );
    fs::write(&connect, tls(&certificates.client) + &service)?;

    let mut serve =
        Launch::new(PROGRAM, directory.join("stunnel-serve.log")).args([serve]).background()?;
    serve.wait_for_port(address)?;
    let connect = Launch::new(PROGRAM, directory.join("stunnel-connect.log")).args([connect]);
    Ok(Some(LinkCase { name: "stunnel", connect, serve: Some(serve) }))
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
