//! Entries as a table (RFC 4180).

use sealwire_names::Timestamp;
use serde_json::{Map, Value};

use crate::cli::printable;

/// Members that have a column of their own, in order; the rest is JSON in the last one.
const COLUMNS: [&str; 20] = [
    "entry",
    "call",
    "time",
    "type",
    "peer",
    "certificate",
    "network.peer.address",
    "server",
    "direction",
    "mcp.method.name",
    "gen_ai.tool.name",
    "jsonrpc.request.id",
    "policy",
    "decision",
    "reason",
    "detail",
    "outcome",
    "duration_us",
    "decision_entry",
    "decision_call",
];

/// What a formula begins with, as it is typed with a Western and with a Japanese keyboard.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

pub(super) fn header() -> String {
    format!("{},other\r\n", COLUMNS.join(","))
}

pub(super) fn row(mut entry: Map<String, Value>) -> String {
    let mut row = String::new();
    for name in COLUMNS {
        match entry.remove(name) {
            Some(Value::Number(time)) if name == "time" => {
                let time = Timestamp::from_unix_millis(time.as_i64().unwrap_or_default());
                row += &time.to_string();
            }
            Some(Value::Number(number)) => row += &number.to_string(),
            Some(Value::String(text)) => row += &cell(&text),
            Some(other) => row += &cell(&other.to_string()),
            None => {}
        }
        row.push(',');
    }
    if !entry.is_empty() {
        row += &cell(&Value::Object(entry).to_string());
    }
    row + "\r\n"
}

/// A text, between quotation marks. A spreadsheet takes what begins like a formula for one, and
/// names in the log are chosen by whom it is about: an apostrophe in front makes it text.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['\t', '\r']) || text.trim_start().starts_with(FORMULA);
    let quote = if is_formula { "'" } else { "" };
    format!("\"{quote}{}\"", printable(text).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_entry_breaks_the_table_or_is_a_formula() {
        let entry = serde_json::json!({
            "entry": 3, "time": 0, "type": "call.decision", "peer": "=cmd|' /C calc'!A0",
            "detail": "a \"b\",\n c", "x": "-1", "duration_us": 12,
        });
        let Value::Object(entry) = entry else { unreachable!() };
        assert_eq!(
            row(entry),
            "3,,1970-01-01T00:00:00.000Z,\"call.decision\",\"'=cmd|' /C calc'!A0\",,,,,,,,,,,\
             \"a \"\"b\"\",\u{fffd} c\",,12,,,\"{\"\"x\"\":\"\"-1\"\"}\"\r\n"
        );
        assert_eq!(header().matches(',').count(), COLUMNS.len());
    }

    #[test]
    fn a_formula_is_text_however_it_is_typed() {
        for text in
            ["=1", "+1", "-1", "@A", " =1", "\t=1", "\r1", "\n=1", "＝1", "　＋1", "－1", "＠A"]
        {
            assert!(cell(text).starts_with("\"'"), "{text:?}");
        }
        for text in ["a=1", "1-1", "\"=1\"", "", " ", "'=1"] {
            assert!(!cell(text).starts_with("\"'=") || text.starts_with('\''), "{text:?}");
        }
    }
}
