//! A strict scanner over JSON text (RFC 8259) that builds nothing.
//!
//! It checks the whole grammar, because where a lenient reader and a strict one
//! disagree about the end of a value, a forbidden member can hide.
//!
//! In one thing it is stricter: line breaks are not white space. A message that holds one
//! would be two to whoever reads it line by line (MCP 2025-11-25, Transports, stdio:
//! messages must not contain embedded newlines). They cannot stand in strings unescaped,
//! so nothing that MCP allows is lost.

use std::borrow::Cow;

use memchr::memchr2;

/// Deepest nesting that passes, counting the message itself as 1.
pub const MAX_DEPTH: usize = 512;
/// What comes before it is a control character, which no string may hold as it is
/// (RFC 8259 §7).
const SPACE: u8 = 0x20;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) offset: usize,
    pub(crate) expected: &'static str,
}

/// A string as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The characters between the quotes, escapes and all.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether the string holds at least one escape (RFC 8259 §7).
    pub(crate) fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The string it stands for; `None` if an escape names a lone surrogate, which
    /// readers resolve in different ways.
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            decoded.push_str(&rest[..at]);
            let (character, length) = decode_escape(&rest[at..])?;
            decoded.push(character);
            rest = &rest[at + length..];
        }
        decoded.push_str(rest);
        Some(Cow::Owned(decoded))
    }
}

/// One escape at the start of `text`: its character and its length in bytes.
fn decode_escape(text: &str) -> Option<(char, usize)> {
    let simple = match text.as_bytes().get(1)? {
        b'u' => {
            let high = hex4(text.get(2..6)?)?;
            if (0xD800..0xDC00).contains(&high) {
                let low = hex4(text.get(6..12)?.strip_prefix("\\u")?)?;
                let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                let scalar = 0x10000 + ((high - 0xD800) << 10) + low;
                return Some((char::from_u32(scalar)?, 12));
            }
            return Some((char::from_u32(high)?, 6));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        &other => char::from(other),
    };
    Some((simple, 2))
}

fn hex4(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

/// A position in a JSON text, and the brackets that are open there.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    position: usize,
    /// Where the first control character stands. Nearly no message holds one, so strings
    /// are searched for them only from there on.
    first_control: usize,
    /// One bit for each open bracket: set for an object, clear for an array.
    open: OpenBrackets,
    deepest: usize,
}

// Every message passes through here on both sides. What is small and on that way is
// inlined, since results handed back through memory cost more than the scanning.
impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        // The least byte of all is found many bytes at a time; where it stands is not.
        let least = bytes.iter().copied().fold(u8::MAX, u8::min);
        let first_control = match least {
            ..SPACE => bytes.iter().position(|byte| *byte < SPACE).unwrap_or(0),
            _ => usize::MAX,
        };
        Self { text, position: 0, first_control, open: OpenBrackets::default(), deepest: 0 }
    }

    /// The deepest nesting met so far.
    pub(crate) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Skips white space and looks at the next byte; 0 at the end, which no token starts with.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> u8 {
        match self.text.as_bytes().get(self.position) {
            Some(&byte) if byte > SPACE => byte,
            _ => self.skip_white_space(),
        }
    }

    /// Takes the `{` that starts an object.
    pub(crate) fn enter_object(&mut self) -> Result<(), SyntaxError> {
        if self.peek() != b'{' {
            return self.fail("an object");
        }
        self.push(true);
        Ok(())
    }

    /// The next member's name and its colon, or `None` after the object's `}`.
    /// `first` tells whether no member of the object has been read yet.
    #[inline(always)]
    pub(crate) fn member(&mut self, first: bool) -> Result<Option<Text<'a>>, SyntaxError> {
        match self.peek() {
            b'}' => {
                self.pop();
                return Ok(None);
            }
            b',' if !first => self.position += 1,
            _ if first => {}
            _ => return self.fail("',' or '}'"),
        }
        self.name().map(Some)
    }

    /// Takes the `[` that starts an array.
    pub(crate) fn enter_array(&mut self) -> Result<(), SyntaxError> {
        if self.peek() != b'[' {
            return self.fail("an array");
        }
        self.push(false);
        Ok(())
    }

    /// Whether another element of the array follows, at whose start we then are; else the
    /// array's `]` has been taken. `first` tells whether none has been read yet.
    pub(crate) fn element(&mut self, first: bool) -> Result<bool, SyntaxError> {
        match self.peek() {
            // An array that goes on after a comma does not end there.
            b']' => {
                self.pop();
                Ok(false)
            }
            b',' if !first => {
                self.position += 1;
                match self.peek() {
                    b']' => self.fail("a value"),
                    _ => Ok(true),
                }
            }
            _ if first => Ok(true),
            _ => self.fail("',' or ']'"),
        }
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Skips one whole value and returns its text.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<&'a str, SyntaxError> {
        let first = self.peek();
        let start = self.position;
        match first {
            b'"' => drop(self.skip_string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.skip()?,
        }
        Ok(&self.text[start..self.position])
    }

    /// Takes `token` if it is what stands here.
    #[inline(always)]
    pub(crate) fn takes(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.text.as_bytes()[self.position..].starts_with(token.as_bytes());
        self.position += if found { token.len() } else { 0 };
        found
    }

    /// Takes a string.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Text<'a>, SyntaxError> {
        if self.peek() != b'"' {
            return self.fail("a string");
        }
        self.rest_of_string()
    }

    /// Takes the string whose opening quote stands here.
    #[inline(always)]
    fn rest_of_string(&mut self) -> Result<Text<'a>, SyntaxError> {
        let start = self.position + 1;
        let escaped = self.skip_string()?;
        Ok(Text { raw: &self.text[start..self.position - 1], escaped })
    }

    /// Skips the string whose opening quote stands here. Whether it holds an escape.
    #[inline(always)]
    fn skip_string(&mut self) -> Result<bool, SyntaxError> {
        let start = self.position + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        let mut escaped = false;
        loop {
            at = quote_or_backslash(bytes, at);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    at += self.escape_length(at)?;
                }
                None => return self.fail("the end of this string"),
            }
        }
        if self.first_control < at && bytes[start..at].iter().any(|byte| *byte < SPACE) {
            return self.fail("a string without raw control characters");
        }
        self.position = at + 1;
        Ok(escaped)
    }

    /// Succeeds at the end of the text. One carriage return may stand there: it belongs
    /// to the line end that was taken off.
    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        self.peek();
        match &self.text[self.position..] {
            "" | "\r" => Ok(()),
            _ => self.fail("nothing after the message"),
        }
    }

    /// Reports that something else was expected here.
    #[cold]
    pub(crate) fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { offset: self.position, expected })
    }

    /// Skips one whole value.
    pub(crate) fn skip(&mut self) -> Result<(), SyntaxError> {
        let outer = self.open.len();
        loop {
            match self.peek() {
                b'{' => {
                    self.push(true);
                    if self.peek() != b'}' {
                        self.skip_name()?;
                        continue;
                    }
                    self.pop();
                }
                b'[' => {
                    self.push(false);
                    if self.peek() != b']' {
                        continue;
                    }
                    self.pop();
                }
                b'"' => drop(self.skip_string()?),
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return self.fail("a value"),
            }
            // A value is complete; close what it closes, up to where we began.
            loop {
                if self.open.len() == outer {
                    return Ok(());
                }
                match (self.peek(), self.open.innermost_is_object()) {
                    (b',', true) => {
                        self.position += 1;
                        self.skip_name()?;
                        break;
                    }
                    (b',', false) => {
                        self.position += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => self.pop(),
                    (_, true) => return self.fail("',' or '}'"),
                    (_, false) => return self.fail("',' or ']'"),
                }
            }
        }
    }

    fn skip_white_space(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            if !matches!(byte, b' ' | b'\t') {
                return byte;
            }
            self.position += 1;
        }
        0
    }

    #[inline(always)]
    fn name(&mut self) -> Result<Text<'a>, SyntaxError> {
        let name = self.string()?;
        self.colon()?;
        Ok(name)
    }

    #[inline(always)]
    fn skip_name(&mut self) -> Result<(), SyntaxError> {
        if self.peek() != b'"' {
            return self.fail("a string");
        }
        self.skip_string()?;
        self.colon()
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), SyntaxError> {
        if self.peek() != b':' {
            return self.fail("':'");
        }
        self.position += 1;
        Ok(())
    }

    #[inline(always)]
    fn push(&mut self, is_object: bool) {
        self.position += 1;
        self.open.push(is_object);
        self.deepest = self.deepest.max(self.open.len());
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.position += 1;
        self.open.pop();
    }

    #[inline(always)]
    fn literal(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        if !self.text.as_bytes()[self.position..].starts_with(word.as_bytes()) {
            return self.fail("a value");
        }
        self.position += word.len();
        Ok(())
    }

    /// RFC 8259 §6: `[ "-" ] int [ frac ] [ exp ]`.
    #[inline(always)]
    fn number(&mut self) -> Result<(), SyntaxError> {
        let bytes = self.text.as_bytes();
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let digits = |mut at: usize| {
            while byte(at).is_ascii_digit() {
                at += 1;
            }
            at
        };
        let mut at = self.position + usize::from(byte(self.position) == b'-');
        let whole = at;
        at = if byte(at) == b'0' { at + 1 } else { digits(at) };
        let mut complete = at > whole;
        if byte(at) == b'.' {
            let fraction = at + 1;
            at = digits(fraction);
            complete &= at > fraction;
        }
        if matches!(byte(at), b'e' | b'E') {
            let exponent = at + 1 + usize::from(matches!(byte(at + 1), b'+' | b'-'));
            at = digits(exponent);
            complete &= at > exponent;
        }
        if !complete {
            return self.fail("a number");
        }
        self.position = at;
        Ok(())
    }

    fn escape_length(&self, at: usize) -> Result<usize, SyntaxError> {
        let bytes = self.text.as_bytes();
        match bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u')
                if bytes
                    .get(at + 2..at + 6)
                    .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
            {
                Ok(6)
            }
            _ => Err(SyntaxError { offset: at, expected: "an escape" }),
        }
    }
}

/// Where the first quote or backslash from `at` on stands; the text's length if none does.
///
/// Most strings are shorter than what memchr needs to get going.
#[inline(always)]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..2 {
        let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { break };
        let plain = plain_prefix(*eight);
        at += plain;
        if plain < 8 {
            return at;
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    memchr2(b'"', b'\\', rest).map_or(bytes.len(), |found| at + found)
}

/// How many bytes come before the first quote or backslash; 8 if there is none.
///
/// All eight are looked at together. In each line the top bit of a byte is set if the byte
/// is what is looked for; a borrow can set it wrongly only in bytes after the first that is,
/// and the first is all that counts.
#[inline(always)]
fn plain_prefix(eight: [u8; 8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    let bytes = u64::from_le_bytes(eight);
    let is_zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let quote = is_zero(bytes ^ (ONES * u64::from(b'"')));
    let backslash = is_zero(bytes ^ (ONES * u64::from(b'\\')));
    let found = (quote | backslash) & TOPS;
    (found.trailing_zeros() / 8) as usize
}

/// A stack of bits: eight words cover [`MAX_DEPTH`] without allocating; deeper texts
/// spill, so that they too are scanned to their end and answered under their own id.
#[derive(Default)]
struct OpenBrackets {
    shallow: [u64; MAX_DEPTH / 64],
    deep: Vec<bool>,
    length: usize,
}

impl OpenBrackets {
    fn len(&self) -> usize {
        self.length
    }

    fn push(&mut self, is_object: bool) {
        match self.shallow.get_mut(self.length / 64) {
            Some(word) => {
                let bit = 1 << (self.length % 64);
                *word = if is_object { *word | bit } else { *word & !bit };
            }
            None => self.deep.push(is_object),
        }
        self.length += 1;
    }

    fn pop(&mut self) {
        self.deep.pop();
        self.length -= 1;
    }

    fn innermost_is_object(&self) -> bool {
        let index = self.length - 1;
        match self.shallow.get(index / 64) {
            Some(word) => word & (1 << (index % 64)) != 0,
            None => self.deep.last().copied().unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value().and_then(|_| scanner.end()).is_ok()
    }

    fn string(text: &str) -> Option<String> {
        Scanner::new(text).string().unwrap().decode().map(Cow::into_owned)
    }

    #[test]
    fn accepts_what_rfc_8259_allows() {
        for text in [
            "0",
            "-0",
            "1.5e+3",
            "1E9",
            "10000000000000000000000001",
            "\"\"",
            "\"\\ud800\"",
            "\"\u{7f}\"",
            "true",
            "null",
            "[]",
            "{}",
            " [ 1 , { \"a\" : [ ] } ] ",
            "{\"\":{}}",
            "{\"a\":1,\"a\":2}",
        ] {
            assert!(accepts(text), "{text}");
        }
    }

    #[test]
    fn refuses_what_lenient_readers_let_through() {
        for text in [
            "",
            "01",
            "+1",
            ".5",
            "1.",
            "1e",
            "-",
            "0x1",
            "NaN",
            "Infinity",
            "True",
            "nul",
            "'a'",
            "\"\t\"",
            "\"\\x41\"",
            "\"\\u12g4\"",
            "\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "/**/1",
            "1//",
            "\u{a0}1",
            "\u{feff}1",
            "[",
            "{",
            "[[]",
            "0\0",
        ] {
            assert!(!accepts(text), "{text}");
        }
    }

    #[test]
    fn finds_the_end_of_a_string_wherever_it_stands() {
        let plain = ["a", "é", "😀", "~", "\u{7f}", "!", "#", "[", "]"].concat().repeat(3);
        for (start, _) in plain.char_indices() {
            let text = &plain[start..];
            assert_eq!(Scanner::new(&format!("\"{text}\"")).string().unwrap().raw(), text);
            for (end, _) in text.char_indices() {
                let text = &text[..end];
                let quoted = format!("\"{text}\"{plain}");
                assert_eq!(Scanner::new(&quoted).string().unwrap().raw(), text);
                for control in ["\0", "\u{1f}", "\n"] {
                    assert!(
                        !accepts(&format!("\"{text}{control}{plain}\"")),
                        "{text:?} {control:?}"
                    );
                }
                let escaped = format!("\"{text}\\\"{plain}\"");
                assert_eq!(string(&escaped).unwrap(), format!("{text}\"{plain}"));
            }
        }
    }

    #[test]
    fn decodes_escapes_and_refuses_lone_surrogates() {
        assert_eq!(string(r#""a\/\"\\\b\f\n\r\t""#).unwrap(), "a/\"\\\u{8}\u{c}\n\r\t");
        assert_eq!(string(r#""\u006e\ud83d\ude00é""#).unwrap(), "n😀é");
        for lone in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx\ude00""#, r#""\ud83d\u0041""#] {
            assert_eq!(string(lone), None, "{lone}");
        }
    }

    #[test]
    fn scans_far_beyond_the_depth_limit() {
        let text = "[{\"a\":".repeat(5_000) + "1" + &"}]".repeat(5_000);
        let mut scanner = Scanner::new(&text);
        assert_eq!(scanner.value().unwrap(), text);
        assert_eq!(scanner.deepest(), 10_000);
    }

    proptest! {
        /// Our grammar is serde_json's; it differs only in depth, and in lone
        /// surrogates, which serde_json refuses.
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:," \\0-9eE.+-]{0,12}|[\[\]{}:,"tfnu1a ]{0,16}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(accepts(&text), theirs, "{}", text);
        }
    }
}
