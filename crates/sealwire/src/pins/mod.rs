//! Pins, kept: what servers said of their tools when that was approved, in the home's
//! `state.db`, which other parts share; the tables here are those of the component `pins`.
//!
//! A server is known by the name in its certificate. Several processes may have the file
//! open. What one of them writes, an operator's approval for instance, the others find out
//! before they refuse anything, and within a fifth of a second before they let something pass.

mod keeper;
mod store;

use sealwire_guard::{PinHash, PinKind};
use sealwire_names::{PeerId, Timestamp};

use crate::Result;
use crate::config::{SecureMcpConfig, ServerEntry};
use crate::reach::server_id;

pub use store::{PinError, PinStore};

/// One thing that is defined, as the store knows it. There is an approved definition, or one
/// that waits for approval, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server's name: a SPIFFE ID.
    pub server: String,
    /// What is defined.
    pub kind: PinKind,
    /// By which name it is used.
    pub name: String,
    /// The definition that was approved.
    pub approved: Option<Kept>,
    /// Another one, which the server gave last, and which is blocked.
    pub pending: Option<Kept>,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256 of `text`.
    pub hash: PinHash,
    /// Its canonical JSON.
    pub text: String,
    /// When it was approved, or seen for the first time since it differs.
    pub since: Timestamp,
    /// Whether an operator approved it, rather than the first use.
    pub by_operator: bool,
}

/// The name in a server's certificate, by which its pins are known.
///
/// # Errors
/// If the entry's name cannot be a server's.
pub fn server_of(config: &SecureMcpConfig, entry: &ServerEntry) -> Result<PeerId> {
    server_id(&config.trust_domain, &entry.server_name)
}
