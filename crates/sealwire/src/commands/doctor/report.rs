//! What was looked at and what was found, for people and for machines.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::finding::{Finding, Severity};
use crate::cli::printable;
use crate::commands::due::{self, Due};

/// The name of the JSON form. Members may be added; none is renamed or removed without
/// another number.
const SCHEMA: &str = "sealwire-doctor/1";

/// A check that found nothing wrong.
#[derive(Clone, Debug, Serialize)]
struct Passed {
    what: String,
    #[serde(rename = "where")]
    place: String,
}

#[derive(Clone, Debug)]
enum Entry {
    Passed(Passed),
    Found(Finding),
}

/// Everything in the order in which it was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    entries: Vec<Entry>,
    due: Vec<Due>,
}

impl Report {
    /// Adds a finding, unless the same is known of the same place: a key may be read for
    /// several servers.
    pub(super) fn found(&mut self, finding: Finding) {
        let same = |known: &Finding| {
            (known.id, &known.place, &known.what) == (finding.id, &finding.place, &finding.what)
        };
        if !self.findings().any(same) {
            self.entries.push(Entry::Found(finding));
        }
    }

    /// Adds a check that found nothing wrong.
    pub(super) fn passed(&mut self, what: impl Into<String>, place: impl fmt::Display) {
        let passed = Passed { what: what.into(), place: place.to_string() };
        self.entries.push(Entry::Passed(passed));
    }

    /// What does not hold for ever.
    pub(super) fn is_due(&mut self, due: Vec<Due>) {
        self.due = due;
    }

    /// Adds what another report holds.
    pub(super) fn append(&mut self, other: Self) {
        for entry in other.entries {
            match entry {
                Entry::Found(finding) => self.found(finding),
                passed @ Entry::Passed(_) => self.entries.push(passed),
            }
        }
    }

    /// A place in the report, for [`Report::adjust`].
    pub(super) fn mark(&self) -> usize {
        self.entries.len()
    }

    /// Changes every finding after `mark`.
    pub(super) fn adjust(&mut self, mark: usize, change: impl Fn(Finding) -> Finding) {
        for entry in self.entries.iter_mut().skip(mark) {
            if let Entry::Found(finding) = entry {
                *finding = change(finding.clone());
            }
        }
    }

    /// Everything that was found.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Found(finding) => Some(finding),
            Entry::Passed(_) => None,
        })
    }

    /// Whether this has been found at this place.
    pub(super) fn has(&self, id: impl Into<&'static str>, place: &Path) -> bool {
        let (id, place) = (id.into(), place.display().to_string());
        self.findings().any(|finding| finding.id == id && finding.place == place)
    }

    /// How many findings there are of one severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|finding| finding.severity == severity).count()
    }

    /// For machines: the form described in docs/doctor.md.
    pub(super) fn json(&self, home: &Path, config: &Path, time: &str) -> Value {
        let passed: Vec<&Passed> = self.checks().collect();
        json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "time": time,
            // JSON has no bytes that are no text; a path may.
            "home": home.to_string_lossy(),
            "config": config.to_string_lossy(),
            "summary": {
                "ok": self.count(Severity::Error) == 0,
                "errors": self.count(Severity::Error),
                "warnings": self.count(Severity::Warning),
                "notes": self.count(Severity::Note),
                "passed": passed.len(),
            },
            "findings": self.findings().collect::<Vec<_>>(),
            "checks": passed,
            "due": self.due,
        })
    }

    /// For people: what is in order first, then what is not, the gravest last, where a
    /// terminal shows it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Passed { what, place } in self.checks() {
            text.push_str(&line("ok", what, place));
        }
        text.push_str(&due::text(&json!(self.due)));
        let mut findings: Vec<&Finding> = self.findings().collect();
        findings.sort_by_key(|finding| finding.severity);
        for finding in findings {
            text.push_str(&line(finding.severity.as_str(), &finding.what, &finding.place));
            text.push_str(&continued(&format!("to fix: {}", finding.remedy)));
            text.push_str(&continued(&format!("[{}]", finding.id)));
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    /// How many of each there are, as a sentence.
    pub(super) fn summary(&self) -> String {
        let count = |number: usize, noun: &str| {
            format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
        };
        format!(
            "{}, {}, {}; {} passed",
            count(self.count(Severity::Error), "error"),
            count(self.count(Severity::Warning), "warning"),
            count(self.count(Severity::Note), "note"),
            count(self.checks().count(), "check"),
        )
    }

    fn checks(&self) -> impl Iterator<Item = &Passed> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Passed(passed) => Some(passed),
            Entry::Found(_) => None,
        })
    }
}

fn line(word: &str, what: &str, place: &str) -> String {
    let mut lines = what.lines();
    let first = printable(lines.next().unwrap_or_default());
    let mut text = format!("{word:7} {first} ({})\n", printable(place));
    lines.for_each(|line| text.push_str(&continued(line)));
    text
}

fn continued(text: &str) -> String {
    text.lines().map(|line| format!("        {}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Id;

    #[test]
    fn the_gravest_comes_last_and_each_with_its_remedy() {
        let mut report = Report::default();
        report.found(Finding::error(Id::KeyMismatch, "a\nb\u{1b}[31m").at("/k").run("mv x y"));
        report.found(Finding::note(Id::NoServers, "c").at("/c").fix("add one"));
        report.passed("d", "/d");
        assert_eq!(
            report.text(),
            "ok      d (/d)\n\
             note    c (/c)\n        to fix: add one\n        [no_servers]\n\
             error   a (/k)\n        b\u{fffd}[31m\n        to fix: run: mv x y\n        [key_mismatch]\n\
             1 error, 0 warnings, 1 note; 1 check passed\n"
        );
    }

    #[test]
    fn the_same_fault_is_told_once() {
        let mut report = Report::default();
        for place in ["/a", "/a", "/b"] {
            report.found(Finding::error(Id::FileMissing, "is missing").at(place));
        }
        assert_eq!(report.count(Severity::Error), 2);
    }
}
