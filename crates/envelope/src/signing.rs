use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sealwire_names::{Refusal, RefusalCode};
use zeroize::Zeroizing;

use crate::KeyId;
use crate::error::CryptoError;

/// An agent's private Ed25519 key (RFC 8032). It signs and does nothing else.
///
/// The key lives in memory that the cryptographic library wipes when it is dropped; or elsewhere, as
/// in a hardware security module, and what signs with it is here.
pub struct SigningKey {
    held: Held,
    public: VerifyingKey,
}

/// Signs a message, or says why not.
type SignElsewhere = Box<dyn Fn(&[u8]) -> Result<[u8; 64], CryptoError> + Send + Sync>;

enum Held {
    Here(Ed25519KeyPair),
    Elsewhere(SignElsewhere),
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::generate().map_err(CryptoError::of("generating a key"))?;
        Self::new(pair)
    }

    /// The key with this seed: the 32 bytes that RFC 8032 §5.1.5 calls the private key, as
    /// PKCS#8 and OpenSSH hold it.
    ///
    /// # Errors
    /// If the cryptographic library fails; every seed is a key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self::new(pair.map_err(CryptoError::of("reading a key"))?)
    }

    /// A key that is held elsewhere: `sign` makes its signatures (RFC 8032 §5.1.6) over what it is
    /// given. It is called for each message, and waited for.
    ///
    /// # Errors
    /// If `public` is no key that others accept.
    pub fn held_elsewhere(
        public: &[u8; 32],
        sign: impl Fn(&[u8]) -> Result<[u8; 64], CryptoError> + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        let public = VerifyingKey::from_bytes(public)?;
        Ok(Self { held: Held::Elsewhere(Box::new(sign)), public })
    }

    /// The seed, to be kept; it is wiped when dropped.
    ///
    /// # Errors
    /// If the key is held elsewhere, or the cryptographic library fails.
    pub fn to_seed(&self) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        let Held::Here(pair) = &self.held else {
            return Err(CryptoError::of("encoding a key")("it is held elsewhere"));
        };
        let seed = pair.seed().map_err(CryptoError::of("encoding a key"))?;
        let bytes: Curve25519SeedBin<'_> =
            seed.as_be_bytes().map_err(CryptoError::of("encoding a key"))?;
        let mut out = Zeroizing::new([0; 32]);
        out.copy_from_slice(bytes.as_ref());
        Ok(out)
    }

    /// The public half.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        match &self.held {
            Held::Here(pair) => {
                let signature = pair.try_sign(message).map_err(CryptoError::of("signing"))?;
                signature.as_ref().try_into().map_err(CryptoError::of("signing"))
            }
            Held::Elsewhere(sign) => sign(message),
        }
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, CryptoError> {
        let bytes = pair.public_key().as_ref().try_into();
        let bytes: [u8; 32] = bytes.map_err(CryptoError::of("reading a key"))?;
        let public = VerifyingKey { kid: KeyId::of(&bytes), bytes };
        Ok(Self { held: Held::Here(pair), public })
    }
}

/// Shows the public half alone.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An agent's public Ed25519 key, to verify with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    bytes: [u8; 32],
    kid: KeyId,
}

impl VerifyingKey {
    /// Takes a public key's 32 bytes (RFC 8032 §5.1.2).
    ///
    /// # Errors
    /// [`RefusalCode::WeakKey`] if it is of small order, so that one signature would hold
    /// for many messages, or not the one encoding of its point.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Refusal> {
        check_point(bytes).map_err(|what| {
            Refusal::new(RefusalCode::WeakKey, format!("the Ed25519 public key {what}"))
        })?;
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

    /// RFC 8032 §5.1.7 without a cofactor, S below the group's order, and neither A nor R of
    /// small order: of each message a key has signatures that only its holder can make, and
    /// nobody can turn one into another.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), Refusal> {
        let invalid = |why: String| Refusal::new(RefusalCode::SignatureInvalid, why);
        let r: [u8; 32] = std::array::from_fn(|index| signature[index]);
        check_point(&r).map_err(|what| invalid(format!("R of the signature {what}")))?;
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).map_err(|_| {
            invalid(format!("the signature is not that of key {} over these bytes", self.kid))
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.kid)
    }
}

/// p = 2^255 − 19, little-endian, of which the low byte differs from 0xff at the bottom.
const P_LOW: u8 = 0xed;
/// y of the two points of order 8 with one sign of y; the other two have p − y.
const ORDER_8: [[u8; 32]; 2] = [
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
];

/// Refuses the eight points of small order, which all have one of five y, and what is not
/// the canonical encoding of y. Points are public, so time may depend on them.
fn check_point(point: &[u8; 32]) -> Result<(), &'static str> {
    let mut y = *point;
    y[31] &= 0x7f;
    let all_ones = y[31] == 0x7f && y[1..31].iter().all(|byte| *byte == 0xff);
    if all_ones && y[0] >= P_LOW {
        return Err("is not the canonical encoding of a point");
    }
    let order_1_or_4 = y[0] <= 1 && y[1..].iter().all(|byte| *byte == 0);
    let order_2 = all_ones && y[0] == P_LOW - 1;
    if order_1_or_4 || order_2 || ORDER_8.contains(&y) {
        return Err("is of small order");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
