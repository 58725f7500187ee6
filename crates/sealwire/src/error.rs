use sealwire_relay::link::LinkError;

use crate::config::ConfigError;
use crate::database::StateError;
use crate::pins::PinError;

/// The result of this library's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call of this library failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate, key or trust anchor cannot be used.
    #[error(transparent)]
    Identity(#[from] sealwire_identity::Error),
    /// The server could not be reached, or could not be trusted.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What is approved of servers' definitions cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// What is kept in the home's state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration names no such server.
    #[error("no server {name:?} is configured; there is {known}")]
    UnknownServer {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The entry is of a server that runs elsewhere.
    #[error("{0} has an endpoint: it is connected to, not served here")]
    NotServed(String),
    /// The entry is of a server that stays on this machine, and has no address.
    #[error("{0} stays on this machine: nobody but `sealwire connect {0}` starts and reaches it")]
    Local(String),
    /// The configuration names no such agent.
    #[error("no agent {0:?} is configured: add it to agents in [agent_security]")]
    UnknownAgent(String),
    /// The name cannot stand in a certificate.
    #[error("{name:?} cannot be a server's name: {reason}")]
    ServerName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: sealwire_names::NameError,
    },
    /// The server is served here on a port that the system chooses, so that nobody can
    /// know it beforehand.
    #[error("{0} is served here on port 0, which cannot be connected to; give it a port")]
    NoPort(String),
}
