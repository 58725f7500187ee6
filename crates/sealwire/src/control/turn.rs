//! One process at a time has the log, and whoever is stopped while it does keeps it from all others.
//!
//! A terminal stops a client, with the `connect` that the client has started, whenever its user
//! wants, and that may be in the moment in which that `connect` has the log. It cannot let go by
//! itself then. So whoever waits lets it go on: it records what it has, and lets go. A process that is not stopped does
//! not notice, and one of another user is not let go on, as the kernel sees to.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sealwire::config::SecureMcpConfig;
use sealwire::evidence::{self, EvidenceError};
use sealwire_audit::Journal;

/// How long a process that has the log is waited for before it is looked whether it is a `serve`.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until a time for the log.
pub(super) struct Turn {
    give_up: Instant,
    patience: Duration,
    /// Which one we have let go on, so that it is told once.
    woken: Option<u32>,
}

/// What came of a look.
pub(super) enum Looked {
    /// The log is ours; `None` if none is to be kept.
    Ours(Option<Journal>),
    /// Somebody else still has it: perhaps a `serve` that has begun meanwhile.
    Theirs,
}

impl Turn {
    pub(super) fn new(patience: Duration) -> Self {
        Self { give_up: Instant::now() + patience, patience, woken: None }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.give_up
    }

    /// Looks once, for a moment.
    ///
    /// # Errors
    /// If the log cannot be used, or the time is over; as it is to be told.
    pub(super) fn look(&mut self, config: &SecureMcpConfig) -> Result<Looked, String> {
        match evidence::open(config, LOOK) {
            Ok(journal) => Ok(Looked::Ours(journal)),
            Err(error) if error.is_in_use() => {
                self.wake(&error);
                if self.is_over() { Err(self.in_use(&error)) } else { Ok(Looked::Theirs) }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn wake(&mut self, error: &EvidenceError) {
        let Some(holder) = error.holder().filter(|holder| is_stopped(*holder)) else { return };
        if go_on(holder) && self.woken.replace(holder) != Some(holder) {
            tracing::warn!(
                process = holder,
                "it was stopped while it had the audit log; it goes on, for others wait"
            );
        }
    }

    fn in_use(&self, error: &EvidenceError) -> String {
        let patience = self.patience.as_secs();
        match error.holder() {
            Some(holder) => format!(
                "{error}, for more than {patience} s: see what it is doing (`ps -p {holder}`), and \
                 let it go on or end it"
            ),
            None => format!("{error}, for more than {patience} s"),
        }
    }
}

/// Whether it is one of us, and stands still. Elsewhere than on Linux it is taken for that: to go
/// on means nothing to a process that is not stopped.
fn is_stopped(process: u32) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let stat = |of: &str| std::fs::read_to_string(format!("/proc/{of}/stat")).ok();
    let (Some(theirs), Some(ours)) = (stat(&process.to_string()), stat("self")) else {
        return false;
    };
    let (theirs, ours) = (state(&theirs), state(&ours));
    matches!((theirs, ours), (Some((theirs, 'T')), Some((ours, _))) if theirs == ours)
}

/// The name of a process and what it is doing, of proc_pid_stat(5). A name may have parentheses
/// in it.
fn state(stat: &str) -> Option<(&str, char)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    Some((name, rest.trim_start().chars().next()?))
}

fn go_on(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| kill_process(process, Signal::CONT).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_a_state() {
        assert_eq!(state("7 (sealwire) T 1 7"), Some(("sealwire", 'T')));
        assert_eq!(state("7 (a) T (b) S 1"), Some(("a) T (b", 'S')));
        assert_eq!(state("7 (cut"), None);
        assert_eq!(state(""), None);
    }
}
