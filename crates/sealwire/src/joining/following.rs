//! Going by what the authority says is revoked: the side of another machine.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealwire::config::SecureMcpConfig;
use sealwire::denylist::Denylist;
use sealwire::home::{CertificatePair, Home};
use sealwire::revocations::ListFiles;
use sealwire::state::State;
use sealwire_identity::join::{LISTS_ALPN, renewal_client_config};
use sealwire_identity::{
    Credential, RevocationLists, TrustAnchors, authorities_below, files, handshake_refusal,
    io_refusal, parse_pem_certificates,
};
use sealwire_names::{Refusal, Timestamp, TrustDomain};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::DEADLINE;
use super::renewal::check_service;
use super::wire::{self, Lists, ListsAnswer, ListsRequest, VERSION, Why};
use crate::cli::Failure;

/// Pauses between attempts to reach the service: doubled from the one to the other.
const SOONEST: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(5);
/// The pause after we were told that we are revoked ourselves.
const REVOKED: Duration = Duration::from_secs(60);

/// Follows the authority's lists until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Following(Option<AbortHandle>);

impl Following {
    /// Begins, if the configuration says where, presenting that certificate. What a list says is
    /// handed to `learn`, which tells what is wrong with it. Must be called within a tokio runtime.
    pub(crate) fn start<F: Future<Output = Result<(), String>> + Send + 'static>(
        config: &SecureMcpConfig,
        pair: Option<CertificatePair>,
        learn: impl Fn(Denylist) -> F + Send + Sync + 'static,
    ) -> Self {
        let (Some(service), Some(pair)) = (&config.renew_from, pair) else { return Self(None) };
        let own_list = config.layout().ca_dir().join(CRL_FILE);
        let follower = Follower {
            home: config.layout(),
            lists: ListFiles::of(config),
            service: service.clone(),
            anchors: config.ca_cert.clone(),
            crl: config.crl.contains(&own_list).then_some(own_list),
            pair,
            learn,
        };
        Self(Some(tokio::spawn(follower.keep()).abort_handle()))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Takes what is revoked into the state of a home, from which whoever connects reads it.
pub(crate) fn learn_in(home: Home) -> impl Fn(Denylist) -> LearnedInHome + Send + Sync + 'static {
    move |list| {
        let home = home.clone();
        Box::pin(async move {
            let learning = spawn_blocking(move || State::open(&home)?.learn(&list));
            let learned = learning.await.map_err(|error| error.to_string())?;
            learned.map_err(|error| error.to_string())?.map(drop)
        })
    }
}

type LearnedInHome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The authority's own list of RFC 5280, in its directory.
pub(crate) const CRL_FILE: &str = "ca-crl.pem";

struct Follower<L> {
    home: Home,
    lists: ListFiles,
    service: String,
    anchors: PathBuf,
    /// Where lists of RFC 5280 go, if they are gone by.
    crl: Option<PathBuf>,
    pair: CertificatePair,
    learn: L,
}

impl<F, L> Follower<L>
where
    F: Future<Output = Result<(), String>> + Send,
    L: Fn(Denylist) -> F + Send + Sync,
{
    async fn keep(self) {
        let mut told = None;
        let mut pause = SOONEST;
        loop {
            let (mut is_told, mut is_revoked) = (false, false);
            let failure = match self.follow(&mut is_told).await {
                Ok(None) => None,
                Ok(Some(why)) => {
                    is_revoked = why == Why::Revoked;
                    Some(self.refused(why).one_line())
                }
                Err(failure) => Some(failure.one_line()),
            };
            if is_told {
                (pause, told) = (SOONEST, None);
            }
            if let Some(reason) = failure.as_ref().filter(|_| failure != told) {
                tracing::warn!(reason, "the authority does not tell what is revoked");
            }
            told = failure;
            sleep(if is_revoked { REVOKED } else { pause }).await;
            pause = LATEST.min(pause * 2);
        }
    }

    fn refused(&self, why: Why) -> Failure {
        let why = match why {
            Why::Revoked => "our certificate is revoked",
            _ => "its log tells why",
        };
        Failure::new("the authority's service does not tell us").at(&self.service).because(why)
    }

    /// Takes what the service tells until it ends, or tells why it says nothing more. `is_told`
    /// once it has told anything.
    async fn follow(&self, is_told: &mut bool) -> Result<Option<Why>, Failure> {
        let own = Credential::load(&self.pair.cert, &self.pair.key)?;
        let connecting = timeout(DEADLINE, self.connect(&own)).await;
        let late = || Failure::new("the authority's service does not answer").at(&self.service);
        let mut stream = connecting.map_err(|_| late())??;
        let service = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        check_service(&self.home, &self.lists, &service).map_err(|refusal| {
            Failure::new("the authority's service is not believed")
                .at(&self.service)
                .because(refusal)
        })?;
        let mut patience = DEADLINE;
        loop {
            let answer = timeout(patience, wire::read(&mut stream, wire::MAX_LISTS)).await;
            let answer = match answer.map_err(|_| late())? {
                // Our certificate has been renewed, perhaps, or the service starts anew.
                Err(error) if *is_told && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                answer => answer.map_err(|error| self.unreachable(io_refusal(&error)))?,
            };
            match answer {
                ListsAnswer::Lists(lists) => {
                    // It is told anew several times within the age that is allowed.
                    patience = match self.take(lists, &own, &service).await {
                        Ok(patience) => patience.max(DEADLINE),
                        // Signed by an authority that has taken another's place since: by a new
                        // connection the service proves itself by that one.
                        Err(failure) if *is_told => {
                            let reason = failure.one_line();
                            tracing::info!(reason, "asks anew what is revoked");
                            return Ok(None);
                        }
                        Err(failure) => return Err(failure),
                    };
                    *is_told = true;
                }
                ListsAnswer::Refused { why } => return Ok(Some(why)),
            }
        }
    }

    async fn connect(&self, own: &Credential) -> Result<TlsStream<TcpStream>, Failure> {
        let anchors = TrustAnchors::load(&self.anchors, own.id().trust_domain().clone())?;
        let tcp = TcpStream::connect(&self.service).await;
        let tcp = tcp.map_err(|error| self.unreachable(io_refusal(&error)))?;
        let name = tcp.peer_addr().map(|address| ServerName::from(address.ip()));
        let name = name.map_err(|error| self.unreachable(io_refusal(&error)))?;
        let anchors = Arc::new(anchors);
        let tls = renewal_client_config(own, Arc::clone(&anchors), LISTS_ALPN)?;
        let connecting = TlsConnector::from(tls).connect(name, tcp).await;
        let mut stream = connecting.map_err(|error| {
            let now = SystemTime::now().into();
            self.unreachable(handshake_refusal(&error, &anchors, now))
        })?;
        let asked = wire::write(&mut stream, &ListsRequest { version: VERSION }).await;
        asked.map_err(|error| self.unreachable(io_refusal(&error)))?;
        Ok(stream)
    }

    /// Goes by a list, and tells how long it may take to the next one.
    async fn take(
        &self,
        lists: Lists,
        own: &Credential,
        service: &[CertificateDer<'_>],
    ) -> Result<Duration, Failure> {
        let wrong = |why: String| {
            Failure::new("what the authority's service says is revoked is not believed")
                .at(&self.service)
                .because(why)
        };
        let now = SystemTime::now().into();
        let signature = wire::decode(&lists.signature).unwrap_or_default();
        let domain = own.id().trust_domain();
        let issuers = self.issuers(service, domain, now)?;
        let list = Denylist::read(&lists.text, &signature, &issuers, domain, now).map_err(wrong)?;
        let patience = list.edition.max_age / 2;
        (self.learn)(list).await.map_err(wrong)?;
        if let (Some(file), Some(crl)) = (&self.crl, &lists.crl) {
            self.keep_crl(file, crl)?;
        }
        Ok(patience)
    }

    /// Whoever may have signed it: the anchors, and the authority below one by which the service
    /// has proven itself. It need not be the one that has issued our own certificate any more.
    fn issuers(
        &self,
        service: &[CertificateDer<'_>],
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let anchors = parse_pem_certificates(&files::read_public(&self.anchors)?)
            .map_err(|problem| Failure::new(problem.to_string()).at(self.anchors.display()))?;
        let below = authorities_below(&anchors, service, domain, now);
        Ok([anchors, below].concat())
    }

    /// Replaces the list of RFC 5280, which is taken up because its file changes.
    fn keep_crl(&self, file: &Path, crl: &str) -> Result<(), Failure> {
        if files::read_public(file).is_ok_and(|held| held == crl.as_bytes()) {
            return Ok(());
        }
        let issuers = [self.anchors.as_path(), self.pair.cert.as_path()];
        let (now, label) = (SystemTime::now().into(), &self.service);
        let new = RevocationLists::from_pem(crl.as_bytes(), label, &issuers, now)?;
        // What is there may be out of date, and then nothing is behind it.
        if let Ok(held) = RevocationLists::load(&[file], &issuers, now) {
            new.check_follows(&held).map_err(|why| Failure::new(why).at(label))?;
        }
        Ok(files::write_atomic(file, crl.as_bytes(), files::PUBLIC_FILE)?)
    }

    fn unreachable(&self, refusal: Refusal) -> Failure {
        Failure::new("the authority's service cannot be reached")
            .at(&self.service)
            .because(refusal)
            .fix("see that `sealwire ca serve` runs there; its log tells more")
    }
}
