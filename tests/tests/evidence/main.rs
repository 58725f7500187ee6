//! The log of what happened: nothing is answered that is not in it, and nothing reaches a server
//! unless it is, whatever happens to the process or to the disk.

mod broken;
mod commands;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sealwire_testkit::evidence::{calls, entries};
use sealwire_testkit::{Home, Process, Serve, bin, quoted, server_table, wait_until};
use sealwire_tests::echo_params;
use serde_json::{Value, json};

/// A configuration of the server `echo`, whose child keeps a copy of what it gets in the file
/// `got`.
fn recording_table(home: &Home) -> String {
    let script = home.script(
        "server.sh",
        &format!("tee -a {} | {}", quoted(home.file("got")), quoted(bin("sealwire-fake-server"))),
    );
    server_table("echo", "sh", &[script.to_str().unwrap()])
}

/// Every entry of the log, each call of one by itself.
fn records(log: &Path) -> Vec<Value> {
    entries(log).iter().flat_map(calls).collect()
}

fn of_type<'e>(entries: &'e [Value], kind: &str) -> Vec<&'e Value> {
    entries.iter().filter(|entry| entry["type"] == kind).collect()
}

/// The ids of calls that the servers have got.
fn got(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.file("got")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["method"] == "tools/call").map(|line| line["id"].to_string()).collect()
}

/// No call was answered whose outcome is not in the log, none reached a server whose decision
/// is not, and each outcome is that of its decision.
fn all_is_there(home: &Home, log: &Path, answered: &[String]) {
    all_were_decided(home, &records(log));
    all_answered_are_there(home, log, answered);
}

/// Each call that was answered is in the log, with its outcome; and the log is whole.
fn all_answered_are_there(home: &Home, log: &Path, answered: &[String]) {
    let records = records(log);
    let decided = decided(&records);
    let with_outcome = of_type(&records, "call.decision").into_iter();
    let with_outcome = with_outcome.filter(|call| call.get("outcome").is_some());
    let outcomes = of_type(&records, "call.outcome").into_iter();
    let ended: BTreeSet<_> = outcomes
        .map(|call| place(call, "decision_entry", "decision_call"))
        .chain(with_outcome.map(|call| place(call, "entry", "call")))
        .collect();
    for id in answered {
        let decision = decided.get(id).unwrap_or_else(|| panic!("call {id} was answered unlogged"));
        assert!(ended.contains(decision), "call {id} was answered, and has no outcome");
    }
    home.run(&["audit", "verify"]).ok();
}

/// No call has reached a server that is not in the log as allowed.
fn all_were_decided(home: &Home, records: &[Value]) {
    let decided = decided(records);
    for id in got(home) {
        assert!(decided.contains_key(&id), "call {id} reached the server unlogged");
    }
}

/// Where each call is decided that was allowed.
fn decided(records: &[Value]) -> BTreeMap<String, (Option<u64>, u64)> {
    let mut decided = BTreeMap::new();
    for call in of_type(records, "call.decision") {
        if call["decision"] == "allow" && call["mcp.method.name"] == "tools/call" {
            let id = call["jsonrpc.request.id"].as_str().unwrap();
            decided.insert(id.to_owned(), place(call, "entry", "call"));
        }
    }
    decided
}

fn place(record: &Value, entry: &str, call: &str) -> (Option<u64>, u64) {
    (record[entry].as_u64(), record[call].as_u64().unwrap_or(0))
}

/// Calls that a client has under way: more than a burst, and far fewer than fill the smallest disk,
/// or there might be no answer before it is full.
const UNDER_WAY: usize = 256;

/// A client that calls as fast as it can, with ids that begin with `name`.
struct Caller {
    connect: Process,
    answered: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Vec<Value>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Caller {
    fn start(home: &Home, serve: &Serve, name: &str) -> Self {
        let mut command = home.connect_command("echo", serve.address(), "");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut connect = Process::spawn(command);
        let mut stdin = connect.child().stdin.take().unwrap();
        let stdout = connect.child().stdout.take().unwrap();
        let answered = Arc::<Mutex<Vec<String>>>::default();
        let refused = Arc::<Mutex<Vec<Value>>>::default();
        let (taking, refusing) = (Arc::clone(&answered), Arc::clone(&refused));
        let (done, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counting, ending) = (Arc::clone(&done), Arc::clone(&is_over));
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                if answer.get("result").is_some() {
                    taking.lock().unwrap().push(answer["id"].to_string());
                } else {
                    refusing.lock().unwrap().push(answer);
                }
                counting.fetch_add(1, Relaxed);
            }
            ending.store(true, Relaxed);
        });
        let name = name.to_owned();
        thread::spawn(move || {
            for n in 0.. {
                while n >= done.load(Relaxed) + UNDER_WAY && !is_over.load(Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                let (id, params) = (format!("{name}-{n}"), echo_params(&name));
                let call =
                    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
                if writeln!(stdin, "{call}").is_err() {
                    break;
                }
            }
        });
        Self { connect, answered, refused, reader: Some(reader) }
    }

    fn answers(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// Ends it at once; the ids of the calls that were answered, and what was not with a result.
    fn stop(mut self) -> (Vec<String>, Vec<Value>) {
        let _gone = self.connect.child().kill();
        self.reader.take().unwrap().join().unwrap();
        let answered = std::mem::take(&mut *self.answered.lock().unwrap());
        (answered, std::mem::take(&mut *self.refused.lock().unwrap()))
    }
}

/// How often; a soak does more.
fn rounds(few: u32, many: u32) -> u32 {
    if std::env::var_os("SEALWIRE_SOAK").is_some() { many } else { few }
}

#[test]
fn killed_under_load_no_answer_is_missing_and_with_fsync_nothing_passed_unlogged() {
    for durability in ["fsync", "interval"] {
        let home = Home::initialized();
        let audit = format!("[audit]\ndurability = \"{durability}\"\n");
        home.configure(&format!("{audit}{}", recording_table(&home)));
        home.run(&["cert", "issue", "--all"]).ok();
        let log = home.file("audit");
        let mut answered = Vec::new();
        for round in 0..rounds(25, 100) {
            let mut serve = Serve::start(&home);
            let caller = Caller::start(&home, &serve, &format!("r{round}"));
            // Each time after more or fewer calls.
            let some = usize::try_from(round * 37 % 200).unwrap();
            wait_until("calls are answered", || caller.answers() > some);
            serve.process().child().kill().unwrap();
            serve.process().wait();
            // What is on its way is still read.
            thread::sleep(Duration::from_millis(20));
            answered.extend(caller.stop().0);
            // A server that was just being started may still hold what was open.
            let lock = fs::File::open(home.file("run/serve.lock")).unwrap();
            wait_until("it is gone", || lock.try_lock().is_ok());
        }
        assert!(answered.len() > 100, "{} answers", answered.len());
        // It goes on from whatever the last kill has left.
        drop(Serve::start(&home));
        // With `interval`, the log is not ahead of the call, but of its answer.
        match durability {
            "fsync" => all_is_there(&home, &log, &answered),
            _ => all_answered_are_there(&home, &log, &answered),
        }
        let starts = of_type(&entries(&log), "log.start").len();
        assert_eq!(starts, usize::try_from(rounds(25, 100)).unwrap() + 1);
    }
}

/// A disk without power has of the day's file what was synced: no less than was signed.
#[test]
fn after_a_power_cut_nothing_has_passed_that_is_not_there() {
    let home = Home::initialized();
    home.configure(&recording_table(&home));
    home.run(&["cert", "issue", "--all"]).ok();
    let log = home.file("audit");
    let ahead = log.join("write-ahead");
    let mut serve = Serve::start(&home);
    let caller = Caller::start(&home, &serve, "a");
    wait_until("the log is written ahead", || ahead.exists());
    let checkpoint = || fs::read_to_string(log.join("checkpoint")).unwrap();
    let first = checkpoint();
    wait_until("what came before is signed", || checkpoint() != first);
    let before = caller.answers();
    wait_until("more calls are answered", || caller.answers() > before + 500);
    serve.process().child().kill().unwrap();
    serve.process().wait();
    caller.stop();
    let signed: usize = checkpoint().lines().nth(1).unwrap().parse().unwrap();
    let day = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
    let day = day.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let day = day.unwrap();
    let text = fs::read_to_string(&day).unwrap();
    let synced: String = text.split_inclusive('\n').take(signed).collect();
    assert!(synced.len() < text.len());
    fs::write(&day, synced).unwrap();

    let lock = fs::File::open(home.file("run/serve.lock")).unwrap();
    wait_until("it is gone", || lock.try_lock().is_ok());
    drop(lock);
    let serve = Serve::start(&home);
    serve.log().wait_for(&["end of the audit log was lost"]);
    serve.stop();
    assert!(!ahead.exists());
    let records = records(&log);
    all_were_decided(&home, &records);
    assert!(of_type(&records, "log.recovered")[0]["restored_bytes"].as_u64() > Some(0));
    home.run(&["audit", "verify"]).ok();
}
