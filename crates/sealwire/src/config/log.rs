//! `[log]`: what `serve` logs, how and where, if its command line does not say.

use std::path::PathBuf;

use super::check::path;
use super::document::Located;
use super::error::Problems;
use super::typed;
use crate::home::Home;

/// `[log]`. Each value is a default: an option of the command line wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// What to log.
    pub level: Option<LogLevel>,
    /// How to write it.
    pub format: Option<LogFormat>,
    /// The file to append it to, instead of standard error.
    pub file: Option<PathBuf>,
}

/// What to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum LogLevel {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

const LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Checks `[log]`.
pub(crate) fn check(home: &Home, typed: &typed::Log, problems: &mut Problems) -> LogConfig {
    LogConfig {
        level: typed.level.as_ref().and_then(|given| one_of(given, &LEVELS, problems)),
        format: typed.format.as_ref().and_then(|given| one_of(given, &FORMATS, problems)),
        file: typed.file.as_ref().and_then(|given| path(home, given, problems)),
    }
}

fn one_of<T: Copy>(
    given: &Located<String>,
    known: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == given.value);
    if found.is_none() {
        let words: Vec<_> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        let what = format!("{:?} is not one of them", given.value);
        problems.push(given.at.problem(what, format!("write one of {}", words.join(", "))));
    }
    found.map(|(_, value)| *value)
}
