//! What a run found, as JSON and as a table for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::host::Host;
use crate::runner::Measure;
use crate::stats::Summary;

/// A text of this program, or the same read back from a report.
pub type Text = Cow<'static, str>;

/// The findings of one run. All scenarios share this JSON schema.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`Report::SCHEMA`].
    pub schema: Text,
    /// Name of the scenario.
    pub scenario: Text,
    /// What it compares.
    #[serde(default)]
    pub about: Text,
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
    pub measures: Vec<Measure>,
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
#[derive(Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// Name of the case.
    pub name: Text,
    /// What it is, in a few words.
    #[serde(default)]
    pub about: Text,
    /// One value per round.
    pub figures: BTreeMap<Text, Vec<f64>>,
    /// The rounds together.
    pub summary: BTreeMap<Text, Summary>,
    /// Measures without figures because what they ask for fails: the reason.
    #[serde(default)]
    pub fails: BTreeMap<Text, String>,
}

/// A case that could not run here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Name of the case.
    pub case: Text,
    /// Why, and what to do about it.
    pub reason: String,
}

/// One measure of two cases, compared round by round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ratios {
    /// The case above the line.
    pub of: Text,
    /// The case below the line.
    pub to: Text,
    /// The measure.
    pub measure: Text,
    /// One ratio per round.
    pub per_round: Vec<f64>,
    /// The rounds together.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Whether a bound held.
#[derive(Debug, Serialize, Deserialize)]
pub struct Check {
    /// Whether it did.
    pub holds: bool,
    /// The bound and what was found.
    pub what: String,
    /// What is bounded: a case or two, and the measure.
    #[serde(default)]
    pub subject: String,
    /// The bound.
    #[serde(default)]
    pub asked: String,
    /// The median found; `None` if there is none.
    #[serde(default)]
    pub found: Option<f64>,
    /// What it means if it does not hold.
    pub otherwise: Text,
}

impl Report {
    /// Changes when a member changes its meaning or goes away.
    pub const SCHEMA: &'static str = "sealwire-bench/1";

    /// Writes it as JSON.
    ///
    /// # Errors
    /// If the file cannot be written, naming it.
    pub fn write_to(&self, file: &Path) -> Result<()> {
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")
            .map_err(|error| format!("cannot write {}: {error}", file.display()).into())
    }

    /// Reads what [`Report::write_to`] wrote.
    ///
    /// # Errors
    /// If there is no such file or it is something else, naming it.
    pub fn read_from(file: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let report: Self = serde_json::from_str(&fs::read_to_string(file)?)?;
            if report.schema != Self::SCHEMA {
                return Err(format!("schema {}, not {}", report.schema, Self::SCHEMA).into());
            }
            Ok(report)
        };
        read().map_err(|error| format!("cannot read {}: {error}", file.display()).into())
    }

    /// Whether all cases ran and all checks hold, or the run was too short to judge them.
    pub fn holds(&self) -> bool {
        let ran = self.skipped.is_empty();
        !self.judged || (ran && self.checks.iter().all(|check| check.holds))
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
        for measure in &self.measures {
            let Measure { name, unit, about, .. } = measure;
            writeln!(f, "  {name} [{unit}, {} is better]: {about}", measure.better())?;
            for case in &self.cases {
                if let Some(summary) = case.summary.get(name) {
                    row(f, &case.name, summary)?;
                }
                if let Some(reason) = case.fails.get(name) {
                    writeln!(f, "    {:<22} fails: {reason}", case.name)?;
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

/// Digits after the point that make sense for figures of up to `max`: those from
/// ratios near one to hundreds of thousands share one column.
pub(crate) fn digits(max: f64) -> usize {
    if max >= 1000.0 {
        0
    } else if max >= 20.0 {
        1
    } else {
        3
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, summary: &Summary) -> fmt::Result {
    let Summary { median, min, max, spread } = *summary;
    let digits = digits(max);
    writeln!(
        f,
        "    {name:<22} {median:>12.digits$}   {min:>12.digits$} to {max:<12.digits$} spread {:.0} %",
        spread * 100.0
    )
}
