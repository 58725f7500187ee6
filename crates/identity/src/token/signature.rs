//! The forms of public keys and signatures in a token, and here.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use rustls::SignatureScheme;
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::public_key_to_spki;

use crate::keys::KeyAlgorithm;

/// CKA_EC_PARAMS: the object identifiers 1.2.840.10045.3.1.7 and 1.3.101.112, DER.
pub(super) const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(super) const ED25519_OID: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
/// The curve's name, PrintableString, which PKCS #11 v3.1 §6.3.2 allows in its place.
pub(super) const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

const P256_POINT: usize = 65;
const ED25519_POINT: usize = 32;

impl KeyAlgorithm {
    /// The public key in CKA_EC_POINT: a DER OCTET STRING, by older modules the point as it is.
    pub(super) fn point(self, held: &[u8]) -> Option<&[u8]> {
        let size = match self {
            Self::EcdsaP256 => P256_POINT,
            Self::Ed25519 => ED25519_POINT,
        };
        let point = match held {
            [4, length, point @ ..] if usize::from(*length) == point.len() => point,
            // A BIT STRING, as the first drafts of version 3.0 had it for Ed25519.
            [3, length, 0, point @ ..] if usize::from(*length) == point.len() + 1 => point,
            point => point,
        };
        let is_uncompressed = self == Self::Ed25519 || point.first() == Some(&4);
        (point.len() == size && is_uncompressed).then_some(point)
    }

    pub(super) fn spki(self, point: &[u8]) -> SubjectPublicKeyInfoDer<'static> {
        let algorithm = match self {
            Self::EcdsaP256 => alg_id::ECDSA_P256,
            Self::Ed25519 => alg_id::ED25519,
        };
        public_key_to_spki(&algorithm, point)
    }

    pub(super) fn scheme(self) -> SignatureScheme {
        match self {
            Self::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::Ed25519 => SignatureScheme::ED25519,
        }
    }

    /// How a token is asked for a signature.
    pub(super) fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::EcdsaP256 => Mechanism::Ecdsa,
            Self::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        }
    }

    /// What the token signs. It is given the hash, for not every one makes it.
    pub(super) fn to_sign(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::EcdsaP256 => digest(&SHA256, message).as_ref().to_vec(),
            Self::Ed25519 => message.to_vec(),
        }
    }

    /// The signature as TLS and certificates have it; `None` if it is none.
    pub(super) fn encode(self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != 64 {
            return None;
        }
        Some(match self {
            Self::EcdsaP256 => ecdsa_der(signature),
            Self::Ed25519 => signature.to_vec(),
        })
    }

    pub(super) fn verifies(self, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EcdsaP256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::Ed25519 => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        }
        .is_ok()
    }
}

/// ECDSA-Sig-Value (RFC 3279 §2.2.3) from r and s, of 32 bytes each: in every length below 128.
fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let mut integers = Vec::with_capacity(signature.len() + 6);
    for number in signature.chunks(signature.len() / 2) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let number = &number[zeros..];
        let sign = number[0] & 0x80 != 0;
        integers.extend([2, octet(number.len() + usize::from(sign))]);
        integers.extend(sign.then_some(0));
        integers.extend_from_slice(number);
    }
    let mut der = vec![0x30, octet(integers.len())];
    der.append(&mut integers);
    der
}

fn octet(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    /// Enough signatures that r and s begin with a zero byte, and with a set bit, in some.
    #[test]
    fn every_signature_is_encoded_so_that_it_verifies() {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        for _ in 0..600 {
            let fixed = key.sign(&random, b"message").unwrap();
            let signature = KeyAlgorithm::EcdsaP256.encode(fixed.as_ref()).unwrap();
            let point = key.public_key().as_ref();
            assert!(KeyAlgorithm::EcdsaP256.verifies(point, b"message", &signature));
            assert!(!KeyAlgorithm::EcdsaP256.verifies(point, b"other", &signature));
        }
    }

    #[test]
    fn numbers_are_as_short_as_der_wants_them() {
        let mut signature = [0; 64];
        (signature[31], signature[32]) = (1, 0x80);
        let der = ecdsa_der(&signature);
        assert_eq!(der[..7], [0x30, 38, 2, 1, 1, 2, 33]);
        assert_eq!(der[7..9], [0, 0x80]);
        assert_eq!(ecdsa_der(&[0; 64]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert_eq!(KeyAlgorithm::EcdsaP256.encode(&[0; 63]), None);
    }

    #[test]
    fn a_point_is_read_in_each_form_that_modules_give_it() {
        let ed = [7; 32];
        for held in [&[&[4, 32][..], &ed].concat()[..], &[&[3, 33, 0][..], &ed].concat(), &ed] {
            assert_eq!(KeyAlgorithm::Ed25519.point(held), Some(&ed[..]));
        }
        let p256 = [&[4][..], &[7; 64]].concat();
        for held in [&[&[4, 65][..], &p256].concat()[..], &p256] {
            assert_eq!(KeyAlgorithm::EcdsaP256.point(held), Some(&p256[..]));
        }
        let compressed = [&[2][..], &[7; 32]].concat();
        assert_eq!(KeyAlgorithm::EcdsaP256.point(&compressed), None);
        assert_eq!(KeyAlgorithm::Ed25519.point(&p256), None);
    }
}
