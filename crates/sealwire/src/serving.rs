//! From a configuration to what the serving side runs.

use std::net::SocketAddr;
use std::sync::Arc;

use sealwire_audit::LogSink;
use sealwire_guard::PinMode;
use sealwire_identity::{Credential, PeerVerifier, Role, TrustAnchors, server_config};
use sealwire_relay::link::ALPN;
use sealwire_relay::{ChildConfig, Limits, ListenerConfig, ServeConfig, Service};

use crate::config::{SecureMcpConfig, ServerEntry, ServerRole};
use crate::pins::{PinStore, server_of};
use crate::reach::unknown_server;
use crate::{Error, Result};

/// What to serve: the named servers, or without a name all that the configuration
/// serves. Servers without an address of their own share a listener.
///
/// # Errors
/// If a name is not that of a served server, or a file cannot be used. Nothing is bound.
pub fn serve_config(config: &SecureMcpConfig, names: &[String]) -> Result<ServeConfig> {
    let is_served = |entry: &&ServerEntry| matches!(entry.role, ServerRole::Serve { .. });
    let entries: Vec<&ServerEntry> = if names.is_empty() {
        config.servers.values().filter(is_served).collect()
    } else {
        names
            .iter()
            .map(|name| {
                let entry = config.servers.get(name).ok_or_else(|| unknown_server(config, name))?;
                match &entry.role {
                    ServerRole::Serve { .. } => Ok(entry),
                    ServerRole::Local { .. } => Err(Error::Local(name.clone())),
                    ServerRole::Connect { .. } => Err(Error::NotServed(name.clone())),
                }
            })
            .collect::<Result<_>>()?
    };
    let address = config.listen.address;
    let mut shared = ListenerConfig { address, owner: None, services: Vec::new() };
    let mut listeners = Vec::new();
    let is_pinned = |entry: &&ServerEntry| entry.pins != PinMode::Off;
    let pins = match entries.iter().any(is_pinned) {
        true => Some(Arc::new(PinStore::open(&config.layout())?)),
        false => None,
    };
    for entry in entries {
        match service(config, entry, pins.as_ref())? {
            Some((None, service)) => shared.services.push(service),
            Some((Some(address), service)) => {
                let owner = Some(service.server_name.clone());
                listeners.push(ListenerConfig { address, owner, services: vec![service] });
            }
            None => {}
        }
    }
    if !shared.services.is_empty() {
        listeners.insert(0, shared);
    }
    let limits = &config.listen;
    Ok(ServeConfig {
        listeners,
        limits: Limits {
            max_connections: limits.max_connections,
            max_connections_per_peer: limits.max_connections_per_peer,
            max_detached_per_peer: limits.max_detached_per_peer,
            handshake_timeout: limits.handshake_timeout,
            idle_timeout: limits.idle_timeout,
            resume_window: limits.resume_window,
            drain_timeout: limits.drain_timeout,
            max_message: limits.max_message_size,
        },
        gate: Arc::new(config.guard(|entry| matches!(entry.role, ServerRole::Serve { .. }))),
        audit: Arc::new(LogSink),
    })
}

/// A served server, and the address of its own that it may have.
fn service(
    config: &SecureMcpConfig,
    entry: &ServerEntry,
    pins: Option<&Arc<PinStore>>,
) -> Result<Option<(Option<SocketAddr>, Service)>> {
    let ServerRole::Serve { bind_address, tls_cert, tls_key, .. } = &entry.role else {
        return Ok(None);
    };
    let Some(child) = child_config(&entry.role) else { return Ok(None) };
    let credential = Credential::load(tls_cert, tls_key)?;
    let anchors = TrustAnchors::load(&entry.trusted_ca, config.trust_domain.clone())?;
    let anchors = Arc::new(anchors);
    let pins = match pins {
        Some(store) => store.of(&server_of(config, entry)?, entry.pins)?,
        None => None,
    };
    let service = Service {
        server_name: entry.server_name.clone(),
        tls: server_config(&credential, Arc::clone(&anchors), &[ALPN])?,
        waits: credential.waits(),
        verifier: Arc::new(PeerVerifier::new(anchors, Role::Client)),
        child,
        pins,
    };
    Ok(Some((*bind_address, service)))
}

/// How the server of an entry is started here; `None` if it runs elsewhere. One that stays on this
/// machine gets those of our own variables that its entry names.
pub fn child_config(role: &ServerRole) -> Option<ChildConfig> {
    let (command, args, env, cwd, names) = match role {
        ServerRole::Serve { command, args, env, cwd, .. } => (command, args, env, cwd, &[][..]),
        ServerRole::Local { command, args, env, env_vars, cwd } => {
            (command, args, env, cwd, &env_vars[..])
        }
        ServerRole::Connect { .. } => return None,
    };
    // What is not text cannot be in `env` either.
    let ours = names.iter().filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)));
    Some(ChildConfig {
        command: command.clone(),
        args: args.clone(),
        env: ours.chain(env.clone()).collect(),
        cwd: cwd.clone(),
    })
}
