//! The log: one event, one line, to standard error or a file, never to standard output.
//!
//! Nobody waits for the log. An event becomes a line where it happens, and one thread
//! writes the lines out. If that thread cannot (a full disk, a pipe that nobody reads),
//! lines gather up to a bound; what comes then is counted, and the log says how many are
//! missing, at the place where they are.

mod line;
mod queue;
mod sink;
mod writer;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;

use sealwire::config::{LogConfig, LogFormat, LogLevel};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{Failure, GlobalOptions};
pub(crate) use queue::Lost;
use sink::Sink;
use writer::Writer;

/// As there is one log in a process, there is one writer.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// How this process logs.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    level: LogLevel,
    format: LogFormat,
    file: Option<PathBuf>,
    /// Whether what libraries say is left out.
    own_only: bool,
}

impl LogSettings {
    /// The options, before the configuration's `[log]`, before the command's own level.
    pub(crate) fn new(options: &GlobalOptions, config: &LogConfig, default: LogLevel) -> Self {
        Self {
            level: options.log_level.or(config.level).unwrap_or(default),
            format: options.log_format.or(config.format).unwrap_or_default(),
            file: options.log_file.clone().or_else(|| config.file.clone()),
            own_only: false,
        }
    }

    /// The same, without what libraries say: some log all that passes through them, and there
    /// it is the content of messages.
    pub(crate) fn own_only(self) -> Self {
        Self { own_only: true, ..self }
    }

    fn filter(&self) -> EnvFilter {
        let level = LevelFilter::from(Level(self.level));
        EnvFilter::new(if self.own_only {
            format!("off,sealwire={level},audit={level}")
        } else {
            level.to_string()
        })
    }
}

/// Starts logging. `RUST_LOG` has no say: what is logged must not depend on what a
/// client leaves in the environment.
pub(crate) fn start(settings: &LogSettings) -> Result<(), Failure> {
    let sink = match &settings.file {
        Some(file) => Sink::file(file).map_err(|error| {
            Failure::new("cannot open the log file")
                .at(file.display())
                .because(error)
                .fix("name a file in a directory that this user may write to")
        })?,
        None => Sink::StandardError,
    };
    // https://no-color.org
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty());
    let colour = is_wanted
        && settings.file.is_none()
        && settings.format == LogFormat::Text
        && io::stderr().is_terminal();
    let writer = WRITER.get_or_init(|| Writer::new(sink, settings.format, colour));
    // Without internal errors: they would be printed to a standard error that may be
    // closed, and printing to that panics.
    let log = tracing_subscriber::fmt()
        .with_env_filter(settings.filter())
        .with_writer(writer.clone())
        .with_ansi(colour)
        .log_internal_errors(false);
    let started = match settings.format {
        LogFormat::Text => log.compact().try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new("cannot start logging").because(error))
}

/// Writes out what is still waiting, unless that takes long: the end of a program must
/// not depend on whoever reads its log.
pub(crate) fn finish() {
    if let Some(writer) = WRITER.get() {
        writer.finish();
    }
}

/// The lines that found no room since the program began.
pub(crate) fn lost() -> Lost {
    WRITER.get().map(Writer::lost).unwrap_or_default()
}

struct Level(LogLevel);

impl From<Level> for LevelFilter {
    fn from(Level(level): Level) -> Self {
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
