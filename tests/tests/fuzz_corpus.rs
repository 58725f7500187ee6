//! What must hold for any bytes holds for every seed, and for everything that a fuzzer
//! once found, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sealwire_testkit::fuzz::TARGETS;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz")
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn every_input_of_every_corpus_holds() {
    let mut failed = Vec::new();
    for (target, check) in TARGETS {
        let dir = fuzz_dir().join("corpus").join(target);
        let inputs = names_in(&dir);
        assert!(inputs.len() >= 10, "the corpus of {target} is gone");
        for input in inputs {
            let path = dir.join(input);
            let data = fs::read(&path).unwrap();
            if catch_unwind(AssertUnwindSafe(|| check(&data))).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "failed on {failed:#?}");
}

/// A corpus without a target, or a target that no test replays, would go unnoticed.
#[test]
fn targets_and_corpora_belong_together() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&fuzz_dir().join("corpus")), targets);
    let sources: BTreeSet<_> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in(&fuzz_dir().join("fuzz_targets")), sources);
}
