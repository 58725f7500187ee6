use std::time::SystemTime;

use clap::Args;
use sealwire::pins::Entry;
use sealwire_audit::ChangeKind;

use super::diff::SHORT;
use super::{as_json, entries, title};
use crate::cli::{Context, Failure, print, print_json};
use crate::control::note;

/// Approve definitions, each by the hash that `pins diff` shows of it
///
/// A hash stands for the very text that was looked at: what the server changes meanwhile is
/// not approved along with it. A running `serve` or `connect` goes by it at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire pins approve github 9b01c2a4d7e83f60
  sealwire pins approve github 9b01c2a4d7e83f60 77ab30c1d2e4f596 --json")]
pub(crate) struct Arguments {
    /// The server: the name of its table
    server: String,
    /// SHA-256 of each definition, or at least 16 digits of it
    #[arg(required = true, value_name = "HASH")]
    hashes: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let server = &arguments.server;
    let (store, entries) = entries(&config, Some(server))?;
    let mut chosen = Vec::new();
    for hash in &arguments.hashes {
        let hash = hash.to_ascii_lowercase();
        if hash.len() < SHORT || hash.len() > 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Failure::usage(format!("{hash:?} is not a hash"))
                .fix("take the 16 to 64 hexadecimal digits that `sealwire pins diff` shows"));
        }
        let is_it = |entry: &&Entry| {
            entry.pending.as_ref().is_some_and(|it| it.hash.to_string().starts_with(&hash))
        };
        let found: Vec<_> = entries.iter().filter(is_it).cloned().collect();
        if found.is_empty() {
            return Err(Failure::new(format!("nothing of {server} with the hash {hash} waits"))
                .because("it is approved already, or the server has changed it again")
                .fix(format!("look at `{} pins diff {server}`", context.invocation)));
        }
        // The same instructions twice on the command line are one approval.
        chosen
            .extend(found.into_iter().filter(|entry| !chosen.contains(entry)).collect::<Vec<_>>());
    }
    if let Some(store) = store {
        store.approve(&chosen, SystemTime::now().into())?;
        for entry in &chosen {
            note(&config, ChangeKind::PinApproved, server, &title(entry));
        }
    }
    if arguments.json {
        let list: Vec<_> = chosen.iter().map(|entry| as_json(&config, entry, false)).collect();
        return print_json(&list);
    }
    let titles: Vec<_> = chosen.iter().map(title).collect();
    print(&format!("approved of {server}: {}\n", titles.join(", ")))
}
