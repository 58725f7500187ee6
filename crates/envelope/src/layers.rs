//! The two layers around the content: COSE_Sign1 over COSE_Encrypt (RFC 9052 §4.2, §5.1).
//!
//! docs/spec/envelope.md §2 and §4. `coset` does not parse recipients of this kind, and
//! would take what is not deterministic; so both layers are read by hand.

use sealwire_names::{Refusal, RefusalCode};

use crate::cbor::{Reader, Writer};
use crate::header::{self, ALG, EDDSA, Header, KID, MAX_RECIPIENTS};
use crate::hpke::{ENC, WRAPPED};
use crate::ids::{Audience, KeyId, MessageId, sha256};

/// Most bytes of content.
pub const MAX_CONTENT: usize = 1 << 20;
/// Most bytes of a whole message: the content, 256 receivers and their names, and the rest.
pub const MAX_MESSAGE: usize = MAX_CONTENT + (128 << 10);

/// What the outer signature covers besides header and payload, so that it holds for messages
/// of this version and nothing else.
const SIGNED_AS: &[u8] = b"sealwire/1 msg";
const COSE_SIGN1: u64 = 18;
const COSE_ENCRYPT: u64 = 96;
/// RFC 9053 §4.1.
const A256GCM: i64 = 3;
/// draft-ietf-cose-hpke-23.
const HPKE_4_KE: i64 = 50;
const IV: i64 = 5;
const EK: i64 = -4;
pub(crate) const IV_LENGTH: usize = 12;
pub(crate) const TAG_LENGTH: usize = 16;

/// A parsed COSE_Sign1 of ours.
#[derive(Clone, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) protected: &'a [u8],
    /// Where `protected` begins.
    pub(crate) protected_at: usize,
    pub(crate) payload: &'a [u8],
    pub(crate) payload_at: usize,
    pub(crate) signature: [u8; 64],
}

impl<'a> Signed<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut r = Reader::new(bytes);
        r.tag(COSE_SIGN1, "not a COSE_Sign1 (tag 18)")?;
        r.array_with(4, "COSE_Sign1 is not an array of four")?;
        let protected = r.bytes("the protected header is not a byte string")?;
        let protected_at = r.position() - protected.len();
        r.map_with(0, RefusalCode::EnvelopeHeader, "the unprotected header is not empty")?;
        let payload = r.bytes("the payload is not a byte string")?;
        let payload_at = r.position() - payload.len();
        let signature = r.array_of("the signature is not 64 bytes")?;
        r.end("there are bytes after the end")?;
        Ok(Self { protected, protected_at, payload, payload_at, signature })
    }

    pub(crate) fn encode(protected: &[u8], payload: &[u8], signature: &[u8; 64]) -> Vec<u8> {
        let mut w = Writer::with_capacity(protected.len() + payload.len() + 96);
        w.tag(COSE_SIGN1).array(4).bytes(protected).map(0).bytes(payload).bytes(signature);
        w.finish()
    }
}

/// What is signed: Sig_structure of RFC 9052 §4.4, with `context` as external_aad.
pub(crate) fn to_be_signed(protected: &[u8], context: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(protected.len() + payload.len() + 64);
    w.array(4).text("Signature1").bytes(protected).bytes(context).bytes(payload);
    w.finish()
}

/// [`to_be_signed`] of a message.
pub(crate) fn message_to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    to_be_signed(protected, SIGNED_AS, payload)
}

/// A content key, wrapped for one receiver.
#[derive(Clone, Debug)]
pub(crate) struct Recipient {
    pub(crate) kid: KeyId,
    pub(crate) enc: [u8; ENC],
    pub(crate) wrapped: [u8; WRAPPED],
}

/// A parsed COSE_Encrypt of ours.
#[derive(Clone, Debug)]
pub(crate) struct Encrypted<'a> {
    pub(crate) iv: [u8; IV_LENGTH],
    /// The encrypted content and its tag.
    pub(crate) ciphertext: &'a [u8],
    /// Ascending by kid, none twice.
    pub(crate) recipients: Vec<Recipient>,
    /// The recipients as they are encoded, of which the header has the digest.
    pub(crate) encoded_recipients: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// Reads the payload, which begins at byte `base` of the message.
    pub(crate) fn decode(bytes: &'a [u8], base: usize) -> Result<Self, Refusal> {
        let mut r = Reader::within(bytes, base);
        r.tag(COSE_ENCRYPT, "the payload is not a COSE_Encrypt (tag 96)")?;
        r.array_with(4, "COSE_Encrypt is not an array of four")?;
        let at = r.position();
        let protected = r.bytes("the content's protected header is not a byte string")?;
        one_algorithm(protected, at, A256GCM)?;
        r.map_with(1, RefusalCode::EnvelopeHeader, "the content has headers other than its IV")?;
        r.label(IV, "the content's IV (5) must come here, and is not here")?;
        let iv = r.array_of("the content's IV is not 12 bytes")?;
        let fault = r.fault(RefusalCode::EnvelopeMalformed, "there is less content than a tag");
        let ciphertext = r.bytes("the content is not a byte string")?;
        if ciphertext.len() < TAG_LENGTH {
            return Err(fault.into());
        }
        if ciphertext.len() > MAX_CONTENT + TAG_LENGTH {
            let size = ciphertext.len() - TAG_LENGTH;
            let reason =
                format!("{size} bytes of content; a message carries at most {MAX_CONTENT}");
            return Err(Refusal::new(RefusalCode::MessageTooLarge, reason));
        }
        let from = r.position();
        let recipients = decode_recipients(&mut r)?;
        let encoded_recipients = r.since(from);
        r.end("there are bytes after the end of the payload")?;
        Ok(Self { iv, ciphertext, recipients, encoded_recipients })
    }

    pub(crate) fn encode(iv: &[u8; IV_LENGTH], content: &[u8], recipients: &[u8]) -> Vec<u8> {
        let mut w = Writer::with_capacity(content.len() + recipients.len() + 48);
        w.tag(COSE_ENCRYPT).array(4).bytes(&content_protected());
        w.map(1).int(IV).bytes(iv).bytes(content).raw(recipients);
        w.finish()
    }
}

/// Encodes the recipients, which must be ascending by kid.
pub(crate) fn encode_recipients(recipients: &[Recipient]) -> Vec<u8> {
    let mut w = Writer::with_capacity(recipients.len() * 132 + 3);
    w.array(recipients.len());
    for Recipient { kid, enc, wrapped } in recipients {
        w.array(3).bytes(&recipient_protected()).map(2);
        w.int(KID).bytes(kid.as_bytes()).int(EK).bytes(enc).bytes(wrapped);
    }
    w.finish()
}

/// `info` of the wrap: Recipient_structure of draft-ietf-cose-hpke-23. It binds the content
/// key to sender, signing key, audience, message and receiver, so that it can neither be
/// passed on nor be signed by somebody else.
pub(crate) fn wrap_info(header: &Header, recipient: &KeyId) -> Vec<u8> {
    let mut extra = Writer::with_capacity(256);
    extra.array(5).text(header.from.as_str()).bytes(header.kid.as_bytes());
    header::encode_audience(&mut extra, &header.audience);
    extra.bytes(header.message_id.as_bytes()).bytes(recipient.as_bytes());
    let mut w = Writer::with_capacity(320);
    w.array(4).text("HPKE Recipient").int(A256GCM).bytes(&recipient_protected());
    w.bytes(&extra.finish());
    w.finish()
}

/// Additional data of the content: Enc_structure of RFC 9052 §5.3. The external part is the
/// digest of the outer header, so that the content belongs to that header and no other.
pub(crate) fn content_aad(outer_protected: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(64);
    w.array(3).text("Encrypt").bytes(&content_protected()).bytes(&sha256(&[outer_protected]));
    w.finish()
}

/// Commits to the content key. AES-GCM does not: without this, a sender could make one
/// ciphertext that two receivers open, with different keys, to different contents.
pub(crate) fn commit(cek: &[u8; 32], message_id: &MessageId) -> [u8; 32] {
    sha256(&[b"sealwire/1 cek", cek, message_id.as_bytes()])
}

/// How many receivers a message to `audience` has; `None` for a group, whose roster knows.
pub(crate) fn receivers_of(audience: &Audience) -> Option<usize> {
    match audience {
        Audience::Agent(_) => Some(1),
        Audience::Agents(agents) => Some(agents.len()),
        Audience::Group(_) => None,
    }
}

fn decode_recipients(r: &mut Reader<'_>) -> Result<Vec<Recipient>, Refusal> {
    let fault = r.fault(
        RefusalCode::RecipientCount,
        "a message has at least one recipient, and at most 256",
    );
    let count = r.array("the recipients are not an array")?;
    if count == 0 || count > MAX_RECIPIENTS as u64 {
        return Err(fault.into());
    }
    let mut recipients: Vec<Recipient> = Vec::new();
    for _ in 0..count {
        r.array_with(3, "a recipient is not an array of three")?;
        let at = r.position();
        let protected = r.bytes("a recipient's protected header is not a byte string")?;
        one_algorithm(protected, at, HPKE_4_KE)?;
        let what = "a recipient has other headers than kid and ek";
        r.map_with(2, RefusalCode::EnvelopeHeader, what)?;
        r.label(KID, "a recipient's kid (4) must come here, and is not here")?;
        let fault = r.fault(
            RefusalCode::EnvelopeNotDeterministic,
            "the recipients are not in the order of their kids, or one is there twice",
        );
        let kid = KeyId::from_bytes(r.array_of("a recipient's kid is not 32 bytes")?);
        if recipients.last().is_some_and(|last| last.kid >= kid) {
            return Err(fault.into());
        }
        r.label(EK, "a recipient's ek (-4) must come here, and is not here")?;
        let enc = r.array_of("a recipient's ek is not 32 bytes")?;
        let wrapped = r.array_of("a wrapped key is not 48 bytes")?;
        recipients.push(Recipient { kid, enc, wrapped });
    }
    Ok(recipients)
}

/// A protected header that has an algorithm and nothing else; `at` is where the byte string
/// of it begins.
fn one_algorithm(protected: &[u8], at: usize, algorithm: i64) -> Result<(), Refusal> {
    let mut r = Reader::within(protected, at + 1);
    r.map_with(1, RefusalCode::EnvelopeHeader, "a protected header has more than alg in it")?;
    header::algorithm(&mut r, algorithm)?;
    r.end("there are bytes after the end of a protected header")?;
    Ok(())
}

fn content_protected() -> [u8; 3] {
    // {1: 3}
    [0xa1, ALG as u8, A256GCM as u8]
}

fn recipient_protected() -> [u8; 4] {
    // {1: 50}
    [0xa1, ALG as u8, 0x18, HPKE_4_KE as u8]
}

const _: () = assert!(EDDSA == -8 && ALG == 1 && A256GCM < 24 && HPKE_4_KE >= 24);
