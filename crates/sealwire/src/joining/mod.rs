//! How a machine joins, over the network: docs/spec/join.md. What the line, the proofs and TLS are
//! is in `sealwire_identity::join`; here are the messages, and who sends them.

mod anchors;
mod client;
mod doors;
mod following;
mod grants;
mod lists;
mod renewal;
mod renewals;
mod seats;
mod service;
mod wire;

use std::time::Duration;

pub(crate) use anchors::SignedAnchors;
pub(crate) use client::{Joined, join};
pub(crate) use following::{CRL_FILE, Following, learn_in};
pub(crate) use renewal::{Renewing, renewed_by};
pub(crate) use service::Service;
pub(crate) use wire::Servers;

/// Longest time that either end waits for the other to come about, to ask, and to hear the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that whoever joins waits: the line is used up when the service begins to answer,
/// and that may have to wait for its disk.
const PATIENCE: Duration = Duration::from_secs(30);
