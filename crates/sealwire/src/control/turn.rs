//! Whose turn it is: one process at a time has the log.
//!
//! What is to be recorded goes to the `serve` that runs, also while it drains. If none does, whoever
//! has something to record has the log for a moment, and others wait for it.
//!
//! Who is stopped in such a moment keeps the log from all others. A terminal stops a client, with the
//! `connect` that the client has started, whenever its user wants, and that cannot let go by itself then. So whoever
//! waits lets it go on: it records what it has, and lets go. A process that is not stopped does not
//! notice, and one of another user is not let go on, as the kernel sees to. A `serve` is never let
//! go on: whoever has stopped that has meant it.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sealwire::config::SecureMcpConfig;
use sealwire::evidence::{self, EvidenceError};
use sealwire::home::Home;
use sealwire_audit::Journal;
use serde_json::Value;

use super::client::find;
use super::listener::who_serves;
use super::protocol::{Answer, Request};

/// How long somebody else may have the log, or not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a `serve` may have the log, without taking anything for it, while it begins or ends.
const BEGINS_OR_ENDS: Duration = Duration::from_secs(30);
/// How long the answer of a `serve` may take: longer than a disk may, for which it waits itself.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a process that has the log is waited for before it is looked whether it is a `serve`.
const LOOK: Duration = Duration::from_millis(100);

/// Who records.
pub(super) enum Recorder {
    /// A `serve` has, and this is its answer.
    Serve(Value),
    /// We do: the log is ours. `None` if none is to be kept.
    Us(Option<Journal>),
}

/// Waits for the log, from when it was made.
pub(super) struct Turn {
    since: Instant,
    /// Which one we have let go on, so that it is told once.
    woken: Option<u32>,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), woken: None }
    }

    /// Has the `serve` that runs carry out `request`; if none does, waits until the log is ours.
    /// What a `serve` has not answered is asked again: it may be recorded twice then, which is
    /// better than not at all.
    ///
    /// # Errors
    /// If the `serve` refuses, the log cannot be used, or it has taken too long; as it is to be
    /// told.
    pub(super) fn take(
        &mut self,
        config: &SecureMcpConfig,
        request: impl Fn() -> Request,
    ) -> io::Result<Recorder> {
        let home = config.layout();
        loop {
            let daemon = find(&home).map_err(|error| io::Error::other(error.one_line()))?;
            if let Some(daemon) = daemon {
                match daemon.within(ANSWER).and_then(|mut daemon| daemon.exchange(&request())) {
                    Ok(Answer::Done(answer)) => return Ok(Recorder::Serve(answer)),
                    Ok(Answer::Failed { what, .. }) => return Err(io::Error::other(what)),
                    Err(error) if self.since.elapsed() >= PATIENCE => {
                        return Err(unanswered(&home, &error));
                    }
                    Err(_) => sleep(LOOK),
                }
                continue;
            }
            match evidence::open(config, LOOK) {
                Ok(journal) => return Ok(Recorder::Us(journal)),
                Err(error) if error.is_in_use() => self.wait_for(&error, &home)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does what can be done about somebody who has the log.
    fn wait_for(&mut self, error: &EvidenceError, home: &Home) -> io::Result<()> {
        let is_stopped = error.holder().filter(|holder| is_stopped(*holder));
        let serves = error.holder().is_some_and(|holder| who_serves(home) == Some(holder));
        let patience = match is_stopped {
            None if serves => BEGINS_OR_ENDS,
            _ => PATIENCE,
        };
        if self.since.elapsed() >= patience {
            return Err(in_use(error, patience));
        }
        if let Some(holder) = is_stopped.filter(|_| !serves)
            && go_on(holder)
            && self.woken.replace(holder) != Some(holder)
        {
            tracing::warn!(
                process = holder,
                "it was stopped while it had the audit log; it goes on, for others wait"
            );
        }
        Ok(())
    }
}

fn in_use(error: &EvidenceError, patience: Duration) -> io::Error {
    let patience = patience.as_secs();
    io::Error::other(match error.holder() {
        Some(holder) => format!(
            "{error}, for more than {patience} s: see what it is doing (`ps -p {holder}`), and \
             let it go on or end it"
        ),
        None => format!("{error}, for more than {patience} s"),
    })
}

/// A `serve` is there, and does not take what is to be recorded.
fn unanswered(home: &Home, error: &io::Error) -> io::Error {
    let process = who_serves(home).map(|process| format!(" (process {process})"));
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.to_string(),
    };
    io::Error::other(format!(
        "`serve`{} has the audit log, and {why}: see its log, or whether it is stopped",
        process.unwrap_or_default()
    ))
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
