//! Standard output belongs to the commands' results; nothing else is ever written there.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::Failure;
use super::json::write_pretty;

/// Writes text to standard output. That the reader has gone away, as with `| head`, is
/// not a failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON and a newline, which no terminal obeys.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = Vec::new();
    write_pretty(&mut text, value)
        .map_err(|error| Failure::new("cannot encode the result as JSON").because(error))?;
    text.push(b'\n');
    print(&String::from_utf8_lossy(&text))
}

/// `text` as one word of a shell command that can be pasted.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// What a peer, a server or a certificate says may hold anything; a terminal must not obey it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Control characters (C0, DEL, C1), Unicode's own line ends, and what makes a terminal
/// show characters in another order than they are in.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
