//! The connecting side's carrier: dials, and dials again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use sealwire_identity::{PeerVerifier, Revocations, VerifiedPeer, io_refusal};
use sealwire_names::{PeerId, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::endpoint::{Carrier, Connected, LinkState};
use super::frame::{Frame, Handle, Hello, InstanceId, Resume};
use super::greeting::{Wire, read_frame, write_frame};
use super::session::DEFAULT_WINDOW;
use super::violation::Violation;
use super::{ALPN, LinkError, Tcp, buffered};

/// First pause between two attempts; doubled after each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whom we are to a server, and how it is verified.
#[derive(Clone)]
pub struct DialIdentity {
    /// Our certificate, and how the server's is verified.
    pub tls: Arc<rustls::ClientConfig>,
    /// Verifies the server once more after each handshake, resumed ones included.
    pub verifier: Arc<PeerVerifier>,
}

/// Gives the identity that holds at the moment. Called before each dial, by the task that
/// relays: it must not wait for anything.
pub type IdentitySource = Arc<dyn Fn() -> DialIdentity + Send + Sync>;

/// What it takes to reach one MCP server.
#[derive(Clone)]
pub struct DialConfig {
    /// `host:port`.
    pub endpoint: String,
    /// The server's name: SNI, hello, and the last segment of `server`.
    pub server_name: String,
    /// The name its certificate must carry.
    pub server: PeerId,
    /// Who we are and whom we trust. Asked for each dial anew, so that a conversation of
    /// weeks comes back with the certificate of today.
    pub identity: IdentitySource,
    /// What is revoked. Asked after each handshake; a connection that stands ends when the
    /// server's certificate is in it.
    pub revocations: watch::Receiver<Arc<Revocations>>,
    /// Longest time from the first byte to the end of the greeting.
    pub handshake_timeout: Duration,
    /// Largest message we accept, in bytes.
    pub max_message: usize,
}

/// Dials one MCP server.
pub struct Dialer {
    config: DialConfig,
}

/// A verified connection, before any greeting.
pub struct Dialed<T> {
    /// The connection.
    pub stream: TlsStream<T>,
    /// The server, as verified.
    pub server: VerifiedPeer,
}

impl Dialer {
    /// A dialer for one server.
    pub fn new(config: DialConfig) -> Self {
        Self { config }
    }

    /// What it was made from.
    pub fn config(&self) -> &DialConfig {
        &self.config
    }

    /// Connects and verifies the server.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Refused`] where trying again is of no use.
    pub async fn dial(&self) -> Result<Dialed<TcpStream>, LinkError> {
        self.dial_over(|tcp| tcp).await
    }

    async fn dial_over<T>(&self, wrap: impl Fn(TcpStream) -> T) -> Result<Dialed<T>, LinkError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.config.handshake_timeout;
        let late = |_| LinkError::Timeout { endpoint: self.config.endpoint.clone(), limit };
        timeout(limit, self.handshake(wrap)).await.map_err(late)?
    }

    async fn handshake<T>(&self, wrap: impl Fn(TcpStream) -> T) -> Result<Dialed<T>, LinkError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let unreachable =
            |source| LinkError::Unreachable { endpoint: self.config.endpoint.clone(), source };
        let tcp = TcpStream::connect(&self.config.endpoint).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let name = ServerName::try_from(self.config.server_name.clone()).map_err(|_| {
            let reason = format!("{:?} cannot stand in a TLS handshake", self.config.server_name);
            LinkError::Refused(Refusal::new(RefusalCode::UnknownServer, reason))
        })?;
        let DialIdentity { tls, verifier } = (self.config.identity)();
        let connecting = TlsConnector::from(tls).connect(name, wrap(tcp));
        let stream = connecting.await.map_err(|error| {
            let why = |error: &io::Error| verifier.refusal(error, SystemTime::now().into());
            self.tls_error(error, why)
        })?;
        let tls = stream.get_ref().1;
        if tls.alpn_protocol() != Some(ALPN) {
            let reason = "the server does not speak sealwire/1";
            return Err(LinkError::Refused(Refusal::new(RefusalCode::TlsProtocol, reason)));
        }
        // rustls verifies full handshakes only; a resumed one is verified here.
        let chain = tls.peer_certificates().unwrap_or_default();
        let now = SystemTime::now().into();
        let verified = verifier.verify(chain, Some(&self.config.server), now);
        let server = verified.map_err(LinkError::Refused)?;
        let revocations = Arc::clone(&self.config.revocations.borrow());
        revocations.check_peer(&server, now).map_err(LinkError::Refused)?;
        Ok(Dialed { stream, server })
    }

    /// Greets the serving side.
    async fn greet(
        &self,
        resume: Option<Resume>,
        received: u64,
    ) -> Result<(Connected<TlsStream<Tcp>>, Conversation), LinkError> {
        let Dialed { stream, server } = self.dial_over(buffered).await?;
        let known_until = self.config.revocations.borrow().valid_until();
        let valid_until = server.not_after.min(known_until);
        let mut wire = Wire::new(stream);
        let hello = Hello {
            server_name: &self.config.server_name,
            resume,
            received,
            window: DEFAULT_WINDOW,
            max_message: u32::try_from(self.config.max_message).unwrap_or(u32::MAX),
        };
        let exchange = async {
            write_frame(&mut wire.stream, &Frame::Hello(hello)).await?;
            read_frame(&mut wire, |frame| match frame {
                Frame::Welcome(welcome) => Ok(Greeting {
                    conversation: Conversation {
                        instance: welcome.instance,
                        handle: welcome.handle,
                        we_are: welcome.peer.to_owned(),
                        server,
                    },
                    received: welcome.received,
                    window: welcome.window,
                    max_message: welcome.max_message as usize,
                }),
                Frame::Refused(word) => Err(legible(word)),
                _ => Err(String::from("link_protocol")),
            })
            .await
        };
        let limit = self.config.handshake_timeout;
        let late = |_| LinkError::Timeout { endpoint: self.config.endpoint.clone(), limit };
        let answer = timeout(limit, exchange).await.map_err(late)?;
        // In TLS 1.3 the serving side judges our certificate after our last flight, so
        // its refusal arrives here.
        let greeting = answer.map_err(|error| self.tls_error(error, io_refusal))?.map_err(
            |word: String| {
                if resume.is_some() && word == RefusalCode::ResumeUnknown.as_str() {
                    return LinkError::Lost;
                }
                LinkError::Declined(word)
            },
        )?;
        let same = resume.is_none_or(|resume| {
            let Conversation { instance, handle, .. } = greeting.conversation;
            (resume.instance, resume.handle) == (instance, handle)
        });
        if !same {
            return Err(Violation::OtherConversation.into());
        }
        let connected = Connected {
            wire,
            peer_received: greeting.received,
            peer_window: greeting.window,
            peer_max_message: greeting.max_message,
            valid_until,
            greeting: None,
        };
        Ok((connected, greeting.conversation))
    }

    fn tls_error(&self, error: io::Error, why: impl Fn(&io::Error) -> Refusal) -> LinkError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if inner.is_some() {
            return LinkError::Refused(why(&error));
        }
        LinkError::Interrupted { endpoint: self.config.endpoint.clone(), source: error }
    }
}

/// The peer's word, as far as it is one: it ends up on a terminal.
fn legible(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(40).collect()
}

struct Greeting {
    conversation: Conversation,
    received: u64,
    window: u32,
    max_message: usize,
}

/// What the serving side said in its welcome.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The serving side's run.
    pub instance: InstanceId,
    /// The conversation's handle.
    pub handle: Handle,
    /// Our own name, as the serving side verified it.
    pub we_are: String,
    /// The serving side, as we verified it.
    pub server: VerifiedPeer,
}

type Attempt = Pin<
    Box<dyn Future<Output = Result<(Connected<TlsStream<Tcp>>, Conversation), LinkError>> + Send>,
>;

/// A carrier that dials until a time is over: at first, and after each cut.
pub struct Redial {
    dialer: Arc<Dialer>,
    reconnect_timeout: Duration,
    /// The same before the first connection, if that is another time.
    first_timeout: Option<Duration>,
    /// When that is over, while we dial.
    expiry: Pin<Box<Sleep>>,
    /// Why the latest attempt failed.
    last: Option<String>,
    conversation: Option<Conversation>,
    generation: u64,
    attempt: Option<Attempt>,
    pause: Pin<Box<Sleep>>,
    next_pause: Duration,
    down_since: Option<Instant>,
    /// The conversation takes the place of another, which was lost.
    in_place: bool,
}

impl Redial {
    /// A carrier for one conversation. Must be called within a tokio runtime.
    pub fn new(dialer: Arc<Dialer>, reconnect_timeout: Duration) -> Self {
        Self {
            dialer,
            reconnect_timeout,
            first_timeout: None,
            expiry: Box::pin(sleep_until(Instant::now())),
            last: None,
            conversation: None,
            generation: 0,
            attempt: None,
            pause: Box::pin(sleep_until(Instant::now())),
            next_pause: FIRST_PAUSE,
            down_since: None,
            in_place: false,
        }
    }

    /// A carrier for a conversation that takes the place of one lost since `down_since`. Its
    /// first attempt comes after `pause`.
    pub(crate) fn in_place_of_another(
        dialer: Arc<Dialer>,
        reconnect_timeout: Duration,
        down_since: Instant,
        pause: Duration,
    ) -> Self {
        let mut redial = Self::new(dialer, reconnect_timeout);
        redial.pause = Box::pin(sleep_until(Instant::now() + pause));
        redial.down_since = Some(down_since);
        redial.in_place = true;
        redial
    }

    /// The same, for another time as long as there was no connection at all.
    #[must_use]
    pub(crate) fn first_within(self, limit: Duration) -> Self {
        Self { first_timeout: Some(limit), ..self }
    }

    /// Since when there is no connection, if there is none.
    pub(crate) fn down_since(&self) -> Option<Instant> {
        self.down_since
    }

    /// What the serving side said in its latest welcome.
    pub fn conversation(&self) -> Option<&Conversation> {
        self.conversation.as_ref()
    }

    fn start(&mut self, received: u64) -> Attempt {
        // Each attempt has a number of its own, so that a hello which was held up
        // somewhere cannot displace the connection of a later one.
        self.generation += 1;
        let generation = self.generation;
        let resume = self.conversation.as_ref().map(|conversation| Resume {
            instance: conversation.instance,
            handle: conversation.handle,
            generation,
        });
        let dialer = Arc::clone(&self.dialer);
        Box::pin(async move { dialer.greet(resume, received).await })
    }

    /// How long to dial from now on, after a cut or before the first connection.
    pub(crate) fn keep_trying_for(&mut self, reconnect_timeout: Duration) {
        self.reconnect_timeout = reconnect_timeout;
        self.first_timeout = None;
    }

    fn limit(&self) -> Duration {
        self.first_timeout.unwrap_or(self.reconnect_timeout)
    }

    /// Ready when the time is over, also in the middle of an attempt: the other end may be silent.
    fn poll_expiry(&mut self, cx: &mut Context<'_>, down_since: Instant) -> Poll<LinkError> {
        let limit = self.limit();
        // A first and only attempt has a time of its own; so has what takes another's place.
        if limit.is_zero() || self.in_place {
            return Poll::Pending;
        }
        let over = down_since + limit;
        if self.expiry.deadline() != over {
            self.expiry.as_mut().reset(over);
        }
        ready!(self.expiry.as_mut().poll(cx));
        let endpoint = &self.dialer.config().endpoint;
        let last = self.last.take().unwrap_or_else(|| format!("{endpoint} does not answer"));
        Poll::Ready(LinkError::GaveUp { waited: limit, last })
    }

    /// Whether a failed attempt is the last one.
    fn judge(&mut self, error: LinkError, down_since: Instant) -> Option<LinkError> {
        // Our own dead connection may still count until the serving side notices.
        let at_limit = matches!(&error, LinkError::Declined(word)
            if (self.conversation.is_some() || self.in_place) && word == RefusalCode::PeerLimit.as_str());
        let limit = self.limit();
        if !(error.is_transient() || at_limit) || limit.is_zero() {
            return Some(error);
        }
        if down_since.elapsed() >= limit {
            return Some(LinkError::GaveUp { waited: limit, last: error.to_string() });
        }
        if self.next_pause == FIRST_PAUSE {
            tracing::warn!(%error, "no connection; trying again for {limit:?}");
        } else {
            tracing::debug!(%error, "still no connection");
        }
        self.last = Some(error.to_string());
        self.pause.as_mut().reset(Instant::now() + self.next_pause);
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        None
    }
}

impl Carrier for Redial {
    type Stream = TlsStream<Tcp>;

    fn poll_connect(
        &mut self,
        cx: &mut Context<'_>,
        state: LinkState,
    ) -> Poll<Result<Connected<Self::Stream>, LinkError>> {
        if state.is_connected {
            return Poll::Pending;
        }
        let down_since = *self.down_since.get_or_insert_with(Instant::now);
        if let Poll::Ready(error) = self.poll_expiry(cx, down_since) {
            self.attempt = None;
            return Poll::Ready(Err(error));
        }
        loop {
            if self.attempt.is_none() {
                ready!(self.pause.as_mut().poll(cx));
                self.attempt = Some(self.start(state.received));
            }
            let Some(attempt) = &mut self.attempt else { continue };
            let outcome = ready!(attempt.as_mut().poll(cx));
            self.attempt = None;
            match outcome {
                Ok((connected, conversation)) => {
                    self.conversation = Some(conversation);
                    (self.first_timeout, self.last) = (None, None);
                    self.down_since = None;
                    self.next_pause = FIRST_PAUSE;
                    return Poll::Ready(Ok(connected));
                }
                Err(error) => {
                    if let Some(last) = self.judge(error, down_since) {
                        return Poll::Ready(Err(last));
                    }
                }
            }
        }
    }
}
