use clap::Args;

use super::{as_json, entries, how, state, table, title};
use crate::cli::{Context, Failure, print, print_json};

/// List what is approved, and what is blocked until it is
///
/// A server is known by the name in its certificate, wherever it is reached from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire pins list
  sealwire pins list github
  sealwire pins list --json | jq '.[] | select(.state != \"approved\")'")]
pub(crate) struct Arguments {
    /// Only this server: the name of its table
    server: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let (_, entries) = entries(&config, arguments.server.as_deref())?;
    if arguments.json {
        let list: Vec<_> = entries.iter().map(|entry| as_json(&config, entry, false)).collect();
        return print_json(&list);
    }
    if entries.is_empty() {
        return print("nothing is known: no client has listed anything yet\n");
    }
    let mut text = String::new();
    let mut server = "";
    for entry in &entries {
        if entry.server != server {
            server = &entry.server;
            text.push_str(&format!("{} ({server})\n", table(&config, server)));
        }
        let since = match (&entry.pending, &entry.approved) {
            (Some(pending), _) => format!("blocked since {}", pending.since),
            (None, Some(kept)) => format!("{} {}", how(kept), kept.since),
            (None, None) => String::new(),
        };
        text.push_str(&format!("  {:8}  {:40}  {since}\n", state(entry), title(entry)));
    }
    print(&text)
}
