use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use sealwire_names::{PeerId, Refusal, RefusalCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::lines::last_whole;
use crate::prune::PRUNED;
use crate::tree::{Tree, TreeHash};
use crate::{CallId, CallResult, Message, files};

pub(super) const RULES: Rules =
    Rules { calls: true, messages: true, security: true, retention_days: 90, max_total_size: None };

fn signer() -> Signer {
    Signer::new("sealwire-audit/test/1", &[7; 32]).unwrap()
}

pub(super) fn open_with(
    directory: &Path,
    durability: Durability,
    rules: Rules,
) -> Result<Journal, OpenError> {
    let directory = directory.join("audit");
    Journal::open(Settings { directory, signer: signer(), durability, rules })
}

pub(super) fn open(directory: &Path, durability: Durability) -> Journal {
    open_with(directory, durability, RULES).unwrap()
}

/// Every line, in order, and the root over them.
pub(super) fn read(directory: &Path) -> (Vec<Value>, TreeHash) {
    let mut tree = Tree::new();
    let mut entries = Vec::new();
    for (_, path) in files::days(&directory.join("audit"), ".jsonl").unwrap() {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        for line in text.lines() {
            parse_body(line.split_once(',').unwrap().1.split_once(',').unwrap().1.as_bytes())
                .unwrap();
            crate::parse_line(line.as_bytes()).unwrap();
            tree.append(TreeHash::leaf(line.as_bytes()), |_| {});
            entries.push(serde_json::from_str(line).unwrap());
        }
    }
    (entries, tree.root())
}

/// The same, checking that all of it is signed, and that they are numbered from 0.
pub(super) fn read_signed(directory: &Path) -> Vec<Value> {
    let (entries, root) = read(directory);
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!(entry["entry"], at);
    }
    let note = fs::read_to_string(directory.join("audit/checkpoint")).unwrap();
    let checkpoint = signer().verifier().checkpoint(&note).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (entries.len() as u64, root));
    entries
}

pub(super) fn kinds(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect()
}

pub(super) fn wait(journal: &Journal, position: Position) -> io::Result<()> {
    struct Unpark(Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::Release);
            self.0.unpark();
        }
    }
    loop {
        let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&unpark));
        match journal.poll_durable(position, &mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => {
                while !unpark.1.load(Ordering::Acquire) {
                    thread::park();
                }
            }
        }
    }
}

fn peer() -> PeerId {
    "spiffe://test/agent/Coder".parse().unwrap()
}

fn message<'a>(peer: &'a PeerId, tool: &'a str, id: u64) -> Message<'a> {
    Message {
        peer: Some(peer),
        server: "files",
        direction: "to_server",
        method: "tools/call",
        subject: Some(tool),
        id: Some(CallId::Integer(id.cast_signed())),
        certificate: None,
        arguments: Some(br#"{"path":"/etc/passwd"}"#),
        policy: None,
        at: None,
    }
}

/// A call that is allowed, waited for, answered, and waited for.
pub(super) fn call(journal: &Journal, tool: &str, id: u64) -> io::Result<()> {
    let peer = peer();
    let message = message(&peer, tool, id);
    let decision = journal.record(&Event::Decision { message: &message, denied: None })?;
    wait(journal, decision)?;
    let (result, duration) = (CallResult::Result, Duration::from_micros(12));
    let outcome = Event::Outcome { message: &message, decision, result, duration };
    wait(journal, journal.record(&outcome)?)
}

/// The calls that an entry is about: what they share, and what is each call's own.
pub(super) fn calls(entry: &Value) -> Vec<Value> {
    let count = entry.get("calls").map_or(1, |calls| calls.as_u64().unwrap());
    let of = |at: u64| {
        let mut call = entry.clone();
        call["call"] = at.into();
        for value in call.as_object_mut().unwrap().values_mut() {
            if let Value::Array(values) = value {
                assert_eq!(values.len() as u64, count);
                *value = values.swap_remove(usize::try_from(at).unwrap());
            }
        }
        call
    };
    (0..count).map(of).collect()
}

/// The calls of entries of that type.
fn calls_of(entries: &[Value], kind: &str) -> Vec<Value> {
    entries.iter().filter(|entry| entry["type"] == kind).flat_map(calls).collect()
}

#[test]
fn a_call_is_recorded_between_start_and_stop() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), durability);
        journal.start("1.2.3").unwrap();
        call(&journal, "read\n\u{202e}file", 7).unwrap();
        journal.close().unwrap();
        let entries = read_signed(directory.path());
        let [start, calls @ .., stop] = &entries[..] else { panic!() };
        assert_eq!([&start["type"], &stop["type"]], ["log.start", "log.stop"]);
        // A second may have passed in between.
        let is_one = durability == Durability::Interval && calls.len() == 1;
        let expected: &[_] = match is_one {
            true => &["call.decision"],
            false => &["call.decision", "call.outcome"],
        };
        assert_eq!(kinds(calls), expected);
        let (decision, outcome) = (&calls[0], calls.last().unwrap());
        assert_eq!(start["version"], "1.2.3");
        assert_eq!(decision["decision"], "allow");
        assert_eq!(decision["peer"], "spiffe://test/agent/Coder");
        assert_eq!(decision["gen_ai.tool.name"], "read\n\u{202e}file");
        assert_eq!(decision["jsonrpc.request.id"], "7");
        assert_eq!(decision["arguments"].as_str().unwrap().len(), 43);
        assert_eq!(outcome.get("decision_entry").is_none(), is_one);
        assert_eq!(outcome["outcome"], "result");
        assert_eq!(outcome["duration_us"], 12);
        let text = fs::read_to_string(
            &files::days(&directory.path().join("audit"), ".jsonl").unwrap()[0].1,
        );
        assert!(!text.unwrap().contains("passwd"));
        journal
            .record(&Event::Decision { message: &message(&peer(), "x", 1), denied: None })
            .expect_err("it is closed");
    }
}

#[test]
fn many_threads_lose_nothing_and_the_log_goes_on() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..3 {
            let journal = open(directory.path(), durability);
            journal.start("1").unwrap();
            thread::scope(|scope| {
                for thread in 0..4_u64 {
                    let journal = &journal;
                    scope.spawn(move || {
                        for n in 0..100 {
                            call(journal, "t", round * 1_000 + thread * 100 + n).unwrap();
                        }
                    });
                }
            });
            assert_eq!(journal.status().trouble, None);
            drop(journal);
        }
        let entries = read_signed(directory.path());
        let decisions = calls_of(&entries, "call.decision");
        let ended = decisions.iter().filter(|call| call.get("outcome").is_some()).count();
        assert_eq!(decisions.len(), 1_200);
        assert_eq!(ended + calls_of(&entries, "call.outcome").len(), 1_200);
        assert_eq!(ended > 0, durability == Durability::Interval);
        assert!(directory.path().join("audit/tile/0/001").exists());
    }
}

#[test]
fn calls_that_come_together_are_told_apart() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), durability);
        // Not started: nothing is recorded but when it is said here.
        let peer = peer();
        // One id at a time, and again, all in one millisecond.
        let at = Some(SystemTime::now().into());
        let decided: Vec<_> = (0..50u64)
            .map(|n| {
                let id = n % 3;
                let message = Message { at, ..message(&peer, "t", id) };
                (id, journal.record(&Event::Decision { message: &message, denied: None }).unwrap())
            })
            .collect();
        // With `interval`, half of them have been recorded when their outcomes come.
        let (first, second) = decided.split_at(25);
        let end = |decided: &[(u64, Position)]| {
            for &(id, decision) in decided {
                let message = Message { at, ..message(&peer, "t", id) };
                let (result, duration) = (CallResult::Result, Duration::from_micros(id));
                let outcome = Event::Outcome { message: &message, decision, result, duration };
                journal.record(&outcome).unwrap();
            }
        };
        end(first);
        journal.flush().unwrap();
        end(second);
        journal.flush().unwrap();
        let entries = read_signed(directory.path());
        let decisions = calls_of(&entries, "call.decision");
        assert_eq!(decisions.len(), 50);
        let (ended, apart): (Vec<_>, Vec<_>) =
            decisions.into_iter().partition(|call| call.get("outcome").is_some());
        for call in &ended {
            assert_eq!(call["jsonrpc.request.id"], call["duration_us"].to_string());
        }
        assert_eq!(ended.len(), if durability == Durability::Interval { 25 } else { 0 });
        let outcomes = calls_of(&entries, "call.outcome");
        assert_eq!(outcomes.len(), apart.len());
        for call in &apart {
            let of = |outcome: &&Value| {
                outcome["decision_entry"] == call["entry"]
                    && outcome["decision_call"] == call["call"]
            };
            let of: Vec<_> = outcomes.iter().filter(of).collect();
            let [outcome] = &of[..] else { panic!("one outcome each: {of:?}") };
            assert_eq!(call["jsonrpc.request.id"], outcome["duration_us"].to_string());
        }
        assert!(entries.len() < 50, "some share an entry: {}", entries.len());
    }
}

#[test]
fn a_directory_that_others_can_use_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit");
    fs::create_dir(&log).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o750)).unwrap();
    let error = open_with(directory.path(), Durability::Fsync, RULES).unwrap_err();
    assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 0);
}

#[test]
fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), Durability::Fsync);
    let second = open_with(directory.path(), Durability::Fsync, RULES);
    let Err(OpenError::InUse { holder, .. }) = second else { panic!("it is not refused") };
    assert_eq!(holder, Some(std::process::id()));
    drop(first);
    open(directory.path(), Durability::Fsync);
}

#[test]
fn what_waits_is_on_disk_before_it_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    for (durability, id) in [(Durability::Fsync, 1), (Durability::Interval, 2)] {
        let journal = open(directory.path(), durability);
        journal.start("1").unwrap();
        call(&journal, "t", id).unwrap();
        // As if it were killed here: nothing of it is read but the files.
        let (entries, _) = read(directory.path());
        let call = entries.iter().rfind(|entry| entry["type"] == "call.decision").unwrap();
        assert_eq!(call["jsonrpc.request.id"], id.to_string());
        let outcome = entries.last().unwrap();
        assert_eq!(outcome["outcome"], "result");
        assert!(outcome == call || outcome["decision_entry"] == call["entry"]);
    }
}

#[test]
fn how_a_call_ended_does_not_wait_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    let peer = peer();
    let message = message(&peer, "t", 1);
    let decision = journal.record(&Event::Decision { message: &message, denied: None }).unwrap();
    assert_eq!(decision.durable(), decision.entries());
    wait(&journal, decision).unwrap();
    let refusal = Refusal::new(RefusalCode::NotAuthorized, "no");
    let (result, duration) = (CallResult::Result, Duration::ZERO);
    for event in [
        Event::Outcome { message: &message, decision, result, duration },
        Event::Decision { message: &message, denied: Some(&refusal) },
    ] {
        let position = journal.record(&event).unwrap();
        let polled = journal.poll_durable(position, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
        // The system has it.
        assert_eq!(read(directory.path()).0.len() as u64, position.entries());
    }
}

#[test]
fn with_interval_what_is_allowed_is_written_before_any_answer_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Interval);
    let peer = peer();
    let request = message(&peer, "t", 1);
    let polled = |position| {
        let polled = journal.poll_durable(position, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(()))), "{polled:?}");
        read(directory.path()).0.len()
    };
    let decision = journal.record(&Event::Decision { message: &request, denied: None }).unwrap();
    assert_eq!(polled(decision), 0);
    let (result, duration) = (CallResult::Result, Duration::ZERO);
    let outcome = Event::Outcome { message: &request, decision, result, duration };
    assert_eq!(polled(journal.record(&outcome).unwrap()), 1);
    let entries = read(directory.path()).0;
    assert_eq!([&entries[0]["decision"], &entries[0]["outcome"]], ["allow", "result"]);
    // Nobody answers a notification, and what is denied is answered by us.
    let notification = Message { id: None, ..request };
    let refusal = Refusal::new(RefusalCode::NotAuthorized, "no");
    for (message, denied, entries) in [(&notification, None, 2), (&request, Some(&refusal), 3)] {
        let position = journal.record(&Event::Decision { message, denied }).unwrap();
        assert_eq!(polled(position), entries);
    }
}

#[test]
fn what_a_kill_leaves_is_cut_off_and_told() {
    for torn in
        ["{\"entry\":3,\"ti", "{}\n", "\0\0\0\0", "{\"entry\":3,\"time\":1,\"type\":\"log.stop\"}"]
    {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), Durability::Fsync);
        journal.start("1").unwrap();
        call(&journal, "t", 1).unwrap();
        journal.flush().unwrap();
        // The process is gone without a word.
        std::mem::forget(journal.threads.lock().unwrap().drain(..).collect::<Vec<_>>());
        journal.shared.stop();
        while Arc::strong_count(&journal.shared) > 1 {
            thread::yield_now();
        }
        drop(journal);
        let path = files::days(&directory.path().join("audit"), ".jsonl").unwrap()[0].1.clone();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str(torn);
        fs::write(&path, &text).unwrap();
        let journal = open(directory.path(), Durability::Fsync);
        journal.start("1").unwrap();
        journal.close().unwrap();
        let entries = read_signed(directory.path());
        let expected = [
            "log.start",
            "call.decision",
            "call.outcome",
            "log.recovered",
            "log.start",
            "log.stop",
        ];
        assert_eq!(kinds(&entries), expected);
        assert_eq!(entries[3]["cut_bytes"], torn.len());
        let digest = Sha256::digest(torn.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entries[3]["sha256"], hex);
    }
}

#[test]
fn what_is_signed_is_never_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    call(&journal, "t", 1).unwrap();
    drop(journal);
    let path = files::days(&directory.path().join("audit"), ".jsonl").unwrap()[0].1.clone();
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [
        whole[..whole.len() - 3].to_owned(),
        whole.lines().take(2).map(|line| format!("{line}\n")).collect(),
        String::new(),
        whole.replacen("allow", "allaw", 1),
    ] {
        fs::write(&path, &damaged).unwrap();
        let error = open_with(directory.path(), Durability::Fsync, RULES).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "nothing is changed");
    }
    fs::remove_file(&path).unwrap();
    open_with(directory.path(), Durability::Fsync, RULES).unwrap_err();
    fs::write(&path, &whole).unwrap();
    open(directory.path(), Durability::Fsync);
}

#[test]
fn what_cannot_be_written_is_denied_until_it_can() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), durability);
        journal.start("1").unwrap();
        call(&journal, "t", 1).unwrap();
        // As a full disk does; it needs nothing of the system.
        journal.replace(Rules { max_total_size: Some(100), ..RULES });
        let error = call(&journal, "t", 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(journal.status().trouble.is_some());
        for id in 3..10 {
            call(&journal, "t", id).unwrap_err();
        }
        journal.replace(RULES);
        while call(&journal, "t", 10).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        journal.close().unwrap();
        let entries = read_signed(directory.path());
        let at = kinds(&entries).iter().position(|kind| *kind == "log.recovered").unwrap();
        assert!(entries[at]["unrecorded"].as_u64().unwrap() >= 7);
        let ids: BTreeSet<_> =
            entries.iter().filter_map(|entry| entry["jsonrpc.request.id"].as_str()).collect();
        assert_eq!(ids, BTreeSet::from(["1", "10"]));
    }
}

#[test]
fn what_was_allowed_before_has_its_outcome_and_who_waits_for_it_is_told() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), durability);
        journal.start("1").unwrap();
        let peer = peer();
        let message = message(&peer, "t", 1);
        let decision =
            journal.record(&Event::Decision { message: &message, denied: None }).unwrap();
        wait(&journal, decision).unwrap();
        journal.replace(Rules { max_total_size: Some(1), ..RULES });
        call(&journal, "t", 2).unwrap_err();
        let (result, duration) = (CallResult::Result, Duration::ZERO);
        let outcome = Event::Outcome { message: &message, decision, result, duration };
        // It is tried again and again to write what there is: not before we have looked.
        let files = lock(&journal.shared.files);
        let outcome = journal.record(&outcome).unwrap();
        wait(&journal, outcome).unwrap_err();
        drop(files);
        journal.replace(RULES);
        while call(&journal, "t", 3).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        journal.close().unwrap();
        let entries = read_signed(directory.path());
        // Where it was not waited for, it may be one with its decision.
        let ended = entries.iter().find(|entry| entry["outcome"] == "result").unwrap();
        let is_one = ended["type"] == "call.decision";
        assert!(!is_one || durability == Durability::Interval);
        let of = |entry: &&Value| entry["entry"] == ended["decision_entry"];
        let decided = if is_one { ended } else { entries.iter().find(of).unwrap() };
        assert_eq!(decided["jsonrpc.request.id"], "1");
    }
}

#[test]
fn a_call_that_is_in_the_log_has_its_outcome_there_whatever_the_rules_are_by_then() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path(), durability);
        let peer = peer();
        let message = message(&peer, "t", 1);
        let decision =
            journal.record(&Event::Decision { message: &message, denied: None }).unwrap();
        journal.replace(Rules { calls: false, ..RULES });
        let (result, duration) = (CallResult::Result, Duration::ZERO);
        let outcome = Event::Outcome { message: &message, decision, result, duration };
        wait(&journal, journal.record(&outcome).unwrap()).unwrap();
        let entries = read(directory.path()).0;
        assert_eq!(entries[0]["type"], "call.decision");
        assert_eq!(entries.last().unwrap()["outcome"], "result");
        call(&journal, "t", 2).unwrap();
        journal.flush().unwrap();
        assert_eq!(read_signed(directory.path()).len(), entries.len());
    }
}

#[test]
fn only_what_is_asked_for_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let rules = Rules { calls: false, ..RULES };
    let journal = open_with(directory.path(), Durability::Fsync, rules).unwrap();
    journal.start("1").unwrap();
    call(&journal, "t", 1).unwrap();
    let (peer, refusal) = (peer(), Refusal::new(RefusalCode::NotAuthorized, "no \"way\""));
    let denied = message(&peer, "t", 2);
    journal.record(&Event::Decision { message: &denied, denied: Some(&refusal) }).unwrap();
    // Anybody can cause these, so they are told together.
    for _ in 0..1_000 {
        let (address, refusal) = (Some(([10, 0, 0, 1], 5).into()), &refusal);
        let event = Event::ConnectionRefused { address, peer: None, server: None, refusal };
        journal.record(&event).unwrap();
    }
    journal.close().unwrap();
    let entries = read_signed(directory.path());
    assert_eq!(kinds(&entries), ["log.start", "call.decision", "refusals", "log.stop"]);
    assert_eq!(entries[1]["decision"], "deny");
    assert_eq!(entries[1]["reason"], "not_authorized");
    assert_eq!(entries[1]["detail"], "no \"way\"");
    assert_eq!(entries[2]["counts"]["not_authorized"], 1_000);
    assert_eq!(entries[2]["addresses"][0], "10.0.0.1");
}

#[test]
fn commands_record_what_is_theirs_alone() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.append(br#""type":"message.sent","agent":"Coder"}"#).unwrap();
    for bad in [
        r#""type":"call.decision","peer":"x"}"#,
        r#""type":"log.stop"}"#,
        r#""type":"message.sent","entry":1}"#,
        "\"type\":\"message.sent\"}\n",
        r#"{"type":"message.sent"}"#,
        &format!(r#""type":"message.sent","x":"{}"}}"#, "x".repeat(70_000)),
    ] {
        let error = journal.append(bad.as_bytes()).expect_err(bad);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
    journal.flush().unwrap();
    drop(journal);
    assert_eq!(kinds(&read_signed(directory.path())), ["message.sent"]);
}

#[test]
fn the_longest_entry_fits_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    let long = "\u{7}\"ü".repeat(100_000);
    let refusal = Refusal::new(RefusalCode::NotAuthorized, long.clone());
    let peer = peer();
    let id = Some(CallId::Json(&long));
    let message = Message { server: &long, method: &long, id, ..message(&peer, &long, 7) };
    let event = Event::Decision { message: &message, denied: Some(&refusal) };
    wait(&journal, journal.record(&event).unwrap()).unwrap();
    journal.flush().unwrap();
    let entries = read_signed(directory.path());
    assert_eq!(entries[0]["cut"], true);
    let path = files::days(&directory.path().join("audit"), ".jsonl").unwrap()[0].1.clone();
    assert!(fs::read(&path).unwrap().len() < 65_536);
    let file = fs::File::open(path).unwrap();
    assert_eq!(last_whole(&file).unwrap().next, Some(1));
}

#[test]
fn those_who_wait_at_once_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    let barrier = Barrier::new(16);
    thread::scope(|scope| {
        for id in 0..16 {
            let (journal, barrier) = (&journal, &barrier);
            scope.spawn(move || {
                for _ in 0..20 {
                    barrier.wait();
                    call(journal, "t", id).unwrap();
                }
            });
        }
    });
    drop(journal);
    let entries = read_signed(directory.path());
    for kind in ["call.decision", "call.outcome"] {
        assert_eq!(calls_of(&entries, kind).len(), 16 * 20);
    }
}

/// A log that was written for so many days up to today, with as many entries on each.
fn old_log(directory: &Path, days: u32, on_each: u64) -> Journal {
    let journal = open(directory, Durability::Fsync);
    let today = crate::Day::of(SystemTime::now().into());
    for day in (0..days).rev().map(|ago| today.earlier(ago)) {
        for n in 0..on_each {
            let body = format!(r#""type":"message.sent","day":"{day}","n":{n}}}"#);
            lock(&journal.shared.gathering).push(day.start(), body.as_bytes());
        }
        journal.shared.keys.hash(day, b"").unwrap();
    }
    journal.flush().unwrap();
    journal
}

#[test]
fn what_is_old_goes_and_what_stays_is_proven() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit");
    let journal = old_log(directory.path(), 100, 700);
    let today = crate::Day::of(SystemTime::now().into());
    let kept = today.earlier(90);
    let all = read_signed(directory.path());
    let leaves: Vec<TreeHash> = {
        let mut leaves = Vec::new();
        for (_, path) in files::days(&log, ".jsonl").unwrap() {
            leaves.extend(
                fs::read_to_string(path).unwrap().lines().map(|l| TreeHash::leaf(l.as_bytes())),
            );
        }
        leaves
    };
    journal.start("1").unwrap();
    journal.close().unwrap();
    let first = journal.status().first;
    let (entries, _) = read(directory.path());
    // Nine days are gone, but for what a bundle has of the tenth.
    assert_eq!(first, 9 * 700 / 256 * 256);
    assert_eq!(entries[0]["entry"], first);
    assert_eq!(entries.len() as u64, 70_000 - first + 3);
    assert_eq!(
        entries[..(9 * 700 - usize::try_from(first).unwrap())]
            .iter()
            .filter(|entry| entry["day"] == kept.earlier(1).to_string())
            .count() as u64,
        9 * 700 - first
    );
    let prune = entries.iter().find(|entry| entry["type"] == "log.prune").unwrap();
    assert_eq!(
        (prune["first_entry"].as_u64(), prune["before"].as_str()),
        (Some(first), Some(&*kept.to_string()))
    );
    // Its signed root is that of what is gone.
    let note = fs::read_to_string(log.join(PRUNED)).unwrap();
    let pruned = signer().verifier().pruned(&note).unwrap();
    let mut tree = Tree::new();
    leaves[..usize::try_from(first).unwrap()].iter().for_each(|leaf| tree.append(*leaf, |_| {}));
    assert_eq!((pruned.size, pruned.root), (first, tree.root()));
    let remaining = &all[usize::try_from(first).unwrap()..];
    assert_eq!(&entries[..remaining.len()], remaining);
    // With the keys of those days.
    let keys = files::days(&log.join("argument-keys"), "").unwrap();
    assert_eq!(keys.first().unwrap().0, kept);
    assert_eq!(keys.len(), 91);
    assert!(!log.join("tile/0/000").exists() && log.join("tile/0/024").exists());
    drop(journal);
    // And the log goes on from what is left.
    let journal = open(directory.path(), Durability::Fsync);
    journal.start("1").unwrap();
    call(&journal, "t", 1).unwrap();
    journal.close().unwrap();
    let edge = lock(&journal.shared.edge);
    let (entries, _) = read(directory.path());
    for entry in &entries[entries.len() - 7..] {
        assert!(entry["entry"].as_u64().unwrap() < edge.size());
    }
    let hashes = crate::path::Hashes { tree: edge.tree(), tiles: edge.tiles() };
    let signed = edge.signed().unwrap();
    for index in [first, 7_000, 65_535, 65_536, 69_999] {
        let proof = crate::path::inclusion_proof(&hashes, index, signed.size).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        assert!(crate::path::includes(leaf, index, signed.size, &proof, signed.root), "{index}");
    }
}

#[test]
fn a_prune_that_was_stopped_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit");
    let journal = old_log(directory.path(), 95, 300);
    let copy: Vec<_> = files::days(&log, ".jsonl")
        .unwrap()
        .into_iter()
        .map(|(_, path)| (fs::read(&path).unwrap(), path))
        .collect();
    journal.start("1").unwrap();
    drop(journal);
    let after: Vec<_> = files::days(&log, ".jsonl").unwrap();
    // The note was written, and no file is gone yet.
    for (content, path) in copy.iter().take(94) {
        fs::write(path, content).unwrap();
    }
    let journal = open(directory.path(), Durability::Fsync);
    assert_eq!(files::days(&log, ".jsonl").unwrap(), after);
    let first = journal.status().first;
    assert_eq!(first, 4 * 300 / 256 * 256);
    drop(journal);
    assert_eq!(read(directory.path()).0[0]["entry"], first);
}
