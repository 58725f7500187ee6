//! The rules of `[mcp_servers.<name>]`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sealwire_guard::PinMode;
use sealwire_names::{AgentId, Kind};
use tokio_rustls::rustls::pki_types::ServerName;

use super::check::{Keys, address, pair, path};
use super::document::Located;
use super::error::Problems;
use super::typed::{Defaults, Server};
use super::{ServerEntry, ServerRole};
use crate::home::Home;

/// What an entry inherits.
pub(crate) struct Context<'a> {
    pub(crate) keys: Keys<'a>,
    pub(crate) defaults: &'a Defaults,
    pub(crate) ca_cert: &'a Path,
    pub(crate) client: (&'a Path, &'a Path),
    pub(crate) zero_trust: bool,
    /// `None` if the address given is not one.
    pub(crate) listen_address: Option<SocketAddr>,
}

/// Checks every entry by itself, then all of them against each other.
pub(crate) fn check_all(
    context: &Context<'_>,
    servers: &[(Located<String>, Server)],
    problems: &mut Problems,
) -> BTreeMap<String, ServerEntry> {
    check_unique(context, servers, problems);
    let mut checked = BTreeMap::new();
    for (name, server) in servers {
        if let Some(entry) = check(context, name, server, problems) {
            checked.insert(name.value.clone(), entry);
        }
    }
    checked
}

fn check(
    context: &Context<'_>,
    name: &Located<String>,
    server: &Server,
    problems: &mut Problems,
) -> Option<ServerEntry> {
    let server_name = server_name(name, server, problems);
    let trusted_ca = match server.trusted_ca.as_ref().or(context.defaults.trusted_ca.as_ref()) {
        Some(given) => path(context.keys.home, given, problems),
        None => Some(context.ca_cert.to_owned()),
    };
    let role = match is_local(server, problems) {
        Some(true) => local(context, name, server, problems),
        Some(false) => role(context, name, server, &server_name, problems),
        None => None,
    };
    let pins = pins(context, server, problems);
    Some(ServerEntry {
        name: name.value.clone(),
        server_name,
        role: role?,
        trusted_ca: trusted_ca?,
        pins: pins?,
    })
}

/// How what the server says of its tools comes to be approved.
fn pins(context: &Context<'_>, server: &Server, problems: &mut Problems) -> Option<PinMode> {
    let Some(given) = server.pins.as_ref().or(context.defaults.pins.as_ref()) else {
        return Some(if context.zero_trust { PinMode::Approved } else { PinMode::default() });
    };
    let Some(mode) = PinMode::ALL.into_iter().find(|mode| mode.as_str() == given.value) else {
        let what = format!("{:?} is not one of them", given.value);
        let remedy = "write \"first_use\", the default, \"approved\" or \"off\"";
        problems.push(given.at.problem(what, remedy));
        return None;
    };
    if context.zero_trust && mode != PinMode::Approved {
        let remedy =
            "write \"approved\", or leave it out, and approve with `sealwire pins approve`";
        let what = format!("{:?} is not accepted by zero_trust_mode", given.value);
        problems.push(given.at.problem(what, remedy));
        return None;
    }
    Some(mode)
}

/// Whether the server stays on this machine, and there is no network between.
fn is_local(server: &Server, problems: &mut Problems) -> Option<bool> {
    let Some(given) = &server.transport else { return Some(false) };
    match given.value.as_str() {
        "link" => Some(false),
        "stdio" => Some(true),
        other => {
            let what = format!("{other:?} is not one of them");
            let remedy =
                "write \"link\", the default, or \"stdio\" for a server that `connect` starts";
            problems.push(given.at.problem(what, remedy));
            None
        }
    }
}

/// A server that each `connect` starts for itself. It has neither address nor certificate.
fn local(
    context: &Context<'_>,
    name: &Located<String>,
    server: &Server,
    problems: &mut Problems,
) -> Option<ServerRole> {
    let keys = [
        ("endpoint", server.endpoint.as_ref()),
        ("bind_address", server.bind_address.as_ref()),
        ("tls_cert", server.tls_cert.as_ref()),
        ("tls_key", server.tls_key.as_ref()),
        ("trusted_ca", server.trusted_ca.as_ref()),
        ("expected_cn", server.expected_cn.as_ref()),
    ];
    without_effect("reached over stdio", &keys, problems);
    let Some(given) = &server.command else {
        let remedy = "give command, which `connect` starts, or leave transport out";
        problems.push(name.at.problem("transport is \"stdio\", and no command is given", remedy));
        return None;
    };
    let env_vars = server.env_vars.as_ref().map(|given| given.value.clone()).unwrap_or_default();
    if let Some(given) = &server.env_vars
        && let Some(bad) = env_vars.iter().find(|name| !is_variable(name))
    {
        let what = format!("{bad:?} cannot be the name of an environment variable");
        problems.push(given.at.problem(what, "use letters, digits and '_'"));
    }
    Some(ServerRole::Local {
        command: command(context.keys.home, given, problems)?,
        args: server.args.as_ref().map(|args| args.value.clone()).unwrap_or_default(),
        env: env(context.defaults, server, problems),
        env_vars,
        cwd: cwd(context, server, problems)?,
    })
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn role(
    context: &Context<'_>,
    name: &Located<String>,
    server: &Server,
    server_name: &str,
    problems: &mut Problems,
) -> Option<ServerRole> {
    let names = ("tls_cert", "tls_key");
    if let Some(given) = &server.env_vars {
        let remedy =
            "give the variables in env, or start the server by connect: transport = \"stdio\"";
        problems.push(given.at.problem("has no effect without transport = \"stdio\"", remedy));
    }
    let (cert, key) = (server.tls_cert.as_ref(), server.tls_key.as_ref());
    match (&server.command, &server.endpoint) {
        (Some(_), Some(endpoint)) => {
            let what = "command and endpoint are both given";
            let remedy = "keep command to serve it here, or endpoint to connect to it elsewhere";
            problems.push(endpoint.at.problem(what, remedy));
            None
        }
        (None, None) => {
            let remedy = "give command to serve it here, or endpoint to connect to it elsewhere";
            problems.push(name.at.problem("neither command nor endpoint is given", remedy));
            None
        }
        (Some(given), None) => {
            without_effect(
                "served here",
                &[("expected_cn", server.expected_cn.as_ref())],
                problems,
            );
            let command = command(context.keys.home, given, problems);
            let own = pair(&context.keys, cert, key, names, problems);
            let (tls_cert, tls_key) = own.ok()?.unwrap_or_else(|| {
                let pair = context.keys.home.pair(Kind::McpServer, server_name);
                (pair.cert, pair.key)
            });
            let bind_address = match &server.bind_address {
                Some(given) => Some(address(given, problems)?),
                None => None,
            };
            Some(ServerRole::Serve {
                command: command?,
                args: server.args.as_ref().map(|args| args.value.clone()).unwrap_or_default(),
                env: env(context.defaults, server, problems),
                cwd: cwd(context, server, problems)?,
                bind_address,
                tls_cert,
                tls_key,
            })
        }
        (None, Some(endpoint)) => {
            let local =
                [("bind_address", server.bind_address.as_ref()), ("cwd", server.cwd.as_ref())];
            without_effect("elsewhere", &local, problems);
            without_effect("elsewhere", &[("args", server.args.as_ref())], problems);
            without_effect("elsewhere", &[("env", server.env.as_ref())], problems);
            let own = pair(&context.keys, cert, key, names, problems);
            let (tls_cert, tls_key) = own.ok()?.unwrap_or_else(|| {
                let (cert, key) = context.client;
                (cert.to_owned(), key.to_owned())
            });
            check_endpoint(endpoint, problems)?;
            Some(ServerRole::Connect {
                endpoint: endpoint.value.clone(),
                tls_cert,
                tls_key,
                expected_cn: expected_cn(server, problems)?,
            })
        }
    }
}

/// The server's identity on the wire. It is SNI, so it must be a DNS name (RFC 6066
/// §3); it ends a SPIFFE ID and names files, so it must be a peer name too.
fn server_name(name: &Located<String>, server: &Server, problems: &mut Problems) -> String {
    let given = server.server_name.as_ref().unwrap_or(name);
    if let Err(why) = check_server_name(&given.value) {
        let remedy = if server.server_name.is_some() {
            "use letters, digits, '-' and '_', with '.' between parts"
        } else {
            "rename the table, or give it a server_name of letters, digits, '-', '_' and '.'"
        };
        let what = format!("{:?} cannot be a server's name: {why}", given.value);
        problems.push(given.at.problem(what, remedy));
    }
    if server.server_name.is_some()
        && let Err(why) = name.value.parse::<AgentId>()
    {
        let what = format!("{:?} cannot be the name of an entry: {why}", name.value);
        problems.push(name.at.problem(what, "rename the table"));
    }
    given.value.clone()
}

/// Whether `name` can be a server's identity on the wire.
fn check_server_name(name: &str) -> Result<(), String> {
    name.parse::<AgentId>().map_err(|error| error.to_string())?;
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) if !name.ends_with('.') => Ok(()),
        Ok(ServerName::IpAddress(_)) => Err("it is an IP address".to_owned()),
        _ => Err("it is not a DNS name".to_owned()),
    }
}

fn command(home: &Home, given: &Located<String>, problems: &mut Problems) -> Option<String> {
    // Without a slash it is looked up in PATH when it is started, as execvp(3) does.
    if !given.value.is_empty() && !given.value.contains('/') {
        return Some(given.value.clone());
    }
    let resolved = path(home, given, problems)?;
    match resolved.into_os_string().into_string() {
        Ok(command) => Some(command),
        Err(_) => {
            let remedy = "use an absolute path";
            problems.push(given.at.problem("the home's path is not UTF-8", remedy));
            None
        }
    }
}

fn cwd(context: &Context<'_>, server: &Server, problems: &mut Problems) -> Option<Option<PathBuf>> {
    match server.cwd.as_ref().or(context.defaults.cwd.as_ref()) {
        Some(given) => path(context.keys.home, given, problems).map(Some),
        None => Some(None),
    }
}

/// The defaults' variables, with the entry's own added and preferred.
fn env(defaults: &Defaults, server: &Server, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut merged = BTreeMap::new();
    for given in [&defaults.env, &server.env].into_iter().flatten() {
        for (name, value) in &given.value {
            if !is_variable(name) {
                let what = format!("{name:?} cannot be the name of an environment variable");
                problems.push(given.at.problem(what, "use letters, digits and '_'"));
            }
            merged.insert(name.clone(), value.clone());
        }
    }
    merged
}

fn expected_cn(server: &Server, problems: &mut Problems) -> Option<Option<String>> {
    match &server.expected_cn {
        Some(given) if given.value.is_empty() => {
            let remedy = "write the common name, or leave the key out";
            problems.push(given.at.problem("is empty", remedy));
            None
        }
        given => Some(given.as_ref().map(|given| given.value.clone())),
    }
}

fn check_endpoint(given: &Located<String>, problems: &mut Problems) -> Option<()> {
    if is_endpoint(&given.value) {
        return Some(());
    }
    let what = format!("{:?} is not host:port", given.value);
    let remedy = "write it like \"tools.example.org:7443\", \"10.0.0.7:7443\" or \"[::1]:7443\"";
    problems.push(given.at.problem(what, remedy));
    None
}

/// Whether `text` is a host (a DNS name, an IPv4 address, or an IPv6 address in
/// brackets), a colon and a port other than 0.
pub fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_is_good = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.contains(':') && ServerName::try_from(host).is_ok(),
    };
    port_is_good && host_is_good
}

fn without_effect<T>(role: &str, keys: &[(&str, Option<&Located<T>>)], problems: &mut Problems) {
    for (key, given) in keys {
        if let Some(given) = given {
            let what = format!("has no effect on a server that is {role}");
            let remedy = format!("remove {key}, or check whether command or endpoint is meant");
            problems.push(given.at.problem(what, remedy));
        }
    }
}

/// One name, one server; one listener of its own, one server. Served names are compared
/// without case, since SNI and certificates do so.
fn check_unique(
    context: &Context<'_>,
    servers: &[(Located<String>, Server)],
    problems: &mut Problems,
) {
    let mut tables: HashMap<&str, &Located<String>> = HashMap::new();
    let mut names: HashMap<String, &Located<String>> = HashMap::new();
    let mut binds: HashMap<SocketAddr, &Located<String>> = HashMap::new();
    for (name, server) in servers {
        if let Some(first) = tables.insert(&name.value, name) {
            let what = format!("also defined in {}", first.at.file().display());
            problems.push(name.at.problem(what, "keep one of the two, or rename one"));
            continue;
        }
        if server.command.is_none() {
            continue;
        }
        let wire_name = server.server_name.as_ref().unwrap_or(name);
        if let Some(first) = names.insert(wire_name.value.to_ascii_lowercase(), name) {
            let what = format!(
                "is served under the name {:?}, which is that of {:?} but for case",
                wire_name.value, first.value
            );
            problems.push(name.at.problem(what, "give one of them another server_name"));
        }
        let Some(bind) = &server.bind_address else { continue };
        let Ok(socket) = bind.value.parse::<SocketAddr>() else { continue };
        if socket.port() == 0 {
            continue;
        }
        if context.listen_address == Some(socket) {
            let remedy = "leave bind_address out: the shared listener tells servers apart by name";
            problems.push(bind.at.problem("is the address of [listen]", remedy));
        } else if let Some(first) = binds.insert(socket, name) {
            let what = format!("is the address of {:?} too", first.value);
            let remedy = "give each a port of its own, or leave both out to share [listen]";
            problems.push(bind.at.problem(what, remedy));
        }
    }
}
