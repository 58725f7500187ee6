//! Whoever runs a command that changes a file agrees to it first.

use std::io::{BufRead, Write};

use clap::Args;
use serde_json::Value;

use crate::cli::{Failure, print, print_json};

/// How a command that changes files asks.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON; with --dry-run or --yes
    #[arg(long)]
    json: bool,
}

/// What would be done.
#[derive(Default)]
pub(crate) struct Proposal {
    /// For people.
    pub(crate) shown: String,
    /// Why it is not even asked.
    pub(crate) obstacle: Option<Failure>,
    /// What is said where there is nothing to do.
    pub(crate) idle: Option<String>,
    /// What is asked.
    pub(crate) question: String,
}

impl Consent {
    /// Sees that somebody can agree, before anything is looked at.
    ///
    /// # Errors
    /// With `--json` nobody is asked: one of the others has to be there.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.json && !self.yes && !self.dry_run {
            return Err(Failure::usage("with --json nobody is asked")
                .fix("say --dry-run to see what would change, or --yes to change it"));
        }
        Ok(())
    }

    /// Shows what would be done, asks, does it, and tells what was done, if it was: `told` for
    /// people, `json` for programs.
    ///
    /// # Errors
    /// If it cannot be done, or nobody answers.
    pub(crate) fn settle<T>(
        self,
        proposal: Proposal,
        act: impl FnOnce() -> Result<T, Failure>,
        json: impl FnOnce(Option<&T>) -> Value,
        told: impl FnOnce(Option<&T>) -> String,
    ) -> Result<Option<T>, Failure> {
        let Proposal { shown, obstacle, idle, question } = proposal;
        if !self.json {
            print(&shown)?;
        }
        if let Some(failure) = obstacle {
            return Err(failure);
        }
        if let Some(idle) = idle.as_ref().filter(|_| !self.json) {
            print(idle)?;
            return Ok(None);
        }
        let done = match idle.is_none() && self.is_given(&question)? {
            true => Some(act()?),
            false => None,
        };
        match self.json {
            true => print_json(&json(done.as_ref()))?,
            false => print(&told(done.as_ref()))?,
        }
        Ok(done)
    }

    /// Whether whoever runs this agrees.
    fn is_given(self, question: &str) -> Result<bool, Failure> {
        if self.yes || self.dry_run { Ok(!self.dry_run) } else { confirmed(question) }
    }
}

/// Whether whoever is at the terminal agrees. An empty line is no, as the capital letter says.
///
/// # Errors
/// If nobody answers: a script that forgot `--yes` is not to take that for done.
fn confirmed(question: &str) -> Result<bool, Failure> {
    let nobody = |why: &dyn std::fmt::Display| {
        Failure::new("nothing was changed: nobody has answered")
            .because(why)
            .fix("say --yes, or --dry-run to see what would change")
    };
    print(&format!("{question} [y/N] "))?;
    std::io::stdout().flush().map_err(|error| nobody(&error))?;
    let mut answer = String::new();
    let length = std::io::stdin().lock().read_line(&mut answer).map_err(|error| nobody(&error))?;
    if length == 0 {
        print("\n")?;
        return Err(nobody(&"standard input has ended"));
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_who_is_asked() {
        let consent = |yes, dry_run, json| Consent { dry_run, yes, json };
        assert!(consent(false, false, true).check().is_err());
        for (yes, dry_run) in [(true, false), (false, true), (true, true)] {
            assert!(consent(yes, dry_run, true).check().is_ok());
            assert_eq!(consent(yes, dry_run, true).is_given("?").unwrap(), !dry_run);
        }
        assert!(consent(false, false, false).check().is_ok());
    }
}
