//! A strict scanner over JSON text (RFC 8259) that builds nothing.
//!
//! It checks the whole grammar, because where a lenient reader and a strict one
//! disagree about the end of a value, a forbidden member can hide.
//!
//! In one thing it is stricter: line breaks are not white space. A message that holds one
//! would be two to whoever reads it line by line (MCP 2025-11-25, Transports, stdio:
//! messages must not contain embedded newlines). They cannot stand in strings unescaped,
//! so nothing that MCP allows is lost.

use super::brackets::Brackets;
use super::stops::{SPACE, Stops};
use super::text::Text;

/// Deepest nesting that passes, counting the message itself as 1.
pub const MAX_DEPTH: usize = 512;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) offset: usize,
    pub(crate) expected: &'static str,
}

/// A position in a JSON text, and the brackets that are open there.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    position: usize,
    stops: Stops,
    brackets: Brackets,
}

// Every message passes through here on both sides. What is small and on that way is
// inlined, since results handed back through memory cost more than the scanning.
impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        let stops = Stops::new(text.as_bytes());
        Self { text, position: 0, stops, brackets: Brackets::new() }
    }

    /// The deepest nesting met so far.
    pub(crate) fn deepest(&self) -> usize {
        self.brackets.deepest()
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
        match self.next_member(first)? {
            true => self.name().map(Some),
            false => Ok(None),
        }
    }

    /// Whether another member of the object follows, whose [`Self::name`] is to be read then;
    /// else the object's `}` has been taken.
    #[inline(always)]
    pub(crate) fn next_member(&mut self, first: bool) -> Result<bool, SyntaxError> {
        match self.peek() {
            b'}' => {
                self.pop();
                return Ok(false);
            }
            b',' if !first => self.position += 1,
            _ if first => {}
            _ => return self.fail("',' or '}'"),
        }
        Ok(true)
    }

    /// A member's name and its colon.
    #[inline(always)]
    pub(crate) fn name(&mut self) -> Result<Text<'a>, SyntaxError> {
        let name = self.string()?;
        self.colon()?;
        Ok(name)
    }

    /// The byte that stands `distance` from here; 0 behind the end.
    #[inline(always)]
    pub(crate) fn ahead(&self, distance: usize) -> u8 {
        self.text.as_bytes().get(self.position + distance).copied().unwrap_or(0)
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

    /// Takes `token` if it is what stands here, with no white space before it.
    #[inline(always)]
    pub(crate) fn takes(&mut self, token: &str) -> bool {
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
        Ok(Text::new(self.text, start, self.position - 1, escaped))
    }

    /// Skips the string whose opening quote stands here. Whether it holds an escape.
    #[inline(always)]
    fn skip_string(&mut self) -> Result<bool, SyntaxError> {
        let bytes = self.text.as_bytes();
        let at = self.stops.next(bytes, self.position + 1);
        if bytes.get(at) == Some(&b'"') {
            self.position = at + 1;
            return Ok(false);
        }
        self.skip_rest_of_string(at)?;
        Ok(true)
    }

    /// Skips the rest of a string of which something else than its end stands at `at`.
    #[inline(never)]
    fn skip_rest_of_string(&mut self, mut at: usize) -> Result<(), SyntaxError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += self.escape_length(at)?,
                Some(_) => return self.fail("a string without raw control characters"),
                None => return self.fail("the end of this string"),
            }
            at = self.stops.next(bytes, at);
        }
        self.position = at + 1;
        Ok(())
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
        let outer = self.brackets.open();
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
                if self.brackets.open() == outer {
                    return Ok(());
                }
                match (self.peek(), self.brackets.innermost_is_object()) {
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

    #[inline(never)]
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
        self.brackets.push(is_object);
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.position += 1;
        self.brackets.pop();
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

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
