//! The serving side: listeners, the MCP servers behind them, and their conversations.

mod accept;
mod conversations;
mod limits;
mod session;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealwire_audit::AuditSink;
use sealwire_guard::Gate;
use sealwire_identity::PeerVerifier;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::child::ChildConfig;
use accept::Acceptor;
use conversations::Conversations;
pub use limits::Limits;
use limits::Places;

/// Pause after the system could not accept a connection, most likely for want of file
/// descriptors: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long after the drain limit a conversation may take to put its server away.
const LAST_STEPS: Duration = Duration::from_secs(8);

/// What to serve, and how.
pub struct ServeConfig {
    /// Where to listen, and for which servers.
    pub listeners: Vec<ListenerConfig>,
    /// Bounds on what peers may use.
    pub limits: Limits,
    /// Decides about messages.
    pub gate: Arc<dyn Gate>,
    /// Records connections and decisions.
    pub audit: Arc<dyn AuditSink>,
}

/// One listening address. Several servers may share it; SNI chooses between them.
pub struct ListenerConfig {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The servers reached there.
    pub services: Vec<Service>,
}

/// One MCP server to serve.
#[derive(Clone)]
pub struct Service {
    /// Its name on the wire.
    pub server_name: String,
    /// Its certificate, and whom it trusts.
    pub tls: Arc<rustls::ServerConfig>,
    /// Verifies clients once more after each handshake, resumed ones included.
    pub verifier: Arc<PeerVerifier>,
    /// How to start it.
    pub child: ChildConfig,
}

/// Bound listeners, ready to serve.
pub struct Server {
    listeners: Vec<(TcpListener, Arc<Acceptor>)>,
    drain: watch::Sender<bool>,
    tasks: TaskTracker,
    drain_timeout: Duration,
}

impl Server {
    /// Binds every listener. Nothing is accepted before [`Self::run`].
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    pub async fn bind(config: ServeConfig) -> io::Result<Self> {
        let (drain, draining) = watch::channel(false);
        let tasks = TaskTracker::new();
        let conversations = Arc::new(Conversations::new());
        let places = Arc::new(Places::new(&config.limits));
        let drain_timeout = config.limits.drain_timeout;
        let limits = Arc::new(config.limits);
        let mut listeners = Vec::new();
        for listener in config.listeners {
            let ListenerConfig { address, services } = listener;
            let bound = TcpListener::bind(address).await.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
            let acceptor = Acceptor {
                services: services
                    .into_iter()
                    .map(|service| (service.server_name.to_ascii_lowercase(), Arc::new(service)))
                    .collect::<HashMap<_, _>>(),
                limits: Arc::clone(&limits),
                places: Arc::clone(&places),
                conversations: Arc::clone(&conversations),
                gate: Arc::clone(&config.gate),
                audit: Arc::clone(&config.audit),
                draining: draining.clone(),
                tasks: tasks.clone(),
            };
            listeners.push((bound, Arc::new(acceptor)));
        }
        Ok(Self { listeners, drain, tasks, drain_timeout })
    }

    /// Where it listens, and the servers reached there.
    ///
    /// # Errors
    /// When the system does not tell an address.
    pub fn addresses(&self) -> io::Result<Vec<(SocketAddr, Vec<String>)>> {
        let describe = |(listener, acceptor): &(TcpListener, Arc<Acceptor>)| {
            let mut names: Vec<_> =
                acceptor.services.values().map(|service| service.server_name.clone()).collect();
            names.sort();
            Ok((listener.local_addr()?, names))
        };
        self.listeners.iter().map(describe).collect()
    }

    /// Serves until `stop` resolves, then drains: nothing new is accepted, requests under
    /// way are answered for as long as the drain timeout allows, and every server started
    /// is put away.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|(listener, acceptor)| tokio::spawn(accept_all(listener, acceptor)))
            .collect();
        stop.await;
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        self.drain.send_replace(true);
        self.tasks.close();
        tracing::info!(conversations = self.tasks.len(), "draining");
        if timeout(self.drain_timeout + LAST_STEPS, self.tasks.wait()).await.is_err() {
            tracing::warn!(conversations = self.tasks.len(), "stopped before all had ended");
        }
    }
}

async fn accept_all(listener: TcpListener, acceptor: Arc<Acceptor>) {
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                let acceptor = Arc::clone(&acceptor);
                tokio::spawn(async move { acceptor.take(tcp, address).await });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
