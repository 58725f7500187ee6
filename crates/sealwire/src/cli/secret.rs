//! What is typed at the terminal and shown to nobody.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;

/// Longest secret, in bytes.
const LONGEST: usize = 1024;

/// Asks for a secret at the terminal, whatever standard input and output are, without showing it.
pub(crate) fn ask_secret(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| {
        Failure::new("the passphrase cannot be asked for")
            .because(error)
            .fix("run this at a terminal, or give --passphrase-file FILE")
    };
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let line = {
        // First: what is typed ahead is thrown away, and is to be so before anybody is asked.
        let hidden = Hidden::new(&terminal).map_err(failed)?;
        let asked = (&terminal).write_all(prompt.as_bytes());
        let line = asked.and_then(|()| read_line(&terminal));
        drop(hidden);
        line
    };
    terminal.write_all(b"\n").map_err(failed)?;
    line.map_err(failed)
}

/// One line.
fn read_line(mut terminal: &File) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = [0; 1];
    while terminal.read(&mut byte)? == 1 && byte[0] != b'\n' {
        if line.len() == LONGEST {
            return Err(io::Error::other("it is too long"));
        }
        line.push(byte[0]);
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        // What was typed before it was asked for was shown.
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nobody can be told.
        let _shown_again = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
