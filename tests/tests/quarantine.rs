//! Who is shut out by command: what is live is cut, nothing is resumed, and no restart forgets.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Instant;
use std::{fs, io::Read};

use sealwire_testkit::{
    Connect, GUARD, Home, Log, Serve, bin, install, run, server_table, wait_until,
};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, call_echo, echo_table, honest_session, serving_echo};
use serde_json::{Value, json};

/// Neither root nor the owner of anything.
const NOBODY: u32 = 65_534;

fn add(home: &Home, target: &str) -> String {
    let words: Vec<_> = ["quarantine", "add"].into_iter().chain(target.split(' ')).collect();
    home.run(&words).ok().stdout
}

fn lift(home: &Home, target: &str) {
    let words: Vec<_> = ["quarantine", "lift"].into_iter().chain(target.split(' ')).collect();
    home.run(&words).ok();
}

fn status(home: &Home) -> Value {
    serde_json::from_str(&home.run(&["status", "--json"]).ok().stdout).unwrap()
}

/// A client in a conversation that works.
fn client(home: &Home, serve: &Serve, server: &str) -> Connect {
    let mut client = Connect::start(home, server, serve.address());
    client.initialize();
    call_echo(&mut client, "before");
    client
}

/// The client is refused with this code, when it comes back or at first.
fn is_refused(home: &Home, serve: &Serve, server: &str, code: &str) {
    let mark = serve.log().mark();
    let output = home.connect_once(server, serve.address(), b"");
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains(code), "{output}");
    serve.refused(mark, code);
}

#[test]
fn a_live_peer_is_cut_and_does_not_come_back() {
    let (home, serve) = serving_echo("");
    let mut cut = client(&home, &serve, "echo");
    let mark = serve.log().mark();
    assert!(add(&home, "peer core/core --reason stolen").contains("1 conversation ended"));
    // What the client sends from now on is answered with an error, or it has ended already.
    assert!(!cut.process().wait().success());
    cut.log().wait_for(&["peer_quarantined"]);
    let line = serve.refused(mark, "peer_quarantined");
    assert!(line.contains(CORE) && line.contains("stolen"), "{line}");
    wait_until("its server process is gone", || {
        status(&home)["conversations"].as_array().unwrap().is_empty()
    });
    is_refused(&home, &serve, "echo", "peer_quarantined");
    let shown = home.run(&["quarantine", "list", "--json"]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["reason"]), (&json!(CORE), &json!("stolen")));
    lift(&home, "peer core/core");
    honest_session(&home, serve.address());
    assert_eq!(home.run(&["quarantine", "lift", "peer", "core/core"]).code, Some(1));
}

/// Not while it holds, by the session and the handle of before, and not when it is lifted either.
#[test]
fn neither_a_tls_session_nor_a_conversation_is_resumed() {
    let (home, serve) = serving_echo("");
    let tls = LinkClient::tls(&home, &home.core_pair());
    let dial = || LinkClient::dial_with(&tls, "echo", serve.address());
    let mut away = dial();
    let waiting = away.open();
    drop(away);
    let mut live = dial();
    let granted = live.open();
    assert!(add(&home, "peer core/core").contains("2 conversations ended"));
    live.until_closed();
    for handle in [granted, waiting] {
        let mut back = dial();
        assert!(back.has_resumed(), "or it is only another handshake");
        back.hello(Some(handle.resume(1)), 0);
        assert_eq!(back.granted(), Err("peer_quarantined".to_owned()));
        assert_eq!(back.until_closed(), []);
    }
    lift(&home, "peer core/core");
    for handle in [granted, waiting] {
        let mut back = dial();
        back.hello(Some(handle.resume(2)), 0);
        assert_eq!(back.granted(), Err("resume_unknown".to_owned()));
    }
    dial().open();
}

#[test]
fn a_suspended_server_is_reached_by_nobody_and_others_go_on() {
    let fake = bin("sealwire-fake-server");
    let two = format!("{}\n{}", echo_table(), server_table("other", fake, &[]));
    let home = Home::with_config(&two);
    let serve = Serve::start(&home);
    let mut suspended = client(&home, &serve, "other");
    let mut stays = client(&home, &serve, "echo");
    add(&home, "server other");
    assert!(!suspended.process().wait().success());
    is_refused(&home, &serve, "other", "server_suspended");
    call_echo(&mut stays, "still here");
    lift(&home, "server other");
    client(&home, &serve, "other");
    let unknown = home.run(&["quarantine", "add", "server", "othre"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.stderr.contains("other"), "{unknown}");
}

#[test]
fn no_restart_forgets_and_without_a_daemon_the_next_one_begins_with_it() {
    let (home, serve) = serving_echo("");
    add(&home, "peer core/core");
    drop(serve);
    let serve = Serve::start(&home);
    is_refused(&home, &serve, "echo", "peer_quarantined");
    serve.stop();
    lift(&home, "peer core/core");
    assert!(add(&home, "server echo").contains("the next one begins with it"));
    let serve = Serve::start(&home);
    is_refused(&home, &serve, "echo", "server_suspended");
    lift(&home, "server echo");
    honest_session(&home, serve.address());
}

#[test]
fn it_ends_by_itself() {
    let (home, serve) = serving_echo("");
    add(&home, "peer core/core --for 2s");
    let deadline = Instant::now() + GUARD;
    // Refused at first, admitted in the end, and nobody has lifted it.
    is_refused(&home, &serve, "echo", "peer_quarantined");
    while home.connect_once("echo", serve.address(), b"").code != Some(0) {
        assert!(Instant::now() < deadline, "it never ends");
    }
    honest_session(&home, serve.address());
    assert_eq!(home.run(&["quarantine", "list", "--json"]).ok().stdout, "[]");
}

#[test]
fn a_state_that_cannot_be_read_keeps_everybody_out() {
    let home = Home::with_config(&echo_table());
    home.write("state.db", "this is no database, and somebody may have been in quarantine");
    home.chmod("state.db", 0o600);
    let output = home.run(&["serve"]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("state.db") && output.stderr.contains("to fix:"), "{output}");
}

/// How long it takes from the start of the command until the client is cut, 100 times.
#[test]
fn live_connections_are_reached_at_once() {
    let (home, serve) = serving_echo("");
    let mut times = Vec::new();
    for _ in 0..100 {
        let mut client = client(&home, &serve, "echo");
        let client_log = client.log().clone();
        let waiting = thread::spawn(move || {
            client_log.wait_for(&["peer_quarantined"]);
            Instant::now()
        });
        let began = Instant::now();
        add(&home, "peer core/core");
        times.push(waiting.join().unwrap().saturating_duration_since(began));
        assert!(!client.process().wait().success());
        is_refused(&home, &serve, "echo", "peer_quarantined");
        lift(&home, "peer core/core");
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("quarantine by command reaches a live peer: median {median:?}, worst {worst:?}");
}

#[test]
fn the_socket_is_the_owners_alone() {
    let (home, _serve) = serving_echo("");
    let mode = |path: &str| fs::metadata(home.file(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("run"), 0o700);
    assert_eq!(mode("run/control.sock"), 0o600);
    assert_eq!(mode("state.db"), 0o600);
    status(&home);

    // Even where the files let him, another user is refused: the kernel tells who it is.
    for path in ["run/control.sock", "run", "."] {
        home.chmod(path, 0o777);
    }
    // Where nobody else may go, the program has to come along.
    let program = home.file("sealwire");
    install(&bin("sealwire"), &program);
    let mut command = Command::new(&program);
    command.arg("--home").arg(home.path()).args(["status", "--json"]).uid(NOBODY).gid(NOBODY);
    assert!(is_root(), "this test needs root, to be another user for a moment");
    let output = run(command, b"");
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("user 65534 may not command"), "{output}");
    status(&home);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn what_is_said_on_the_socket_is_bounded_and_checked() {
    let (home, _serve) = serving_echo("");
    let socket = home.file("run/control.sock");
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        // It may be refused before it has been read to its end.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    for wrong in [
        "{}\n",
        "[]\n",
        "{\"command\":\"obey\"}\n",
        "{\"command\":\"status\",\"more\":1}\n",
        "{\"command\":\"quarantine_add\",\"kind\":\"peer\",\"name\":\"x\",\"reason\":\"\",\"until\":null}\n",
        "{\"command\":\"status\"}",
    ] {
        let answer = ask(wrong.as_bytes());
        assert!(answer.starts_with("{\"failed\""), "{wrong}: {answer}");
    }
    let long = ask(&vec![b' '; 41 << 20]);
    assert!(long.is_empty() || long.contains("at most 41943040 bytes"), "{long}");
    let twice = ask(b"{\"command\":\"status\"}\n{\"command\":\"quarantine_list\"}\n");
    assert_eq!(twice.lines().count(), 2, "{twice}");
    // Who holds connections open and says nothing keeps nobody out for good.
    let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    status(&home);
    drop(silent);
}

#[test]
fn one_home_is_served_by_one_and_what_a_dead_one_left_is_no_obstacle() {
    let (home, serve) = serving_echo("");
    let second = home.run(&["serve"]);
    assert_eq!(second.code, Some(1), "{second}");
    assert!(second.stderr.contains("another `serve` runs with this home"), "{second}");
    honest_session(&home, serve.address());
    // SIGKILL: the socket stays behind.
    drop(serve);
    assert!(home.file("run/control.sock").exists());
    let gone = home.run(&["status"]);
    assert_eq!(gone.code, Some(1), "{gone}");
    let serve = Serve::start(&home);
    status(&home);
    honest_session(&home, serve.address());
}

#[test]
fn a_reload_by_command_tells_how_it_ended() {
    let (home, serve) = serving_echo("");
    status(&home);
    assert_eq!(home.run(&["reload"]).ok().stdout, "nothing has changed");
    home.configure(&format!("{}\n[security]\nno_such_key = 1\n", echo_table()));
    let refused = home.run(&["reload"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("no_such_key"), "{refused}");
    honest_session(&home, serve.address());
}

#[test]
fn status_tells_who_is_there_and_what_was_denied() {
    let config = format!("{}\n[[policy.deny]]\nmethods = [\"prompts/list\"]\n", echo_table());
    let home = Home::with_config(&config);
    let serve = Serve::start(&home);
    let mut client = client(&home, &serve, "echo");
    let denied = client.request("prompts/list", &json!({}));
    assert!(denied["error"].is_object(), "{denied}");
    let shown = status(&home);
    assert_eq!(shown["conversations"][0]["peer"], CORE, "{shown}");
    assert_eq!(shown["conversations"][0]["denied"], 1, "{shown}");
    // initialize, initialized, tools/call.
    assert_eq!(shown["conversations"][0]["allowed"], 3, "{shown}");
    assert_eq!(shown["listeners"][0]["servers"], json!(["echo"]), "{shown}");
    client.finish();
    wait_until("it has ended", || status(&home)["conversations_ended"] == 1);
    assert_eq!(status(&home)["messages"], json!({"allowed": 3, "denied": 1}));
    let text = home.run(&["status"]).ok().stdout;
    assert!(
        text.contains("3 passed, 1 denied") && text.contains("nobody is quarantined"),
        "{text}"
    );

    // Into a pipe, one after the other, and nothing that moves a cursor.
    let mut command = home.sealwire();
    command.args(["status", "--watch", "--every", "20ms"]).stdout(std::process::Stdio::piped());
    let mut watching = sealwire_testkit::Process::spawn(command);
    let shown = Log::follow(watching.child().stdout.take().unwrap());
    wait_until("it has looked again", || {
        shown.lines().iter().filter(|line| line.contains("/s)")).count() >= 2
    });
    assert!(!shown.lines().iter().any(|line| line.contains('\u{1b}')));
}

/// The daemon, commands that find it and commands that do not, all at once: the file is whole,
/// and holds what the last of them said.
#[test]
fn many_processes_never_corrupt_the_state() {
    let home = Home::with_config(&echo_table());
    thread::scope(|scope| {
        for number in 0..4 {
            let home = &home;
            scope.spawn(move || {
                for round in 0..5 {
                    let (name, reason) = (format!("A{number}"), format!("r{round}"));
                    let words = ["quarantine", "add", "agent", &name, "--reason", &reason];
                    // One that serve's end leaves without an answer says so, and is repeated.
                    wait_until("it is written", || home.run(&words).code == Some(0));
                }
            });
        }
        let serve = Serve::start(&home);
        add(&home, "peer core/other");
        drop(serve);
    });
    let shown = home.run(&["quarantine", "list", "--json"]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let mut names: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["name"].as_str().unwrap(), entry["reason"].as_str().unwrap()))
        .collect();
    names.sort_unstable();
    let other = "spiffe://sealwire.internal/core/other";
    assert_eq!(
        names,
        [("A0", "r4"), ("A1", "r4"), ("A2", "r4"), ("A3", "r4"), (other, "by an operator")]
    );
    let mut check = Command::new("python3");
    check.args([
        "-c",
        "import sqlite3, sys\nprint(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])",
    ]);
    check.arg(home.file("state.db"));
    assert_eq!(run(check, b"").ok().stdout, "ok");
}

/// A quarantined agent neither sends nor receives.
#[test]
fn a_quarantined_agent_is_silent() {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let send = || {
        let mut command = home.sealwire();
        command.args(["agent", "send", "--from", "General", "--to", "CodeExpert"]);
        run(command, b"hello")
    };
    send().ok();
    add(&home, "agent General --reason \"\u{fc}ber\"");
    let refused = send();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("agent_quarantined"), "{refused}");
    lift(&home, "agent General");
    send().ok();
}

/// Whoever waits for mail goes by the time, and needs no other change to notice it.
#[test]
fn an_agents_quarantine_ends_for_those_who_follow() {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let mut command = home.sealwire();
    command.args(["--log-level", "info", "agent", "recv", "--as", "CodeExpert", "--follow"]);
    command.stdout(std::process::Stdio::piped());
    let mut follower = sealwire_testkit::Process::spawn(command);
    let received = Log::follow(follower.child().stdout.take().unwrap());
    let send = |content: &[u8]| {
        let mut command = home.sealwire();
        command.args(["agent", "send", "--from", "General", "--to", "CodeExpert"]);
        run(command, content)
    };
    send(b"before").ok();
    received.wait_for(&["before"]);
    add(&home, "agent General --for 3s");
    follower.log().wait_for(&["configuration reloaded"]);
    wait_until("it has expired", || send(b"afterwards").code == Some(0));
    received.wait_for(&["afterwards"]);
}
