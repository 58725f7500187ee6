mod apply;
mod consent;
mod plan;
mod program;
mod shown;

use std::path::{Path, PathBuf};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire_guard::Level;
use serde_json::{Value, json};

use self::apply::{apply, unwritable};
use self::plan::{Change, Planner, Step};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure, printable};
use crate::clients::document::{self, Found};
use crate::clients::file::{NotWritten, Original};
use crate::clients::{Client, Place, System, elsewhere};

pub(crate) use consent::{Consent, Proposal};
pub(crate) use program::{NewServer, gets_level, server_table, starts_sealwire, usable};

/// Have an MCP client reach its servers through sealwire
///
/// Each server that the client starts itself stays where it is: sealwire starts it, and policy,
/// pins, limits and the audit log stand before it. What changes, and what each entry will run, is
/// shown first. Nothing else in the client's file changes, and `uninstall` puts back what was
/// there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire install --client codex --dry-run       show what would change
  sealwire install --client claude-code           every server that the client starts
  sealwire install --client cursor --server github
  sealwire install --client vscode --file .vscode/mcp.json --yes

More: docs/clients.md")]
pub(crate) struct Arguments {
    /// The client
    #[arg(long, value_enum)]
    client: Client,
    /// Only this server; added to the client if that has none, and sealwire has
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    server: Vec<String>,
    /// Every server of the client, and every one of sealwire that it does not have
    #[arg(long)]
    all: bool,
    /// The client's file [default: the one in the user's own directory]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    arguments.consent.check()?;
    let client = arguments.client;
    let (_lock, config) = HomeLock::with_config(context)?;
    let own = own(context)?;
    let path = client_file(client, arguments.file.as_deref(), "--file")?;
    let original = read(client, &path)?;
    let (found, doubts) = entries(client, &original)?;
    let mut planner = Planner::new(client, &config, own.text(), context)?;
    let wanted =
        |name: &str| arguments.server.is_empty() || arguments.server.iter().any(|one| one == name);
    let mut steps: Vec<Step> =
        found.into_iter().filter(|one| wanted(&one.name)).map(|one| planner.rewrite(one)).collect();
    let has = |steps: &[Step], name: &str| {
        steps.iter().any(|step| step.name == name || step.server() == Some(name))
    };
    if arguments.all {
        for name in config.servers.keys() {
            if !has(&steps, name) {
                steps.push(planner.add(name));
            }
        }
    }
    for name in &arguments.server {
        if !has(&steps, name) {
            if !config.servers.contains_key(name) {
                return Err(Failure::usage(format!(
                    "neither {} nor sealwire has a server {name:?}",
                    client.name()
                ))
                .at(path.display())
                .fix(format!(
                    "see what there is: `{} install --client {} --all --dry-run`",
                    context.invocation,
                    client.word()
                )));
            }
            steps.push(planner.add(name));
        }
    }
    let is_idle = steps.iter().all(|step| matches!(step.change, Change::None(_)));
    let obstacle = original.obstacle().filter(|_| !is_idle).map(|why| left_alone(&path, why));
    let proposal = Proposal {
        shown: shown(client, &path, &steps, &planner) + &warnings(&doubts),
        obstacle,
        idle: is_idle.then(|| hint(client, &original, &steps, &planner, context)),
        question: "Write this?".to_owned(),
    };
    let done = arguments.consent.settle(
        proposal,
        || apply(client, &original, &steps, &planner, &own, context),
        |done| {
            let mut result = as_json(client, &steps, &planner);
            result["changed"] = json!(done.is_some());
            result["warnings"] = json!(doubts);
            result["client"] = json!(client.word());
            result["file"] = json!(path);
            result["config_file"] = json!(context.config_file);
            result
        },
        |done| match done {
            None => "Nothing was changed.\n".to_owned(),
            Some(()) => format!(
                "Done. Start {} again; `{} uninstall --client {}` puts back what was there.\n",
                client.name(),
                context.invocation,
                client.word()
            ),
        },
    );
    done.map(drop)
}

/// Says that there is nothing to do, and which servers of sealwire the client does not have: they
/// are perhaps what was meant.
fn hint(
    client: Client,
    original: &Original,
    steps: &[Step],
    planner: &Planner<'_>,
    context: &Context,
) -> String {
    let mut text = "Nothing to change.\n".to_owned();
    let is_there = |name: &&String| {
        planner.reached.contains(name) || steps.iter().any(|step| step.name == **name)
    };
    let missing: Vec<_> =
        planner.config.servers.keys().filter(|name| !is_there(name)).map(String::as_str).collect();
    if !original.is_there() {
        text.push_str(&format!("{} has no file there yet.\n", client.name()));
    }
    if let Some(first) = missing.first() {
        let command = format!("{} install --client {}", context.invocation, client.word());
        text.push_str(&format!(
            "sealwire has servers that it does not have: {}. To add one, or all:\n  \
             {command} --server {first}\n  {command} --all\n",
            missing.join(", ")
        ));
    }
    text
}

/// Reads a client's file, which need not be there.
pub(crate) fn read(client: Client, path: &Path) -> Result<Original, Failure> {
    let original = Original::read(path).map_err(|why| left_alone(path, why))?;
    if !original.is_there() {
        tracing::debug!(client = client.word(), "it has no file yet");
    }
    Ok(original)
}

/// What a client's file says of its servers, and what the client goes by beside it; and of that,
/// what is not understood.
pub(crate) fn entries(
    client: Client,
    original: &Original,
) -> Result<(Vec<Found>, Vec<String>), Failure> {
    let read = document::read(client, original.text());
    let mut found = read.map_err(|why| left_alone(&original.path, why))?;
    let doubts = in_place(|place| elsewhere::heed(client, place, original, &mut found));
    Ok((found, doubts.unwrap_or_default()))
}

/// Of what is not understood beside a file, a line for each.
pub(crate) fn warnings(doubts: &[String]) -> String {
    doubts.iter().map(|doubt| format!("  warning: {}\n", printable(doubt))).collect()
}

/// A file that is not touched; why.
pub(crate) fn left_alone(path: &Path, why: String) -> Failure {
    Failure::new("the client's file is left alone")
        .at(path.display())
        .because(printable(&why))
        .fix("put that right, or change the entry by hand: docs/clients.md shows how")
}

/// Where the client has its file, or another that was named.
pub(crate) fn client_file(
    client: Client,
    named: Option<&Path>,
    option: &str,
) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        let absolute = std::path::absolute(named);
        return absolute.map_err(|error| Failure::usage(error.to_string()).at(named.display()));
    }
    in_place(|place| place.file(client)).ok_or_else(|| {
        Failure::new("the user's own directory is not known")
            .fix(format!("name the client's file with {option}"))
    })
}

/// Where this user's clients have their files; `None` if that is not known.
fn in_place<T>(of: impl FnOnce(&Place<'_>) -> T) -> Option<T> {
    let home = std::env::home_dir().filter(|home| home.is_absolute())?;
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    Some(of(&Place { system: System::this(), home: &home, variable: &variable }))
}

fn shown(client: Client, path: &Path, steps: &[Step], planner: &Planner<'_>) -> String {
    let mut text = format!("{}: {}\n", client.name(), path.display());
    for step in steps {
        text.push_str(&step.shown(client, planner));
    }
    if !planner.new_servers.is_empty() {
        text.push_str(&format!("{}:\n", planner.config_file().display()));
        for server in &planner.new_servers {
            for line in server_table(server, gets_level(&planner.config)).lines() {
                text.push_str(&format!("  + {}\n", printable(line)));
            }
        }
        text.push_str(&of_defaults("Their level", &planner.config));
        if client.passes_environment() {
            text.push_str(
                "  Of the client's own environment these servers get HOME, PATH, LANG and the \
                 like, and\n  what is in their env_vars: add there what else they need.\n",
            );
        }
    }
    text
}

/// The level of servers whose tables say none, if `[defaults]` does.
pub(crate) fn of_defaults(whose: &str, config: &SecureMcpConfig) -> String {
    let level = config.default_level.map(Level::number);
    level.map_or_else(String::new, |level| {
        format!("  {whose} is {level}, the default_level of [defaults].\n")
    })
}

fn as_json(client: Client, steps: &[Step], planner: &Planner<'_>) -> Value {
    let entries: Vec<_> = steps.iter().map(|step| step.json(client, planner)).collect();
    let table = |server: &NewServer| {
        let table = server_table(server, gets_level(&planner.config));
        json!({ "name": server.name, "table": table })
    };
    let servers: Vec<_> = planner.new_servers.iter().map(table).collect();
    json!({ "entries": entries, "servers": servers })
}

/// Why a client's file was not written.
pub(crate) fn not_written(path: &Path, error: &NotWritten) -> Failure {
    let fix = match error {
        NotWritten::Changed => "end the client, and run this again",
        NotWritten::Io(_) => "see to the file and its directory",
    };
    Failure::new("the client's file was not written").at(path.display()).because(error).fix(fix)
}

/// `sealwire.toml`, as it is now.
fn own(context: &Context) -> Result<Original, Failure> {
    Original::read(&context.config_file).map_err(|why| unwritable(context, &why))
}
