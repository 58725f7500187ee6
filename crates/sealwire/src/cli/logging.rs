//! The log: one event, one line, to standard error or a file, never to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{Failure, GlobalOptions};

/// What to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// Refusals and what may need attention, too.
    Warn,
    /// What happens, too.
    Info,
    /// Details for finding a fault, too.
    Debug,
    /// Everything.
    Trace,
}

/// How to write the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

/// Starts logging. `RUST_LOG` has no say: what is logged must not depend on what a
/// client leaves in the environment.
pub(crate) fn start(options: &GlobalOptions, default: LogLevel) -> Result<(), Failure> {
    let writer = match &options.log_file {
        Some(file) => Lines::File(open(file).map_err(|error| {
            Failure::new("cannot open the log file")
                .at(file.display())
                .because(error)
                .fix("name a file in a directory that this user may write to")
        })?),
        None => Lines::StandardError,
    };
    let colour = options.log_file.is_none() && io::stderr().is_terminal();
    let level: LevelFilter = options.log_level.unwrap_or(default).into();
    // Without internal errors: they would be printed to a standard error that may be
    // closed, and printing to that panics.
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(colour)
        .log_internal_errors(false);
    let started = match options.log_format {
        LogFormat::Text => log.compact().try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new("cannot start logging").because(error))
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Where lines go.
#[derive(Debug)]
enum Lines {
    StandardError,
    File(File),
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { target: self }
    }
}

/// Writes one event. A line break inside it is written as `\n`: a name or a reason that
/// a peer chose must not be able to forge a line of its own.
struct Line<'a> {
    target: &'a Lines,
}

impl Write for Line<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = one_line(event);
        match self.target {
            Lines::StandardError => io::stderr().lock().write_all(&line)?,
            Lines::File(file) => {
                let mut file: &File = file;
                file.write_all(&line)?;
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one_line(event: &[u8]) -> Vec<u8> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let mut line = Vec::with_capacity(event.len());
    for &byte in body {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            _ => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_forge_a_second_line() {
        assert_eq!(one_line(b"a\nERROR b\r\n"), b"a\\nERROR b\\r\n");
        assert_eq!(one_line(b"plain\n"), b"plain\n");
    }
}
