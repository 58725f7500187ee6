//! `sealwire pins`: what is approved of the servers' definitions, and what waits for it.

mod approve;
mod diff;
mod lines;
mod list;

use clap::{Args, Subcommand};
use sealwire::config::SecureMcpConfig;
use sealwire::pins::{Entry, Kept, PinStore, server_of};
use sealwire_guard::PinKind;
use serde_json::{Value, json};

use crate::cli::{Context, Failure, printable};

/// See and approve what servers say of their tools, prompts and of themselves
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire pins list
  sealwire pins diff github
  sealwire pins approve github 9b01c2a4d7e83f60")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Diff(diff::Arguments),
    Approve(approve::Arguments),
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments, context),
        Command::Diff(arguments) => diff::run(arguments, context),
        Command::Approve(arguments) => approve::run(arguments, context),
    }
}

/// The store of the home, if there is one yet; and what it knows of a server, or of each.
fn entries(
    config: &SecureMcpConfig,
    server: Option<&str>,
) -> Result<(Option<PinStore>, Vec<Entry>), Failure> {
    let server = match server {
        Some(name) => {
            let entry = super::policy::entry(config, name)?;
            Some(server_of(config, entry)?)
        }
        None => None,
    };
    let store = PinStore::open_existing(&config.layout())?;
    let entries = match &store {
        Some(store) => store.entries(server.as_ref())?,
        None => Vec::new(),
    };
    Ok((store, entries))
}

/// The name of the table that a server has in the configuration; else its SPIFFE ID.
fn table(config: &SecureMcpConfig, server: &str) -> String {
    let is_it = |entry: &&sealwire::config::ServerEntry| {
        server_of(config, entry).is_ok_and(|id| id.to_string() == server)
    };
    let entry = config.servers.values().find(is_it);
    entry.map_or_else(|| server.to_owned(), |entry| entry.name.clone())
}

/// What is defined, in words that are safe to show.
fn title(entry: &Entry) -> String {
    let kind = entry.kind.as_str().replace('_', " ");
    match entry.kind {
        PinKind::Instructions => kind,
        _ => format!("{kind} {}", printable(&entry.name)),
    }
}

fn state(entry: &Entry) -> &'static str {
    match (&entry.approved, &entry.pending) {
        (_, None) => "approved",
        (Some(_), Some(_)) => "changed",
        (None, Some(_)) => "added",
    }
}

fn how(kept: &Kept) -> &'static str {
    if kept.by_operator { "by an operator" } else { "on first use" }
}

fn as_json(config: &SecureMcpConfig, entry: &Entry, with_texts: bool) -> Value {
    let kept = |kept: &Kept| {
        let mut json = json!({ "sha256": kept.hash.to_string(), "since": kept.since.to_string() });
        if with_texts {
            json["definition"] = kept.text.clone().into();
        }
        json
    };
    json!({
        "server": table(config, &entry.server),
        "server_id": entry.server,
        "kind": entry.kind.as_str(),
        "name": entry.name,
        "state": state(entry),
        "approved": entry.approved.as_ref().map(|approved| {
            let mut json = kept(approved);
            json["by_operator"] = approved.by_operator.into();
            json
        }),
        "pending": entry.pending.as_ref().map(kept),
    })
}
