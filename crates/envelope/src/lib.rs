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
