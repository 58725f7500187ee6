//! docs/performance.md: the last figures of each scenario as one page.
//!
//! The figures are kept beside it as reports, so that one scenario can be measured
//! anew without the other, and so that whoever doubts the page has all raw values.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::report::{CaseReport, Ratios, Report, digits};
use crate::stats::Summary;
use crate::{Measure, Result};

/// Scenarios on the page, in this order.
const SCENARIOS: [&str; 5] = ["link", "chains", "envelope", "guard", "audit"];

const TOP: &str = "\
<!-- Written by `scripts/bench all --write`. Do not edit: the next run overwrites it. -->

# Performance

This page is generated: `scripts/bench all --write` measures, keeps the figures in
[performance/](performance/) and writes it; its text is in `bench/src/page.rs`.

Everything is measured side by side: all cases of a scenario take turns in each round, and
what counts is the **median of the ratios taken within a round**. The spread is
(max − min) / median. Absolute figures are those of one machine on one day; ratios carry
over better, but depend on the number of processors, too, since client, server and all that
is between them share them.
";

const NOTHING: &str = "
No figures are kept yet. `scripts/bench all --write` measures them, in about ten minutes.
";

const BOTTOM: &str = "
## How to repeat it

```sh
scripts/bench all --write       # all scenarios, then this page; let the machine do nothing else
scripts/bench link              # one of them, as a table
scripts/bench chains --quick    # shows in short time that everything works, judges nothing
```

It installs what it compares with (apt, npm, PyPI), in the versions named above.
[bench/README.md](../bench/README.md) tells how it measures and what proves that the work was
done: every call is answered and executed exactly once in every case, or the run fails.

## What to keep in mind

- Client, both ends of the way and the server run on one machine: there is no network between
  them but loopback. Over a real network the latter's time is added to every case alike, so
  ratios of latencies shrink.
- The server answers at once. With one that works for a second, none of this is noticed.
- `floor` is a program of this repository (`bench/src/tunnel.rs`), and as plain as it can be.
  What it lacks is what sealwire is for: it checks the chain of a certificate, but knows no
  names and no policy, sees no messages, survives no cut and logs nothing. That it is not a
  straw man is shown by `floor/stunnel`.
- `connect_initialize` compares different key exchanges unless stunnel's OpenSSL is 3.5 or
  newer: sealwire and `floor` use X25519MLKEM768, which costs more than X25519.
- The chains are as their documentation sets them up, in production mode, with logs off or at
  errors only, and all their TLS ends demand certificates. Unlike sealwire, they neither keep
  the order of calls nor, some of them, give each session a server of its own; neither is held
  against them here.
- Resident memory (`…_rss`) counts pages that several processes share in full for each of
  them; proportional memory (`…_pss`) divides them, and is what adds up.
";

/// Where the figures of a scenario are kept, below the directory of the page.
fn file(docs: &Path, scenario: &str) -> PathBuf {
    docs.join("performance").join(format!("{scenario}.json"))
}

/// Keeps a report for the page in the directory `docs`.
///
/// # Errors
/// If it cannot be written.
pub fn keep(docs: &Path, report: &Report) -> Result<()> {
    let file = file(docs, &report.scenario);
    fs::create_dir_all(file.parent().unwrap_or(docs))?;
    report.write_to(&file)
}

/// Writes the page in the directory `docs` from the reports kept there.
///
/// # Errors
/// If a report cannot be read or the page not be written.
pub fn write(docs: &Path) -> Result<()> {
    Ok(fs::write(docs.join("performance.md"), render(&kept(docs)?)?)?)
}

/// The reports kept in the directory `docs`.
///
/// # Errors
/// If one of them cannot be read.
pub fn kept(docs: &Path) -> Result<Vec<Report>> {
    let files = SCENARIOS.iter().map(|scenario| file(docs, scenario));
    files.filter(|file| file.exists()).map(|file| Report::read_from(&file)).collect()
}

/// The page. The same reports make the same page.
///
/// # Errors
/// None that could be mended.
pub fn render(reports: &[Report]) -> Result<String> {
    let mut page = TOP.to_owned();
    if reports.is_empty() {
        page += NOTHING;
    } else {
        limits(&mut page, reports)?;
    }
    for report in reports {
        scenario(&mut page, report)?;
    }
    Ok(page + BOTTOM)
}

fn limits(page: &mut String, reports: &[Report]) -> Result<()> {
    writeln!(page, "\n## What is asked, and what was found\n")?;
    let checks = || reports.iter().flat_map(|r| r.checks.iter().map(move |check| (r, check)));
    let (held, all) = (checks().filter(|(_, check)| check.holds).count(), checks().count());
    writeln!(page, "{held} of {all} limits hold. Each is on a median.\n")?;
    writeln!(page, "| scenario | of | asked | found | holds |\n|---|---|---|---|---|")?;
    for (report, check) in checks() {
        let found = check.found.map_or("nothing".to_owned(), |found| number(found, found));
        let holds = if check.holds { "yes" } else { "**no**" };
        let (subject, asked) = (&check.subject, &check.asked);
        writeln!(page, "| {} | {subject} | {asked} | {found} | {holds} |", report.scenario)?;
    }
    for (report, check) in checks().filter(|(_, check)| !check.holds) {
        writeln!(page, "\n`{}`, {}: {}.", report.scenario, check.subject, check.otherwise)?;
    }
    for report in reports {
        if !report.judged {
            writeln!(page, "\n`{}` was too short a run to be judged.", report.scenario)?;
        }
        for skipped in &report.skipped {
            writeln!(
                page,
                "\n`{}`: case `{}` could not run, and limits on it are not judged: {}.",
                report.scenario, skipped.case, skipped.reason
            )?;
        }
        if let Some(warning) = report.host.warning() {
            writeln!(page, "\n**Noisy**: during `{}`, {warning}.", report.scenario)?;
        }
    }
    Ok(())
}

fn scenario(page: &mut String, report: &Report) -> Result<()> {
    let Report { scenario, about, host, rounds, date, .. } = report;
    writeln!(page, "\n## `{scenario}`: {about}\n")?;
    writeln!(
        page,
        "{}, {} cores, {}; {date}; {rounds} rounds; `{}`",
        host.cpu,
        host.cores,
        host.kernel,
        report.command.join(" ")
    )?;
    if let Some(busy) = host.busy {
        writeln!(page, "(others took {:.1} % of the processors meanwhile).", busy * 100.0)?;
    }
    writeln!(page, "\n| case | what it is |\n|---|---|")?;
    for case in &report.cases {
        writeln!(page, "| `{}` | {} |", case.name, case.about)?;
    }
    writeln!(page, "\n| program | version |\n|---|---|")?;
    for (program, version) in &report.versions {
        writeln!(page, "| {program} | {version} |")?;
    }
    writeln!(page, "\n### Figures\n\nMedian of the rounds, and in brackets the spread.\n")?;
    let names: Vec<_> = report.cases.iter().map(|case| format!("`{}`", case.name)).collect();
    writeln!(page, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()))?;
    for measure in &report.measures {
        let cells: Vec<_> = report.cases.iter().map(|case| figure(case, measure)).collect();
        writeln!(page, "| `{}`, {} | {} |", measure.name, measure.unit, cells.join(" | "))?;
    }
    writeln!(page)?;
    for Measure { name, about, .. } in &report.measures {
        writeln!(page, "- `{name}`: {about}")?;
    }
    for case in &report.cases {
        for (measure, reason) in &case.fails {
            writeln!(page, "\n`{measure}` through `{}` fails: “{reason}”", case.name)?;
        }
    }
    writeln!(
        page,
        "\n### Ratios\n\n| of | median | spread | round by round |\n|---|---:|---:|---|"
    )?;
    report.ratios.iter().try_for_each(|ratio| ratio_row(page, ratio))
}

fn figure(case: &CaseReport, measure: &Measure) -> String {
    match case.summary.get(&measure.name) {
        Some(Summary { median, max, spread, .. }) => {
            format!("{} ({:.0} %)", number(*median, *max), spread * 100.0)
        }
        None if case.fails.contains_key(&measure.name) => "fails".to_owned(),
        None => "–".to_owned(),
    }
}

fn ratio_row(page: &mut String, ratio: &Ratios) -> Result<()> {
    let Ratios { of, to, measure, per_round, summary: Summary { median, max, spread, .. } } = ratio;
    let rounds: Vec<_> = per_round.iter().map(|value| number(*value, *max)).collect();
    let (median, rounds) = (number(*median, *max), rounds.join(", "));
    Ok(writeln!(page, "| {of}/{to} `{measure}` | {median} | {:.0} % | {rounds} |", spread * 100.0)?)
}

/// `value` with as many digits as figures of up to `max` deserve.
fn number(value: f64, max: f64) -> String {
    format!("{value:.*}", digits(max))
}
