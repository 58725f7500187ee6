//! Strings as they stand in a JSON text, and what they stand for.

use std::borrow::Cow;

/// A string as it stands in the text, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// What the string stands in. It is cut out only where somebody looks at it: most
    /// strings of a message are passed over.
    whole: &'a str,
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The string from `start` to `end` of `whole`, both next to a quote.
    #[inline(always)]
    pub(super) fn new(whole: &'a str, start: usize, end: usize, escaped: bool) -> Self {
        Self { whole, start, end, escaped }
    }

    /// The characters between the quotes, escapes and all.
    pub fn raw(&self) -> &'a str {
        &self.whole[self.start..self.end]
    }

    /// Whether the string holds at least one escape (RFC 8259 §7).
    #[inline(always)]
    pub(crate) fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The string it stands for; `None` if an escape names a lone surrogate, which
    /// readers resolve in different ways.
    #[inline]
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        match self.escaped {
            false => Some(Cow::Borrowed(self.raw())),
            true => unescape(self.raw()).map(Cow::Owned),
        }
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        let (character, length) = decode_escape(&rest[at..])?;
        decoded.push(character);
        rest = &rest[at + length..];
    }
    decoded.push_str(rest);
    Some(decoded)
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
