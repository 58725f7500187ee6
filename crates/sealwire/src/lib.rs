#![forbid(unsafe_code)]
//! Identity and protection on every wire an AI agent uses.
//!
//! This crate is the program `sealwire` and the library behind it. Without the default
//! feature `cli` it holds the library alone, and none of the program's dependencies.
//!
//! # Reaching an MCP server from Rust
//!
//! ```no_run
//! # async fn example() -> sealwire::Result<()> {
//! use sealwire::{SecureMcpConfig, SecureMcpConnectionManager};
//!
//! let config = SecureMcpConfig::load("/home/me/.sealwire".as_ref())?;
//! let manager = SecureMcpConnectionManager::new(&config)?;
//! let stream = manager.connect_to_mcp_server("github").await?;
//! // `stream` reads and writes newline-delimited JSON-RPC: hand it to any MCP SDK.
//! # drop(stream);
//! # Ok(())
//! # }
//! ```
//!
//! The server is reached over TLS 1.3 with certificates on both ends, and its
//! certificate must carry the name `spiffe://<trust-domain>/mcp-server/<server_name>`.
//! A network cut is redialled behind the stream, with the certificate and trust anchors
//! that are in their files at that time.
//!
//! # Where things are
//!
//! [`config`] reads `sealwire.toml`; [`home`] knows the directory it lives in;
//! [`SecureMcpConnectionManager`] connects; [`serving`] turns a configuration into what
//! the serving side runs; [`Snapshot`] tells whether files have changed since, for a
//! program that serves and reloads as `sealwire serve` does. The crates below this one do the work: `sealwire-identity`
//! (certificates, TLS), `sealwire-relay` (messages, the link), `sealwire-guard` (may it
//! pass), `sealwire-audit` (what happened), `sealwire-names` (who).

pub mod agents;
pub mod config;
mod database;
#[cfg(unix)]
pub mod denylist;
mod error;
#[cfg(unix)]
pub mod evidence;
pub mod home;
#[cfg(unix)]
pub mod incidents;
pub mod invitations;
mod manager;
pub mod metrics;
pub mod pins;
mod private;
mod reach;
mod renewal;
pub mod revocations;
pub mod serving;
mod snapshot;
#[cfg(unix)]
pub mod state;

pub use config::SecureMcpConfig;
pub use database::StateError;
pub use error::{Error, Result};
#[cfg(unix)]
pub use incidents::SecurityIncident;
pub use manager::{McpStream, SecureMcpConnectionManager};
pub use metrics::SecurityMetrics;
pub use reach::{AdHoc, Reach};
pub use sealwire_names as names;
pub use snapshot::Snapshot;
