//! Agents and their keys: where they are, who may be believed.
//!
//! ```text
//! keys/agents/A-signing, .pub      signs A's messages (Ed25519)
//! keys/agents/A-recipient, .pub    messages to A are encrypted for it (X25519)
//! keys/agents/A-bundle             names both, signed by the first
//! keys/agents/A-recipient.17…      of the generation before, while mail may wait for it
//! keys/agents/A-bundle.17…
//! keys/agents/known/B-bundle.17…   of an agent elsewhere, its fingerprint confirmed here, or with
//!                                  the word of an authority that is trusted here
//! ```

mod error;
mod key_files;
mod key_store;
mod known;
mod revoked;
mod setup;
mod vouched;

pub use error::KeyError;
pub use key_store::{Generation, KeyStore, OwnKeys};
pub use revoked::{RevokedAgents, RevokedKeys};
pub use setup::{directory, open_channel, open_mailbox, settings, trust_matrix};
pub use vouched::{Believed, read_vouched, vouch};
