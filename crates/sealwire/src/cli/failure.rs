use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sealwire::agents::KeyError;
use sealwire::config::{ConfigError, Problem};
use sealwire::pins::PinError;
use sealwire::state::StateError;

use super::printable;

/// How long standard error may take to take a failure.
const PATIENCE: Duration = Duration::from_secs(1);
/// Exit code when the command failed.
const FAILED: u8 = 1;
/// Exit code for wrong usage, as clap has it.
const USAGE: u8 = 2;
/// Exit code for a bad configuration (`EX_CONFIG` of sysexits.h).
const CONFIG: u8 = 78;

/// Why a command ends without having done its work: what, where, why, and how to put
/// it right, with the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    what: String,
    place: Option<String>,
    details: Vec<Detail>,
}

#[derive(Debug)]
struct Detail {
    reason: Option<String>,
    remedy: Option<String>,
}

impl Failure {
    /// The command failed.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { exit: FAILED, what: what.into(), place: None, details: Vec::new() }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(what) }
    }

    /// The configuration, or a file it names, cannot be used.
    pub(crate) fn config(what: impl Into<String>) -> Self {
        Self { exit: CONFIG, ..Self::new(what) }
    }

    /// Where: a file, mostly.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        Self { place: Some(place.to_string()), ..self }
    }

    /// Why.
    pub(crate) fn because(mut self, reason: impl fmt::Display) -> Self {
        self.details.push(Detail { reason: Some(reason.to_string()), remedy: None });
        self
    }

    /// What to do about what was said last.
    pub(crate) fn fix(mut self, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        match self.details.last_mut() {
            Some(detail) if detail.remedy.is_none() => detail.remedy = remedy,
            _ => self.details.push(Detail { reason: None, remedy }),
        }
        self
    }

    /// All of it for the log, where an event is a line.
    pub(crate) fn one_line(&self) -> String {
        let mut line = match &self.place {
            Some(place) => format!("{} ({place})", self.what),
            None => self.what.clone(),
        };
        let mut mark = ": ";
        for Detail { reason, remedy } in &self.details {
            if let Some(reason) = reason {
                line.push_str(mark);
                line.push_str(reason);
            }
            if let Some(remedy) = remedy {
                line.push_str(&format!(" (to fix: {remedy})"));
            }
            mark = "; ";
        }
        line
    }

    /// Prints the failure to standard error and yields the exit code. That nobody reads
    /// standard error any more is no reason to fail in another way, or to wait.
    pub(crate) fn report(self) -> ExitCode {
        let exit = ExitCode::from(self.exit);
        let (said, done) = mpsc::channel();
        let say = move || {
            drop(write!(io::stderr().lock(), "{self}"));
            let _nobody_waits = said.send(());
        };
        if thread::Builder::new().name("failure".to_owned()).spawn(say).is_ok() {
            let _too_late = done.recv_timeout(PATIENCE);
        }
        exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = printable(&self.what);
        match &self.place {
            Some(place) => writeln!(f, "error: {what} ({})", printable(place))?,
            None => writeln!(f, "error: {what}")?,
        }
        for Detail { reason, remedy } in &self.details {
            // Indented, no line of it looks like the beginning of another error.
            for line in reason.iter().flat_map(|reason| reason.lines()) {
                writeln!(f, "  {}", printable(line))?;
            }
            if let Some(remedy) = remedy {
                writeln!(f, "  to fix: {}", printable(remedy))?;
            }
        }
        Ok(())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from_problems(error.problems())
    }
}

impl Failure {
    /// All that is wrong with a configuration.
    pub(crate) fn from_problems(problems: &[Problem]) -> Self {
        let mut failure = Self::config("the configuration is not valid");
        let same_file = problems.windows(2).all(|pair| pair[0].file == pair[1].file);
        if let (true, Some(first)) = (same_file, problems.first()) {
            failure = failure.at(first.file.display());
        }
        for problem in problems {
            let reason = match (same_file, problem.line) {
                (true, Some(line)) => format!("line {line}: {}", problem.statement()),
                (true, None) => problem.statement(),
                (false, _) => format!("{}: {}", problem.place(), problem.statement()),
            };
            failure = failure.because(reason).fix(problem.remedy.as_str());
        }
        failure
    }
}

impl From<sealwire_identity::Error> for Failure {
    fn from(error: sealwire_identity::Error) -> Self {
        Self::new(error.to_string()).fix(error.remedy())
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error.to_string()).fix(error.remedy())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        if error.is_denied() {
            return Self::config("there is no place for the state").because(error).fix(
                "name a directory that can be written, and that stays: [state] directory = \
                 \"/var/lib/sealwire\", say; in a container, mount a volume there",
            );
        }
        Self::new("the state of this home cannot be used").because(error).fix(
            "run this as the user whose home it is, and see whether file and disk are in order",
        )
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::State(error) => error.into(),
            other => Self::new(other.to_string()).fix("look at `sealwire pins diff` again"),
        }
    }
}

impl From<sealwire::Error> for Failure {
    fn from(error: sealwire::Error) -> Self {
        match error {
            sealwire::Error::Config(error) => error.into(),
            // A certificate or key that the configuration names is part of it.
            sealwire::Error::Identity(error) => Self::config(error.to_string()).fix(error.remedy()),
            sealwire::Error::Pins(error) => error.into(),
            sealwire::Error::State(error) => error.into(),
            sealwire::Error::Link(error) => Self::new(error.to_string()),
            other => Self::config(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_followed_by_its_remedy() {
        let failure = Failure::new("no certificate").at("/h/a.pem");
        let failure = failure.because("it expired").fix("issue it").because("and more");
        assert_eq!(
            failure.to_string(),
            "error: no certificate (/h/a.pem)\n  it expired\n  to fix: issue it\n  and more\n"
        );
        assert_eq!(
            failure.one_line(),
            "no certificate (/h/a.pem): it expired (to fix: issue it); and more"
        );
        assert_eq!(Failure::new("a").fix("b").to_string(), "error: a\n  to fix: b\n");
        assert_eq!(Failure::new("a").fix("b").one_line(), "a (to fix: b)");
    }

    #[test]
    fn what_others_say_neither_moves_the_cursor_nor_looks_like_ours() {
        let failure = Failure::new("not well").because("x\u{1b}[2K\u{202e}\nerror: forged");
        assert_eq!(
            failure.to_string(),
            "error: not well\n  x\u{fffd}[2K\u{fffd}\n  error: forged\n"
        );
    }
}
