//! What a power cut leaves of a log that is written ahead.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::tests::{RULES, call, kinds, open, open_with, read, read_signed, signer, wait};
use super::*;
use crate::files;
use crate::write_ahead::WRITE_AHEAD;

fn write_ahead(directory: &Path) -> PathBuf {
    directory.join("audit").join(WRITE_AHEAD)
}

/// The directory as a disk has it at some moment: the day's file may lack whatever was not synced,
/// but nothing of what is signed.
fn after_a_power_cut(directory: &Path, keeps: impl FnOnce(u64, u64) -> u64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (directory.join("audit"), copy.path().join("audit"));
    files::make_directory(&to).unwrap();
    // In an order in which nothing is copied before what depends on it.
    fs::copy(from.join("checkpoint"), to.join("checkpoint")).unwrap();
    let note = fs::read_to_string(to.join("checkpoint")).unwrap();
    fs::copy(from.join(WRITE_AHEAD), to.join(WRITE_AHEAD)).unwrap();
    copy_all(&from.join("tile"), &to.join("tile"));
    let (_, path) = files::days(&from, ".jsonl").unwrap().pop().unwrap();
    let text = fs::read(&path).unwrap();
    let signed = signer().verifier().checkpoint(&note).unwrap().size;
    let lines = text.split_inclusive(|&byte| byte == b'\n').take(usize::try_from(signed).unwrap());
    let settled = lines.map(|line| line.len() as u64).sum();
    let kept = usize::try_from(keeps(settled, text.len() as u64)).unwrap();
    fs::write(to.join(path.file_name().unwrap()), &text[..kept]).unwrap();
    copy
}

fn copy_all(from: &Path, to: &Path) {
    files::make_directory(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to.join(entry.file_name())),
            // A file that was to take another's place may have done so.
            false => drop(fs::copy(entry.path(), to.join(entry.file_name()))),
        }
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_let_through() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    call(&journal, "before", 0).unwrap();
    journal.shared.hurry().unwrap();
    let (passed, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (journal, passed, is_over) = (&journal, &passed, &is_over);
            scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Acquire) {
                        break;
                    }
                    let id = thread * 1_000_000 + number;
                    call(journal, "t", id).unwrap();
                    lock(passed).push(id);
                }
            });
        }
        // Also if what follows fails.
        let _end = SetOnDrop(&is_over);
        for round in 0..20 {
            while lock(&passed).len() < 40 * (round + 1) {
                thread::yield_now();
            }
            let passed = lock(&passed).clone();
            // Nothing that was not signed, all but a byte, and something between.
            let copy = after_a_power_cut(directory.path(), |settled, all| match round % 3 {
                0 => settled,
                1 => settled.max(all - 1),
                _ => u64::midpoint(settled, all),
            });
            let again = open(copy.path(), Durability::Fsync);
            again.flush().unwrap();
            let (entries, _) = read(copy.path());
            let calls: Vec<String> = decisions(&entries);
            for id in &passed {
                assert!(calls.contains(&id.to_string()), "call {id} of round {round}");
            }
            assert!(entries.iter().any(|entry| entry["restored_bytes"].as_u64() > Some(0)));
            assert!(!write_ahead(copy.path()).exists());
        }
    });
    journal.close().unwrap();
    assert!(!write_ahead(directory.path()).exists());
    assert!(!kinds(&read_signed(directory.path())).contains(&"log.recovered"));
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

/// The ids of calls that were allowed.
fn decisions(entries: &[serde_json::Value]) -> Vec<String> {
    let decisions = entries.iter().filter(|entry| entry["type"] == "call.decision");
    let id = |of: &serde_json::Value| of["jsonrpc.request.id"].as_str().map(str::to_owned);
    decisions
        .flat_map(|entry| match entry["calls"].as_array() {
            Some(calls) => calls.iter().filter_map(id).collect(),
            None => id(entry).into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

#[test]
fn a_file_written_ahead_goes_round_and_is_never_ahead_of_what_it_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    journal.shared.hurry().unwrap();
    let body = format!("\"type\":\"x\",\"detail\":\"{}\"}}", "x".repeat(60_000));
    // Three times through both halves.
    for number in 0..900 {
        let position = journal.append(body.as_bytes()).unwrap();
        wait(&journal, position).unwrap();
        if number % 50 == 49 {
            let copy = after_a_power_cut(directory.path(), |settled, _| settled);
            drop(open(copy.path(), Durability::Fsync));
            assert!(read(copy.path()).0.len() as u64 >= position.entries());
        }
    }
    assert_eq!(fs::metadata(write_ahead(directory.path())).unwrap().len(), 16 * 1024 * 1024);
    journal.close().unwrap();
    assert_eq!(read_signed(directory.path()).len(), 902);
}

#[test]
fn a_file_written_ahead_that_says_something_else_stops_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    journal.shared.hurry().unwrap();
    call(&journal, "t", 1).unwrap();
    let copy = after_a_power_cut(directory.path(), |_, all| all);
    let (_, path) = files::days(&copy.path().join("audit"), ".jsonl").unwrap().pop().unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("\"t\"", "\"u\"");
    fs::write(&path, &text).unwrap();
    let error = open_with(copy.path(), Durability::Interval, RULES);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("write-ahead") && error.contains("has others there"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
