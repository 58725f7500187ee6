//! `sealwire doctor`: what is wrong, weak or about to be, and what to do about it.
//!
//! Each area is a file. None stops at its first finding, and none changes anything.

mod agents;
mod alerts;
mod authorities;
mod certificates;
mod endpoints;
mod evidence;
mod finding;
mod home;
mod listeners;
mod progress;
mod remedies;
mod report;
mod revocations;
mod servers;
mod settings;
mod unused;
mod validity;
mod weak;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::config::{SecureMcpConfig, ServerEntry, parse_duration};
use sealwire_names::Timestamp;

use super::{due, signals};
use crate::cli::{Context, Failure, print, print_json};
use finding::{Finding, Id, Severity};
use report::Report;

/// Find out what is wrong, and what to do about it
///
/// Looks at the home, the configuration, certificates and keys, starts each server that is
/// served here, and reaches each that is connected to, as `serve` and `connect` would. It
/// goes on after what it finds, and changes nothing. Notes and warnings do not fail it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire doctor
  sealwire doctor github --timeout 60s
  sealwire doctor --offline --strict           in a script: files and settings alone
  sealwire doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .remedy'

docs/doctor.md lists all findings. Exit codes: 0 no error, 1 errors found, 2 wrong usage.")]
pub(crate) struct Arguments {
    /// The servers to look at [default: all of the configuration]
    names: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Start no server, connect to nothing and bind nothing
    #[arg(long)]
    offline: bool,
    /// Fail on warnings, too
    #[arg(long)]
    strict: bool,
    /// Longest wait for each answer of a server
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What a configuration without servers needs.
const EXAMPLE: &str = "add a table: [mcp_servers.demo] with command = \"sealwire\", \
                       args = [\"demo-server\"], default_level = 1";

/// What is looked at, and how.
struct Case<'a> {
    context: &'a Context,
    /// The configuration as far as it is understood; `None` if it is not.
    config: Option<SecureMcpConfig>,
    /// Where each of its servers is written.
    places: BTreeMap<String, (PathBuf, usize)>,
    /// The entries asked for; all if there are none.
    names: &'a [String],
    /// How long to wait for each answer.
    patience: Duration,
    now: Timestamp,
}

impl Case<'_> {
    /// The entries to look at.
    fn entries(&self) -> impl Iterator<Item = &ServerEntry> {
        let all = self.config.iter().flat_map(|config| config.servers.values());
        all.filter(|entry| self.names.is_empty() || self.names.contains(&entry.name))
    }

    /// Where the configuration has an entry.
    fn table(&self, entry: &ServerEntry) -> String {
        let table = format!("[mcp_servers.{}]", entry.name);
        match self.places.get(&entry.name) {
            Some((file, line)) => format!("{}:{line} {table}", file.display()),
            None => format!("{} {table}", self.context.config_file.display()),
        }
    }

    /// A command of this program for this home, to be pasted into a shell.
    fn sealwire(&self, rest: &str) -> String {
        format!("{} {rest}", self.context.invocation)
    }
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let mut report = Report::default();
    let mut case = Case {
        context,
        config: None,
        places: BTreeMap::new(),
        names: &arguments.names,
        patience: arguments.timeout,
        now: SystemTime::now().into(),
    };
    home::examine(&case, &mut report);
    configuration(&mut case, &mut report)?;
    certificates::examine(&case, &mut report);
    revocations::examine(&case, &mut report);
    agents::examine(&case, &mut report);
    let mark = report.mark();
    settings::examine(&case, &mut report);
    weak::examine(&case, &mut report);
    if case.config.is_some() && report.mark() == mark {
        report.passed("no setting is weak", context.config_file.display());
    }
    unused::examine(&case, &mut report);
    alerts::examine(&case, &mut report);
    servers::examine(&case, &mut report);
    if !arguments.offline {
        evidence::examine(&case, &mut report);
        online(&case, &mut report)?;
    }

    let home = case.config.as_ref().map_or_else(|| context.home.clone(), SecureMcpConfig::layout);
    report.is_due(due::all(&home, case.config.as_ref(), &context.invocation, case.now));

    if arguments.json {
        let (home, config) = (context.home.root(), &context.config_file);
        print_json(&report.json(home, config, &case.now.to_string()))?;
    } else {
        print(&report.text())?;
    }
    let errors = report.count(Severity::Error);
    let warnings = if arguments.strict { report.count(Severity::Warning) } else { 0 };
    if errors + warnings == 0 {
        return Ok(());
    }
    let failure = Failure::new(format!("found {}", report.summary()));
    Err(failure.at(context.home.root().display()).fix("as each line of the result says"))
}

/// The configuration, and what is wrong with it.
fn configuration(case: &mut Case<'_>, report: &mut Report) -> Result<(), Failure> {
    let (home, file) = (&case.context.home, &case.context.config_file);
    if !home.root().exists() && *file == home.config_file() {
        // That the home is missing says it all.
        return Ok(());
    }
    let examined = match SecureMcpConfig::examine(home.root(), file) {
        Ok(examined) => examined,
        Err(error) => {
            for problem in error.problems() {
                let found = Finding::error(Id::ConfigMissing, problem.statement());
                let found = found.at(problem.place());
                report.found(if file.exists() {
                    found.fix(problem.remedy.as_str())
                } else {
                    found.run(case.sealwire("init"))
                });
            }
            return Ok(());
        }
    };
    for problem in &examined.problems {
        let found = Finding::error(Id::ConfigInvalid, problem.statement());
        report.found(found.at(problem.place()).fix(problem.remedy.as_str()));
    }
    for problem in &examined.without_match {
        let found = Finding::warning(Id::IncludeEmpty, problem.statement());
        report.found(found.at(problem.place()).fix(problem.remedy.as_str()));
    }
    if let Some(config) = examined.config.as_ref().filter(|_| examined.problems.is_empty()) {
        report.passed("the configuration is valid", file.display());
        check_names(case, config)?;
        if config.servers.is_empty() {
            report.found(
                Finding::note(Id::NoServers, "nothing is served and nothing connected to")
                    .at(file.display())
                    .fix(EXAMPLE),
            );
        }
    }
    case.config = examined.config.map(|config| case.context.with_credentials(config));
    case.places = examined.places;
    Ok(())
}

/// A name that is no entry's is wrong usage: nothing would be looked at.
fn check_names(case: &Case<'_>, config: &SecureMcpConfig) -> Result<(), Failure> {
    let asked: BTreeSet<&String> = case.names.iter().collect();
    match asked.into_iter().find(|name| !config.servers.contains_key(*name)) {
        None => Ok(()),
        Some(unknown) => {
            let known: Vec<&str> = config.servers.keys().map(String::as_str).collect();
            Err(Failure::usage(format!("no server {unknown:?} is configured"))
                .at(case.context.config_file.display())
                .fix(format!("name one of: {}", known.join(", "))))
        }
    }
}

/// What takes other programs and the network, side by side.
fn online(case: &Case<'_>, report: &mut Report) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let found = runtime.block_on(async {
        // A server that is being tried ends with us, however we end.
        let stop = signals::stop()?;
        let mut checks = progress::Checks::default();
        servers::start_all(case, report, &mut checks);
        listeners::check_all(case, report, &mut checks);
        endpoints::reach_all(case, report, &mut checks);
        alerts::reach_all(case, &mut checks);
        tokio::select! {
            found = checks.run() => Ok(found),
            () = stop => Err(Failure::new("stopped before all was looked at")),
        }
    });
    // A name service that does not answer must not keep us.
    runtime.shutdown_background();
    report.append(found?);
    Ok(())
}
