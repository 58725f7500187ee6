//! What a power cut leaves of a log that is written ahead.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::tests::{RULES, call, calls, kinds, open, open_with, read, read_signed, wait};
use super::*;
use crate::files;
use crate::write_ahead::WRITE_AHEAD;

fn write_ahead(directory: &Path) -> PathBuf {
    directory.join("audit").join(WRITE_AHEAD)
}

/// The log as a disk has it at some moment: the day's file may lack whatever was not synced.
/// `keeps` is told how much was, and how long it is.
fn after_a_power_cut(
    directory: &Path,
    journal: &Journal,
    keeps: impl FnOnce(u64, u64) -> u64,
) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (directory.join("audit"), copy.path().join("audit"));
    files::make_directory(&to).unwrap();
    // Nothing is written ahead meanwhile; and what others depend on is copied after them.
    let _ahead = loop {
        // Whoever waits for a lock that another takes again and again may wait long.
        if let Ok(ahead) = journal.shared.ahead.try_lock() {
            break ahead;
        }
    };
    fs::copy(from.join("checkpoint"), to.join("checkpoint")).unwrap();
    let synced = lock(&journal.shared.files).days.synced_up_to();
    fs::copy(from.join(WRITE_AHEAD), to.join(WRITE_AHEAD)).unwrap();
    copy_all(&from.join("tile"), &to.join("tile"));
    let (_, path) = files::days(&from, ".jsonl").unwrap().pop().unwrap();
    let text = fs::read(&path).unwrap();
    let kept = usize::try_from(keeps(synced, text.len() as u64)).unwrap();
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
    let may = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (journal, passed, is_over, may) = (&journal, &passed, &is_over, &may);
            scope.spawn(move || {
                for number in 0.. {
                    // No more than can be looked at: the log would grow as fast as it is read.
                    while !is_over.load(Acquire) && lock(passed).len() >= may.load(Acquire) {
                        thread::yield_now();
                    }
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
        let mut restored = 0;
        for round in 0..9 {
            let some = lock(&passed).len() + 20;
            // And so that some go on while it is copied.
            may.store(some + 100, Release);
            while lock(&passed).len() < some {
                thread::yield_now();
            }
            let passed = lock(&passed).clone();
            // Nothing that was not signed, all but a byte, and something between.
            let copy =
                after_a_power_cut(directory.path(), &journal, |synced, all| match round % 3 {
                    0 => synced,
                    1 => synced.max(all - 1),
                    _ => u64::midpoint(synced, all),
                });
            let again = open(copy.path(), Durability::Fsync);
            again.flush().unwrap();
            let (entries, _) = read(copy.path());
            let calls: Vec<String> = decisions(&entries);
            for id in &passed {
                assert!(calls.contains(&id.to_string()), "call {id} of round {round}");
            }
            restored +=
                entries.iter().filter_map(|entry| entry["restored_bytes"].as_u64()).sum::<u64>();
            assert!(!write_ahead(copy.path()).exists());
        }
        assert!(restored > 0);
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
    let id = |of: serde_json::Value| of["jsonrpc.request.id"].as_str().map(str::to_owned);
    decisions.flat_map(calls).filter_map(id).collect()
}

#[test]
fn a_file_written_ahead_goes_round_and_is_never_ahead_of_what_it_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    journal.shared.hurry().unwrap();
    let body = format!("\"type\":\"x\",\"detail\":\"{}\"}}", "x".repeat(60_000));
    // Once through both halves, and some.
    for number in 0..360 {
        let position = journal.append(body.as_bytes()).unwrap();
        wait(&journal, position).unwrap();
        if number % 40 == 39 {
            let copy = after_a_power_cut(directory.path(), &journal, |synced, _| synced);
            drop(open(copy.path(), Durability::Fsync));
            assert!(read(copy.path()).0.len() as u64 >= position.entries());
        }
    }
    assert_eq!(fs::metadata(write_ahead(directory.path())).unwrap().len(), 16 * 1024 * 1024);
    journal.close().unwrap();
    assert_eq!(read_signed(directory.path()).len(), 362);
}

#[test]
fn what_cannot_be_written_ahead_waits_for_the_days_file() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    journal.shared.hurry().unwrap();
    call(&journal, "t", 1).unwrap();
    assert!(write_ahead(directory.path()).exists());
    lock(&journal.shared.ahead).as_mut().unwrap().file.fail();
    call(&journal, "t", 2).unwrap();
    // The call is let through by the day's file, just before the other is removed.
    drop(lock(&journal.shared.ahead));
    assert!(!write_ahead(directory.path()).exists());
    call(&journal, "t", 3).unwrap();
    journal.close().unwrap();
    let entries = read_signed(directory.path());
    assert_eq!(decisions(&entries), ["1", "2", "3"].map(str::to_owned));
}

#[test]
fn a_file_written_ahead_that_says_something_else_stops_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    journal.shared.hurry().unwrap();
    call(&journal, "t", 1).unwrap();
    let copy = after_a_power_cut(directory.path(), &journal, |_, all| all);
    let (_, path) = files::days(&copy.path().join("audit"), ".jsonl").unwrap().pop().unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("\"t\"", "\"u\"");
    fs::write(&path, &text).unwrap();
    let error = open_with(copy.path(), Durability::Interval, RULES);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("write-ahead") && error.contains("has others there"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// A log with entries that are signed, then some that are only written; what its day's file is, and
/// how long what is signed of that.
fn half_signed(directory: &Path, entries: [u64; 2]) -> (Journal, PathBuf, usize) {
    let journal = open(directory, Durability::Fsync);
    let record = |count| {
        for number in 0..count {
            journal.append(format!("\"type\":\"x\",\"n\":{number}}}").as_bytes()).unwrap();
        }
    };
    record(entries[0]);
    journal.flush().unwrap();
    let (_, path) = files::days(&directory.join("audit"), ".jsonl").unwrap().pop().unwrap();
    let signed = fs::read(&path).unwrap().len();
    record(entries[1]);
    journal.shared.write().unwrap();
    (journal, path, signed)
}

/// The log of `directory` without whatever has it open, and with this as the day's file.
fn copy_with(directory: &Path, day: &Path, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&directory.join("audit"), &copy.path().join("audit"));
    let day = copy.path().join("audit").join(day.file_name().unwrap());
    fs::write(&day, text).unwrap();
    (copy, day)
}

#[test]
fn what_stands_after_a_hole_and_is_not_signed_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (_journal, path, signed) = half_signed(directory.path(), [300, 300]);
    let text = fs::read(&path).unwrap();
    let last = text.len() - 20;
    for (from, to) in [
        (signed, signed + 1),
        (signed, last - 500),
        (signed + 7, signed + 4_096),
        (last - 4_096, last - 1_000),
        (last - 1_000, last - 900),
    ] {
        let mut holed = text.clone();
        holed[from..to].fill(0);
        let (copy, day) = copy_with(directory.path(), &path, &holed);
        let journal = open(copy.path(), Durability::Fsync);
        let kept = text[..from].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        assert_eq!(fs::read(&day).unwrap(), text[..kept], "{from} to {to}");
        let entries = text[..kept].iter().filter(|&&byte| byte == b'\n').count();
        journal.flush().unwrap();
        drop(journal);
        let told = read_signed(copy.path());
        assert_eq!(told.len(), entries + 1);
        let told = &told[entries];
        assert_eq!(told["type"], "log.recovered");
        assert_eq!(told["cut_bytes"], text.len() - kept);
        assert_eq!(told["cut_entries"], 600 - entries);
        // Once.
        open(copy.path(), Durability::Fsync).flush().unwrap();
        assert_eq!(read_signed(copy.path()).len(), entries + 1);
    }
}

#[test]
fn what_is_signed_is_not_cut_off_whatever_is_missing() {
    // Also where the tiles say all that is to be known of what is signed.
    for entries in [[256, 50], [300, 50], [20, 5_000]] {
        let directory = tempfile::tempdir().unwrap();
        let (_journal, path, signed) = half_signed(directory.path(), entries);
        let text = fs::read(&path).unwrap();
        for from in (0..signed).step_by(signed / 7).chain([signed - 1]) {
            for to in [from + 1, signed, signed + 100, text.len() - 100] {
                let mut holed = text.clone();
                holed[from..to.max(from + 1)].fill(0);
                let (copy, day) = copy_with(directory.path(), &path, &holed);
                let opened = open_with(copy.path(), Durability::Fsync, RULES);
                let left = fs::read(&day).unwrap();
                match opened {
                    Err(error) => {
                        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
                        assert_eq!(left, holed, "{from} to {to}");
                    }
                    // Only `audit verify` reads all that is signed.
                    Ok(_) => assert_eq!(left, holed, "{from} to {to}"),
                }
            }
        }
    }
}

#[test]
fn what_stands_before_what_was_written_ahead_is_not_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, path, signed) = half_signed(directory.path(), [20, 20]);
    journal.shared.hurry().unwrap();
    journal.append(b"\"type\":\"x\",\"is\":\"ahead\"}").unwrap();
    journal.shared.commit().unwrap();
    let text = fs::read(&path).unwrap();
    let mut holed = text.clone();
    holed[signed + 10..signed + 90].fill(0);
    let (copy, day) = copy_with(directory.path(), &path, &holed);
    let error = open_with(copy.path(), Durability::Fsync, RULES).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&day).unwrap(), holed);
    // What stands after that was not let through.
    journal.append(b"\"type\":\"x\",\"is\":\"later\"}").unwrap();
    journal.append(b"\"type\":\"x\",\"is\":\"last\"}").unwrap();
    journal.shared.write().unwrap();
    let mut holed = fs::read(&path).unwrap();
    holed[text.len() + 3] = 0;
    let (copy, day) = copy_with(directory.path(), &path, &holed);
    let again = open(copy.path(), Durability::Fsync);
    assert_eq!(fs::read(&day).unwrap(), text);
    again.flush().unwrap();
    drop(again);
    assert_eq!(read_signed(copy.path()).last().unwrap()["cut_entries"], 2);
}
