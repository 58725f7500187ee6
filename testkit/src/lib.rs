//! What sealwire's tests and benchmarks share.
//!
//! The tests use the programs as an operator would: [`Home`] makes a home with the
//! binary itself, [`Serve`] and [`Connect`] start it, wait for what it *says* and never
//! for time to pass, and end it by its own process id. [`openssl`] is the foreign
//! implementation that makes certificates with faults, [`ChaosProxy`] the network that
//! breaks, [`MockModel`] the language model behind a client, and [`receivers`] are who gets
//! alerts. Every wait has [`GUARD`]
//! as its upper bound, which only a hang reaches. [`fuzz`] states what must hold for any
//! bytes at all.
//!
//! Everything here panics on the unexpected, with what the programs said.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod chaos;
mod connect;
mod disk;
pub mod evidence;
pub mod fake_server;
pub mod fuzz;
mod home;
mod http;
mod messages;
mod model;
pub mod openssl;
mod process;
mod programs;
pub mod receivers;
mod serve;
mod token;

pub use chaos::{ChaosProxy, Cut};
pub use connect::Connect;
pub use disk::Disk;
pub use home::{Home, OPEN, quoted, server_table};
pub use http::HttpServer;
pub use messages::MockMessages;
pub use model::{MockModel, TOOL_SAID};
pub use process::{GUARD, Log, Output, Process, run, wait_until};
pub use programs::{bin, install, soak, tool};
pub use serve::Serve;
pub use token::{Token, token_module};
