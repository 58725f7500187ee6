//! From a TCP connection to a conversation: TLS, the peer's name, the hello.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::server::Acceptor as RustlsAcceptor;
use sealwire_audit::{Connection, Event};
use sealwire_identity::{VerifiedPeer, io_refusal};
use sealwire_names::{PeerId, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Service;
use super::barred::Barred;
use super::conversations::{Attach, Conversations};
use super::current::CurrentGate;
use super::limits::Places;
use super::offer::{ListenerKey, Offer, Offered};
use super::session::{Cut, Patience, Session};
use crate::child::Server;
use crate::conversation::Conversation;
use crate::link;
use crate::link::frame::{Frame, Resume, Welcome};
use crate::link::{
    ALPN, Attachment, Attachments, Connected, DEFAULT_WINDOW, FrameError, LinkEndpoint, Tcp, Wire,
    buffered, read_frame, write_frame,
};

/// A fatal `unrecognized_name` alert (RFC 8446 §6.2), in clear as every alert before the
/// ServerHello is: there is no configuration yet under which rustls could send it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// How long a refused peer may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What all listeners of a process have in common.
pub(super) struct Shared {
    pub(super) offered: Arc<Offered>,
    pub(super) places: Arc<Places>,
    pub(super) conversations: Arc<Conversations>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) tasks: TaskTracker,
    pub(super) barred: watch::Sender<Barred>,
    pub(super) refused: AtomicU64,
}

impl Shared {
    /// How many connections were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether the peer is not kept out by now.
    fn check_barred(&self, peer: &VerifiedPeer, server: &str) -> Result<(), Refusal> {
        self.barred.borrow().check(peer, server)
    }
}

/// What a listener needs to take connections.
pub(super) struct Acceptor {
    pub(super) key: ListenerKey,
    pub(super) shared: Arc<Shared>,
}

/// A refused connection, as far as its peer is known.
struct Refused {
    refusal: Refusal,
    peer: Option<PeerId>,
    server: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, peer: None, server: None }
    }
}

/// A peer that has said what it wants.
struct Greeted {
    wire: Wire<TlsStream<Tcp>>,
    peer: VerifiedPeer,
    service: Arc<Service>,
    hello: Wanted,
}

/// An owned [`crate::link::frame::Hello`], without the server's name.
struct Wanted {
    resume: Option<Resume>,
    received: u64,
    window: u32,
    max_message: usize,
}

impl Acceptor {
    /// Takes one connection, to its refusal or into its conversation.
    pub(super) async fn take(&self, tcp: TcpStream, address: SocketAddr) {
        let limits = Arc::clone(&self.offer().limits);
        let limit = limits.handshake_timeout;
        let full = || {
            let reason = format!("{} connections are open", limits.max_connections);
            Refused::from(Refusal::new(RefusalCode::ConnectionLimit, reason))
        };
        let greeted = async {
            let mut stranger = self.shared.places.take().await.ok_or_else(full)?;
            let place = stranger.place.take();
            tokio::select! {
                greeted = self.greet(tcp, place) => greeted,
                _ = &mut stranger.displaced => Err(full()),
            }
        };
        let outcome = match timeout(limit, greeted).await {
            Ok(Ok(greeted)) => self.admit(greeted, address).await,
            Ok(Err(refused)) => Err(refused),
            Err(_) => {
                let reason = format!("the handshake was not complete after {limit:?}");
                Err(Refusal::new(RefusalCode::HandshakeTimeout, reason).into())
            }
        };
        if let Err(Refused { refusal, peer, server }) = outcome {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            self.record(&Event::ConnectionRefused {
                address: Some(address),
                peer: peer.as_ref(),
                server: server.as_deref(),
                refusal: &refusal,
            });
        }
    }

    async fn greet(
        &self,
        tcp: TcpStream,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Greeted, Refused> {
        tcp.set_nodelay(true).map_err(|error| io_refusal(&error))?;
        let (service, stream) = self.handshake(tcp).await?;
        let mut wire = Wire::new(stream);
        match self.identify(&mut wire, &service, place).await {
            Ok((service, peer, hello)) => Ok(Greeted { wire, peer, service, hello }),
            Err((refusal, peer)) => {
                decline(wire, refusal.code).await;
                let server = Some(service.server_name.clone());
                Err(Refused { refusal, peer, server })
            }
        }
    }

    /// Who the peer is, whether it may have another connection, and what it wants. An
    /// error carries the peer's name once that is verified.
    async fn identify(
        &self,
        wire: &mut Wire<TlsStream<Tcp>>,
        service: &Service,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(Arc<Service>, VerifiedPeer, Wanted), (Refusal, Option<PeerId>)> {
        let name = &service.server_name;
        let speaks_link = wire.stream.get_ref().1.alpn_protocol() == Some(ALPN);
        let (service, peer) = self.verify(wire, name).map_err(|refusal| (refusal, None))?;
        let known = |refusal| (refusal, Some(peer.id.clone()));
        self.shared.check_barred(&peer, &service.server_name).map_err(known)?;
        if !speaks_link {
            let reason = "the peer does not speak sealwire/1";
            return Err(known(Refusal::new(RefusalCode::TlsProtocol, reason)));
        }
        let most = self.offer().limits.max_connections_per_peer;
        let peer_place = self.shared.places.take_for(&peer.id, most).ok_or_else(|| {
            let reason = format!("the peer has {most} connections open");
            known(Refusal::new(RefusalCode::PeerLimit, reason))
        })?;
        wire.permits = Some(Box::new((place, peer_place)));
        let hello = read_hello(wire, name).await.map_err(known)?;
        // The configuration may have been replaced while we waited for the hello.
        if self.service(name).is_ok_and(|now| Arc::ptr_eq(&now, &service)) {
            return Ok((service, peer, hello));
        }
        let (service, peer) = self.verify(wire, name).map_err(known)?;
        Ok((service, peer, hello))
    }

    /// Verifies the peer as the server's configuration wants it now. rustls has verified
    /// it in full handshakes only, and with the configuration the handshake began with.
    fn verify(
        &self,
        wire: &Wire<TlsStream<Tcp>>,
        server_name: &str,
    ) -> Result<(Arc<Service>, VerifiedPeer), Refusal> {
        let service = self.service(server_name)?;
        let chain = wire.stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = service.verifier.verify(chain, None, SystemTime::now().into())?;
        Ok((service, peer))
    }

    /// The server of that name, if it is served on this address now.
    fn service(&self, name: &str) -> Result<Arc<Service>, Refusal> {
        self.offer().service(&self.key, name).cloned().ok_or_else(|| {
            let reason = format!("no server {name:?} is served on this address");
            Refusal::new(RefusalCode::UnknownServer, reason)
        })
    }

    fn offer(&self) -> Arc<Offer> {
        self.shared.offered.now()
    }

    /// TLS, with the configuration of the server that SNI names.
    async fn handshake(&self, tcp: TcpStream) -> Result<(Arc<Service>, TlsStream<Tcp>), Refused> {
        let mut acceptor = LazyConfigAcceptor::new(RustlsAcceptor::default(), buffered(tcp));
        let start = match (&mut acceptor).await {
            Ok(start) => start,
            Err(error) => {
                if let Some(tcp) = acceptor.take_io() {
                    linger(tcp).await;
                }
                return Err(io_refusal(&error).into());
            }
        };
        let asked_for = start.client_hello().server_name().map(str::to_owned);
        let service = match &asked_for {
            Some(name) => self.service(name),
            None => {
                let reason = "the peer named no server (SNI is missing)";
                Err(Refusal::new(RefusalCode::UnknownServer, reason))
            }
        };
        let service = match service {
            Ok(service) => service,
            Err(refusal) => {
                let mut tcp = start.io;
                if tcp.write_all(&UNRECOGNIZED_NAME).await.is_ok() {
                    linger(tcp).await;
                }
                return Err(Refused { server: asked_for, ..refusal.into() });
            }
        };
        let shaken = start.into_stream(Arc::clone(&service.tls)).into_fallible();
        let shaken = if service.waits { off_worker(shaken).await } else { shaken.await };
        match shaken {
            Ok(stream) => Ok((service, stream)),
            Err((error, tcp)) => {
                linger(tcp).await;
                let refusal = service.verifier.refusal(&error, SystemTime::now().into());
                Err(Refused { server: asked_for, ..refusal.into() })
            }
        }
    }

    /// Hands the connection to its conversation, an old one or a new one.
    async fn admit(&self, greeted: Greeted, address: SocketAddr) -> Result<(), Refused> {
        let Greeted { wire, peer, service, hello } = greeted;
        let peer = Arc::new(peer);
        let (cipher, group) = negotiated(wire.stream.get_ref().1);
        let connection = Connection {
            address,
            peer: &peer.id,
            fingerprint: &peer.fingerprint,
            server: &service.server_name,
            cipher: &cipher,
            group: &group,
        };
        // Once more: it may have changed while we waited for the hello.
        let admissible = self.shared.check_barred(&peer, &service.server_name);
        let opened = admissible.and_then(|()| match &hello.resume {
            Some(resume) => self
                .shared
                .conversations
                .resume(resume, &peer.id, &service.server_name)
                .map(|attach| (attach, resume.handle, None)),
            None => self
                .open(&peer, &service)
                .map(|(attach, handle, session)| (attach, handle, Some(session))),
        });
        let (attach, handle, session) = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                decline(wire, refusal.code).await;
                let server = Some(service.server_name.clone());
                return Err(Refused { refusal, peer: Some(peer.id.clone()), server });
            }
        };
        let event = match session {
            None => Event::ConnectionResumed(&connection),
            Some(_) => Event::ConnectionAccepted(&connection),
        };
        self.record(&event);
        if let Some(session) = session {
            self.shared.tasks.spawn(session.run());
        }
        let attachment = self.attachment(wire, &peer, handle, &hello, attach.max_message);
        if attach.connections.try_send(attachment).is_err() {
            let reason = "the conversation has just ended, or too many connections wait for it";
            let refusal = Refusal::new(RefusalCode::ResumeUnknown, reason);
            let server = Some(service.server_name.clone());
            return Err(Refused { refusal, peer: Some(peer.id.clone()), server });
        }
        Ok(())
    }

    /// Starts the server of a new conversation.
    fn open(
        &self,
        peer: &Arc<VerifiedPeer>,
        service: &Service,
    ) -> Result<(Attach, link::Handle, Session<LinkEndpoint<Attachments>>), Refusal> {
        if *self.shared.draining.borrow() {
            return Err(Refusal::new(RefusalCode::Draining, "we are shutting down"));
        }
        let connected = self.shared.places.taken_by(&peer.id);
        let offer = self.offer();
        let limits = &offer.limits;
        let detached = (self.shared.conversations.count_of(&peer.id) + 1).saturating_sub(connected);
        if detached > limits.max_detached_per_peer {
            let reason = format!("{detached} conversations of this peer wait for it to come back");
            return Err(Refusal::new(RefusalCode::PeerLimit, reason));
        }
        let server_name: Arc<str> = service.server_name.as_str().into();
        let started = Server::start(&service.child, &server_name, limits.max_message);
        let (server, endpoint) = started.map_err(|error| {
            let reason = format!("cannot start {:?}: {error}", service.child.command);
            Refusal::new(start_refusal(&error), reason)
        })?;
        let (present, presented) = watch::channel(Arc::clone(peer));
        let (registered, attach, attachments) = self.shared.conversations.open(
            presented.clone(),
            Arc::clone(&server_name),
            limits.max_message,
        );
        let offered = Arc::clone(&self.shared.offered);
        let barred = self.shared.barred.subscribe();
        let tally = Arc::clone(&registered.tally);
        let of_now = (barred.clone(), presented.clone());
        let gate = CurrentGate::new(offered, Arc::clone(&server_name), of_now, tally);
        let (of_now, name) = (barred.clone(), Arc::clone(&server_name));
        let admits =
            Box::new(move |peer: &VerifiedPeer| of_now.borrow().check(peer, &name).is_ok());
        let attachments = Attachments::new(attachments, present, admits, limits.resume_window);
        let (max_message, idle_timeout) = (limits.max_message, limits.idle_timeout);
        let audit = Arc::clone(&offer.audit);
        let conversation = Conversation::new(
            Some(peer.id.clone()),
            Arc::clone(&server_name),
            Arc::new(gate),
            Arc::clone(&audit),
        );
        let handle = registered.handle;
        let session = Session {
            client: LinkEndpoint::new(attachments, max_message, DEFAULT_WINDOW, idle_timeout),
            conversation: conversation
                .with_presented(presented.clone())
                .with_pins(service.pins.clone()),
            peer: Some(peer.id.clone()),
            registered: Some(registered),
            server_name,
            server,
            endpoint,
            patience: Patience {
                drain: limits.drain_timeout,
                resume: limits.resume_window,
                awake: Duration::ZERO,
            },
            audit,
            draining: self.shared.draining.clone(),
            cut: Cut::of_peer(barred, presented),
        };
        Ok((attach, handle, session))
    }

    /// The connection, with a welcome that will tell what had been received when the
    /// conversation took it.
    fn attachment(
        &self,
        wire: Wire<TlsStream<Tcp>>,
        verified: &Arc<VerifiedPeer>,
        handle: [u8; 16],
        hello: &Wanted,
        max_message: usize,
    ) -> Attachment {
        let peer = verified.id.to_string();
        let instance = self.shared.conversations.instance();
        let max_message = u32::try_from(max_message).unwrap_or(u32::MAX);
        let greeting = move |received| {
            let welcome = Welcome {
                instance,
                handle,
                received,
                window: DEFAULT_WINDOW,
                max_message,
                peer: &peer,
            };
            let mut bytes = Vec::new();
            Frame::Welcome(welcome).encode(&mut bytes);
            bytes
        };
        Attachment {
            generation: hello.resume.map_or(0, |resume| resume.generation),
            peer: Arc::clone(verified),
            connected: Connected {
                wire,
                peer_received: hello.received,
                peer_window: hello.window,
                peer_max_message: hello.max_message,
                valid_until: verified
                    .not_after
                    .min(self.shared.barred.borrow().revocations.valid_until()),
                greeting: Some(Box::new(greeting)),
            },
        }
    }

    fn record(&self, event: &Event<'_>) {
        if let Err(error) = self.offer().audit.record(event) {
            tracing::error!(%error, "the audit log failed");
        }
    }
}

/// The cipher suite and the key exchange group, by their names at IANA.
fn negotiated(tls: &rustls::ServerConnection) -> (String, String) {
    let cipher = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    // rustls has the version in it, too.
    let cipher = cipher.unwrap_or_default().replacen("TLS13_", "TLS_", 1);
    let group = tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    (cipher, group.unwrap_or_default())
}

/// What keeps a server from being started: itself, or a system that has no more files,
/// processes or memory at this moment, which passes.
fn start_refusal(error: &io::Error) -> RefusalCode {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM) => {
            RefusalCode::ConnectionLimit
        }
        _ => RefusalCode::ServerStart,
    }
}

async fn read_hello(wire: &mut Wire<TlsStream<Tcp>>, server_name: &str) -> Result<Wanted, Refusal> {
    let hello = read_frame(wire, |frame| match frame {
        Frame::Hello(hello) if hello.server_name == server_name => Ok(Wanted {
            resume: hello.resume,
            received: hello.received,
            window: hello.window,
            max_message: hello.max_message as usize,
        }),
        Frame::Hello(hello) => {
            let reason = format!(
                "the handshake named {server_name:?}, the hello names {:?}",
                hello.server_name
            );
            Err(Refusal::new(RefusalCode::ServerNameMismatch, reason))
        }
        _ => Err(Refusal::new(RefusalCode::LinkProtocol, "the first frame is not a hello")),
    });
    hello.await.map_err(|error| {
        // A frame was the peer's own. Anything else may be the work of whoever is between us,
        // who can cut TLS records, and garble them.
        let is_frame = matches!(error.get_ref(), Some(inner) if inner.is::<FrameError>());
        if is_frame {
            return Refusal::new(RefusalCode::LinkProtocol, format!("no hello: {error}"));
        }
        let reason = format!("after the TLS handshake, and before a hello: {error}");
        Refusal::new(RefusalCode::ConnectionLost, reason)
    })?
}

/// Runs what keeps its thread waiting in one that nobody else waits for, where the runtime has others.
async fn off_worker<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
        return future.await;
    }
    poll_fn(|context| block_in_place(|| future.as_mut().poll(context))).await
}

/// Tells a peer that it is refused, and lets it read that.
async fn decline(mut wire: Wire<TlsStream<Tcp>>, code: RefusalCode) {
    if write_frame(&mut wire.stream, &Frame::refusal(code)).await.is_ok() {
        linger(wire.stream).await;
    }
}

/// Closes our direction and reads on for a moment: closing a socket that holds unread
/// bytes resets the connection, and takes the alert that explains the refusal with it.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let reading = async {
        stream.shutdown().await?;
        let mut sink = [0; 512];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // However this ends, the connection is closed.
    let _closed = timeout(LINGER, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_resources_is_told_from_a_server_that_cannot_start() {
        for errno in [24, 23, 11, 12] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(start_refusal(&error), RefusalCode::ConnectionLimit, "{error}");
        }
        let missing = io::ErrorKind::NotFound.into();
        assert_eq!(start_refusal(&missing), RefusalCode::ServerStart);
    }
}
