//! The decision point: may this message pass?
//!
//! The relay asks a [`Gate`] about every request and notification, in both
//! directions, before a byte of it is forwarded. A gate is pure: it reads no clock
//! and does no I/O, so that a decision can be explained and tested by its inputs
//! alone.
//!
//! # A policy
//!
//! [`Policy`] is what an operator wrote; [`Table`] is the same, compiled for deciding. Each
//! tool, prompt and resource has a [`Level`], from 0 (public) to 3 (privileged); each peer
//! has a ceiling, the highest level that it may use. Rules allow more, or deny.
//!
//! A request passes if no rule denies it, and
//!
//! - on the way to the server: its level is within the peer's ceiling, or a rule allows it.
//!   Level 3 takes a rule that names the peer and the tool exactly, whatever the ceiling.
//!   What the server's [`AuthMethod`] asks for on top is never replaced by a rule;
//! - on the way to the client: it is a notification, or a ping, or a rule allows it. So
//!   sampling, elicitation and roots are denied unless an operator says otherwise.
//!
//! Deny is the default: what nothing lists has level 3.
//!
//! # Agents
//!
//! Messages between agents are decided by a [`TrustMatrix`]: who may write to whom.
//!
//! # Limits
//!
//! [`Limiter`] counts requests for each peer, for tools, for servers and in total; [`Guard`]
//! asks it and the table in the right order. Who is limited is told when to try again.
//!
//! # Quarantine
//!
//! A [`Quarantine`] stands before all of that: whoever is in it gets nothing, until it expires or
//! is lifted.
//!
//! # Pins
//!
//! What a server says of its tools is compared with what was approved: [`Book`] holds one
//! server's hashes and decides; the relay asks through [`Pins`], after the gate.
//!
//! # Incidents
//!
//! [`Incidents`] counts refusals, and says when they are too many. Whom they count against is said
//! by [`Evidence::blame`]: the peer whose certificate was verified, or nobody.
//!
//! # Cost
//!
//! A decision that allows allocates nothing, and costs the same with ten rules or ten
//! thousand. That is why a `*` in a pattern may stand at its end only.
//!
//! Another engine would implement [`Gate`] beside [`Table`]: request and decision hold
//! nothing of the table's.
//!
//! ```
//! use sealwire_guard::{Direction, Gate, Level, Policy, Principal, Request, ServerPolicy, Table};
//!
//! let github = ServerPolicy {
//!     name: "github".into(),
//!     entry: "github".into(),
//!     default_level: Some(Level::Authorized),
//!     ..ServerPolicy::default()
//! };
//! let table = Table::compile(&Policy { servers: vec![github], ..Policy::default() });
//! let peer = "spiffe://example.org/agent/CodeExpert".parse().unwrap();
//! let request = Request {
//!     peer: Principal::Peer(&peer),
//!     server: "github",
//!     direction: Direction::ToServer,
//!     method: "tools/call",
//!     subject: Some("create_issue"),
//! };
//! // A peer that no ceiling names may use levels 0 and 1.
//! assert!(!table.allows(&request));
//! ```
#![forbid(unsafe_code)]

mod blame;
mod canonical;
mod explain;
mod gate;
mod guard;
mod incident;
mod incidents;
mod index;
mod level;
mod limits;
mod operation;
mod pattern;
mod pins;
mod policy;
mod quarantine;
mod review;
mod table;
mod trie;
mod trust;

pub use blame::Evidence;
pub use explain::{Explanation, Missing};
pub use gate::{AllowAuthenticated, Decision, DenyAll, Direction, Gate, Principal, Request};
pub use guard::Guard;
pub use incident::{IncidentAction, IncidentKind, IncidentRule, IncidentRules, Subject};
pub use incidents::Incidents;
pub use level::{AuthMethod, Level};
pub use limits::{Limited, Limiter, Rate, RateLimits, ServerLimits};
pub use operation::Space;
pub use pattern::{NamePattern, PatternError, PeerPattern};
pub use pins::{
    Book, Definition, FIRST_LISTING, Page, PinHash, PinKind, PinMode, Pins, Shown, Standing,
};
pub use policy::{
    DEFAULT_LEVEL, DEFAULT_LOCAL_CEILING, DEFAULT_PEER_CEILING, Effect, Policy, Rule, ServerPolicy,
};
pub use quarantine::{Entry, Quarantine, Target};
pub use review::{Remark, RemarkKind};
pub use table::Table;
pub use trust::{Partners, Power, TrustMatrix};
