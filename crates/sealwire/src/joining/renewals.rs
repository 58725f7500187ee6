//! Who has joined gets another certificate for the one that he presents.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sealwire::config::SecureMcpConfig;
use sealwire::invitations::Invitations;
use sealwire::revocations::ListFiles;
use sealwire_audit::ChangeKind;
use sealwire_identity::RequestedKey;
use sealwire_identity::join::verify_peer;
use sealwire_names::PeerId;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::anchors::SignedAnchors;
use super::grants::Refused;
use super::service::anchors;
use super::wire::{RenewalAnswer, RenewalRequest, VERSION, Why};
use crate::cli::Failure;
use crate::commands::{Terms, leaf_request, open_authority};
use crate::control::note;

/// A refusal of the same peer is recorded once in that time, however often it comes back.
const QUIET: Duration = Duration::from_secs(60);
/// Peers of whom that is remembered.
const MOST_PEERS: usize = 1024;

/// Renews certificates.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// When a refusal of whom was recorded.
    recorded: Mutex<HashMap<PeerId, Instant>>,
}

/// Who asks: what he presents, and from where.
pub(super) struct Asking<'a> {
    pub(super) chain: &'a [CertificateDer<'static>],
    pub(super) address: SocketAddr,
}

impl Renewals {
    /// What the service answers.
    pub(super) fn answer(
        &self,
        config: &SecureMcpConfig,
        request: &RenewalRequest,
        asking: &Asking<'_>,
    ) -> RenewalAnswer {
        renew(config, request, asking).unwrap_or_else(|Refused { why, reason, about }| {
            let address = asking.address;
            tracing::warn!(%address, reason, "renewal refused");
            if let Some(peer) = about.filter(|peer| self.is_news(peer, Instant::now())) {
                let detail = format!("from {}: {reason}", address.ip());
                note(config, ChangeKind::RenewalRefused, &peer, &detail);
            }
            RenewalAnswer::Refused { why }
        })
    }

    /// Whether it is time to record one of that peer. One that is not recorded changes nothing of
    /// that: whoever comes back all the time is recorded now and then for as long as he does.
    fn is_news(&self, peer: &PeerId, now: Instant) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.retain(|_, since| now.saturating_duration_since(*since) < QUIET);
        if recorded.len() >= MOST_PEERS || recorded.contains_key(peer) {
            return false;
        }
        recorded.insert(peer.clone(), now);
        true
    }
}

/// Another certificate for whoever presents one that is good now: for the same name and key, as
/// long as when he joined.
fn renew(
    config: &SecureMcpConfig,
    request: &RenewalRequest,
    Asking { chain, address }: &Asking<'_>,
) -> Result<RenewalAnswer, Refused> {
    if request.version != VERSION {
        return Err(Refused::stranger(Why::Malformed, "it is of another version"));
    }
    let anchors = anchors(config).map_err(|why| Refused::failed(why.one_line()))?;
    let now = SystemTime::now().into();
    let verified = verify_peer(&anchors, chain, now);
    let presented = verified.map_err(|refusal| Refused::stranger(Why::Malformed, refusal))?;
    let lists = ListFiles::of(config).load(now).map_err(Refused::failed)?;
    let invitations = Invitations::open_again(&config.layout()).map_err(Refused::failed)?;
    let failed = |why: Failure| Refused::failed(why.one_line());
    let authority = open_authority(config).map_err(failed)?;
    let revocations = authority.revocations().clone().with_lists(lists);
    let peer = &presented.id;
    revocations
        .check_peer(&presented, now)
        .map_err(|refusal| Refused::known(Why::Revoked, refusal, peer))?;
    let joined = invitations.lifetime(peer).map_err(Refused::failed)?;
    // What was issued by hand since the name was revoked is for one who has not joined again.
    let revoked = revocations.of_name(peer);
    let (validity, _) =
        joined.filter(|(_, at)| revoked.is_none_or(|revoked| revoked < *at)).ok_or_else(|| {
            let reason = format!("{peer} has not joined by an invitation");
            Refused::known(Why::NotJoined, reason, peer)
        })?;
    let key = RequestedKey::of_certificate(&chain[0]).map_err(Refused::failed)?;
    let request = leaf_request(peer, &Terms { validity, ..Terms::default() });
    let issued = authority.issue_for(&request, &key).map_err(failed)?;
    // By a root: whoever has got hold of a key of this machine has not that one.
    let anchors = SignedAnchors::to_tell(&config.layout().ca_dir(), authority.authority(), now);
    let anchors = anchors.unwrap_or_else(|failure| {
        tracing::warn!(reason = failure.one_line(), "nobody is told of other authorities");
        None
    });
    let until = issued.not_after;
    let detail = format!("renewed from {}, until {until}", address.ip());
    note(config, ChangeKind::CertificateIssued, peer, &detail);
    tracing::info!(%peer, %address, %until, "renewed");
    Ok(RenewalAnswer::Renewed { certificate: issued.cert_pem, anchors })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sealwire::invitations::Invitation;
    use sealwire::revocations::revoked;
    use sealwire::state::State;
    use sealwire_identity::join::Token;
    use sealwire_identity::{
        CertificateAuthority, KeyAlgorithm, LeafRequest, Revocations, Revoked, describe,
        parse_pem_certificates,
    };
    use sealwire_names::Timestamp;

    use super::*;

    /// What is issued to a name after it was revoked is good: so nobody may get it whose check was
    /// before. Who renews does not wait for the one who revokes, and gets what is revoked then.
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
        let (taken, _) = invitations.take(&token.id(), made, |_| true).unwrap().unwrap();
        invitations.joined(&taken, made).unwrap();
        drop(State::open(&home).unwrap());
        let key_algorithm = KeyAlgorithm::EcdsaP256;
        let (dns, ip) = (Vec::new(), Vec::new());
        let leaf = LeafRequest { id: id.clone(), dns, ip, validity: lifetime, key_algorithm };
        let chain = parse_pem_certificates(ca.issue(&leaf).unwrap().cert_pem.as_bytes()).unwrap();
        let renew = || {
            let asking = Asking { chain: &chain, address: (Ipv4Addr::LOCALHOST, 1).into() };
            super::renew(&config, &RenewalRequest { version: VERSION }, &asking)
        };
        assert!(matches!(renew(), Ok(RenewalAnswer::Renewed { .. })));

        let db = rusqlite::Connection::open(home.state_file()).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let now = SystemTime::now().into();
        let revocation = (Revoked::Name(id.clone()), Timestamp::unix_millis(now));
        let insert = "INSERT INTO revoked (kind, what, reason, at) VALUES (?1, ?2, 'stolen', ?3)";
        db.execute(insert, (revocation.0.kind(), revocation.0.text(), revocation.1)).unwrap();
        let Ok(RenewalAnswer::Renewed { certificate, .. }) = renew() else {
            panic!("it is not revoked yet")
        };
        db.execute_batch("COMMIT").unwrap();
        let issued = describe(certificate.as_bytes(), "it").unwrap().remove(0);
        let revocations = Revocations::new(revoked(&home).unwrap());
        revocations.check_summary(&issued).unwrap_err();
        assert!(matches!(renew(), Err(Refused { why: Why::Revoked, .. })));
    }

    #[test]
    fn a_refusal_of_the_same_peer_is_recorded_now_and_then() {
        let renewals = Renewals::default();
        let peer = |number| format!("spiffe://x/core/{number}").parse::<PeerId>().unwrap();
        let now = Instant::now();
        assert!(renewals.is_news(&peer(0), now));
        assert!(!renewals.is_news(&peer(0), now));
        assert!((1..MOST_PEERS).all(|number| renewals.is_news(&peer(number), now)));
        assert!(!renewals.is_news(&peer(MOST_PEERS), now), "bounded");
        // It comes back all the time, and is heard of again and again all the same.
        let again = Renewals::default();
        let second = Duration::from_secs(1);
        let heard = (0..150).filter(|at| again.is_news(&peer(0), now + second * *at)).count();
        assert_eq!(heard, 3);
    }
}
