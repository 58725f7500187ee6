//! The serving side: listeners, the MCP servers behind them, and their conversations.

mod accept;
mod barred;
mod conversations;
mod current;
mod descriptors;
mod limits;
mod offer;
mod report;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sealwire_audit::AuditSink;
use sealwire_guard::{Gate, Pins};
use sealwire_identity::PeerVerifier;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::child::ChildConfig;
use accept::{Acceptor, Shared};
use barred::Barred;
use conversations::Conversations;
use descriptors::connections_for;
pub use descriptors::{connections_within, open_files_for};
pub use limits::Limits;
use limits::Places;
use offer::{ListenerKey, Offer, Offered};
pub use report::{Control, ConversationReport, ServeReport};
pub(crate) use session::{Cut, Patience, Session};

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
    /// The server whose own listener it is; `None` if it may be shared. By that, listeners
    /// on port 0 are told apart when the configuration is replaced.
    pub owner: Option<String>,
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
    /// Whether handshakes wait for a token that its key is in, see
    /// [`Credential::waits`](sealwire_identity::Credential::waits).
    pub waits: bool,
    /// Verifies clients once more after each handshake, resumed ones included.
    pub verifier: Arc<PeerVerifier>,
    /// How to start it.
    pub child: ChildConfig,
    /// What is approved of its definitions, if that is looked at.
    pub pins: Option<Arc<dyn Pins>>,
}

/// Bound listeners and what they offer, which can be replaced while they serve.
pub struct Server {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
    /// The longest of all configurations so far: conversations keep the limits that they
    /// began with.
    drain_timeout: Duration,
    is_accepting: bool,
}

/// A bound address; given up on drop.
struct Listener {
    key: ListenerKey,
    address: SocketAddr,
    /// Until it accepts.
    socket: Option<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds every listener. Nothing is accepted before [`Self::start`].
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    pub async fn bind(config: ServeConfig) -> io::Result<Self> {
        let (drain, draining) = watch::channel(false);
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            listeners.push(Listener::bind(listener).await?);
        }
        let drain_timeout = config.limits.drain_timeout;
        let shared = Arc::new(Shared {
            places: Arc::new(Places::new(connections_for(config.limits.max_connections))),
            conversations: Arc::new(Conversations::new()),
            offered: Arc::new(Offered::new(Offer::new(config))),
            draining,
            tasks: TaskTracker::new(),
            barred: watch::Sender::new(Barred::default()),
            refused: AtomicU64::new(0),
        });
        Ok(Self { listeners, shared, drain, drain_timeout, is_accepting: false })
    }

    /// Where it listens, and the servers reached there.
    pub fn addresses(&self) -> Vec<(SocketAddr, Vec<String>)> {
        let offer = self.shared.offered.now();
        let describe = |listener: &Listener| (listener.address, offer.names(&listener.key));
        self.listeners.iter().map(describe).collect()
    }

    /// Reaches it from elsewhere. What is revoked and who is quarantined should be set before
    /// [`Self::start`]; at first it is nothing and nobody.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared) }
    }

    /// Begins to take connections. Must be called within a tokio runtime.
    pub fn start(&mut self) {
        self.is_accepting = true;
        for listener in &mut self.listeners {
            listener.start(&self.shared);
        }
    }

    /// Replaces what is served, and how, in one step: a handshake goes by the old
    /// configuration or by the new one, and a peer is admitted by the new one alone.
    ///
    /// Conversations under way go on, with the limits that they began with; the gate of now
    /// decides about their next message, as long as their server is offered. A server that
    /// is no longer offered takes no connection any more, so that a conversation with it
    /// that is cut has ended. Addresses that stay keep their listeners.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it, and nothing has changed.
    pub async fn replace(&mut self, config: ServeConfig) -> io::Result<()> {
        let mut added = Vec::new();
        for listener in &config.listeners {
            let key = ListenerKey::of(listener);
            if !self.listeners.iter().any(|bound| bound.key == key) {
                let bound = Listener::bind(listener).await;
                added.push(bound.map_err(|error| self.explain(error, listener.address))?);
            }
        }
        self.drain_timeout = self.drain_timeout.max(config.limits.drain_timeout);
        self.shared.places.resize(connections_for(config.limits.max_connections));
        let offer = Offer::new(config);
        self.listeners.retain(|listener| offer.has(&listener.key));
        self.shared.offered.replace(offer);
        self.listeners.append(&mut added);
        if self.is_accepting {
            self.start();
        }
        Ok(())
    }

    /// How long requests under way may take once [`Self::drain`] is called, at the most.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Stops: nothing new is accepted, requests under way are answered for as long as the
    /// drain timeout allows, and every server started is put away.
    pub async fn drain(self) {
        drop(self.listeners);
        self.drain.send_replace(true);
        let tasks = &self.shared.tasks;
        tasks.close();
        tracing::info!(conversations = tasks.len(), "draining");
        if timeout(self.drain_timeout + LAST_STEPS, tasks.wait()).await.is_err() {
            tracing::warn!(conversations = tasks.len(), "stopped before all had ended");
        }
    }

    /// Whether it is ourselves who hold the port.
    fn explain(&self, error: io::Error, wanted: SocketAddr) -> io::Error {
        let ours = |listener: &&Listener| listener.address.port() == wanted.port();
        match self.listeners.iter().find(ours) {
            Some(Listener { address, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
                let reason = format!(
                    "{error}; this process holds the port at {address}, and can change its \
                     address there only when it is started anew"
                );
                io::Error::new(io::ErrorKind::AddrInUse, reason)
            }
            _ => error,
        }
    }
}

impl Listener {
    async fn bind(config: &ListenerConfig) -> io::Result<Self> {
        let wanted = config.address;
        let cannot = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {wanted}: {error}"))
        };
        let socket = TcpListener::bind(wanted).await.map_err(cannot)?;
        let address = socket.local_addr().map_err(cannot)?;
        Ok(Self { key: ListenerKey::of(config), address, socket: Some(socket), accepting: None })
    }

    fn start(&mut self, shared: &Arc<Shared>) {
        if let Some(socket) = self.socket.take() {
            let acceptor = Acceptor { key: self.key.clone(), shared: Arc::clone(shared) };
            self.accepting = Some(tokio::spawn(accept_all(socket, Arc::new(acceptor))));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &self.accepting {
            task.abort();
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
