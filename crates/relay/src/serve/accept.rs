//! From a TCP connection to a conversation: TLS, the peer's name, the hello.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::Acceptor as RustlsAcceptor;
use sealwire_audit::{AuditSink, Connection, Event};
use sealwire_guard::Gate;
use sealwire_identity::{VerifiedPeer, io_refusal};
use sealwire_names::{PeerId, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Service;
use super::conversations::{Conversations, Registered};
use super::limits::{Limits, Places};
use super::session::Session;
use crate::child::Server;
use crate::link::frame::{Frame, Resume, Welcome};
use crate::link::{
    ALPN, Attachment, Attachments, Connected, DEFAULT_WINDOW, Tcp, Wire, buffered, read_frame,
    write_frame,
};

/// A fatal `unrecognized_name` alert (RFC 8446 §6.2), in clear as every alert before the
/// ServerHello is: there is no configuration yet under which rustls could send it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// How long a refused peer may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What a listener needs to take connections.
pub(super) struct Acceptor {
    /// By lower-case server name.
    pub(super) services: HashMap<String, Arc<Service>>,
    pub(super) limits: Arc<Limits>,
    pub(super) places: Arc<Places>,
    pub(super) conversations: Arc<Conversations>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) tasks: TaskTracker,
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
        let limit = self.limits.handshake_timeout;
        let full = || {
            let reason = format!("{} connections are open", self.limits.max_connections);
            Refused::from(Refusal::new(RefusalCode::ConnectionLimit, reason))
        };
        let greeted = async {
            let mut stranger = self.places.take().await.ok_or_else(full)?;
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
            Ok((peer, hello)) => Ok(Greeted { wire, peer, service, hello }),
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
    ) -> Result<(VerifiedPeer, Wanted), (Refusal, Option<PeerId>)> {
        let tls = wire.stream.get_ref().1;
        let speaks_link = tls.alpn_protocol() == Some(ALPN);
        // rustls verifies full handshakes only; a resumed one is verified here.
        let chain = tls.peer_certificates().unwrap_or_default();
        let verified = service.verifier.verify(chain, None, SystemTime::now().into());
        let peer = verified.map_err(|refusal| (refusal, None))?;
        let known = |refusal| (refusal, Some(peer.id.clone()));
        if !speaks_link {
            let reason = "the peer does not speak sealwire/1";
            return Err(known(Refusal::new(RefusalCode::TlsProtocol, reason)));
        }
        let peer_place = self.places.take_for(&peer.id).ok_or_else(|| {
            let most = self.limits.max_connections_per_peer;
            let reason = format!("the peer has {most} connections open");
            known(Refusal::new(RefusalCode::PeerLimit, reason))
        })?;
        wire.permits = Some(Box::new((place, peer_place)));
        let hello = read_hello(wire, &service.server_name).await.map_err(known)?;
        Ok((peer, hello))
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
        let service =
            asked_for.as_ref().and_then(|name| self.services.get(&name.to_ascii_lowercase()));
        let Some(service) = service else {
            let mut tcp = start.io;
            if tcp.write_all(&UNRECOGNIZED_NAME).await.is_ok() {
                linger(tcp).await;
            }
            let reason = match &asked_for {
                Some(name) => format!("no server {name:?} is served on this address"),
                None => "the peer named no server (SNI is missing)".to_owned(),
            };
            let refusal = Refusal::new(RefusalCode::UnknownServer, reason);
            return Err(Refused { server: asked_for, ..refusal.into() });
        };
        match start.into_stream(Arc::clone(&service.tls)).into_fallible().await {
            Ok(stream) => Ok((Arc::clone(service), stream)),
            Err((error, tcp)) => {
                linger(tcp).await;
                Err(Refused { server: asked_for, ..io_refusal(&error).into() })
            }
        }
    }

    /// Hands the connection to its conversation, an old one or a new one.
    async fn admit(&self, greeted: Greeted, address: SocketAddr) -> Result<(), Refused> {
        let Greeted { wire, peer, service, hello } = greeted;
        let connection = Connection {
            address,
            peer: &peer.id,
            fingerprint: &peer.fingerprint,
            server: &service.server_name,
        };
        let opened = match &hello.resume {
            Some(resume) => self
                .conversations
                .resume(resume, &peer.id, &service.server_name)
                .map(|attach| (attach, resume.handle, None)),
            None => self.open(&peer, &service).map(|(attach, session)| {
                let handle = session.handle();
                (attach, handle, Some(session))
            }),
        };
        let (attach, handle, session) = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                decline(wire, refusal.code).await;
                let server = Some(service.server_name.clone());
                return Err(Refused { refusal, peer: Some(peer.id), server });
            }
        };
        let event = match session {
            None => Event::ConnectionResumed(&connection),
            Some(_) => Event::ConnectionAccepted(&connection),
        };
        self.record(&event);
        if let Some(session) = session {
            self.tasks.spawn(session.run());
        }
        let attachment = self.attachment(wire, &peer, handle, &hello);
        if attach.try_send(attachment).is_err() {
            let reason = "the conversation has just ended, or too many connections wait for it";
            let refusal = Refusal::new(RefusalCode::ResumeUnknown, reason);
            let server = Some(service.server_name.clone());
            return Err(Refused { refusal, peer: Some(peer.id), server });
        }
        Ok(())
    }

    /// Starts the server of a new conversation.
    fn open(
        &self,
        peer: &VerifiedPeer,
        service: &Service,
    ) -> Result<(mpsc::Sender<Attachment>, Session), Refusal> {
        if *self.draining.borrow() {
            return Err(Refusal::new(RefusalCode::Draining, "we are shutting down"));
        }
        let connected = self.places.taken_by(&peer.id);
        let detached = (self.conversations.count_of(&peer.id) + 1).saturating_sub(connected);
        if detached > self.limits.max_detached_per_peer {
            let reason = format!("{detached} conversations of this peer wait for it to come back");
            return Err(Refusal::new(RefusalCode::PeerLimit, reason));
        }
        let server_name: Arc<str> = service.server_name.as_str().into();
        let started = Server::start(&service.child, &server_name, self.limits.max_message);
        let (server, endpoint) = started.map_err(|error| {
            let reason = format!("cannot start {:?}: {error}", service.child.command);
            Refusal::new(RefusalCode::ServerStart, reason)
        })?;
        let (registered, attach, attachments) =
            self.conversations.open(peer.id.clone(), Arc::clone(&server_name));
        let session = Session {
            registered,
            peer: peer.id.clone(),
            server_name,
            server,
            endpoint,
            attachments: Attachments::new(attachments, self.limits.resume_window),
            limits: Arc::clone(&self.limits),
            gate: Arc::clone(&self.gate),
            audit: Arc::clone(&self.audit),
            draining: self.draining.clone(),
        };
        Ok((attach, session))
    }

    /// The connection, with a welcome that will tell what had been received when the
    /// conversation took it.
    fn attachment(
        &self,
        wire: Wire<TlsStream<Tcp>>,
        peer: &VerifiedPeer,
        handle: [u8; 16],
        hello: &Wanted,
    ) -> Attachment {
        let peer = peer.id.to_string();
        let instance = self.conversations.instance();
        let max_message = u32::try_from(self.limits.max_message).unwrap_or(u32::MAX);
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
            connected: Connected {
                wire,
                peer_received: hello.received,
                peer_window: hello.window,
                peer_max_message: hello.max_message,
                greeting: Some(Box::new(greeting)),
            },
        }
    }

    fn record(&self, event: &Event<'_>) {
        if let Err(error) = self.audit.record(event) {
            tracing::error!(%error, "the audit log failed");
        }
    }
}

impl Session {
    fn handle(&self) -> [u8; 16] {
        let Registered { handle, .. } = &self.registered;
        *handle
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
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let reason = "the peer went away after the TLS handshake";
            return Refusal::new(RefusalCode::LinkProtocol, reason);
        }
        Refusal::new(RefusalCode::LinkProtocol, format!("no hello: {error}"))
    })?
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
