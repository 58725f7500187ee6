//! The log of what happened, read and proven by who was not there: `audit verify`, `prove`,
//! `tail`, `export`, and an implementation of the public specifications that has nothing to do
//! with this one (tests/python/audit.py).

mod ocsf;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, run, tool, wait_until};
use sealwire_tests::{call_echo, serving_echo};
use serde_json::{Value, json};

fn log_dir(home: &Home) -> PathBuf {
    home.path().join("audit")
}

fn key_file(home: &Home) -> PathBuf {
    home.path().join("keys/audit-signing.pub")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What the other implementation says of it.
fn python(arguments: &[&str]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/audit.py");
    let mut command = Command::new(tool("venv-cose/bin/python"));
    command.arg(script).args(arguments).stdin(Stdio::null());
    let output = run(command, b"");
    if output.code == Some(0) { Ok(whole(&output.stdout)) } else { Err(output.stderr) }
}

fn audit(home: &Home, arguments: &[&str]) -> String {
    let words: Vec<_> = ["audit"].iter().chain(arguments).copied().collect();
    whole(&home.run(&words).ok().stdout)
}

/// With the line feed that its last line has.
fn whole(stdout: &str) -> String {
    if stdout.is_empty() { String::new() } else { format!("{stdout}\n") }
}

fn verified(home: &Home) -> Value {
    serde_json::from_str(&audit(home, &["verify", "--json"])).unwrap()
}

fn entries(home: &Home) -> Vec<Value> {
    let text = audit(home, &["tail", "--json", "-n", "100000"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A log that ended in good order, with a checkpoint that was taken on the way.
struct Written {
    home: Home,
    kept: PathBuf,
}

fn written(calls: usize) -> Written {
    let (home, serve) = serving_echo("");
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    for n in 0..calls / 2 {
        call_echo(&mut client, &format!("first\n{n}"));
    }
    let kept = home.file("kept.txt");
    wait_until("something is signed", || {
        let shown = home.run(&["audit", "checkpoint"]);
        fs::write(&kept, whole(&shown.stdout)).unwrap();
        shown.code == Some(0)
    });
    // Names that want to be another line, entry or terminal command.
    let evil = "x\"}\n{\"entry\":0,\"time\":0,\"type\":\"forged\"}\n\u{1b}[2J\u{202e}";
    let answer = client.request("tools/call", &json!({"name": evil, "arguments": {evil: evil}}));
    assert!(answer["error"].is_object() || answer["result"].is_object(), "{answer}");
    for n in calls / 2..calls {
        call_echo(&mut client, &format!("{n}"));
    }
    let (status, _) = client.finish();
    assert!(status.success());
    assert!(serve.stop().success());
    Written { home, kept }
}

#[test]
fn another_implementation_verifies_log_proofs_and_growth() {
    let Written { home, kept } = written(400);
    let (log, key) = (log_dir(&home), key_file(&home));
    let found = verified(&home);
    assert_eq!(found["whole"], true, "{found}");
    let size = found["tree_size"].as_u64().unwrap();
    assert!(size > 800, "a decision and an outcome for each call: {found}");
    assert_eq!(found["signed_tree_size"], size, "all of it is signed at the end");

    let theirs = python(&["log", path(&log), path(&key)]).unwrap();
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    assert_eq!(theirs["tree_size"], found["tree_size"]);
    assert_eq!(theirs["root_hash"], found["root_hash"]);
    assert!(theirs["tiles"].as_u64().unwrap() >= 3, "{theirs}");

    let file = home.file("entry.tlog-proof");
    for entry in [0, 1, 255, 256, 511, size - 1] {
        let proof = audit(&home, &["prove", &entry.to_string()]);
        fs::write(&file, &proof).unwrap();
        let shown = python(&["entry", path(&file), path(&key)]).unwrap();
        assert_eq!(shown, audit(&home, &["prove", "--check", path(&file)]));
        let line: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(line["entry"], entry);
        // Nobody believes it of another place.
        let moved = format!("index {}", entry + 1);
        fs::write(&file, proof.replace(&format!("index {entry}"), &moved)).unwrap();
        python(&["entry", path(&file), path(&key)]).unwrap_err();
        assert_eq!(home.run(&["audit", "prove", "--check", path(&file)]).code, Some(1));
    }

    let proof = audit(&home, &["prove", "--since", path(&kept)]);
    fs::write(&file, &proof).unwrap();
    python(&["growth", path(&file), path(&kept), path(&key)]).unwrap();
    let found: Value =
        serde_json::from_str(&audit(&home, &["verify", "--json", "--checkpoint", path(&kept)]))
            .unwrap();
    assert_eq!(found["checkpoints_elsewhere"], json!({"given": 1, "confirmed": 1}));

    // An entry is altered: both see it, and the first bad place is named.
    let day = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
    let day = day.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).min().unwrap();
    let text = fs::read_to_string(&day).unwrap();
    fs::write(&day, text.replacen("\"decision\":\"allow\"", "\"decision\":\"deny!\"", 1)).unwrap();
    python(&["log", path(&log), path(&key)]).unwrap_err();
    let shown = home.run(&["audit", "verify"]);
    assert_eq!(shown.code, Some(1));
    let line = 1 + text.lines().position(|l| l.contains("\"decision\":\"allow\"")).unwrap();
    let place = format!("{}, line {line}", day.display());
    assert!(shown.stdout.contains(&format!("PROBLEM    entry {}: ", line - 1)), "{shown}");
    assert!(shown.stdout.contains(&place) && shown.stderr.contains(&place), "{shown}");
}

#[test]
fn which_entries_there_are_is_told_by_whoever_is_asked_for_another() {
    let home = written(3).home;
    let entries = entries(&home).len();
    let prove = |entry: &str| home.run(&["audit", "prove", entry]);
    assert_eq!(prove(&(entries - 1).to_string()).code, Some(0));
    let none = prove(&entries.to_string());
    assert_eq!(none.code, Some(1), "{none}");
    let there = format!("to fix: the log has the entries 0 to {}", entries - 1);
    assert!(none.stderr.contains(&there) && none.stderr.contains("audit tail"), "{none}");
    // Not of a growth: there is nothing to choose.
    let (_, kept) = (home.write("kept", "no checkpoint"), home.file("kept"));
    let growth = home.run(&["audit", "prove", "--since", path(&kept)]);
    assert!(!growth.stderr.contains("has the entries"), "{growth}");
}

#[test]
fn names_and_arguments_bring_in_no_line_and_no_terminal_command() {
    let Written { home, .. } = written(2);
    assert_eq!(verified(&home)["whole"], true);
    let entries = entries(&home);
    assert!(entries.iter().all(|entry| entry["type"] != "forged"));
    let named = |entry: &&Value| {
        entry["gen_ai.tool.name"].as_str().is_some_and(|name| name.contains("\n{\"entry\":0"))
    };
    assert!(entries.iter().any(|entry| named(&entry)), "it is told as it was: {entries:?}");
    for arguments in [
        &["tail", "-n", "1000"][..],
        &["tail", "--json", "-n", "1000"],
        &["export", "--format", "csv"],
        &["export", "--format", "ocsf"],
    ] {
        let shown = audit(&home, arguments);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }
    let table = audit(&home, &["export", "--format", "csv"]);
    assert_eq!(table.lines().count(), entries.len() + 1);
    let events = audit(&home, &["export", "--format", "ocsf"]);
    let events: Vec<Value> = events.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), entries.len());
    events.iter().for_each(ocsf::holds);
    let none = audit(&home, &["export", "--format", "ocsf", "--to", "2020-01-01"]);
    assert_eq!(none, "");
}

#[test]
fn a_copy_is_verified_elsewhere_with_the_public_key_alone() {
    let Written { home, kept } = written(2);
    let elsewhere = Home::empty();
    let copy = elsewhere.path().join("copy");
    let mut command = Command::new("cp");
    command.arg("-r").arg(log_dir(&home)).arg(&copy);
    run(command, b"").ok();
    let key = key_file(&home);
    let arguments = ["audit", "verify", "--log-dir", path(&copy), "--key", path(&key)];
    let shown = elsewhere.run(&arguments).ok().stdout;
    assert!(shown.contains("proven     the entries are those that were signed"), "{shown}");
    assert!(shown.contains("none was given: keep some elsewhere"), "{shown}");

    // The log was begun anew, as it were: with its own key everything fits, but for what was kept.
    let other = written(2);
    let arguments =
        ["audit", "verify", "--log-dir", path(&copy), "--key", path(&key), "--checkpoint"];
    let with = |kept: &Path| elsewhere.run(&[&arguments[..], &[path(kept)]].concat());
    let shown = with(&kept).ok().stdout;
    assert!(shown.contains("elsewhere  1 of 1 checkpoint fits\n"), "{shown}");
    let shown = with(&other.kept);
    assert_eq!(shown.code, Some(1));
    assert!(shown.stdout.contains("it is about another log"), "{shown}");
}

#[test]
fn tail_follows_what_is_written() {
    let (home, serve) = serving_echo("");
    let mut command = home.sealwire();
    command.args(["audit", "tail", "--follow", "--json", "-n", "1"]).stdout(Stdio::piped());
    let mut tail = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    call_echo(&mut client, "shown");
    let mut decided = None;
    let outcome = lines.find(|line| {
        let entry: Value = serde_json::from_str(line.as_ref().unwrap()).unwrap();
        if entry["type"] == "call.decision" && entry["mcp.method.name"] == "tools/call" {
            decided = Some(entry["entry"].clone());
        }
        entry["type"] == "call.outcome" && Some(&entry["decision_entry"]) == decided.as_ref()
    });
    assert!(outcome.is_some());
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(serve.stop().success());
}
