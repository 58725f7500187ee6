use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::pem::{encode_pem, parse_pem_private_key};
use crate::token::{KeyPlace, TokenKey, TokenUri};

/// The algorithm of a leaf's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256: understood everywhere.
    #[default]
    EcdsaP256,
    /// Ed25519 (RFC 8410): faster handshakes.
    Ed25519,
}

/// A private key that signs handshakes or certificates.
///
/// The key itself lives in memory that the cryptographic library wipes when it is
/// freed; the DER it was read from is wiped here.
#[derive(Clone)]
pub(crate) struct PrivateKey {
    signer: Arc<dyn rustls::sign::SigningKey>,
    public: rcgen::SubjectPublicKeyInfo,
    is_in_token: bool,
}

impl PrivateKey {
    /// Makes a key, or uses the one that is in `token` already; also returns what stands in its
    /// file: PKCS#8 PEM, or the URI.
    pub(crate) fn make(
        algorithm: KeyAlgorithm,
        token: Option<&TokenUri>,
    ) -> Result<(Self, Zeroizing<String>), Error> {
        let Some(token) = token else { return Self::generate(algorithm) };
        let key = Self::in_token(TokenKey::open_or_generate(token, algorithm)?)?;
        Ok((key, Zeroizing::new(format!("{token}\n"))))
    }

    /// Reads the key that `path` names: in a token, or in a file whose mode is no wider than `mode`.
    pub(crate) fn load(path: &Path, mode: u32) -> Result<Self, Error> {
        match KeyPlace::read(path, mode)? {
            KeyPlace::Text(pem) => Self::from_pem(&pem, &path.display().to_string()),
            KeyPlace::Token(uri) => Self::in_token(TokenKey::open(&uri)?),
        }
    }

    /// Makes a key; also returns its PKCS#8 PEM.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<(Self, Zeroizing<String>), Error> {
        let random = SystemRandom::new();
        // PKCS#8 version 1, without the public half: OpenSSL 3 reads no other.
        let pkcs8 = match algorithm {
            KeyAlgorithm::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            }
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random),
        }
        .map_err(Error::crypto("generating a key"))?;
        let pem = encode_pem("PRIVATE KEY", pkcs8.as_ref())?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
        Ok((Self::from_der(&Zeroizing::new(der), "the new key")?, pem))
    }

    /// Reads a key from PEM; `label` names it in errors.
    pub(crate) fn from_pem(pem: &[u8], label: &str) -> Result<Self, Error> {
        let der = parse_pem_private_key(pem)
            .map_err(|problem| Error::Pem { label: label.into(), problem })?;
        Self::from_der(&der, label)
    }

    /// For [`rustls::sign::CertifiedKey`].
    pub(crate) fn signer(&self) -> Arc<dyn rustls::sign::SigningKey> {
        Arc::clone(&self.signer)
    }

    pub(crate) fn is_in_token(&self) -> bool {
        self.is_in_token
    }

    /// The public half, for a certificate.
    pub(crate) fn public(&self) -> &rcgen::SubjectPublicKeyInfo {
        &self.public
    }

    fn in_token(key: TokenKey) -> Result<Self, Error> {
        let public = rcgen::SubjectPublicKeyInfo::from_der(&key.spki())
            .map_err(Error::crypto("reading a public key"))?;
        Ok(Self { signer: Arc::new(key), public, is_in_token: true })
    }

    fn from_der(der: &PrivateKeyDer<'static>, label: &str) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Key { label: label.into(), reason };
        let signer = any_supported_type(der)
            .map_err(|e| unusable(format!("the private key cannot be used: {e}")))?;
        let spki = signer.public_key().ok_or_else(|| unusable("no public key in it".into()))?;
        let public = rcgen::SubjectPublicKeyInfo::from_der(&spki)
            .map_err(|e| unusable(format!("the private key cannot be used: {e}")))?;
        Ok(Self { signer, public, is_in_token: false })
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

/// Signs certificates through the same object that signs handshakes, so that a
/// certificate authority's key is held in one place only.
impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let algorithm = rcgen::PublicKeyData::algorithm(self);
        let scheme = if *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 {
            SignatureScheme::ECDSA_NISTP256_SHA256
        } else if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 {
            SignatureScheme::ECDSA_NISTP384_SHA384
        } else if *algorithm == rcgen::PKCS_ED25519 {
            SignatureScheme::ED25519
        } else if *algorithm == rcgen::PKCS_RSA_SHA256 {
            SignatureScheme::RSA_PKCS1_SHA256
        } else {
            return Err(rcgen::Error::UnsupportedSignatureAlgorithm);
        };
        let signer = self
            .signer
            .choose_scheme(&[scheme])
            .ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("algorithm", &self.signer.algorithm()).finish()
    }
}
