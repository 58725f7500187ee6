mod consent;
mod plan;
mod program;

use std::path::{Path, PathBuf};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use serde_json::{Value, json};

use self::plan::{Change, Planner, Step};
use self::program::with_servers;
use super::issuing::HomeLock;
use crate::cli::{Context, Failure, print, print_json, printable};
use crate::clients::document::{self, Splice};
use crate::clients::file::{NotWritten, Original};
use crate::clients::installed::{Installed, Replaced, Was};
use crate::clients::{Client, Place, System};

pub(crate) use consent::{Asked, confirmed};
pub(crate) use program::{NewServer, server_table, starts_sealwire, usable};

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
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON; with --dry-run or --yes
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let asked = Asked::new(arguments.yes, arguments.dry_run, arguments.json)?;
    let client = arguments.client;
    let _lock = HomeLock::acquire_as_owner(&context.home)?;
    let config = context.load_config()?;
    let own = own(context)?;
    let path = client_file(client, arguments.file.as_deref(), "--file")?;
    let original = read(client, &path)?;
    let found = document::read(client, original.text()).map_err(|why| left_alone(&path, why))?;
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
    if !arguments.json {
        print(&shown(client, &path, &steps, &planner))?;
        if is_idle {
            print("Nothing to change.\n")?;
            return hint(client, &original, &steps, &planner, context);
        }
    }
    if let Some(why) = original.obstacle().filter(|_| !is_idle) {
        return Err(left_alone(&path, why));
    }
    let is_changed = !is_idle && confirmed(asked, "Write this?")?;
    if is_changed {
        apply(client, &original, &steps, &planner, &own, context)?;
    }
    if arguments.json {
        let mut result = as_json(&steps, &planner);
        result["changed"] = json!(is_changed);
        result["client"] = json!(client.word());
        result["file"] = json!(path);
        result["config_file"] = json!(context.config_file);
        return print_json(&result);
    }
    if !is_changed {
        return print("Nothing was changed.\n");
    }
    print(&format!(
        "Done. Start {} again; `{} uninstall --client {}` puts back what was there.\n",
        client.name(),
        context.invocation,
        client.word()
    ))
}

/// Says which servers of sealwire the client does not have, where there was nothing to do: they
/// are perhaps what was meant.
fn hint(
    client: Client,
    original: &Original,
    steps: &[Step],
    planner: &Planner<'_>,
    context: &Context,
) -> Result<(), Failure> {
    let is_there = |name: &&String| {
        planner.reached.contains(name) || steps.iter().any(|step| step.name == **name)
    };
    let missing: Vec<_> =
        planner.config.servers.keys().filter(|name| !is_there(name)).map(String::as_str).collect();
    if !original.is_there() {
        print(&format!("{} has no file there yet.\n", client.name()))?;
    }
    let Some(first) = missing.first() else { return Ok(()) };
    let command = format!("{} install --client {}", context.invocation, client.word());
    print(&format!(
        "sealwire has servers that it does not have: {}. To add one, or all:\n  \
         {command} --server {first}\n  {command} --all\n",
        missing.join(", ")
    ))
}

/// Reads a client's file, which need not be there.
pub(crate) fn read(client: Client, path: &Path) -> Result<Original, Failure> {
    let original = Original::read(path).map_err(|why| left_alone(path, why))?;
    if !original.is_there() {
        tracing::debug!(client = client.word(), "it has no file yet");
    }
    Ok(original)
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
    let Some(home) = std::env::home_dir().filter(|home| home.is_absolute()) else {
        return Err(Failure::new("the user's own directory is not known")
            .fix(format!("name the client's file with {option}")));
    };
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    Ok(Place { system: System::this(), home: &home, variable: &variable }.file(client))
}

fn shown(client: Client, path: &Path, steps: &[Step], planner: &Planner<'_>) -> String {
    let mut text = format!("{}: {}\n", client.name(), path.display());
    for step in steps {
        text.push_str(&step.shown(client, planner));
    }
    if !planner.new_servers.is_empty() {
        text.push_str(&format!("{}:\n", planner.config_file().display()));
        for server in &planner.new_servers {
            for line in server_table(server, !planner.config.zero_trust_mode).lines() {
                text.push_str(&format!("  + {}\n", printable(line)));
            }
        }
    }
    text
}

fn as_json(steps: &[Step], planner: &Planner<'_>) -> Value {
    let entries: Vec<_> = steps.iter().map(|step| step.json(planner)).collect();
    let table = |server: &NewServer| {
        let table = server_table(server, !planner.config.zero_trust_mode);
        json!({ "name": server.name, "table": table })
    };
    let servers: Vec<_> = planner.new_servers.iter().map(table).collect();
    json!({ "entries": entries, "servers": servers })
}

/// Writes sealwire's own entries, then what is replaced, then the client's file: whatever comes in
/// between, the client has what it had, or what goes on.
fn apply(
    client: Client,
    original: &Original,
    steps: &[Step],
    planner: &Planner<'_>,
    own: &Original,
    context: &Context,
) -> Result<(), Failure> {
    let mut text = original.text().to_owned();
    let home = planner.config.layout();
    let unknown = |why: String| {
        Failure::new("what is installed cannot be kept")
            .because(why)
            .fix("see to the state directory")
    };
    let before = Installed::load(&home).map_err(unknown)?;
    let mut installed = before.clone();
    let mut splices = Vec::new();
    for step in steps {
        let (server, was) = match &step.change {
            Change::None(_) => continue,
            Change::Add { server } => (server, Was::Nothing { file: original.is_there() }),
            Change::Program { server, program } => {
                let (command, args) = planner.invocation(server);
                let kept = |at: &std::ops::Range<usize>| text[at.clone()].to_owned();
                splices.push(Splice {
                    at: program.command_at.clone(),
                    text: document::string(client, &command),
                });
                let list = document::list(client, &args);
                splices.push(match &program.args_at {
                    Some(at) => Splice { at: at.clone(), text: list },
                    None => {
                        let (at, before, after) = &program.args_place;
                        Splice { at: *at..*at, text: format!("{before}{list}{after}") }
                    }
                });
                (
                    server,
                    Was::Program {
                        command: kept(&program.command_at),
                        args: program.args_at.as_ref().map(kept),
                    },
                )
            }
            Change::Whole { server, found } => {
                let (command, args) = planner.invocation(server);
                let at = document::whole(found).map_err(|why| left_alone(&original.path, why))?;
                let was = Was::Whole(text[at.clone()].to_owned());
                splices.push(Splice { at, text: document::entry(client, found, &command, &args) });
                (server, was)
            }
        };
        let (command, args) = planner.invocation(server);
        installed.note(Replaced {
            client: client.word().to_owned(),
            file: original.path.clone(),
            table: step.table.clone(),
            name: step.name.clone(),
            server: server.clone(),
            was,
            command,
            args,
        });
    }
    text = document::spliced(&text, splices);
    for step in steps {
        if let Change::Add { server } = &step.change {
            let (command, args) = planner.invocation(server);
            text = document::add(client, &text, &step.name, &command, &args)
                .map_err(|why| left_alone(&original.path, why))?;
        }
    }
    add_servers(context, own, planner)?;
    installed.store(&home).map_err(unknown)?;
    original.replace(&text).map_err(|error| {
        // Nothing was replaced, so there is nothing to put back.
        let forgotten = before.store(&home).err();
        if let Some(error) = forgotten {
            tracing::warn!(error, "what was not installed is still noted");
        }
        not_written(&original.path, &error)
    })
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

/// Adds servers to `sealwire.toml`, as text at its end.
fn add_servers(context: &Context, own: &Original, planner: &Planner<'_>) -> Result<(), Failure> {
    if planner.new_servers.is_empty() {
        return Ok(());
    }
    let path = &context.config_file;
    let with_level = !planner.config.zero_trust_mode;
    let text = with_servers(own.text(), &planner.new_servers, with_level);
    SecureMcpConfig::load_text(context.home.root(), path, &text)?;
    if let Some(why) = own.obstacle() {
        return Err(unwritable(context, &why)
            .fix("put that right, or write these entries yourself, and run this again"));
    }
    own.replace(&text)
        .map_err(|error| unwritable(context, &error.to_string()).fix("run this again"))
}

fn unwritable(context: &Context, why: &str) -> Failure {
    Failure::config("the configuration cannot be added to")
        .at(context.config_file.display())
        .because(why)
}
