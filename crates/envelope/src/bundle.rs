use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::cbor::{Reader, Writer};
use crate::error::CryptoError;
use crate::header::{self, ALG, EDDSA, KID, TYP, VERSION};
use crate::hpke::RecipientPublicKey;
use crate::ids::KeyId;
use crate::layers::{Signed, to_be_signed};
use crate::signing::{SigningKey, VerifyingKey};

const TYPE: &str = "application/vnd.sealwire.bundle+cose";
const SIGNED_AS: &[u8] = b"sealwire/1 bundle";
/// Most bytes of an encoded bundle.
pub const MAX_BUNDLE: usize = 1024;

/// What others need to write to an agent and to believe it: its name and its two public
/// keys, and for how long.
///
/// A bundle is signed with its own signing key, which proves that whoever made it has that
/// key, and binds name and recipient key to it: who has confirmed the signing key's
/// fingerprint has confirmed all of it. It does not prove that the name is rightly claimed.
/// That is the business of whoever takes it into a [`Directory`](crate::Directory).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bundle {
    /// Whose keys these are.
    pub agent: AgentId,
    /// What verifies the agent's messages.
    pub signing: VerifyingKey,
    /// What messages to the agent are sealed to.
    pub recipient: RecipientPublicKey,
    /// Grows with each renewal; the highest is the one to seal to.
    pub number: u64,
    /// From when on the keys are valid, in whole seconds.
    pub not_before: Timestamp,
    /// Until when, exclusive, in whole seconds.
    pub not_after: Timestamp,
}

/// What a bundle is to say besides its keys.
#[derive(Clone, Debug)]
pub struct BundleRequest {
    /// Whose keys these are.
    pub agent: AgentId,
    /// One more than that of the agent's last bundle.
    pub number: u64,
    /// From when on the keys are valid; rounded down to whole seconds.
    pub not_before: Timestamp,
    /// Until when, exclusive; rounded down to whole seconds.
    pub not_after: Timestamp,
}

impl Bundle {
    /// Makes a bundle and signs it. The bytes are what is handed to others; they decode to
    /// the bundle.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn make(
        request: &BundleRequest,
        signing: &SigningKey,
        recipient: &RecipientPublicKey,
    ) -> Result<Vec<u8>, CryptoError> {
        let kid = signing.verifying_key().kid();
        let mut w = Writer::with_capacity(128);
        w.map(3).int(ALG).int(EDDSA).int(KID).bytes(kid.as_bytes()).int(TYP).text(TYPE);
        let protected = w.finish();
        w.array(7).uint(VERSION).text(request.agent.as_str()).uint(request.number);
        w.int(request.not_before.unix_seconds()).int(request.not_after.unix_seconds());
        w.bytes(signing.verifying_key().as_bytes()).bytes(recipient.as_bytes());
        let payload = w.finish();
        let signature = signing.sign(&to_be_signed(&protected, SIGNED_AS, &payload))?;
        Ok(Signed::encode(&protected, &payload, &signature))
    }

    /// Parses a bundle and verifies its signature.
    ///
    /// # Errors
    /// With the code of the rule that is broken: `envelope_…`, `weak_key`,
    /// `signature_invalid`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_BUNDLE {
            let reason = format!("{} bytes; a bundle has at most {MAX_BUNDLE}", bytes.len());
            return Err(Refusal::new(RefusalCode::MessageTooLarge, reason));
        }
        let signed = Signed::decode(bytes)?;
        let mut r = Reader::within(signed.protected, signed.protected_at);
        r.map_with(3, RefusalCode::EnvelopeHeader, "a bundle's header is not a map of three")?;
        header::algorithm(&mut r, EDDSA)?;
        r.label(KID, "kid (4) must come here, and is not here")?;
        let kid = KeyId::from_bytes(r.array_of("kid is not 32 bytes")?);
        header::typ(&mut r, TYPE)?;
        r.end("there is more in the protected header than belongs there")?;

        let mut r = Reader::within(signed.payload, signed.payload_at);
        r.array_with(7, "a bundle's payload is not an array of seven")?;
        header::version(&mut r)?;
        let agent = header::agent(&mut r, "the bundle does not name an agent")?;
        let number = r.uint("the bundle's number is not a number")?;
        let not_before = header::seconds(&mut r, "not_before is not a time in whole seconds")?;
        let fault = r.fault(RefusalCode::EnvelopeClaim, "the bundle is valid at no time");
        let not_after = header::seconds(&mut r, "not_after is not a time in whole seconds")?;
        if not_after <= not_before {
            return Err(fault.into());
        }
        let fault = r.fault(RefusalCode::EnvelopeClaim, "kid is not that of the signing key");
        let signing = VerifyingKey::from_bytes(&r.array_of("a signing key has 32 bytes")?)?;
        if signing.kid() != kid {
            return Err(fault.into());
        }
        let recipient = r.array_of("a recipient key has 32 bytes")?;
        let recipient = RecipientPublicKey::from_bytes(&recipient)?;
        r.end("there is more in the bundle than belongs there")?;

        let message = to_be_signed(signed.protected, SIGNED_AS, signed.payload);
        signing.verify(&message, &signed.signature)?;
        Ok(Self { agent, signing, recipient, number, not_before, not_after })
    }

    /// What a person compares before believing the bundle: the signing key's identity, which
    /// stands for all of it.
    pub fn fingerprint(&self) -> KeyId {
        self.signing.kid()
    }

    /// Whether the keys are valid at that time.
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}
