//! `sealwire audit`: reading the log of what happened, and proving that it is whole. Nothing
//! here writes to it, and nothing here needs a running `serve`.

mod calls;
mod csv;
mod export;
mod ocsf;
mod prove;
mod tail;
mod verify;

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealwire_audit::note::{NoteError, Verifier};
use sealwire_names::Timestamp;

use crate::cli::{Context, Failure, print, print_json};

pub(super) use calls::IN_ENTRY;

/// Read the log of what happened, and prove that it is whole
///
/// Verification needs the directory of the log and its public key, and nothing else: neither a
/// running `serve` nor a private key. What it can show and what it cannot is in docs/audit.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit tail --follow
  sealwire audit checkpoint > /mnt/elsewhere/checkpoint.txt
  sealwire audit verify --checkpoint /mnt/elsewhere/checkpoint.txt
  sealwire audit prove 4711 > entry.tlog-proof
  sealwire audit export --format csv > log.csv")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(tail::Arguments),
    Verify(verify::Arguments),
    Prove(prove::Arguments),
    Export(export::Arguments),
    Checkpoint(Checkpoint),
}

/// Print the latest signed checkpoint, to be kept where this machine cannot change it
///
/// A running `serve` signs one each second if anything was recorded. Whoever has one can show,
/// with `audit verify --checkpoint`, that the log is still what it was then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit checkpoint > /mnt/elsewhere/checkpoint.txt
  sealwire audit checkpoint --json | jq .tree_size")]
struct Checkpoint {
    #[command(flatten)]
    log: Log,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The directory of the log [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// The file with the log's public key, audit-signing.pub [default: that of this home]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Log {
    pub(super) fn directory(&self, context: &Context) -> Result<PathBuf, Failure> {
        let directory = match &self.log_dir {
            Some(directory) => directory.clone(),
            None => context.load_config()?.audit.log_dir,
        };
        if directory.is_dir() {
            return Ok(directory);
        }
        Err(Failure::new("there is no log")
            .at(directory.display())
            .fix("a running `sealwire serve` makes it; name another with --log-dir DIR"))
    }

    pub(super) fn key(&self, context: &Context) -> Result<Verifier, Failure> {
        let path = match &self.key {
            Some(path) => path.clone(),
            None => context.load_config()?.layout().audit_public_key(),
        };
        let failed = || Failure::new("the log's public key cannot be read").at(path.display());
        let text = fs::read_to_string(&path).map_err(|error| {
            failed().because(error).fix("name the file with it: --key FILE, audit-signing.pub")
        })?;
        text.trim_end().parse().map_err(|error: NoteError| failed().because(error))
    }
}

pub(super) use verify::{as_json as verification_as_json, outside, verify_shown};

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::Tail(arguments) => tail::run(arguments, context),
        Command::Verify(arguments) => verify::run(arguments, context),
        Command::Prove(arguments) => prove::run(arguments, context),
        Command::Export(arguments) => export::run(arguments, context),
        Command::Checkpoint(arguments) => checkpoint(arguments, context),
    }
}

fn checkpoint(arguments: &Checkpoint, context: &Context) -> Result<(), Failure> {
    let path = arguments.log.directory(context)?.join(sealwire_audit::verify::CHECKPOINT);
    let key = arguments.log.key(context)?;
    let failed = || Failure::new("there is no good checkpoint of the log").at(path.display());
    let note = fs::read_to_string(&path).map_err(|error| failed().because(error))?;
    let signed = key
        .checkpoint(&note)
        .map_err(|error| failed().because(error).fix("see what `sealwire audit verify` finds"))?;
    if !arguments.json {
        return print(&note);
    }
    print_json(&serde_json::json!({
        "origin": key.name(),
        "tree_size": signed.size,
        "root_hash": signed.root.to_string(),
        "checkpoint": note,
        "key": key.to_string(),
    }))
}

/// A moment, as `2026-11-23` (its first moment, UTC) or `2026-11-23T07:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || {
        let day = text.parse::<sealwire_audit::Day>().ok()?;
        Some(day.start())
    };
    let precise = || {
        let moment = text.parse::<jiff::Timestamp>().ok()?;
        Some(Timestamp::from_unix_millis(moment.as_millisecond()))
    };
    day().or_else(precise).ok_or_else(|| {
        "expected a day, as in 2026-11-23, or a moment, as in 2026-11-23T07:00:00Z".to_owned()
    })
}

/// That there is a time between the two.
pub(super) fn in_order(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(), Failure> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(Failure::usage("nothing can be in that time")
            .because(format!("{from} is not before {to}"))
            .fix("give the earlier moment to --from, and the later one to --to")),
        _ => Ok(()),
    }
}

/// The log could not be read.
pub(super) fn unreadable(error: io::Error) -> Failure {
    Failure::new("the log cannot be read").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_which_nothing_can_be_is_an_error() {
        let at = |day: &str| Some(moment(day).unwrap());
        let (a, b) = (at("2026-11-23"), at("2026-11-23T00:00:00.001Z"));
        for (from, to) in [(None, None), (a, None), (None, a), (a, b)] {
            assert!(in_order(from, to).is_ok(), "{from:?} {to:?}");
        }
        assert!(in_order(a, a).is_err());
        assert!(in_order(b, a).is_err());
    }
}
