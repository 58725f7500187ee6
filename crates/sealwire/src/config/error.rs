use std::fmt;
use std::path::{Path, PathBuf};

use super::schema;

/// How many problems are kept: a file that is not a configuration at all should not
/// fill the screen.
const MAX_PROBLEMS: usize = 20;

/// Why a configuration is refused: every problem that was found, in file order.
///
/// Messages show keys, names and paths, and never the value of an environment
/// variable, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// One thing that is wrong, where, and how to put it right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// The line, counted from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// The table and key, e.g. `[listen] address`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub remedy: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(crate) fn with_file(
        file: &Path,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// `file:line`, or the file alone.
    pub fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }

    /// The section of docs/config.md that explains the key, as the end of a link; `None` where no
    /// table is meant.
    pub fn section(&self) -> Option<String> {
        schema::section(&self.key)
    }

    /// What is wrong, with the table and key where there is one.
    pub fn statement(&self) -> String {
        if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (to fix: {})", self.place(), self.statement(), self.remedy)
    }
}

/// Collects problems while the rest of the configuration is still looked at.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// What was found so far, in file order.
    pub(crate) fn sorted(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    /// `value` if nothing was wrong.
    pub(crate) fn into_result<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        let mut problems = self.sorted();
        problems.truncate(MAX_PROBLEMS);
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(ConfigError { problems }),
        }
    }
}
