use clap::{Args, ValueEnum};
use sealwire_audit::read::Reader;
use sealwire_names::Timestamp;
use serde_json::{Map, Value};

use super::calls::Calls;
use super::{Log, csv, in_order, moment, ocsf, unreadable};
use crate::cli::{Context, Failure, print, write_compact};

/// Print the log in a form that other tools read
///
/// With `ocsf`, events of the Open Cybersecurity Schema Framework 1.3, one JSON object in a
/// line; what it has no name for is in `unmapped`. With `csv`, a table. In both, each call is by
/// itself, and its outcome has what its decision says of the call, too. Neither can be verified: keep the log, or
/// proofs (`audit prove`), for that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit export --format ocsf > events.jsonl
  sealwire audit export --format csv --from 2026-11-01 --to 2026-12-01 > november.csv")]
pub(super) struct Arguments {
    #[command(flatten)]
    log: Log,
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// Only what was written at this moment or later, as in 2026-11-23 or 2026-11-23T07:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Only what was written before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Ocsf,
    Csv,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    in_order(arguments.from, arguments.to)?;
    let directory = arguments.log.directory(context)?;
    let mut reader = Reader::from_entry(&directory, 0).map_err(unreadable)?;
    let mut text = String::new();
    if let Format::Csv = arguments.format {
        text.push_str(&csv::header());
    }
    let mut calls = Calls::default();
    let mut entry = None;
    while let Some(line) = reader.next_line().map_err(unreadable)? {
        let previous = entry;
        let not_one = |error: &dyn std::fmt::Display| {
            let after =
                previous.map_or_else(String::new, |entry: u64| format!(" after entry {entry}"));
            Failure::new(format!("the line{after} is not as entries are written"))
                .at(directory.display())
                .because(error)
                .fix("see what `sealwire audit verify` finds")
        };
        let head = sealwire_audit::parse_line(line).map_err(|error| not_one(&error))?;
        let members: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| not_one(&error))?;
        let records = calls.of(members);
        let time = Timestamp::from_unix_millis(head.time);
        entry = Some(head.entry);
        let is_wanted = arguments.from.is_none_or(|from| time >= from)
            && arguments.to.is_none_or(|to| time < to);
        for record in records {
            if !is_wanted {
                continue;
            }
            match arguments.format {
                Format::Ocsf => {
                    let mut event = Vec::new();
                    write_compact(&mut event, &ocsf::event(record)).map_err(|e| not_one(&e))?;
                    text.push_str(&String::from_utf8_lossy(&event));
                    text.push('\n');
                }
                Format::Csv => text.push_str(&csv::row(record)),
            }
            if text.len() > 1 << 16 {
                print(&text)?;
                text.clear();
            }
        }
    }
    print(&text)
}
