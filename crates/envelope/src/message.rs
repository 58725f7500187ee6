use std::fmt;

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::header::Header;
use crate::ids::{Audience, KeyId, MessageId, MessageType, Nonce};
use crate::layers::{Encrypted, MAX_MESSAGE, Signed, receivers_of};

/// A signed and sealed message, parsed. Of what its fields say, nothing is proven until
/// [`open`](crate::open) has proven it; the content is not readable.
///
/// What is sent and kept are the bytes ([`as_bytes`](Self::as_bytes)), exactly as they were
/// made or came in. Changing a field changes nothing of them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecureAgentMessage {
    /// The sender, `iss`.
    pub from: AgentId,
    /// The receiver, if it is one agent; `None` for a list or a group: see `audience`.
    pub to: Option<AgentId>,
    /// The payload: a COSE_Encrypt with the content and the wrapped keys.
    pub encrypted_content: Vec<u8>,
    /// The sender's Ed25519 signature over all of it.
    pub signature: [u8; 64],
    /// Its place among the sender's messages to this audience.
    pub nonce: Nonce,
    /// When it was issued, in whole seconds, `iat`.
    pub timestamp: Timestamp,
    /// What it is.
    pub metadata: SecureMetadata,
    /// Whom it is for, `aud`.
    pub audience: Audience,
    /// From when on nobody accepts it, in whole seconds, `exp`.
    pub expires: Timestamp,
    /// The signing key it names.
    pub sender_kid: KeyId,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// The receivers' keys it was sealed to, ascending.
    pub recipient_kids: Vec<KeyId>,
    bytes: Vec<u8>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SecureMetadata {
    /// Its identity, random, `cti`.
    pub message_id: MessageId,
    /// Higher goes first.
    pub priority: u8,
    /// What it is for.
    pub message_type: MessageType,
}

impl SecureAgentMessage {
    /// Parses a message: the cap on its size, and the one encoding that is allowed. No key is
    /// needed, and nothing is proven.
    ///
    /// # Errors
    /// A code for each rule that is broken (docs/errors.md), and the byte where it is.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        Ok(Parsed::decode(bytes)?.message(bytes))
    }

    /// The message as it is sent and kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message as it is sent and kept.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn of(
        header: Header,
        encrypted_content: Vec<u8>,
        signature: [u8; 64],
        recipient_kids: Vec<KeyId>,
        bytes: Vec<u8>,
    ) -> Self {
        let to = match &header.audience {
            Audience::Agent(agent) => Some(agent.clone()),
            Audience::Agents(_) | Audience::Group(_) => None,
        };
        Self {
            from: header.from,
            to,
            encrypted_content,
            signature,
            nonce: header.nonce,
            timestamp: header.issued,
            metadata: SecureMetadata {
                message_id: header.message_id,
                priority: header.priority,
                message_type: header.message_type,
            },
            audience: header.audience,
            expires: header.expires,
            sender_kid: header.kid,
            in_reply_to: header.in_reply_to,
            recipient_kids,
            bytes,
        }
    }
}

/// Names, times and identities; no bytes of the content, sealed as it is.
impl fmt::Debug for SecureAgentMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureAgentMessage")
            .field("from", &self.from)
            .field("audience", &self.audience)
            .field("metadata", &self.metadata)
            .field("nonce", &self.nonce)
            .field("timestamp", &self.timestamp)
            .field("expires", &self.expires)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// All layers of a message, borrowed from its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) signed: Signed<'a>,
    pub(crate) header: Header,
    pub(crate) encrypted: Encrypted<'a>,
}

impl<'a> Parsed<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_MESSAGE {
            let reason = format!("{} bytes; a message has at most {MAX_MESSAGE}", bytes.len());
            return Err(Refusal::new(RefusalCode::MessageTooLarge, reason));
        }
        let signed = Signed::decode(bytes)?;
        let header = Header::decode(signed.protected, signed.protected_at)?;
        let encrypted = Encrypted::decode(signed.payload, signed.payload_at)?;
        let recipients = encrypted.recipients.len();
        if let Some(expected) = receivers_of(&header.audience)
            && expected != recipients
        {
            let reason =
                format!("aud names {expected} agents, and there are {recipients} recipients");
            return Err(Refusal::new(RefusalCode::RecipientCount, reason));
        }
        Ok(Self { signed, header, encrypted })
    }

    /// The message of which this is the parse; `bytes` are those it was parsed from.
    pub(crate) fn message(&self, bytes: &[u8]) -> SecureAgentMessage {
        let kids = self.encrypted.recipients.iter().map(|recipient| recipient.kid).collect();
        let Signed { payload, signature, .. } = self.signed;
        SecureAgentMessage::of(
            self.header.clone(),
            payload.to_vec(),
            signature,
            kids,
            bytes.to_vec(),
        )
    }
}
