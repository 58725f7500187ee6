//! What a run found, as JSON and as a table for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::runner::Measure;
use crate::stats::Summary;

/// The findings of one run. All scenarios share this JSON schema.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`Report::SCHEMA`].
    pub schema: &'static str,
    /// Name of the scenario.
    pub scenario: &'static str,
    /// When it ended, UTC.
    pub date: String,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: Host,
    /// Program → version.
    pub versions: BTreeMap<String, String>,
    /// How many rounds.
    pub rounds: usize,
    /// Whether the rounds were long enough for the checks to count.
    pub judged: bool,
    /// All measures.
    pub measures: &'static [Measure],
    /// Raw figures and summaries.
    pub cases: Vec<CaseReport>,
    /// Cases that could not run.
    pub skipped: Vec<Skipped>,
    /// Comparisons.
    pub ratios: Vec<Ratios>,
    /// Bounds on the comparisons.
    pub checks: Vec<Check>,
}

/// One case: measure → figures.
#[derive(Debug, Serialize)]
pub struct CaseReport {
    /// Name of the case.
    pub name: &'static str,
    /// One value per round.
    pub figures: BTreeMap<&'static str, Vec<f64>>,
    /// The rounds together.
    pub summary: BTreeMap<&'static str, Summary>,
}

/// A case that could not run here.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Name of the case.
    pub case: &'static str,
    /// Why, and what to do about it.
    pub reason: String,
}

/// One measure of two cases, compared round by round.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// The case above the line.
    pub of: &'static str,
    /// The case below the line.
    pub to: &'static str,
    /// The measure.
    pub measure: &'static str,
    /// One ratio per round.
    pub per_round: Vec<f64>,
    /// The rounds together.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Whether a bound held.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Whether it did.
    pub holds: bool,
    /// The bound and what was found.
    pub what: String,
    /// What it means if it does not hold.
    pub otherwise: &'static str,
}

/// The machine a run was made on.
#[derive(Debug, Serialize)]
pub struct Host {
    /// Model name of the processor.
    pub cpu: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Operating system, kernel and architecture.
    pub kernel: String,
    /// Share of the processors' time (0.0–1.0) that others took between the cases;
    /// `None` where the system does not tell.
    pub busy: Option<f64>,
}

impl Report {
    /// Changes when a member changes its meaning or goes away.
    pub const SCHEMA: &'static str = "sealwire-bench/1";

    /// Whether all checks hold, or the run was too short to judge them.
    pub fn holds(&self) -> bool {
        !self.judged || self.checks.iter().all(|check| check.holds)
    }
}

impl Host {
    /// More than this share of others' work shows in the figures.
    const TOO_BUSY: f64 = 0.05;

    /// The machine this runs on; `busy` as found by [`Host::busy_for`].
    pub fn this(busy: Option<f64>) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().into())
            })
            .unwrap_or_else(|| "unknown".to_owned());
        Self {
            cpu: model,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: format!(
                "{} {} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim(),
                std::env::consts::ARCH
            ),
            busy,
        }
    }

    /// Share of the processors' time that is used during `period`, while this
    /// process does nothing.
    pub fn busy_for(period: Duration) -> Option<f64> {
        // user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
        let times = || -> Option<(u64, u64)> {
            let stat = std::fs::read_to_string("/proc/stat").ok()?;
            let line = stat.lines().next()?.strip_prefix("cpu ")?;
            let times: Vec<u64> = line.split_whitespace().map_while(|t| t.parse().ok()).collect();
            let times = times.get(..8)?;
            Some((times.iter().sum(), times[3] + times[4]))
        };
        let (total, idle) = times()?;
        std::thread::sleep(period);
        let (total_then, idle_then) = times()?;
        let (total, idle) = (total_then - total, idle_then.saturating_sub(idle));
        (total > 0).then(|| total.saturating_sub(idle) as f64 / total as f64)
    }

    /// A warning if figures taken now would be those of a busy machine.
    pub fn warning(&self) -> Option<String> {
        let busy = self.busy.filter(|busy| *busy > Self::TOO_BUSY)?;
        Some(format!(
            "others took {:.0} % of the processors meanwhile; figures and spread are not to be relied on",
            busy * 100.0
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { cpu, cores, kernel, .. } = &self.host;
        writeln!(f, "{}: {} rounds on {cpu}, {cores} cores, {kernel}", self.scenario, self.rounds)?;
        for (program, version) in &self.versions {
            writeln!(f, "  {program}: {version}")?;
        }
        writeln!(f, "\nmedian of the rounds (spread = (max − min) / median)")?;
        for measure in self.measures {
            let better = if measure.higher_is_better { "more" } else { "less" };
            writeln!(f, "  {} [{}, {better} is better]", measure.name, measure.unit)?;
            for case in &self.cases {
                if let Some(summary) = case.summary.get(measure.name) {
                    row(f, case.name, summary)?;
                }
            }
        }
        if !self.ratios.is_empty() {
            writeln!(f, "\nratios, each taken within a round")?;
        }
        for (index, ratio) in self.ratios.iter().enumerate() {
            if index == 0 || self.ratios[index - 1].measure != ratio.measure {
                writeln!(f, "  {}", ratio.measure)?;
            }
            row(f, &format!("{}/{}", ratio.of, ratio.to), &ratio.summary)?;
        }
        for skipped in &self.skipped {
            writeln!(f, "\nSKIPPED {}: {}", skipped.case, skipped.reason)?;
        }
        if let Some(warning) = self.host.warning() {
            writeln!(f, "\nNOISY: {warning}")?;
        }
        for check in &self.checks {
            match (check.holds, self.judged) {
                (true, _) => writeln!(f, "ok      {}", check.what)?,
                (false, true) => writeln!(f, "FAILED  {}: {}", check.what, check.otherwise)?,
                (false, false) => writeln!(f, "(quick) {}: not judged", check.what)?,
            }
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, summary: &Summary) -> fmt::Result {
    let Summary { median, min, max, spread } = *summary;
    // Figures from ratios near one to hundreds of thousands share one column.
    let digits = if max >= 1000.0 {
        0
    } else if max >= 20.0 {
        1
    } else {
        3
    };
    writeln!(
        f,
        "    {name:<16} {median:>12.digits$}   {min:>12.digits$} to {max:<12.digits$} spread {:.0} %",
        spread * 100.0
    )
}
