//! The names every part of sealwire shares.
//!
//! A [`PeerId`] is *who* a certificate says its holder is; it exists only as a
//! parsed SPIFFE ID, never as free text. A [`RefusalCode`] is *why* something was
//! refused, in a form that logs, metrics and tests can rely on. Everything here is
//! plain data: no TLS, no I/O, no clock, no dependency.
//!
//! ```
//! use sealwire_names::{Kind, PeerId};
//!
//! let id: PeerId = "spiffe://example.org/mcp-server/github".parse().unwrap();
//! assert_eq!(id.kind(), Kind::McpServer);
//! assert_eq!(id.name(), "github");
//! ```
#![forbid(unsafe_code)]

mod fingerprint;
mod peer;
mod refusal;
mod timestamp;

pub use fingerprint::{Fingerprint, FingerprintError};
pub use peer::{AgentId, Kind, NameError, PeerId, TrustDomain};
pub use refusal::{Refusal, RefusalCode};
pub use timestamp::Timestamp;
