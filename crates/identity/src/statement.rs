//! What an authority says that is no certificate and no list of RFC 5280, signed by its key.

use rcgen::SigningKey as _;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use sealwire_names::Timestamp;
use webpki::RawPublicKeyEntity;
use webpki::aws_lc_rs as algorithm;
use x509_parser::extensions::KeyUsage;

use crate::authority::CertificateAuthority;
use crate::certificate::Certificate;
use crate::error::Error;

/// Signatures of authorities, by the kind of their key.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    algorithm::ECDSA_P256_SHA256,
    algorithm::ECDSA_P384_SHA384,
    algorithm::ED25519,
    algorithm::RSA_PKCS1_2048_8192_SHA256,
];

/// What a statement is about. What is signed begins with a label for it, which no certificate and
/// no list begins with: so no signature serves for two.
#[derive(Clone, Copy, Debug)]
pub enum StatementKind<'a> {
    /// Which authorities are to be trusted, said to whoever has this TLS connection, by its
    /// exporter: nobody can say it again.
    Anchors(&'a [u8; 32]),
    /// What is revoked.
    Revocations,
    /// Whose an agent's keys are.
    AgentKeys,
}

impl StatementKind<'_> {
    fn signed(&self, text: &str) -> Vec<u8> {
        let (label, bound): (&[u8], &[u8]) = match self {
            Self::Anchors(exporter) => (b"sealwire-anchors/1\0", &exporter[..]),
            Self::Revocations => (b"sealwire-revocations/1\0", &[]),
            Self::AgentKeys => (b"sealwire-agent-keys/1\0", &[]),
        };
        [label, bound, text.as_bytes()].concat()
    }
}

impl CertificateAuthority {
    /// Signs a statement by the key that signs certificates.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the key cannot be used.
    pub fn state(&self, kind: StatementKind<'_>, text: &str) -> Result<Vec<u8>, Error> {
        let signature = self.issuer().key().sign(&kind.signed(text));
        signature.map_err(Error::crypto("signing a statement"))
    }
}

/// Is that statement by one of `issuers`, authorities that are trusted, of which others in the
/// list are ignored?
///
/// # Errors
/// Why not, in words.
pub fn verify_statement(
    kind: StatementKind<'_>,
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
    use crate::parse_pem_certificates;

    const KIND: StatementKind<'_> = StatementKind::Anchors(&[7; 32]);

    fn authority(dir: &Path) -> (CertificateAuthority, Vec<CertificateDer<'static>>) {
        let (domain, day) = ("test.example".parse().unwrap(), Duration::from_secs(86_400));
        let authority = CertificateAuthority::create(&dir.join("ca"), &domain, day).unwrap();
        let anchors = parse_pem_certificates(authority.certificate_pem().as_bytes()).unwrap();
        (authority, anchors)
    }

    #[test]
    fn only_what_a_trusted_authority_has_signed_holds() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((ours, anchors), (theirs, foreign)) = (authority(dir.path()), authority(other.path()));
        let (now, signature) = (SystemTime::now().into(), ours.state(KIND, "text").unwrap());
        let both = [foreign.clone(), anchors.clone()].concat();
        let check =
            |kind, text, by: &[_], now| verify_statement(kind, text, &signature, by, now).is_ok();
        assert!(check(KIND, "text", &anchors, now));
        assert!(check(KIND, "text", &both, now), "whichever of them it is");
        assert!(!check(KIND, "Text", &anchors, now));
        assert!(!check(StatementKind::Anchors(&[8; 32]), "text", &anchors, now));
        assert!(!check(StatementKind::Revocations, "text", &anchors, now));
        assert!(!check(KIND, "text", &foreign, now));
        assert!(!check(KIND, "text", &[], now));
        let long_ago = Timestamp::from_unix_seconds(1);
        assert!(!check(KIND, "text", &anchors, long_ago), "it was not valid then");
        let theirs = theirs.state(KIND, "text").unwrap();
        assert!(verify_statement(KIND, "text", &theirs, &anchors, now).is_err());
        assert!(verify_statement(KIND, "text", &[], &anchors, now).is_err());
    }

    /// Not every certificate that an authority has made speaks for it.
    #[test]
    fn a_leaf_says_nothing_for_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, _) = authority(dir.path());
        let request = crate::LeafRequest {
            id: "spiffe://test.example/core/a".parse().unwrap(),
            dns: vec![],
            ip: vec![],
            validity: Duration::from_secs(60),
            key_algorithm: crate::KeyAlgorithm::EcdsaP256,
        };
        let leaf = ours.issue(&request).unwrap();
        let key = crate::keys::PrivateKey::from_pem(leaf.key_pem.as_bytes(), "it").unwrap();
        let signature = key.sign(&KIND.signed("text")).unwrap();
        let chain = parse_pem_certificates(leaf.cert_pem.as_bytes()).unwrap();
        let now = SystemTime::now().into();
        assert!(verify_statement(KIND, "text", &signature, &chain, now).is_err());
    }
}
