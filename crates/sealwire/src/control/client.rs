//! The other end: a command that looks for a running `serve`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sealwire::home::Home;
use serde_json::Value;

use super::protocol::{Answer, Request};
use crate::cli::{Failure, printable};

/// How long an answer may take: a reload reads every file, and waits for those being replaced.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// A connection to a running `serve`.
pub(crate) struct Daemon {
    reader: BufReader<UnixStream>,
    home: String,
}

/// The `serve` that runs with this home; `None` if none does.
pub(crate) fn find(home: &Home) -> Result<Option<Daemon>, Failure> {
    let socket = home.control_socket();
    let connected = UnixStream::connect(&socket).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    match connected {
        Ok(stream) => {
            let home = home.root().display().to_string();
            Ok(Some(Daemon { reader: BufReader::new(stream), home }))
        }
        // Nobody has bound it, or whoever had is gone.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::new("the control socket cannot be used")
            .at(socket.display())
            .because(error)
            .fix("run this as the user that `serve` runs as, or as root")),
    }
}

impl Daemon {
    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Value, Failure> {
        let answer = self.exchange(request).map_err(|error| {
            Failure::new("serve does not answer on its control socket")
                .at(&self.home)
                .because(error)
                .fix("look into its log")
        })?;
        match answer {
            Answer::Done(value) => Ok(value),
            Answer::Failed { what, fix } => {
                Err(Failure::new(printable(&what)).at(&self.home).fix(printable(&fix)))
            }
        }
    }

    /// The same, waiting less.
    pub(crate) fn within(self, patience: Duration) -> io::Result<Self> {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(self)
    }

    /// Asks, and gives back whatever it says.
    pub(crate) fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        // Whoever is refused is told so without being asked, and may not be able to write.
        let written = self.reader.get_mut().write_all(&line);
        let mut answer = Vec::new();
        (&mut self.reader).take(MAX_ANSWER).read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            written?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
