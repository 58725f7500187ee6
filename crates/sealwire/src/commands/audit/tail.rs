use std::iter;
use std::thread;
use std::time::Duration;

use clap::Args;
use sealwire_audit::read::Reader;
use sealwire_names::Timestamp;
use serde_json::{Map, Value};

use super::calls::Calls;
use super::{Log, unreadable};
use crate::cli::{Context, Failure, print, printable};

/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(200);

/// Show the latest entries
///
/// They are shown as they stand, and not verified.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit tail --follow
  sealwire audit tail --lines 1000 --json | jq 'select(.decision == \"deny\")'")]
pub(super) struct Arguments {
    #[command(flatten)]
    log: Log,
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: u64,
    /// Go on with those that are written from now on, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Print the lines as they are in the log: JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let directory = arguments.log.directory(context)?;
    let mut reader = Reader::last(&directory, arguments.lines).map_err(unreadable)?;
    let mut calls = Calls::default();
    loop {
        let mut text = String::new();
        while let Some(line) = reader.next_line().map_err(unreadable)? {
            let line = String::from_utf8_lossy(line);
            // A canonical line has nothing in it that a terminal obeys; who knows of this one.
            let records = match arguments.json {
                true => Box::new(iter::once(printable(&line))),
                false => shown(&line, &mut calls),
            };
            for record in records {
                text.push_str(&record);
                text.push('\n');
                if text.len() > 1 << 16 {
                    print(&text)?;
                    text.clear();
                }
            }
        }
        print(&text)?;
        if !arguments.follow {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

/// An entry for people, each of its calls in a line of its own.
fn shown<'c>(line: &str, calls: &'c mut Calls) -> Box<dyn Iterator<Item = String> + 'c> {
    match serde_json::from_str(line) {
        Ok(entry) => Box::new(calls.of(entry).map(record)),
        Err(_) => Box::new(iter::once(format!("not an entry: {}", printable(line)))),
    }
}

/// When, which, what, and the rest by name.
fn record(mut record: Map<String, Value>) -> String {
    let mut take = |name: &str| record.remove(name).unwrap_or_default();
    let time = Timestamp::from_unix_millis(take("time").as_i64().unwrap_or_default());
    let number = take("entry");
    let kind = take("type");
    let mut text = format!("{time} {number} {}", printable(kind.as_str().unwrap_or("?")));
    for (name, value) in &record {
        let value = match value {
            Value::String(text) if text.contains([' ', '"']) || text.is_empty() => {
                Value::String(text.clone()).to_string()
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.push_str(&printable(&format!(" {name}={value}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_one_line_whatever_is_in_its_entry() {
        let line = r#"{"entry":7,"time":1000,"type":"call.decision","decision":"deny","detail":"not \"yours\"","x":"\u000a\u202e","n":3}"#;
        let shown = |line: &str| {
            let mut calls = Calls::default();
            let records: Vec<_> = shown(line, &mut calls).collect();
            records.join("\n")
        };
        assert_eq!(
            shown(line),
            "1970-01-01T00:00:01.000Z 7 call.decision decision=deny detail=\"not \\\"yours\\\"\" n=3 x=\u{fffd}\u{fffd}"
        );
        let line = r#"{"entry":7,"time":1000,"type":"call.outcome","calls":2,"x":["\u000a","b"]}"#;
        let expected = "1970-01-01T00:00:01.000Z 7 call.outcome call=0 x=\u{fffd}\n\
                        1970-01-01T00:00:01.000Z 7 call.outcome call=1 x=b";
        assert_eq!(shown(line), expected);
        assert_eq!(shown("\u{1b}[2J"), "not an entry: \u{fffd}[2J");
    }
}
