//! Scenario `link`: one client, one server, and what can be put between them.
//!
//! | case | client ↔ | ↔ server |
//! |---|---|---|
//! | `direct` | pipes | |
//! | `floor` | [plain rustls tunnel](crate::tunnel) | the same |
//! | `stunnel` | `stunnel`, started as from inetd | `stunnel`, which starts the server |
//! | `sealwire` | `sealwire connect` | `sealwire serve` |

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::certificates::Certificates;
use crate::process::{self, Background, Launch, sibling};
use crate::requests::Requests;
use crate::session::Session;
use crate::stats;
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario, Skipped};

mod sealwire;
mod stunnel;

const MEASURES: &[Measure] = &[
    measure("calls_per_s_16", "1/s", true),
    measure("calls_per_s_64", "1/s", true),
    measure("sequential_p50", "µs", false),
    measure("sequential_p99", "µs", false),
    measure("large_results", "MB/s", true),
    measure("connect_initialize", "ms", false),
    measure("connect_pss", "MB", false),
];

const OVER_FLOOR: Ratio = Ratio { of: "sealwire", to: "floor" };
const FLOOR_OVER_STUNNEL: Ratio = Ratio { of: "floor", to: "stunnel" };

const LIMITS: &[Limit] = &[
    Limit {
        ratio: FLOOR_OVER_STUNNEL,
        measure: "calls_per_s_64",
        at_least: 0.9,
        at_most: f64::INFINITY,
        otherwise: "THE FLOOR IS VOID: a plain tunnel must not be slower than stunnel's, \
                    so sealwire/floor says nothing in this run",
    },
    at_least_half("calls_per_s_16"),
    at_least_half("calls_per_s_64"),
];

/// Bytes of a large result, and how many are in flight.
const LARGE: (usize, usize) = (1 << 20, 4);

/// The scenario; files go to `directory`. With `only`, no other cases.
///
/// # Errors
/// If a program cannot be started or `only` names an unknown case.
pub fn scenario(directory: &Path, only: &[String]) -> Result<Scenario> {
    const CASES: [&str; 4] = ["direct", "floor", "stunnel", "sealwire"];
    if let Some(unknown) = only.iter().find(|name| !CASES.contains(&name.as_str())) {
        return Err(format!("unknown case {unknown}; there are {}", CASES.join(", ")).into());
    }
    let certificates = Certificates::create(directory)?;
    let mut versions = BTreeMap::new();
    if let Ok(commit) =
        process::output(Command::new("git").args(["describe", "--always", "--dirty"]))
    {
        versions.insert("commit".to_owned(), commit.trim().to_owned());
    }
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    let mut skipped = Vec::new();
    for name in CASES.into_iter().filter(|name| only.is_empty() || only.iter().any(|o| o == name)) {
        let case = match name {
            "direct" => direct(directory)?,
            "floor" => floor(directory, &certificates)?,
            "sealwire" => sealwire::case(directory, &mut versions)?,
            _ => match stunnel::case(directory, &certificates, &mut versions)? {
                Some(case) => case,
                None => {
                    let reason = "stunnel is not installed (apt install stunnel4); nothing proves the floor in this run".to_owned();
                    skipped.push(Skipped { case: name, reason });
                    continue;
                }
            },
        };
        cases.push(Box::new(case));
    }
    let ratios = &[OVER_FLOOR, FLOOR_OVER_STUNNEL];
    Ok(Scenario {
        name: "link",
        measures: MEASURES,
        cases,
        skipped,
        ratios,
        limits: LIMITS,
        versions,
    })
}

/// One way to reach the server: what a client starts, and what must run meanwhile.
struct LinkCase {
    name: &'static str,
    connect: Launch,
    /// Runs as long as the case exists; `direct` needs none.
    serve: Option<Background>,
}

impl Case for LinkCase {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut starts = Vec::new();
        for _ in 0..effort.connects {
            let (session, elapsed) = Session::start(&self.connect)?;
            starts.push(elapsed.as_secs_f64() * 1e3);
            session.finish()?;
        }
        let (mut session, _) = Session::start(&self.connect)?;
        session.check_answers()?;
        let mut load = |requests, in_flight| {
            let warm_up: Duration = effort.warm_up;
            session.load(requests, in_flight, warm_up, effort.load)
        };
        let at_16 = load(Requests::small(16), 16)?.calls_per_s;
        let at_64 = load(Requests::small(64), 64)?.calls_per_s;
        let large = load(Requests::large(LARGE.0, LARGE.1), LARGE.1)?.mb_per_s;
        let sequential = session.sequential(Requests::small(1), effort.sequential_calls)?;
        let memory = session.pss_mb().filter(|_| self.serve.is_some());
        session.finish()?;
        let figures = [
            ("calls_per_s_16", Some(at_16)),
            ("calls_per_s_64", Some(at_64)),
            ("sequential_p50", stats::percentile(&sequential, 0.5)),
            ("sequential_p99", stats::percentile(&sequential, 0.99)),
            ("large_results", Some(large)),
            ("connect_initialize", stats::median(&starts)),
            ("connect_pss", memory),
        ];
        Ok(figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

fn direct(directory: &Path) -> Result<LinkCase> {
    let [program, options] = server()?;
    let connect = Launch::new(program, directory.join("direct.log")).args([options]);
    Ok(LinkCase { name: "direct", connect, serve: None })
}

fn floor(directory: &Path, certificates: &Certificates) -> Result<LinkCase> {
    let program = sibling("sealwire-floor")?;
    let Certificates { ca, server: own, client } = certificates;
    let mut serve = Launch::new(&program, directory.join("floor-serve.log"))
        .args(["serve".as_ref(), ca.as_os_str(), own.cert.as_os_str(), own.key.as_os_str()])
        .args(server()?)
        .background()?;
    let address = serve.wait_for_address()?;
    let connect = Launch::new(program, directory.join("floor-connect.log"))
        .args(["connect".as_ref(), ca.as_os_str(), client.cert.as_os_str(), client.key.as_os_str()])
        .args([address.to_string()]);
    Ok(LinkCase { name: "floor", connect, serve: Some(serve) })
}

/// The server that all cases reach, as program and option.
fn server() -> Result<[String; 2]> {
    let program = sibling("sealwire-fake-server")?;
    let program = program.to_str().ok_or("the build directory's name is not UTF-8")?;
    Ok([program.to_owned(), "--verify-order".to_owned()])
}

const fn measure(name: &'static str, unit: &'static str, higher_is_better: bool) -> Measure {
    Measure { name, unit, higher_is_better }
}

const fn at_least_half(measure: &'static str) -> Limit {
    let otherwise = "sealwire costs more than half of what a plain tunnel carries";
    Limit { ratio: OVER_FLOOR, measure, at_least: 0.5, at_most: f64::INFINITY, otherwise }
}
