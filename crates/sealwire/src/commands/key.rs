mod exchange;
mod shown;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sealwire::SecureMcpConfig;
use sealwire::agents::{Generation, KeyStore, RevokedAgents};
use sealwire_identity::{SigningKey, TokenUri};
use sealwire_names::{AgentId, Timestamp};
use serde_json::Value;

use super::issuing::token;
use crate::cli::{Context, Failure};

/// Make, replace and exchange the keys that agents sign and read messages with
///
/// An agent has two keys, one to sign and one that messages to it are encrypted for, and a
/// bundle that names both. What others need of it is the bundle, with the word of an authority
/// that they trust; or else they must be told its fingerprint by a way that nobody can tamper
/// with: read aloud, for instance.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key new --all
  sealwire key list
  sealwire key export Reviewer > reviewer.bundle
  sealwire key import reviewer.bundle --agent Reviewer --fingerprint 7k2m-…")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArguments),
    Rotate(RotateArguments),
    List(ListArguments),
    Export(ExportArguments),
    Import(ImportArguments),
    Vouch(VouchArguments),
}

/// Make the keys of an agent of this home, or of all that have none
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key new Reviewer
  sealwire key new --all
  sealwire key new Reviewer --key 'pkcs11:token=hsm;object=reviewer?pin-source=file:/etc/pin'")]
struct NewArguments {
    /// The agent, one of `agents` in [agent_security]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    agent: Option<String>,
    /// Every agent of the configuration that has none
    #[arg(long)]
    all: bool,
    /// Sign with this key in a token (RFC 7512), made there if there is none: docs/hardware.md
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "all")]
    key: Option<TokenUri>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Replace the keys of an agent by new ones
///
/// From then on it signs with the new key, and messages to it are encrypted for the new one.
/// Mail that waits is still read: the old recipient key is kept for `retention_days` of
/// [mailbox], and then destroyed. Homes elsewhere need the new bundle.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key rotate --due                    those older than key_rotation_days
  sealwire key rotate Reviewer
  sealwire key rotate Reviewer --compromised   somebody else may have its keys")]
struct RotateArguments {
    /// The agent, one of `agents` in [agent_security]
    #[arg(required_unless_present_any = ["all", "due"], conflicts_with_all = ["all", "due"])]
    agent: Option<String>,
    /// Every agent of the configuration
    #[arg(long, conflicts_with = "due")]
    all: bool,
    /// Every agent whose keys are older than key_rotation_days
    #[arg(long)]
    due: bool,
    /// Sign with this key in a token from now on; one that is in a token is replaced there anyway
    #[arg(long, value_name = "PKCS11-URI", conflicts_with_all = ["all", "due"])]
    key: Option<TokenUri>,
    /// Destroy the old keys at once: mail signed by them or encrypted for them is refused
    #[arg(long)]
    compromised: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// List the agents whose messages can be verified here, with fingerprints and validity
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key list
  sealwire key list --json | jq -r '.[] | select(.state == \"due\") | .agent'")]
struct ListArguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Write the bundle of an agent of this home, for another home to import; it is no secret
///
/// Where the authority's key is, the authority vouches for it: whoever trusts it needs no
/// fingerprint.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sealwire key export Reviewer > reviewer.bundle")]
struct ExportArguments {
    /// The agent
    agent: String,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Take the bundle of an agent elsewhere, or a signing key for an agent of this home
///
/// A bundle is believed by the word of an authority that is trusted here (`ca_cert`), or else only
/// if its fingerprint is what its owner says it is: it is asked for, or given with --fingerprint.
/// A private key, in OpenSSH's form or PKCS#8, must be
/// Ed25519 and without a passphrase; a recipient key of its own is made for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key import reviewer.vouched                   the authority vouches for it
  sealwire key import reviewer.bundle --agent Reviewer --fingerprint 7k2m-…
  sealwire key import ~/.ssh/reviewer_ed25519 --agent Reviewer")]
struct ImportArguments {
    /// The bundle, or the private key
    file: PathBuf,
    /// The fingerprint that the bundle's owner has told
    #[arg(long, value_name = "WORDS")]
    fingerprint: Option<String>,
    /// Whose it is; needed for a private key, and with --fingerprint
    #[arg(long)]
    agent: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Have this home's authority vouch for the keys of an agent elsewhere
///
/// It writes the bundle with the authority's word that these are the keys of the agent of that
/// name. Whoever trusts the authority imports that without a fingerprint, and so each home needs to
/// be told of a rotation once, here. The fingerprint is asked for, or given with --fingerprint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire key vouch reviewer.bundle --agent Reviewer --fingerprint 7k2m-… > reviewer.vouched
  sealwire key import reviewer.vouched                   in each other home")]
struct VouchArguments {
    /// The bundle
    file: PathBuf,
    /// The fingerprint that the bundle's owner has told
    #[arg(long, value_name = "WORDS")]
    fingerprint: Option<String>,
    /// Whose it is; needed with --fingerprint
    #[arg(long)]
    agent: Option<String>,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let keys = Keys { store: KeyStore::of(&config), config, now: SystemTime::now().into() };
    match &arguments.command {
        Command::New(arguments) => keys.make(arguments),
        Command::Rotate(arguments) => keys.rotate(arguments),
        Command::List(arguments) => keys.list(arguments),
        Command::Export(arguments) => keys.export(arguments),
        Command::Import(arguments) => keys.import(arguments),
        Command::Vouch(arguments) => keys.vouch(arguments),
    }
}

/// The keys of agents, as `key list --json` shows them. Nothing is changed.
pub(crate) fn inventory(config: SecureMcpConfig) -> Result<Value, Failure> {
    let keys = Keys { store: KeyStore::of(&config), config, now: SystemTime::now().into() };
    let (rows, _) = keys.rows()?;
    serde_json::to_value(rows)
        .map_err(|error| Failure::new("cannot encode the keys as JSON").because(error))
}

/// Makes the keys of every agent of the configuration that has none, and tells whose.
pub(crate) fn make_missing(config: &SecureMcpConfig) -> Result<Vec<AgentId>, Failure> {
    let store = KeyStore::of(config);
    let mut made = Vec::new();
    for agent in config.agent_security.agents.iter().filter(|agent| !store.has(agent)) {
        store.create(agent, None, SystemTime::now().into())?;
        made.push(agent.clone());
    }
    Ok(made)
}

/// The agent of this home with that name.
pub(crate) fn own_agent<'c>(
    config: &'c SecureMcpConfig,
    name: &str,
) -> Result<&'c AgentId, Failure> {
    let agents = &config.agent_security.agents;
    agents.iter().find(|agent| agent.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::usage(format!("this home has no agent {name:?}; it has {known}"))
            .at(config.file.display())
            .fix("name one of them, or add it to agents in [agent_security]")
    })
}

struct Keys {
    config: SecureMcpConfig,
    store: KeyStore,
    now: Timestamp,
}

impl Keys {
    fn make(&self, arguments: &NewArguments) -> Result<(), Failure> {
        let agents = match &arguments.agent {
            Some(name) => vec![own_agent(&self.config, name)?.clone()],
            None => {
                let all = self.config.agent_security.agents.iter();
                all.filter(|agent| !self.store.has(agent)).cloned().collect()
            }
        };
        let make = |agent: &AgentId| {
            let signing = self.in_token(arguments.key.as_ref())?;
            Ok(self.store.create(agent, signing, self.counting_from(agent)?)?)
        };
        let made = agents.iter().map(make).collect::<Result<Vec<_>, Failure>>()?;
        self.tell("made", &made, arguments.json, "every agent has keys, or there is none")
    }

    fn rotate(&self, arguments: &RotateArguments) -> Result<(), Failure> {
        let agents = match &arguments.agent {
            Some(name) => vec![own_agent(&self.config, name)?.clone()],
            None => self.with_keys(arguments.due)?,
        };
        let mut made = Vec::new();
        for agent in &agents {
            let signing = self.in_token(arguments.key.as_ref())?;
            made.push(self.store.rotate(agent, signing, self.counting_from(agent)?)?);
            if arguments.compromised {
                self.store.disown_earlier(agent)?;
            }
        }
        self.store.destroy_outdated(self.now)?;
        self.tell("rotated", &made, arguments.json, "nothing to rotate")
    }

    /// From when on new keys of an agent are valid: now, or when what is made for it counts again.
    fn counting_from(&self, agent: &AgentId) -> Result<Timestamp, Failure> {
        let revoked = RevokedAgents::of(&self.config)?;
        Ok(revoked.count_from(agent).map_or(self.now, |from| from.max(self.now)))
    }

    /// The signing key in a token that the command line names.
    fn in_token(&self, given: Option<&TokenUri>) -> Result<Option<SigningKey>, Failure> {
        let uri = token(given.cloned(), &self.config)?;
        Ok(uri.as_ref().map(SigningKey::open_or_generate).transpose()?)
    }

    /// The agents of this home that have keys; with `due`, those whose keys are.
    fn with_keys(&self, due: bool) -> Result<Vec<AgentId>, Failure> {
        let mut found = Vec::new();
        for agent in self.config.agent_security.agents.iter().filter(|a| self.store.has(a)) {
            let generations = self.store.generations(agent)?;
            let is_due = |of: &Generation| self.store.due(&of.bundle) <= self.now;
            if !due || generations.first().is_some_and(is_due) {
                found.push(agent.clone());
            }
        }
        Ok(found)
    }
}
