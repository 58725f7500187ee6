//! The book: it can be built, and read at the width of a desktop and of a phone.

use std::process::Command;

use sealwire_testkit::{run, tool};

use super::page::repository;

#[test]
fn every_page_can_be_read_in_a_browser() {
    assert!(tool("mdbook/bin/mdbook").is_file());
    let mut command = Command::new(repository().join("scripts/book"));
    command.arg("--check");
    let output = run(command, b"");
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stdout.contains(" pages, 0 faults"), "{output}");
}
