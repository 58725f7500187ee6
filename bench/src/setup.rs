//! What the cases of a scenario are made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::certificates::Certificates;
use crate::process::{self, sibling};
use crate::report::Skipped;
use crate::{Case, Result};

/// Where cases put their files, and what they share.
pub struct Setup {
    /// Files of all cases.
    pub directory: PathBuf,
    /// For the tunnels that sealwire is compared with.
    pub certificates: Certificates,
    /// Versions of the programs that take part.
    pub versions: BTreeMap<String, String>,
}

/// A case; or, as the inner error, why it cannot run on this machine and what to do
/// about it.
pub type Found<T = Box<dyn Case>> = std::result::Result<T, String>;

/// Cases in the order they first take their turns in.
pub type Cases = Vec<Box<dyn Case>>;

/// A name and what makes the case.
pub type Maker = (&'static str, fn(&mut Setup) -> Result<Found>);

impl Setup {
    /// Files go to `directory`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(directory: PathBuf) -> Result<Self> {
        let mut versions = BTreeMap::new();
        let mut describe = Command::new("git");
        if let Ok(commit) = process::output(describe.args(["describe", "--always", "--dirty"])) {
            versions.insert("commit".to_owned(), commit.trim().to_owned());
        }
        Ok(Self { certificates: Certificates::create(&directory)?, directory, versions })
    }

    /// A file of a case.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes all cases; with `only`, no others.
    ///
    /// # Errors
    /// If a program cannot be started or `only` names an unknown case.
    pub fn cases(&mut self, makers: &[Maker], only: &[String]) -> Result<(Cases, Vec<Skipped>)> {
        let names: Vec<_> = makers.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(format!("unknown case {unknown}; there are {}", names.join(", ")).into());
        }
        let (mut cases, mut skipped) = (Vec::new(), Vec::new());
        for (name, make) in makers {
            if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
                continue;
            }
            match make(self).map_err(|error| format!("case {name}: {error}"))? {
                Ok(case) => cases.push(case),
                Err(reason) => skipped.push(Skipped { case: (*name).into(), reason }),
            }
        }
        Ok((cases, skipped))
    }
}

/// The server that all cases reach, as program and option.
///
/// # Errors
/// If it is not built.
pub fn server() -> Result<[String; 2]> {
    let program = sibling("sealwire-fake-server")?;
    let program = program.to_str().ok_or("the build directory's name is not UTF-8")?;
    Ok([program.to_owned(), "--verify-order".to_owned()])
}
