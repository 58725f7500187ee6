use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files;
use crate::pem::{encode_pem, parse_pem_private_key};

/// An Ed25519 key (RFC 8032) that signs messages: separate from every TLS key.
///
/// The private half is wiped by the cryptographic library when it is dropped.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = Ed25519KeyPair::generate().map_err(Error::crypto("generating a key"))?;
        Ok(Self { pair })
    }

    /// Reads a private key: PKCS#8 PEM, or OpenSSH's own format, mode 0600.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and what to do.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::from_pem(&files::read_private(path)?, &path.display().to_string())
    }

    /// Reads a private key from PEM; `label` names it in errors.
    ///
    /// # Errors
    /// Names what is wrong with it, and what to do.
    pub fn from_pem(pem: &[u8], label: &str) -> Result<Self, Error> {
        let label = label.to_owned();
        let der = parse_pem_private_key(pem)
            .map_err(|problem| Error::Pem { label: label.clone(), problem })?;
        let PrivateKeyDer::Pkcs8(pkcs8) = &*der else {
            return Err(Error::Key { label, reason: "a signing key must be Ed25519".into() });
        };
        // Version 1 of PKCS#8 has no public half to check against; the public half
        // is then computed from the private one.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.secret_pkcs8_der())
            .map_err(|_| Error::Key { label, reason: "a signing key must be Ed25519".into() })?;
        Ok(Self { pair })
    }

    /// Writes the private key (PKCS#8 PEM, mode 0600), then the public one (SPKI PEM).
    ///
    /// # Errors
    /// [`Error::Exists`] if either file is there already: nothing is overwritten.
    pub fn write(&self, private: &Path, public: &Path) -> Result<(), Error> {
        let pem = self.private_key_pem()?;
        let public_pem = self.public_key_pem()?;
        files::refuse_existing(&[private, public])?;
        files::write_new(private, pem.as_bytes(), files::PRIVATE_FILE)?;
        files::write_new(public, public_pem.as_bytes(), files::PUBLIC_FILE)
    }

    /// The private key as PKCS#8, version 1 (RFC 8410 §7), in PEM.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn private_key_pem(&self) -> Result<Zeroizing<String>, Error> {
        let pkcs8 = self.pair.to_pkcs8v1().map_err(Error::crypto("encoding a key"))?;
        encode_pem("PRIVATE KEY", pkcs8.as_ref())
    }

    /// The private key itself, for a library that takes keys as values.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn seed(&self) -> Result<Zeroizing<[u8; 32]>, Error> {
        let seed = self.pair.seed().map_err(Error::crypto("reading a key"))?;
        let bytes: Curve25519SeedBin<'_> =
            seed.as_be_bytes().map_err(Error::crypto("reading a key"))?;
        let bytes: &[u8; 32] = bytes.as_ref().try_into().map_err(Error::crypto("reading a key"))?;
        Ok(Zeroizing::new(*bytes))
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signature = self.pair.try_sign(message).map_err(Error::crypto("signing"))?;
        signature.as_ref().try_into().map_err(Error::crypto("signing"))
    }

    /// The public key: a compressed point.
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public key as SubjectPublicKeyInfo (RFC 8410 §4) in PEM.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn public_key_pem(&self) -> Result<String, Error> {
        let der: PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().map_err(Error::crypto("encoding a key"))?;
        encode_pem("PUBLIC KEY", der.as_ref()).map(|mut pem| std::mem::take(&mut *pem))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public_key", &self.public_key()).finish()
    }
}
