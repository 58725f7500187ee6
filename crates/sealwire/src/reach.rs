//! From a configuration to what the relay needs to reach one server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealwire_audit::LogSink;
use sealwire_guard::AllowAuthenticated;
use sealwire_identity::{Credential, PeerVerifier, Role, TrustAnchors, client_config};
use sealwire_names::{AgentId, Kind, PeerId, TrustDomain};
use sealwire_relay::ConnectConfig;
use sealwire_relay::link::{ALPN, DialConfig};

use crate::config::{ListenConfig, SecureMcpConfig, ServerEntry, ServerRole};
use crate::{Error, Result};

/// One reachable MCP server: where it is, whom we are to it, and whom we trust.
#[derive(Clone)]
pub struct Reach {
    dial: DialConfig,
    reconnect_timeout: Duration,
    idle_timeout: Duration,
    drain_timeout: Duration,
}

/// A server described on the command line, without a home.
#[derive(Clone, Debug)]
pub struct AdHoc {
    /// `host:port`.
    pub endpoint: String,
    /// The server's name.
    pub server_name: String,
    /// The trust anchors.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// What the server certificate's common name must be, beside its URI SAN.
    pub expected_cn: Option<String>,
}

impl Reach {
    /// The server of an entry, as the home's own identity or as one of its agents.
    ///
    /// A server that is served here is reached where it listens, like from anywhere else.
    ///
    /// # Errors
    /// If there is no such entry or agent, or a file it names cannot be used.
    pub fn configured(config: &SecureMcpConfig, name: &str, agent: Option<&str>) -> Result<Self> {
        let entry = config.servers.get(name).ok_or_else(|| unknown_server(config, name))?;
        let (endpoint, mut pair, expected_cn) = match &entry.role {
            ServerRole::Connect { endpoint, tls_cert, tls_key, expected_cn } => {
                (endpoint.clone(), (tls_cert.clone(), tls_key.clone()), expected_cn.as_deref())
            }
            ServerRole::Serve { bind_address, .. } => {
                let address = bind_address.unwrap_or(config.listen.address);
                if address.port() == 0 {
                    return Err(Error::NoPort(name.to_owned()));
                }
                let pair = (config.client_cert.clone(), config.client_key.clone());
                (address.to_string(), pair, None)
            }
        };
        if let Some(agent) = agent {
            let known = config.agents.iter().map(AgentId::as_str).find(|known| *known == agent);
            let known = known.ok_or_else(|| Error::UnknownAgent(agent.to_owned()))?;
            let files = config.layout().pair(Kind::Agent, known);
            pair = (files.cert, files.key);
        }
        let credential = Credential::load(&pair.0, &pair.1)?;
        let anchors = TrustAnchors::load(&entry.trusted_ca, config.trust_domain.clone())?;
        Self::new(&config.listen, &entry.server_name, endpoint, &credential, anchors, expected_cn)
    }

    /// A server that no entry describes, as the home's own identity.
    ///
    /// # Errors
    /// If the name cannot be a server's, or a file of the home cannot be used.
    pub fn unconfigured(
        config: &SecureMcpConfig,
        server_name: &str,
        address: &str,
    ) -> Result<Self> {
        let credential = Credential::load(&config.client_cert, &config.client_key)?;
        let anchors = TrustAnchors::load(&config.ca_cert, config.trust_domain.clone())?;
        Self::new(&config.listen, server_name, address.to_owned(), &credential, anchors, None)
    }

    /// A server described without a configuration; the trust domain is that of our own
    /// certificate.
    ///
    /// # Errors
    /// If the name cannot be a server's, or a file cannot be used.
    pub fn ad_hoc(target: &AdHoc) -> Result<Self> {
        let credential = Credential::load(&target.cert, &target.key)?;
        let trust_domain = credential.id().trust_domain().clone();
        let anchors = TrustAnchors::load(&target.ca, trust_domain)?;
        Self::new(
            &ListenConfig::default(),
            &target.server_name,
            target.endpoint.clone(),
            &credential,
            anchors,
            target.expected_cn.as_deref(),
        )
    }

    fn new(
        limits: &ListenConfig,
        server_name: &str,
        endpoint: String,
        credential: &Credential,
        anchors: TrustAnchors,
        expected_cn: Option<&str>,
    ) -> Result<Self> {
        let server = server_id(anchors.trust_domain(), server_name)?;
        let anchors = Arc::new(anchors);
        let tls = client_config(credential, Arc::clone(&anchors), expected_cn, &[ALPN])?;
        let mut verifier = PeerVerifier::new(anchors, Role::Server);
        if let Some(cn) = expected_cn {
            verifier = verifier.with_expected_cn(cn);
        }
        let dial = DialConfig {
            endpoint,
            server_name: server_name.to_owned(),
            server,
            tls,
            verifier: Arc::new(verifier),
            handshake_timeout: limits.handshake_timeout,
            max_message: limits.max_message_size,
        };
        Ok(Self {
            dial,
            reconnect_timeout: limits.reconnect_timeout,
            idle_timeout: limits.idle_timeout,
            drain_timeout: limits.drain_timeout,
        })
    }

    /// How to dial it.
    pub fn dial(&self) -> &DialConfig {
        &self.dial
    }

    /// How to relay to it. The gate of this end lets the local client pass; the serving
    /// side decides for itself.
    pub fn connect_config(&self) -> ConnectConfig {
        ConnectConfig {
            dial: self.dial.clone(),
            reconnect_timeout: self.reconnect_timeout,
            idle_timeout: self.idle_timeout,
            drain_timeout: self.drain_timeout,
            gate: Arc::new(AllowAuthenticated),
            audit: Arc::new(LogSink),
        }
    }
}

/// The name that a server's certificate must carry.
pub(crate) fn server_id(trust_domain: &TrustDomain, server_name: &str) -> Result<PeerId> {
    PeerId::new(trust_domain.clone(), Kind::McpServer, server_name)
        .map_err(|reason| Error::ServerName { name: server_name.to_owned(), reason })
}

pub(crate) fn unknown_server(config: &SecureMcpConfig, name: &str) -> Error {
    let mut known = config.servers.values().map(|entry: &ServerEntry| entry.name.as_str());
    let known = match known.next() {
        None => "none at all".to_owned(),
        Some(first) => known.fold(first.to_owned(), |list, name| list + ", " + name),
    };
    Error::UnknownServer { name: name.to_owned(), known }
}
