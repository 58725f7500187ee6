use std::path::PathBuf;

use sealwire_names::{AgentId, Timestamp};

/// Why an agent's keys cannot be read, made or believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file cannot be read or written, or holds no key.
    #[error(transparent)]
    File(#[from] sealwire_identity::Error),
    /// It is not known who is quarantined.
    #[error("it is not known who is quarantined: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// The agent has no keys in this home.
    #[error("agent {agent} has no keys here ({})", directory.display())]
    Missing {
        /// The agent.
        agent: AgentId,
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// The agent has keys already, and keys are never overwritten.
    #[error("agent {agent} has keys already")]
    Exists {
        /// The agent.
        agent: AgentId,
    },
    /// A bundle is damaged, or does not hold.
    #[error("{}: {reason}", file.display())]
    Bundle {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is not the one that the agent's bundle names.
    #[error("{} is not the key that the bundle of {agent} names", file.display())]
    OtherKey {
        /// The agent.
        agent: AgentId,
        /// The file.
        file: PathBuf,
    },
    /// The bundle is not newer than one that is known.
    #[error(
        "the bundle of {agent} is number {number}, and number {known} is known: it has been replaced"
    )]
    Replaced {
        /// The agent.
        agent: AgentId,
        /// The bundle's number.
        number: u64,
        /// The highest number known.
        known: u64,
    },
    /// The bundle says that it is of an agent of this home, which has keys of its own.
    #[error("{agent} is an agent of this home, with keys of its own")]
    Own {
        /// The agent.
        agent: AgentId,
    },
    /// The fingerprint is not that of the bundle's signing key.
    #[error("the bundle of {agent} does not have that fingerprint")]
    Fingerprint {
        /// The agent.
        agent: AgentId,
    },
    /// The agent's name was revoked after the keys were made.
    #[error("agent {agent} is revoked: what it had before {from} counts no more")]
    Revoked {
        /// The agent.
        agent: AgentId,
        /// From when on its keys count again.
        from: Timestamp,
    },
    /// The authority's word for a bundle does not hold.
    #[error("the bundle of {agent} is not believed: {reason}")]
    Unvouched {
        /// The agent.
        agent: AgentId,
        /// Which rule it breaks.
        reason: String,
    },
    /// The bundle may not be used any more.
    #[error("the bundle of {agent} expired at {at}")]
    Expired {
        /// The agent.
        agent: AgentId,
        /// When.
        at: Timestamp,
    },
    /// Another agent signs with that key, or another bundle names it: a key is one agent's,
    /// and names one generation of it.
    #[error("the signing key for {agent} is one that {holder} has, or had")]
    Taken {
        /// The agent.
        agent: AgentId,
        /// Whose it is.
        holder: AgentId,
    },
    /// The agent signs with that key already.
    #[error("that is the signing key that {agent} has")]
    Same {
        /// The agent.
        agent: AgentId,
    },
    /// The cryptographic library failed.
    #[error("{reason}")]
    Crypto {
        /// What the library said.
        reason: String,
    },
}

impl KeyError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::File(sealwire_identity::Error::Key { label, .. })
            | Self::File(sealwire_identity::Error::Pem { label, .. }) => {
                format!("put {label} back from a backup, or name another file")
            }
            Self::File(error) => error.remedy(),
            Self::Missing { agent, .. } => {
                format!("make them with `sealwire key new {agent}`, or import its bundle")
            }
            Self::State { .. } => "put the state of the home in order".to_owned(),
            Self::Exists { agent } => {
                format!("use them, or replace them with `sealwire key rotate {agent}`")
            }
            Self::Bundle { .. } => {
                "get it again from where it was exported: `sealwire key export NAME`".to_owned()
            }
            Self::OtherKey { .. } => {
                "put the file back from a backup, or move all files of this agent away and make \
                 new keys"
                    .to_owned()
            }
            Self::Replaced { .. } => "ask its owner for the bundle of now".to_owned(),
            Self::Own { .. } => "import it where the agent is not at home".to_owned(),
            Self::Fingerprint { .. } => {
                "have its owner read out what `sealwire key list` shows there; if it differs, \
                 somebody has changed the file on its way: do not use it"
                    .to_owned()
            }
            Self::Revoked { agent, .. } => {
                format!(
                    "make other keys where it is at home: sealwire key rotate {agent} --compromised"
                )
            }
            Self::Unvouched { .. } => {
                "get it again from the authority's home (`sealwire key vouch`), or have its owner \
                 read out the fingerprint, and give it with --agent and --fingerprint"
                    .to_owned()
            }
            Self::Expired { .. } => {
                "ask its owner to run `sealwire key rotate`, and for the new bundle".to_owned()
            }
            Self::Taken { .. } => {
                "use another key: what is signed with one key must be of one agent, and a \
                 bundle is not made twice with it"
                    .to_owned()
            }
            Self::Same { agent } => {
                format!(
                    "to replace the recipient key too, make a new pair: sealwire key rotate {agent}"
                )
            }
            Self::Crypto { .. } => {
                "this is a defect or a broken system library; report it".to_owned()
            }
        }
    }
}
