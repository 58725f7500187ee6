//! Settings that are allowed, and weak or at odds with each other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use sealwire::config::{ListenConfig, SecureMcpConfig, ServerRole};
use sealwire_names::Kind;
use sealwire_relay::{connections_within, open_files_for};

use super::Case;
use super::finding::{Finding, Id};
use super::remedies;
use super::report::Report;

/// Largest list of tools known of a real server, with room for another like it.
const SMALL_MESSAGE: usize = 256 << 10;
/// What a handshake takes at most across the world, with retransmissions.
const HANDSHAKE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A link that is up may be silent this long, and a dead one must be noticed sometime.
const IDLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// Looks at what the configuration says.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let file = &case.context.config_file;
    exposed_file(config, file, report);
    limits(&config.listen, file, report);
    let addresses = addresses(case, config);
    if !addresses.is_empty() {
        listening(case, config, &addresses, report);
        file_limit(&config.listen, file, report);
    }
    agents(case, config, report);
    if let Some(log) = &config.log.file {
        log_file(log, report);
    }
}

/// Where the entries that are looked at listen.
pub(super) fn addresses(case: &Case<'_>, config: &SecureMcpConfig) -> BTreeSet<SocketAddr> {
    let address = |role: &ServerRole| match role {
        ServerRole::Serve { bind_address, .. } => {
            Some(bind_address.unwrap_or(config.listen.address))
        }
        ServerRole::Local { .. } | ServerRole::Connect { .. } => None,
    };
    case.entries().filter_map(|entry| address(&entry.role)).collect()
}

/// Whoever can write the configuration chooses what is run; whoever can read it has what is
/// in `env`.
fn exposed_file(config: &SecureMcpConfig, file: &Path, report: &mut Report) {
    let mode = |path: &Path| path.metadata().map_or(0, |meta| meta.permissions().mode() & 0o777);
    // Nobody else gets to a file in a directory that is closed.
    if file.parent().map_or(0, mode) & 0o077 == 0 {
        return;
    }
    let has_env = config
        .servers
        .values()
        .any(|entry| matches!(&entry.role, ServerRole::Serve { env, .. } | ServerRole::Local { env, .. } if !env.is_empty()));
    let mode = mode(file);
    let found = if mode & 0o022 != 0 {
        let what = format!("has mode {mode:04o}: who else can write it chooses the programs run");
        Finding::error(Id::ConfigExposed, what)
    } else if mode & 0o044 != 0 && has_env {
        let what = format!("has mode {mode:04o}: others can read the values of env");
        Finding::warning(Id::ConfigExposed, what)
    } else {
        return;
    };
    let command = format!("chmod 600 {}", remedies::word(file));
    report.found(found.at(file.display()).run(command));
}

fn limits(listen: &ListenConfig, file: &Path, report: &mut Report) {
    let mut warn = |id, what: String, remedy: String| {
        let remedy = format!("{remedy} under [listen] of {}", file.display());
        report.found(
            Finding::warning(id, what).at(format!("{}: [listen]", file.display())).fix(remedy),
        );
    };
    if listen.resume_window < listen.reconnect_timeout {
        let what = format!(
            "serve forgets a conversation {:?} after a cut, and connect would redial for {:?}: what \
             comes back late finds nothing",
            listen.resume_window, listen.reconnect_timeout
        );
        let remedy = format!("raise resume_window above {:?}", listen.reconnect_timeout);
        warn(Id::ResumeWindowShort, what, remedy);
    }
    let times = [
        ("handshake_timeout", listen.handshake_timeout, HANDSHAKE, "10s"),
        ("idle_timeout", listen.idle_timeout, IDLE, "30s"),
    ];
    for (key, value, (short, long), usual) in times {
        let what = if value < short {
            format!("{key} is {value:?}: an honest peer on a slow network is cut off")
        } else if value > long {
            format!("{key} is {value:?}: dead or silent peers hold their places for so long")
        } else {
            continue;
        };
        warn(Id::TimeoutUnusual, what, format!("write {key} = \"{usual}\", the default,"));
    }
    if listen.max_message_size < SMALL_MESSAGE {
        let what = format!(
            "max_message_size is {} bytes: the tool lists of some servers are larger than 100 kB",
            listen.max_message_size
        );
        warn(Id::MessageSizeSmall, what, "write max_message_size = \"64MiB\", the default,".into());
    }
}

fn listening(
    case: &Case<'_>,
    config: &SecureMcpConfig,
    addresses: &BTreeSet<SocketAddr>,
    report: &mut Report,
) {
    let file = case.context.config_file.display();
    let addresses: BTreeSet<SocketAddr> =
        addresses.iter().copied().chain(config.admin.address).collect();
    for address in &addresses {
        let same_port = |other: &&SocketAddr| {
            *other != address && other.port() == address.port() && address.port() != 0
        };
        // An address and "all addresses" cannot both be bound at one port.
        if address.ip().is_unspecified()
            && let Some(other) = addresses.iter().find(same_port)
        {
            let what = format!("{address} takes in {other}: serve can bind only one of them");
            let remedy = format!(
                "give one another port in {file}, or leave bind_address out: the shared listener \
                 tells servers apart by name"
            );
            report.found(Finding::error(Id::AddressOverlap, what).at(address).fix(remedy));
        }
        if address.port() == 0 {
            let what = "the port is another one at each start, so that nobody can be told it";
            let remedy = format!("write a port, such as \"{}:7443\", in {file}", ip(address));
            report.found(Finding::note(Id::PortZero, what).at(address).fix(remedy));
        }
    }
    let Some(exposed) = addresses.iter().find(|address| !address.ip().is_loopback()) else {
        return;
    };
    let what = format!(
        "reachable from other machines, by whoever has a certificate of a trusted authority: \
         `sealwire policy show` tells what each may do; at most {} connections, {} of one peer",
        config.listen.max_connections, config.listen.max_connections_per_peer
    );
    let remedy = format!(
        "if this is not meant, write address = \"127.0.0.1:{}\" in {file}; if it is, let a \
         firewall admit the machines that need it",
        exposed.port()
    );
    report.found(Finding::note(Id::ListenExposed, what).at(exposed).fix(remedy));
    if config.listen.max_connections_per_peer == config.listen.max_connections {
        let what = format!(
            "one peer may take all {} connections and lock the others out",
            config.listen.max_connections
        );
        let remedy = format!("write a smaller max_connections_per_peer under [listen] of {file}");
        report.found(Finding::warning(Id::PeerTakesAll, what).at(exposed).fix(remedy));
    }
    authority_key(case, report);
}

/// The keys that can issue any name, on a machine that others reach.
fn authority_key(case: &Case<'_>, report: &mut Report) {
    let home = &case.context.home;
    let (root, issuing) = (home.ca_key(), home.issuing_key());
    let (id, key, remedy) = match (root.exists(), issuing.exists()) {
        (false, false) => return,
        (true, false) => {
            let remedy = format!(
                "move it to a machine that serves nothing, or to a medium kept apart, and bring it \
                 back to issue: mv {} ELSEWHERE",
                remedies::word(&root)
            );
            (Id::AuthorityKeyExposed, root, remedy)
        }
        (true, true) => {
            let remedy = "nothing that is done day by day needs it: move it away, under a \
                          passphrase: sealwire ca export-root FILE";
            (Id::RootKeyHere, root, remedy.to_owned())
        }
        (false, true) => {
            let remedy = "have the authority in a home of its own, on a machine that serves \
                          nothing; if the key was taken: sealwire ca renew-issuing --new-key";
            (Id::AuthorityKeyExposed, issuing, remedy.to_owned())
        }
    };
    let what = "the authority's key is on a machine that others reach: who takes it over can issue \
                any name";
    report.found(Finding::note(id, what).at(key.display()).fix(remedy));
}

fn ip(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Whether as many connections as are allowed can have their file descriptors.
fn file_limit(listen: &ListenConfig, file: &Path, report: &mut Report) {
    // `serve` raises its own limit as far as this.
    let Some(limit) = getrlimit(Resource::Nofile).maximum else { return };
    let needed = open_files_for(listen.max_connections);
    if limit >= needed {
        return;
    }
    let what = format!(
        "a process started from here may open {limit} files, enough for {} connections at a time; \
         max_connections is {}",
        connections_within(limit),
        listen.max_connections
    );
    let found = if limit < listen.max_connections as u64 {
        Finding::warning(Id::FileLimitLow, what)
    } else {
        Finding::note(Id::FileLimitLow, what)
    };
    let remedy = format!(
        "ulimit -n {needed} before serve (LimitNOFILE={needed} in a systemd unit), or lower \
         max_connections in {}",
        file.display()
    );
    report.found(found.at("ulimit -n").fix(remedy));
}

/// Whether the log can be appended to, or made; asked without making it.
fn log_file(file: &Path, report: &mut Report) {
    let dir = file.parent().unwrap_or(Path::new("/"));
    let may = |path: &Path, access| rustix::fs::access(path, access);
    let (what, command) = if file.exists() {
        match may(file, Access::WRITE_OK) {
            Ok(()) if !file.is_dir() => return,
            Ok(()) => ("the log file is a directory".to_owned(), None),
            Err(error) => {
                let command = format!("chmod u+w {}", remedies::word(file));
                (format!("the log file cannot be written: {error}"), Some(command))
            }
        }
    } else if !dir.is_dir() {
        let command = format!("mkdir -p {}", remedies::word(dir));
        ("the directory of the log file is not there".to_owned(), Some(command))
    } else {
        match may(dir, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => return,
            Err(error) => {
                let command = format!("chmod u+wx {}", remedies::word(dir));
                (format!("the log file cannot be made: {error}"), Some(command))
            }
        }
    };
    let found = Finding::error(Id::LogUnwritable, what).at(file.display());
    report.found(match command {
        Some(command) => found.run(command),
        None => found.fix("name a file in [log]"),
    });
}

/// One user account that can read several agents' keys can be any of them.
fn agents(case: &Case<'_>, config: &SecureMcpConfig, report: &mut Report) {
    let layout = config.layout();
    let has_key =
        |agent: &&sealwire_names::AgentId| layout.pair(Kind::Agent, agent.as_str()).key.exists();
    let agents: Vec<&str> = config
        .agent_security
        .agents
        .iter()
        .filter(has_key)
        .map(sealwire_names::AgentId::as_str)
        .collect();
    if agents.len() < 2 {
        return;
    }
    let what = format!("{} run under one account, so each can be any of them", agents.join(", "));
    let remedy = "where they must not pass for each other, give each a user account and a home of \
                  its own: sealwire cert bundle AGENT --kind agent";
    let place = case.context.home.certs_dir().join("agents");
    report.found(Finding::note(Id::AgentsShareUser, what).at(place.display()).fix(remedy));
}
