use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use sealwire_names::Fingerprint;
use zeroize::Zeroizing;

use crate::certificate::sha256;
use crate::error::Error;

const TOKEN: usize = 24;
/// Of a token's hash, so much is its name.
const ID: usize = 16;

/// What is derived from a token, each under a label of its own, so that no value serves for two.
const ID_LABEL: &[u8] = b"sealwire-join/1 id\0";
const SECRET_LABEL: &[u8] = b"sealwire-join/1 secret\0";
const CLIENT_LABEL: &[u8] = b"sealwire-join/1 client\0";
const SERVICE_LABEL: &[u8] = b"sealwire-join/1 service\0";

/// 192 random bits in an invitation; wiped when dropped.
pub struct Token(Zeroizing<[u8; TOKEN]>);

/// The name of a token, by which the service finds what it knows of it. It tells nothing of the
/// token.
pub type TokenId = [u8; ID];

impl Token {
    /// Makes one.
    ///
    /// # Errors
    /// [`Error::Crypto`] if there is no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; TOKEN]);
        rand::fill(&mut *bytes).map_err(Error::crypto("reading randomness"))?;
        Ok(Self(bytes))
    }

    /// Its name.
    pub fn id(&self) -> TokenId {
        let tag = mac(&*self.0, &[ID_LABEL]);
        let mut id = [0; ID];
        id.copy_from_slice(&tag.as_ref()[..ID]);
        id
    }

    /// What proofs are made and checked with. The token cannot be computed from it.
    pub fn secret(&self) -> Secret {
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(mac(&*self.0, &[SECRET_LABEL]).as_ref());
        Secret(secret)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut token = Zeroizing::new([0; TOKEN]);
        (bytes.len() == TOKEN).then(|| token.copy_from_slice(bytes))?;
        Some(Self(token))
    }
}

/// Who proves that he has the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<'a> {
    /// Whoever joins.
    Client,
    /// The service, over its answer.
    Service {
        /// The answer, as it is sent.
        answer: &'a [u8],
    },
}

/// What a proof is about: it is worth nothing on another connection or for another key.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// [`tls_exporter`](super::tls_exporter) of the connection.
    pub exporter: [u8; 32],
    /// SHA-256 of the certificate request.
    pub request: Fingerprint,
}

/// The key of proofs; wiped when dropped.
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// As it was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// To be kept, where nobody but the service can read it.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A proof: HMAC-SHA256 over who proves, the connection and the request.
    pub fn prove(&self, side: Side<'_>, binding: &Binding) -> [u8; 32] {
        let mut proof = [0; 32];
        proof.copy_from_slice(mac(&*self.0, &parts(side, binding, &answer(side))).as_ref());
        proof
    }

    /// Whether that is the proof; in constant time.
    pub fn verify(&self, side: Side<'_>, binding: &Binding, proof: &[u8]) -> bool {
        let key = hmac::Key::new(HMAC_SHA256, &*self.0);
        hmac::verify(&key, &parts(side, binding, &answer(side)).concat(), proof).is_ok()
    }
}

/// A hash of the answer, so that all parts but the label are of fixed length.
fn answer(side: Side<'_>) -> Option<Fingerprint> {
    match side {
        Side::Client => None,
        Side::Service { answer } => Some(sha256(answer)),
    }
}

fn parts<'a>(
    side: Side<'_>,
    binding: &'a Binding,
    answer: &'a Option<Fingerprint>,
) -> [&'a [u8]; 4] {
    let label = match side {
        Side::Client => CLIENT_LABEL,
        Side::Service { .. } => SERVICE_LABEL,
    };
    let answer: &[u8] = answer.as_ref().map_or(&[], |answer| answer.as_bytes());
    [label, &binding.exporter, binding.request.as_bytes(), answer]
}

fn mac(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// Shows nothing of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// Shows nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_side_connection_request_and_answer_alone() {
        let token = Token::generate().unwrap();
        let binding = Binding { exporter: [1; 32], request: Fingerprint::from_sha256([2; 32]) };
        let elsewhere = Binding { exporter: [3; 32], ..binding };
        let for_another = Binding { request: Fingerprint::from_sha256([4; 32]), ..binding };
        let service = Side::Service { answer: b"yes" };
        let secret = token.secret();
        for side in [Side::Client, service] {
            let proof = secret.prove(side, &binding);
            assert!(Secret::from_bytes(*secret.bytes()).verify(side, &binding, &proof));
            for (side, binding) in [
                (side, &elsewhere),
                (side, &for_another),
                (if side == service { Side::Client } else { service }, &binding),
                (Side::Service { answer: b"no" }, &binding),
            ] {
                assert!(!secret.verify(side, binding, &proof), "{side:?} {binding:?}");
            }
            assert!(!secret.verify(side, &binding, &proof[..31]));
            assert!(!secret.verify(side, &binding, b""));
            assert!(!Token::generate().unwrap().secret().verify(side, &binding, &proof));
        }
    }

    /// Another implementation needs these; see docs/spec/join.md.
    #[test]
    fn the_values_of_the_specification() {
        let token = Token::from_slice(&std::array::from_fn::<u8, TOKEN, _>(|i| i as u8)).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let binding = Binding { exporter: [1; 32], request: Fingerprint::from_sha256([2; 32]) };
        let secret = token.secret();
        let spec = include_str!("../../../../docs/spec/join.md");
        for value in [
            hex(&token.id()),
            hex(secret.bytes()),
            hex(&secret.prove(Side::Client, &binding)),
            hex(&secret.prove(Side::Service { answer: b"{}" }, &binding)),
        ] {
            assert!(spec.contains(&value), "docs/spec/join.md lacks {value}");
        }
    }
}
