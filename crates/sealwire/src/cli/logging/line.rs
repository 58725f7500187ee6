//! One event, one line: what a peer chose to be called must not be able to look like
//! another line, or move a terminal's cursor over one.

use sealwire::config::LogFormat;

use crate::cli::output::is_unsafe;

/// Appends `event`, as formatted, to `lines` as exactly one line.
///
/// Whatever a reader might take for the end of a line or a command to a terminal is
/// written as an escape. In JSON that is the same string still: such characters occur
/// in no other place of an object, and the formatter has escaped the ASCII ones.
/// `colour` lets the formatter's own colours pass.
pub(super) fn append(lines: &mut Vec<u8>, event: &[u8], format: LogFormat, colour: bool) {
    let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
    lines.reserve(text.len() + 1);
    let mut rest = &*text;
    while let Some(next) = rest.chars().next() {
        let length = match colour_of(rest).filter(|_| colour) {
            Some(length) => length,
            None if !is_unsafe(next) => next.len_utf8(),
            None => {
                lines.extend_from_slice(escaped(next, format).as_bytes());
                rest = &rest[next.len_utf8()..];
                continue;
            }
        };
        lines.extend_from_slice(&rest.as_bytes()[..length]);
        rest = &rest[length..];
    }
    lines.push(b'\n');
}

fn escaped(character: char, format: LogFormat) -> String {
    match (character, format) {
        ('\n', _) => "\\n".to_owned(),
        ('\r', _) => "\\r".to_owned(),
        ('\t', _) => "\\t".to_owned(),
        (_, LogFormat::Text) => character.escape_unicode().to_string(),
        // All of them are of the basic plane, RFC 8259 §7.
        (_, LogFormat::Json) => format!("\\u{:04x}", u32::from(character)),
    }
}

/// The length of the colour (SGR, ECMA-48 §8.3.117) that `text` begins with.
fn colour_of(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, format: LogFormat, colour: bool) -> String {
        let mut lines = Vec::new();
        append(&mut lines, event.as_bytes(), format, colour);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn an_event_cannot_forge_a_second_line() {
        let text = |event| line(event, LogFormat::Text, false);
        assert_eq!(text("a\nERROR b\r\n"), "a\\nERROR b\\r\n");
        assert_eq!(text("plain é\n"), "plain é\n");
        assert_eq!(text("a\u{85}b\u{2028}c\u{b}d"), "a\\u{85}b\\u{2028}c\\u{b}d\n");
        assert_eq!(text("\u{1b}[2K\u{9b}1A\u{202e}x"), "\\u{1b}[2K\\u{9b}1A\\u{202e}x\n");
        assert_eq!(text("\u{1b}[31mred"), "\\u{1b}[31mred\n");
        assert_eq!(text(""), "\n");
    }

    #[test]
    fn colours_pass_where_they_are_ours_and_nothing_else_does() {
        let text = |event| line(event, LogFormat::Text, true);
        assert_eq!(text("\u{1b}[2;31mred\u{1b}[0m\n"), "\u{1b}[2;31mred\u{1b}[0m\n");
        assert_eq!(text("\u{1b}[2K\u{1b}[31"), "\\u{1b}[2K\\u{1b}[31\n");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"message": "a\n\u{85}\u{2028}\u{202e}\u{7f}é\u{1b}"});
        let line = line(&value.to_string(), LogFormat::Json, false);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.trim_end().contains(is_unsafe), "{line:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
}
