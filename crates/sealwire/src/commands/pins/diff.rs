use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::pins::Entry;

use super::lines::{self, Line};
use super::{as_json, entries, how, state, table, title};
use crate::cli::{Context, Failure, print, print_json, printable, shell_word};

/// How much of a hash names a definition: enough that no other can be made with it.
pub(super) const SHORT: usize = 16;

/// Show what differs from what was approved, and how to approve it
///
/// What is shown is what the server gave last. Read it as what it is: text for a model,
/// written by whoever controls the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire pins diff
  sealwire pins diff github
  sealwire pins diff github --json | jq -r '.[].pending.sha256'")]
pub(crate) struct Arguments {
    /// Only this server: the name of its table
    server: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let (_, mut entries) = entries(&config, arguments.server.as_deref())?;
    entries.retain(|entry| entry.pending.is_some());
    if arguments.json {
        let list: Vec<_> = entries.iter().map(|entry| as_json(&config, entry, true)).collect();
        return print_json(&list);
    }
    if entries.is_empty() {
        return print("nothing differs from what is approved\n");
    }
    let mut text = String::new();
    for of_server in entries.chunk_by(|a, b| a.server == b.server) {
        text.push_str(&server(&config, of_server, context));
    }
    print(&text)
}

fn server(config: &SecureMcpConfig, entries: &[Entry], context: &Context) -> String {
    let id = entries.first().map_or("", |entry| entry.server.as_str());
    let name = table(config, id);
    let mut text = format!("{name} ({id})\n");
    let mut command = format!("{} pins approve {}", context.invocation, shell_word(&name));
    for entry in entries {
        let Some(pending) = &entry.pending else { continue };
        text.push_str(&format!("\n  {}: {}\n", title(entry), state(entry)));
        if let Some(approved) = &entry.approved {
            let how = how(approved);
            text.push_str(&format!("  - {} approved {how} {}\n", approved.hash, approved.since));
        }
        text.push_str(&format!("  + {} seen {}\n", pending.hash, pending.since));
        let before = entry.approved.as_ref().map_or("", |approved| approved.text.as_str());
        for line in lines::diff(before, &pending.text) {
            let (mark, line) = match line {
                Line::Same(line) => (' ', line),
                Line::Removed(line) => ('-', line),
                Line::Added(line) => ('+', line),
                Line::Omitted(count) => (' ', format!("({count} lines as before)")),
            };
            text.push_str(&format!("    {mark} {}\n", printable(&line)));
        }
        command.push_str(&format!(" {}", &pending.hash.to_string()[..SHORT]));
    }
    if config.servers.contains_key(&name) {
        text.push_str(&format!("\nto approve all of this:\n  {command}\n\n"));
    } else {
        text.push_str("\nno table of the configuration is of this server any more\n\n");
    }
    text
}
