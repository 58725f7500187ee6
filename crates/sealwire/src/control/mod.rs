//! The control socket: how commands reach a running `serve`.
//!
//! `<home>/run/control.sock` has mode 0600, in a directory of mode 0700, and whoever connects
//! must be the user that `serve` runs as, or root, who could become it: the kernel tells. One
//! `serve` at a time has it, the one that holds `serve.lock` beside it, until it has drained; if it
//! writes the audit log, no other begins before.
//!
//! A new command is a variant of [`Request`](protocol::Request) and an arm in
//! [`Service::carry_out`](service::Service).

mod client;
mod courier;
mod enforcing;
mod incidents;
mod known;
mod ledger;
mod listener;
mod local;
mod local_event;
mod protocol;
mod revoking;
mod service;
mod shown;
mod turn;

pub(crate) use client::{Daemon, find};
pub(crate) use courier::{note, recorder};
pub(crate) use incidents::{OwnCounting, counting};
pub(crate) use ledger::Ledger;
pub(crate) use listener::Socket;
pub(crate) use local::{announce, local_conversations};
pub(crate) use protocol::{Answer, Request};
pub(crate) use revoking::UNKNOWN_CERTIFICATE;
pub(crate) use service::{Counting, Recorder, Reload, SHOWN as SHOWN_INCIDENTS, Service};
pub(crate) use shown::{as_json, incident_as_json, local_as_json, revocation_as_json};
