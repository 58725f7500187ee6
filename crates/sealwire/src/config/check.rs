//! The rules between values, and the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwire_identity::TokenUri;
use sealwire_names::{Kind, TrustDomain};

use super::document::Located;
use super::error::Problems;
use super::typed::{self, Typed};
use super::{
    DEFAULT_TRUST_DOMAIN, ListenConfig, SecureMcpConfig, ServerEntry, ServerRole, admin, agents,
    alerts, audit, ca, incidents, limits, log, mailbox, policy, server,
};
use crate::home::Home;

/// The core whose certificate is presented when none is named.
const DEFAULT_CORE: &str = "core";

/// The configuration as checked. `None`, or complaints in `problems`, if a rule is broken.
pub(crate) fn check(
    home: &Home,
    typed: &Typed,
    problems: &mut Problems,
) -> Option<SecureMcpConfig> {
    for stated in typed.stated.iter().filter(|stated| stated.given.value != stated.only) {
        let (value, only) = (&stated.given.value, &stated.only);
        let remedy = format!("write {only}, the only value, or leave it out");
        problems.push(stated.given.at.problem(format!("{value} is not offered"), remedy));
    }
    let home = &match typed.state_directory.as_ref().map(|given| path(home, given, problems)) {
        Some(state) => home.clone().with_state_dir(state?),
        None => home.clone(),
    };
    let module = match &typed.pkcs11_module {
        Some(given) => Some(path(home, given, problems)?),
        None => None,
    };
    let keys = Keys { home, module: module.as_deref() };
    let client = client_pair(&keys, typed, problems);
    let ca_cert = match &typed.ca_cert {
        Some(given) => path(home, given, problems),
        None => Some(home.ca_cert()),
    };
    let crl = crl(home, typed, problems);
    let listen = listen(&typed.listen, problems);
    let trust_domain = trust_domain(typed.trust_domain.as_ref(), problems);
    let agent_security = agents::check(home, typed, problems);
    let mailbox = mailbox::check(home, &typed.mailbox, &agent_security.agents, problems);
    let (ca_cert, (client_cert, client_key)) = (ca_cert?, client?);
    let context = server::Context {
        keys,
        defaults: &typed.defaults,
        ca_cert: &ca_cert,
        client: (&client_cert, &client_key),
        zero_trust: typed.zero_trust(),
        listen_address: listen.as_ref().map(|listen| listen.address),
    };
    let servers = server::check_all(&context, &typed.servers, problems);
    let home_domain = trust_domain?;
    let policy = policy::check(typed, &home_domain, &servers, problems);
    let rate_limits = limits::check(typed, &home_domain, problems);
    let listeners = listeners(listen.as_ref(), servers.values());
    let admin = admin::check(&typed.admin, &listeners, problems);
    let ca = ca::check(&typed.ca, &listeners, problems);
    Some(SecureMcpConfig {
        home: home.root().to_owned(),
        file: typed.file.clone(),
        state_dir: home.state_dir().to_owned(),
        include: typed.include.as_ref().map(|given| given.value.clone()).unwrap_or_default(),
        trust_domain: home_domain,
        zero_trust_mode: typed.zero_trust(),
        default_level: policy::of_every_server(&typed.defaults),
        ca_cert,
        client_cert,
        client_key,
        renew_from: renew_from(typed.renew_from.as_ref(), problems),
        crl: crl?,
        listen: listen?,
        servers,
        agent_security,
        mailbox,
        admin,
        ca,
        pkcs11_module: module,
        log: log::check(home, &typed.log, problems),
        policy,
        rate_limits,
        incidents: incidents::check(typed, problems),
        alerts: alerts::check(home, &typed.alerts, typed.zero_trust(), problems),
        audit: audit::check(home, typed, problems),
    })
}

/// A path made absolute.
pub(crate) fn path(
    home: &Home,
    given: &Located<String>,
    problems: &mut Problems,
) -> Option<PathBuf> {
    if given.value.is_empty() {
        problems.push(given.at.problem("is empty", "name a file, or leave the key out"));
        return None;
    }
    match home.resolve(&given.value) {
        Ok(path) => Some(path),
        Err(error) => {
            problems.push(given.at.problem(error.to_string(), "use an absolute path"));
            None
        }
    }
}

/// Where keys are, as a configuration names them.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) home: &'a Home,
    /// That of `[pkcs11]`.
    pub(crate) module: Option<&'a Path>,
}

impl Keys<'_> {
    /// A file, or a key in a token.
    fn path(&self, given: &Located<String>, problems: &mut Problems) -> Option<PathBuf> {
        if !TokenUri::is_in(Path::new(&given.value)) {
            return path(self.home, given, problems);
        }
        let mut refuse = |what: String, remedy: String| {
            problems.push(given.at.problem(what, remedy));
            None
        };
        match given.value.parse::<TokenUri>().map(|uri| uri.or_module(self.module)) {
            Ok(uri) if !uri.has_module() => {
                let what = "names a key in a token, and no module that speaks to it";
                refuse(what.into(), "give module in [pkcs11], or module-path in the URI".into())
            }
            Ok(uri) if !uri.has_pin() => {
                let what = "names a key in a token, and not where its PIN is";
                refuse(what.into(), "add ?pin-source=file: and the path of a file with it".into())
            }
            Ok(uri) => Some(uri.to_path()),
            Err(error) => refuse(error.to_string(), error.remedy()),
        }
    }
}

/// A pair of paths, both given or neither. `Err` after a complaint.
pub(crate) fn pair(
    keys: &Keys<'_>,
    cert: Option<&Located<String>>,
    key: Option<&Located<String>>,
    names: (&str, &str),
    problems: &mut Problems,
) -> Result<Option<(PathBuf, PathBuf)>, ()> {
    let lacks = |given: &Located<String>, partner: &str| {
        given.at.problem(format!("given without {partner}"), format!("give {partner} too"))
    };
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => {
            let (cert, key) = (path(keys.home, cert, problems), keys.path(key, problems));
            cert.zip(key).map(Some).ok_or(())
        }
        (Some(cert), None) => {
            problems.push(lacks(cert, names.1));
            Err(())
        }
        (None, Some(key)) => {
            problems.push(lacks(key, names.0));
            Err(())
        }
    }
}

/// A socket address: an IP address and a port, never a name, so that what is bound does
/// not depend on a resolver.
pub(crate) fn address(given: &Located<String>, problems: &mut Problems) -> Option<SocketAddr> {
    given.value.parse().map_or_else(
        |_| {
            let what = format!("{:?} is not an IP address with a port", given.value);
            let remedy = "write it like \"127.0.0.1:7443\" or \"[::1]:7443\"";
            problems.push(given.at.problem(what, remedy));
            None
        },
        Some,
    )
}

fn renew_from(given: Option<&Located<String>>, problems: &mut Problems) -> Option<String> {
    let given = given?;
    if server::is_endpoint(&given.value) {
        return Some(given.value.clone());
    }
    let what = format!("{:?} is not host:port", given.value);
    problems.push(given.at.problem(what, "write it like \"ca.example.org:7444\""));
    None
}

fn client_pair(
    keys: &Keys<'_>,
    typed: &Typed,
    problems: &mut Problems,
) -> Option<(PathBuf, PathBuf)> {
    let names = ("client_cert", "client_key");
    let (cert, key) = (typed.client_cert.as_ref(), typed.client_key.as_ref());
    let given = pair(keys, cert, key, names, problems).ok()?;
    Some(given.unwrap_or_else(|| {
        let core = keys.home.pair(Kind::Core, DEFAULT_CORE);
        (core.cert, core.key)
    }))
}

/// The files of revocation lists. An empty list of them would only look like one.
fn crl(home: &Home, typed: &Typed, problems: &mut Problems) -> Option<Vec<PathBuf>> {
    let Some(given) = &typed.crl else { return Some(Vec::new()) };
    if given.value.is_empty() {
        problems.push(given.at.problem("names no file", "name a file, or leave the key out"));
        return None;
    }
    let file = |file: &String| {
        path(home, &Located { value: file.clone(), at: given.at.clone() }, problems)
    };
    given.value.iter().map(file).collect()
}

fn trust_domain(given: Option<&Located<String>>, problems: &mut Problems) -> Option<TrustDomain> {
    let text = given.map_or(DEFAULT_TRUST_DOMAIN, |given| &given.value);
    match (text.parse(), given) {
        (Ok(domain), _) => Some(domain),
        (Err(error), Some(given)) => {
            let remedy = "write it like a lower-case DNS name, e.g. \"example.org\"";
            problems.push(given.at.problem(format!("{text:?}: {error}"), remedy));
            None
        }
        (Err(_), None) => None,
    }
}

fn listen(typed: &typed::Listen, problems: &mut Problems) -> Option<ListenConfig> {
    let default = ListenConfig::default();
    let address = match &typed.address {
        Some(given) => address(given, problems),
        None => Some(default.address),
    };
    let count = |given: &Option<Located<u64>>, default: usize| {
        given.as_ref().map_or(default, |given| usize::try_from(given.value).unwrap_or(usize::MAX))
    };
    let time = |given: &Option<Located<Duration>>, default: Duration| {
        given.as_ref().map_or(default, |given| given.value)
    };
    let max_connections = count(&typed.max_connections, default.max_connections);
    let per_peer = count(&typed.max_connections_per_peer, default.max_connections_per_peer);
    if let Some(given) = &typed.max_connections_per_peer
        && per_peer > max_connections
    {
        let what = format!("is more than max_connections ({max_connections})");
        problems.push(given.at.problem(what, "lower it, or raise max_connections"));
    }
    let reconnect_timeout = time(&typed.reconnect_timeout, default.reconnect_timeout);
    Some(ListenConfig {
        address: address?,
        max_connections,
        max_connections_per_peer: per_peer.min(max_connections),
        max_detached_per_peer: count(&typed.max_detached_per_peer, default.max_detached_per_peer),
        handshake_timeout: time(&typed.handshake_timeout, default.handshake_timeout),
        idle_timeout: time(&typed.idle_timeout, default.idle_timeout),
        max_message_size: count(&typed.max_message_size, default.max_message_size),
        connect_timeout: time(
            &typed.connect_timeout,
            default.connect_timeout.min(reconnect_timeout),
        ),
        reconnect_timeout,
        resume_window: time(&typed.resume_window, default.resume_window),
        drain_timeout: time(&typed.drain_timeout, default.drain_timeout),
    })
}

/// The addresses to listen on, each with the key that says so.
fn listeners<'a>(
    listen: Option<&ListenConfig>,
    servers: impl Iterator<Item = &'a ServerEntry>,
) -> Vec<(SocketAddr, String)> {
    let shared = listen.map(|listen| (listen.address, "[listen]".to_owned()));
    let own = servers.filter_map(|entry| match &entry.role {
        ServerRole::Serve { bind_address, .. } => {
            Some(((*bind_address)?, format!("{:?}", entry.name)))
        }
        ServerRole::Local { .. } | ServerRole::Connect { .. } => None,
    });
    shared.into_iter().chain(own).collect()
}
