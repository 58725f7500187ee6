//! One text for each JSON value: JCS (RFC 8785), read strictly.
//!
//! Two texts that mean the same to every reader get the same canonical text, and thus the same
//! hash. Two that may mean different things must not; so this differs from RFC 8785 in what it
//! does with input that I-JSON (RFC 7493) does not allow, or allows with a loss:
//!
//! - a member that occurs twice and a lone surrogate are refused;
//! - a number that is not, digit for digit, what RFC 8785 would print of it keeps the text
//!   that it has. Printed as a double, 9007199254740993 would become 9007199254740992, and a
//!   bound of a schema could change without a trace.

use std::borrow::Cow;
use std::fmt::Write;

use aws_lc_rs::digest;
use sealwire_guard::PinHash;
use sealwire_names::{Refusal, RefusalCode};

use super::listing::{ambiguous, invalid, syntax};
use super::scan::Scanner;
use super::text::Text;

/// Longest value that is read, in bytes: what is made of it takes many times that.
const MAX_VALUE: usize = 1 << 20;

/// The canonical text of the JSON value `text`, of which the nesting has been found to be
/// within bounds.
///
/// # Errors
/// If it is not JSON, or does not have one meaning.
pub(crate) fn canonical(text: &str) -> Result<String, Refusal> {
    if text.len() > MAX_VALUE {
        let reason = format!("a definition of more than {MAX_VALUE} bytes");
        return Err(Refusal::new(RefusalCode::MessageTooLarge, reason));
    }
    let mut scanner = Scanner::new(text);
    let value = read(&mut scanner)?;
    scanner.end().map_err(syntax)?;
    let mut out = String::with_capacity(text.len());
    value.write(&mut out);
    Ok(out)
}

/// SHA-256 of a canonical text.
pub(crate) fn hash(canonical: &str) -> PinHash {
    let digest = digest::digest(&digest::SHA256, canonical.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    PinHash(hash)
}

/// A value whose members are in order. Strings are what they stand for, numbers and words
/// what is to be written.
enum Value<'a> {
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
    Array(Vec<Value<'a>>),
    String(Cow<'a, str>),
    Other(Cow<'a, str>),
}

fn read<'a>(scanner: &mut Scanner<'a>) -> Result<Value<'a>, Refusal> {
    match scanner.peek() {
        b'{' => read_object(scanner),
        b'[' => {
            scanner.enter_array().map_err(syntax)?;
            let mut elements = Vec::new();
            while scanner.element(elements.is_empty()).map_err(syntax)? {
                elements.push(read(scanner)?);
            }
            Ok(Value::Array(elements))
        }
        b'"' => Ok(Value::String(decoded(&scanner.string().map_err(syntax)?)?)),
        b'-' | b'0'..=b'9' => Ok(Value::Other(number(scanner.value().map_err(syntax)?))),
        _ => Ok(Value::Other(scanner.value().map_err(syntax)?.into())),
    }
}

/// Members in the order of their names' UTF-16 code units (RFC 8785 §3.2.3).
fn read_object<'a>(scanner: &mut Scanner<'a>) -> Result<Value<'a>, Refusal> {
    scanner.enter_object().map_err(syntax)?;
    let mut members = Vec::new();
    while let Some(member) = scanner.member(members.is_empty()).map_err(syntax)? {
        members.push((decoded(&member)?, read(scanner)?));
    }
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(twice) => Err(ambiguous(&twice[0].0, "occurs twice")),
        None => Ok(Value::Object(members)),
    }
}

impl Value<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (index, value) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Self::String(text) => write_string(text, out),
            Self::Other(text) => out.push_str(text),
        }
    }
}

fn decoded<'a>(text: &Text<'a>) -> Result<Cow<'a, str>, Refusal> {
    text.decode().ok_or_else(|| invalid("a string holds a lone surrogate"))
}

/// RFC 8785 §3.2.2.2.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _written = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// RFC 8785 §3.2.2.3, where nothing is lost by it; else the number as it stands.
fn number(text: &str) -> Cow<'_, str> {
    let Ok(double) = text.parse::<f64>() else { return Cow::Borrowed(text) };
    let mut buffer = ryu_js::Buffer::new();
    // Infinity is no decimal, and thus not equal.
    let printed = buffer.format(double);
    if printed != text && decimal(printed).is_some_and(|value| decimal(text) == Some(value)) {
        return Cow::Owned(printed.to_owned());
    }
    Cow::Borrowed(text)
}

/// What a JSON number is: sign, digits without zeros at either end, and the power of ten of
/// the last of them. `None` if the exponent is beyond any use.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - kept.len()).ok()?;
    let power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    Some((is_negative, kept.to_owned(), power))
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
