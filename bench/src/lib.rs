//! Benchmarks of sealwire, always beside what they are compared with.
//!
//! A [`Scenario`] is a handful of [`Case`]s that do the same work in different
//! ways. [`run`] measures them in interleaved rounds: A, B, C, then B, C, A, and
//! so on, so that a machine that gets slower or busier does so for all of them.
//! What counts are ratios between two cases *within* a round; the [`Report`] has
//! each of them, their median and their spread, and the raw figures. [`page`]
//! makes docs/performance.md of reports.
//!
//! Scenarios:
//! - [`link`]: one client, one server, four ways to connect them.
//! - [`chains`]: the same through what people chain today.
//! - [`envelope`]: a message between agents, beside its cryptography alone.
//! - [`guard`]: what a decision costs, and what deciding costs a call.
//!
//! How to run it, what the figures mean and how to add a scenario: `bench/README.md`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod certificates;
pub mod chains;
pub mod envelope;
pub mod guard;
mod host;
mod limit;
pub mod link;
mod mail;
pub mod memory;
pub mod page;
pub mod process;
mod report;
mod requests;
pub mod route;
mod runner;
pub mod session;
pub mod setup;
pub mod stats;
mod stunnel;
pub mod tunnel;
mod verifying;

pub use host::Host;
pub use limit::{Limit, Subject};
pub use report::{CaseReport, Check, Ratios, Report, Skipped, Text};
pub use requests::Requests;
pub use runner::{Case, Effort, Figures, Measure, Ratio, Scenario, run};

/// What went wrong, in words for the person at the terminal.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A result whose error is a message.
pub type Result<T> = std::result::Result<T, Error>;
