//! Whoever runs a command that changes a file agrees to it first.

use std::io::{BufRead, Write};

use crate::cli::{Failure, print};

/// How a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// On the terminal.
    Asks,
    /// `--yes`: it was said before.
    Yes,
    /// `--dry-run`: nothing is to be changed.
    DryRun,
}

impl Asked {
    /// What the options say.
    ///
    /// # Errors
    /// With `--json` nobody is asked: one of the others has to be there.
    pub(crate) fn new(yes: bool, dry_run: bool, json: bool) -> Result<Self, Failure> {
        match (yes, dry_run) {
            (_, true) => Ok(Self::DryRun),
            (true, false) => Ok(Self::Yes),
            (false, false) if json => Err(Failure::usage("with --json nobody is asked")
                .fix("say --dry-run to see what would change, or --yes to change it")),
            (false, false) => Ok(Self::Asks),
        }
    }
}

/// Whether whoever runs this agrees. An empty line is no, as the capital letter says.
///
/// # Errors
/// If nobody answers: a script that forgot `--yes` is not to take that for done.
pub(crate) fn confirmed(asked: Asked, question: &str) -> Result<bool, Failure> {
    match asked {
        Asked::Yes => return Ok(true),
        Asked::DryRun => return Ok(false),
        Asked::Asks => {}
    }
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
        assert_eq!(Asked::new(false, false, false).unwrap(), Asked::Asks);
        assert_eq!(Asked::new(true, false, true).unwrap(), Asked::Yes);
        assert_eq!(Asked::new(true, true, false).unwrap(), Asked::DryRun);
        assert!(Asked::new(false, false, true).is_err());
    }
}
