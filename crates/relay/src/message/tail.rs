//! The id of a message of which only the beginning and the end are at hand.

/// The value of an object's last member, if that member is `id` and these are the object's
/// last bytes.
///
/// In a JSON text (RFC 8259) there is one way only to read them. The last brace stands
/// outside all strings and closes the outermost object. A quote with no backslash before it
/// starts or ends a string; so the quotes found here, from the brace backwards, are those of
/// the last member's value and name, and nothing between them can be part of anything else.
/// What is not a JSON text may be misread, but then only its sender's own call is at stake.
pub(super) fn last_id(end: &[u8]) -> Option<&str> {
    let rest = end.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let value = match rest.strip_suffix(b"\"") {
        Some(text) => text
            .iter()
            .rposition(|byte| matches!(byte, b'"' | b'\\'))
            .filter(|&at| text[at] == b'"')?,
        None => 1 + rest.iter().rposition(|byte| !matches!(byte, b'-' | b'0'..=b'9'))?,
    };
    let (before, value) = rest.split_at(value);
    let name = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let others = name.strip_suffix(b"\"id\"")?.trim_ascii_end();
    if !others.ends_with(b",") {
        return None;
    }
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_where_it_is_the_last_member() {
        for (end, id) in [
            (r#"aa"}],"jsonrpc":"2.0","id":7}"#, "7"),
            (r#"true,"id":-12}"#, "-12"),
            (r#"{}} , "id" : "x,}:é" } "#, r#""x,}:é""#),
            ("1,\"id\":7}\r", "7"),
        ] {
            assert_eq!(last_id(end.as_bytes()), Some(id), "{end}");
        }
        let cut_in_a_character = b"\xa9\",\"id\":7}";
        assert_eq!(last_id(cut_in_a_character), Some("7"));
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        for end in [
            r#""id":7"#,
            r#""id":7}"#,
            r#":7}"#,
            "}",
            "",
            // Inside a string, or of an inner object, or half of a name.
            r#"\",\"id\":7}"}"#,
            r#","id":7}}"#,
            r#","id":7}]}"#,
            r#","no,\"id":7}"#,
            r#","Id":7}"#,
            r#","id2":7}"#,
            // A value that is no id, or one that is written with escapes.
            r#","id":1.57}"#,
            r#","id":1e5}"#,
            r#","id":null}"#,
            r#","id":[7]}"#,
            r#","id":"\"7"}"#,
            r#","id":"\u0037"}"#,
            r#","id":"\\"}"#,
        ] {
            assert_eq!(last_id(end.as_bytes()), None, "{end}");
        }
    }
}
