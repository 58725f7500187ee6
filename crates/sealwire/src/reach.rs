//! From a configuration to what the relay needs to reach one server.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealwire_audit::LogSink;
use sealwire_guard::{AllowAuthenticated, Gate, PinMode};
use sealwire_identity::Credential;
use sealwire_names::{AgentId, Kind, PeerId, TrustDomain};
use sealwire_relay::ConnectConfig;
use sealwire_relay::link::DialConfig;

use crate::config::{ListenConfig, SecureMcpConfig, ServerEntry, ServerRole};
use crate::home::{CertificatePair, Home};
use crate::pins::PinStore;
use crate::renewal::IdentityFiles;
use crate::revocations::Followed;
use crate::{Error, Result};

/// One reachable MCP server: where it is, whom we are to it, and whom we trust.
///
/// Certificate, key and trust anchors are read here, and again before a dial when their
/// files have changed.
#[derive(Clone)]
pub struct Reach {
    dial: DialConfig,
    gate: Arc<dyn Gate>,
    /// What we present.
    pair: CertificatePair,
    /// Where pins are kept, and how they come about, if they do.
    pins: Option<(Home, PinMode)>,
    revocations: Followed,
    connect_timeout: Duration,
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
                (endpoint.clone(), (tls_cert.clone(), tls_key.clone()), expected_cn.clone())
            }
            ServerRole::Serve { bind_address, .. } => {
                let address = bind_address.unwrap_or(config.listen.address);
                if address.port() == 0 {
                    return Err(Error::NoPort(name.to_owned()));
                }
                let pair = (config.client_cert.clone(), config.client_key.clone());
                (address.to_string(), pair, None)
            }
            ServerRole::Local { .. } => return Err(Error::Local(name.to_owned())),
        };
        if let Some(agent) = agent {
            let known = config
                .agent_security
                .agents
                .iter()
                .map(AgentId::as_str)
                .find(|known| *known == agent);
            let known = known.ok_or_else(|| Error::UnknownAgent(agent.to_owned()))?;
            let files = config.layout().pair(Kind::Agent, known);
            pair = (files.cert, files.key);
        }
        let files = IdentityFiles {
            cert: pair.0,
            key: pair.1,
            anchors: entry.trusted_ca.clone(),
            trust_domain: config.trust_domain.clone(),
            expected_cn,
            revocations: Followed::of(config)?,
        };
        let gate = Arc::new(config.guard(|other| other.name == entry.name));
        let reach = Self::new(&config.listen, &entry.server_name, endpoint, files, gate)?;
        let pins = (entry.pins != PinMode::Off).then(|| (config.layout(), entry.pins));
        Ok(Self { pins, ..reach })
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
        let files = IdentityFiles {
            cert: config.client_cert.clone(),
            key: config.client_key.clone(),
            anchors: config.ca_cert.clone(),
            trust_domain: config.trust_domain.clone(),
            expected_cn: None,
            revocations: Followed::of(config)?,
        };
        let gate = Arc::new(AllowAuthenticated);
        Self::new(&config.listen, server_name, address.to_owned(), files, gate)
    }

    /// A server described without a configuration; the trust domain is that of our own
    /// certificate.
    ///
    /// # Errors
    /// If the name cannot be a server's, or a file cannot be used.
    pub fn ad_hoc(target: &AdHoc) -> Result<Self> {
        let credential = Credential::load(&target.cert, &target.key)?;
        let files = IdentityFiles {
            cert: target.cert.clone(),
            key: target.key.clone(),
            anchors: target.ca.clone(),
            trust_domain: credential.id().trust_domain().clone(),
            expected_cn: target.expected_cn.clone(),
            revocations: Followed::nothing(),
        };
        let limits = ListenConfig::default();
        let gate = Arc::new(AllowAuthenticated);
        Self::new(&limits, &target.server_name, target.endpoint.clone(), files, gate)
    }

    fn new(
        limits: &ListenConfig,
        server_name: &str,
        endpoint: String,
        files: IdentityFiles,
        gate: Arc<dyn Gate>,
    ) -> Result<Self> {
        let revocations = files.revocations.clone();
        let pair = CertificatePair { cert: files.cert.clone(), key: files.key.clone() };
        let dial = DialConfig {
            endpoint,
            server_name: server_name.to_owned(),
            server: server_id(&files.trust_domain, server_name)?,
            identity: files.source()?,
            revocations: revocations.subscribe(),
            handshake_timeout: limits.handshake_timeout,
            max_message: limits.max_message_size,
        };
        Ok(Self {
            dial,
            gate,
            pair,
            pins: None,
            revocations,
            connect_timeout: limits.connect_timeout,
            reconnect_timeout: limits.reconnect_timeout,
            idle_timeout: limits.idle_timeout,
            drain_timeout: limits.drain_timeout,
        })
    }

    /// How to dial it.
    pub fn dial(&self) -> &DialConfig {
        &self.dial
    }

    /// The certificate that is presented, and its key.
    pub fn certificate(&self) -> &CertificatePair {
        &self.pair
    }

    /// Follows what is revoked in the home, so that a connection to a server that is ends. To be
    /// polled beside the relay, within a tokio runtime, until that is done.
    pub fn follow(&self) -> impl Future<Output = Infallible> + Send + 'static {
        self.revocations.clone().follow()
    }

    /// How to relay to it. The gate of this end goes by the policy of this home, where an
    /// entry of it describes the server, and so do its pins; the serving side decides for
    /// itself.
    ///
    /// # Errors
    /// If what is approved of the server cannot be read or kept.
    pub fn connect_config(&self) -> Result<ConnectConfig> {
        let mut config = self.trial_config();
        if let Some((home, mode)) = &self.pins {
            config.pins = Arc::new(PinStore::open(home)?).of(&self.dial.server, *mode)?;
        }
        Ok(config)
    }

    /// The same without pins: to look at a server, where what it says goes to no client.
    pub fn trial_config(&self) -> ConnectConfig {
        ConnectConfig {
            dial: self.dial.clone(),
            connect_timeout: self.connect_timeout,
            reconnect_timeout: self.reconnect_timeout,
            idle_timeout: self.idle_timeout,
            drain_timeout: self.drain_timeout,
            stay_awake: Duration::ZERO,
            gate: Arc::clone(&self.gate),
            audit: Arc::new(LogSink),
            pins: None,
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
