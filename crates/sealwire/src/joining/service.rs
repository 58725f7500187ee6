//! The service: whoever is invited gets a certificate, once.
//!
//! Nobody is known here before he has proven an invitation. So there are few connections at a
//! time, each for a short time and two messages of bounded size; a newcomer takes the place of
//! the oldest; and one address is served only so often.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sealwire::Snapshot;
use sealwire::config::SecureMcpConfig;
use sealwire::invitations::{Denied, Invitation, Invitations};
use sealwire::revocations::ListFiles;
use sealwire_audit::ChangeKind;
use sealwire_identity::join::{
    ALPN, Binding, RENEWAL_ALPN, Secret, Side, renewal_server_config, server_config, tls_exporter,
    verify_peer,
};
use sealwire_identity::{RequestedKey, TrustAnchors, io_refusal};
use sealwire_names::{PeerId, Refusal, RefusalCode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use super::DEADLINE;
use super::wire::{
    self, Answer, Grant, MAX_REQUEST, RenewalAnswer, RenewalRequest, Request, VERSION, Why,
};
use crate::cli::Failure;
use crate::commands::{Terms, leaf_request, open_authority};
use crate::control::note;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// So often is one address served within [`WINDOW`].
const MOST_OF_ONE: u32 = 30;
const WINDOW: Duration = Duration::from_secs(10);
/// Addresses that are counted apart; all others are counted as one.
const MOST_ADDRESSES: usize = 4096;
/// How long the service's own certificate is valid, and how long it is used.
const VALIDITY: Duration = Duration::from_secs(24 * 3600);
const USED: Duration = Duration::from_secs(3600);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The service of one home's authority.
pub(crate) struct Service {
    config: SecureMcpConfig,
    tls: Mutex<Option<Held>>,
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

/// Why somebody was not let in.
struct Refused {
    /// What he is told.
    why: Why,
    /// What we know.
    reason: String,
    /// Whose invitation it is about, if there is one: that is evidence. Strangers could fill the
    /// log with anything else.
    invited: Option<PeerId>,
}

impl Service {
    /// # Errors
    /// If this home has no authority that could certify anybody.
    pub(crate) fn new(config: SecureMcpConfig) -> Result<Self, Failure> {
        Invitations::open(&config.layout())?;
        let service = Self { config, tls: Mutex::new(None) };
        service.tls()?;
        Ok(service)
    }

    /// Serves for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        let mut seen = Seen::default();
        loop {
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if !seen.may_go_on(address.ip(), Instant::now()) {
                tracing::debug!(%address, "too many connections of one address");
                continue;
            }
            open.retain(|other| !other.is_finished());
            if open.len() >= MAX_CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let serving = tokio::spawn(Arc::clone(&self).take(tcp, address));
            open.push_back(serving.abort_handle());
        }
    }

    async fn take(self: Arc<Self>, tcp: TcpStream, address: SocketAddr) {
        match timeout(DEADLINE, self.converse(tcp, address)).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => tracing::info!(%address, %refusal, "connection refused"),
            Err(_) => {
                let code = RefusalCode::HandshakeTimeout;
                tracing::info!(%address, %code, "connection refused");
            }
        }
    }

    async fn converse(self: Arc<Self>, tcp: TcpStream, address: SocketAddr) -> Result<(), Refusal> {
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
        match stream.get_ref().1.alpn_protocol() {
            Some(RENEWAL_ALPN) => return self.converse_renewal(stream, address).await,
            Some(ALPN) => {}
            _ => {
                let reason = "the peer names no protocol (ALPN)".to_owned();
                return Err(failed(RefusalCode::TlsProtocol, reason));
            }
        }
        let exporter = tls_exporter(stream.get_ref().1)
            .map_err(|error| failed(RefusalCode::TlsHandshake, error.to_string()))?;
        let lost = |error: io::Error| failed(RefusalCode::ConnectionLost, error.to_string());
        let request: Request = wire::read(&mut stream, MAX_REQUEST).await.map_err(lost)?;
        let answered =
            tokio::task::spawn_blocking(move || self.answer(&request, exporter, address)).await;
        let answer = answered.unwrap_or(Answer::Refused { why: Why::Failed });
        wire::write(&mut stream, &answer).await.map_err(lost)?;
        stream.shutdown().await.map_err(lost)
    }

    async fn converse_renewal(
        self: Arc<Self>,
        mut stream: TlsStream<TcpStream>,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let lost = |error: io::Error| Refusal::new(RefusalCode::ConnectionLost, error.to_string());
        let request: RenewalRequest = wire::read(&mut stream, MAX_REQUEST).await.map_err(lost)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let answered = tokio::task::spawn_blocking(move || {
            self.renew(&request, &chain, address).unwrap_or_else(
                |Refused { why, reason, .. }| {
                    tracing::warn!(%address, reason, "renewal refused");
                    RenewalAnswer::Refused { why }
                },
            )
        });
        let failed = RenewalAnswer::Refused { why: Why::Failed };
        let answer = answered.await.unwrap_or(failed);
        wire::write(&mut stream, &answer).await.map_err(lost)?;
        stream.shutdown().await.map_err(lost)
    }

    /// Another certificate for whoever presents one that is good now: for the same name and key,
    /// as long as when he joined.
    fn renew(
        &self,
        request: &RenewalRequest,
        chain: &[CertificateDer<'static>],
        address: SocketAddr,
    ) -> Result<RenewalAnswer, Refused> {
        if request.version != VERSION {
            return Err(Refused::stranger(Why::Malformed, "it is of another version"));
        }
        let anchors = self.anchors().map_err(|why| Refused::failed(why.one_line()))?;
        let now = SystemTime::now().into();
        let verified = verify_peer(&anchors, chain, now);
        let peer = verified.map_err(|refusal| Refused::stranger(Why::Malformed, refusal))?;
        let lists = ListFiles::of(&self.config).load(now).map_err(Refused::failed)?;
        let invitations = Invitations::open(&self.config.layout()).map_err(Refused::failed)?;
        let failed = |why: Failure| Refused::failed(why.one_line());
        let authority = open_authority(&self.config).map_err(failed)?;
        let revocations = authority.revocations().clone().with_lists(lists);
        revocations
            .check_peer(&peer, now)
            .map_err(|refusal| Refused::stranger(Why::Revoked, refusal))?;
        let peer = peer.id;
        let validity = invitations.lifetime(&peer).map_err(Refused::failed)?.ok_or_else(|| {
            Refused::stranger(Why::NotJoined, format!("{peer} has not joined by an invitation"))
        })?;
        let key = RequestedKey::of_certificate(&chain[0]).map_err(Refused::failed)?;
        let request = leaf_request(&peer, &Terms { validity, ..Terms::default() });
        let issued = authority.issue_for(&request, &key).map_err(failed)?;
        let until = issued.not_after;
        let detail = format!("renewed from {}, until {until}", address.ip());
        note(&self.config, ChangeKind::CertificateIssued, &peer, &detail);
        tracing::info!(%peer, %address, %until, "renewed");
        let ca_cert = authority.certificate_pem().to_owned();
        Ok(RenewalAnswer::Renewed { certificate: issued.cert_pem, ca_cert })
    }

    fn anchors(&self) -> Result<Arc<TrustAnchors>, Failure> {
        let SecureMcpConfig { ca_cert, trust_domain, .. } = &self.config;
        Ok(Arc::new(TrustAnchors::load(ca_cert, trust_domain.clone())?))
    }

    fn answer(&self, request: &Request, exporter: [u8; 32], address: SocketAddr) -> Answer {
        match self.decide(request, exporter, address) {
            Ok(granted) => granted,
            Err(Refused { why, reason, invited }) => {
                let code = RefusalCode::InvitationRefused;
                tracing::warn!(%address, %code, reason, "join refused");
                if let Some(peer) = invited {
                    let detail = format!("from {}: {reason}", address.ip());
                    note(&self.config, ChangeKind::JoinRefused, &peer, &detail);
                }
                Answer::Refused { why }
            }
        }
    }

    fn decide(
        &self,
        request: &Request,
        exporter: [u8; 32],
        address: SocketAddr,
    ) -> Result<Answer, Refused> {
        let malformed = |what: &str| Refused::stranger(Why::Malformed, what.to_owned());
        if request.version != VERSION {
            return Err(malformed("it is of another version"));
        }
        let token = wire::token_id(&request.invitation)
            .ok_or_else(|| malformed("the invitation's name is none"))?;
        let proof = wire::decode(&request.proof).ok_or_else(|| malformed("the proof is none"))?;
        let key = RequestedKey::parse(request.certificate_request.as_bytes())
            .map_err(|refusal| malformed(&refusal.to_string()))?;
        let binding = Binding { exporter, request: key.digest() };
        let mut invitations = Invitations::open(&self.config.layout()).map_err(Refused::failed)?;
        let now = SystemTime::now().into();
        let proves = |secret: &Secret| secret.verify(Side::Client, &binding, &proof);
        let taken = invitations.take(&token, now, proves).map_err(Refused::failed)?;
        let (invitation, secret) = taken.map_err(Refused::denied)?;
        let Invitation { peer, made, lifetime, servers, .. } = invitation;
        // The invitation is used up: that is to be found again.
        let failed = |why: &dyn Display| {
            Refused::known(Why::Failed, format!("the authority failed: {why}"), &peer)
        };
        let terms = Terms { validity: lifetime, ..Terms::default() };
        let authority = open_authority(&self.config).map_err(|why| failed(&why.one_line()))?;
        if authority.revocations().of_name(&peer).is_some_and(|revoked| revoked >= made) {
            return Err(Refused::known(Why::Revoked, "the name was revoked since", &peer));
        }
        let issued = authority.issue_for(&leaf_request(&peer, &terms), &key);
        let issued = issued.map_err(|why| failed(&why.one_line()))?;
        let grant = Grant {
            id: peer.to_string(),
            certificate: issued.cert_pem,
            ca_cert: authority.certificate_pem().to_owned(),
            servers: serde_json::from_str(&servers).map_err(|why| failed(&why))?,
        };
        let grant = serde_json::to_string(&grant).map_err(|why| failed(&why))?;
        let until = issued.not_after;
        let detail = format!("joined from {}, until {until}", address.ip());
        note(&self.config, ChangeKind::CertificateIssued, &peer, &detail);
        tracing::info!(%peer, %address, %until, "joined");
        let side = Side::Service { answer: grant.as_bytes() };
        let proof = wire::encode(&secret.prove(side, &binding));
        Ok(Answer::Granted { grant, proof })
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
            renewal: renewal_server_config(&credential, self.anchors()?)?,
        };
        *held = Some(Held { since: Instant::now(), authority: files, tls: tls.clone() });
        Ok(tls)
    }
}

impl Refused {
    fn stranger(why: Why, reason: impl Display) -> Self {
        Self { why, reason: reason.to_string(), invited: None }
    }

    fn known(why: Why, reason: impl Display, invited: &PeerId) -> Self {
        Self { invited: Some(invited.clone()), ..Self::stranger(why, reason) }
    }

    fn failed(error: impl Display) -> Self {
        Self::stranger(Why::Failed, format!("the authority failed: {error}"))
    }

    fn denied(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::stranger(Why::Unproven, "there is no such invitation"),
            // Nothing new, as often as anybody wants.
            Denied::Dead(peer) => Self::stranger(
                Why::Unproven,
                format!("too many attempts to join as {peer} were refused"),
            ),
            Denied::Unproven(peer) => {
                Self::known(Why::Unproven, "the invitation was not proven", &peer)
            }
            Denied::Used(peer) => Self::known(Why::Used, "the invitation has been used", &peer),
            Denied::Expired(peer) => Self::known(Why::Expired, "the invitation has expired", &peer),
        }
    }
}

/// How often each address came within the present window.
#[derive(Default)]
struct Seen {
    window: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
    others: u32,
}

impl Seen {
    fn may_go_on(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *self = Self { window: Some(now), ..Self::default() };
        }
        let has_room = self.counts.len() < MOST_ADDRESSES;
        let count = match self.counts.get_mut(&address) {
            Some(count) => count,
            None if has_room => self.counts.entry(address).or_default(),
            None => &mut self.others,
        };
        *count = count.saturating_add(1);
        *count <= MOST_OF_ONE
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use sealwire::state::State;
    use sealwire_identity::join::Token;
    use sealwire_identity::{
        CertificateAuthority, KeyAlgorithm, LeafRequest, Revoked, parse_pem_certificates,
    };

    use super::*;

    /// What is issued to a name just after it was revoked is good: so nobody may get it whose
    /// check was just before.
    #[test]
    fn a_revocation_amid_a_renewal_is_not_passed_by() {
        let dir = tempfile::tempdir().unwrap();
        let config = SecureMcpConfig::parse(dir.path(), "").unwrap();
        let (home, domain) = (config.layout(), config.trust_domain.clone());
        let hour = Duration::from_secs(3600);
        let ca = CertificateAuthority::create(&home.ca_dir(), &domain, hour).unwrap();
        let id: PeerId = format!("spiffe://{domain}/core/laptop").parse().unwrap();
        let made = SystemTime::now().into();
        let (lifetime, servers) = (Duration::from_secs(60), "{}".to_owned());
        let expires = (SystemTime::now() + hour).into();
        let invitation = Invitation { peer: id.clone(), made, expires, lifetime, servers };
        let token = Token::generate().unwrap();
        let mut invitations = Invitations::open(&home).unwrap();
        invitations.add(&token.id(), &token.secret(), &invitation).unwrap();
        invitations.take(&token.id(), made, |_| true).unwrap().unwrap();
        drop(State::open(&home).unwrap());
        let key_algorithm = KeyAlgorithm::EcdsaP256;
        let (dns, ip) = (Vec::new(), Vec::new());
        let leaf = LeafRequest { id: id.clone(), dns, ip, validity: lifetime, key_algorithm };
        let chain = parse_pem_certificates(ca.issue(&leaf).unwrap().cert_pem.as_bytes()).unwrap();
        let service = Service::new(config).unwrap();
        let renew = || {
            let address = (Ipv4Addr::LOCALHOST, 1).into();
            service.renew(&RenewalRequest { version: VERSION }, &chain, address)
        };
        assert!(matches!(renew(), Ok(RenewalAnswer::Renewed { .. })));

        // Whoever renews waits for the one who writes the revocation.
        let db = rusqlite::Connection::open(home.state_file()).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let answer = thread::scope(|scope| {
            let renewing = scope.spawn(renew);
            thread::sleep(Duration::from_millis(300));
            let what = Revoked::Name(id);
            let insert =
                "INSERT INTO revoked (kind, what, reason, at) VALUES (?1, ?2, 'stolen', ?3)";
            let at = sealwire_names::Timestamp::from(SystemTime::now()).unix_millis();
            db.execute(insert, (what.kind(), what.text(), at)).unwrap();
            db.execute_batch("COMMIT").unwrap();
            renewing.join().unwrap()
        });
        assert!(matches!(answer, Err(Refused { why: Why::Revoked, .. })));
    }

    #[test]
    fn an_address_is_served_only_so_often() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let address = |number: u32| IpAddr::from(Ipv4Addr::from_bits(number));
        for _ in 0..MOST_OF_ONE {
            assert!(seen.may_go_on(address(1), start));
        }
        assert!(!seen.may_go_on(address(1), start));
        assert!(seen.may_go_on(address(2), start));
        assert!(!seen.may_go_on(address(1), start + WINDOW - Duration::from_millis(1)));
        assert!(seen.may_go_on(address(1), start + WINDOW));
        let addresses = u32::try_from(MOST_ADDRESSES).unwrap() + MOST_OF_ONE;
        (2..addresses).for_each(|number| {
            seen.may_go_on(address(number), start + WINDOW);
        });
        assert!(seen.may_go_on(address(addresses), start + WINDOW));
        assert!(!seen.may_go_on(address(addresses + 1), start + WINDOW));
        assert!(seen.counts.len() <= MOST_ADDRESSES);
    }
}
