use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};
use zeroize::Zeroizing;

use crate::error::{Deferred, OpenError};
use crate::group::Group;
use crate::header::Header;
use crate::hpke::RecipientKey;
use crate::ids::{Audience, GroupRef, KeyId, sha256};
use crate::layers::{self, Encrypted, Recipient};
use crate::message::{Parsed, SecureAgentMessage};
use crate::signing::VerifyingKey;

/// What [`open`] asks on its way, in this order. Each implementor keeps its own state.
///
/// Up to and including [`seen`](Self::seen), nothing in the message is proven: those methods
/// must record nothing, or a stranger could use up what belongs to somebody else.
pub trait Receiving {
    /// The key `kid` of the agent `from`, if it is known, valid now, and not revoked. A
    /// [`Directory`](crate::Directory) answers this.
    ///
    /// # Errors
    /// The refusal to be given.
    fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> Result<VerifyingKey, Refusal>;

    /// The roster of a group at the version stated.
    ///
    /// # Errors
    /// `roster_unknown` if there is none.
    fn group(&self, group: &GroupRef) -> Result<&Group, Refusal>;

    /// The receiver's own key with this identity, if it has one.
    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey>;

    /// May the sender send this? The trust matrix.
    ///
    /// # Errors
    /// The refusal to be given.
    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal>;

    /// A cheap look whether the message was here before; it spares the verification.
    ///
    /// # Errors
    /// The refusal to be given.
    fn seen(&self, message: &SecureAgentMessage) -> Result<(), Refusal>;

    /// May one more message of this sender pass now? The signature holds; what is beyond the
    /// limit is put back.
    ///
    /// # Errors
    /// How long to wait.
    fn admit(&mut self, message: &SecureAgentMessage) -> Result<(), Deferred>;

    /// Notes the message as received, unless it was before: of two calls with the same
    /// message, even at once, one succeeds.
    ///
    /// # Errors
    /// The refusal to be given.
    fn claim(&mut self, message: &SecureAgentMessage) -> Result<(), Refusal>;
}

/// Which times of issue are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeRule {
    /// Issued just now: for channels without a store. The sender's clock may be ahead by
    /// `max_future_skew` only, since after a restart everything issued up to that much
    /// after the start is refused ([`ReplayWindow`](crate::ReplayWindow)).
    Direct {
        /// How old a message may be.
        tolerance: Duration,
        /// How far ahead of ours the sender's clock may be.
        max_future_skew: Duration,
    },
    /// Not expired: for stores, where mail waits.
    UntilExpiry {
        /// How far ahead of ours the sender's clock may be.
        tolerance: Duration,
    },
}

impl TimeRule {
    /// For channels without a store: 300 s back, 10 s ahead.
    pub const DIRECT: Self = Self::Direct {
        tolerance: Duration::from_secs(300),
        max_future_skew: Duration::from_secs(10),
    };

    fn check(&self, header: &Header, now: Timestamp) -> Result<(), Refusal> {
        let refuse = |code, reason| Err(Refusal::new(code, reason));
        let Header { issued, expires, .. } = header;
        if now >= *expires {
            let reason = format!("expired at {expires}; it is {now}");
            return refuse(RefusalCode::MessageExpired, reason);
        }
        let (ahead, tolerance) = match self {
            Self::Direct { tolerance, max_future_skew } => (*max_future_skew, Some(*tolerance)),
            Self::UntilExpiry { tolerance } => (*tolerance, None),
        };
        if now.until(*issued).is_some_and(|skew| skew > ahead) {
            let reason = format!(
                "issued at {issued}; it is {now}, and clocks may differ by {ahead:?}: set the \
                 sender's clock, or this one"
            );
            return refuse(RefusalCode::MessageFromFuture, reason);
        }
        if let Some(tolerance) = tolerance
            && issued.until(now).is_some_and(|age| age > tolerance)
        {
            let reason = format!("issued at {issued}; it is {now}, and {tolerance:?} may pass");
            return refuse(RefusalCode::MessageStale, reason);
        }
        Ok(())
    }
}

/// A message that was proven, and its content.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The message: every field is the sender's word.
    pub message: SecureAgentMessage,
    /// The content. It is wiped when dropped.
    pub content: Zeroizing<Vec<u8>>,
}

/// Shows everything but the content.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("message", &self.message)
            .field("content", &format_args!("{} bytes", self.content.len()))
            .finish()
    }
}

/// Opens a message that came for `me`, in this order: what is cheap first, and
/// nothing is noted before the signature holds.
///
/// Size; encoding; sender's key; addressed to me; trust; time; replay, a look; signature;
/// rate; replay, the claim; content. A failure after the claim leaves the message claimed:
/// its sender made it wrong, and it would not be better a second time.
///
/// # Errors
/// [`OpenError::Refused`] with the code of the first rule that is broken, or
/// [`OpenError::Deferred`] if the message is genuine but comes too fast; then nothing was
/// noted, and it opens later.
pub fn open(
    bytes: &[u8],
    me: &AgentId,
    checks: &mut impl Receiving,
    now: Timestamp,
    times: TimeRule,
) -> Result<Opened, OpenError> {
    let parsed = Parsed::decode(bytes)?;
    let Parsed { signed, header, encrypted } = &parsed;
    let key = checks.sender_key(&header.from, &header.kid, now)?;
    let mine = addressed(me, header, &encrypted.recipients, checks)?;

    let message = parsed.message(bytes);
    checks.trusted(&message)?;
    times.check(header, now)?;
    checks.seen(&message)?;

    let signed_bytes = layers::message_to_be_signed(signed.protected, signed.payload);
    key.verify(&signed_bytes, &signed.signature)?;
    if sha256(&[encrypted.encoded_recipients]) != header.recipients_digest {
        let reason = "the recipients are not those that the header has the digest of";
        return Err(Refusal::new(RefusalCode::RecipientsDigest, reason).into());
    }

    checks.admit(&message)?;
    checks.claim(&message)?;
    let content =
        decrypt(checks.recipient_key(&mine.kid), mine, header, signed.protected, encrypted)?;
    Ok(Opened { message, content })
}

/// The entry that is for `me`, in a message that is for `me`.
fn addressed<'a>(
    me: &AgentId,
    header: &Header,
    recipients: &'a [Recipient],
    checks: &impl Receiving,
) -> Result<&'a Recipient, Refusal> {
    let named = match &header.audience {
        Audience::Agent(agent) => agent == me,
        Audience::Agents(agents) => agents.binary_search(me).is_ok(),
        Audience::Group(reference) => {
            let group = checks.group(reference)?;
            let expected = group.receivers(&header.from).count();
            if expected != recipients.len() {
                let reason = format!(
                    "{reference} has {expected} members besides the sender, and there are {} \
                     recipients",
                    recipients.len()
                );
                return Err(Refusal::new(RefusalCode::RecipientCount, reason));
            }
            group.has(me)
        }
    };
    if !named {
        let reason = format!("it is for {}, not for {me}", header.audience);
        return Err(Refusal::new(RefusalCode::NotAddressed, reason));
    }
    let mine = recipients.iter().find(|entry| checks.recipient_key(&entry.kid).is_some());
    mine.ok_or_else(|| {
        let reason = format!(
            "it is for {me}, but sealed to no key that {me} has here: the sender may have an old \
             bundle, or the key is destroyed"
        );
        Refusal::new(RefusalCode::RecipientKeyUnknown, reason)
    })
}

fn decrypt(
    key: Option<&RecipientKey>,
    mine: &Recipient,
    header: &Header,
    protected: &[u8],
    encrypted: &Encrypted<'_>,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let unwrap_failed = || {
        let reason = format!(
            "the content key was not wrapped for key {} by {} with key {}, to {}, in message {}",
            mine.kid, header.from, header.kid, header.audience, header.message_id
        );
        Refusal::new(RefusalCode::ContentKey, reason)
    };
    let info = layers::wrap_info(header, &mine.kid);
    let cek = key.and_then(|key| key.unwrap_key(&mine.enc, &mine.wrapped, &info));
    let cek = cek.ok_or_else(unwrap_failed)?;
    // The commitment is public, and so may be the time of comparing with it.
    if layers::commit(&cek, &header.message_id) != header.cek_commitment {
        let reason = "the content key is not the one the header commits to: other receivers may \
                      have been given another content";
        return Err(Refusal::new(RefusalCode::CekCommitment, reason));
    }
    let failed = || {
        let reason = "the content is not what was sealed under this header";
        Refusal::new(RefusalCode::ContentInvalid, reason)
    };
    let key = UnboundKey::new(&aead::AES_256_GCM, &*cek).map_err(|_| failed())?;
    let nonce = aead::Nonce::assume_unique_for_key(encrypted.iv);
    let aad = layers::content_aad(protected);
    let mut buffer = Zeroizing::new(encrypted.ciphertext.to_vec());
    let length = LessSafeKey::new(key)
        .open_in_place(nonce, Aad::from(aad), &mut buffer)
        .map_err(|_| failed())?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
