//! What can be done to a log by who has its files, or even its key, and whether it is seen.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use sealwire_audit::note::Signer;
use sealwire_audit::verify::{CHECKPOINT, HISTORY, Outside, PRUNED, Verification, verify};
use support::{Log, day, line, note_of, signer, verify_alone, verify_with};
use tempfile::TempDir;

const A: &str = "2026-01-01";
const B: &str = "2026-01-02";
const C: &str = "2026-01-03";

/// Three days with 300 entries each.
fn log() -> (TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(3, 300);
    log.write(dir.path(), &signer());
    (dir, log)
}

/// The first problem as it is shown, with the directory left out.
#[track_caller]
fn first(found: &Verification, directory: &Path) -> String {
    let problem = found.problems.first().expect("nothing was found");
    problem.to_string().replace(&format!("{}/", directory.display()), "")
}

#[track_caller]
fn is_whole(found: &Verification) {
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}

#[test]
fn a_log_that_nobody_touched_is_whole() {
    let (dir, log) = log();
    let found = verify_with(dir.path(), &note_of(dir.path()));
    is_whole(&found);
    assert_eq!((found.first, found.size, found.files, found.outside), (0, 900, 3, 1));
    // The latest checkpoint, and nine earlier ones.
    assert_eq!((found.confirmed, found.torn), (10, 0));
    assert_eq!(found.root, log.tree().root());
    assert_eq!(found.signed.map(|signed| signed.size), Some(900));
    assert_eq!(found.times, Some((1_760_000_000_000, 1_760_000_899_000)));
}

#[test]
fn the_last_entries_are_removed() {
    let (dir, mut log) = log();
    log.days[2].1.truncate(290);
    log.write_lines(dir.path());
    assert_eq!(
        first(&verify_alone(dir.path()), dir.path()),
        "entries 890 to 899: missing: the log ends before them, and the checkpoint of 900 entries was signed with them"
    );
    // With the checkpoint put back to an earlier one, which is kept beside it, it needs one from
    // outside.
    let outside = note_of(dir.path());
    let history = fs::read_to_string(dir.path().join(HISTORY)).unwrap();
    let earlier: Vec<_> = history.lines().take(8).collect();
    fs::write(dir.path().join(HISTORY), format!("{}\n", earlier.join("\n"))).unwrap();
    let checkpoint = signer().verifier().history(earlier[7]).unwrap();
    fs::write(dir.path().join(CHECKPOINT), signer().checkpoint(&checkpoint)).unwrap();
    is_whole(&verify_alone(dir.path()));
    assert_eq!(
        first(&verify_with(dir.path(), &outside), dir.path()),
        "entries 890 to 899: missing: the log ends before them, and kept.txt was signed with them"
    );
}

#[test]
fn a_whole_day_is_removed() {
    let missing = "they are missing, or not in their place";
    for (gone, expected) in [
        (A, "entries 0 to 299: they are missing, and no signed statement says that they were pruned (2026-01-02.jsonl, line 1)".to_owned()),
        (B, format!("entries 300 to 599: {missing} (2026-01-03.jsonl, line 1)")),
        (C, "entries 600 to 899: missing: the log ends before them, and the checkpoint of 900 entries was signed with them".to_owned()),
    ] {
        let (dir, _) = log();
        fs::remove_file(day(dir.path(), gone)).unwrap();
        assert_eq!(first(&verify_alone(dir.path()), dir.path()), expected, "{gone}");
    }
}

#[test]
fn two_days_are_swapped() {
    let (dir, mut log) = log();
    let lines = log.days[0].1.clone();
    log.days[0].1 = std::mem::replace(&mut log.days[1].1, lines);
    log.write_lines(dir.path());
    assert!(
        first(&verify_alone(dir.path()), dir.path())
            .starts_with("entries 0 to 299: they are missing")
    );
    // With their entries numbered anew, their hashes are others.
    for (at, day) in log.days.iter_mut().enumerate() {
        for (n, line) in day.1.iter_mut().enumerate() {
            let rest = line.split_once(",\"time\"").unwrap().1;
            *line = format!("{{\"entry\":{},\"time\"{rest}", at * 300 + n);
        }
    }
    log.write_lines(dir.path());
    let found = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(
        found,
        "entry 0: not those of which an earlier checkpoint, of 100 entries was signed (2026-01-01.jsonl, line 1)"
    );
}

#[test]
fn an_entry_is_altered() {
    let (dir, log) = log();
    for (at, entry) in [(0, 3), (1, 470), (2, 898)] {
        let mut altered = log.clone();
        let (name, lines) = &mut altered.days[at];
        let line = &mut lines[entry - 300 * at];
        *line = line.replace("allow", "deny!");
        let name = name.clone();
        altered.write_lines(dir.path());
        let found = verify_alone(dir.path());
        let place = format!("({name}.jsonl, line {})", entry - 300 * at + 1);
        let shown = first(&found, dir.path());
        if entry < 768 {
            // Its tile knows which it is.
            assert!(shown.starts_with(&format!("entry {entry}: not those of which ")), "{shown}");
            assert!(shown.ends_with(&place), "{shown}");
        } else {
            // Else it is between two checkpoints.
            assert!(shown.starts_with("entries 800 to 899: not those of which "), "{shown}");
        }
        // And hashed again, with all tiles: the signatures tell between which two of them.
        for tile in ["000", "001", "002"] {
            fs::remove_file(dir.path().join("tile/0").join(tile)).unwrap();
        }
        let signatures = [HISTORY, CHECKPOINT].map(|f| fs::read(dir.path().join(f)).unwrap());
        altered.sign(dir.path(), &signer());
        for (file, bytes) in [HISTORY, CHECKPOINT].iter().zip(signatures) {
            fs::write(dir.path().join(file), bytes).unwrap();
        }
        let shown = first(&verify_alone(dir.path()), dir.path());
        let from = entry / 100 * 100;
        assert!(
            shown.starts_with(&format!("entries {from} to {}: not those of", from + 99)),
            "{shown}"
        );
        log.write(dir.path(), &signer());
    }
}

#[test]
fn an_old_copy_of_the_directory_is_put_back() {
    let (dir, log) = log();
    let outside = note_of(dir.path());
    let old = tempfile::tempdir().unwrap();
    let mut before = log;
    before.days[2].1.truncate(50);
    before.write(old.path(), &signer());
    is_whole(&verify_alone(old.path()));
    let found = verify_with(old.path(), &outside);
    assert_eq!(found.size, 650);
    assert!(first(&found, old.path()).starts_with("entries 650 to 899: missing: "));
}

#[test]
fn it_is_signed_again_with_the_hosts_own_key() {
    let (dir, mut log) = log();
    let outside = note_of(dir.path());
    log.days[1].1[20] = log.days[1].1[20].replace("allow", "deny!");
    log.write(dir.path(), &signer());
    is_whole(&verify_alone(dir.path()));
    let found = verify_with(dir.path(), &outside);
    let shown = first(&found, dir.path());
    assert!(
        shown.contains("not those of which kept.txt was signed: the log was signed again"),
        "{shown}"
    );
    // Its own earlier checkpoints, which were signed again as well, tell nothing of where.
    assert!(shown.starts_with("entries 0 to 899: "), "{shown}");
    // One that was kept earlier narrows it.
    let earlier = {
        let (other, _) = self::log();
        let history = fs::read_to_string(other.path().join(HISTORY)).unwrap();
        let checkpoint = signer().verifier().history(history.lines().nth(1).unwrap()).unwrap();
        signer().checkpoint(&checkpoint)
    };
    let found = verify_with(dir.path(), &earlier);
    is_whole(&found);
    assert_eq!(found.outside, 1);
    // Tiles that were not hashed again name the entry.
    let (other, _) = self::log();
    fs::copy(other.path().join("tile/0/001"), dir.path().join("tile/0/001")).unwrap();
    let shown = first(&verify_with(dir.path(), &outside), dir.path());
    assert!(shown.starts_with("entry 320: "), "{shown}");
}

#[test]
fn it_is_signed_with_another_key() {
    let (dir, log) = log();
    let outside = note_of(dir.path());
    let other = Signer::new(support::ORIGIN, &[1; 32]).unwrap();
    log.write(dir.path(), &other);
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert!(shown.starts_with("the checkpoint: it is not signed by the log's key"), "{shown}");
    // The public key was exchanged, too: what was kept elsewhere does not fit it.
    let kept = [Outside { name: "kept.txt".into(), note: outside }];
    let found = verify(dir.path(), other.verifier(), &kept, |_| {}).unwrap();
    let shown = first(&found, dir.path());
    assert!(shown.contains("kept.txt: it is not signed by the log's key"), "{shown}");
    assert!(shown.contains("its key was exchanged"), "{shown}");
}

#[test]
fn line_feeds_are_brought_in() {
    let (dir, mut log) = log();
    // As if a name had been written as it came.
    log.days[0].1[7] = log.days[0].1[7].replace("laptop", &format!("x\"}}\n{}", line(8, "forged")));
    log.write(dir.path(), &signer());
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert!(shown.starts_with("entry 8: "), "{shown}");
    assert!(shown.contains("line"), "{shown}");
}

#[test]
fn the_checkpoint_is_removed_or_garbled() {
    let (dir, _) = log();
    let path = dir.path().join(CHECKPOINT);
    let note = note_of(dir.path());
    for (content, expected) in [
        (None, "there is no signed checkpoint"),
        (Some(note.replace("900", "800")), "its signature does not verify"),
        (Some(String::new()), "the checkpoint: it is not a signed note"),
        (Some("x".repeat(100_000)), "the checkpoint: it is not a signed note"),
    ] {
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        let shown = first(&verify_alone(dir.path()), dir.path());
        assert!(shown.contains(expected), "{shown}");
    }
    // An old one in its place, and the newer ones forgotten.
    let history = fs::read_to_string(dir.path().join(HISTORY)).unwrap();
    let old = signer().verifier().history(history.lines().next().unwrap()).unwrap();
    fs::write(&path, signer().checkpoint(&old)).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert!(shown.contains("the checkpoint is older than one of 900 entries"), "{shown}");
}

#[test]
fn an_earlier_checkpoint_is_forged_or_torn() {
    let (dir, _) = log();
    let path = dir.path().join(HISTORY);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\n500 ", "\n501 ")).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(shown, "an earlier checkpoint: its signature does not verify (checkpoints, line 5)");
    // What is no text is no earlier checkpoint either.
    fs::write(&path, b"\xff\xfe\0").unwrap();
    is_whole(&verify_alone(dir.path()));
    // As a crash leaves it, and the next one is appended.
    let torn = text.replacen("\n600 ", "\n5\n600 ", 1);
    fs::write(&path, &torn[..torn.len() - 40]).unwrap();
    let found = verify_alone(dir.path());
    is_whole(&found);
    assert_eq!(found.confirmed, 9);
}

#[test]
fn what_is_being_written_is_no_harm_and_what_is_torn_elsewhere_is() {
    let (dir, mut log) = log();
    // Beyond the checkpoint there may be more, and at the very end half of a line.
    log.days[2].1.push(line(900, "call.outcome"));
    log.write_lines(dir.path());
    let path = day(dir.path(), C);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"entry\":901,");
    fs::write(&path, &text).unwrap();
    let found = verify_alone(dir.path());
    is_whole(&found);
    assert_eq!((found.size, found.torn), (901, 13));
    // A line that is whole but not ours, is.
    fs::write(&path, format!("{text}\n")).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(
        shown,
        "entry 901: its line is not as entries are written, from byte 12 on (2026-01-03.jsonl, line 302)"
    );
    // And so is one that was signed.
    log.write_lines(dir.path());
    let path = day(dir.path(), B);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert!(shown.starts_with("entry 599: its line ends after "), "{shown}");
    assert!(shown.ends_with("(2026-01-02.jsonl, line 300)"), "{shown}");
}

#[test]
fn a_line_that_is_too_long_is_not_read_into_memory_for_ever() {
    let (dir, _) = log();
    for (length, has_end) in [(70_000, true), (3 << 20, true), (3 << 20, false)] {
        let mut text = format!("{{\"entry\":0,\"x\":\"{}", "x".repeat(length));
        if has_end {
            text.push('\n');
        }
        fs::write(day(dir.path(), A), text).unwrap();
        let shown = first(&verify_alone(dir.path()), dir.path());
        assert_eq!(
            shown,
            "entry 0: its line is longer than a line may be (2026-01-01.jsonl, line 1)"
        );
    }
}

/// Whoever opens a pipe may wait for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_put_in_place_of_a_file() {
    for name in ["2026-01-04.jsonl", CHECKPOINT, HISTORY] {
        let (dir, _) = log();
        let path = dir.path().join(name);
        let _there = fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = verify(dir.path(), signer().verifier(), &[], |_| {}).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: it is not a regular file", path.display()));
    }
}

#[test]
fn a_tile_is_damaged_or_missing() {
    let (dir, _) = log();
    let path = dir.path().join("tile/0/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 * 9] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(
        shown,
        "entry 265: this tile is damaged: it has another hash of the entry, which is as it was signed (tile/0/001)"
    );
    fs::write(&path, &bytes[1..]).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(shown, "this tile cannot be read: it has 8191 bytes, not 8192 (tile/0/001)");
    fs::remove_file(&path).unwrap();
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(shown, "this tile is missing, without which there are no proofs (tile/0/001)");
}

#[test]
fn what_remains_of_a_pruned_log_is_whole_and_a_prune_cannot_be_forged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(90, 300);
    let last = log.days[89].1.len() - 1;
    let entry = 90 * 300 - 1;
    log.days[89].1[last] =
        line(entry, "log.prune").replace("\"decision\":\"allow\"", "\"first_entry\":14848");
    log.write(dir.path(), &signer());
    let outside = note_of(dir.path());
    let whole = log.tree().root();
    log.prune(dir.path(), &signer(), 14_848);
    let found = verify_with(dir.path(), &outside);
    is_whole(&found);
    assert_eq!((found.first, found.size, found.outside), (14_848, 27_000, 1));
    assert_eq!(found.root, whole);

    // One more day, with nobody's signature.
    let path = day(dir.path(), &log.days[0].0);
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(first(&verify_alone(dir.path()), dir.path()).starts_with("entries 14848 to "));
    fs::write(&path, kept).unwrap();
    // What remains is altered.
    log.days[30].1[5] = log.days[30].1[5].replace("allow", "deny!");
    log.write_lines(dir.path());
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert!(shown.contains("not those of which an earlier checkpoint"), "{shown}");

    // Without the entry about it, the statement alone is not enough.
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(3, 300);
    log.write(dir.path(), &signer());
    log.prune(dir.path(), &signer(), 512);
    let shown = first(&verify_alone(dir.path()), dir.path());
    assert_eq!(shown, "no entry tells of this prune (pruned)");
    // Nor is a checkpoint a statement.
    let history = fs::read_to_string(dir.path().join(HISTORY)).unwrap();
    let old = signer().verifier().history(history.lines().next().unwrap()).unwrap();
    fs::write(dir.path().join(PRUNED), signer().checkpoint(&old)).unwrap();
    let found = verify_alone(dir.path());
    assert!(found.problems[1].what.contains("about another log"), "{:?}", found.problems);
}

/// Or else whoever has the key prunes what a checkpoint that he cannot reach speaks of.
#[test]
fn a_checkpoint_from_elsewhere_is_not_passed_over_because_of_a_prune() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(3, 300);
    log.days[2].1[299] =
        line(899, "log.prune").replace("\"decision\":\"allow\"", "\"first_entry\":512");
    log.write(dir.path(), &signer());
    let history = fs::read_to_string(dir.path().join(HISTORY)).unwrap();
    let kept = [500, 600].map(|size| {
        let line = history.lines().find(|line| line.starts_with(&format!("{size} "))).unwrap();
        let checkpoint = signer().verifier().history(line).unwrap();
        Outside { name: format!("{size}.txt"), note: signer().checkpoint(&checkpoint) }
    });
    log.prune(dir.path(), &signer(), 512);
    let with = |kept| verify(dir.path(), signer().verifier(), kept, |_| {}).unwrap();
    let found = with(&kept[..1]);
    assert_eq!(
        first(&found, dir.path()),
        "500.txt is of 500 entries, and those before entry 512 were pruned: nothing is left to \
         compare it with; give one of at least 512 entries"
    );
    assert_eq!((found.outside, found.problems.len()), (0, 1));
    // What a later one says is said of all before it.
    let found = with(&kept);
    is_whole(&found);
    assert_eq!(found.outside, 1);
}
