//! Where `scripts/bench` puts the programs of chains that come from npm and PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::process::{Launch, output};
use crate::setup::{Found, Setup};

/// An installed program.
pub(super) enum Tool {
    /// A package from npm, whose command has its name.
    Npm(&'static str),
    /// A package from PyPI, whose command has its name.
    PyPi(&'static str),
}

impl Tool {
    /// Looks for it, and notes its version.
    ///
    /// # Errors
    /// If it is there and does not tell its version.
    pub(super) fn find(&self, setup: &mut Setup, log: &str) -> Result<Found<Launch>> {
        let tools = directory()?;
        let (name, program) = match self {
            Self::Npm(name) => (name, tools.join("bench-node/node_modules/.bin").join(name)),
            Self::PyPi(name) => (name, tools.join("bench-venv/bin").join(name)),
        };
        if !program.exists() {
            return Ok(Err(format!("{name} is not installed; scripts/bench installs it")));
        }
        let (origin, version, runtime) = match self {
            Self::Npm(_) => {
                let package = tools.join("bench-node/node_modules").join(name).join("package.json");
                ("npm", package_version(&package)?, PathBuf::from("node"))
            }
            Self::PyPi(_) => {
                let version = output(Command::new(&program).arg("--version"))?;
                let version = version.split_whitespace().last().unwrap_or_default().to_owned();
                ("PyPI", version, program.with_file_name("python"))
            }
        };
        setup.versions.insert(format!("{name} ({origin})"), version);
        let running = output(Command::new(&runtime).arg("--version"))?;
        let runtime = runtime.file_name().unwrap_or_default().display().to_string();
        setup.versions.insert(runtime, running.trim().to_owned());
        // mcp-remote keeps files in its home; the others have none. What node's servers
        // tell of an error is what they tell in production.
        let launch = Launch::new(program, setup.file(log))
            .env("HOME", &setup.directory)
            .env("NODE_ENV", "production");
        Ok(Ok(launch))
    }
}

/// `tools` beside the directory that this program was built into.
fn directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("no build directory")?;
    Ok(target.join("tools"))
}

fn package_version(file: &Path) -> Result<String> {
    let package: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let version = package["version"].as_str();
    Ok(version.ok_or_else(|| format!("{} has no version", file.display()))?.to_owned())
}
