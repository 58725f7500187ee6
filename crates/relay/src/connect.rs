//! The connecting side: a local MCP client on one end, a link on the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealwire_audit::{AuditSink, Event};
use sealwire_guard::{Gate, Pins};
use sealwire_identity::VerifiedPeer;
use sealwire_names::Refusal;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bridge::{Bridge, Happened, Until, unrecorded};
use crate::conversation::{Conversation, Fate};
use crate::endpoint::{Endpoint, EndpointError};
use crate::lines::Lines;
use crate::link::{DialConfig, Dialer, Ending, LinkEndpoint, LinkError, Redial};
use crate::reopen::{Make, ServingSide, give_up, reopen};
use crate::stdio::{Input, Output};

/// Unacknowledged bytes that we accept.
const WINDOW: u32 = crate::link::DEFAULT_WINDOW;
/// How long the serving side may take to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

const STOPPED: Fate<'static> = Fate::outcome_unknown("stopped before the answer came");
const LOST: Fate<'static> =
    Fate::outcome_unknown("the connection was lost; whether the call was carried out is unknown");
const ENDED: Fate<'static> = Fate::server_ended("the server ended before it answered");
const NOT_SUCCEEDED: Fate<'static> =
    Fate::not_sent("the serving side is shutting down, and no other has taken its place");

/// How to connect.
pub struct ConnectConfig {
    /// Where to, and as whom.
    pub dial: DialConfig,
    /// How long to dial before the first connection stands. Clients wait for the answer to their
    /// `initialize` for seconds, and show an error only if one comes within them.
    pub connect_timeout: Duration,
    /// How long to redial after a cut.
    pub reconnect_timeout: Duration,
    /// A connection from which nothing is heard for this long is given up.
    pub idle_timeout: Duration,
    /// How long to wait for answers once one side has ended.
    pub drain_timeout: Duration,
    /// How long to look again and again for what comes next before going to sleep; zero where
    /// the thread is not ours alone.
    pub stay_awake: Duration,
    /// Decides about messages on this side.
    pub gate: Arc<dyn Gate>,
    /// Records decisions on this side.
    pub audit: Arc<dyn AuditSink>,
    /// What is approved of the server's definitions on this side, if that is looked at.
    pub pins: Option<Arc<dyn Pins>>,
}

/// A link to one server, before its first message.
pub struct Connection {
    config: ConnectConfig,
    dialer: Arc<Dialer>,
    link: LinkEndpoint<Redial>,
}

impl Connection {
    /// A link that dials once it relays, and keeps trying for a while: the serving side may be
    /// started after us.
    pub fn new(config: ConnectConfig) -> Self {
        let dialer = Arc::new(Dialer::new(config.dial.clone()));
        let carrier = Redial::new(Arc::clone(&dialer), config.reconnect_timeout)
            .first_within(config.connect_timeout);
        let link = LinkEndpoint::new(carrier, config.dial.max_message, WINDOW, config.idle_timeout);
        Self { config, dialer, link }
    }

    /// A link that stands: the server has been dialled, verified, and has greeted us.
    ///
    /// # Errors
    /// [`LinkError`] of the first and only attempt.
    pub async fn open(config: ConnectConfig) -> Result<Self, LinkError> {
        let reconnect_timeout = config.reconnect_timeout;
        let mut connection = Self::new(config);
        connection.link.carrier().keep_trying_for(Duration::ZERO);
        connection.link.connected().await?;
        connection.link.carrier().keep_trying_for(reconnect_timeout);
        Ok(connection)
    }

    /// Our own name as the serving side verified it; empty before the first connection.
    pub fn we_are(&mut self) -> &str {
        self.link.carrier().conversation().map_or("", |conversation| &conversation.we_are)
    }

    /// The server as its certificate proved it; `None` before the first connection.
    pub fn server(&mut self) -> Option<&VerifiedPeer> {
        self.link.carrier().conversation().map(|conversation| &conversation.server)
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

    /// Relays between `client` and the server until either ends, or `stop` resolves.
    ///
    /// Every request that the client still waits for is answered, if need be with an
    /// error that says what is known of it.
    ///
    /// # Errors
    /// When the link failed or the server did.
    pub async fn relay(
        self,
        client: impl Endpoint,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RelayError> {
        let ConnectConfig { dial, reconnect_timeout, idle_timeout, drain_timeout, .. } =
            self.config;
        let ConnectConfig { stay_awake, gate, audit, pins, .. } = self.config;
        let server_name = dial.server_name.clone();
        let mut revocations = dial.revocations.clone();
        let conversation =
            Conversation::new(None, server_name.as_str().into(), gate, Arc::clone(&audit))
                .with_pins(pins)
                .that_can_be_reopened();
        let make = Make { dialer: self.dialer, window: WINDOW, idle_timeout, reconnect_timeout };
        let server = ServingSide::new(self.link, make);
        let mut bridge = Bridge::new(client, server, conversation).that_stays_awake(stay_awake);
        let mut until = Until::Happened;
        let mut deadline: Option<Instant> = None;
        let mut held_until: Option<Instant> = None;
        let mut client_ended = false;
        tokio::pin!(stop);
        loop {
            let mut happened = tokio::select! {
                // First, however much there is to relay.
                biased;
                Ok(()) = revocations.changed() => {
                    let conversation = bridge.server.carrier().conversation();
                    let revocations = revocations.borrow_and_update();
                    let checked = conversation.map(|it| {
                        revocations.check_peer(&it.server, SystemTime::now().into())
                    });
                    let Some(Err(refusal)) = checked else { continue };
                    Happened::ServerFailed(LinkError::Refused(refusal).into())
                }
                happened = bridge.run(until) => happened,
                () = &mut stop, if until == Until::Happened => {
                    tracing::info!("stopping");
                    bridge.conversation.drain();
                    until = Until::ServerSettled;
                    Happened::ClientEnded
                }
                () = passed(held_until) => {
                    held_until = None;
                    bridge.conversation.drain();
                    let waiting = bridge.server.stop_holding();
                    bridge.abandon(|id| waiting.contains(id), NOT_SUCCEEDED);
                    continue;
                }
                () = passed(deadline) => {
                    give_up(&mut bridge, STOPPED, None);
                    Happened::Reached
                }
            };
            let is_stopping = until != Until::Happened;
            if let Some(fate) = fate_of_lost(&happened)
                && !is_stopping
                && (!client_ended || !bridge.server.unsent().is_empty())
            {
                // What was drained ends the sooner for knowing that we have its end.
                let _written = timeout(Duration::ZERO, bridge.acknowledge_server()).await;
                held_until = None;
                match reopen(&mut bridge, fate) {
                    Ok(()) => continue,
                    Err(error) => happened = Happened::ServerFailed(error.into()),
                }
            }
            let mut last_words = matches!(happened, Happened::ServerEnded(_));
            let result = match happened {
                Happened::ClientEnded
                    if bridge.server.is_reopening() && !bridge.conversation.is_client_waiting() =>
                {
                    Ok(())
                }
                Happened::ClientEnded => {
                    client_ended = true;
                    // The server is to see its input end, and may still have its say.
                    bridge.server.finish(Ending::Orderly);
                    let waiting = bridge.conversation.is_client_waiting();
                    if bridge.server.carrier().conversation().is_none() {
                        // Nobody is left to be served later; what is asked for may still be.
                        let patience = if waiting { drain_timeout } else { Duration::ZERO };
                        bridge.server.carrier().keep_trying_for(patience);
                    }
                    deadline.get_or_insert_with(|| Instant::now() + drain_timeout);
                    continue;
                }
                Happened::Drain => {
                    bridge.server.hold_requests();
                    held_until.get_or_insert_with(|| {
                        tracing::info!("the serving side is shutting down");
                        Instant::now() + reconnect_timeout
                    });
                    continue;
                }
                Happened::ClientFailed(error) => {
                    // Nobody is left to answer to; the server is still to be told.
                    tracing::debug!(%error, "the client is gone");
                    bridge.server.finish(Ending::Orderly);
                    let _late = timeout(LAST_WORDS, bridge.run(Until::ServerSettled)).await;
                    return Ok(());
                }
                Happened::Unrecorded(error) => return Err(unrecorded(error).into()),
                Happened::Reached => Ok(()),
                Happened::ServerEnded(ending) => {
                    give_up(&mut bridge, ENDED, None);
                    match ending {
                        Ending::Orderly | Ending::Drained => Ok(()),
                        Ending::ServerFailed => Err(RelayError::ServerFailed),
                    }
                }
                Happened::ServerFailed(error) => {
                    record_refusal(&*audit, &server_name, &error);
                    if matches!(error, EndpointError::Link(LinkError::NotReopened(_))) {
                        // The new server need not wait for us to come back.
                        bridge.server.leave();
                        last_words = true;
                    }
                    let why = match &error {
                        EndpointError::Link(error) => Some(error),
                        EndpointError::Io { .. } => None,
                    };
                    give_up(&mut bridge, LOST, why);
                    Err(RelayError::Endpoint(error))
                }
            };
            // A client that does not read its last answers cannot keep us here, nor can a
            // serving side that is out of reach.
            match timeout(drain_timeout, bridge.flush_client()).await {
                Ok(Ok(())) if last_words => {
                    let _unreachable = timeout(LAST_WORDS, bridge.acknowledge_server()).await;
                }
                Ok(_) => {}
                Err(_) => return result.and(Err(RelayError::Unread(drain_timeout))),
            }
            return result;
        }
    }
}

/// What became of requests under way, if something else can take the server's place now.
fn fate_of_lost(happened: &Happened) -> Option<Fate<'static>> {
    match happened {
        Happened::ServerFailed(EndpointError::Link(LinkError::Lost)) => Some(LOST),
        Happened::ServerEnded(Ending::Drained) => Some(ENDED),
        _ => None,
    }
}

/// Resolves at `time`, or never.
async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A server that we refuse, or that refuses us, is an event of its own.
fn record_refusal(audit: &dyn AuditSink, server: &str, error: &EndpointError) {
    let EndpointError::Link(LinkError::Refused(refusal)) = error else { return };
    let event =
        Event::ConnectionRefused { address: None, peer: None, server: Some(server), refusal };
    if let Err(error) = audit.record(&event) {
        tracing::error!(%error, "the audit log failed");
    }
}

/// Why a relay ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// An endpoint failed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The client did not read its last answers.
    #[error("the client did not read its last answers within {0:?}; they are lost")]
    Unread(Duration),
    /// The server is suspended, or whoever calls it is shut out.
    #[error("{0}")]
    Refused(Refusal),
    /// The server's process ended with an error.
    #[error("the server's process ended with an error; its log is on the serving side")]
    ServerFailed,
}
