//! The book: it can be built, and read at the width of a desktop and of a phone.

use sealwire_testkit::tool;

use super::page::repository;
use super::run::patiently;

#[test]
fn every_page_can_be_read_in_a_browser() {
    assert!(tool("mdbook/bin/mdbook").is_file());
    let script = repository().join("scripts/book");
    let (code, output) = patiently(&[script.to_str().unwrap(), "--check"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(" pages, 0 faults"), "{output}");
}
