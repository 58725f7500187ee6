use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;

use super::install::{Asked, confirmed, left_alone, not_written, read};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure, print, printable};
use crate::clients::Client;
use crate::clients::document;
use crate::clients::file::Original;
use crate::clients::installed::{Installed, Replaced, Was};

/// Put back what `install` has replaced in an MCP client's file
///
/// Entry by entry: one that was changed since is left as it is, with the reason. What `install`
/// has added to sealwire's own configuration stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire uninstall --client codex
  sealwire uninstall --client cursor --server github
  sealwire uninstall --dry-run                    every client, and only show")]
pub(crate) struct Arguments {
    /// Only this client
    #[arg(long, value_enum)]
    client: Option<Client>,
    /// Only this entry of the client's
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let _lock = HomeLock::acquire(&context.home)?;
    let home = context.state_home()?;
    let unknown = |why: String| Failure::new("what is installed is not known").because(why);
    let mut installed = Installed::load(&home).map_err(unknown)?;
    let is_meant = |one: &&Replaced| {
        arguments.client.is_none_or(|client| client.word() == one.client)
            && (arguments.server.is_empty() || arguments.server.contains(&one.name))
    };
    let entries: Vec<_> = installed.entries.iter().filter(is_meant).cloned().collect();
    if entries.is_empty() {
        return print("Nothing is installed there.\n");
    }
    let mut plans = Vec::new();
    let mut failures = Vec::new();
    let mut files: BTreeMap<&Path, Vec<&Replaced>> = BTreeMap::new();
    for entry in &entries {
        files.entry(&entry.file).or_default().push(entry);
    }
    for (file, entries) in files {
        match plan(file, &entries) {
            Ok(plan) => plans.push(plan),
            Err(failure) => failures.push(failure),
        }
    }
    let shown: String = plans.iter().map(|plan| plan.shown.as_str()).collect();
    print(&shown)?;
    let is_idle = plans.iter().all(|plan| plan.undone.is_empty());
    if is_idle
        || arguments.dry_run
        || !confirmed(Asked::new(arguments.yes, false, false)?, "Write this?")?
    {
        print("Nothing was changed.\n")?;
    } else {
        for plan in plans.iter().filter(|plan| !plan.undone.is_empty()) {
            if let Err(failure) = plan.write() {
                failures.push(failure);
                continue;
            }
            plan.undone.iter().for_each(|entry| installed.forget(entry));
            installed.store(&home).map_err(|why| {
                Failure::new("what was put back is still noted as installed").because(why)
            })?;
        }
        if failures.is_empty() {
            print("Done. Start the client again.\n")?;
        }
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// What becomes of one file.
struct Plan {
    original: Original,
    text: String,
    /// There was none before, and nothing is left in it.
    is_to_go: bool,
    undone: Vec<Replaced>,
    shown: String,
}

impl Plan {
    fn write(&self) -> Result<(), Failure> {
        let written = match self.is_to_go {
            true => self.original.remove(),
            false => self.original.replace(&self.text),
        };
        written.map_err(|error| not_written(&self.original.path, &error))
    }
}

fn plan(file: &Path, entries: &[&Replaced]) -> Result<Plan, Failure> {
    let known = entries.first().and_then(|entry| Client::named(&entry.client));
    let Some(client) = known else {
        return Err(left_alone(file, "it is of a client that this version does not know".into()));
    };
    let original = read(client, file)?;
    let mut text = original.text().to_owned();
    let mut undone = Vec::new();
    let mut shown = format!("{}: {}\n", client.name(), file.display());
    // The last one first: it may have been put behind the others.
    for entry in entries.iter().rev() {
        let line = match entry.undone(client, &text) {
            Ok(with) => {
                text = with;
                undone.push((*entry).clone());
                match &entry.was {
                    Was::Nothing { .. } => "removed".to_owned(),
                    Was::Whole(_) => "as it was before".to_owned(),
                    Was::Program { command, args } => {
                        format!("command {command} {}", args.as_deref().unwrap_or_default())
                    }
                }
            }
            Err(why) => format!("left alone: {why}"),
        };
        shown.push_str(&format!("  {}: {}\n", printable(&entry.name), printable(&line)));
    }
    if original.is_read_only() && !undone.is_empty() {
        return Err(left_alone(file, "it is read-only".to_owned()));
    }
    let was_made = entries.iter().any(|entry| entry.was == Was::Nothing { file: false });
    let is_to_go = was_made && document::is_bare(client, &text);
    Ok(Plan { original, text, is_to_go, undone, shown })
}
