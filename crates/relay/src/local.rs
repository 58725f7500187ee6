//! A server on this machine, for the client that has started us: no network, and else all that
//! stands before a server that is served.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sealwire_audit::AuditSink;
use sealwire_guard::{Gate, Pins, Quarantine};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::child::{ChildConfig, Server};
use crate::connect::RelayError;
use crate::conversation::Conversation;
use crate::endpoint::Endpoint;
use crate::lines::Lines;
use crate::serve::{Cut, Patience, Session};
use crate::stdio::{Input, Output};

/// A server to be started, and what stands before it.
pub struct LocalConfig {
    /// Its name, as policy, pins, quarantine and the log know it.
    pub server_name: String,
    /// How it is started.
    pub child: ChildConfig,
    /// Largest message, in bytes.
    pub max_message: usize,
    /// How long to wait for answers once the client has ended, or we are to.
    pub drain_timeout: Duration,
    /// How long to look again and again for what comes next before going to sleep.
    pub stay_awake: Duration,
    /// Decides about messages. It is asked about [`Principal::Local`](sealwire_guard::Principal).
    pub gate: Arc<dyn Gate>,
    /// Records decisions and outcomes.
    pub audit: Arc<dyn AuditSink>,
    /// What is approved of the server's definitions, if that is looked at.
    pub pins: Option<Arc<dyn Pins>>,
    /// Who is shut out: the conversation ends when the server is.
    pub quarantine: watch::Receiver<Arc<Quarantine>>,
}

/// A server that has been started for one client.
pub struct LocalServer {
    config: LocalConfig,
    server: Server,
    endpoint: Lines<ChildStdout, ChildStdin>,
}

impl LocalServer {
    /// Starts it, as the serving side does: no shell, a stated environment, a process group of its
    /// own. What it writes to standard error goes where ours goes. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// What the system says when the program cannot be started.
    pub fn start(config: LocalConfig) -> io::Result<Self> {
        let (server, endpoint) = Server::start_attended(&config.child, config.max_message)?;
        Ok(Self { config, server, endpoint })
    }

    /// [`Self::relay`] for our own standard input and output. It is not generic, so that what
    /// messages pass through is compiled with this crate, for speed, and not with its caller.
    ///
    /// # Errors
    /// As of [`Self::relay`].
    pub async fn relay_stdio(
        self,
        client: Lines<Input, Output>,
        stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Result<(), RelayError> {
        self.relay(client, stop).await
    }

    /// Relays between `client` and the server until either ends, or `stop` resolves, and ends the
    /// server's whole process group.
    ///
    /// # Errors
    /// When the server failed or is suspended, the client cannot be written to, or what happens
    /// cannot be recorded.
    pub async fn relay(
        self,
        client: impl Endpoint,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RelayError> {
        let Self { config, server, endpoint } = self;
        let server_name: Arc<str> = config.server_name.as_str().into();
        let audit = config.audit;
        let conversation =
            Conversation::new(None, Arc::clone(&server_name), config.gate, Arc::clone(&audit))
                .with_pins(config.pins);
        let (drain, draining) = watch::channel(false);
        let session = Session {
            client,
            conversation,
            peer: None,
            registered: None,
            server_name,
            server,
            endpoint,
            patience: Patience {
                drain: config.drain_timeout,
                resume: config.drain_timeout,
                awake: config.stay_awake,
            },
            audit,
            draining,
            cut: Cut::of_server(config.quarantine),
        };
        let stopping = async {
            stop.await;
            tracing::info!("stopping");
            drain.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            relayed = session.run() => relayed,
            () = stopping => Ok(()),
        }
    }
}
