//! The service: whoever is invited gets a certificate, once, and whoever has joined another one.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealwire::Snapshot;
use sealwire::config::SecureMcpConfig;
use sealwire::invitations::Invitations;
use sealwire_identity::join::{
    ALPN, LISTS_ALPN, RENEWAL_ALPN, renewal_server_config, server_config, tls_exporter,
};
use sealwire_identity::{TrustAnchors, io_refusal};
use sealwire_names::{Refusal, RefusalCode};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::DEADLINE;
use super::doors::{Doors, Place};
use super::grants::{self, Refused};
use super::lists::Publisher;
use super::renewals::{Asking, Renewals};
use super::wire::{
    self, Answer, ListsAnswer, ListsRequest, MAX_REQUEST, RenewalAnswer, RenewalRequest, Request,
    Why,
};
use crate::cli::Failure;
use crate::commands::open_authority;

/// How long the service's own certificate is valid, and how long it is used.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);
const USED: Duration = Duration::from_secs(3600);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The service of one home's authority.
pub(crate) struct Service {
    config: SecureMcpConfig,
    tls: Mutex<Option<Held>>,
    renewals: Renewals,
    publisher: Arc<Publisher>,
}

/// TLS for each of the two protocols.
#[derive(Clone)]
struct Tls {
    join: Arc<ServerConfig>,
    renewal: Arc<ServerConfig>,
}

/// TLS with a certificate that was issued for it.
struct Held {
    since: Instant,
    authority: Snapshot,
    tls: Tls,
}

/// What somebody asks for.
enum Asked {
    Join(Request),
    Renewal(RenewalRequest, Vec<CertificateDer<'static>>),
    Lists(ListsRequest, Vec<CertificateDer<'static>>),
}

/// What he is answered.
#[derive(Serialize)]
#[serde(untagged)]
enum Answered {
    Join(Answer),
    Renewal(RenewalAnswer),
}

impl Service {
    /// # Errors
    /// If this home has no authority that could certify anybody.
    pub(crate) fn new(config: SecureMcpConfig) -> Result<Self, Failure> {
        Invitations::open(&config.layout())?;
        let publisher = Arc::new(Publisher::new(config.clone()));
        let (tls, renewals) = (Mutex::new(None), Renewals::default());
        let service = Self { config, tls, renewals, publisher };
        service.tls()?;
        Ok(service)
    }

    /// Serves for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut doors = Doors::default();
        tokio::spawn(Arc::clone(&self.publisher).keep());
        loop {
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = doors.admit(address.ip(), Instant::now()) else {
                tracing::debug!(%address, "too many connections");
                continue;
            };
            let serving = tokio::spawn(Arc::clone(&self).take(tcp, address, place.clone()));
            doors.seat(place, serving.abort_handle());
        }
    }

    async fn take(self: Arc<Self>, tcp: TcpStream, address: SocketAddr, place: Place) {
        if let Err(refusal) = self.converse(tcp, address, place).await {
            tracing::info!(%address, %refusal, "connection refused");
        }
    }

    /// Of bounded time for what the peer does. What we do waits for the disk, and for who writes.
    async fn converse(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        place: Place,
    ) -> Result<(), Refusal> {
        let late = |_| Refusal::new(RefusalCode::HandshakeTimeout, "nothing came for too long");
        let heard = timeout(DEADLINE, self.hear(tcp)).await.map_err(late)?;
        let (mut stream, asked, exporter) = heard?;
        let answer = match asked {
            Asked::Join(request) => {
                let answering =
                    move || grants::answer(&self.config, &request, exporter, (address, &place));
                let failed = Answer::Refused { why: Why::Failed };
                Answered::Join(spawn_blocking(answering).await.unwrap_or(failed))
            }
            Asked::Renewal(request, chain) => {
                let failed = RenewalAnswer::Refused { why: Why::Failed };
                let answering = move || {
                    // He is a peer, and goes before strangers.
                    place.keep().then(|| {
                        let asking = Asking { chain: &chain, address };
                        self.renewals.answer(&self.config, &request, &asking)
                    })
                };
                let answer = spawn_blocking(answering).await.unwrap_or(None);
                Answered::Renewal(answer.unwrap_or(failed))
            }
            Asked::Lists(request, chain) => {
                return self.tell(stream, request, chain, (address, &place)).await;
            }
        };
        let answering = async {
            wire::write(&mut stream, &answer).await?;
            stream.shutdown().await
        };
        timeout(DEADLINE, answering).await.map_err(late)?.map_err(|error| lost(&error))
    }

    /// Tells a peer what is revoked, for as long as he listens.
    async fn tell(
        self: Arc<Self>,
        mut stream: TlsStream<TcpStream>,
        request: ListsRequest,
        chain: Vec<CertificateDer<'static>>,
        (address, place): (SocketAddr, &Place),
    ) -> Result<(), Refusal> {
        let this = Arc::clone(&self);
        let admitted = spawn_blocking(move || this.publisher.admit(&request, &chain)).await;
        let admitted = admitted.unwrap_or_else(|error| Err(Refused::failed(error)));
        match admitted {
            Ok(peer) if place.leave() => {
                tracing::info!(peer = %peer.id, %address, "is told what is revoked");
                let told = self.publisher.tell(stream, &peer, address.ip()).await;
                tracing::info!(peer = %peer.id, %address, "is no longer told what is revoked");
                told.map_err(|error| lost(&error))
            }
            Ok(_) => Ok(()),
            Err(Refused { why, reason, .. }) => {
                tracing::warn!(%address, reason, "not told what is revoked");
                let answer = ListsAnswer::Refused { why };
                let written = timeout(DEADLINE, wire::write(&mut stream, &answer)).await;
                written.unwrap_or_else(|late| Err(late.into())).map_err(|error| lost(&error))
            }
        }
    }

    /// The connection, what is asked for by it, and what is bound to it.
    async fn hear(
        &self,
        tcp: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Asked, [u8; 32]), Refusal> {
        let failed = |code, reason: String| Refusal::new(code, reason);
        let tls = self.tls().map_err(|error| {
            tracing::error!(error = error.one_line(), "nobody can join");
            failed(RefusalCode::TlsHandshake, "the authority cannot be used".to_owned())
        })?;
        let begun = LazyConfigAcceptor::new(Acceptor::default(), tcp).await;
        let begun = begun.map_err(|error| io_refusal(&error))?;
        let offered = begun.client_hello().alpn();
        let is_peer = |name: &[u8]| name == RENEWAL_ALPN || name == LISTS_ALPN;
        let is_peer = offered.is_some_and(|mut names| names.any(is_peer));
        let tls = if is_peer { tls.renewal } else { tls.join };
        let mut stream = begun.into_stream(tls).await.map_err(|error| io_refusal(&error))?;
        let exporter = tls_exporter(stream.get_ref().1)
            .map_err(|error| failed(RefusalCode::TlsHandshake, error.to_string()))?;
        let asked = match stream.get_ref().1.alpn_protocol() {
            Some(RENEWAL_ALPN) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                let request = wire::read(&mut stream, MAX_REQUEST).await;
                Asked::Renewal(request.map_err(|error| lost(&error))?, chain)
            }
            Some(LISTS_ALPN) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                let request = wire::read(&mut stream, MAX_REQUEST).await;
                Asked::Lists(request.map_err(|error| lost(&error))?, chain)
            }
            Some(ALPN) => {
                let request = wire::read(&mut stream, MAX_REQUEST).await;
                Asked::Join(request.map_err(|error| lost(&error))?)
            }
            _ => {
                let reason = "the peer names no protocol (ALPN)".to_owned();
                return Err(failed(RefusalCode::TlsProtocol, reason));
            }
        };
        Ok((stream, asked, exporter))
    }

    /// TLS with a certificate of the authority that there is now.
    fn tls(&self) -> Result<Tls, Failure> {
        let home = self.config.layout();
        let own = home.authority_files();
        let files = Snapshot::take(own.into_iter().chain([self.config.ca_cert.clone()]));
        let mut held = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Held { since, authority, tls }) = &*held
            && since.elapsed() < USED
            && *authority == files
        {
            return Ok(tls.clone());
        }
        let credential = open_authority(&self.config)?.service(VALIDITY)?;
        let tls = Tls {
            join: server_config(&credential)?,
            renewal: renewal_server_config(&credential, anchors(&self.config)?)?,
        };
        *held = Some(Held { since: Instant::now(), authority: files, tls: tls.clone() });
        Ok(tls)
    }
}

/// Whom this home trusts.
pub(super) fn anchors(config: &SecureMcpConfig) -> Result<Arc<TrustAnchors>, Failure> {
    Ok(Arc::new(TrustAnchors::load(&config.ca_cert, config.trust_domain.clone())?))
}

fn lost(error: &io::Error) -> Refusal {
    Refusal::new(RefusalCode::ConnectionLost, error.to_string())
}
