//! JSON that was cut within a character. `"\\ud83d"` is half of one that UTF-16 writes in two, and
//! stands for no text; parsers refuse the whole file for it. Claude Code keeps what was typed in the
//! same file as its servers, and cuts it where it likes. So each half is read as a character that
//! the file does not have otherwise, of the same length, and is put back when the file is written.

use std::borrow::Cow;
use std::ops::Range;

/// Length of `\\uXXXX`.
const ESCAPE: usize = 6;

/// A text, and where halves stand in it.
pub(super) struct Halves<'t> {
    original: &'t str,
    /// The same with other escapes in their place.
    text: Cow<'t, str>,
    /// Where they start.
    at: Vec<usize>,
    /// The escape, and the character that it is.
    marker: (String, char),
}

impl<'t> Halves<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let at = find(text);
        let mut halves =
            Self { original: text, text: Cow::Borrowed(text), at, marker: (String::new(), ' ') };
        if !halves.at.is_empty() {
            let lower = text.to_ascii_lowercase();
            // Of the private use area some are free in any text that is not made against us; in one
            // that is, the parser goes on to refuse the file.
            let mut free = ('\u{e000}'..='\u{f8ff}')
                .map(|c| (format!("\\u{:04x}", u32::from(c)), c))
                .filter(|(escape, c)| !lower.contains(escape.as_str()) && !lower.contains(*c));
            match free.next() {
                None => halves.at.clear(),
                Some(marker) => {
                    let mut with = text.to_owned();
                    for at in &halves.at {
                        with.replace_range(*at..at + ESCAPE, &marker.0);
                    }
                    halves.text = Cow::Owned(with);
                    halves.marker = marker;
                }
            }
        }
        halves
    }

    /// What can be parsed: all else is at the same place.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether there are any in that part.
    pub(super) fn are_in(&self, part: &Range<usize>) -> bool {
        self.at.iter().any(|at| part.contains(at))
    }

    /// Whether one of these names, as they were read, has any.
    pub(super) fn are_named(&self, names: &[String]) -> bool {
        !self.at.is_empty() && names.iter().any(|name| name.contains(self.marker.1))
    }

    /// What was made of [`Self::text`], with the halves as they were.
    ///
    /// # Errors
    /// If one was lost.
    pub(super) fn back_in(&self, text: String) -> Result<String, String> {
        if self.at.is_empty() {
            return Ok(text);
        }
        let (marker, _) = &self.marker;
        if text.matches(marker.as_str()).count() != self.at.len() {
            return Err("it has half characters (lone surrogates) that would be lost".to_owned());
        }
        let mut back = String::with_capacity(text.len());
        let mut parts = text.split(marker.as_str());
        back.push_str(parts.next().unwrap_or_default());
        for (at, part) in self.at.iter().zip(parts) {
            back.push_str(&self.original[*at..at + ESCAPE]);
            back.push_str(part);
        }
        Ok(back)
    }
}

/// Where escapes stand that are half of a character, and have no other half beside them.
fn find(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let unit = |at: usize| {
        let hex = text.get(at + 2..at + ESCAPE)?;
        let is_escape = bytes.get(at..at + 2)? == b"\\u";
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(hex, 16).ok().filter(|_| is_escape && is_hex)
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        at += match unit(at) {
            // The first half; the second has to follow.
            Some(0xd800..=0xdbff) => match unit(at + ESCAPE) {
                Some(0xdc00..=0xdfff) => 2 * ESCAPE,
                _ => {
                    found.push(at);
                    ESCAPE
                }
            },
            Some(0xdc00..=0xdfff) => {
                found.push(at);
                ESCAPE
            }
            Some(_) => ESCAPE,
            // Whatever is escaped, also another backslash.
            None => 2,
        };
        at = at.min(bytes.len());
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_told_from_pairs_and_from_what_only_looks_like_one() {
        for (text, expected) in [
            (r#""\ud83d""#, &[1][..]),
            (r#""\ud83d\ude00""#, &[]),
            (r#""\uDE00\ud83d x \ud83d\ud83d\ude00""#, &[1, 7, 16]),
            (r#""\\ud83d""#, &[]),
            (r#""\\\ud83d""#, &[3]),
            (r#""\ud83""#, &[]),
            (r#""\u+83d\""#, &[]),
            ("\\", &[]),
            ("\\\u{e9}\\u\u{20ac}\\ud83d", &[8]),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn they_come_back_as_they_were(parts in proptest::collection::vec(
            prop_oneof![
                Just("\\ud83d".to_owned()), Just("\\uDE00".to_owned()), Just("\\\\".to_owned()),
                Just("\\ue000".to_owned()), Just("\u{e001}".to_owned()), "[ -~\u{80}-\u{ff}]{0,4}",
            ],
            0..20,
        )) {
            let text = parts.concat();
            let halves = Halves::of(&text);
            prop_assert_eq!(halves.text().len(), text.len());
            prop_assert!(find(halves.text()).is_empty());
            prop_assert_eq!(halves.back_in(halves.text().to_owned()).unwrap(), text.clone());
            prop_assert!(halves.at.is_empty() || halves.back_in(String::new()).is_err());
        }
    }
}
