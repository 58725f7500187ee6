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

use super::{Page, printable};

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
    page: Option<Page>,
    /// The section of that page, where the page as a whole is named.
    section: Option<String>,
}

#[derive(Debug)]
struct Detail {
    reason: Option<String>,
    remedy: Option<String>,
}

impl Failure {
    /// The command failed.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let (what, details) = (what.into(), Vec::new());
        Self { exit: FAILED, what, place: None, details, page: None, section: None }
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

    /// What explains it.
    pub(crate) fn see(self, page: Page) -> Self {
        Self { page: Some(page), section: None, ..self }
    }

    fn explained(self, page: Option<Page>) -> Self {
        Self { page, ..self }
    }

    /// What explains it, if nothing is said of that.
    pub(crate) fn or_see(self, page: Page) -> Self {
        if self.page.is_some() { self } else { self.see(page) }
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
        match (self.page, &self.section) {
            (Some(page), Some(section)) => writeln!(f, "  see: {}#{section}", page.path())?,
            (Some(page), None) => writeln!(f, "  see: {}", page.path())?,
            (None, _) => {}
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
        let mut failure = Self::config("the configuration is not valid").see(Page::Config);
        let same_file = problems.windows(2).all(|pair| pair[0].file == pair[1].file);
        if let (true, Some(first)) = (same_file, problems.first()) {
            failure = failure.at(first.file.display());
        }
        // One section, if all of them are of it.
        let section = problems.first().and_then(Problem::section);
        if problems.iter().all(|problem| problem.section() == section) {
            failure.section = section;
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
        Self::new(error.to_string()).fix(error.remedy()).explained(Page::of_identity(&error))
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error.to_string()).fix(error.remedy()).see(Page::of_key(&error))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        if error.is_denied() {
            return Self::config("there is no place for the state")
                .because(error)
                .fix(
                    "name a directory that can be written, and that stays: [state] directory = \
                 \"/var/lib/sealwire\", say; in a container, mount a volume there",
                )
                .see(Page::State);
        }
        Self::new("the state of this home cannot be used")
            .because(error)
            .fix(
                "run this as the user whose home it is, and see whether file and disk are in order",
            )
            .see(Page::State)
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::State(error) => error.into(),
            other => Self::new(other.to_string())
                .fix("look at `sealwire pins diff` again")
                .see(Page::Pins),
        }
    }
}

impl From<sealwire::Error> for Failure {
    fn from(error: sealwire::Error) -> Self {
        match error {
            sealwire::Error::Config(error) => error.into(),
            // A certificate or key that the configuration names is part of it.
            sealwire::Error::Identity(error) => {
                let failure = Self::config(error.to_string()).fix(error.remedy());
                failure.explained(Page::of_identity(&error))
            }
            sealwire::Error::Pins(error) => error.into(),
            sealwire::Error::State(error) => error.into(),
            sealwire::Error::Link(error) => Self::new(error.to_string()).see(Page::of_link(&error)),
            sealwire::Error::Local(_) => Self::config(error.to_string()).see(Page::LocalServers),
            other => Self::config(other.to_string()).see(Page::Config),
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
    fn the_page_comes_last_and_what_knows_its_own_keeps_it() {
        let failure = Failure::new("a").fix("b").see(Page::State).or_see(Page::Errors);
        assert_eq!(failure.to_string(), "error: a\n  to fix: b\n  see: docs/config.md#state\n");
        let failure = Failure::new("a").or_see(Page::Errors).because("c");
        assert_eq!(failure.to_string(), "error: a\n  c\n  see: docs/errors.md#exit-codes\n");
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
