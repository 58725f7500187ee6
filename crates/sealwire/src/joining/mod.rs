//! How a machine joins, over the network: docs/spec/join.md. What the line, the proofs and TLS are
//! is in `sealwire_identity::join`; here are the messages, and who sends them.

mod client;
mod renewal;
mod service;
mod wire;

use std::time::Duration;

pub(crate) use client::{Joined, join};
pub(crate) use renewal::Renewing;
pub(crate) use service::Service;
pub(crate) use wire::Servers;

/// Longest time for all of it, from the connection on.
const DEADLINE: Duration = Duration::from_secs(10);
