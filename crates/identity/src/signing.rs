use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files;
use crate::keys::KeyAlgorithm;
use crate::pem::{encode_pem, parse_pem_private_key};
use crate::token::{KeyPlace, TokenKey, TokenUri};

/// An Ed25519 key (RFC 8032) that signs messages: separate from every TLS key.
///
/// The private half is wiped by the cryptographic library when it is dropped, or in a token.
pub struct SigningKey {
    held: Held,
}

enum Held {
    Here(Ed25519KeyPair),
    InToken(TokenKey),
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = Ed25519KeyPair::generate().map_err(Error::crypto("generating a key"))?;
        Ok(Self { held: Held::Here(pair) })
    }

    /// Opens the key in a token, and makes it there if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Token`], and of the PIN's file.
    pub fn open_or_generate(token: &TokenUri) -> Result<Self, Error> {
        Self::in_token(TokenKey::open_or_generate(token, KeyAlgorithm::Ed25519)?)
    }

    fn in_token(key: TokenKey) -> Result<Self, Error> {
        if key.algorithm() != KeyAlgorithm::Ed25519 {
            let (label, reason) = (key.uri().to_string(), "a signing key must be Ed25519".into());
            return Err(Error::Key { label, reason });
        }
        Ok(Self { held: Held::InToken(key) })
    }

    /// Reads a private key: PKCS#8 PEM, or OpenSSH's own format, mode 0600; or opens the one in a
    /// token that `path` names, or the file holds the URI of.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and what to do.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match KeyPlace::read(path, files::PRIVATE_FILE)? {
            KeyPlace::Text(pem) => Self::from_pem(&pem, &path.display().to_string()),
            KeyPlace::Token(uri) => Self::in_token(TokenKey::open(&uri)?),
        }
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
        Ok(Self { held: Held::Here(pair) })
    }

    /// The token that it is in.
    pub fn token(&self) -> Option<&TokenUri> {
        match &self.held {
            Held::Here(_) => None,
            Held::InToken(key) => Some(key.uri()),
        }
    }

    /// Writes the private key ([`Self::private_text`], mode 0600), then the public one (SPKI PEM).
    ///
    /// # Errors
    /// [`Error::Exists`] if either file is there already: nothing is overwritten.
    pub fn write(&self, private: &Path, public: &Path) -> Result<(), Error> {
        let text = self.private_text()?;
        let public_pem = self.public_key_pem()?;
        files::refuse_existing(&[private, public])?;
        files::write_new(private, text.as_bytes(), files::PRIVATE_FILE)?;
        files::write_new(public, public_pem.as_bytes(), files::PUBLIC_FILE)
    }

    /// What stands in its file: PKCS#8, version 1 (RFC 8410 §7), in PEM; or the URI of a key in a
    /// token.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn private_text(&self) -> Result<Zeroizing<String>, Error> {
        match &self.held {
            Held::Here(pair) => {
                let pkcs8 = pair.to_pkcs8v1().map_err(Error::crypto("encoding a key"))?;
                encode_pem("PRIVATE KEY", pkcs8.as_ref())
            }
            Held::InToken(key) => Ok(Zeroizing::new(format!("{}\n", key.uri()))),
        }
    }

    /// The private key itself, for a library that takes keys as values.
    ///
    /// # Errors
    /// [`Error::Key`] if it is in a token; [`Error::Crypto`] if the cryptographic library fails.
    pub fn seed(&self) -> Result<Zeroizing<[u8; 32]>, Error> {
        let pair = match &self.held {
            Held::Here(pair) => pair,
            Held::InToken(key) => {
                let (label, reason) = (key.uri().to_string(), "it never leaves the token".into());
                return Err(Error::Key { label, reason });
            }
        };
        let seed = pair.seed().map_err(Error::crypto("reading a key"))?;
        let bytes: Curve25519SeedBin<'_> =
            seed.as_be_bytes().map_err(Error::crypto("reading a key"))?;
        let bytes: &[u8; 32] = bytes.as_ref().try_into().map_err(Error::crypto("reading a key"))?;
        Ok(Zeroizing::new(*bytes))
    }

    /// Signs a message; waits for the token, if it is in one.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails; [`Error::Token`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        match &self.held {
            Held::Here(pair) => {
                let signature = pair.try_sign(message).map_err(Error::crypto("signing"))?;
                signature.as_ref().try_into().map_err(Error::crypto("signing"))
            }
            Held::InToken(key) => {
                let signature: Result<[u8; 64], _> = key.sign(message)?.try_into();
                signature.map_err(|_| Error::crypto("signing")("a signature of another length"))
            }
        }
    }

    /// The public key: a compressed point.
    pub fn public_key(&self) -> &[u8] {
        match &self.held {
            Held::Here(pair) => pair.public_key().as_ref(),
            Held::InToken(key) => key.public_point(),
        }
    }

    /// The public key as SubjectPublicKeyInfo (RFC 8410 §4) in PEM.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the cryptographic library fails.
    pub fn public_key_pem(&self) -> Result<String, Error> {
        let pem = match &self.held {
            Held::Here(pair) => {
                let der: PublicKeyX509Der<'_> =
                    pair.public_key().as_der().map_err(Error::crypto("encoding a key"))?;
                encode_pem("PUBLIC KEY", der.as_ref())
            }
            Held::InToken(key) => encode_pem("PUBLIC KEY", key.spki().as_ref()),
        };
        pem.map(|mut pem| std::mem::take(&mut *pem))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public_key", &self.public_key()).finish()
    }
}
