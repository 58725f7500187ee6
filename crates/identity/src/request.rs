use std::fmt;

use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, Refusal, RefusalCode, Timestamp};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::certificate::{Certificate, key_kind, sha256};
use crate::error::Error;
use crate::keys::{KeyAlgorithm, PrivateKey};
use crate::pem::{encode_pem, parse_pem_block};

const LABEL: &str = "CERTIFICATE REQUEST";

/// A new private key, and the request (PKCS #10, RFC 2986) to certify it. The request asks for
/// nothing: what a certificate says is for its issuer to decide.
pub struct KeyRequest {
    key_pem: Zeroizing<String>,
    request_pem: String,
    digest: Fingerprint,
}

impl KeyRequest {
    /// Makes a key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the library fails.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let (key, key_pem) = PrivateKey::generate(algorithm)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(Error::crypto("signing a request"))?;
        let request_pem = encode_pem(LABEL, request.der())?.to_string();
        Ok(Self { key_pem, request_pem, digest: sha256(request.der()) })
    }

    /// The private key, PKCS#8 PEM; wiped when dropped.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The request, PEM.
    pub fn request_pem(&self) -> &str {
        &self.request_pem
    }

    /// SHA-256 of the request's DER encoding.
    pub fn digest(&self) -> Fingerprint {
        self.digest
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The public key of a [`KeyRequest`] whose signature holds: whoever made it has the private half.
#[derive(Debug)]
pub struct RequestedKey {
    pub(crate) public: rcgen::SubjectPublicKeyInfo,
    digest: Fingerprint,
}

impl RequestedKey {
    /// Reads a request, PEM. Names and extensions that it asks for are not looked at.
    ///
    /// # Errors
    /// A refusal: [`RefusalCode::CertificateMalformed`], [`RefusalCode::WeakKey`],
    /// [`RefusalCode::CertificateSignature`].
    pub fn parse(pem: &[u8]) -> Result<Self, Refusal> {
        let refuse = |code, why: &str| Refusal::new(code, format!("the certificate request {why}"));
        let malformed = |why: &str| refuse(RefusalCode::CertificateMalformed, why);
        let der = parse_pem_block(pem, LABEL).map_err(|error| malformed(&error.to_string()))?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| malformed("cannot be parsed"))?;
        if !rest.is_empty() {
            return Err(malformed("has bytes behind its end"));
        }
        let spki = &request.certification_request_info.subject_pki;
        let kind = key_kind(spki);
        if !kind.strong {
            let why = format!("is for a key of kind {}, which is too weak", kind.name);
            return Err(refuse(RefusalCode::WeakKey, &why));
        }
        request.verify_signature().map_err(|_| {
            refuse(RefusalCode::CertificateSignature, "is not signed by its own key")
        })?;
        let public = rcgen::SubjectPublicKeyInfo::from_der(spki.raw)
            .map_err(|_| refuse(RefusalCode::WeakKey, "is for a key of a kind not issued for"))?;
        Ok(Self { public, digest: sha256(&der) })
    }

    /// The key of a certificate whose holder has proven that he has the private half, by TLS.
    ///
    /// # Errors
    /// [`RefusalCode::CertificateMalformed`], [`RefusalCode::WeakKey`].
    pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let certificate = Certificate::parse(der, "the leaf")?;
        let public = rcgen::SubjectPublicKeyInfo::from_der(certificate.public_key())
            .map_err(|_| Refusal::new(RefusalCode::WeakKey, "a key of a kind not issued for"))?;
        Ok(Self { public, digest: sha256(der) })
    }

    /// SHA-256 of the DER encoding of the request, or certificate.
    pub fn digest(&self) -> Fingerprint {
        self.digest
    }
}

/// A new leaf for a key that somebody else holds.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The leaf, PEM.
    pub cert_pem: String,
    /// When it expires.
    pub not_after: Timestamp,
}
