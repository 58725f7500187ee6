use sealwire_names::Refusal;

use crate::layers::TAG_LENGTH;
use crate::message::{Parsed, SecureAgentMessage};

/// All that a message says without a key. None of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The message's fields.
    pub message: SecureAgentMessage,
    /// Bytes of the whole message.
    pub size: usize,
    /// Bytes of its content.
    pub content_size: usize,
    /// Whether the header has the digest of the recipients that are there.
    pub recipients_match: bool,
    /// What the header commits to in place of the content key.
    pub cek_commitment: [u8; 32],
}

/// Reads what can be read without a key. The signature is not verified.
///
/// # Errors
/// As [`SecureAgentMessage::decode`].
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let parsed = Parsed::decode(bytes)?;
    let digest = crate::ids::sha256(&[parsed.encrypted.encoded_recipients]);
    Ok(Inspection {
        message: parsed.message(bytes),
        size: bytes.len(),
        content_size: parsed.encrypted.ciphertext.len() - TAG_LENGTH,
        recipients_match: digest == parsed.header.recipients_digest,
        cek_commitment: parsed.header.cek_commitment,
    })
}
