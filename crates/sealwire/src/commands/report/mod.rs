//! `sealwire report`: figures out of the verified log, as evidence for single controls. Never a
//! statement that a standard is met.

mod controls;
mod figures;
mod html;
mod keys;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use sealwire_audit::read::Reader;
use sealwire_audit::verify::{Outside, Verification};
use sealwire_names::Timestamp;
use serde_json::{Map, Value, json};

use super::audit::{
    Log, in_order, moment, outside, unreadable, verification_as_json, verify_shown,
};
use super::certificates;
use crate::cli::{Context, Failure, print, print_json};
use controls::{CONTROLS, NOT_COVERED};
use figures::{Counted, FIGURES};

/// Make a report out of the log: evidence for controls of ISO/IEC 27001 and tenets of NIST SP
/// 800-207
///
/// The log is verified first. Each figure comes with the question to the entries that it is the
/// answer to, so that it can be asked again of the log itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire report > report.html
  sealwire report --from 2026-11-01 --to 2026-12-01 --format json | jq .figures
  sealwire report --checkpoint /mnt/elsewhere/checkpoint.txt > report.html

Exit codes: 0 done, 1 failed, or the log is not what was signed (the report says so).")]
pub(crate) struct Arguments {
    #[command(flatten)]
    log: Log,
    /// From this moment on, as in 2026-11-01 or 2026-11-01T07:00:00Z [default: all that is kept]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Before this moment [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// The form
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// A checkpoint that was kept elsewhere; can be repeated
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Html,
    Json,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let to = arguments.to.unwrap_or_else(|| SystemTime::now().into());
    in_order(arguments.from, Some(to))?;
    let directory = arguments.log.directory(context)?;
    let key = arguments.log.key(context)?;
    let kept = arguments.checkpoint.iter().map(outside).collect::<Result<Vec<Outside>, _>>()?;
    let verified = verify_shown(&directory, &key, &kept)?;
    let (counted, range) = count(&directory, arguments.from, to, verified.size)?;
    let mut report = report(arguments.from, to, &counted, range, &verified, key.name(), kept.len());
    report["certificates"] = certificates::inventory(context)?;
    report["keys"] = keys::inventory(&key, context)?;
    match arguments.format {
        Format::Html => print(&html::page(&report))?,
        Format::Json => print_json(&report)?,
    }
    match verified.problems.first() {
        None => Ok(()),
        Some(problem) => {
            Err(Failure::new("the log is not what was signed, and the report says so")
                .at(directory.display())
                .because(problem))
        }
    }
}

/// The first and the last entry that were counted.
type Range = Option<(u64, u64)>;

/// Counts the entries of that time, up to those that were verified.
fn count(
    directory: &std::path::Path,
    from: Option<Timestamp>,
    to: Timestamp,
    size: u64,
) -> Result<(Counted, Range), Failure> {
    let mut counted = Counted::new();
    let mut range: Range = None;
    let mut reader = Reader::from_entry(directory, 0).map_err(unreadable)?;
    while let Some(line) = reader.next_line().map_err(unreadable)? {
        // What is bad has been told by the verification; nothing after it is counted.
        let Ok(head) = sealwire_audit::parse_line(line) else { break };
        if head.entry >= size {
            break;
        }
        let time = Timestamp::from_unix_millis(head.time);
        if from.is_some_and(|from| time < from) || time >= to {
            continue;
        }
        let Ok(entry) = serde_json::from_slice::<Map<String, Value>>(line) else { break };
        counted.add(&entry);
        range = Some((range.map_or(head.entry, |(first, _)| first), head.entry));
    }
    Ok((counted, range))
}

fn report(
    from: Option<Timestamp>,
    to: Timestamp,
    counted: &Counted,
    range: Range,
    verified: &Verification,
    origin: &str,
    given: usize,
) -> Value {
    let figures: Map<String, Value> = FIGURES
        .iter()
        .map(|figure| {
            let value = counted.value(figure.id);
            let query = figure.to_string();
            (figure.id.into(), json!({ "title": figure.title, "value": value, "query": query }))
        })
        .collect();
    let number = |id: &str| counted.value(id).as_u64().unwrap_or_default();
    let share = match number("connections") {
        0 => Value::Null,
        all => json!(number("connections.mutual") as f64 / all as f64),
    };
    let controls: Vec<Value> = CONTROLS
        .iter()
        .map(|control| {
            json!({
                "evidence_for": control.name,
                "title": control.title,
                "figures": control.figures,
                "does_not_cover": control.not_covered,
            })
        })
        .collect();
    json!({
        "origin": origin,
        "program": format!("sealwire {}", env!("CARGO_PKG_VERSION")),
        "made": Timestamp::from(SystemTime::now()).to_string(),
        "from": from.map(|from| from.to_string()),
        "to": to.to_string(),
        "first_entry": range.map(|(first, _)| first),
        "last_entry": range.map(|(_, last)| last),
        "verification": verification_as_json(verified, origin, given),
        "mutual_tls_share": share,
        "figures": figures,
        "controls": controls,
        "does_not_cover": NOT_COVERED,
    })
}
