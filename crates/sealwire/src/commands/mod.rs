//! One file for each subcommand: its arguments, and what it does.

pub(crate) mod agent;
mod bundle;
mod bundle_file;
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
mod issuing;
pub(crate) mod key;
pub(crate) mod man;
mod mcp;
pub(crate) mod pins;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod reload;
mod revoke;
pub(crate) mod serve;
mod signals;
pub(crate) mod status;
mod watch;
