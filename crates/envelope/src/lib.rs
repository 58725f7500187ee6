//! Messages between agents: signed by the sender, sealed to the receivers, accepted once.
//!
//! # What this is
//!
//! One message format, [`seal`] and [`open`], and what they need: keys, bundles of keys, a
//! [`Directory`] of those that are believed, and a [`ReplayWindow`]. There is no I/O, no clock
//! and no task in here: bytes come and go as values, and the time is passed in. So it can be
//! embedded without the rest of sealwire. The format is described in docs/spec/envelope.md,
//! well enough for a second implementation; it is COSE (RFC 9052) with HPKE (RFC 9180).
//!
//! # The life of one message
//!
//! 1. The sender takes the receiver's [`Bundle`] out of its directory and the next [`Nonce`],
//!    and seals a [`Draft`]. A fresh key encrypts the content (AES-256-GCM) and is wrapped for
//!    each receiver (HPKE, X25519). The sender's name, the audience, the times, the nonce and
//!    the message's type stand in a header; content and header are bound to each other, and
//!    the sender's Ed25519 signature covers both.
//! 2. The bytes travel, or wait. Whoever has them sees the header and changes nothing.
//! 3. The receiver opens them. [`open`] asks a [`Receiving`] what it does not know itself, in
//!    an order that makes refusals cheap and records nothing before the signature holds.
//!
//! ```
//! use sealwire_envelope::*;
//! use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};
//!
//! /// Coder may write; nobody is too fast.
//! struct Matrix;
//!
//! impl Rules for Matrix {
//!     fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
//!         match message.from.as_str() {
//!             "Coder" => Ok(()),
//!             other => Err(Refusal::new(RefusalCode::NotTrusted, format!("{other} may not"))),
//!         }
//!     }
//!     fn admit(&self, _: &SecureAgentMessage) -> Result<(), Deferred> {
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let start = Timestamp::from_unix_seconds(1_795_359_800);
//! let bundle = |name: &str, signing: &SigningKey, recipient: &RecipientKey| {
//!     let not_after = Timestamp::from_unix_seconds(start.unix_seconds() + 90 * 86_400);
//!     let agent: AgentId = name.parse()?;
//!     let request = BundleRequest { agent, number: 1, not_before: start, not_after };
//!     let bytes = Bundle::make(&request, signing, recipient.public())?;
//!     Ok::<_, Box<dyn std::error::Error>>(Bundle::decode(&bytes)?)
//! };
//! let (signing, recipient) = (SigningKey::generate()?, RecipientKey::generate()?);
//! let coder = bundle("Coder", &signing, &recipient)?;
//! let (tester_signing, tester_key) = (SigningKey::generate()?, RecipientKey::generate()?);
//! let tester = bundle("Tester", &tester_signing, &tester_key)?;
//!
//! let now = Timestamp::from_unix_seconds(start.unix_seconds() + 60);
//! let sender = Sender { agent: &coder.agent, key: &signing };
//! let draft = Draft::new(MessageType::TaskRequest, b"please run the tests");
//! let nonce = Nonce { epoch: 0x5eed, seq: 1 }; // random, and kept: see `Nonce`
//! let sealed = seal(&draft, &sender, &To::Agent(&tester), nonce, now)?;
//!
//! let mut directory = Directory::new();
//! directory.vouch(coder)?; // after comparing `coder.fingerprint()` with its owner
//! let limits = ReplayLimits::default();
//! let me = tester.agent;
//! let receiver = DirectReceiver::new(me, vec![tester_key], directory, Matrix, limits, start);
//! let opened = receiver.open(sealed.as_bytes(), now)?;
//! assert_eq!(*opened.content, b"please run the tests");
//! assert!(receiver.open(sealed.as_bytes(), now).is_err(), "once");
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! If [`open`] returns a content, then the holder of the sender's signing key sealed exactly
//! this content, with exactly this header, to this audience; no byte was changed; no other
//! receiver was given another content under the same header; and the [`Receiving`] had not
//! claimed it before. Nobody but sender and receivers can read it. There is no forward
//! secrecy: who gets a receiver's private key reads what was sealed to it, so keys are renewed
//! and old ones destroyed.
//!
//! # The defaults, and why
//!
//! | | default | why |
//! |---|---|---|
//! | [`DEFAULT_TTL`], [`MAX_TTL`] | 7 days, 30 days | mail waits over a weekend; replay state need not be kept longer |
//! | [`TimeRule::DIRECT`] | 300 s back, 10 s ahead | clocks of a network; what may be ahead is lost after a restart |
//! | [`ReplayLimits`] | 64 epochs a key, 65,536 in all | one sender cannot use up the memory of others |
//! | [`MAX_CONTENT`], [`MAX_RECIPIENTS`] | 1 MiB, 256 | what must be held in memory to be verified is bounded |
//!
//! A fixed list of algorithms belongs to a version. Nothing is negotiated.
#![forbid(unsafe_code)]

mod bundle;
mod cbor;
mod direct;
mod directory;
mod error;
mod group;
mod header;
mod hpke;
mod ids;
mod inspect;
mod layers;
mod message;
mod open;
mod replay;
mod seal;
mod signing;
#[cfg(test)]
mod tests;

pub use bundle::{Bundle, BundleRequest, MAX_BUNDLE};
pub use direct::{DirectReceiver, Rules};
pub use directory::Directory;
pub use error::{CryptoError, Deferred, OpenError, SealError};
pub use group::Group;
pub use header::{MAX_RECIPIENTS, MAX_TTL};
pub use hpke::{RecipientKey, RecipientPublicKey};
pub use ids::{
    Audience, GroupRef, KeyId, MessageId, MessageIdError, MessageType, MessageTypeError, Nonce,
};
pub use inspect::{Inspection, inspect};
pub use layers::{MAX_CONTENT, MAX_MESSAGE};
pub use message::{SecureAgentMessage, SecureMetadata};
pub use open::{Opened, Receiving, TimeRule, open};
pub use replay::{ReplayLimits, ReplayWindow, WINDOW};
pub use seal::{DEFAULT_TTL, Draft, Sender, To, seal};
pub use signing::{SigningKey, VerifyingKey};
