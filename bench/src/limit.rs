//! Bounds that a run is judged by.

use crate::report::{CaseReport, Check, Ratios};
use crate::runner::Ratio;

/// A bound on a median: of the per-round ratios of one measure, or of its figures.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    subject: Subject,
    measure: &'static str,
    bound: Bound,
    otherwise: &'static str,
}

/// What a limit is on. From a [`Ratio`], or from the name of a case: then it is on
/// the figures themselves.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// Two cases compared.
    Ratio(Ratio),
    /// One case.
    Case(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    /// `otherwise` says what it means if it does not hold.
    pub fn at_least(
        least: f64,
        subject: impl Into<Subject>,
        measure: &'static str,
        otherwise: &'static str,
    ) -> Self {
        Self { subject: subject.into(), measure, bound: Bound::AtLeast(least), otherwise }
    }

    /// `otherwise` says what it means if it does not hold.
    pub fn at_most(
        most: f64,
        subject: impl Into<Subject>,
        measure: &'static str,
        otherwise: &'static str,
    ) -> Self {
        Self { subject: subject.into(), measure, bound: Bound::AtMost(most), otherwise }
    }

    /// `None` if a case did not take part. If all did but there is no figure, the
    /// limit does not hold: what was not seen is not claimed.
    pub(crate) fn check(&self, cases: &[CaseReport], ratios: &[Ratios]) -> Option<Check> {
        let case = |name: &str| cases.iter().find(|case| case.name == name);
        let (subject, found) = match self.subject {
            Subject::Case(name) => (name.to_owned(), case(name)?.summary.get(self.measure)),
            Subject::Ratio(Ratio { of, to }) => {
                case(of).and(case(to))?;
                let mut ratios = ratios.iter();
                let ratio = ratios.find(|r| r.of == of && r.to == to && r.measure == self.measure);
                (format!("{of}/{to}"), ratio.map(|ratio| &ratio.summary))
            }
        };
        let subject = format!("{subject} {}", self.measure);
        let found = found.map(|summary| summary.median);
        let (holds, asked) = match self.bound {
            Bound::AtLeast(least) => (found >= Some(least), format!("at least {}", short(least))),
            Bound::AtMost(most) => {
                (found.is_some_and(|found| found <= most), format!("at most {}", short(most)))
            }
        };
        let seen = found.map_or("not measured".to_owned(), |found| format!("{found:.3}"));
        let what = format!("{subject}: {seen}, asked {asked}");
        Some(Check { holds, what, subject, asked, found, otherwise: self.otherwise.into() })
    }
}

impl From<Ratio> for Subject {
    fn from(ratio: Ratio) -> Self {
        Self::Ratio(ratio)
    }
}

impl From<&'static str> for Subject {
    fn from(case: &'static str) -> Self {
        Self::Case(case)
    }
}

/// At most four digits after the point, and no noughts at the end.
fn short(value: f64) -> String {
    format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
