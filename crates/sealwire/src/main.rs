//! The `sealwire` command.
#![forbid(unsafe_code)]

mod cli;
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
