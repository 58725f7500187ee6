//! `sealwire-bench SCENARIO`: started by `scripts/bench`, which builds what it measures.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use sealwire_bench::setup::Setup;
use sealwire_bench::{
    Effort, Report, Result, Scenario, audit, chains, envelope, guard, link, page, run,
};

/// Where `--write` puts its page, and the figures it is made of.
const DOCS: &str = "docs";

/// Measures sealwire beside what it is compared with.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure.
    what: What,
    /// How many rounds; 7 for link, envelope and guard, 5 for chains and audit, 2 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Writes the figures of a scenario to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few and short rounds: shows that everything works, judges nothing.
    #[arg(long)]
    quick: bool,
    /// Only these cases.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    cases: Vec<String>,
    /// Keeps the figures in docs/performance/ and writes docs/performance.md anew.
    #[arg(long, conflicts_with_all = ["quick", "cases", "json"])]
    write: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// One client and one server: directly, through a plain rustls tunnel, stunnel, sealwire.
    Link,
    /// What people chain today: HTTP bridges behind stunnel or haproxy, beside sealwire.
    Chains,
    /// A message between agents: sealed and opened, beside the same cryptography alone.
    Envelope,
    /// What a decision costs, and what deciding costs a call.
    Guard,
    /// What the log of what happened costs a call.
    Audit,
    /// All of them, one after the other.
    All,
    /// Nothing: writes docs/performance.md anew from the figures kept last.
    Page,
}

type Maker = fn(Setup, &[String]) -> Result<Scenario>;

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
    let scenarios: &[(Maker, u16)] = match arguments.what {
        What::Link => &[(link::scenario, 7)],
        What::Chains => &[(chains::scenario, 5)],
        What::Envelope => &[(envelope::scenario, 7)],
        What::Guard => &[(guard::scenario, 7)],
        What::Audit => &[(audit::scenario, 5)],
        What::All => &[
            (link::scenario, 7),
            (chains::scenario, 5),
            (envelope::scenario, 7),
            (guard::scenario, 7),
            (audit::scenario, 5),
        ],
        What::Page => &[],
    };
    if scenarios.len() > 1 && (arguments.json.is_some() || !arguments.cases.is_empty()) {
        return Err("--json and --cases are for one scenario; name it instead of all".into());
    }
    let mut reports = Vec::new();
    let measured = scenarios.iter().try_for_each(|(scenario, rounds)| -> Result<()> {
        let report = measure(arguments, *scenario, *rounds)?;
        println!("{report}");
        if let Some(file) = &arguments.json {
            report.write_to(file)?;
        }
        reports.push(report);
        Ok(())
    });
    // Not before all are measured, or the later ones would be of a changed checkout; and
    // even if one of them failed, since the others were measured.
    if arguments.write {
        reports.iter().try_for_each(|report| page::keep(Path::new(DOCS), report))?;
    }
    if arguments.write || scenarios.is_empty() {
        page::write(Path::new(DOCS))?;
    }
    measured?;
    Ok(reports.iter().all(Report::holds))
}

fn measure(arguments: &Arguments, scenario: Maker, rounds: u16) -> Result<Report> {
    let (effort, rounds) =
        if arguments.quick { (Effort::QUICK, 2) } else { (Effort::FULL, rounds) };
    let rounds = usize::from(arguments.rounds.unwrap_or(rounds));
    // Held until the end: what the cases need lives in it.
    let directory = tempfile::tempdir()?;
    let mut scenario = scenario(Setup::new(directory.path().to_owned())?, &arguments.cases)?;
    run(&mut scenario, rounds, &effort, |line| eprintln!("{line}"))
}
