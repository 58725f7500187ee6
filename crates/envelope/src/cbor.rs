//! Deterministic CBOR (RFC 8949 §4.2.1), as far as messages need it.
//!
//! Of each value there is exactly one encoding, and [`Reader`] takes no other: heads of
//! minimal length, definite lengths, nothing left over. So two different byte strings are
//! never the same message, and what was decoded encodes to the bytes it came from. Only
//! integers, strings, arrays, maps, tags and null exist here; there is no recursion, as
//! the caller says what comes next.

use sealwire_names::{Refusal, RefusalCode};

/// What is wrong with an encoding, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: RefusalCode,
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, format!("byte {}: {}", fault.at, fault.what))
    }
}

type Result<T> = std::result::Result<T, Fault>;

const UINT: u8 = 0;
const NINT: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xf6;

/// Reads what it is told to expect, and nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// Where `input` begins in the message, so that faults name a byte of that.
    base: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, base: 0 }
    }

    /// A reader of `inner`, a part of the message that begins at byte `base` of it.
    pub(crate) fn within(inner: &'a [u8], base: usize) -> Self {
        Self { input: inner, at: 0, base }
    }

    /// The byte of the whole message that comes next.
    pub(crate) fn position(&self) -> usize {
        self.base + self.at
    }

    /// A fault at the next byte.
    pub(crate) fn fault(&self, code: RefusalCode, what: &'static str) -> Fault {
        Fault { code, what, at: self.position() }
    }

    pub(crate) fn uint(&mut self, what: &'static str) -> Result<u64> {
        self.head(UINT, what)
    }

    /// An integer of either sign that fits 64 bits.
    pub(crate) fn int(&mut self, what: &'static str) -> Result<i64> {
        let too_large = self.fault(RefusalCode::EnvelopeMalformed, what);
        if self.peek() == Some(NINT) {
            let value = self.head(NINT, what)?;
            return i64::try_from(value).map(|v| -1 - v).map_err(|_| too_large);
        }
        i64::try_from(self.head(UINT, what)?).map_err(|_| too_large)
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let length = self.head(BYTES, what)?;
        self.take(length, what)
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn array_of<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        self.bytes(what)?.try_into().map_err(|_| fault)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        let length = self.head(TEXT, what)?;
        std::str::from_utf8(self.take(length, what)?).map_err(|_| fault)
    }

    /// The number of elements of an array.
    pub(crate) fn array(&mut self, what: &'static str) -> Result<u64> {
        self.head(ARRAY, what)
    }

    /// An array of exactly `count` elements.
    pub(crate) fn array_with(&mut self, count: u64, what: &'static str) -> Result<()> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        if self.array(what)? == count { Ok(()) } else { Err(fault) }
    }

    /// A map of exactly `count` pairs.
    pub(crate) fn map_with(
        &mut self,
        count: u64,
        code: RefusalCode,
        what: &'static str,
    ) -> Result<()> {
        let fault = self.fault(code, what);
        if self.head(MAP, what)? == count { Ok(()) } else { Err(fault) }
    }

    /// The label of a map's next pair, which must be this one. Labels come in the one
    /// order there is, so this refuses unknown, missing, repeated and disordered ones.
    pub(crate) fn label(&mut self, label: i64, what: &'static str) -> Result<()> {
        let fault = self.fault(RefusalCode::EnvelopeHeader, what);
        if self.int(what)? == label { Ok(()) } else { Err(fault) }
    }

    pub(crate) fn tag(&mut self, tag: u64, what: &'static str) -> Result<()> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        if self.head(TAG, what)? == tag { Ok(()) } else { Err(fault) }
    }

    /// Whether null comes next; it is then read.
    pub(crate) fn null(&mut self) -> bool {
        let null = self.input.get(self.at) == Some(&NULL);
        self.at += usize::from(null);
        null
    }

    /// Whether an array comes next.
    pub(crate) fn at_array(&self) -> bool {
        self.peek() == Some(ARRAY)
    }

    /// What was read since the reader stood at `position`.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        self.input.get(position.saturating_sub(self.base)..self.at).unwrap_or_default()
    }

    /// Refuses whatever is left.
    pub(crate) fn end(&self, what: &'static str) -> Result<()> {
        if self.at == self.input.len() {
            return Ok(());
        }
        Err(self.fault(RefusalCode::EnvelopeMalformed, what))
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).map(|byte| byte >> 5)
    }

    fn take(&mut self, length: u64, what: &'static str) -> Result<&'a [u8]> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        let rest = self.input.get(self.at..).unwrap_or_default();
        // A length beyond what is there is refused before anything is reserved for it.
        let length = usize::try_from(length).map_err(|_| fault)?;
        let taken = rest.get(..length).ok_or(fault)?;
        self.at += length;
        Ok(taken)
    }

    /// RFC 8949 §3: three bits of type, five of value or of its length.
    fn head(&mut self, major: u8, what: &'static str) -> Result<u64> {
        let fault = self.fault(RefusalCode::EnvelopeMalformed, what);
        let canonical = self.fault(
            RefusalCode::EnvelopeNotDeterministic,
            "not the shortest encoding, or of indefinite length",
        );
        let [first] = *self.take(1, what)? else { return Err(fault) };
        if first >> 5 != major {
            return Err(fault);
        }
        let (length, least) = match first & 0x1f {
            small @ 0..24 => return Ok(u64::from(small)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(canonical),
            _ => return Err(fault),
        };
        let value = self.take(length, what)?.iter().fold(0, |v, byte| v << 8 | u64::from(*byte));
        if value < least { Err(canonical) } else { Ok(value) }
    }
}

/// Writes the one encoding there is, if the caller writes maps in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        if value < 0 {
            return self.head(NINT, value.unsigned_abs() - 1);
        }
        self.head(UINT, value.unsigned_abs())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(BYTES, bytes.len() as u64).raw(bytes)
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.head(TEXT, text.len() as u64).raw(text.as_bytes())
    }

    pub(crate) fn array(&mut self, count: usize) -> &mut Self {
        self.head(ARRAY, count as u64)
    }

    pub(crate) fn map(&mut self, count: usize) -> &mut Self {
        self.head(MAP, count as u64)
    }

    pub(crate) fn tag(&mut self, tag: u64) -> &mut Self {
        self.head(TAG, tag)
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.raw(&[NULL])
    }

    /// What is encoded already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend_from_slice(encoded);
        self
    }

    /// The bytes written; the writer is empty afterwards.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..24 => self.raw(&[major | bytes[7]]),
            24..0x100 => self.raw(&[major | 24, bytes[7]]),
            0x100..0x1_0000 => self.raw(&[major | 25]).raw(&bytes[6..]),
            0x1_0000..0x1_0000_0000 => self.raw(&[major | 26]).raw(&bytes[4..]),
            _ => self.raw(&[major | 27]).raw(&bytes),
        }
    }
}

#[cfg(test)]
mod tests;
