//! Pairs of programs that carry TCP over mutual TLS 1.3.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::certificates::{Pair, SERVER_NAME};
use crate::process::Launch;
use crate::setup::{Found, Setup};
use crate::stunnel::Stunnel;

const HAPROXY: &str = "haproxy";

/// Which program is at both ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tunnel {
    Stunnel,
    Haproxy,
}

/// Where a tunnel takes connections, in clear and encrypted, and where they go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stations {
    /// The connecting end listens here, in clear.
    pub(super) near: SocketAddr,
    /// The serving end listens here, with TLS.
    pub(super) between: SocketAddr,
    /// The serving end connects to this, in clear.
    pub(super) far: SocketAddr,
}

impl Tunnel {
    /// The serving and the connecting end. `name` begins the names of their files.
    pub(super) fn ends(
        self,
        setup: &mut Setup,
        name: &str,
        stations: Stations,
    ) -> Result<Found<[Launch; 2]>> {
        match self {
            Self::Stunnel => stunnel(setup, name, stations),
            Self::Haproxy => haproxy(setup, name, stations),
        }
    }
}

fn stunnel(setup: &mut Setup, name: &str, stations: Stations) -> Result<Found<[Launch; 2]>> {
    let stunnel = match Stunnel::find(setup)? {
        Ok(stunnel) => stunnel,
        Err(reason) => return Ok(Err(reason)),
    };
    let service = |from, to| format!("[mcp]\naccept = {from}\nconnect = {to}\n");
    let Stations { near, between, far } = stations;
    Ok(Ok([
        stunnel.serving(&format!("{name}-serve"), &service(between, far))?,
        stunnel.connecting(&format!("{name}-connect"), &service(near, between))?,
    ]))
}

fn haproxy(setup: &mut Setup, name: &str, stations: Stations) -> Result<Found<[Launch; 2]>> {
    let version = match Command::new(HAPROXY).arg("-v").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err("haproxy is not installed (apt install haproxy)".to_owned()));
        }
        found => String::from_utf8_lossy(&found?.stdout).into_owned(),
    };
    let version = version.split_whitespace().find(|word| word.starts_with(char::is_numeric));
    setup.versions.insert(HAPROXY.to_owned(), version.unwrap_or("unknown").to_owned());

    let Stations { near, between, far } = stations;
    let ca = setup.certificates.ca.display();
    let tls = |pair: &Pair, role: &str| -> Result<String> {
        // It wants the certificate and its key in one file.
        let both: PathBuf = setup.file(&format!("{name}-{role}.pem"));
        fs::write(&both, fs::read_to_string(&pair.cert)? + &fs::read_to_string(&pair.key)?)?;
        let both = both.display();
        Ok(format!(
            "ssl crt {both} ca-file {ca} verify required ssl-min-ver TLSv1.3 \
             ciphersuites TLS_AES_256_GCM_SHA384"
        ))
    };
    let end = |role: &str, bind: String, server: String| -> Result<Launch> {
        let config = setup.file(&format!("{name}-{role}.cfg"));
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen mcp\n  bind {bind}\n  server next {server}\n"
        );
        fs::write(&config, text)?;
        let log = setup.file(&format!("{name}-{role}.log"));
        Ok(Launch::new(HAPROXY, log).args(["-db".as_ref(), "-f".as_ref(), config.as_os_str()]))
    };
    let server = tls(&setup.certificates.server, "serve")?;
    let client = tls(&setup.certificates.client, "connect")?;
    let named = format!("sni str({SERVER_NAME}) verifyhost {SERVER_NAME}");
    Ok(Ok([
        end("serve", format!("{between} {server}"), far.to_string())?,
        end("connect", near.to_string(), format!("{between} {client} {named}"))?,
    ]))
}
