//! Walks the members of a JSON object in place, without judging it.

/// The members of a JSON object as (name without quotes, raw value). Ends early,
/// without complaint, where the text stops being JSON; no members if it is not
/// an object.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text.trim_ascii_start().strip_prefix(b"{").unwrap_or_default() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.trim_ascii_start();
        let text = text.strip_prefix(b",").unwrap_or(text).trim_ascii_start();
        let (name, text) = text.split_at_checked(string_length(text)?)?;
        let text = text.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, rest) = text.split_at_checked(value_length(text)?)?;
        self.rest = rest;
        Some((name.get(1..name.len() - 1)?, value))
    }
}

/// Length, quotes included, of the string that `text` starts with.
fn string_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Length of the value that `text` starts with.
fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_length(text),
        b'{' | b'[' => container_length(text),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            Some(text.iter().position(ends).unwrap_or(text.len()))
        }
    }
}

fn container_length(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => {
                at += string_length(&text[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
