#![forbid(unsafe_code)]
//! MCP between two endpoints, over a link of mutual TLS.
//!
//! # The life of one tool call
//!
//! 1. A client writes a line to `sealwire connect`. [`Lines`] finds its end.
//! 2. [`message`] reads its head strictly; the gate decides, the audit sink records, the
//!    id is noted as in flight.
//! 3. The bytes as they came go into a data frame of the [`link`], which keeps them until
//!    the other side has handed them on.
//! 4. On the serving side the frame is checked in the same way, by the serving side's
//!    own gate: it does not trust what the connecting side let pass.
//! 5. The bytes go to the standard input of the server's process, which belongs to this
//!    conversation alone.
//! 6. The answer travels back in the same way and passes because its id is in flight. Of a
//!    list, the client sees what it may use.
//!
//! # What is promised
//!
//! Bytes in, same bytes out, in order, once — across network cuts, as long as both
//! processes live. When the serving process is gone, every request that may have reached it
//! is answered with an error that says what is known; none is ever sent twice. The client's
//! session goes on with the process that takes its place, if there is one in time.
//!
//! # What can change meanwhile
//!
//! [`Server::replace`] changes what is served, to whom and within which limits, in one
//! step and without touching a conversation. A connecting side asks for its identity at
//! each dial ([`link::DialConfig`]).
//!
//! # Defaults
//!
//! Every bound has one place: [`Limits`] for peers, [`message::MAX_DEPTH`] for messages,
//! the window of [`link`] for memory. One task drives each conversation, so nothing is
//! passed between threads on the way.

mod bridge;
mod child;
mod connect;
mod conversation;
mod endpoint;
mod held;
mod held_back;
mod in_flight;
mod line_writer;
mod lines;
pub mod link;
mod local;
mod memory;
pub mod message;
mod opening;
mod pinning;
mod reopen;
mod results;
mod serve;
#[cfg(unix)]
mod stdio;
mod throttle;
mod trial;
mod vigil;

pub use child::ChildConfig;
pub use connect::{ConnectConfig, Connection, RelayError};
pub use endpoint::{Endpoint, EndpointError, Incoming};
pub use lines::Lines;
pub use local::{LocalConfig, LocalServer};
pub use serve::{
    Control, ConversationReport, Limits, ListenerConfig, ServeConfig, ServeReport, Server, Service,
    connections_within, open_files_for,
};
#[cfg(unix)]
pub use stdio::{Input, Output, stdio};
pub use trial::{Trial, TrialEnd};
