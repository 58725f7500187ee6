//! The service: whoever is invited gets a certificate, once, and whoever has joined another one.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealwire::Snapshot;
use sealwire::config::SecureMcpConfig;
use sealwire::invitations::Invitations;
use sealwire_identity::join::{
    ALPN, RENEWAL_ALPN, renewal_server_config, server_config, tls_exporter,
};
use sealwire_identity::{TrustAnchors, io_refusal};
use sealwire_names::{Refusal, RefusalCode};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::DEADLINE;
use super::doors::{Doors, Place};
use super::grants;
use super::renewals::{Asking, Renewals};
use super::wire::{self, Answer, MAX_REQUEST, RenewalAnswer, RenewalRequest, Request, Why};
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
        let service = Self { config, tls: Mutex::new(None), renewals: Renewals::default() };
        service.tls()?;
        Ok(service)
    }

    /// Serves for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut doors = Doors::default();
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
        let failed = match asked {
            Asked::Join(_) => Answered::Join(Answer::Refused { why: Why::Failed }),
            Asked::Renewal(..) => Answered::Renewal(RenewalAnswer::Refused { why: Why::Failed }),
        };
        let answered = tokio::task::spawn_blocking(move || match asked {
            Asked::Join(request) => {
                let who = (address, &place);
                Answered::Join(grants::answer(&self.config, &request, exporter, who))
            }
            // He is a peer, and goes before strangers.
            Asked::Renewal(request, chain) if place.keep() => {
                let asking = Asking { chain: &chain, address, exporter };
                Answered::Renewal(self.renewals.answer(&self.config, &request, &asking))
            }
            Asked::Renewal(..) => Answered::Renewal(RenewalAnswer::Refused { why: Why::Failed }),
        });
        let answer = answered.await.unwrap_or(failed);
        let answering = async {
            wire::write(&mut stream, &answer).await?;
            stream.shutdown().await
        };
        timeout(DEADLINE, answering).await.map_err(late)?.map_err(|error| lost(&error))
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
        let renews = offered.is_some_and(|mut names| names.any(|name| name == RENEWAL_ALPN));
        let tls = if renews { tls.renewal } else { tls.join };
        let mut stream = begun.into_stream(tls).await.map_err(|error| io_refusal(&error))?;
        let exporter = tls_exporter(stream.get_ref().1)
            .map_err(|error| failed(RefusalCode::TlsHandshake, error.to_string()))?;
        let asked = match stream.get_ref().1.alpn_protocol() {
            Some(RENEWAL_ALPN) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                let request = wire::read(&mut stream, MAX_REQUEST).await;
                Asked::Renewal(request.map_err(|error| lost(&error))?, chain)
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
        let files = Snapshot::take([home.ca_cert(), home.ca_key(), self.config.ca_cert.clone()]);
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
