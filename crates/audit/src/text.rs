//! Text as entries have it, and whether a line is written as all lines are.

use std::fmt;

use wide::u8x16;

/// Longest text in an entry, in bytes as they are written. What is longer is cut, and the
/// entry says so; so no entry is ever longer than a line may be.
pub(crate) const MAX_TEXT: usize = 4096;

/// Most members of an entry: more are never written.
const MAX_MEMBERS: usize = 32;

/// Characters that a reader must not meet: control characters (C0, DEL, C1), Unicode's own line
/// ends, and what makes a terminal show characters in another order than they are in.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many bytes at the begin of a text stand for themselves, alone: printable ASCII without
/// quotes and backslashes. The log's every byte passes here, sixteen at a time.
fn plain(text: &[u8]) -> usize {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let (sixteens, rest) = text.as_chunks::<16>();
    for (at, sixteen) in sixteens.iter().enumerate() {
        let bytes = u8x16::new(*sixteen);
        let quote = bytes.simd_eq(u8x16::splat(b'"'));
        let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
        let below = bytes.min(u8x16::splat(b' ' - 1)).simd_eq(bytes);
        let beyond = bytes.max(u8x16::splat(b'~' + 1)).simd_eq(bytes);
        let others = (quote | backslash | below | beyond).to_bitmask();
        if others != 0 {
            return 16 * at + others.trailing_zeros() as usize;
        }
    }
    let length = text.len() - rest.len();
    length + rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
}

/// Writes text between quotation marks, which are the caller's, as far as there is room.
pub(crate) struct Escaped<'o> {
    out: &'o mut Vec<u8>,
    room: usize,
    /// Something had no room.
    pub(crate) is_cut: bool,
}

impl<'o> Escaped<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, room: MAX_TEXT, is_cut: false }
    }

    pub(crate) fn push(&mut self, text: &str) {
        if !self.is_cut && text.len() <= self.room && plain(text.as_bytes()) == text.len() {
            self.room -= text.len();
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        for character in text.chars() {
            self.push_character(character);
        }
    }

    fn push_character(&mut self, character: char) {
        let mut utf8 = [0; 4];
        let mut escape = *b"\\u0000";
        let written: &[u8] = match character {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            _ if is_unsafe(character) => {
                // All of them are below U+10000.
                let code = u32::from(character);
                for (digit, shift) in escape[2..].iter_mut().zip([12, 8, 4, 0]) {
                    *digit = b"0123456789abcdef"[(code >> shift & 0xf) as usize];
                }
                &escape
            }
            _ => character.encode_utf8(&mut utf8).as_bytes(),
        };
        if self.is_cut || written.len() > self.room {
            self.is_cut = true;
            return;
        }
        self.room -= written.len();
        self.out.extend_from_slice(written);
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// What every line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineHead<'l> {
    /// The number of the entry, from 0, over all files.
    pub entry: u64,
    /// When it was written, in milliseconds since 1970, as the clock said.
    pub time: i64,
    /// What it is about.
    pub kind: &'l str,
}

/// A line is not as we write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the line is not as a canonical entry has it")]
pub struct NotCanonical {
    /// Where, in bytes from its begin.
    pub at: usize,
}

/// Checks a line, which comes without its line feed, byte for byte: there is one way to write
/// an entry, so that nothing can be hidden in how it is written.
///
/// # Errors
/// If it is written in another way, or longer than a line may be.
pub fn parse_line(line: &[u8]) -> Result<LineHead<'_>, NotCanonical> {
    let mut scan = Scan { line, at: 0 };
    scan.literal(b"{\"entry\":")?;
    let entry = scan.integer()?;
    let entry = u64::try_from(entry).map_err(|_| scan.wrong())?;
    scan.literal(b",\"time\":")?;
    let time = scan.integer()?;
    scan.literal(b",")?;
    let kind = scan.rest()?;
    if line.len() > crate::MAX_LINE {
        return Err(NotCanonical { at: crate::MAX_LINE });
    }
    Ok(LineHead { entry, time, kind })
}

/// Checks what follows the time in a line: the type and what depends on it, and the brace that
/// ends it. What it is about.
///
/// # Errors
/// If it is written in another way.
pub fn parse_body(body: &[u8]) -> Result<&str, NotCanonical> {
    Scan { line: body, at: 0 }.rest()
}

struct Scan<'l> {
    line: &'l [u8],
    at: usize,
}

impl<'l> Scan<'l> {
    fn wrong(&self) -> NotCanonical {
        NotCanonical { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn literal(&mut self, expected: &[u8]) -> Result<(), NotCanonical> {
        if !self.line[self.at..].starts_with(expected) {
            return Err(self.wrong());
        }
        self.at += expected.len();
        Ok(())
    }

    /// The type, all other members, and the end.
    fn rest(&mut self) -> Result<&'l str, NotCanonical> {
        self.literal(b"\"type\":")?;
        let at = self.at + 1;
        let kind = std::str::from_utf8(self.text()?).map_err(|_| NotCanonical { at })?;
        let mut names = Names::default();
        for name in [&b"entry"[..], b"time", b"type"] {
            names.add(name);
        }
        while self.peek() == Some(b',') {
            self.at += 1;
            let at = self.at;
            if !names.add(self.text()?) {
                return Err(NotCanonical { at });
            }
            self.literal(b":")?;
            self.value()?;
        }
        self.literal(b"}")?;
        if self.at != self.line.len() {
            return Err(self.wrong());
        }
        Ok(kind)
    }

    fn value(&mut self) -> Result<(), NotCanonical> {
        match self.peek() {
            Some(b'"') => self.text().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'{') => self.several(b'}', |scan| {
                scan.text()?;
                scan.literal(b":")?;
                scan.integer().map(drop)
            }),
            Some(b'[') if self.line.get(self.at + 1) == Some(&b'"') => {
                self.several(b']', |scan| scan.text().map(drop))
            }
            Some(b'[') => self.several(b']', |scan| scan.integer().map(drop)),
            _ => self.integer().map(drop),
        }
    }

    fn several(
        &mut self,
        end: u8,
        mut one: impl FnMut(&mut Self) -> Result<(), NotCanonical>,
    ) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            one(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == end => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.wrong()),
            }
        }
    }

    fn integer(&mut self) -> Result<i64, NotCanonical> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits = self.at;
        let mut number = Some(0i64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            // Below zero, where there is room for one more.
            number = number.and_then(|n| n.checked_mul(10)?.checked_sub(i64::from(digit - b'0')));
            self.at += 1;
        }
        let is_negative = digits > start;
        let is_padded =
            self.line.get(digits) == Some(&b'0') && (self.at > digits + 1 || is_negative);
        let number = number.and_then(|n| if is_negative { Some(n) } else { n.checked_neg() });
        let is_empty = self.at == digits;
        number.filter(|_| !is_padded && !is_empty).ok_or(NotCanonical { at: start })
    }

    /// The text between quotation marks, as it is written.
    fn text(&mut self) -> Result<&'l [u8], NotCanonical> {
        self.literal(b"\"")?;
        let start = self.at;
        let mut is_ascii = true;
        loop {
            self.at += plain(&self.line[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x80..) => {
                    is_ascii = false;
                    self.at += 1;
                }
                _ => return Err(self.wrong()),
            }
        }
        let bytes = &self.line[start..self.at];
        if !is_ascii {
            let text = std::str::from_utf8(bytes)
                .map_err(|error| NotCanonical { at: start + error.valid_up_to() })?;
            if let Some((at, _)) = text.char_indices().find(|&(_, c)| is_unsafe(c)) {
                return Err(NotCanonical { at: start + at });
            }
        }
        self.at += 1;
        Ok(bytes)
    }

    fn escape(&mut self) -> Result<(), NotCanonical> {
        if let Some(b'"' | b'\\') = self.line.get(self.at + 1) {
            self.at += 2;
            return Ok(());
        }
        let hex = self.line.get(self.at + 2..self.at + 6).unwrap_or_default();
        let is_lower = hex.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let code = std::str::from_utf8(hex).ok().and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let character = code.and_then(char::from_u32).filter(|&character| is_unsafe(character));
        if self.line.get(self.at + 1) != Some(&b'u') || !is_lower || character.is_none() {
            return Err(self.wrong());
        }
        self.at += 6;
        Ok(())
    }
}

/// The names of the members so far.
struct Names<'l> {
    names: [&'l [u8]; MAX_MEMBERS],
    count: usize,
    /// A bit for each length and last letter that there is: most names are told apart by them.
    seen: u64,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self { names: [&[]; MAX_MEMBERS], count: 0, seen: 0 }
    }
}

impl<'l> Names<'l> {
    /// Adds one; false if it is there already, or they are too many.
    fn add(&mut self, name: &'l [u8]) -> bool {
        let last = name.last().copied().unwrap_or_default();
        let bit = 1 << ((name.len() + 5 * usize::from(last)) % 64);
        let is_there = self.seen & bit != 0 && self.names[..self.count].contains(&name);
        if is_there || self.count == MAX_MEMBERS {
            return false;
        }
        self.seen |= bit;
        self.names[self.count] = name;
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> (String, bool) {
        let mut out = Vec::new();
        let mut escaped = Escaped::new(&mut out);
        escaped.push(text);
        let is_cut = escaped.is_cut;
        (String::from_utf8(out).unwrap(), is_cut)
    }

    #[test]
    fn what_could_break_a_line_or_a_terminal_is_escaped_and_nothing_else() {
        for (text, written) in [
            ("plain text/~", "plain text/~"),
            ("a\"b\\c", "a\\\"b\\\\c"),
            ("\n\r\t\0\u{7f}\u{9b}", "\\u000a\\u000d\\u0009\\u0000\\u007f\\u009b"),
            ("\u{2028}\u{202e}\u{2066}\u{200f}", "\\u2028\\u202e\\u2066\\u200f"),
            ("Grüße 日本 😀", "Grüße 日本 😀"),
        ] {
            assert_eq!(escaped(text), (written.to_owned(), false));
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        let long = "ü".repeat(MAX_TEXT);
        let (written, is_cut) = escaped(&long);
        assert_eq!((written.len(), is_cut), (MAX_TEXT, true));
        let (written, is_cut) = escaped(&format!("{}\n{}", "x".repeat(MAX_TEXT - 3), "y"));
        assert_eq!((written.len(), is_cut), (MAX_TEXT - 3, true));
        assert!(!escaped(&"x".repeat(MAX_TEXT)).1);
    }

    #[test]
    fn there_is_one_way_to_write_a_line() {
        let line = br#"{"entry":7,"time":-3,"type":"a.b","c":"\u000a\"\\","d":1,"e":true,"f":{"g":1},"h":["i"],"j":{},"k":[],"l":[1,-2]}"#;
        let head = LineHead { entry: 7, time: -3, kind: "a.b" };
        assert_eq!(parse_line(line), Ok(head));
        for bad in [
            "",
            "{}",
            r#"{"time":1,"entry":7,"type":"a"}"#,
            r#"{"entry":07,"time":1,"type":"a"}"#,
            r#"{"entry":-1,"time":1,"type":"a"}"#,
            r#"{"entry":1,"time":-0,"type":"a"}"#,
            r#"{"entry":1,"time":1,"type":"a"} "#,
            r#"{"entry":1, "time":1,"type":"a"}"#,
            r#"{"entry":1,"time":1,"type":"a","entry":2}"#,
            r#"{"entry":1,"time":1,"type":"a","b":1,"b":1}"#,
            r#"{"entry":1,"time":1,"type":"a","b":null}"#,
            r#"{"entry":1,"time":1,"type":"a","b":false}"#,
            r#"{"entry":1,"time":1,"type":"a","b":1.0}"#,
            r#"{"entry":1,"time":1,"type":"a","b":"\n"}"#,
            r#"{"entry":1,"time":1,"type":"a","b":"\u000A"}"#,
            r#"{"entry":1,"time":1,"type":"a","b":"\u0041"}"#,
            r#"{"entry":1,"time":1,"type":"a","b":"\/"}"#,
            "{\"entry\":1,\"time\":1,\"type\":\"a\",\"b\":\"\u{202e}\"}",
            "{\"entry\":1,\"time\":1,\"type\":\"a\",\"b\":\"\u{7f}\"}",
            "{\"entry\":1,\"time\":1,\"type\":\"a\",\"b\":\"\n\"}",
            r#"{"entry":1,"time":,"type":"a"}"#,
            r#"{"entry":1,"time":-,"type":"a"}"#,
            r#"{"entry":1,"time":00,"type":"a"}"#,
            r#"{"entry":1,"time":9223372036854775808,"type":"a"}"#,
            r#"{"entry":1,"time":-9223372036854775809,"type":"a"}"#,
            r#"{"entry":1,"time":1,"type":"a","b":{"c":"d"}}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[1,]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[1,"c"]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":["c",1]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[01]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[true]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[[1]]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":["c",]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[{"c":1}]}"#,
            r#"{"entry":1,"time":1,"type":"a","b":[1"#,
            r#"{"entry":1,"time":1,"type":"a""#,
        ] {
            parse_line(bad.as_bytes()).expect_err(bad);
        }
        parse_line(b"{\"entry\":1,\"time\":1,\"type\":\"a\xff\"}").unwrap_err();
        for time in [0, i64::MAX, i64::MIN] {
            let line = format!(r#"{{"entry":0,"time":{time},"type":"a"}}"#);
            assert_eq!(parse_line(line.as_bytes()).map(|head| head.time), Ok(time));
        }
    }

    #[test]
    fn plain_bytes_are_told_apart_wherever_they_stand() {
        for byte in 0..=u8::MAX {
            let is_plain = matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
            for at in [0, 3, 15, 16, 31, 40] {
                let mut text = [b'a'; 41];
                text[at] = byte;
                assert_eq!(plain(&text), if is_plain { 41 } else { at }, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_canonical_and_means_what_was_said(text in ".*") {
            let (written, is_cut) = escaped(&text);
            prop_assume!(!is_cut);
            let line = format!(r#"{{"entry":1,"time":2,"type":"t","x":"{written}"}}"#);
            prop_assert!(parse_line(line.as_bytes()).is_ok(), "{line}");
            prop_assert!(!line.chars().any(is_unsafe));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["x"].as_str(), Some(&*text));
        }

        #[test]
        fn no_line_makes_the_parser_fall_over(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = parse_line(&line);
            let mut line = line;
            line.splice(0..0, *b"{\"entry\":1,\"time\":1,\"type\":\"a\",\"b\":");
            let _either = parse_line(&line);
        }
    }
}
