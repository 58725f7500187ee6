//! JSON that may be shown on a terminal: the same values, without a character that it obeys.
//!
//! serde_json escapes the ASCII control characters but DEL, and nothing beyond ASCII. What
//! others say is in these strings, so all that [`is_unsafe`] names is escaped, too.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::output::is_unsafe;

/// Writes a value in one line, without its end.
///
/// # Errors
/// If it cannot be encoded, or written.
pub(crate) fn write_compact(writer: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Shown(CompactFormatter)))
}

/// Writes a value indented, for people and programs.
///
/// # Errors
/// If it cannot be encoded, or written.
pub(super) fn write_pretty(writer: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Shown(PrettyFormatter::new())))
}

/// Another formatter's lines and spaces, and our strings.
struct Shown<F>(F);

macro_rules! as_before {
    ($($method:ident($($argument:ident: $type:ty)?),)+) => {$(
        fn $method<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$method(writer $(, $argument)?)
        }
    )+};
}

impl<F: Formatter> Formatter for Shown<F> {
    as_before! {
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((before, found)) = rest.find(is_unsafe).map(|at| rest.split_at(at)) {
            writer.write_all(before.as_bytes())?;
            let mut characters = found.chars();
            for character in characters.by_ref().take(1) {
                // All of them are of the basic plane, RFC 8259 §7.
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_is_the_same_value_and_no_terminal_obeys_it() {
        let text =
            "a\u{1b}\u{7f}\u{80}\u{9b}\u{85}é\u{2028}\u{202e}b\u{2069}\u{61c}\u{1f600}\"\\\n";
        let value = json!({text: [text, {"x": []}, null, 1.5], "plain": {}});
        let (mut line, mut pretty) = (Vec::new(), Vec::new());
        write_compact(&mut line, &value).unwrap();
        write_pretty(&mut pretty, &value).unwrap();
        for (written, is_ours) in [(&line, ""), (&pretty, "\n")] {
            let written = std::str::from_utf8(written).unwrap();
            assert_eq!(serde_json::from_str::<Value>(written).unwrap(), value);
            let bad = written.chars().find(|c| is_unsafe(*c) && !is_ours.contains(*c));
            assert_eq!(bad, None, "{written:?}");
            assert!(written.contains("\\u009b") && written.contains("é"), "{written:?}");
            assert!(written.contains('\u{1f600}'), "{written:?}");
        }
        // Nothing else is written otherwise.
        let plain = json!({"a": [1, "b", {"c": {}}], "d": []});
        let mut pretty = Vec::new();
        write_pretty(&mut pretty, &plain).unwrap();
        assert_eq!(pretty, serde_json::to_vec_pretty(&plain).unwrap());
    }
}
