//! `sealwire-bench SCENARIO`: started by `scripts/bench`, which builds what it measures.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use sealwire_bench::{Effort, Result, link, run};

/// Measures sealwire beside what it is compared with.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure.
    scenario: ScenarioName,
    /// How many rounds; 7 unless --quick, then 2.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Writes the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few and short rounds: shows that everything works, judges nothing.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    cases: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScenarioName {
    /// One client and one server: directly, through a plain rustls tunnel, stunnel, sealwire.
    Link,
}

fn main() -> ExitCode {
    match bench(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<bool> {
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let rounds = arguments.rounds.map_or(if arguments.quick { 2 } else { 7 }, usize::from);
    // Held until the end: what the cases need lives in it.
    let directory = tempfile::tempdir()?;
    let mut scenario = match arguments.scenario {
        ScenarioName::Link => link::scenario(directory.path(), &arguments.cases)?,
    };
    let report = run(&mut scenario, rounds, &effort, |line| eprintln!("{line}"))?;
    println!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(report.holds())
}
