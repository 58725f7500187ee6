use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use sealwire_audit::note::{MAX_NOTE, Verifier};
use sealwire_audit::verify::{Outside, Problem, Progress, Verification, verify};
use sealwire_names::Timestamp;
use serde_json::{Value, json};

use super::{Log, unreadable};
use crate::cli::{Context, Failure, print, print_json, printable};

/// After this long one is told how far it has come.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a verification shows, and what it does not.
const PROVEN: &str = "the entries are those that were signed, in order, none missing";
const NOT_PROVEN: [&str; 2] = [
    "that what happened was recorded: a program that was changed may leave things out",
    "that nobody with the signing key put the log back, or wrote and signed another one, since \
     the newest checkpoint that was kept elsewhere",
];
const NONE_ELSEWHERE: &str = "none was given: keep some elsewhere (`sealwire audit checkpoint`) \
                              and name them with --checkpoint FILE";

/// Show whether the log is whole, and where it is not
///
/// Reads every entry and compares the hashes over all of them with what was signed. Needs
/// nothing but the directory and the public key. That the whole directory was put back to an
/// earlier state, or written anew and signed with this machine's key, only a checkpoint shows
/// that was kept elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit verify
  sealwire audit verify --checkpoint /mnt/elsewhere/checkpoint.txt
  sealwire audit verify --log-dir copy/audit --key audit-signing.pub --json

Exit codes: 0 if it is whole, 1 if not.")]
pub(super) struct Arguments {
    #[command(flatten)]
    log: Log,
    /// A checkpoint that was kept elsewhere; can be repeated
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let directory = arguments.log.directory(context)?;
    let key = arguments.log.key(context)?;
    let outside = arguments.checkpoint.iter().map(outside).collect::<Result<Vec<_>, _>>()?;
    let found = verify_shown(&directory, &key, &outside)?;
    if arguments.json {
        print_json(&as_json(&found, key.name(), outside.len()))?;
    } else {
        print(&text(&found, key.name(), outside.len()))?;
    }
    match found.problems.first() {
        None => Ok(()),
        Some(problem) => Err(Failure::new("the log is not what was signed")
            .at(directory.display())
            .because(problem)
            .fix("keep the directory as it is: docs/audit.md tells what each finding means")),
    }
}

/// Verifies, and tells on standard error how far it has come if that takes long.
pub(crate) fn verify_shown(
    directory: &Path,
    key: &Verifier,
    outside: &[Outside],
) -> Result<Verification, Failure> {
    let mut shown = Shown::default();
    let found = verify(directory, key, outside, |progress| shown.progress(progress));
    shown.clear();
    found.map_err(unreadable)
}

pub(crate) fn outside(path: &PathBuf) -> Result<Outside, Failure> {
    let failed =
        |error| Failure::new("the checkpoint cannot be read").at(path.display()).because(error);
    let note = fs::read(path).map_err(|error| failed(error.to_string()))?;
    if note.len() > MAX_NOTE {
        return Err(failed("it is too long for one".to_owned()));
    }
    let note = String::from_utf8(note).map_err(|_| failed("it is not text".to_owned()))?;
    Ok(Outside { name: path.display().to_string(), note })
}

/// The line on the terminal that says how far it has come.
#[derive(Default)]
struct Shown {
    begun: Option<Instant>,
    last: Option<Instant>,
}

impl Shown {
    fn progress(&mut self, Progress { done, total }: Progress) {
        let now = Instant::now();
        let since = self.last.unwrap_or(*self.begun.get_or_insert(now));
        if now.duration_since(since) < PATIENCE {
            return;
        }
        self.last = Some(now);
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let mut stderr = std::io::stderr().lock();
        let (begin, end) = if stderr.is_terminal() { ("\r\x1b[K", "") } else { ("", "\n") };
        let total = total / 1_000_000;
        drop(write!(stderr, "{begin}verified {percent} % of {total} MB{end}"));
        drop(stderr.flush());
    }

    fn clear(&self) {
        let mut stderr = std::io::stderr().lock();
        if self.last.is_some() && stderr.is_terminal() {
            drop(write!(stderr, "\r\x1b[K"));
        }
    }
}

pub(crate) fn as_json(found: &Verification, origin: &str, given: usize) -> Value {
    let time = |millis| Timestamp::from_unix_millis(millis).to_string();
    let problem = |problem: &Problem| {
        json!({
            "what": problem.what,
            "entry": problem.entry,
            "before_entry": problem.before,
            "file": problem.file.as_ref().map(|file| file.display().to_string()),
            "line": problem.line,
        })
    };
    json!({
        "whole": found.problems.is_empty(),
        "origin": origin,
        "first_entry": found.first,
        "tree_size": found.size,
        "root_hash": found.root.to_string(),
        "signed_tree_size": found.signed.map(|signed| signed.size),
        "checkpoints": found.confirmed,
        "checkpoints_elsewhere": { "given": given, "confirmed": found.outside },
        "first_time": found.times.map(|(first, _)| time(first)),
        "last_time": found.times.map(|(_, last)| time(last)),
        "files": found.files,
        "bytes": found.bytes,
        "unfinished_bytes": found.torn,
        "problems": found.problems.iter().map(problem).collect::<Vec<_>>(),
        "proven": if found.problems.is_empty() { vec![PROVEN] } else { Vec::new() },
        "not_proven": NOT_PROVEN,
    })
}

fn checkpoints_fit(is_one: bool) -> &'static str {
    if is_one { "checkpoint fits" } else { "checkpoints fit" }
}

fn text(found: &Verification, origin: &str, given: usize) -> String {
    let mut out = format!("log        {}\n", printable(origin));
    let time = |millis| Timestamp::from_unix_millis(millis);
    match found.times {
        Some((first, last)) => {
            let (from, to) = (found.first, found.size.saturating_sub(1));
            let (files, first, last) = (found.files, time(first), time(last));
            let s = if files == 1 { "" } else { "s" };
            out += &format!("entries    {from} to {to} in {files} file{s}, {first} to {last}\n");
        }
        None => out += "entries    none\n",
    }
    out += &format!("root hash  {}\n", found.root);
    match found.signed {
        Some(signed) => {
            let beyond = found.size.saturating_sub(signed.size);
            let entries = if signed.size == 1 { "entry" } else { "entries" };
            out += &format!("signed     {} {entries}", signed.size);
            if beyond > 0 {
                let are = if beyond == 1 { "is" } else { "are" };
                out += &format!("; {beyond} after that {are} not signed yet");
            }
            out += &format!("; {} {}\n", found.confirmed, checkpoints_fit(found.confirmed == 1));
        }
        None => out += "signed     nothing\n",
    }
    match given {
        0 => out += &format!("elsewhere  {NONE_ELSEWHERE}\n"),
        _ => {
            let fit = checkpoints_fit(given == 1);
            out += &format!("elsewhere  {} of {given} {fit}\n", found.outside);
        }
    }
    if found.torn > 0 {
        let bytes = found.torn;
        out += &format!("unfinished {bytes} bytes at the end, being written or torn by a crash\n");
    }
    for problem in &found.problems {
        out += &format!("PROBLEM    {}\n", printable(&problem.to_string()));
    }
    if found.problems.is_empty() {
        out += &format!("proven     {PROVEN}\n");
    }
    for what in NOT_PROVEN {
        out += &format!("not proven {what}\n");
    }
    out
}
