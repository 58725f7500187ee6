//! The `sealwire` command.
#![forbid(unsafe_code)]

mod admin;
mod alerts;
mod cli;
mod clients;
mod commands;
mod control;
mod joining;
mod notify;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
