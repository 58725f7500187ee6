use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sealwire::SecureMcpConfig;
use sealwire::agents::{
    Generation, KeyError, KeyStore, RevokedAgents, RevokedKeys, read_vouched, vouch,
};
use sealwire::revocations::{ListFiles, revoked};
use sealwire_audit::ChangeKind;
use sealwire_envelope::Bundle;
use sealwire_identity::{Revocations, SigningKey, TokenUri, files, parse_pem_certificates};
use sealwire_names::{AgentId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::issuing::{open_authority, token};
use crate::cli::{Context, Failure, print, print_json};
use crate::control::note;

/// Seconds.
const DAY: u64 = 86_400;

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

/// A generation of keys as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    agent: String,
    /// Whether the agent is of this home.
    own: bool,
    /// To be read aloud.
    fingerprint: String,
    /// All of it.
    signing_kid: String,
    recipient_kid: String,
    number: u64,
    not_before: String,
    /// Since then, in whole days.
    age_days: u64,
    /// When it should be replaced.
    due: String,
    not_after: String,
    state: State,
    /// When it was replaced.
    replaced: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Current,
    /// To be replaced.
    Due,
    Expired,
    /// Kept for mail that may wait.
    Replaced,
    /// By the agent's name, or with the authority that has vouched for them: they count no more.
    Revoked,
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

    fn list(&self, arguments: &ListArguments) -> Result<(), Failure> {
        self.store.destroy_outdated(self.now)?;
        let (rows, without) = self.rows()?;
        if arguments.json {
            return print_json(&rows);
        }
        let mut text = String::new();
        let width = rows.iter().map(|row| row.agent.len()).max().unwrap_or_default();
        for row in &rows {
            let until = match row.state {
                State::Current => format!("due {}", row.due),
                State::Due => format!("due since {}: sealwire key rotate {}", row.due, row.agent),
                State::Expired => format!("expired {}", row.not_after),
                State::Replaced => format!("replaced {}", row.replaced.as_deref().unwrap_or("")),
                State::Revoked if row.own && row.replaced.is_none() => {
                    format!("revoked: sealwire key rotate {} --compromised", row.agent)
                }
                State::Revoked => "revoked".to_owned(),
            };
            let whose = if row.own { "own      " } else { "elsewhere" };
            let (agent, fingerprint) = (&row.agent, &row.fingerprint);
            text.push_str(&format!("{agent:width$}  {fingerprint}  {whose}  {until}\n"));
        }
        for agent in without {
            text.push_str(&format!("{agent:width$}  has no keys: sealwire key new {agent}\n"));
        }
        if text.is_empty() {
            text.push_str("no agents: name them in agents of [agent_security]\n");
        }
        print(&text)
    }

    /// All that there are, and the agents of this home that have none.
    fn rows(&self) -> Result<(Vec<Row>, Vec<&str>), Failure> {
        let mut rows = Vec::new();
        let mut without = Vec::new();
        let revoked = RevokedKeys::of(&self.config, &self.store, self.now)?;
        for agent in &self.config.agent_security.agents {
            if !self.store.has(agent) {
                without.push(agent.as_str());
                continue;
            }
            let generations = self.store.generations(agent)?;
            rows.extend(generations.iter().map(|generation| self.row(generation, true, &revoked)));
        }
        for generations in self.store.known(self.now)?.values() {
            rows.extend(generations.iter().map(|generation| self.row(generation, false, &revoked)));
        }
        Ok((rows, without))
    }

    fn export(&self, arguments: &ExportArguments) -> Result<(), Failure> {
        let agent = own_agent(&self.config, &arguments.agent)?;
        let mut text = self.store.export(agent)?;
        let bundle = KeyStore::parse_bundle(text.as_bytes(), Path::new("the bundle"))?;
        // Beside the bundle, not in it: what travels with it could be changed with it.
        let mut told = format!("the fingerprint of {agent} is {}\n", bundle.fingerprint());
        if self.config.layout().has_authority() {
            text = self.vouched(text.as_bytes(), Path::new("the bundle"), &bundle)?;
            told.push_str(&format!(
                "the authority of {} vouches for it: who trusts that needs no fingerprint\n",
                self.config.trust_domain
            ));
        }
        write(arguments.out.as_deref(), &text)?;
        let _nobody_reads = std::io::stderr().write_all(told.as_bytes());
        Ok(())
    }

    fn vouch(&self, arguments: &VouchArguments) -> Result<(), Failure> {
        let VouchArguments { file, fingerprint, agent, out } = arguments;
        let content = files::read_public(file)?;
        let bundle = KeyStore::parse_bundle(&content, file)?;
        let told = (fingerprint.as_deref(), agent.as_deref());
        let given = told_fingerprint(&bundle, file, told, None)?;
        if !bundle.fingerprint().is_fingerprint(&given) {
            return Err(KeyError::Fingerprint { agent: bundle.agent }.into());
        }
        if bundle.not_after <= self.now {
            let (agent, at) = (bundle.agent, bundle.not_after);
            return Err(KeyError::Expired { agent, at }.into());
        }
        let text = self.vouched(&content, file, &bundle)?;
        write(out.as_deref(), &text)
    }

    /// A bundle with the word of this home's authority, which does not vouch for what is revoked.
    fn vouched(&self, content: &[u8], file: &Path, bundle: &Bundle) -> Result<String, Failure> {
        RevokedAgents::of(&self.config)?.check(bundle)?;
        let authority = open_authority(&self.config)?;
        let text = vouch(content, file, authority.authority(), self.now)?;
        let (agent, fingerprint) = (&bundle.agent, bundle.fingerprint());
        let detail = format!("the authority vouches for number {}, {fingerprint}", bundle.number);
        note(&self.config, ChangeKind::KeyChanged, agent, &detail);
        Ok(text)
    }

    fn import(&self, arguments: &ImportArguments) -> Result<(), Failure> {
        let file = &arguments.file;
        let content = files::read_public(file)?;
        // What holds a private key is not what one takes from others.
        if String::from_utf8_lossy(&content).contains("PRIVATE KEY-----") {
            return self.import_private(arguments);
        }
        let bundle = KeyStore::parse_bundle(&content, file)?;
        if arguments.agent.as_ref().is_some_and(|name| name != bundle.agent.as_str()) {
            return Err(other_agent(&bundle, file));
        }
        RevokedAgents::of(&self.config)?.check(&bundle)?;
        let own = &self.config.agent_security.agents;
        let (given, name) = (arguments.fingerprint.as_deref(), arguments.agent.as_deref());
        let mut why_not = None;
        if given.is_none() {
            match self.import_vouched(file, own)? {
                Ok(bundle) => return self.tell("imported", &[bundle], arguments.json, ""),
                Err(reason) => why_not = reason,
            }
        }
        let fingerprint = told_fingerprint(&bundle, file, (given, name), why_not.as_deref())?;
        let bundle = self.store.import(file, &fingerprint, own, self.now)?;
        self.tell("imported", &[bundle], arguments.json, "")
    }

    /// Takes a bundle for which an authority vouches that is trusted here. If none does, why what
    /// it says does not count, where there is any such thing: its owner can still be asked.
    fn import_vouched(
        &self,
        file: &Path,
        own: &[AgentId],
    ) -> Result<Result<Bundle, Option<String>>, Failure> {
        let anchors = files::read_public(&self.config.ca_cert)
            .ok()
            .and_then(|pem| parse_pem_certificates(&pem).ok())
            .unwrap_or_default();
        let lists = ListFiles::of(&self.config).load(self.now)?;
        let revocations = Revocations::new(revoked(&self.config.layout())?).with_lists(lists);
        let believed = (&anchors[..], &self.config.trust_domain, &revocations);
        let content = files::read_public(file)?;
        Ok(match read_vouched(&content, file, believed, self.now)?.1 {
            None => Err(None),
            Some(Err(reason)) => Err(Some(reason)),
            Some(Ok(())) => Ok(self.store.import_vouched(file, believed, own, self.now)?),
        })
    }

    fn import_private(&self, arguments: &ImportArguments) -> Result<(), Failure> {
        let file = &arguments.file;
        let Some(name) = &arguments.agent else {
            return Err(Failure::usage("the file holds a private key, and --agent is missing")
                .at(file.display())
                .fix("say whose signing key it is to be with --agent NAME"));
        };
        if arguments.fingerprint.is_some() {
            return Err(Failure::usage("--fingerprint is for bundles of others")
                .fix("leave it out: a private key is not vouched for"));
        }
        let agent = own_agent(&self.config, name)?;
        let signing = Some(SigningKey::load(file).map_err(KeyError::from)?);
        let bundle = if self.store.has(agent) {
            self.store.rotate(agent, signing, self.counting_from(agent)?)?
        } else {
            self.store.create(agent, signing, self.counting_from(agent)?)?
        };
        self.tell("imported", &[bundle], arguments.json, "")
    }

    fn row(&self, generation: &Generation, own: bool, revoked: &RevokedKeys) -> Row {
        let Generation { bundle, replaced } = generation;
        let due = self.store.due(bundle);
        let state = match replaced {
            _ if revoked.holds(bundle) => State::Revoked,
            Some(_) => State::Replaced,
            None if bundle.not_after <= self.now => State::Expired,
            // Only its owner can do something about it.
            None if own && due <= self.now => State::Due,
            None => State::Current,
        };
        Row {
            agent: bundle.agent.to_string(),
            own,
            fingerprint: bundle.fingerprint().to_string(),
            signing_kid: bundle.fingerprint().to_hex(),
            recipient_kid: bundle.recipient.kid().to_hex(),
            number: bundle.number,
            not_before: bundle.not_before.to_string(),
            age_days: bundle.not_before.until(self.now).unwrap_or_default().as_secs() / DAY,
            due: due.to_string(),
            not_after: bundle.not_after.to_string(),
            state,
            replaced: replaced.map(|at| at.to_string()),
        }
    }

    fn tell(
        &self,
        done: &str,
        bundles: &[Bundle],
        json: bool,
        nothing: &str,
    ) -> Result<(), Failure> {
        let is_own = |bundle: &Bundle| self.config.agent_security.agents.contains(&bundle.agent);
        let revoked = RevokedKeys::of(&self.config, &self.store, self.now)?;
        let row = |bundle: &Bundle| {
            let generation = Generation { bundle: bundle.clone(), replaced: None };
            self.row(&generation, is_own(bundle), &revoked)
        };
        let rows: Vec<Row> = bundles.iter().map(row).collect();
        for Row { agent, fingerprint, .. } in &rows {
            let detail = format!("{done}, fingerprint {fingerprint}");
            note(&self.config, ChangeKind::KeyChanged, agent, &detail);
        }
        if json {
            return print_json(&rows);
        }
        let line = |Row { agent, fingerprint, not_after, .. }: &Row| {
            format!("{done} {agent}  fingerprint {fingerprint}  valid until {not_after}\n")
        };
        let text: String = rows.iter().map(line).collect();
        print(&if text.is_empty() { format!("{nothing}\n") } else { text })
    }
}

/// Writes to that file, or to standard output.
fn write(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    match file {
        Some(file) => Ok(files::write_atomic(file, text.as_bytes(), files::PUBLIC_FILE)?),
        None => print(text),
    }
}

/// The fingerprint that was told: given with `--fingerprint`, or asked for; then `why_not` says why
/// the authority's word does not do.
fn told_fingerprint(
    bundle: &Bundle,
    file: &Path,
    (given, name): (Option<&str>, Option<&str>),
    why_not: Option<&str>,
) -> Result<String, Failure> {
    let agent = &bundle.agent;
    if name.is_some_and(|name| name != agent.as_str()) {
        return Err(other_agent(bundle, file));
    }
    match given {
        // The fingerprint is of a key. Whose key it is would be said by the file alone.
        Some(_) if name.is_none() => Err(Failure::usage(format!(
            "it says that it is the bundle of {agent}, and --agent is missing"
        ))
        .at(file.display())
        .fix("say with --agent NAME whose fingerprint you were told")),
        Some(given) => Ok(given.to_owned()),
        None => ask_for_fingerprint(bundle, file, why_not),
    }
}

fn other_agent(bundle: &Bundle, file: &Path) -> Failure {
    Failure::new(format!("it is the bundle of {}", bundle.agent))
        .at(file.display())
        .fix("name the file of the agent that is meant")
}

/// The fingerprint as its owner has told it. It is not shown here: whoever only had to agree
/// would agree.
fn ask_for_fingerprint(
    bundle: &Bundle,
    file: &Path,
    why_not: Option<&str>,
) -> Result<String, Failure> {
    let missing = || {
        let missing = Failure::usage(format!("the fingerprint of {} is missing", bundle.agent))
            .at(file.display())
            .fix(
                "have its owner read out what `sealwire key list` shows there, by telephone for \
                 instance, and give it with --fingerprint",
            );
        match why_not {
            Some(reason) => missing.because(reason),
            None => missing,
        }
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(missing());
    }
    let why_not = why_not.map(|reason| format!("{reason}\n")).unwrap_or_default();
    let question = format!(
        "{why_not}This says that it is the bundle of {}. Type the fingerprint as its owner tells it: ",
        bundle.agent
    );
    let mut given = String::new();
    let asked = std::io::stderr().write_all(question.as_bytes());
    match asked.and_then(|()| stdin.lock().read_line(&mut given)) {
        Ok(length) if length > 0 => Ok(given),
        _ => Err(missing()),
    }
}
