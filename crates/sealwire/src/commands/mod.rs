//! One file for each subcommand: its arguments, and what it does.

pub(crate) mod agent;
pub(crate) mod alerts;
pub(crate) mod audit;
mod bundle;
mod bundle_file;
pub(crate) mod ca;
pub(crate) mod cert;
mod certificates;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod demo_server;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod init;
mod init_agents;
pub(crate) mod invite;
mod issuing;
pub(crate) mod join;
pub(crate) mod key;
pub(crate) mod man;
mod mcp;
pub(crate) mod pins;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod reload;
pub(crate) mod report;
mod revoke;
pub(crate) mod serve;
mod signals;
pub(crate) mod status;
mod watch;

pub(crate) use bundle_file::BundledServer;
pub(crate) use certificates::leaf;
pub(crate) use issuing::{HomeLock, Terms, leaf_request, open_authority};
