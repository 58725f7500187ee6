//! docs/performance.md says what the reports say, and nothing else.
#![forbid(unsafe_code)]

use std::path::Path;

use sealwire_bench::{Report, page};

fn sample() -> Report {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample-report.json");
    Report::read_from(&file).unwrap()
}

#[test]
fn the_same_reports_make_the_same_page() {
    let page = page::render(&[sample()]).unwrap();
    assert_eq!(page, page::render(&[sample()]).unwrap());
    assert!(page.lines().next().unwrap().contains("scripts/bench all --write"), "{page}");
}

#[test]
fn each_limit_is_there_with_what_was_found() {
    let page = page::render(&[sample()]).unwrap();
    for row in [
        "1 of 3 limits hold.",
        "| chains | sealwire/mcp-remote calls_per_s_64 | at least 100 | 350.0 | yes |",
        "| chains | sealwire/mcp-remote sequential_p50 | at most 0.0667 | 0.080 | **no** |",
        "| chains | sealwire large_request | at most 3 | nothing | **no** |",
        "`chains`, sealwire/mcp-remote sequential_p50: too slow.",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
}

#[test]
fn figures_have_their_spread_ratios_their_rounds_and_failures_their_reason() {
    let page = page::render(&[sample()]).unwrap();
    for row in [
        "Sample CPU, 2 cores, linux 1.2.3 x86_64; 2026-01-02T03:04:05Z; 2 rounds; \
         `scripts/bench chains --write`",
        "| `mcp-remote` | mcp-remote → stunnel |",
        "| stunnel | 5.68 |",
        "| `calls_per_s_64`, 1/s | 140000 (14 %) | 400.0 (0 %) |",
        "| `large_request`, ms | – | fails |",
        "- `sequential_p50`: time of one call",
        "`large_request` through `mcp-remote` fails: “Payload Too Large”",
        "| sealwire/mcp-remote `calls_per_s_64` | 350.0 | 14 % | 325.0, 375.0 |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
}

#[test]
fn what_makes_a_run_doubtful_is_said() {
    let page = page::render(&[sample()]).unwrap();
    for doubt in [
        "`chains` was too short a run to be judged.",
        "case `supergateway` could not run, and limits on it are not judged: haproxy is not installed.",
        "**Noisy**: during `chains`, others took 40 % of the processors",
    ] {
        assert!(page.contains(doubt), "{doubt}\n{page}");
    }
}

#[test]
fn figures_kept_are_figures_read() {
    let docs = tempfile::tempdir().unwrap();
    page::write(docs.path()).unwrap();
    let read = || std::fs::read_to_string(docs.path().join("performance.md")).unwrap();
    assert!(read().contains("No figures are kept yet."));
    page::keep(docs.path(), &sample()).unwrap();
    page::write(docs.path()).unwrap();
    assert_eq!(read(), page::render(&[sample()]).unwrap());
}

#[test]
fn a_report_of_another_schema_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let mut report = sample();
    report.schema = "sealwire-bench/2".into();
    report.write_to(&file).unwrap();
    let error = Report::read_from(&file).unwrap_err().to_string();
    assert!(error.contains("report.json: schema sealwire-bench/2"), "{error}");
}

/// `scripts/bench page` mends it.
#[test]
fn the_page_in_docs_is_what_the_figures_beside_it_make() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = std::fs::read_to_string(docs.join("performance.md")).unwrap();
    assert!(page == page::render(&page::kept(&docs).unwrap()).unwrap(), "run scripts/bench page");
}
