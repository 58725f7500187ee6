#![forbid(unsafe_code)]
//! `sealwire-fake-server [--record FILE] [--verify-order]`: the cheap MCP server
//! of `sealwire_testkit::fake_server` over stdio.

use std::io;
use std::process::ExitCode;

use sealwire_testkit::fake_server::{Options, serve};

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--record") => match arguments.next() {
                Some(file) => options.record = Some(file.into()),
                None => return usage("--record wants a file"),
            },
            Some("--verify-order") => options.verify_order = true,
            _ => return usage(&format!("unknown option {}", argument.display())),
        }
    }
    match serve(io::stdin().lock(), io::stdout().lock(), &options) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started this has gone away; there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}\nusage: sealwire-fake-server [--record FILE] [--verify-order]");
    ExitCode::from(2)
}
