//! Scenarios, cases, and the rounds they are measured in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::limit::Limit;
use crate::report::{CaseReport, Ratios, Report, Skipped, Text};
use crate::stats::Summary;
use crate::{Error, Result};

/// How long to look, before each case, at what others do on the machine.
const LOOK: Duration = Duration::from_millis(100);

/// What one case measured in one round.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Measure name → value in its unit.
    pub values: BTreeMap<&'static str, f64>,
    /// Measure name → why this case cannot do what it asks for. Not for errors: only
    /// for what programs that are compared with are known to refuse.
    pub fails: BTreeMap<&'static str, String>,
}

impl Figures {
    /// Adds a figure, if the machine could tell it.
    pub fn insert(&mut self, measure: &'static str, value: impl Into<Option<f64>>) {
        self.values.extend(value.into().map(|value| (measure, value)));
    }

    /// Notes why there is none. Of what a program answered, which may be a page of
    /// HTML, the words are kept, and no more than a table has room for.
    pub fn fail(&mut self, measure: &'static str, answer: &str) {
        let mut words = String::new();
        for part in answer.split('<') {
            // All but the first begin with a tag.
            let text = part.split_once('>').map_or(part, |(_, text)| text);
            words.extend(text.split_whitespace().flat_map(|word| [" ", word]));
        }
        self.fails.insert(measure, words.trim().chars().take(120).collect());
    }
}

/// One way to do a scenario's work.
pub trait Case {
    /// Short and unique in the scenario.
    fn name(&self) -> &'static str;

    /// What it is, in a few words.
    fn about(&self) -> &'static str;

    /// Measures everything once.
    ///
    /// # Errors
    /// If anything fails, a wrong answer included: a figure for work that was not
    /// done is worse than none.
    fn round(&mut self, effort: &Effort) -> Result<Figures>;
}

/// A kind of figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// Name in JSON.
    pub name: Text,
    /// Unit of its values.
    pub unit: Text,
    /// Whether a larger value is the better one.
    pub higher_is_better: bool,
    /// What it says, in a few words.
    #[serde(default)]
    pub about: Text,
}

impl Measure {
    /// A measure of which more is better.
    pub const fn more(name: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self::new(name, unit, about, true)
    }

    /// A measure of which less is better.
    pub const fn less(name: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self::new(name, unit, about, false)
    }

    /// In words, which way is the better one.
    pub fn better(&self) -> &'static str {
        if self.higher_is_better { "more" } else { "less" }
    }

    const fn new(
        name: &'static str,
        unit: &'static str,
        about: &'static str,
        higher_is_better: bool,
    ) -> Self {
        let [name, unit, about] =
            [Text::Borrowed(name), Text::Borrowed(unit), Text::Borrowed(about)];
        Self { name, unit, higher_is_better, about }
    }
}

/// A comparison between two cases, made for every measure both have.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The case above the line.
    pub of: &'static str,
    /// The case below the line.
    pub to: &'static str,
}

/// Cases to compare, and what is asked of them.
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// What it compares, in a few words.
    pub about: &'static str,
    /// All measures, in the order of the table.
    pub measures: Vec<Measure>,
    /// What is measured.
    pub cases: Vec<Box<dyn Case>>,
    /// Cases that cannot run on this machine, with the reason.
    pub skipped: Vec<Skipped>,
    /// Comparisons.
    pub ratios: Vec<Ratio>,
    /// Bounds on them, and on figures.
    pub limits: Vec<Limit>,
    /// Versions of the programs measured.
    pub versions: BTreeMap<String, String>,
}

/// How much work a round is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Time under load that is not measured, before each measured one.
    pub warm_up: Duration,
    /// Measured time of each load.
    pub load: Duration,
    /// Calls made one after the other for the latency figures.
    pub sequential_calls: usize,
    /// Starts of the connecting program, at least one.
    pub connects: usize,
    /// Whether it is enough work for the limits to be judged.
    pub judged: bool,
}

impl Effort {
    /// What figures are published from.
    pub const FULL: Self = Self {
        warm_up: Duration::from_millis(200),
        load: Duration::from_secs(1),
        sequential_calls: 3000,
        connects: 5,
        judged: true,
    };

    /// Enough to show that everything works; its figures say little.
    pub const QUICK: Self = Self {
        warm_up: Duration::from_millis(20),
        load: Duration::from_millis(100),
        sequential_calls: 100,
        connects: 1,
        judged: false,
    };

    /// For a case that is about a hundred times slower than the others: the same time
    /// under load, fewer calls where each is waited for, and twice the time to warm up.
    #[must_use]
    pub fn for_slow(self) -> Self {
        Self {
            warm_up: self.warm_up * 2,
            sequential_calls: (self.sequential_calls / 15).max(20),
            connects: 1,
            ..self
        }
    }
}

/// Measures all cases of `scenario` in `rounds` interleaved rounds, each starting
/// with another case. `progress` is told what happens.
///
/// # Errors
/// The first failure of a case, with its name and round.
pub fn run(
    scenario: &mut Scenario,
    rounds: usize,
    effort: &Effort,
    mut progress: impl FnMut(&str),
) -> Result<Report> {
    let count = scenario.cases.len();
    let mut measured: Vec<Vec<Figures>> = vec![Vec::new(); count];
    let mut busy = Vec::new();
    for round in 0..rounds {
        for position in 0..count {
            let index = (round + position) % count;
            let case = &mut scenario.cases[index];
            let name = case.name();
            busy.extend(Host::busy_for(LOOK));
            progress(&format!("round {}/{rounds}: {name}", round + 1));
            let figures = case.round(effort).map_err(|error| -> Error {
                format!("case {name}, round {}: {error}", round + 1).into()
            })?;
            measured[index].push(figures);
        }
    }
    let busy = (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64);
    Ok(report(scenario, Host::this(busy), rounds, effort, &measured))
}

fn report(
    scenario: &Scenario,
    host: Host,
    rounds: usize,
    effort: &Effort,
    measured: &[Vec<Figures>],
) -> Report {
    let cases: Vec<_> = scenario
        .cases
        .iter()
        .zip(measured)
        .map(|(case, rounds)| case_report(case.as_ref(), rounds, &scenario.measures))
        .collect();
    let ratios: Vec<_> = scenario
        .measures
        .iter()
        .flat_map(|measure| scenario.ratios.iter().map(move |ratio| (measure, ratio)))
        .filter_map(|(measure, ratio)| compare(&cases, *ratio, &measure.name))
        .collect();
    let checks = scenario.limits.iter().filter_map(|limit| limit.check(&cases, &ratios)).collect();
    Report {
        schema: Report::SCHEMA.into(),
        scenario: scenario.name.into(),
        about: scenario.about.into(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command: ["scripts/bench".to_owned()].into_iter().chain(std::env::args().skip(1)).collect(),
        host,
        versions: scenario.versions.clone(),
        rounds,
        judged: effort.judged,
        measures: scenario.measures.clone(),
        cases,
        skipped: scenario.skipped.clone(),
        ratios,
        checks,
    }
}

fn case_report(case: &dyn Case, rounds: &[Figures], measures: &[Measure]) -> CaseReport {
    let values = |name: &Text| -> Vec<f64> {
        rounds.iter().filter_map(|round| round.values.get(name.as_ref()).copied()).collect()
    };
    let reason = |name: &Text| rounds.iter().find_map(|round| round.fails.get(name.as_ref()));
    let names = || measures.iter().map(|measure| &measure.name);
    // What fails in one round has no figures: the rounds of two cases are compared one by one.
    let figures: BTreeMap<_, _> = names()
        .map(|name| (name.clone(), values(name)))
        .filter(|(_, values)| values.len() == rounds.len())
        .collect();
    let fails = names().filter_map(|name| Some((name.clone(), reason(name)?.clone()))).collect();
    let summary = figures.iter().filter_map(|(n, v)| Some((n.clone(), Summary::of(v)?))).collect();
    let (name, about) = (case.name().into(), case.about().into());
    CaseReport { name, about, figures, summary, fails }
}

fn compare(cases: &[CaseReport], ratio: Ratio, measure: &Text) -> Option<Ratios> {
    let of = |name| cases.iter().find(|case| case.name == name)?.figures.get(measure);
    let per_round: Vec<_> =
        of(ratio.of)?.iter().zip(of(ratio.to)?).map(|(above, below)| above / below).collect();
    let summary = Summary::of(&per_round)?;
    let (of, to) = (ratio.of.into(), ratio.to.into());
    Some(Ratios { of, to, measure: measure.clone(), per_round, summary })
}

#[cfg(test)]
mod tests;
