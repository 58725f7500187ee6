use std::fmt;

use sealwire_audit::CallId;

use super::text::Text;

/// A JSON-RPC request id in the one form by which equal ids compare equal:
/// an escaped string is unescaped, an integer loses its sign on zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// An integer that fits into 64 bits: nearly every id there is.
    Integer(i64),
    /// Any other id as JSON text: a string with its quotes, or a larger integer.
    Json(Box<str>),
}

impl RequestId {
    /// Reads an id from its JSON text; `None` if it is neither a string nor an integer.
    ///
    /// `1.0` and `1e0` are refused: some readers take them for `1`, some do not, and
    /// an id decides which request an answer belongs to.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        if json.starts_with('"') {
            let text = super::scan::Scanner::new(json).string().ok()?;
            return Self::from_text(text);
        }
        if let Ok(integer) = json.parse() {
            return Some(Self::Integer(integer));
        }
        let digits = json.strip_prefix('-').unwrap_or(json);
        let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_integer.then(|| Self::Json(json.into()))
    }

    /// As it is recorded.
    pub(crate) fn recorded(&self) -> CallId<'_> {
        match self {
            Self::Integer(integer) => CallId::Integer(*integer),
            Self::Json(json) => CallId::Json(json),
        }
    }

    fn from_text(text: Text<'_>) -> Option<Self> {
        if !text.is_escaped() {
            return Some(Self::Json(format!("\"{}\"", text.raw()).into()));
        }
        let mut json = String::from("\"");
        for character in text.decode()?.chars() {
            match character {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                control if control < ' ' => {
                    json.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other => json.push(other),
            }
        }
        json.push('"');
        Some(Self::Json(json.into()))
    }
}

/// The id as JSON, ready to stand in an answer.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.recorded().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_compare_equal() {
        let same = [
            ("1", "1"),
            ("0", "-0"),
            (r#""a""#, r#""\u0061""#),
            (r#""a\"b""#, r#""a\u0022b""#),
            ("100000000000000000000000", "100000000000000000000000"),
        ];
        for (left, right) in same {
            assert_eq!(RequestId::parse(left).unwrap(), RequestId::parse(right).unwrap());
        }
        assert_ne!(RequestId::parse("1").unwrap(), RequestId::parse("\"1\"").unwrap());
        assert_ne!(
            RequestId::parse("99999999999999999999").unwrap(),
            RequestId::parse("\"99999999999999999999\"").unwrap()
        );
    }

    #[test]
    fn shows_json() {
        for json in ["7", "-3", r#""x-1""#, "100000000000000000000000"] {
            assert_eq!(RequestId::parse(json).unwrap().to_string(), json);
        }
        assert_eq!(RequestId::parse(r#""\n\"""#).unwrap().to_string(), r#""\u000a\"""#);
    }

    #[test]
    fn refuses_what_readers_disagree_about() {
        for json in ["null", "true", "1.0", "1e0", "{}", "[1]", "-", "", r#""\ud800""#] {
            assert_eq!(RequestId::parse(json), None, "{json}");
        }
    }
}
