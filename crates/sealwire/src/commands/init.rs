use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use sealwire::config::{DEFAULT_TRUST_DOMAIN, SecureMcpConfig};
use sealwire::home::Home;
use sealwire_identity::{
    CertificateAuthority, SigningKey, TokenUri, TrustAnchors, check_issuable, files,
};
use sealwire_names::{Kind, PeerId, TrustDomain};
use serde::Serialize;

use super::bundle::{self, Bundle};
use super::init_agents::Team;
use super::issuing::{HomeLock, Target, Terms, open_authority, token};
use crate::cli::{Context, Failure, print, print_json};

/// How long an authority made here is valid: ten years.
pub(super) const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
const DEFAULT_NAME: &str = "core";

/// Make the home: authority, certificate, signing key, configuration
///
/// What is there already is kept: running it again adds what is missing and never
/// replaces a key or a configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire init
  sealwire init --name laptop --trust-domain example.org
  sealwire init --agents standard              eight agents that send each other messages
  sealwire init --from-bundle laptop.sealwire-bundle")]
pub(crate) struct Arguments {
    /// The name of this installation, in its certificate [default: core]
    #[arg(long, conflicts_with = "from_bundle")]
    name: Option<String>,
    /// The first part of every peer's name [default: sealwire.internal]
    #[arg(long, value_name = "DOMAIN", conflicts_with = "from_bundle")]
    trust_domain: Option<String>,
    /// Take certificates and servers from this file, made by `cert bundle` elsewhere
    #[arg(long, value_name = "FILE")]
    from_bundle: Option<PathBuf>,
    /// Add a team of agents: their names, who of them may send to whom, their keys
    #[arg(long, value_name = "TEAM", value_enum, conflicts_with = "from_bundle")]
    agents: Option<Team>,
    /// Where the keys are, if in a token.
    #[command(flatten)]
    keys: Keys,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Keys in a token, made there if there are none of that name.
#[derive(Debug, Args)]
struct Keys {
    /// Use this key in a token (RFC 7512) for the authority: docs/hardware.md
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "from_bundle")]
    ca_key: Option<TokenUri>,
    /// Use this key in a token for the certificate of this installation
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "from_bundle")]
    key: Option<TokenUri>,
    /// Use this key in a token, Ed25519, to sign with
    #[arg(long, value_name = "PKCS11-URI", conflicts_with = "from_bundle")]
    signing_key: Option<TokenUri>,
}

impl Arguments {
    /// Whether it makes agents' keys.
    pub(crate) fn makes_agents(&self) -> bool {
        self.agents.is_some()
    }
}

/// What `init` did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    home: PathBuf,
    /// Files that were made.
    made: Vec<PathBuf>,
    /// Files that were there already.
    kept: Vec<PathBuf>,
    /// What the user should know.
    notes: Vec<String>,
    /// The commands to run next, each with what it does.
    next: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    command: String,
    what: &'static str,
}

impl Report {
    /// Nothing is done yet.
    pub(super) fn of(home: &Home) -> Self {
        Self { home: home.root().to_owned(), ..Self::default() }
    }

    /// What was made below `from` is below `to` now.
    pub(super) fn moved(&mut self, from: &Path, to: &Path) {
        for file in &mut self.made {
            if let Ok(rest) = file.strip_prefix(from) {
                *file = to.join(rest);
            }
        }
    }

    /// Calls `make` unless the first of `files` is there, and notes which it was for all
    /// of them that are there then.
    pub(crate) fn make(
        &mut self,
        files: &[&Path],
        make: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (before, missing): (Vec<&Path>, Vec<&Path>) =
            files.iter().partition(|file| file.exists());
        if files.first().is_some_and(|file| missing.contains(file)) {
            make()?;
        }
        self.kept.extend(before.into_iter().map(Path::to_path_buf));
        self.made.extend(missing.into_iter().filter(|file| file.exists()).map(Path::to_path_buf));
        Ok(())
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    if context.config_file != context.home.config_file() {
        return Err(Failure::usage("init makes the configuration in the home itself")
            .fix("leave --config out"));
    }
    // What is given comes first: when it is not good, nothing is made.
    let bundle = arguments.from_bundle.as_deref().map(Bundle::load).transpose()?;
    let wanted = wanted(&arguments)?;
    take_over(context.home.root());
    let _lock = HomeLock::acquire(&context.home)?;
    let mut report = Report::of(&context.home);
    match bundle {
        Some(bundle) => bundle::unpack(&bundle, context, &mut report)?,
        None => make_home(&wanted, &arguments, context, &mut report)?,
    }
    if let Some(team) = arguments.agents {
        team.make(context, &mut report)?;
    }
    report.next = next_steps(context, &arguments);
    if arguments.json { print_json(&report) } else { print(&text(&report)) }
}

/// An empty directory, as `mkdir` makes it, becomes a private one. Where it cannot, the
/// check that follows says so; a directory that holds something is not touched.
pub(super) fn take_over(root: &Path) {
    #[cfg(unix)]
    if root.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(files::PRIVATE_DIR);
        drop(std::fs::set_permissions(root, private));
    }
    #[cfg(not(unix))]
    let _ = root;
}

/// The identity that the options ask for: trust domain and name.
fn wanted(arguments: &Arguments) -> Result<PeerId, Failure> {
    let name = arguments.name.as_deref().unwrap_or(DEFAULT_NAME);
    let domain = arguments.trust_domain.as_deref().unwrap_or(DEFAULT_TRUST_DOMAIN);
    let domain: TrustDomain = domain.parse().map_err(|error| {
        Failure::usage(format!("{domain:?} cannot be a trust domain"))
            .because(error)
            .fix("write it like a lower-case DNS name, e.g. example.org")
    })?;
    let refuse = |reason: String| {
        Failure::usage(format!("{name:?} cannot be the name of this installation"))
            .because(reason)
            .fix("choose another --name")
    };
    if !Home::core_name_is_free(name) {
        return Err(refuse("that directory of certs/ has another use".to_owned()));
    }
    let id = PeerId::new(domain, Kind::Core, name).map_err(|error| refuse(error.to_string()))?;
    // Before anything is made: what is there is gone on with, by the name that is in it.
    check_issuable(&id).map_err(|error| refuse(error.to_string()))?;
    Ok(id)
}

fn make_home(
    wanted: &PeerId,
    arguments: &Arguments,
    context: &Context,
    report: &mut Report,
) -> Result<(), Failure> {
    let home = &context.home;
    // The configuration comes first: it says which trust domain and name the rest is
    // for, so that an interrupted init can be run again without repeating its options.
    report.make(&[&home.config_file()], || write_config(home, &new_config(wanted)))?;
    let config = context.load_config()?;
    check_same(arguments, wanted, &config)?;
    make_certificates(&config, &arguments.keys, report)?;
    make_signing_key(home, token(arguments.keys.signing_key.clone(), &config)?.as_ref(), report)
}

/// The authority, unless another machine's is trusted; then this core's certificate.
fn make_certificates(
    config: &SecureMcpConfig,
    keys: &Keys,
    report: &mut Report,
) -> Result<(), Failure> {
    let home = config.layout();
    let ca_key = token(keys.ca_key.clone(), config)?;
    let terms = Terms { token: token(keys.key.clone(), config)?, ..Terms::default() };
    let own = own_target(config);
    if config.ca_cert == home.ca_cert() {
        let made = home.authority_files();
        report.make(&made.each_ref().map(PathBuf::as_path), || {
            let own_key = own.as_ref().map(|own| own.pair.key.clone());
            let orphans = [Some(home.ca_key()), Some(home.issuing_key()), own_key];
            if let Some(orphan) = orphans.into_iter().flatten().find(|file| file.exists()) {
                return Err(Failure::new("the authority's certificate is gone")
                    .at(home.ca_cert().display())
                    .because(format!("{} belongs to it", orphan.display()))
                    .fix("put the certificate back, or move the keys away to start anew"));
            }
            let (dir, domain) = (home.ca_dir(), &config.trust_domain);
            CertificateAuthority::create_in(&dir, domain, AUTHORITY_VALIDITY, ca_key.as_ref())?;
            Ok(())
        })?;
    } else {
        report.kept.push(config.ca_cert.clone());
    }
    TrustAnchors::load(&config.ca_cert, config.trust_domain.clone())?;
    let Some(own) = own else {
        report.kept.push(config.client_cert.clone());
        return Ok(());
    };
    own.presence()?;
    report.make(&[&own.pair.cert, &own.pair.key], || {
        own.issue(&open_authority(config)?, &terms).map(drop)
    })
}

/// This core's certificate, if the configured one is in its usual place; else somebody
/// else looks after it.
fn own_target(config: &SecureMcpConfig) -> Option<Target> {
    let file = config.client_cert.file_name()?.to_str()?;
    let name = file.strip_suffix("-cert.pem")?;
    let id = PeerId::new(config.trust_domain.clone(), Kind::Core, name).ok()?;
    let pair = config.layout().pair_of(&id);
    let usual = pair.cert == config.client_cert && pair.key == config.client_key;
    usual.then_some(Target { id, pair })
}

/// Makes the signing key, or repeats its public half if that was lost.
pub(crate) fn make_signing_key(
    home: &Home,
    token: Option<&TokenUri>,
    report: &mut Report,
) -> Result<(), Failure> {
    files::create_private_dir(&home.keys_dir())?;
    let (private, public) = (home.signing_key(), home.signing_public_key());
    if !private.exists() {
        let make = || {
            let key = token.map_or_else(SigningKey::generate, SigningKey::open_or_generate)?;
            Ok(key.write(&private, &public)?)
        };
        return report.make(&[&private, &public], make);
    }
    report.make(&[&private], || Ok(()))?;
    report.make(&[&public], || {
        let pem = SigningKey::load(&private)?.public_key_pem()?;
        Ok(files::write_new(&public, pem.as_bytes(), files::PUBLIC_FILE)?)
    })
}

/// Writes `sealwire.toml`, whose `env` values may be secrets, once.
pub(crate) fn write_config(home: &Home, text: &str) -> Result<(), Failure> {
    Ok(files::write_new(&home.config_file(), text.as_bytes(), files::PRIVATE_FILE)?)
}

/// The start of a new `sealwire.toml`.
pub(crate) fn template(trust_domain: &TrustDomain, name: &str) -> String {
    let mut text = format!(
        "# sealwire: what is served here and what is connected to. Check: sealwire config check\n\
         [security]\n\
         trust_domain = \"{trust_domain}\"  # every peer is spiffe://{trust_domain}/<kind>/<name>\n"
    );
    if name != DEFAULT_NAME {
        text.push_str(&certificates_table(Kind::Core, name));
    }
    text
}

fn new_config(id: &PeerId) -> String {
    // What is not said needs no reading: other peers have ceiling 1.
    let ceilings = format!(
        "\n[policy.ceilings]             # how far each peer may go; others: 1, see docs/policy.md\n\
         \"core/{}\" = 2\n",
        id.name()
    );
    format!("{}{ceilings}{EXAMPLES}", template(id.trust_domain(), id.name()))
}

/// The table that names a certificate other than the default one.
pub(crate) fn certificates_table(kind: Kind, name: &str) -> String {
    let pair = Home::relative_pair(kind, name);
    format!(
        "[security.certificates]\nclient_cert = \"{}\"\nclient_key = \"{}\"\n",
        pair.cert.display(),
        pair.key.display()
    )
}

/// Ends a configuration that has no servers yet.
pub(crate) const EXAMPLES: &str = "
# [mcp_servers.time]            # served here, by `sealwire serve`
# command = \"uvx\"
# args = [\"mcp-server-time\"]
# default_level = 1             # of tools that no policy lists: every peer may call them
# [mcp_servers.github]          # connected to, by `sealwire connect github`
# endpoint = \"tools.example.org:7443\"
# default_level = 1
";

/// An existing configuration is kept, so options that contradict it cannot be honoured.
fn check_same(
    arguments: &Arguments,
    wanted: &PeerId,
    config: &SecureMcpConfig,
) -> Result<(), Failure> {
    let layout = config.layout();
    let refuse = |what: String| {
        Err(Failure::new(what)
            .at(layout.config_file().display())
            .fix("leave the option out, or use another --home for another identity"))
    };
    if arguments.trust_domain.is_some() && config.trust_domain != *wanted.trust_domain() {
        return refuse(format!("this home is of trust domain {}", config.trust_domain));
    }
    if arguments.name.is_some() && config.client_cert != layout.pair_of(wanted).cert {
        let present = config.client_cert.display();
        return refuse(format!("this home presents another certificate, {present}"));
    }
    Ok(())
}

/// Shows what was made of a bundle, and what comes next.
pub(super) fn show(mut report: Report, context: &Context, json: bool) -> Result<(), Failure> {
    report.next = steps_of_a_bundle(context);
    if json { print_json(&report) } else { print(&text(&report)) }
}

const CHECK: &str = "check the configuration and every file it names";

fn step(context: &Context, rest: &str, what: &'static str) -> Step {
    Step { command: format!("{} {rest}", context.invocation), what }
}

fn steps_of_a_bundle(context: &Context) -> Vec<Step> {
    vec![
        step(context, "cert list", "see which certificates are here"),
        step(context, "config check", CHECK),
        step(context, "connect NAME", "what an MCP client starts for a server"),
    ]
}

fn next_steps(context: &Context, arguments: &Arguments) -> Vec<Step> {
    if arguments.from_bundle.is_some() {
        return steps_of_a_bundle(context);
    }
    let step = |rest: &str, what| step(context, rest, what);
    if arguments.agents.is_some() {
        let send = "agent send --from CodeExpert --to General --file -";
        return vec![
            step("config check", CHECK),
            step("agent mcp --as General", "what the MCP client of an agent starts"),
            step(send, "send what is typed"),
            step("agent recv --as General", "receive it"),
        ];
    }
    vec![
        step("cert issue --all", "after adding servers: a certificate for each"),
        step("doctor", "check everything, and start each server once"),
        step("serve", "serve them"),
    ]
}

fn text(report: &Report) -> String {
    let mut text = format!("home {}\n", report.home.display());
    let mut files = |word: &str, files: &[PathBuf]| {
        for file in files {
            let shown = file.strip_prefix(&report.home).unwrap_or(file);
            text.push_str(&format!("  {word} {}\n", shown.display()));
        }
    };
    files("made", &report.made);
    files("kept", &report.kept);
    for note in &report.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text.push_str("next:\n");
    let width = report.next.iter().map(|step| step.command.len()).max().unwrap_or_default();
    for step in &report.next {
        text.push_str(&format!("  {:width$}  # {}\n", step.command, step.what));
    }
    text
}
