use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sealwire_names::{Fingerprint, PeerId, Refusal, RefusalCode, Timestamp};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::asn1_rs::{FromDer, Oid};

use crate::anchors::TrustAnchors;
use crate::authority::ORGANIZATION;
use crate::certificate::{Certificate, fingerprint};
use crate::crl::Link;
use crate::refusal::{Refused, handshake_refusal, shown};
use crate::tls::ALGORITHMS;

/// The role of the peer being verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It connects to us: extendedKeyUsage must hold clientAuth.
    Client,
    /// We connect to it: extendedKeyUsage must hold serverAuth.
    Server,
}

/// A peer whose certificate passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// Who it is.
    pub id: PeerId,
    /// Its leaf.
    pub fingerprint: Fingerprint,
    /// What is signed of its leaf, see [`Revoked::Certificate`](crate::Revoked::Certificate).
    pub signed: Fingerprint,
    /// From when its leaf is valid.
    pub not_before: Timestamp,
    /// When the first certificate of the chain, the anchor included, expires.
    pub not_after: Timestamp,
    /// Its leaf and the authorities below the anchor, as revocation lists name them.
    pub chain: Arc<[Link]>,
}

/// Decides whether a certificate chain proves who a peer is.
///
/// RFC 5280 path validation by webpki, and the rules that webpki leaves out. The
/// same function serves both rustls verifiers and the caller, who runs it again
/// after each handshake: rustls asks no verifier when a session is resumed.
#[derive(Clone, Debug)]
pub struct PeerVerifier {
    anchors: Arc<TrustAnchors>,
    role: Role,
    expected_cn: Option<String>,
}

impl PeerVerifier {
    /// A verifier of peers in one role.
    pub fn new(anchors: Arc<TrustAnchors>, role: Role) -> Self {
        Self { anchors, role, expected_cn: None }
    }

    /// Also requires this common name. It comes on top of the SAN and never replaces it.
    #[must_use]
    pub fn with_expected_cn(self, cn: impl Into<String>) -> Self {
        Self { expected_cn: Some(cn.into()), ..self }
    }

    /// Checks a chain, leaf first, as it stands at `now`; with `expected`, also that
    /// it is this peer's.
    ///
    /// # Errors
    /// The first rule broken, with its code. Keys and the path are checked before
    /// names, so that a name in a reason is one that an anchor of ours vouches for.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        expected: Option<&PeerId>,
        now: Timestamp,
    ) -> Result<VerifiedPeer, Refusal> {
        Ok(self.check_peer(chain, expected, now)?)
    }

    /// Like [`PeerVerifier::verify`], for a handshake.
    pub(crate) fn check_peer(
        &self,
        chain: &[CertificateDer<'_>],
        expected: Option<&PeerId>,
        now: Timestamp,
    ) -> Result<VerifiedPeer, Refused> {
        let (certificate, issuers_not_after, issuers) = self.check_chain(chain, now)?;
        let id = self.check_name(&certificate, expected)?;
        Ok(VerifiedPeer {
            id,
            fingerprint: fingerprint(&chain[0]),
            signed: certificate.signed(),
            not_before: certificate.not_before(),
            not_after: issuers_not_after.min(certificate.not_after()),
            chain: std::iter::once(Link::of(&certificate)).chain(issuers).collect(),
        })
    }

    /// Why a handshake failed in which the peer was verified by this: [`handshake_refusal`].
    pub fn refusal(&self, error: &io::Error, now: Timestamp) -> Refusal {
        handshake_refusal(error, &self.anchors, now)
    }

    /// Checks a chain whose leaf is no peer's but of a service of the authority itself: `uri`,
    /// its only URI SAN, is none that a peer can have.
    pub(crate) fn verify_service(
        &self,
        chain: &[CertificateDer<'_>],
        uri: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let (certificate, ..) = self.check_chain(chain, now)?;
        match certificate.uri_sans().as_slice() {
            [only] if *only == uri => Ok(()),
            others => {
                let reason = format!("the certificate is of {others:?}, not of {uri}");
                Err(Refusal::new(RefusalCode::PeerName, reason).into())
            }
        }
    }

    /// Every rule but those of names: the leaf, the earliest notAfter above it, and the authorities
    /// below the anchor.
    fn check_chain<'c>(
        &self,
        chain: &'c [CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(Certificate<'c>, Timestamp, Vec<Link>), Refused> {
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| {
            Refusal::new(RefusalCode::CertificateMissing, "the peer presented no certificate")
        })?;
        let certificate = Certificate::parse(leaf, "the leaf")?;
        certificate.check_form("the leaf")?;
        certificate.check_not_ca()?;
        certificate.check_key_strength("the leaf")?;
        let (issuers_not_after, issuers) = self.check_path(leaf, intermediates, now)?;
        self.check_usage(&certificate)?;
        Ok((certificate, issuers_not_after, issuers))
    }

    /// Validates the path and returns the earliest notAfter above the leaf, and the authorities
    /// below the anchor.
    fn check_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(Timestamp, Vec<Link>), Refused> {
        let valid = self.anchors.valid_at(now);
        let result = self.check_path_to(&valid, leaf, intermediates, now);
        let Err(refused) = &result else { return result };
        let is_unknown = |refused: &Refused| refused.refusal.code == RefusalCode::UnknownIssuer;
        let (unknown, of_time) = (is_unknown(refused), refused.is_of_time());
        if (unknown || of_time) && valid.len() < self.anchors.all().len() {
            // Is it one of our anchors after all, only not at this time? What else is not valid now
            // may have been sent beside the path to it, and hides it.
            if let Err(again) = self.check_path_to(self.anchors.all(), leaf, intermediates, now)
                && (again.is_of_time() || unknown && !is_unknown(&again))
            {
                return Err(again);
            }
        }
        result
    }

    fn check_path_to(
        &self,
        anchors: &[TrustAnchor<'static>],
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(Timestamp, Vec<Link>), Refused> {
        let end_entity = EndEntityCert::try_from(leaf).map_err(path_refusal)?;
        let usage = match self.role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let seconds = u64::try_from(now.unix_seconds()).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let path = end_entity
            .verify_for_usage(ALGORITHMS.all, anchors, intermediates, time, usage, None, None)
            .map_err(|error| {
                weak_issuer(&error, intermediates)
                    .map_or_else(|| path_refusal(error), Refused::from)
            })?;

        let mut not_after = Timestamp::from_unix_millis(i64::MAX);
        let mut authorities = 0;
        let mut issuers = Vec::new();
        for intermediate in path.intermediate_certificates() {
            let place = "an intermediate certificate";
            let der = intermediate.der();
            let certificate = Certificate::parse(&der, place)?;
            certificate.check_form(place)?;
            certificate.check_issuer(place)?;
            certificate.check_intermediate(place)?;
            certificate.check_claims(self.anchors.trust_domain(), place)?;
            certificate.check_key_strength(place)?;
            not_after = not_after.min(certificate.not_after());
            authorities += u32::from(!certificate.is_self_issued());
            issuers.push(Link::of(&certificate));
        }
        let anchor_not_after = self.check_anchor(path.anchor(), authorities, now)?;
        Ok((not_after.min(anchor_not_after), issuers))
    }

    /// What webpki does not keep of an anchor: its validity and its pathLen.
    fn check_anchor(
        &self,
        anchor: &TrustAnchor<'_>,
        authorities: u32,
        now: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        let mut refusal = Refusal::new(RefusalCode::UnknownIssuer, "the trust anchor is gone");
        for rules in self.anchors.rules(anchor) {
            let subject = &rules.subject;
            refusal = if now > rules.not_after {
                let reason = format!("the trust anchor {subject} expired at {}", rules.not_after);
                Refusal::new(RefusalCode::CertificateExpired, reason)
            } else if now < rules.not_before {
                let reason =
                    format!("the trust anchor {subject} is not valid before {}", rules.not_before);
                Refusal::new(RefusalCode::CertificateNotYetValid, reason)
            } else if rules.path_len.is_some_and(|limit| authorities > limit) {
                let reason = format!(
                    "the trust anchor {subject} allows fewer than {authorities} authorities below it (RFC 5280 §4.2.1.9)"
                );
                Refusal::new(RefusalCode::CertificatePath, reason)
            } else {
                return Ok(rules.not_after);
            };
        }
        Err(refusal)
    }

    /// RFC 5280 §4.2.1.3 and §4.2.1.12, with the SVID profile's stricter reading: the
    /// purpose must be stated, and anyExtendedKeyUsage does not state it.
    fn check_usage(&self, certificate: &Certificate<'_>) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal::new(RefusalCode::KeyUsage, reason));
        match certificate.key_usage() {
            Some(usage) if usage.digital_signature() => {}
            Some(_) => return refuse("the leaf's keyUsage lacks digitalSignature".into()),
            None => return refuse("the leaf has no keyUsage (X.509-SVID §4.3)".into()),
        }
        let usage = certificate.extended_key_usage();
        let (allowed, purpose) = match self.role {
            Role::Client => (usage.is_some_and(|usage| usage.client_auth), "clientAuth"),
            Role::Server => (usage.is_some_and(|usage| usage.server_auth), "serverAuth"),
        };
        match (allowed, usage) {
            (true, _) => Ok(()),
            (false, None) => {
                refuse(format!("the leaf has no extendedKeyUsage; {purpose} is needed"))
            }
            (false, Some(_)) => refuse(format!("the leaf's extendedKeyUsage lacks {purpose}")),
        }
    }

    fn check_name(
        &self,
        certificate: &Certificate<'_>,
        expected: Option<&PeerId>,
    ) -> Result<PeerId, Refusal> {
        let id = certificate.peer_id()?;
        let trust_domain = self.anchors.trust_domain();
        if id.trust_domain() != trust_domain {
            return Err(Refusal::new(
                RefusalCode::TrustDomain,
                format!(
                    "the peer calls itself {id}, and these trust anchors vouch for {trust_domain} only"
                ),
            ));
        }
        if let Some(expected) = expected
            && *expected != id
        {
            return Err(Refusal::new(
                RefusalCode::PeerName,
                format!("the certificate is of {id}, not of {expected}"),
            ));
        }
        if certificate.issuer_organization_is(ORGANIZATION) {
            check_common_name(certificate, id.name())?;
        }
        if let Some(cn) = &self.expected_cn {
            check_common_name(certificate, cn)?;
        }
        Ok(id)
    }
}

fn check_common_name(certificate: &Certificate<'_>, expected: &str) -> Result<(), Refusal> {
    let found = certificate.common_name();
    if found == Some(expected) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::CommonName,
        match found {
            Some(found) => format!("the common name is {found:?}, not {expected:?}"),
            None => format!("there is not exactly one common name; {expected:?} is needed"),
        },
    ))
}

/// Whether a signature does not hold for webpki because the key that made it is too weak for it.
fn weak_issuer(error: &webpki::Error, intermediates: &[CertificateDer<'_>]) -> Option<Refusal> {
    use webpki::Error as E;
    let of_signature = matches!(
        error,
        E::InvalidSignatureForPublicKey | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
    );
    let place = "an intermediate certificate";
    let weak = |der| Certificate::parse(der, place).ok()?.check_key_strength(place).err();
    of_signature.then(|| intermediates.iter().find_map(|der| weak(der)))?
}

/// webpki's verdict as a code of ours.
fn path_refusal(error: webpki::Error) -> Refused {
    use webpki::Error as E;
    let (code, rule) = match &error {
        E::CertExpired { not_after, .. } => {
            let reason = format!("a certificate of the chain expired at {}", shown(*not_after));
            let refusal = Refusal::new(RefusalCode::CertificateExpired, reason);
            return Refused { refusal, bound: Some(*not_after) };
        }
        E::CertNotValidYet { not_before, .. } => {
            let reason =
                format!("a certificate of the chain is not valid before {}", shown(*not_before));
            let refusal = Refusal::new(RefusalCode::CertificateNotYetValid, reason);
            return Refused { refusal, bound: Some(*not_before) };
        }
        E::UnknownIssuer => {
            (RefusalCode::UnknownIssuer, "no trust anchor of ours vouches for the certificate")
        }
        E::InvalidSignatureForPublicKey => (
            RefusalCode::CertificateSignature,
            "a certificate's signature is not by the key of the issuer it names",
        ),
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => (
            RefusalCode::WeakKey,
            "a certificate is signed with SHA-1 or another algorithm that is not accepted",
        ),
        E::CaUsedAsEndEntity => {
            (RefusalCode::CaAsLeaf, "the leaf is a certificate authority's certificate")
        }
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => (
            RefusalCode::KeyUsage,
            "a certificate's extendedKeyUsage does not allow the peer's role",
        ),
        E::EndEntityUsedAsCa => (
            RefusalCode::CertificatePath,
            "a certificate that is no authority's has signed another (RFC 5280 §4.2.1.9)",
        ),
        E::PathLenConstraintViolated => (
            RefusalCode::CertificatePath,
            "there are more authorities than a pathLen of the chain allows (RFC 5280 §4.2.1.9)",
        ),
        E::NameConstraintViolation => (
            RefusalCode::CertificatePath,
            "a name is not within the nameConstraints of an issuer (RFC 5280 §4.2.1.10)",
        ),
        E::UnsupportedCriticalExtension => {
            (RefusalCode::CertificatePath, "a critical extension is not understood (RFC 5280 §4.2)")
        }
        E::CertDistrusted
        | E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => {
            (RefusalCode::CertificatePath, "path validation (RFC 5280 §6) failed")
        }
        _ => (RefusalCode::CertificateMalformed, "a certificate of the chain is malformed"),
    };
    // What goes with these are lists of all that would have been accepted.
    let detail = match &error {
        E::UnsupportedSignatureAlgorithmContext(it) => algorithm(&it.signature_algorithm_id),
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(it) => {
            algorithm(&it.signature_algorithm_id)
        }
        E::RequiredEkuNotFoundContext(_) => "RFC 5280 §4.2.1.12".to_owned(),
        other => format!("{other:?}"),
    };
    Refusal::new(code, format!("{rule} ({detail})")).into()
}

/// The object identifier of an AlgorithmIdentifier's content, DER.
fn algorithm(id: &[u8]) -> String {
    Oid::from_der(id).map_or_else(|_| "unreadable".to_owned(), |(_, oid)| oid.to_id_string())
}
