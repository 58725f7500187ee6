//! `cert bundle`, and `init --from-bundle` which takes what it made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use sealwire::config::{ListenConfig, SecureMcpConfig, ServerRole, is_endpoint};
use sealwire::home::{CertificatePair, Home};
use sealwire_audit::ChangeKind;
use sealwire_identity::{describe, files, token_of};
use sealwire_names::{Fingerprint, Kind};
use zeroize::Zeroizing;

pub(crate) use super::bundle_file::Bundle;
use super::bundle_file::{BundledServer, key, quoted};
use super::certificates::revoked_leaf;
use super::init::{EXAMPLES, Report, certificates_table, make_signing_key, template, write_config};
use super::issuing::{HomeLock, Presence, Target, Terms, open_authority};
use crate::cli::{Context, Failure, print, shell_word};
use crate::control::note;

/// Write the one file that another machine needs
///
/// It holds the authority's certificate, a certificate for NAME with its private key
/// (issued first if there is none), and where to reach the servers that are served here.
/// Anybody who has the file can be NAME: it is written with mode 0600, is to be moved
/// over a protected channel, and to be deleted afterwards.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert bundle laptop --endpoint tools.example.org:7443
  scp laptop.sealwire-bundle laptop: && ssh laptop sealwire init --from-bundle laptop.sealwire-bundle")]
pub(crate) struct Arguments {
    /// Whom it is for: the name in the certificate
    name: String,
    /// What it is for [default: as `cert issue` decides, core for a new name]
    #[arg(long, value_parser = super::cert::kind)]
    kind: Option<Kind>,
    /// Where the other machine reaches this one [default: the address listened on]
    ///
    /// A server with a bind_address of its own keeps that port.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// The file to write [default: ./NAME.sealwire-bundle]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    if let Some(endpoint) = arguments.endpoint.as_deref().filter(|given| !is_endpoint(given)) {
        return Err(Failure::usage(format!("{endpoint:?} is not host:port"))
            .fix("write it like tools.example.org:7443, 10.0.0.7:7443 or [::1]:7443"));
    }
    let config = context.load_config()?;
    let target = Target::new(&config, &arguments.name, arguments.kind)?;
    let mut notes = Vec::new();
    let servers = match target.id.kind() {
        Kind::McpServer => BTreeMap::new(),
        _ => served(&config, arguments.endpoint.as_deref(), &mut notes)?,
    };
    let _lock = HomeLock::acquire(&context.home)?;
    if target.presence()? == Presence::Absent {
        let leaf = target.issue(&open_authority(&config)?, &Terms::default())?;
        let detail = format!("until {}, for another machine", leaf.not_after);
        note(&config, ChangeKind::CertificateIssued, &target.id, &detail);
        notes.push(format!("issued {}", target.id));
    }
    if let Some(uri) = token_of(&target.pair.key)? {
        return Err(Failure::new(format!(
            "the key of {} is in a token, and stays there",
            target.id
        ))
        .at(uri)
        .fix("issue under another name for the other machine, or let it join: sealwire invite"));
    }
    let bundle = Bundle {
        ca_cert: text(&config.ca_cert, &files::read_public(&config.ca_cert)?)?,
        cert: text(&target.pair.cert, &files::read_public(&target.pair.cert)?)?,
        key: Zeroizing::new(text(&target.pair.key, &files::read_private(&target.pair.key)?)?),
        servers,
        renew_from: None,
        id: target.id,
    };
    let label = target.pair.cert.display().to_string();
    bundle.check(&label)?;
    if let Some(refusal) = revoked_leaf(&target.pair.cert, &config.layout())? {
        return Err(Failure::new(format!("the certificate of {} is revoked", bundle.id))
            .at(label)
            .because(refusal)
            .fix(format!(
                "{} cert issue {} --kind {} --force",
                context.invocation,
                bundle.id.name(),
                bundle.id.kind()
            )));
    }
    let file = arguments
        .out
        .unwrap_or_else(|| PathBuf::from(format!("{}.sealwire-bundle", arguments.name)));
    files::write_new(&file, bundle.encode().as_bytes(), files::PRIVATE_FILE)?;

    let mut shown = format!("{}: {}\n", file.display(), bundle.id);
    for (name, server) in &bundle.servers {
        shown.push_str(&format!("  {name} at {}\n", server.endpoint));
    }
    for note in notes {
        shown.push_str(&format!("note: {note}\n"));
    }
    let word = shell_word(&file.file_name().unwrap_or_default().to_string_lossy());
    shown.push_str(&format!(
        "next, on the other machine, over a protected channel:\n  \
         sealwire init --from-bundle {word} && rm {word}\n"
    ));
    print(&shown)
}

/// Takes a bundle into a home: nothing is written if any file there contradicts it.
pub(crate) fn unpack(
    bundle: &Bundle,
    context: &Context,
    report: &mut Report,
) -> Result<(), Failure> {
    let home = &context.home;
    let id = &bundle.id;
    if id.kind() == Kind::Core && !Home::core_name_is_free(id.name()) {
        let what = format!("a core cannot be called {:?}", id.name());
        return Err(Failure::new(what).fix("make the bundle for another name"));
    }
    let pair = home.pair_of(id);
    let composed = compose(bundle);
    // What other programs wrote is checked as what a user wrote would be.
    SecureMcpConfig::parse(home.root(), &composed)?;
    check_no_conflict(bundle, home, &pair)?;

    report.make(&[&home.config_file()], || write_config(home, &composed))?;
    let config = context.load_config()?;
    check_trust_domain(&config, bundle)?;
    files::create_private_dir(&home.ca_dir())?;
    report.make(&[&home.ca_cert()], || write_public(&home.ca_cert(), &bundle.ca_cert))?;
    if let Some(dir) = pair.cert.parent() {
        files::create_private_dir(dir)?;
    }
    report.make(&[&pair.key], || {
        Ok(files::write_new(&pair.key, bundle.key.as_bytes(), files::PRIVATE_FILE)?)
    })?;
    report.make(&[&pair.cert], || write_public(&pair.cert, &bundle.cert))?;
    make_signing_key(home, None, report)?;
    notes(bundle, &config, &pair, report);
    Ok(())
}

/// The servers that are served here, as seen from another machine.
pub(super) fn served(
    config: &SecureMcpConfig,
    endpoint: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, BundledServer>, Failure> {
    let mut servers = BTreeMap::new();
    for entry in config.servers.values() {
        let ServerRole::Serve { bind_address, .. } = &entry.role else { continue };
        let endpoint = endpoint_of(endpoint, *bind_address, &config.listen)?;
        let server = BundledServer { endpoint, server_name: entry.server_name.clone() };
        servers.insert(entry.name.clone(), server);
    }
    let is_local = |server: &BundledServer| {
        let address = server.endpoint.parse::<SocketAddr>();
        address.is_ok_and(|a| a.ip().is_loopback() || a.ip().is_unspecified())
    };
    if servers.values().any(is_local) {
        let note = "the endpoint is reachable from this machine alone; \
                    give --endpoint HOST:PORT for another, and set [listen] address";
        notes.push(note.to_owned());
    }
    Ok(servers)
}

fn endpoint_of(
    given: Option<&str>,
    bind_address: Option<SocketAddr>,
    listen: &ListenConfig,
) -> Result<String, Failure> {
    let bound = bind_address.unwrap_or(listen.address);
    let Some(given) = given else {
        if bound.port() == 0 {
            let what = "the port is chosen anew at each start, so no endpoint can be told";
            return Err(Failure::new(what).fix("give --endpoint HOST:PORT, or configure a port"));
        }
        return Ok(bound.to_string());
    };
    match (bind_address, given.rsplit_once(':')) {
        (Some(own), Some((host, _))) if own.port() != 0 => Ok(format!("{host}:{}", own.port())),
        _ => Ok(given.to_owned()),
    }
}

/// The configuration of a home that comes from a bundle.
fn compose(bundle: &Bundle) -> String {
    let id = &bundle.id;
    let is_default = id.kind() == Kind::Core && id.name() == "core";
    let mut text = template(id.trust_domain(), "core");
    let is_own = !is_default && id.kind() != Kind::McpServer;
    let mut certificates =
        if is_own { certificates_table(id.kind(), id.name()) } else { String::new() };
    if let Some(address) = &bundle.renew_from {
        if certificates.is_empty() {
            certificates.push_str("[security.certificates]\n");
        }
        let address = quoted(address);
        certificates.push_str(&format!(
            "renew_from = {address}  # by `serve` and `connect`, while they run\n"
        ));
    }
    text.push_str(&certificates);
    for (name, server) in &bundle.servers {
        text.push('\n');
        text.push_str(&connect_table(name, server));
    }
    if bundle.servers.is_empty() {
        text.push_str(EXAMPLES);
    }
    text
}

fn connect_table(name: &str, server: &BundledServer) -> String {
    let name_on_wire = if server.server_name == name {
        String::new()
    } else {
        format!("server_name = {}\n", quoted(&server.server_name))
    };
    format!(
        "[mcp_servers.{}]\nendpoint = {}\n{name_on_wire}\
         default_level = 1  # of tools that no policy here lists: they may be called\n",
        key(name),
        quoted(&server.endpoint)
    )
}

fn check_no_conflict(bundle: &Bundle, home: &Home, pair: &CertificatePair) -> Result<(), Failure> {
    let conflicts = [
        (&pair.cert, &bundle.cert, "another certificate is here already"),
        (&home.ca_cert(), &bundle.ca_cert, "another authority is trusted here already"),
    ];
    for (file, pem, what) in conflicts {
        if file.exists() {
            let present = fingerprints(&files::read_public(file)?, file)?;
            if !fingerprints(pem.as_bytes(), file)?.is_subset(&present) {
                return Err(Failure::new(what)
                    .at(file.display())
                    .fix("take the bundle into another --home, or move the old files away first"));
            }
        } else if *file == pair.cert && pair.key.exists() {
            return Err(Failure::new("a key is here already, without its certificate")
                .at(pair.key.display())
                .fix("move it away first; keys are never overwritten"));
        }
    }
    Ok(())
}

fn check_trust_domain(config: &SecureMcpConfig, bundle: &Bundle) -> Result<(), Failure> {
    if config.trust_domain == *bundle.id.trust_domain() {
        return Ok(());
    }
    Err(Failure::new(format!("the bundle is of trust domain {}", bundle.id.trust_domain()))
        .at(config.layout().config_file().display())
        .because(format!("this home is of trust domain {}", config.trust_domain))
        .fix("take the bundle into another --home"))
}

/// What an existing configuration lacks, since it is never changed.
fn notes(bundle: &Bundle, config: &SecureMcpConfig, pair: &CertificatePair, report: &mut Report) {
    let id = &bundle.id;
    let serves = |name: &str| {
        let mut entries = config.servers.values();
        entries.any(|e| e.server_name == name && matches!(e.role, ServerRole::Serve { .. }))
    };
    if id.kind() == Kind::McpServer {
        if !serves(id.name()) {
            report.note(format!(
                "to serve it here, add to sealwire.toml:\n[mcp_servers.{}]\ncommand = \"...\"",
                key(id.name())
            ));
        }
    } else if config.client_cert != pair.cert {
        let table = certificates_table(id.kind(), id.name());
        report.note(format!("to present {id}, set in sealwire.toml:\n{}", table.trim_end()));
    }
    for (name, server) in &bundle.servers {
        if !config.servers.contains_key(name) {
            let table = connect_table(name, server);
            report.note(format!("to reach {name}, add to sealwire.toml:\n{}", table.trim_end()));
        }
    }
}

fn write_public(file: &Path, pem: &str) -> Result<(), Failure> {
    Ok(files::write_new(file, pem.as_bytes(), files::PUBLIC_FILE)?)
}

fn fingerprints(pem: &[u8], file: &Path) -> Result<BTreeSet<Fingerprint>, Failure> {
    let certificates = describe(pem, &file.display().to_string())?;
    Ok(certificates.into_iter().map(|certificate| certificate.fingerprint).collect())
}

/// PEM as text for a TOML literal string, which cannot hold everything.
fn text(file: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let refuse = || {
        Failure::new("holds more than PEM, which a bundle cannot carry")
            .at(file.display())
            .fix("keep nothing but the PEM blocks in it")
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refuse())?;
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if text.contains("'''") || !text.chars().all(plain) {
        return Err(refuse());
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{end}"))
}
