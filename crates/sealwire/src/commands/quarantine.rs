use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use sealwire::config::{SecureMcpConfig, ServerEntry, ServerRole, parse_duration};
use sealwire::state::State;
use sealwire_audit::ChangeKind;
use sealwire_guard::{Entry, Target};
use sealwire_names::{PeerId, Timestamp};
use serde_json::{Value, json};

use crate::cli::{Context, Failure, print, print_json, printable};
use crate::control::{Request, as_json, find, incident_as_json, local_conversations, note};

/// Shut out peers, agents and servers until further notice
///
/// A running `serve` cuts what they have open at once, and lets nobody resume it. Where none runs,
/// the next one begins with it. Of a server that `connect` has started on this machine, each
/// `connect` cuts its client off within a second, whether a `serve` runs or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire quarantine add peer core/laptop --reason \"stolen\"
  sealwire quarantine add server shell --for 2h
  sealwire quarantine list
  sealwire quarantine lift peer core/laptop")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Add(Add),
    Lift(Lift),
    Incidents(Incidents),
}

/// Show who is shut out, why and until when
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire quarantine list
  sealwire quarantine list --json | jq .[].name")]
struct List {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Show the latest incidents: what was refused too often, of whom, and what followed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire quarantine incidents
  sealwire quarantine incidents --json | jq '.[] | select(.kind == \"replays\")'")]
struct Incidents {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Shut out a peer, an agent or a server
///
/// A peer is a certificate's name: nothing of it is accepted. An agent neither sends nor
/// receives messages; its certificate of this trust domain is shut out, too. A server is
/// suspended: nobody reaches it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire quarantine add peer spiffe://example.org/core/laptop
  sealwire quarantine add agent Intern --reason \"sends nonsense\" --for 8h
  sealwire quarantine add server github")]
struct Add {
    #[command(flatten)]
    target: Named,
    /// Why; for the log and for others who look
    #[arg(long, default_value = "by an operator", value_parser = reason)]
    reason: String,
    /// For how long, such as 30m or 8h; at most 24h [default: until it is lifted]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Let a peer, an agent or a server in again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire quarantine lift peer core/laptop
  sealwire quarantine lift server github")]
struct Lift {
    #[command(flatten)]
    target: Named,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Named {
    /// What it is
    kind: Kind,
    /// Its name: <kind>/<name> or a SPIFFE ID of a peer, the name of an agent, or of a server's
    /// table in the configuration
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Peer,
    Agent,
    Server,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(list) => show(list, context),
        Command::Add(add) => self::add(add, context),
        Command::Lift(lift) => self::lift(lift, context),
        Command::Incidents(list) => incidents(list, context),
    }
}

fn show(arguments: &List, context: &Context) -> Result<(), Failure> {
    let home = context.state_home()?;
    let entries = match find(&home)? {
        Some(mut daemon) => daemon.ask(&Request::QuarantineList {})?,
        None => match State::open_existing(&home)? {
            Some(state) => {
                let entries = state.quarantined(SystemTime::now().into())?;
                entries.iter().map(as_json).collect()
            }
            None => json!([]),
        },
    };
    if arguments.json { print_json(&entries) } else { print(&text(&entries)) }
}

/// The entries, one in a line.
pub(super) fn text(entries: &Value) -> String {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return "nobody is quarantined\n".to_owned();
    }
    let word = |entry: &Value, key: &str| printable(entry[key].as_str().unwrap_or_default());
    let line = |entry: &Value| {
        let until = entry["until"].as_str().map_or_else(
            || "until it is lifted".to_owned(),
            |until| format!("until {}", printable(until)),
        );
        let (kind, name) = (word(entry, "kind"), word(entry, "name"));
        format!(
            "{kind:6}  {name}  since {}, {until}: {}\n",
            word(entry, "since"),
            word(entry, "reason")
        )
    };
    entries.iter().map(line).collect()
}

/// An incident, in a line.
pub(super) fn incident_text(incident: &Value) -> String {
    let word = |key: &str| printable(incident[key].as_str().unwrap_or_default());
    let window = Duration::from_millis(incident["window_ms"].as_u64().unwrap_or_default());
    format!(
        "incident {}  {}  {}  {} {}  {} within {window:?}: {} until {}\n",
        incident["id"],
        word("at"),
        word("kind"),
        word("subject_kind"),
        word("subject"),
        incident["events"],
        word("action"),
        word("until"),
    )
}

fn incidents(arguments: &Incidents, context: &Context) -> Result<(), Failure> {
    let incidents = match State::open_existing(&context.state_home()?)? {
        Some(state) => state.incidents(u32::MAX)?,
        None => Vec::new(),
    };
    let incidents: Vec<_> = incidents.iter().map(incident_as_json).collect();
    if arguments.json {
        return print_json(&json!(incidents));
    }
    if incidents.is_empty() {
        return print("there were no incidents\n");
    }
    print(&incidents.iter().map(incident_text).collect::<String>())
}

fn add(arguments: &Add, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let (target, home) = (arguments.target.resolve(&config)?, config.layout());
    let since = Timestamp::from(SystemTime::now());
    let until = arguments.time.map(|time| {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_millis(since.unix_millis().saturating_add(millis))
    });
    let reason = arguments.reason.clone();
    let request = Request::QuarantineAdd {
        kind: target.kind().to_owned(),
        name: target.name(),
        reason: reason.clone(),
        until: until.map(Timestamp::unix_millis),
    };
    let entry = Entry { target, reason, since, until, incident: None };
    // Those that there are now: by the time it is told, they may be gone.
    let local = match &entry.target {
        Target::Server(server) => {
            local_conversations(&home).iter().filter(|open| open.server == *server).count()
        }
        _ => 0,
    };
    let answer = match find(&home)? {
        Some(mut daemon) => Some(daemon.ask(&request)?),
        None => {
            let mut state = State::open(&home)?;
            state.quarantine(&entry)?;
            note(&config, ChangeKind::QuarantineAdded, &entry.target, &entry.reason);
            None
        }
    };
    if arguments.json {
        return print_json(&json!({
            "quarantined": as_json(&entry),
            "serve": answer,
            "local_conversations": local,
        }));
    }
    let is_started_here = config.servers.values().any(|server| {
        entry.target == Target::Server(server.server_name.clone()) && is_local(server)
    });
    let effect = match (&answer, is_started_here) {
        (_, true) => local_effect(local),
        (Some(answer), false) => conversations_ended(answer),
        (None, false) => "no `serve` takes commands here; the next one begins with it".to_owned(),
    };
    print(&format!("{} is quarantined: {effect}\n", entry.target))
}

fn is_local(server: &ServerEntry) -> bool {
    matches!(server.role, ServerRole::Local { .. })
}

/// What becomes of a server that each `connect` starts for itself.
fn local_effect(open: usize) -> String {
    match open {
        0 => "no `connect` runs it now, and none starts it".to_owned(),
        1 => "1 client is cut off within a second, and no `connect` starts it".to_owned(),
        more => format!("{more} clients are cut off within a second, and no `connect` starts it"),
    }
}

/// What `serve` says that it has cut.
pub(super) fn conversations_ended(answer: &Value) -> String {
    match answer["conversations_ended"].as_u64().unwrap_or_default() {
        0 => "it had nothing open".to_owned(),
        1 => "1 conversation ended".to_owned(),
        more => format!("{more} conversations ended"),
    }
}

fn lift(arguments: &Lift, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let (target, home) = (arguments.target.resolve(&config)?, config.layout());
    let lifted = match find(&home)? {
        Some(mut daemon) => {
            let (kind, name) = (target.kind().to_owned(), target.name());
            let answer = daemon.ask(&Request::QuarantineLift { kind, name })?;
            answer["lifted"].as_bool().unwrap_or_default()
        }
        None => match State::open_existing(&home)? {
            Some(mut state) => {
                let lifted = state.lift(&target)?;
                if lifted {
                    note(&config, ChangeKind::QuarantineLifted, &target, "by an operator");
                }
                lifted
            }
            None => false,
        },
    };
    if !lifted {
        return Err(Failure::new(format!("{target} is not quarantined"))
            .fix(format!("see `{} quarantine list`", context.invocation)));
    }
    if arguments.json {
        return print_json(&json!({"lifted": {"kind": target.kind(), "name": target.name()}}));
    }
    print(&format!("{target} is let in again\n"))
}

impl Named {
    /// What is meant, in the words of the wire.
    fn resolve(&self, config: &SecureMcpConfig) -> Result<Target, Failure> {
        let name = self.name.as_str();
        match self.kind {
            Kind::Peer => peer(config, name).map(Target::Peer),
            Kind::Agent => name.parse().map(Target::Agent).map_err(|error| {
                Failure::usage(format!("{name:?} is no agent's name")).because(error)
            }),
            Kind::Server => server(config, name).map(Target::Server),
        }
    }
}

fn peer(config: &SecureMcpConfig, name: &str) -> Result<PeerId, Failure> {
    let whole = match name.split_once(':') {
        Some(_) => name.to_owned(),
        None => format!("spiffe://{}/{name}", config.trust_domain),
    };
    whole.parse().map_err(|error| {
        Failure::usage(format!("{name:?} is no peer's name"))
            .because(error)
            .fix("write <kind>/<name>, such as core/laptop, or a whole SPIFFE ID")
    })
}

/// By the name of its table, or the one on the wire. One that is not served is an error: to
/// suspend it would keep nobody out.
fn server(config: &SecureMcpConfig, name: &str) -> Result<String, Failure> {
    let served = || {
        config.servers.values().filter(|entry| !matches!(entry.role, ServerRole::Connect { .. }))
    };
    let found = served()
        .find(|entry| entry.name == name)
        .or_else(|| served().find(|entry| entry.server_name == name));
    found.map(|entry| entry.server_name.clone()).ok_or_else(|| {
        let names: Vec<_> = served().map(|entry| entry.name.as_str()).collect();
        Failure::usage(format!("no server {name:?} is served or started here"))
            .fix(format!("name one of: {}", names.join(", ")))
    })
}

/// A reason is one line of a log and of a list.
pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
        return Err("give one line of at most 1024 bytes".to_owned());
    }
    Ok(text.to_owned())
}
