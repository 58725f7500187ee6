//! Where decisions are recorded.
//!
//! The relay hands an [`Event`] to an [`AuditSink`] for every connection accepted or
//! refused, every decision and every outcome; the mailbox, for every step of a message. Events carry plain text and the shared
//! names, never another crate's types, so that a record can be read without the
//! program that wrote it.
//!
//! A sink may fail; the message is then refused, because what cannot be
//! recorded must not happen.
#![forbid(unsafe_code)]

mod argument_keys;
mod batch;
mod call;
mod day;
mod day_files;
mod edge;
mod entries;
mod entry;
mod files;
mod gathering;
mod group;
mod held;
mod journal;
mod lines;
mod log;
pub mod note;
pub mod path;
pub mod proof;
mod prune;
pub mod read;
mod recovery;
mod refusals;
mod text;
pub mod tiles;
pub mod tree;
pub mod verify;
mod write_ahead;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sealwire_names::{AgentId, Fingerprint, PeerId, Refusal, Timestamp};

pub use day::{Day, NoDay};
pub use journal::{Durability, Journal, Rules, Settings, Status};
pub use log::LogSink;
pub use recovery::OpenError;
pub use text::{LineHead, NotCanonical, is_unsafe, parse_body, parse_line};

/// Longest line of a log, in bytes, without its line feed.
pub const MAX_LINE: usize = 65_535;

/// Where in the log something was recorded, and what of the log has to last before what depends
/// on it may happen; the default where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    entries: u64,
    call: u64,
    /// The number of a decision that is not recorded yet.
    held: Option<NonZeroU64>,
    written: u64,
    durable: u64,
}

impl Position {
    /// After so many entries, which are to be durable.
    pub const fn after(entries: u64) -> Self {
        Self { entries, call: 0, held: None, written: entries, durable: entries }
    }

    /// In that entry, as the call with that number, from 0.
    pub const fn of_call(entry: u64, call: u64) -> Self {
        Self { call, ..Self::after(entry + 1) }
    }

    /// The same, where it is enough that the entries are written, so that they outlast this
    /// process.
    #[must_use]
    pub const fn outlasting_us(self) -> Self {
        Self { durable: 0, ..self }
    }

    /// The same, where nothing waits for the entries.
    #[must_use]
    pub const fn unawaited(self) -> Self {
        Self { written: 0, durable: 0, ..self }
    }

    /// Of a decision that is recorded with its outcome, at the latest soon; nothing waits for it.
    const fn held(number: NonZeroU64) -> Self {
        Self { held: Some(number), ..Self::after(0) }
    }

    /// What has to last for this and for another; of no call.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries.max(other.entries),
            call: 0,
            held: None,
            written: self.written.max(other.written),
            durable: self.durable.max(other.durable),
        }
    }

    /// How many entries there are with it.
    pub const fn entries(self) -> u64 {
        self.entries
    }

    /// How many of them are to be written.
    pub const fn written(self) -> u64 {
        self.written
    }

    /// How many of them are to be durable.
    pub const fn durable(self) -> u64 {
        self.durable
    }

    /// The number of the last of them.
    pub fn last_entry(self) -> Option<u64> {
        self.entries.checked_sub(1)
    }

    /// Which of the calls of that entry it is, from 0.
    pub const fn call(self) -> u64 {
        self.call
    }
}

/// Takes events, in the order in which they happened on each connection.
pub trait AuditSink: Send + Sync {
    /// Records one event.
    ///
    /// # Errors
    /// When the event could not be recorded; the caller then denies what it was about.
    fn record(&self, event: &Event<'_>) -> io::Result<Position>;

    /// Ready once as much of the log lasts as `position` says, in the way that is configured.
    ///
    /// # Errors
    /// When that cannot be reached.
    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = (position, cx);
        Poll::Ready(Ok(()))
    }
}

impl<S: AuditSink + ?Sized> AuditSink for Arc<S> {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        (**self).record(event)
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_durable(position, cx)
    }
}

/// Records in the first, which decides whether that is done, and then tells the second.
impl<A: AuditSink, B: AuditSink> AuditSink for (A, B) {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        let position = self.0.record(event)?;
        self.1.record(event)?;
        Ok(position)
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_durable(position, cx)
    }
}

/// What an entry about this event says after its time, as [`Journal::append`] takes it. Without
/// the arguments of a call, whose hash only the journal can make.
pub fn body_of(event: &Event<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    entry::write(&mut body, event);
    body
}

/// Something that happened and that an operator may have to prove later.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A verified peer opened a conversation with a server.
    ConnectionAccepted(&'a Connection<'a>),
    /// A verified peer came back to a conversation after a network cut.
    ConnectionResumed(&'a Connection<'a>),
    /// A connection was refused, before or after its peer was known.
    ConnectionRefused {
        /// Where it came from.
        address: Option<SocketAddr>,
        /// The peer, if it had been verified by then.
        peer: Option<&'a PeerId>,
        /// The server asked for, if that was known by then.
        server: Option<&'a str>,
        /// Why.
        refusal: &'a Refusal,
    },
    /// A request or notification was decided upon.
    Decision {
        /// The message.
        message: &'a Message<'a>,
        /// `None` if it was allowed.
        denied: Option<&'a Refusal>,
    },
    /// A request that was let through has its answer, or never will.
    Outcome {
        /// The request.
        message: &'a Message<'a>,
        /// The entry of its decision.
        decision: Position,
        /// How it ended.
        result: CallResult,
        /// From the decision to the answer.
        duration: Duration,
    },
    /// Something happened to a message between agents.
    AgentMessage(&'a AgentMessage<'a>),
    /// A server's definitions were approved as the first, or differ from what is approved.
    Pin(&'a PinEvent<'a>),
    /// Refusals have become too many.
    Incident(&'a Incident<'a>),
    /// Alerts could not be delivered for so long that they are given up.
    AlertsGivenUp {
        /// By which way.
        channel: &'a str,
        /// How many.
        alerts: usize,
        /// Why the last attempt failed.
        reason: &'a str,
    },
    /// An operator, or what he has set up, changed what holds.
    Change(&'a Change<'a>),
}

/// An accepted connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Where it came from.
    pub address: SocketAddr,
    /// The verified name of its peer.
    pub peer: &'a PeerId,
    /// The peer's certificate.
    pub fingerprint: &'a Fingerprint,
    /// The MCP server it reached.
    pub server: &'a str,
    /// The TLS cipher suite, by its name at IANA; empty if that is not known.
    pub cipher: &'a str,
    /// The TLS key exchange group; empty if that is not known.
    pub group: &'a str,
}

/// A request or notification, as far as its head tells.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The verified peer of the conversation; `None` where we are the client's own process.
    pub peer: Option<&'a PeerId>,
    /// The MCP server of the conversation.
    pub server: &'a str,
    /// `to_server` or `to_client`.
    pub direction: &'a str,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// The tool, prompt or resource.
    pub subject: Option<&'a str>,
    /// The request's id; `None` for a notification.
    pub id: Option<CallId<'a>>,
    /// The peer's certificate.
    pub certificate: Option<&'a Fingerprint>,
    /// `params.arguments` as they came.
    pub arguments: Option<&'a [u8]>,
    /// The policy by which it was decided.
    pub policy: Option<&'a Fingerprint>,
    /// When it was, or its end; `None` if that is now. To read the clock costs more than most of
    /// what is done with a message.
    pub at: Option<Timestamp>,
}

/// The id of a request (JSON-RPC 2.0 §4), shown as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallId<'a> {
    /// An integer that fits into 64 bits.
    Integer(i64),
    /// Any other, as JSON.
    Json(&'a str),
}

impl fmt::Display for CallId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Json(json) => f.write_str(json),
        }
    }
}

/// A message between agents.
#[derive(Clone, Copy)]
pub struct AgentMessage<'a> {
    /// What happened to it.
    pub step: AgentStep<'a>,
    /// The agent at whose side it happened.
    pub agent: &'a AgentId,
    /// The sender. Where a message was refused before its signature was verified, it is only
    /// what the message says.
    pub from: &'a AgentId,
    /// The agent, agents or group it is for, as far as that could be read.
    pub to: Option<&'a dyn fmt::Display>,
    /// Its id, as far as it could be read.
    pub message_id: Option<&'a dyn fmt::Display>,
    /// Its type, as far as it could be read.
    pub message_type: Option<&'a str>,
}

/// Refusals that are too many.
#[derive(Clone, Copy)]
pub struct Incident<'a> {
    /// Its number, if it could be kept.
    pub id: Option<u64>,
    /// What was refused: a word of `[incidents]`.
    pub kind: &'a str,
    /// Who is to blame; or, where nobody is known to be, where it was seen.
    pub subject: &'a dyn fmt::Display,
    /// How many there were.
    pub events: u32,
    /// Within what time.
    pub window: Duration,
    /// What follows.
    pub action: &'a str,
    /// Until when.
    pub until: Timestamp,
}

/// A change of what holds.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// Of what.
    pub kind: ChangeKind,
    /// Whom or what it is about.
    pub subject: Option<&'a dyn fmt::Display>,
    /// What it is, or why; never a secret.
    pub detail: &'a str,
    /// Until when it holds, if it ends by itself.
    pub until: Option<Timestamp>,
}

/// What was changed. Shown as the type of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The configuration that is served.
    ConfigChanged,
    /// A configuration was not taken, and the old one stays.
    ConfigRefused,
    /// A key was made, or took another's place.
    KeyChanged,
    /// A certificate was issued.
    CertificateIssued,
    /// Somebody was refused who wanted one by an invitation that there is.
    JoinRefused,
    /// A peer was refused who wanted another certificate for the one that it has.
    RenewalRefused,
    /// Somebody is shut out.
    QuarantineAdded,
    /// Somebody is let in again.
    QuarantineLifted,
    /// A certificate was revoked.
    Revocation,
    /// Definitions of a server were approved by an operator.
    PinApproved,
}

impl ChangeKind {
    /// Its word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigChanged => "config.changed",
            Self::ConfigRefused => "config.refused",
            Self::KeyChanged => "key.changed",
            Self::CertificateIssued => "certificate.issued",
            Self::JoinRefused => "join.refused",
            Self::RenewalRefused => "renewal.refused",
            Self::QuarantineAdded => "quarantine.added",
            Self::QuarantineLifted => "quarantine.lifted",
            Self::Revocation => "revocation",
            Self::PinApproved => "pin.approved",
        }
    }
}

/// What happened to a message between agents.
#[derive(Clone, Copy, Debug)]
pub enum AgentStep<'a> {
    /// It may be sent, and is handed to the transport. What comes of it follows; if nothing does,
    /// that is not known.
    Sending,
    /// The transport keeps it.
    Sent,
    /// The transport failed, and it may or may not have been sent.
    SendFailed {
        /// Why.
        reason: &'a str,
    },
    /// It is genuine, and is handed to the receiving agent.
    Delivered {
        /// It was before, and was not acknowledged.
        again: bool,
    },
    /// The receiving agent is done with it.
    Acknowledged,
    /// It is genuine, and came too fast: it waits.
    Deferred {
        /// How long.
        wait: Duration,
    },
    /// It is not sent. The sender's own process, which holds its key, wanted to.
    NotSent(&'a Refusal),
    /// It came, and is not delivered. Who sent it may be another than it says.
    Refused(&'a Refusal),
}

/// What a server says of its tools and of itself, compared with what was approved. Whatever
/// it is, it is the server's doing: never the peer's, to whom it would have been shown.
#[derive(Clone, Copy, Debug)]
pub struct PinEvent<'a> {
    /// The verified peer of the conversation; `None` where we are the client's own process.
    pub peer: Option<&'a PeerId>,
    /// The MCP server.
    pub server: &'a str,
    /// `tool`, `prompt`, `resource_template` or `instructions`.
    pub kind: &'a str,
    /// What happened.
    pub step: PinStep<'a>,
}

/// What happened to definitions.
#[derive(Clone, Copy, Debug)]
pub enum PinStep<'a> {
    /// They are the first, and approved.
    Pinned {
        /// How many they are.
        definitions: usize,
    },
    /// One is not the approved one. Told once for each definition that is new to us, not
    /// each time that it is shown.
    Blocked {
        /// The name of what it defines.
        name: &'a str,
        /// Why.
        refusal: &'a Refusal,
    },
    /// One that differed is again as it was approved.
    Restored {
        /// The name of what it defines.
        name: &'a str,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Answered with a result.
    Result,
    /// Answered with a JSON-RPC error.
    Error,
    /// The conversation ended before an answer came.
    Unanswered,
}

impl CallResult {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Error => "error",
            Self::Unanswered => "unanswered",
        }
    }
}

impl fmt::Display for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
