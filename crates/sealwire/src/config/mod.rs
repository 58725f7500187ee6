//! The configuration: `sealwire.toml` in the home, and the files it includes.
//!
//! It is read in two steps. *As typed*: each value has the right type and each key is
//! known; an unknown key is an error that names the nearest known one, because a
//! misspelt security setting must not pass for a set one. *As checked*:
//! [`SecureMcpConfig`], in which every rule between values holds, every default is
//! filled in and every path is absolute. Nothing else in the program sees the first.
//!
//! `docs/config.md` describes each key.

mod admin;
mod agents;
mod alerts;
mod audit;
mod ca;
mod check;
mod credentials;
mod document;
mod error;
mod examine;
mod files;
mod incidents;
mod include;
mod limits;
mod log;
mod mailbox;
mod policy;
mod retired;
mod schema;
mod secret;
mod server;
mod sources;
mod typed;
mod typed_agents;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwire_guard::{IncidentRules, Level, PinMode, Policy, RateLimits};
use sealwire_names::TrustDomain;

pub use admin::AdminConfig;
pub use agents::{AgentSecurityConfig, Recipients, TrustConfig};
pub use alerts::{AlertsConfig, EmailConfig, SmtpSecurity, WebhookConfig, WebhookUrl};
pub use audit::AuditConfig;
pub use ca::CaConfig;
pub use error::{ConfigError, Problem};
pub use examine::Examined;
pub use files::{CheckedFiles, CheckedServer};
pub use log::{LogConfig, LogFormat, LogLevel};
pub use mailbox::{GroupConfig, MailboxConfig};
pub use retired::{RETIRED, Replacement, Retired};
pub use secret::Secret;
pub use server::is_endpoint;
pub use value::duration as parse_duration;

use crate::home::Home;
use document::Source;
use error::Problems;
use typed::Typed;

/// The trust domain of a home that names none.
pub const DEFAULT_TRUST_DOMAIN: &str = "sealwire.internal";

/// Largest message a link may carry, in bytes; the frame format's own limit.
const MAX_MESSAGE_SIZE: usize = 64 << 20;

/// A configuration in which every rule holds. Plain data: all defaults are filled in,
/// all paths are absolute, and no file but the configuration itself was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct SecureMcpConfig {
    /// The home directory.
    pub home: PathBuf,
    /// The file it was read from.
    pub file: PathBuf,
    /// Where the state is: what is written while programs run, and must outlive them.
    pub state_dir: PathBuf,
    /// The further files it names, and patterns of such, as written.
    pub include: Vec<String>,
    /// The trust domain of every peer of this home.
    pub trust_domain: TrustDomain,
    /// Whether nothing is taken on trust: each peer and each tool has to be named.
    pub zero_trust_mode: bool,
    /// The level that `[defaults]` gives to what no list names, of each server that gives none.
    pub default_level: Option<Level>,
    /// The trust anchors.
    pub ca_cert: PathBuf,
    /// The certificate presented when connecting.
    pub client_cert: PathBuf,
    /// Its private key: a file, or a `pkcs11:` URI, whole.
    pub client_key: PathBuf,
    /// Where the certificates in use are renewed, `host:port`, if they are.
    pub renew_from: Option<String>,
    /// Revocation lists of authorities. If there are any, each authority whose certificates are
    /// accepted must have one.
    pub crl: Vec<PathBuf>,
    /// Addresses, limits and timeouts.
    pub listen: ListenConfig,
    /// The MCP servers, by the name of their table.
    pub servers: BTreeMap<String, ServerEntry>,
    /// The agents of this home, and how their messages are protected.
    pub agent_security: AgentSecurityConfig,
    /// Where their messages wait.
    pub mailbox: MailboxConfig,
    /// Where health is told.
    pub admin: AdminConfig,
    /// Where others join, and what they get.
    pub ca: CaConfig,
    /// The PKCS #11 module of the token that keys are in whose URI names none. Whoever makes a key
    /// there needs it; URIs in the settings have it in them already.
    pub pkcs11_module: Option<PathBuf>,
    /// What `serve` logs, if its command line does not say.
    pub log: LogConfig,
    /// Who may do what. Its servers have the names of their tables.
    pub policy: Policy,
    /// How often, if that is limited. Its servers have the names of their tables.
    pub rate_limits: Option<RateLimits>,
    /// When refusals are too many, and what follows.
    pub incidents: IncidentRules,
    /// Who is told of what.
    pub alerts: AlertsConfig,
    /// What is recorded as evidence, and where.
    pub audit: AuditConfig,
}

/// Where to listen, and how much anybody may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// The listener shared by all served servers without a `bind_address`.
    pub address: SocketAddr,
    /// Most connections at a time, in total.
    pub max_connections: usize,
    /// Most connections at a time of one peer; at most `max_connections`.
    pub max_connections_per_peer: usize,
    /// Conversations of one peer whose connection is cut, beyond which it opens no new one.
    pub max_detached_per_peer: usize,
    /// Longest time from the TCP connection to the end of the link's hello.
    pub handshake_timeout: Duration,
    /// A link on which nothing arrives for this long is cut.
    pub idle_timeout: Duration,
    /// Largest message, in bytes.
    pub max_message_size: usize,
    /// How long a connecting side dials before its first connection.
    pub connect_timeout: Duration,
    /// How long a connecting side redials after a cut.
    pub reconnect_timeout: Duration,
    /// How long a serving side keeps a conversation whose connection is cut.
    pub resume_window: Duration,
    /// How long requests under way may take to finish when the program stops.
    pub drain_timeout: Duration,
}

/// What holds where the configuration says nothing.
impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7443)),
            max_connections: 1024,
            max_connections_per_peer: 256,
            max_detached_per_peer: 64,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            max_message_size: MAX_MESSAGE_SIZE,
            // Codex gives a server ten seconds to start, others more.
            connect_timeout: Duration::from_secs(8),
            reconnect_timeout: Duration::from_secs(60),
            resume_window: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// One MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// The name of its table, by which commands refer to it.
    pub name: String,
    /// Its identity on the wire: SNI, the link's hello, and the end of its SPIFFE ID.
    pub server_name: String,
    /// Whether it is served here or connected to.
    pub role: ServerRole,
    /// The trust anchors for the peers of this entry.
    pub trusted_ca: PathBuf,
    /// How what it says of its tools comes to be approved.
    pub pins: PinMode,
}

/// Which end of the wire this home is.
#[derive(Clone, PartialEq, Eq)]
pub enum ServerRole {
    /// The server runs here, as a child process.
    Serve {
        /// The program: an absolute path, or a name to look up in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Environment variables set for it. Values may be secrets; `Debug` hides them.
        env: BTreeMap<String, String>,
        /// Its working directory; that of the serving process if not given.
        cwd: Option<PathBuf>,
        /// Its own listener; the shared one if not given.
        bind_address: Option<SocketAddr>,
        /// The certificate presented to clients.
        tls_cert: PathBuf,
        /// Its private key: a file, or a `pkcs11:` URI, whole.
        tls_key: PathBuf,
    },
    /// The server stays on this machine: each `connect` starts one of its own, without a network.
    Local {
        /// The program: an absolute path, or a name to look up in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Environment variables set for it. Values may be secrets; `Debug` hides them.
        env: BTreeMap<String, String>,
        /// The names of those of our own variables that it gets besides the usual ones.
        env_vars: Vec<String>,
        /// Its working directory; that of `connect` if not given.
        cwd: Option<PathBuf>,
    },
    /// The server runs elsewhere, behind another sealwire.
    Connect {
        /// `host:port` to dial.
        endpoint: String,
        /// The certificate presented to the server.
        tls_cert: PathBuf,
        /// Its private key.
        tls_key: PathBuf,
        /// What the server certificate's common name must be, beside its URI SAN.
        expected_cn: Option<String>,
    },
}

impl ServerRole {
    /// The certificate that is presented, and its key; `None` where there is no network.
    pub fn pair(&self) -> Option<(&PathBuf, &PathBuf)> {
        match self {
            Self::Serve { tls_cert, tls_key, .. } | Self::Connect { tls_cert, tls_key, .. } => {
                Some((tls_cert, tls_key))
            }
            Self::Local { .. } => None,
        }
    }

    fn pair_mut(&mut self) -> Option<(&mut PathBuf, &mut PathBuf)> {
        match self {
            Self::Serve { tls_cert, tls_key, .. } | Self::Connect { tls_cert, tls_key, .. } => {
                Some((tls_cert, tls_key))
            }
            Self::Local { .. } => None,
        }
    }

    /// Whether `serve` serves it.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Serve { .. })
    }
}

impl fmt::Debug for ServerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serve { command, args, env, cwd, bind_address, tls_cert, tls_key } => f
                .debug_struct("Serve")
                .field("command", command)
                .field("args", args)
                .field("env", &env.keys().collect::<Vec<_>>())
                .field("cwd", cwd)
                .field("bind_address", bind_address)
                .field("tls_cert", tls_cert)
                .field("tls_key", tls_key)
                .finish(),
            Self::Local { command, args, env, env_vars, cwd } => f
                .debug_struct("Local")
                .field("command", command)
                .field("args", args)
                .field("env", &env.keys().collect::<Vec<_>>())
                .field("env_vars", env_vars)
                .field("cwd", cwd)
                .finish(),
            Self::Connect { endpoint, tls_cert, tls_key, expected_cn } => f
                .debug_struct("Connect")
                .field("endpoint", endpoint)
                .field("tls_cert", tls_cert)
                .field("tls_key", tls_key)
                .field("expected_cn", expected_cn)
                .finish(),
        }
    }
}

impl SecureMcpConfig {
    /// Reads `sealwire.toml` in `home`, and the files it includes.
    ///
    /// # Errors
    /// Everything that is wrong with them, see [`ConfigError`].
    pub fn load(home: &Path) -> Result<Self, ConfigError> {
        let file = home_at(home)?.config_file();
        Self::load_file(home, &file)
    }

    /// Reads `file` instead; its relative paths still start at `home`.
    ///
    /// # Errors
    /// Everything that is wrong, see [`ConfigError`].
    pub fn load_file(home: &Path, file: &Path) -> Result<Self, ConfigError> {
        let home = home_at(home)?;
        let source = include::read_main(file)?;
        Self::read(&home, &source, |typed, problems| include::load(&home, typed, problems))
    }

    /// Checks the text of a configuration without reading any file: `include` is not
    /// followed.
    ///
    /// # Errors
    /// Everything that is wrong with the text, see [`ConfigError`].
    pub fn parse(home: &Path, text: &str) -> Result<Self, ConfigError> {
        let home = home_at(home)?;
        let source = Source { file: home.config_file(), text: text.to_owned() };
        Self::read(&home, &source, |_, _| ())
    }

    /// What [`Self::load_file`] would read if `file` held `text`: for whoever is about to write it.
    ///
    /// # Errors
    /// Everything that would be wrong, see [`ConfigError`].
    pub fn load_text(home: &Path, file: &Path, text: &str) -> Result<Self, ConfigError> {
        let home = home_at(home)?;
        let source = Source { file: file.to_owned(), text: text.to_owned() };
        Self::read(&home, &source, |typed, problems| include::load(&home, typed, problems))
    }

    /// Where the files of this configuration's home are.
    pub fn layout(&self) -> Home {
        Home::absolute(self.home.clone()).with_state_dir(self.state_dir.clone())
    }

    fn read(
        home: &Home,
        source: &Source,
        follow_includes: impl FnOnce(&mut Typed, &mut Problems),
    ) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut typed = Typed::read(source, &mut problems);
        if let Some(typed) = &mut typed {
            follow_includes(typed, &mut problems);
        }
        // A value that could not be read counts as absent: the rules between values
        // would complain about what is only misspelt.
        let typed = problems.into_result(typed)?;
        let mut problems = Problems::default();
        let config = check::check(home, &typed, &mut problems);
        problems.into_result(config)
    }
}

fn home_at(root: &Path) -> Result<Home, ConfigError> {
    Home::at(root).map_err(|error| {
        let remedy = "name the home directory by an absolute path";
        Problem::with_file(root, format!("the home directory is unusable: {error}"), remedy).into()
    })
}

#[cfg(test)]
mod tests;
