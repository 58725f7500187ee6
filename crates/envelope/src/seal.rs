use std::time::Duration;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use sealwire_names::{AgentId, Timestamp};
use zeroize::Zeroizing;

use crate::bundle::Bundle;
use crate::error::{CryptoError, SealError};
use crate::group::Group;
use crate::header::{Header, MAX_RECIPIENTS, MAX_TTL};
use crate::hpke::{self, ENC, RecipientPublicKey, WRAPPED};
use crate::ids::{Audience, MessageId, MessageType, Nonce, sha256};
use crate::layers::{self, Encrypted, IV_LENGTH, MAX_CONTENT, Recipient, Signed, TAG_LENGTH};
use crate::message::SecureAgentMessage;
use crate::signing::SigningKey;

/// How long a message lives where nobody says otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(7 * 86_400);

/// What is to be sent.
#[derive(Clone)]
pub struct Draft<'a> {
    /// The content: any bytes, at most 1 MiB.
    pub content: &'a [u8],
    /// What it is for.
    pub message_type: MessageType,
    /// Higher goes first; 0 unless set.
    pub priority: u8,
    /// How long it may be accepted, in whole seconds; seven days unless set, 30 at most.
    pub ttl: Duration,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
}

impl<'a> Draft<'a> {
    /// A draft with the defaults.
    pub fn new(message_type: MessageType, content: &'a [u8]) -> Self {
        Self { content, message_type, priority: 0, ttl: DEFAULT_TTL, in_reply_to: None }
    }
}

/// Shows everything but the content.
impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("message_type", &self.message_type)
            .field("priority", &self.priority)
            .field("ttl", &self.ttl)
            .field("in_reply_to", &self.in_reply_to)
            .field("content", &format_args!("{} bytes", self.content.len()))
            .finish()
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The agent's name.
    pub agent: &'a AgentId,
    /// Its signing key.
    pub key: &'a SigningKey,
}

/// To whom. Each bundle is one that the sender believes: [`Directory::current`].
///
/// [`Directory::current`]: crate::Directory::current
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// To one agent.
    Agent(&'a Bundle),
    /// To each of these, who all see the list.
    Agents(&'a [&'a Bundle]),
    /// To each member of the group but the sender; their bundles in any order.
    Group(&'a Group, &'a [&'a Bundle]),
}

/// Signs and seals a message.
///
/// `nonce.seq` must not have been used before with this epoch, key and audience.
///
/// # Errors
/// If a limit is exceeded, if there is nobody to seal to, if keys are not valid now, or if
/// the cryptographic library fails. Nothing was sent or noted then.
pub fn seal(
    draft: &Draft<'_>,
    sender: &Sender<'_>,
    to: &To<'_>,
    nonce: Nonce,
    now: Timestamp,
) -> Result<SecureAgentMessage, SealError> {
    seal_with(&mut System, draft, sender, to, nonce, now)
}

/// Where a message's random parts come from: the system, except where test vectors are made.
pub(crate) trait Randomness {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CryptoError>;

    /// HPKE, which draws a key of its own.
    fn wrap(
        &mut self,
        to: &RecipientPublicKey,
        cek: &[u8; 32],
        info: &[u8],
    ) -> Result<([u8; ENC], [u8; WRAPPED]), CryptoError>;
}

pub(crate) struct System;

impl Randomness for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CryptoError> {
        aws_lc_rs::rand::fill(bytes).map_err(CryptoError::of("drawing random bytes"))
    }

    fn wrap(
        &mut self,
        to: &RecipientPublicKey,
        cek: &[u8; 32],
        info: &[u8],
    ) -> Result<([u8; ENC], [u8; WRAPPED]), CryptoError> {
        hpke::wrap_key(to, cek, info)
    }
}

pub(crate) fn seal_with(
    random: &mut impl Randomness,
    draft: &Draft<'_>,
    sender: &Sender<'_>,
    to: &To<'_>,
    nonce: Nonce,
    now: Timestamp,
) -> Result<SecureAgentMessage, SealError> {
    check(draft, now)?;
    let (audience, keys) = receivers(sender.agent, to, now)?;

    let mut message_id = [0; 16];
    random.fill(&mut message_id)?;
    let mut cek = Zeroizing::new([0; 32]);
    random.fill(&mut *cek)?;
    let mut iv = [0; IV_LENGTH];
    random.fill(&mut iv)?;

    let ttl = i64::try_from(draft.ttl.as_secs()).unwrap_or(i64::MAX);
    let message_id = MessageId::from_bytes(message_id);
    let mut header = Header {
        kid: sender.key.verifying_key().kid(),
        from: sender.agent.clone(),
        audience,
        issued: Timestamp::from_unix_seconds(now.unix_seconds()),
        expires: Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(ttl)),
        message_id,
        message_type: draft.message_type,
        priority: draft.priority,
        nonce,
        in_reply_to: draft.in_reply_to,
        recipients_digest: [0; 32],
        cek_commitment: layers::commit(&cek, &message_id),
    };
    let mut recipients = Vec::with_capacity(keys.len());
    for key in keys {
        let kid = key.kid();
        let info = layers::wrap_info(&header, &kid);
        let (enc, wrapped) = random.wrap(key, &cek, &info)?;
        recipients.push(Recipient { kid, enc, wrapped });
    }
    let encoded_recipients = layers::encode_recipients(&recipients);
    header.recipients_digest = sha256(&[&encoded_recipients]);

    let protected = header.encode();
    let ciphertext = encrypt(&cek, iv, &layers::content_aad(&protected), draft.content)?;
    let payload = Encrypted::encode(&iv, &ciphertext, &encoded_recipients);
    let signature = sender.key.sign(&layers::message_to_be_signed(&protected, &payload))?;
    let bytes = Signed::encode(&protected, &payload, &signature);
    let kids = recipients.iter().map(|recipient| recipient.kid).collect();
    Ok(SecureAgentMessage::of(header, payload, signature, kids, bytes))
}

fn check(draft: &Draft<'_>, now: Timestamp) -> Result<(), SealError> {
    if draft.content.len() > MAX_CONTENT {
        return Err(SealError::ContentTooLarge { size: draft.content.len(), limit: MAX_CONTENT });
    }
    if draft.ttl < Duration::from_secs(1) || draft.ttl > MAX_TTL {
        return Err(SealError::Ttl { ttl: draft.ttl, limit: MAX_TTL });
    }
    // The last day of the year 9999 less the longest life.
    const LAST: i64 = 253_402_300_799 - 31 * 86_400;
    if !(0..LAST).contains(&now.unix_seconds()) {
        return Err(SealError::Clock(now));
    }
    Ok(())
}

/// The audience, and the keys to wrap for, ascending by identity.
fn receivers<'a>(
    from: &AgentId,
    to: &To<'a>,
    now: Timestamp,
) -> Result<(Audience, Vec<&'a RecipientPublicKey>), SealError> {
    let one: [&Bundle; 1];
    let bundles = match to {
        To::Agent(bundle) => {
            one = [bundle];
            &one[..]
        }
        To::Agents(bundles) | To::Group(_, bundles) => bundles,
    };
    if bundles.is_empty() {
        return Err(SealError::NoRecipient { from: from.clone() });
    }
    if bundles.len() > MAX_RECIPIENTS {
        let count = bundles.len();
        return Err(SealError::TooManyRecipients { count, limit: MAX_RECIPIENTS });
    }
    let mut agents = Vec::with_capacity(bundles.len());
    let mut keys = Vec::with_capacity(bundles.len());
    for Bundle { agent, recipient, not_before, not_after, .. } in bundles.iter().copied() {
        if now < *not_before || now >= *not_after {
            let (agent, not_before, not_after) = (agent.clone(), *not_before, *not_after);
            return Err(SealError::BundleNotValid { agent, not_before, not_after });
        }
        agents.push(agent.clone());
        keys.push(recipient);
    }
    keys.sort_by_key(|key| key.kid());
    agents.sort();
    let twice = agents.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
    let shared = keys.windows(2).find(|pair| pair[0] == pair[1]).and_then(|pair| {
        bundles.iter().find(|bundle| bundle.recipient == *pair[0]).map(|b| b.agent.clone())
    });
    if let Some(agent) = twice.or(shared) {
        return Err(SealError::DuplicateRecipient { agent });
    }
    let audience = match to {
        To::Group(group, _) => {
            check_roster(group, from, &agents)?;
            Audience::Group(group.reference().clone())
        }
        To::Agent(_) | To::Agents(_) if agents.len() == 1 => Audience::Agent(agents.remove(0)),
        To::Agent(_) | To::Agents(_) => Audience::Agents(agents),
    };
    Ok((audience, keys))
}

/// Nobody of the roster may be left out, and nobody else may be let in.
fn check_roster(group: &Group, from: &AgentId, agents: &[AgentId]) -> Result<(), SealError> {
    let missing = group.receivers(from).find(|member| agents.binary_search(member).is_err());
    let extra = agents.iter().find(|agent| *agent == from || !group.has(agent));
    match missing.or(extra) {
        None => Ok(()),
        Some(agent) => {
            Err(SealError::Roster { group: group.reference().name.clone(), agent: agent.clone() })
        }
    }
}

pub(crate) fn encrypt(
    cek: &[u8; 32],
    iv: [u8; IV_LENGTH],
    aad: &[u8],
    content: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let failed = CryptoError::of("encrypting the content");
    let key = UnboundKey::new(&aead::AES_256_GCM, cek).map_err(&failed)?;
    // Long enough from the start, so that no plaintext is left behind by a reallocation.
    let mut buffer = Vec::with_capacity(content.len() + TAG_LENGTH);
    buffer.extend_from_slice(content);
    let nonce = aead::Nonce::assume_unique_for_key(iv);
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::from(aad), &mut buffer)
        .map_err(failed)?;
    Ok(buffer)
}
