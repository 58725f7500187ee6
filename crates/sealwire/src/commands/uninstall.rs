use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::install::{Consent, Proposal, left_alone, not_written};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure, print, printable};
use crate::clients::Client;
use crate::clients::document;
use crate::clients::file::Original;
use crate::clients::installed::{Installed, Replaced, Was};

/// Put back what `install` has replaced in an MCP client's file
///
/// Entry by entry: one that was changed since is left as it is, with the reason. What `install`
/// has added to sealwire's own configuration stays, and need not be in order.
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
    /// Only this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    arguments.consent.check()?;
    let unknown = |why: String| Failure::new("what is installed is not known").because(why);
    let installed = || {
        let (home, doubt) = context.likely_state_home();
        let installed = Installed::load(&home).map_err(unknown)?;
        match doubt.filter(|_| installed.entries.is_empty()) {
            // It may be somewhere else.
            Some(doubt) => Err(doubt),
            None => Ok((home, installed)),
        }
    };
    // Once before the lock: where nothing is known, no home is made for it.
    installed()?;
    let _lock = HomeLock::acquire_as_owner(&context.home)?;
    let (home, mut installed) = installed()?;
    let file = arguments.file.as_deref().map(same_file);
    let is_meant = |one: &&Replaced| {
        arguments.client.is_none_or(|client| client.word() == one.client)
            && (arguments.server.is_empty() || arguments.server.contains(&one.name))
            && file.as_ref().is_none_or(|file| *file == same_file(&one.file))
    };
    let entries: Vec<_> = installed.entries.iter().filter(is_meant).cloned().collect();
    // One file may be that of several clients, and is written once.
    let mut files: BTreeMap<PathBuf, Vec<&Replaced>> = BTreeMap::new();
    for entry in &entries {
        files.entry(same_file(&entry.file)).or_default().push(entry);
    }
    let (mut plans, mut failures) = (Vec::new(), Vec::new());
    for entries in files.values() {
        match Plan::of(entries) {
            Ok(plan) => plans.push(plan),
            Err(failure) => failures.push(failure),
        }
    }
    let is_idle = plans.iter().all(|plan| !plan.undoes());
    let idle = match entries.is_empty() {
        true => "Nothing is installed there.\n",
        false => "Nothing was changed.\n",
    };
    let proposal = Proposal {
        shown: plans.iter().map(Plan::text).collect(),
        obstacle: None,
        idle: is_idle.then(|| idle.to_owned()),
        question: "Write this?".to_owned(),
    };
    let failed = RefCell::new(failures);
    arguments.consent.settle(
        proposal,
        || {
            let mut done = Vec::new();
            for plan in plans.iter().filter(|plan| plan.undoes()) {
                if let Err(failure) = plan.write() {
                    failed.borrow_mut().push(failure);
                    continue;
                }
                done.push(plan.original.path.clone());
                plan.undone().for_each(|entry| installed.forget(entry));
                installed.store(&home).map_err(|why| {
                    Failure::new("what was put back is still noted as installed").because(why)
                })?;
            }
            Ok(done)
        },
        |done| {
            let done = done.map_or(&[][..], Vec::as_slice);
            let files: Vec<_> = plans.iter().map(|plan| plan.json(done)).collect();
            let failed: Vec<_> = failed.borrow().iter().map(Failure::one_line).collect();
            json!({ "changed": !done.is_empty(), "files": files, "failed": failed })
        },
        |done| match done {
            Some(_) if failed.borrow().is_empty() => "Done. Start the client again.\n".to_owned(),
            Some(done) if !done.is_empty() => String::new(),
            _ => "Nothing was changed.\n".to_owned(),
        },
    )?;
    let mut failures = failed.into_inner();
    // All but the last are told here; that one is how the command ends.
    let last = failures.pop();
    for failure in failures {
        print(&format!("{}\n", printable(&failure.one_line())))?;
    }
    last.map_or(Ok(()), Err)
}

/// One name for one file, however it is named.
fn same_file(path: &Path) -> PathBuf {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.canonicalize().unwrap_or_else(|_| absolute())
}

/// What becomes of one file.
struct Plan {
    original: Original,
    text: String,
    /// There was none before, and nothing is left in it.
    is_to_go: bool,
    /// Each entry, and why it is left alone if it is.
    entries: Vec<(Replaced, Option<String>)>,
}

impl Plan {
    fn of(entries: &[&Replaced]) -> Result<Self, Failure> {
        let Some(file) = entries.first().map(|entry| &entry.file) else {
            return Err(Failure::new("nothing is installed there"));
        };
        let original = Original::read(file).map_err(|why| left_alone(file, why))?;
        let mut text = original.text().to_owned();
        let mut decided = Vec::new();
        // The last one first: it may have been put behind the others.
        for entry in entries.iter().rev() {
            let undone = match Client::named(&entry.client) {
                Some(client) => entry.undone(client, &text),
                None => Err("it is of a client that this version does not know".to_owned()),
            };
            let why = match undone {
                Ok(with) => {
                    text = with;
                    None
                }
                Err(why) => Some(why),
            };
            decided.push(((*entry).clone(), why));
        }
        let was_made =
            entries.iter().any(|entry| matches!(entry.was, Was::Nothing { file: false, .. }));
        let is_to_go = was_made && document::is_bare(&text);
        let plan = Self { original, text, is_to_go, entries: decided };
        match plan.original.obstacle().filter(|_| plan.undoes()) {
            Some(why) => Err(left_alone(file, why)),
            None => Ok(plan),
        }
    }

    fn undone(&self) -> impl Iterator<Item = &Replaced> {
        self.entries.iter().filter(|(_, why)| why.is_none()).map(|(entry, _)| entry)
    }

    fn undoes(&self) -> bool {
        self.undone().next().is_some()
    }

    fn write(&self) -> Result<(), Failure> {
        let written = match self.is_to_go {
            true => self.original.remove(),
            false => self.original.replace(&self.text),
        };
        written.map_err(|error| not_written(&self.original.path, &error))
    }

    fn clients(&self) -> Vec<&str> {
        let name = |word: &'_ str| Client::named(word).map(Client::name);
        let mut names: Vec<_> =
            self.entries.iter().filter_map(|(entry, _)| name(&entry.client)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn text(&self) -> String {
        let clients = self.clients().join(", ");
        let mut text = format!("{clients}: {}\n", self.original.path.display());
        for (entry, why) in &self.entries {
            let line = match (why, &entry.was) {
                (Some(why), _) => format!("left alone: {why}"),
                (None, Was::Nothing { .. }) => "removed".to_owned(),
                (None, Was::Whole(_)) => "as it was before".to_owned(),
                (None, Was::Program { command, args }) => {
                    format!("command {command} {}", args.as_deref().unwrap_or_default())
                }
            };
            let title = document::title(&entry.table, &entry.name);
            text.push_str(&format!("  {}: {}\n", printable(&title), printable(&line)));
        }
        text
    }

    fn json(&self, done: &[PathBuf]) -> Value {
        let entry = |(entry, why): &(Replaced, Option<String>)| {
            json!({
                "client": entry.client,
                "entry": document::title(&entry.table, &entry.name),
                "server": entry.server,
                "left_alone": why,
            })
        };
        json!({
            "file": self.original.path,
            "changed": done.contains(&self.original.path),
            "entries": self.entries.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}
