//! Connects to an MCP server's TLS and prints what was negotiated, and with whom.
//!
//!     cargo run --example tls_facts -- HOME SERVER HOST:PORT
//!
//! HOME is a home after `sealwire init`, with or without `--from-bundle`.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::error::Error;
use std::path::Path;

use sealwire::{SecureMcpConfig, SecureMcpConnectionManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, server, address] = &arguments[..] else {
        return Err("usage: tls_facts HOME SERVER HOST:PORT".into());
    };

    let config = SecureMcpConfig::load(Path::new(home))?;
    let manager = SecureMcpConnectionManager::new(&config)?;
    let stream = manager.connect_tls(server, address).await?;

    let (_, session) = stream.get_ref();
    let version = session.protocol_version().ok_or("no version")?;
    let suite = session.negotiated_cipher_suite().ok_or("no cipher suite")?;
    let group = session.negotiated_key_exchange_group().ok_or("no group")?;
    println!("version {version:?}");
    println!("suite {:?}", suite.suite());
    println!("group {:?}", group.name());

    // The certificate was verified before `connect_tls` returned; this only reads it.
    let chain = session.peer_certificates().unwrap_or_default();
    let leaf = chain.first().ok_or("no certificate")?;
    for certificate in sealwire_identity::describe(leaf, "the server's certificate")? {
        println!("server {}", certificate.uris.join(" "));
        println!("valid until {}", certificate.not_after);
    }
    Ok(())
}
