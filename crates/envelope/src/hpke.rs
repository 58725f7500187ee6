//! The receivers' keys, and the wrapping of content keys for them: HPKE (RFC 9180) in base
//! mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! It is the implementation that rustls carries, on the same library as all other
//! cryptography here. Nothing outside this file knows that.

use std::fmt;

use aws_lc_rs::agreement;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use sealwire_names::{Refusal, RefusalCode};
use zeroize::Zeroizing;

use crate::KeyId;
use crate::error::CryptoError;

/// Bytes of an encapsulated key: the sender's ephemeral public key.
pub(crate) const ENC: usize = 32;
/// Bytes of a wrapped content key: 32 of the key, 16 of the tag.
pub(crate) const WRAPPED: usize = 48;

/// An agent's private X25519 key (RFC 7748): what is sealed to it, it opens.
///
/// It has nothing to do with the agent's [`SigningKey`](crate::SigningKey), and no way leads
/// from one to the other.
pub struct RecipientKey {
    private: HpkePrivateKey,
    public: RecipientPublicKey,
}

impl RecipientKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(CryptoError::of("generating a key"))?;
        Self::from_bytes(&bytes)
    }

    /// The key with these 32 bytes; they are clamped when used (RFC 7748 §5).
    ///
    /// # Errors
    /// If the cryptographic library fails; all bytes are a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        let failed = CryptoError::of("reading a key");
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, bytes)
            .map_err(|_| failed(()))?;
        let public = private.compute_public_key().map_err(|_| failed(()))?;
        let public: [u8; 32] = public.as_ref().try_into().map_err(|_| failed(()))?;
        Ok(Self {
            private: HpkePrivateKey::from(bytes.to_vec()),
            public: RecipientPublicKey { kid: KeyId::of(&public), bytes: public },
        })
    }

    /// The key's bytes, to be kept; they are wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(self.private.secret_bytes());
        bytes
    }

    /// The public half.
    pub fn public(&self) -> &RecipientPublicKey {
        &self.public
    }

    /// Unwraps a content key; `None` if it was not wrapped for this key with this `info`.
    pub(crate) fn unwrap_key(
        &self,
        enc: &[u8; ENC],
        wrapped: &[u8; WRAPPED],
        info: &[u8],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let enc = EncapsulatedSecret(enc.to_vec());
        // An all-zero shared secret, which a low-order `enc` makes, is refused in there.
        let key = SUITE.open(&enc, info, &[], wrapped, &self.private).map(Zeroizing::new).ok()?;
        let mut cek = Zeroizing::new([0; 32]);
        if key.len() != cek.len() {
            return None;
        }
        cek.copy_from_slice(&key);
        Some(cek)
    }
}

/// Shows the public half alone.
impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An agent's public X25519 key, to seal to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecipientPublicKey {
    bytes: [u8; 32],
    kid: KeyId,
}

impl RecipientPublicKey {
    /// Takes a public key's 32 bytes (RFC 7748 §5).
    ///
    /// # Errors
    /// [`RefusalCode::WeakKey`] if it is of low order, so that everybody would know what is
    /// agreed with it, or not the one encoding of its coordinate.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Refusal> {
        let refuse =
            |what| Err(Refusal::new(RefusalCode::WeakKey, format!("the X25519 public key {what}")));
        let all_ones = bytes[31] >= 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
        if bytes[31] > 0x7f || (all_ones && bytes[0] >= 0xed) {
            return refuse("is not the canonical encoding of a coordinate");
        }
        // 0, 1, p − 1 and the two of order 8: on the curve and its twist there are no others.
        let small = bytes[0] <= 1 && bytes[1..].iter().all(|byte| *byte == 0);
        if small || (all_ones && bytes[0] == 0xec) || ORDER_8.contains(bytes) {
            return refuse("is of low order");
        }
        Ok(Self { bytes: *bytes, kid: KeyId::of(bytes) })
    }

    /// The public key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The key's identity.
    pub const fn kid(&self) -> KeyId {
        self.kid
    }
}

impl fmt::Debug for RecipientPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientPublicKey({})", self.kid)
    }
}

const ORDER_8: [[u8; 32]; 2] = [
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

/// Wraps a content key: the encapsulated key, and the key sealed.
pub(crate) fn wrap_key(
    to: &RecipientPublicKey,
    cek: &[u8; 32],
    info: &[u8],
) -> Result<([u8; ENC], [u8; WRAPPED]), CryptoError> {
    let to = HpkePublicKey(to.bytes.to_vec());
    let (enc, wrapped) =
        SUITE.seal(info, &[], cek, &to).map_err(CryptoError::of("wrapping a content key"))?;
    let enc = enc.0.try_into().map_err(CryptoError::of("wrapping a content key"))?;
    Ok((enc, wrapped.try_into().map_err(CryptoError::of("wrapping a content key"))?))
}

#[cfg(test)]
mod tests;
