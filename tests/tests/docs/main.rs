//! What the documentation says can be done: every page is followed.
//!
//! The rules, which this file holds pages to:
//!
//! - A page is one script. Its `sh` blocks are run from top to bottom by bash, `-e -u`, in a root
//!   of its own with a fresh home, where nothing but loopback is reached ([`run`], `root.sh`).
//!   What one block defines the next can use. Programs that the root cannot have are stood in
//!   for by what is in `stand-ins/`, each of which tells what it does instead.
//! - A `toml` block is a whole `sealwire.toml` that `config check` accepts ([`config`]).
//! - A block has a language, and no block is indented: none escapes. `text` is what is not meant
//!   to be typed.
//! - A comment above a block says what a reader knows from the text:
//!
//! | comment | the block below it |
//! |---|---|
//! | `on: NAME` | is for another machine: another user's home. Without it, `me` |
//! | `keeps running: TEXT` | stays in the foreground: goes on in a terminal of its own once it has printed that |
//! | `fails: CODE` | ends with that exit code |
//! | `stands for: WORD = PATTERN` | has WORD where a reader puts what was printed before and matches PATTERN |
//! | `into: FILE` | is added to that file; `into: FILE below LINE`, below that line |
//! | `file: FILE` | is of that file, which is not ours: it is parsed, and the commands in it are ours |
//! | `first: COMMAND` | is for after that command, a function of `stand-ins/machine.sh`: what the text above asks for and no block says |
//! | `with: TOML` | takes that for granted: it is before the block when that is checked |
//! | `printed` | is what the `sh` block before it prints; `…` stands for anything |
//! | `tested by: FILE` | is tried by that test instead, which reads this page |
//!
//! `before: …`, anywhere, is a script that is run before the page, for what it takes for granted.

mod book;
mod config;
mod links;
mod page;
mod readmes;
mod run;

use page::Page;
use run::System;

/// A test for each page that is run, and the list of them.
macro_rules! pages {
    ($($test:ident $path:literal $system:ident;)*) => {
        $(#[test] fn $test() { run::runs($path, System::$system); })*
        const RUN: &[&str] = &[$($path),*];
    };
}

pages! {
    five_minutes "docs/five-minutes.md" Minimal;
    five_minutes_in_japanese "docs/ja/five-minutes.md" Minimal;
    fifteen_minutes "docs/fifteen-minutes.md" Usr;
    fifteen_minutes_in_japanese "docs/ja/fifteen-minutes.md" Usr;
    readme "README.md" Usr;
    readme_in_japanese "README.ja.md" Usr;
    agents "docs/agents.md" Usr;
    alerts "docs/alerts.md" Usr;
    audit "docs/audit.md" Usr;
    clients "docs/clients.md" Usr;
    cookbook "docs/cookbook.md" Usr;
    day_two "docs/day-two.md" Usr;
    doctor "docs/doctor.md" Usr;
    foreign_identities "docs/foreign-identities.md" Usr;
    incidents "docs/incidents.md" Usr;
    join "docs/join.md" Usr;
    metrics "docs/metrics.md" Usr;
    operations "docs/operations.md" Usr;
    quarantine "docs/quarantine.md" Usr;
    templates "docs/templates.md" Usr;
    revocation "docs/revocation.md" Usr;
}

/// Pages whose commands are for the source tree, where a test cannot run them: that the scripts
/// are there is all that is looked at.
const OF_THE_SOURCE: &[&str] = &["CONTRIBUTING.md", "docs/performance.md"];

#[test]
fn every_page_with_commands_is_run() {
    for path in page::all() {
        let page = Page::read(&path);
        let commands = page.blocks.iter().any(|block| {
            (block.language == "sh" && block.said("tested by").is_none())
                || block.said("into").is_some()
        });
        let listed = RUN.contains(&path.as_str()) || OF_THE_SOURCE.contains(&path.as_str());
        assert_eq!(listed, commands, "{path} has commands, or it is listed; both, or neither");
        if OF_THE_SOURCE.contains(&path.as_str()) {
            run::repository_scripts(&page);
        }
    }
}

#[test]
fn no_block_escapes() {
    let faults: Vec<_> = page::all().iter().flat_map(|path| Page::read(path).faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_another_test_tries_is_named_there() {
    for path in page::all() {
        for block in &Page::read(&path).blocks {
            let Some(test) = block.said("tested by") else { continue };
            let file = page::repository().join(test);
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{test}: {e}"));
            let name = path.rsplit('/').next().unwrap();
            assert!(text.contains(name), "{test} does not read {path}");
        }
    }
}
