//! Certificates that renew themselves, at the authority's service.
//!
//! The key stays, so that one file is replaced, in one step: whoever reads it has the old
//! certificate or the new one, and never one that does not fit its key.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealwire::config::SecureMcpConfig;
use sealwire::home::{CertificatePair, Home};
use sealwire::revocations::{ListFiles, revoked};
use sealwire_identity::join::{RENEWAL_ALPN, renewal_client_config, verify_peer};
use sealwire_identity::{
    CertificateSummary, Credential, Revocations, TrustAnchors, describe, encode_pem, files,
    handshake_refusal, io_refusal, parse_pem_certificates,
};
use sealwire_names::{Refusal, Timestamp, TrustDomain};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::DEADLINE;
use super::anchors::SignedAnchors;
use super::wire::{self, RenewalAnswer, RenewalRequest, VERSION, Why};
use crate::cli::Failure;
use crate::commands::{HomeLock, leaf};

/// A certificate is renewed at a random point between these thousandths of its life, so that not
/// all that began together come back together.
const EARLIEST: u32 = 600;
const LATEST: u32 = 733;
/// So long before it was issued, our authority's certificates are valid.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// After a failure it is tried again so often within a life, and within these bounds.
const ATTEMPTS: u32 = 20;
const SOONEST: Duration = Duration::from_secs(1);
const LATEST_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How soon it is looked again whether the home is still locked.
const LOCKED: Duration = Duration::from_millis(50);
/// The clock may be set, and others may renew the same certificate.
const LOOK: Duration = Duration::from_secs(60);

/// Renews certificates of a home until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Renewing(Vec<AbortHandle>);

impl Renewing {
    /// Begins, if the configuration says where. Must be called within a tokio runtime.
    pub(crate) fn start(config: &SecureMcpConfig, pairs: Vec<CertificatePair>) -> Self {
        let Some(authority) = &config.renew_from else { return Self(Vec::new()) };
        let begin = |pair| {
            let renewer = Renewer {
                home: config.layout(),
                lists: ListFiles::of(config),
                anchors: config.ca_cert.clone(),
                authority: authority.clone(),
                pair,
            };
            tokio::spawn(renewer.keep()).abort_handle()
        };
        Self(pairs.into_iter().map(begin).collect())
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Keeps one certificate from expiring.
struct Renewer {
    home: Home,
    lists: ListFiles,
    anchors: PathBuf,
    authority: String,
    pair: CertificatePair,
}

/// What the service has answered.
struct Renewed {
    certificate: String,
    anchors: Option<SignedAnchors>,
}

impl Renewer {
    async fn keep(self) {
        let mut part = random_part();
        loop {
            let pause = match self.wait(part) {
                Ok(left) if !left.is_zero() => left.min(LOOK),
                Ok(_) => match self.renew(part).await {
                    Ok(Some(until)) => {
                        tracing::info!(cert = %self.pair.cert.display(), %until, "certificate renewed");
                        part = random_part();
                        continue;
                    }
                    Ok(None) => continue,
                    Err(failure) => self.failed(&failure),
                },
                Err(failure) => self.failed(&failure),
            };
            sleep(pause).await;
        }
    }

    /// How long until the certificate in the file is to be renewed.
    fn wait(&self, part: u32) -> Result<Duration, Failure> {
        let (issued, life) = life(&leaf(&self.pair.cert)?);
        let due = life * part / 1000;
        let passed = issued.until(Timestamp::from(SystemTime::now())).unwrap_or_default();
        Ok(due.saturating_sub(passed))
    }

    /// Tells why, and how long to wait.
    fn failed(&self, failure: &Failure) -> Duration {
        let cert = self.pair.cert.display();
        tracing::warn!(%cert, reason = failure.one_line(), "the certificate could not be renewed");
        let life = leaf(&self.pair.cert).map(|leaf| life(&leaf).1).unwrap_or_default();
        (life / ATTEMPTS).clamp(SOONEST, LATEST_AGAIN)
    }

    /// Renews it, unless another process has done so. Until when the new one is valid.
    ///
    /// The home is locked while its files are read, and while they are written, and not while the
    /// service is asked: that can take long, and others have work to do in it.
    async fn renew(&self, part: u32) -> Result<Option<Timestamp>, Failure> {
        let CertificatePair { cert, key } = &self.pair;
        let (own, anchors) = {
            let _lock = self.lock().await?;
            if !self.wait(part)?.is_zero() {
                return Ok(None);
            }
            let own = Credential::load(cert, key)?;
            let anchors = TrustAnchors::load(&self.anchors, own.id().trust_domain().clone())?;
            (own, Arc::new(anchors))
        };
        let exchanged = timeout(DEADLINE, self.exchange(&own, &anchors)).await;
        let late = || Failure::new("the authority's service does not answer").at(&self.authority);
        let renewed = exchanged.map_err(|_| late())??;
        let _lock = self.lock().await?;
        if leaf(cert)?.fingerprint != own.fingerprint() {
            // Somebody has put another one there meanwhile, whose word counts.
            return Ok(None);
        }
        // First: what is issued now may be by one of these. What is told of them amiss is not taken;
        // what is issued is held to what is trusted here in any case.
        let domain = own.id().trust_domain();
        if let Some(told) = &renewed.anchors
            && let Err(failure) = self.trust(told, domain)
        {
            tracing::warn!(reason = failure.one_line(), "what was trusted before is trusted");
        }
        let anchors = Arc::new(TrustAnchors::load(&self.anchors, domain.clone())?);
        let place = &self.authority;
        let wrong = |why: String| {
            Failure::new("what the authority's service issued cannot be used")
                .at(place)
                .because(why)
        };
        let key = files::read_private(key)?;
        let new = Credential::from_pem(renewed.certificate.as_bytes(), &key, place)?;
        if new.id() != own.id() {
            return Err(wrong(format!("it is of {}", new.id())));
        }
        let now = SystemTime::now().into();
        verify_peer(&anchors, new.chain(), now).map_err(|refusal| wrong(refusal.to_string()))?;
        if new.not_after() <= own.not_after() {
            return Err(wrong(format!("it expires at {}", new.not_after())));
        }
        files::write_atomic(cert, renewed.certificate.as_bytes(), files::PUBLIC_FILE)?;
        Ok(Some(new.not_after()))
    }

    /// Waits for the lock of the home, without a thread that would have to be waited for at the
    /// end of this process.
    async fn lock(&self) -> Result<HomeLock, Failure> {
        loop {
            match HomeLock::try_acquire(&self.home)? {
                Some(lock) => return Ok(lock),
                None => sleep(LOCKED).await,
            }
        }
    }

    /// Adds to the trust anchors what the service has added to its own, while one authority takes
    /// another's place. Nothing is taken away: others may be in the file.
    ///
    /// What is new must be signed by a root that is trusted here: the keys of the service and of the
    /// authority that issues, which are on a machine that the network reaches, are not enough.
    fn trust(&self, signed: &SignedAnchors, domain: &TrustDomain) -> Result<(), Failure> {
        let place = &self.authority;
        let label = self.anchors.display().to_string();
        let mut text = files::read_public(&self.anchors)?;
        let known = describe(&text, &label)?;
        let known = |hash| known.iter().any(|anchor| anchor.fingerprint == hash);
        let wrong = |why: String| {
            Failure::new("the trust anchors that the service tells of are not taken")
                .at(place)
                .because(why)
                .fix("look into who runs there")
        };
        let told = signed.told(domain).map_err(wrong)?;
        let pem = told.anchors.as_bytes();
        // All of it is as it must be, or none of it is taken.
        TrustAnchors::from_pem(pem, domain.clone(), place)?;
        let certificates = parse_pem_certificates(pem)
            .map_err(|problem| Failure::new(problem.to_string()).at(place))?;
        let before = text.len();
        let mut new = Vec::new();
        for (der, summary) in certificates.iter().zip(describe(pem, place)?) {
            if !known(summary.fingerprint) {
                new.push(summary.subject);
                text.extend(b"\n");
                text.extend(encode_pem("CERTIFICATE", der)?.as_bytes());
            }
        }
        if !new.is_empty() {
            let now = SystemTime::now().into();
            signed.verify(&text[..before], now).map_err(wrong)?;
            if now > told.until {
                // It may have been kept by somebody to be said again, or have been forgotten there.
                let (authorities, until) = (new.join("; "), told.until);
                tracing::warn!(authorities, %until, "what is told of other authorities is out of date");
                return Ok(());
            }
            // What is longer could not be read again.
            if text.len() as u64 > files::MAX_FILE {
                return Err(wrong(format!(
                    "{label} would be longer than {} bytes",
                    files::MAX_FILE
                )));
            }
            tracing::info!(authorities = new.join("; "), "other authorities are trusted");
            files::write_atomic(&self.anchors, &text, files::PUBLIC_FILE)?;
        }
        Ok(())
    }

    async fn exchange(
        &self,
        own: &Credential,
        anchors: &Arc<TrustAnchors>,
    ) -> Result<Renewed, Failure> {
        let refused_by = |refusal: Refusal| {
            Failure::new("the authority's service cannot be reached")
                .at(&self.authority)
                .because(refusal)
                .fix("see that `sealwire ca serve` runs there; its log tells more")
        };
        let failed = |error: &io::Error| refused_by(io_refusal(error));
        let tcp = TcpStream::connect(&self.authority).await.map_err(|error| {
            Failure::new("the authority's service cannot be reached")
                .at(&self.authority)
                .because(error)
                .fix("see that `sealwire ca serve` runs there, or correct renew_from")
        })?;
        let name = tcp.peer_addr().map(|address| ServerName::from(address.ip()));
        let name = name.map_err(|error| failed(&error))?;
        let connector =
            TlsConnector::from(renewal_client_config(own, Arc::clone(anchors), RENEWAL_ALPN)?);
        let mut stream = connector.connect(name, tcp).await.map_err(|error| {
            refused_by(handshake_refusal(&error, anchors, SystemTime::now().into()))
        })?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        check_service(&self.home, &self.lists, chain).map_err(|refusal| {
            Failure::new("the authority's service is not believed")
                .at(&self.authority)
                .because(refusal)
        })?;
        let request = RenewalRequest { version: VERSION };
        wire::write(&mut stream, &request).await.map_err(|error| failed(&error))?;
        match wire::read(&mut stream, wire::MAX_ANSWER).await.map_err(|error| failed(&error))? {
            RenewalAnswer::Renewed { certificate, anchors } => Ok(Renewed { certificate, anchors }),
            RenewalAnswer::Refused { why } => Err(refused(why)),
        }
    }
}

/// Refuses a service that an authority vouches for which is revoked, in `home` or by one of those
/// lists. Of what age they are is not asked: the service is whence new ones come.
pub(super) fn check_service(
    home: &Home,
    lists: &ListFiles,
    chain: &[CertificateDer<'_>],
) -> Result<(), String> {
    let revoked = revoked(home).map_err(|error| error.to_string())?;
    let lists = lists.load_late(SystemTime::now().into()).map_err(|error| error.to_string())?;
    let revocations = Revocations::new(revoked).with_lists(lists);
    revocations.check_service(chain).map_err(|refusal| refusal.to_string())
}

fn refused(why: Why) -> Failure {
    let failure = Failure::new("the authority's service does not renew the certificate");
    let again = "have it invited again, and join with another home";
    match why {
        Why::Revoked => failure.because("it is revoked").fix(again),
        Why::NotJoined => failure
            .because("it was not issued to one who joined")
            .fix("issue it by `sealwire cert issue`, and take renew_from out; or have it invited"),
        _ => failure.because("its log tells why"),
    }
}

/// When a certificate was issued, and how long it is to be used.
/// When a certificate that renews itself should have been renewed.
pub(crate) fn renewed_by(leaf: &CertificateSummary) -> Timestamp {
    let (issued, life) = life(leaf);
    let part = i64::try_from((life * LATEST / 1000).as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(issued.unix_millis().saturating_add(part))
}

fn life(leaf: &CertificateSummary) -> (Timestamp, Duration) {
    let valid = leaf.not_before.until(leaf.not_after).unwrap_or_default();
    let backdated = if valid > BACKDATED { BACKDATED } else { Duration::ZERO };
    let issued =
        leaf.not_before.unix_millis() + i64::try_from(backdated.as_millis()).unwrap_or_default();
    (Timestamp::from_unix_millis(issued), valid - backdated)
}

/// Where in its life a certificate is renewed, in thousandths.
fn random_part() -> u32 {
    let mut random = [0; 2];
    // Without randomness, they come back together.
    let _all_at_once = aws_lc_rs::rand::fill(&mut random);
    EARLIEST + u32::from(u16::from_be_bytes(random)) % (LATEST - EARLIEST + 1)
}

#[cfg(test)]
mod tests {
    use sealwire_identity::{CertificateAuthority, KeyAlgorithm, LeafRequest, RootAuthority};

    use super::*;

    #[test]
    fn a_life_begins_when_the_certificate_is_issued() {
        let dir = tempfile::tempdir().unwrap();
        let domain = "example.org".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let ca = CertificateAuthority::create(&dir.path().join("ca"), &domain, day).unwrap();
        let id: sealwire_names::PeerId = "spiffe://example.org/core/a".parse().unwrap();
        let now = Timestamp::from(SystemTime::now());
        let (dns, ip, key_algorithm) = (Vec::new(), Vec::new(), KeyAlgorithm::EcdsaP256);
        let validity = Duration::from_secs(60);
        let request = LeafRequest { id, dns, ip, validity, key_algorithm };
        // The one from five minutes ago, the other from just after a revocation.
        for revoked in [None, Some(now)] {
            let issued = ca.issue_after(&request, revoked).unwrap();
            let leaf = describe(issued.cert_pem.as_bytes(), "it").unwrap().remove(0);
            let (issued, life) = life(&leaf);
            let since = now.unix_seconds() - issued.unix_seconds();
            assert!((-2..=1).contains(&since), "{since}");
            assert!((57..=60).contains(&life.as_secs()), "{life:?}");
        }
    }

    /// Whoever has the keys of the service and of the authority below has not the root's.
    #[test]
    fn anchors_that_no_trusted_root_tells_of_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let domain: TrustDomain = "example.org".parse().unwrap();
        let day = Duration::from_secs(86_400);
        let root = |name: &str, trusted: &[&str]| {
            let dir = dir.path().join(name);
            if !dir.exists() {
                CertificateAuthority::create(&dir, &domain, day).unwrap();
            }
            let root = RootAuthority::load(&dir, &domain).unwrap();
            if let [other] = trusted {
                let both = format!("{}{other}", root.certificate_pem());
                std::fs::write(dir.join("ca-cert.pem"), both).unwrap();
                return RootAuthority::load(&dir, &domain).unwrap();
            }
            root
        };
        let (old, next) = (root("old", &[]), root("next", &[]));
        let (old_pem, next_pem) = (old.certificate_pem(), next.certificate_pem());
        let (by_old, by_next) = (root("old", &[next_pem]), root("next", &[old_pem]));
        let home = Home::at(&dir.path().join("home")).unwrap();
        let anchors = dir.path().join("anchors.pem");
        let renewer = Renewer {
            lists: ListFiles::default(),
            pair: home.pair(sealwire_names::Kind::Core, "a"),
            home,
            anchors: anchors.clone(),
            authority: "here:1".to_owned(),
        };
        let now = Timestamp::from(SystemTime::now());
        let sign = |root: &RootAuthority, domain: &TrustDomain| {
            SignedAnchors::sign(root, domain, now, day).unwrap()
        };
        let trust = |told: &SignedAnchors| renewer.trust(told, &domain);
        std::fs::write(&anchors, old_pem).unwrap();
        let good = sign(&by_old, &domain);
        for (wrong, what) in [
            // By the one that it is about; what another text was signed for.
            (sign(&by_next, &domain), "not signed by"),
            (good.clone().with_signature_of(&sign(&old, &domain)), "not signed by"),
            (sign(&by_old, &"other.example".parse().unwrap()), "trust domain other.example"),
        ] {
            let refused = trust(&wrong).unwrap_err().one_line();
            assert!(refused.contains(what), "{refused}");
            assert_eq!(std::fs::read_to_string(&anchors).unwrap(), old_pem);
        }
        // Said again when it does not hold any more: nothing comes of it, and nothing ends by it.
        let long_ago = Timestamp::from_unix_millis(now.unix_millis() - 2 * 86_400_000);
        trust(&SignedAnchors::sign(&by_old, &domain, long_ago, day).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&anchors).unwrap(), old_pem);
        // What is known already needs nobody's word.
        trust(&sign(&old, &domain).with_signature_of(&good)).unwrap();
        assert_eq!(std::fs::read_to_string(&anchors).unwrap(), old_pem);
        trust(&good).unwrap();
        assert_eq!(describe(&std::fs::read(&anchors).unwrap(), "it").unwrap().len(), 2);

        // What could not be read again is not written.
        let room = usize::try_from(files::MAX_FILE).unwrap() - old_pem.len() - 10;
        let long = format!("{old_pem}{}", "#".repeat(room));
        std::fs::write(&anchors, &long).unwrap();
        let refused = trust(&good).unwrap_err().one_line();
        assert!(refused.contains("would be longer"), "{refused}");
        assert_eq!(std::fs::read_to_string(&anchors).unwrap(), long);
    }

    #[test]
    fn the_point_is_about_two_thirds() {
        let parts: Vec<_> = (0..1000).map(|_| random_part()).collect();
        assert!(parts.iter().all(|part| (EARLIEST..=LATEST).contains(part)));
        let first = parts[0];
        assert!(parts.iter().any(|part| *part != first));
    }
}
