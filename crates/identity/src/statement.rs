//! What an authority says that is no certificate and no list of RFC 5280, signed by its key.

use rcgen::SigningKey as _;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use sealwire_names::Timestamp;
use webpki::RawPublicKeyEntity;
use webpki::aws_lc_rs as algorithm;
use x509_parser::extensions::KeyUsage;

use crate::authority::{CertificateAuthority, RootAuthority};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::keys::PrivateKey;

/// Signatures of authorities, by the kind of their key.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    algorithm::ECDSA_P256_SHA256,
    algorithm::ECDSA_P384_SHA384,
    algorithm::ED25519,
    algorithm::RSA_PKCS1_2048_8192_SHA256,
];

/// What a statement is about. What is signed begins with a label for it, which no certificate and
/// no list begins with: so no signature serves for two.
///
/// By whom a statement must be is for its reader: which anchors are to be trusted is said by a
/// root alone, as whoever had the key of the authority below it could otherwise name a root of his
/// own. What is said day by day is said by [`CertificateAuthority`], and handed over with its
/// certificate ([`CertificateAuthority::chain`]), which [`authorities_below`](crate::authorities_below)
/// checks up to the anchors.
#[derive(Clone, Copy, Debug)]
pub enum StatementKind {
    /// Which authorities are to be trusted.
    Anchors,
    /// What is revoked.
    Revocations,
    /// Whose an agent's keys are.
    AgentKeys,
}

impl StatementKind {
    fn signed(self, text: &str) -> Vec<u8> {
        let label: &[u8] = match self {
            Self::Anchors => b"sealwire-anchors/2\0",
            Self::Revocations => b"sealwire-revocations/1\0",
            Self::AgentKeys => b"sealwire-agent-keys/1\0",
        };
        [label, text.as_bytes()].concat()
    }

    fn sign(self, text: &str, key: &PrivateKey) -> Result<Vec<u8>, Error> {
        key.sign(&self.signed(text)).map_err(Error::crypto("signing a statement"))
    }
}

impl CertificateAuthority {
    /// Signs a statement by the key that signs certificates of peers.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the key cannot be used.
    pub fn state(&self, kind: StatementKind, text: &str) -> Result<Vec<u8>, Error> {
        kind.sign(text, self.issuer().key())
    }
}

impl RootAuthority {
    /// Signs a statement by the root's key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the key cannot be used.
    pub fn state(&self, kind: StatementKind, text: &str) -> Result<Vec<u8>, Error> {
        kind.sign(text, self.issuer().key())
    }
}

/// Is that statement by one of `issuers`, authorities that are trusted, of which others in the
/// list are ignored?
///
/// # Errors
/// Why not, in words.
pub fn verify_statement(
    kind: StatementKind,
    text: &str,
    signature: &[u8],
    issuers: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(), String> {
    let signed = kind.signed(text);
    let holds = |issuer: &CertificateDer<'_>| {
        let place = "the authority";
        let Ok(certificate) = Certificate::parse(issuer, place) else { return false };
        let may = certificate
            .check_issuer(place)
            .and(certificate.check_key_strength(place))
            .is_ok_and(|()| certificate.key_usage().is_none_or(KeyUsage::crl_sign));
        let is_valid = (certificate.not_before()..=certificate.not_after()).contains(&now);
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key());
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        let is_by_it = |algorithm: &&'static dyn SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, &signed, signature).is_ok()
        };
        may && is_valid && ALGORITHMS.iter().any(is_by_it)
    };
    if issuers.iter().any(holds) {
        return Ok(());
    }
    Err("it is not signed by an authority that is trusted here".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{authorities_below, parse_pem_certificates};

    const KIND: StatementKind = StatementKind::Anchors;

    fn root(dir: &Path) -> (CertificateAuthority, RootAuthority, Vec<CertificateDer<'static>>) {
        let (domain, day) = ("test.example".parse().unwrap(), Duration::from_secs(86_400));
        let authority = CertificateAuthority::create(&dir.join("ca"), &domain, day).unwrap();
        let anchors = parse_pem_certificates(authority.certificate_pem().as_bytes()).unwrap();
        (authority, RootAuthority::load(&dir.join("ca"), &domain).unwrap(), anchors)
    }

    #[test]
    fn only_what_a_trusted_authority_has_signed_holds() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((_, ours, anchors), (_, theirs, foreign)) = (root(dir.path()), root(other.path()));
        let (now, signature) = (SystemTime::now().into(), ours.state(KIND, "text").unwrap());
        let both = [foreign.clone(), anchors.clone()].concat();
        let check =
            |kind, text, by: &[_], now| verify_statement(kind, text, &signature, by, now).is_ok();
        assert!(check(KIND, "text", &anchors, now));
        assert!(check(KIND, "text", &both, now), "whichever of them it is");
        assert!(!check(KIND, "Text", &anchors, now));
        assert!(!check(StatementKind::Revocations, "text", &anchors, now));
        assert!(!check(KIND, "text", &foreign, now));
        assert!(!check(KIND, "text", &[], now));
        let long_ago = Timestamp::from_unix_seconds(1);
        assert!(!check(KIND, "text", &anchors, long_ago), "it was not valid then");
        let theirs = theirs.state(KIND, "text").unwrap();
        assert!(verify_statement(KIND, "text", &theirs, &anchors, now).is_err());
        assert!(verify_statement(KIND, "text", &[], &anchors, now).is_err());
    }

    /// What the authority below the root says is believed by its certificate, and is nothing that
    /// the root has said.
    #[test]
    fn the_authority_below_speaks_for_itself_alone() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((ours, _, anchors), (theirs, ..)) = (root(dir.path()), root(other.path()));
        let now = SystemTime::now().into();
        let signature = ours.state(KIND, "text").unwrap();
        assert!(verify_statement(KIND, "text", &signature, &anchors, now).is_err());
        let domain = ours.trust_domain();
        let given = [theirs.chain(), ours.chain()].concat();
        let below = authorities_below(&anchors, &given, domain, now);
        assert_eq!(below, ours.chain(), "another root's is left out");
        assert!(verify_statement(KIND, "text", &signature, &below, now).is_ok());
        // The root itself has neither the roles of TLS nor one that has certified it.
        assert!(authorities_below(&anchors, &anchors, domain, now).is_empty());
        // One of another trust domain, one that has expired, and one that is no authority.
        let other_domain = "other.example".parse().unwrap();
        assert!(authorities_below(&anchors, ours.chain(), &other_domain, now).is_empty());
        let late = Timestamp::from_unix_millis(ours.not_after().unix_millis() + 1_000);
        assert!(authorities_below(&anchors, ours.chain(), domain, late).is_empty());
        let leaf = parse_pem_certificates(leaf(&ours).cert_pem.as_bytes()).unwrap();
        assert_eq!(authorities_below(&anchors, &leaf, domain, now), ours.chain());
    }

    fn leaf(authority: &CertificateAuthority) -> crate::IssuedLeaf {
        let request = crate::LeafRequest {
            id: "spiffe://test.example/core/a".parse().unwrap(),
            dns: vec![],
            ip: vec![],
            validity: Duration::from_secs(60),
            key_algorithm: crate::KeyAlgorithm::EcdsaP256,
        };
        authority.issue(&request).unwrap()
    }

    /// Not every certificate that an authority has made speaks for it.
    #[test]
    fn a_leaf_says_nothing_for_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, ..) = root(dir.path());
        let leaf = leaf(&ours);
        let key = crate::keys::PrivateKey::from_pem(leaf.key_pem.as_bytes(), "it").unwrap();
        let signature = key.sign(&KIND.signed("text")).unwrap();
        let chain = parse_pem_certificates(leaf.cert_pem.as_bytes()).unwrap();
        let now = SystemTime::now().into();
        assert!(verify_statement(KIND, "text", &signature, &chain, now).is_err());
    }
}
