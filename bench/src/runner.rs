//! Scenarios, cases, and the rounds they are measured in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::report::{CaseReport, Check, Host, Ratios, Report, Skipped};
use crate::stats::Summary;
use crate::{Error, Result};

/// How long to look, before each case, at what others do on the machine.
const LOOK: Duration = Duration::from_millis(100);

/// What one case measured in one round: measure name → value in its unit.
pub type Figures = BTreeMap<&'static str, f64>;

/// One way to do a scenario's work.
pub trait Case {
    /// Short and unique in the scenario.
    fn name(&self) -> &'static str;

    /// Measures everything once.
    ///
    /// # Errors
    /// If anything fails, a wrong answer included: a figure for work that was not
    /// done is worse than none.
    fn round(&mut self, effort: &Effort) -> Result<Figures>;
}

/// A kind of figure.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Measure {
    /// Name in JSON.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// Whether a larger value is the better one.
    pub higher_is_better: bool,
}

/// A comparison between two cases, made for every measure both have.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The case above the line.
    pub of: &'static str,
    /// The case below the line.
    pub to: &'static str,
}

/// A bound on the median of the per-round ratios of one measure.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Which ratio.
    pub ratio: Ratio,
    /// Of which measure.
    pub measure: &'static str,
    /// The least allowed; `0.0` for none.
    pub at_least: f64,
    /// The most allowed; infinity for none.
    pub at_most: f64,
    /// What it means if it does not hold.
    pub otherwise: &'static str,
}

/// Cases to compare, and what is asked of them.
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// All measures, in the order of the table.
    pub measures: &'static [Measure],
    /// What is measured.
    pub cases: Vec<Box<dyn Case>>,
    /// Cases that cannot run on this machine, with the reason.
    pub skipped: Vec<Skipped>,
    /// Comparisons.
    pub ratios: &'static [Ratio],
    /// Bounds on them.
    pub limits: &'static [Limit],
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
    /// Starts of the connecting program.
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
    let named = scenario.cases.iter().map(|case| case.name()).zip(measured);
    let cases: Vec<_> =
        named.map(|(name, rounds)| case_report(name, rounds, scenario.measures)).collect();
    let ratios: Vec<_> = scenario
        .measures
        .iter()
        .flat_map(|measure| scenario.ratios.iter().map(move |ratio| (measure, ratio)))
        .filter_map(|(measure, ratio)| compare(&cases, *ratio, measure.name))
        .collect();
    let checks = scenario.limits.iter().filter_map(|limit| check(&ratios, limit)).collect();
    Report {
        schema: Report::SCHEMA,
        scenario: scenario.name,
        date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command: std::env::args().collect(),
        host,
        versions: scenario.versions.clone(),
        rounds,
        judged: effort.judged,
        measures: scenario.measures,
        cases,
        skipped: scenario.skipped.clone(),
        ratios,
        checks,
    }
}

fn case_report(name: &'static str, rounds: &[Figures], measures: &[Measure]) -> CaseReport {
    let values = |measure: &Measure| -> Vec<f64> {
        rounds.iter().filter_map(|figures| figures.get(measure.name).copied()).collect()
    };
    let figures: BTreeMap<_, _> = measures
        .iter()
        .map(|measure| (measure.name, values(measure)))
        .filter(|(_, values)| !values.is_empty())
        .collect();
    let summary = figures.iter().filter_map(|(name, v)| Some((*name, Summary::of(v)?))).collect();
    CaseReport { name, figures, summary }
}

fn compare(cases: &[CaseReport], ratio: Ratio, measure: &'static str) -> Option<Ratios> {
    let of = |name| cases.iter().find(|case| case.name == name)?.figures.get(measure);
    let per_round: Vec<_> =
        of(ratio.of)?.iter().zip(of(ratio.to)?).map(|(above, below)| above / below).collect();
    let summary = Summary::of(&per_round)?;
    Some(Ratios { of: ratio.of, to: ratio.to, measure, per_round, summary })
}

fn check(ratios: &[Ratios], limit: &Limit) -> Option<Check> {
    let Limit { ratio: Ratio { of, to }, measure, at_least, at_most, otherwise } = *limit;
    let found = ratios.iter().find(|r| r.of == of && r.to == to && r.measure == measure)?;
    let median = found.summary.median;
    let bound = match (at_least > 0.0, at_most.is_finite()) {
        (true, false) => format!("at least {at_least}"),
        (false, _) => format!("at most {at_most}"),
        (true, true) => format!("{at_least} to {at_most}"),
    };
    let what = format!("{of}/{to} {measure}: {median:.3}, asked {bound}");
    Some(Check { holds: (at_least..=at_most).contains(&median), what, otherwise })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    struct Fixed(&'static str, f64, Rc<RefCell<Vec<&'static str>>>);

    impl Case for Fixed {
        fn name(&self) -> &'static str {
            self.0
        }

        fn round(&mut self, _: &Effort) -> Result<Figures> {
            self.2.borrow_mut().push(self.0);
            self.1 += 1.0;
            Ok(Figures::from([("speed", self.1)]))
        }
    }

    fn scenario(order: &Rc<RefCell<Vec<&'static str>>>) -> Scenario {
        const RATIO: Ratio = Ratio { of: "b", to: "a" };
        let case = |name, start| Box::new(Fixed(name, start, order.clone())) as Box<dyn Case>;
        Scenario {
            name: "test",
            measures: &[Measure { name: "speed", unit: "1/s", higher_is_better: true }],
            cases: vec![case("a", 0.0), case("b", 9.0), case("c", 0.0)],
            skipped: Vec::new(),
            ratios: &[RATIO],
            limits: &[Limit {
                ratio: RATIO,
                measure: "speed",
                at_least: 6.0,
                at_most: f64::INFINITY,
                otherwise: "b is too slow",
            }],
            versions: BTreeMap::new(),
        }
    }

    #[test]
    fn rounds_are_interleaved_and_rotated() {
        let order = Rc::new(RefCell::new(Vec::new()));
        run(&mut scenario(&order), 3, &Effort::QUICK, |_| {}).unwrap();
        assert_eq!(*order.borrow(), ["a", "b", "c", "b", "c", "a", "c", "a", "b"]);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_limits_on_their_median() {
        let report = run(&mut scenario(&Rc::default()), 3, &Effort::QUICK, |_| {}).unwrap();
        assert_eq!(report.ratios[0].per_round, [10.0, 11.0 / 2.0, 12.0 / 3.0]);
        assert_eq!(report.ratios[0].summary.median, 5.5);
        assert!(!report.checks[0].holds);
        assert_eq!(report.checks[0].what, "b/a speed: 5.500, asked at least 6");
    }
}
