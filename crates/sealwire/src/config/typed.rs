//! The configuration as typed: every value of the right type, nothing decided yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::alerts::TypedAlerts;
use super::audit::TypedAudit;
use super::document::{Located, Section, Source, line_of};
use super::error::{Problem, Problems};
use super::incidents::TypedIncident;
use super::limits::{TypedLimits, TypedServerLimits};
use super::policy::TypedPolicy;
use super::typed_agents::{AgentSecurity, Mailbox, Replay};
use super::{MAX_MESSAGE_SIZE, schema};

/// Smallest limit on messages that still lets an `initialize` through, in bytes.
const MIN_MESSAGE_SIZE: u64 = 1 << 10;
/// Most connections one process may be allowed to take.
const MAX_CONNECTIONS: u64 = 100_000;

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    /// The main file.
    pub(crate) file: PathBuf,
    pub(crate) include: Option<Located<Vec<String>>>,
    pub(crate) state_directory: Option<Located<String>>,
    pub(crate) trust_domain: Option<Located<String>>,
    pub(crate) zero_trust_mode: Option<Located<bool>>,
    pub(crate) rate_limiting: TypedLimits,
    /// Settings that have but one value, each with it.
    pub(crate) stated: Vec<Stated>,
    pub(crate) replay: Replay,
    pub(crate) key_rotation_days: Option<Located<u64>>,
    pub(crate) ca_cert: Option<Located<String>>,
    pub(crate) client_cert: Option<Located<String>>,
    pub(crate) client_key: Option<Located<String>>,
    pub(crate) renew_from: Option<Located<String>>,
    pub(crate) crl: Option<Located<Vec<String>>>,
    pub(crate) listen: Listen,
    pub(crate) defaults: Defaults,
    pub(crate) servers: Vec<(Located<String>, Server)>,
    pub(crate) agent_security: AgentSecurity,
    pub(crate) mailbox: Mailbox,
    pub(crate) admin: Admin,
    pub(crate) ca: Ca,
    pub(crate) pkcs11_module: Option<Located<String>>,
    pub(crate) log: Log,
    pub(crate) policy: TypedPolicy,
    pub(crate) incidents: Vec<TypedIncident>,
    pub(crate) alerts: TypedAlerts,
    pub(crate) audit: TypedAudit,
}

/// A setting that can be written, so that a reviewer finds it stated, and has one value.
#[derive(Debug)]
pub(crate) struct Stated {
    pub(crate) given: Located<String>,
    /// As it is written in TOML.
    pub(crate) only: String,
}

impl Stated {
    /// A string whose one value is `only`.
    pub(crate) fn text(
        section: &Section<'_>,
        key: &str,
        only: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let given = section.string(key, problems)?;
        let value = format!("{:?}", given.value);
        Some(Self { given: Located { value, at: given.at }, only: format!("{only:?}") })
    }

    /// A switch that cannot be turned off.
    pub(crate) fn on(section: &Section<'_>, key: &str, problems: &mut Problems) -> Option<Self> {
        let given = section.boolean(key, problems)?;
        let value = given.value.to_string();
        Some(Self { given: Located { value, at: given.at }, only: true.to_string() })
    }
}

/// `[listen]`.
#[derive(Debug, Default)]
pub(crate) struct Listen {
    pub(crate) address: Option<Located<String>>,
    pub(crate) max_connections: Option<Located<u64>>,
    pub(crate) max_connections_per_peer: Option<Located<u64>>,
    pub(crate) max_detached_per_peer: Option<Located<u64>>,
    pub(crate) handshake_timeout: Option<Located<Duration>>,
    pub(crate) idle_timeout: Option<Located<Duration>>,
    pub(crate) max_message_size: Option<Located<u64>>,
    pub(crate) connect_timeout: Option<Located<Duration>>,
    pub(crate) reconnect_timeout: Option<Located<Duration>>,
    pub(crate) resume_window: Option<Located<Duration>>,
    pub(crate) drain_timeout: Option<Located<Duration>>,
}

/// `[defaults]`.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) env: Option<Located<BTreeMap<String, String>>>,
    pub(crate) cwd: Option<Located<String>>,
    pub(crate) trusted_ca: Option<Located<String>>,
    pub(crate) default_level: Option<Located<u64>>,
    pub(crate) auth_method: Option<Located<String>>,
    pub(crate) pins: Option<Located<String>>,
}

/// `[admin]`.
#[derive(Debug, Default)]
pub(crate) struct Admin {
    pub(crate) address: Option<Located<String>>,
}

/// `[ca]`.
#[derive(Debug, Default)]
pub(crate) struct Ca {
    pub(crate) address: Option<Located<String>>,
    pub(crate) leaf_lifetime: Option<Located<Duration>>,
    pub(crate) list_max_age: Option<Located<Duration>>,
}

/// `[log]`.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) level: Option<Located<String>>,
    pub(crate) format: Option<Located<String>>,
    pub(crate) file: Option<Located<String>>,
}

/// `[mcp_servers.<name>]`.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) transport: Option<Located<String>>,
    pub(crate) command: Option<Located<String>>,
    pub(crate) args: Option<Located<Vec<String>>>,
    pub(crate) env: Option<Located<BTreeMap<String, String>>>,
    pub(crate) env_vars: Option<Located<Vec<String>>>,
    pub(crate) cwd: Option<Located<String>>,
    pub(crate) endpoint: Option<Located<String>>,
    pub(crate) server_name: Option<Located<String>>,
    pub(crate) bind_address: Option<Located<String>>,
    pub(crate) tls_cert: Option<Located<String>>,
    pub(crate) tls_key: Option<Located<String>>,
    pub(crate) trusted_ca: Option<Located<String>>,
    pub(crate) expected_cn: Option<Located<String>>,
    pub(crate) default_level: Option<Located<u64>>,
    pub(crate) auth_method: Option<Located<String>>,
    pub(crate) pins: Option<Located<String>>,
    pub(crate) policy: TypedPolicy,
    pub(crate) rate_limiting: TypedServerLimits,
}

impl Typed {
    /// Reads the main file. `None` if it is not TOML at all.
    pub(crate) fn read(source: &Source, problems: &mut Problems) -> Option<Self> {
        let document = parse(source, problems)?;
        let top = Section::open(source, String::new(), &document, &schema::TOP, problems);
        let mut typed = Self {
            file: source.file.clone(),
            include: top.string_or_strings("include", problems),
            servers: servers(&top, problems),
            ..Self::default()
        };
        if let Some(security) = top.section("security", &schema::SECURITY, problems) {
            typed.trust_domain = security.string("trust_domain", problems);
            typed.zero_trust_mode = security.boolean("zero_trust_mode", problems);
            let limits = security.part("rate_limiting", &schema::RATE_LIMITING, problems);
            if let Some(limits) = limits {
                typed.rate_limiting = TypedLimits::read(&limits, problems);
            }
            typed.stated.extend(Stated::text(&security, "tls_version", "1.3", problems));
            typed.read_message_security(&security, problems);
            let certificates = security.section("certificates", &schema::CERTIFICATES, problems);
            if let Some(certificates) = certificates {
                typed.ca_cert = certificates.string("ca_cert", problems);
                typed.client_cert = certificates.string("client_cert", problems);
                typed.client_key = certificates.string("client_key", problems);
                typed.renew_from = certificates.string("renew_from", problems);
                typed.crl = certificates.string_or_strings("crl", problems);
            }
        }
        if let Some(section) = top.section("listen", &schema::LISTEN, problems) {
            typed.listen = listen(&section, problems);
        }
        if let Some(section) = top.section("defaults", &schema::DEFAULTS, problems) {
            typed.defaults = Defaults {
                env: section.string_map("env", problems),
                cwd: section.string("cwd", problems),
                trusted_ca: section.string("trusted_ca", problems),
                default_level: section.integer("default_level", 0..=3, problems),
                auth_method: section.string("auth_method", problems),
                pins: section.string("pins", problems),
            };
        }
        typed.read_agents(&top, problems);
        if let Some(section) = top.section("state", &schema::STATE, problems) {
            typed.state_directory = section.string("directory", problems);
        }
        if let Some(section) = top.section("admin", &schema::ADMIN, problems) {
            typed.admin = Admin { address: section.string("address", problems) };
        }
        if let Some(section) = top.section("ca", &schema::CA, problems) {
            typed.ca = Ca {
                address: section.string("address", problems),
                leaf_lifetime: section.duration("leaf_lifetime", problems),
                list_max_age: section.duration("list_max_age", problems),
            };
        }
        if let Some(section) = top.section("pkcs11", &schema::PKCS11, problems) {
            typed.pkcs11_module = section.string("module", problems);
        }
        if let Some(section) = top.section("log", &schema::LOG, problems) {
            typed.log = Log {
                level: section.string("level", problems),
                format: section.string("format", problems),
                file: section.string("file", problems),
            };
        }
        if let Some(section) = top.section("policy", &schema::POLICY, problems) {
            typed.policy = TypedPolicy::read(&section, problems);
        }
        if let Some(section) = top.section("incidents", &schema::INCIDENTS, problems) {
            typed.incidents = TypedIncident::read_all(&section, problems);
        }
        typed.read_audit(&top, problems);
        Some(typed)
    }

    /// Adds an included file, which may hold servers and nothing else.
    pub(crate) fn read_included(&mut self, source: &Source, problems: &mut Problems) {
        let Some(document) = parse(source, problems) else { return };
        let top = Section::open(source, String::new(), &document, &schema::INCLUDED, problems);
        self.servers.extend(servers(&top, problems));
    }

    /// Whether nothing is taken on trust.
    pub(crate) fn zero_trust(&self) -> bool {
        self.zero_trust_mode.as_ref().is_some_and(|given| given.value)
    }
}

/// Parses TOML. Of a syntax error only the message is shown, never the line's text,
/// which may hold a secret.
fn parse<'a>(source: &'a Source, problems: &mut Problems) -> Option<DeTable<'a>> {
    match DeTable::parse(&source.text) {
        Ok(document) => Some(document.into_inner()),
        Err(error) => {
            let line = error.span().map(|span| line_of(&source.text, span.start));
            let what = format!("not valid TOML: {}", error.message().replace('\n', " "));
            let remedy = "correct the syntax; strings need quotes, see https://toml.io";
            problems.push(Problem { line, ..Problem::with_file(&source.file, what, remedy) });
            None
        }
    }
}

fn listen(section: &Section<'_>, problems: &mut Problems) -> Listen {
    Listen {
        address: section.string("address", problems),
        max_connections: section.integer("max_connections", 1..=MAX_CONNECTIONS, problems),
        max_connections_per_peer: section.integer(
            "max_connections_per_peer",
            1..=MAX_CONNECTIONS,
            problems,
        ),
        max_detached_per_peer: section.integer(
            "max_detached_per_peer",
            0..=MAX_CONNECTIONS,
            problems,
        ),
        handshake_timeout: section.duration("handshake_timeout", problems),
        idle_timeout: section.duration("idle_timeout", problems),
        max_message_size: section.size(
            "max_message_size",
            MIN_MESSAGE_SIZE..=MAX_MESSAGE_SIZE as u64,
            problems,
        ),
        connect_timeout: section.duration("connect_timeout", problems),
        reconnect_timeout: section.duration("reconnect_timeout", problems),
        resume_window: section.duration("resume_window", problems),
        drain_timeout: section.duration("drain_timeout", problems),
    }
}

fn servers(top: &Section<'_>, problems: &mut Problems) -> Vec<(Located<String>, Server)> {
    let sections = top.named_sections("mcp_servers", &schema::SERVER, problems);
    sections.into_iter().map(|(name, section)| (name, server(&section, problems))).collect()
}

fn server(section: &Section<'_>, problems: &mut Problems) -> Server {
    Server {
        transport: section.string("transport", problems),
        command: section.string("command", problems),
        args: section.strings("args", problems),
        env: section.string_map("env", problems),
        env_vars: section.strings("env_vars", problems),
        cwd: section.string("cwd", problems),
        endpoint: section.string("endpoint", problems),
        server_name: section.string("server_name", problems),
        bind_address: section.string("bind_address", problems),
        tls_cert: section.string("tls_cert", problems),
        tls_key: section.string("tls_key", problems),
        trusted_ca: section.string("trusted_ca", problems),
        expected_cn: section.string("expected_cn", problems),
        default_level: section.integer("default_level", 0..=3, problems),
        auth_method: section.string("auth_method", problems),
        pins: section.string("pins", problems),
        policy: section
            .part("policy", &schema::SERVER_POLICY, problems)
            .map(|section| TypedPolicy::read_servers(&section, problems))
            .unwrap_or_default(),
        rate_limiting: section
            .part("rate_limiting", &schema::SERVER_RATE_LIMITING, problems)
            .map(|section| TypedServerLimits::read(&section, problems))
            .unwrap_or_default(),
    }
}
