//! What is repeated to a server that takes another's place, what is not, and what ends it.

use std::fs;
use std::thread;
use std::time::Duration;

use sealwire_testkit::{Home, wait_until};
use sealwire_tests::restarted::{OPENING, Restarted, scripted, word};
use sealwire_tests::wire_table;
use serde_json::json;

/// Not even a flood of what waits for a new server fills `connect`'s memory.
const MEMORY: usize = 64 << 20;

#[test]
fn a_server_with_other_capabilities_is_not_taken_for_the_old_one() {
    for other in [
        OPENING.replace(r#""listChanged":true"#, r#""listChanged":false"#),
        OPENING.replace(r#","resources":{}"#, ""),
        OPENING.replace("2025-11-25", "2025-06-18"),
    ] {
        let (mut serving, mut client) = scripted("");
        client.initialize();
        serving.kill();
        client.log().wait_for(&["WARN", "no connection"]);
        let waiting = client.send_request("tools/call", &json!({"name": "later"}));
        serving.home.write("opening", &other);
        serving.start();
        let answer = client.receive_json();
        assert_eq!((&answer["id"], word(&answer)), (&json!(waiting), "not_sent"), "{answer}");
        assert_eq!(client.process().wait().code(), Some(1));
        let log = client.log().wait_end().join("\n");
        for part in ["other capabilities", "to fix:", "session again"] {
            assert!(log.contains(part), "{part:?} missing: {log}");
        }
        assert!(!serving.recorded().contains("later"), "sent to another server");
    }
}

/// Capabilities are compared as JSON, and only they: a newer version may say it otherwise.
#[test]
fn a_newer_version_of_the_same_server_takes_its_place() {
    let (mut serving, mut client) = scripted("");
    client.initialize();
    serving.stop();
    let newer = r#"{"capabilities": {"resources": { }, "tools": {"listChanged": true}},
        "serverInfo": {"name": "x", "version": "2"}, "instructions": "new", "protocolVersion": "2025-11-25"}"#;
    serving.home.write("opening", newer.replace('\n', ""));
    serving.start();
    assert_eq!(client.receive_json()["method"], "notifications/tools/list_changed");
    assert_eq!(client.request("tools/call", &json!({"name": "later"}))["result"], json!({}));
}

/// Neither silence nor any amount of words takes the place of an answer to `initialize`.
#[test]
fn a_server_that_never_opens_is_given_up() {
    let (mut serving, mut client) = scripted("[listen]\nreconnect_timeout = \"3s\"");
    client.initialize();
    let lost = client.send_request("tools/call", &json!({"name": "transfer"}));
    wait_until("the call is executed", || serving.recorded().contains("transfer"));
    serving.kill();
    client.log().wait_for(&["WARN", "no connection"]);
    let waiting = client.send_request("tools/call", &json!({"name": "later"}));
    fs::remove_file(serving.home.file("opening")).unwrap();
    // It answers what it has not been asked, and says a lot besides.
    let early = json!({"jsonrpc": "2.0", "id": waiting, "result": {"early": true}});
    let chatter = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n".repeat(10_000);
    serving.home.write("first", format!("{early}\n{chatter}"));
    serving.start();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let message = client.receive_json();
        if message["method"].is_null() {
            answers.push(message);
        }
    }
    assert_eq!((&answers[0]["id"], word(&answers[0])), (&json!(lost), "outcome_unknown"));
    assert_eq!((&answers[1]["id"], word(&answers[1])), (&json!(waiting), "not_sent"));
    assert_eq!(client.process().wait().code(), Some(1));
    assert_eq!(serving.recorded().matches("\"initialize\"").count(), 2);
    assert!(!serving.recorded().contains("later"));
}

#[test]
fn a_second_restart_during_the_replay() {
    let (mut serving, mut client) = scripted("");
    client.initialize();
    wait_until("the client is ready", || serving.recorded().contains("initialized"));
    serving.kill();
    fs::remove_file(serving.home.file("opening")).unwrap();
    client.log().wait_for(&["WARN", "no connection"]);
    let waiting = client.send_request("tools/call", &json!({"name": "later"}));
    for run in 2..=3 {
        serving.start();
        let opened = || serving.recorded().matches("\"initialize\"").count();
        wait_until("the opening has been repeated", || opened() == run);
        serving.kill();
    }
    serving.home.write("opening", OPENING);
    serving.start();
    assert_eq!(client.receive_json()["method"], "notifications/tools/list_changed");
    let answer = client.receive_json();
    assert_eq!((&answer["id"], &answer["result"]), (&json!(waiting), &json!({})), "{answer}");
    assert_eq!(serving.recorded().matches("later").count(), 1);
    // Said to those that have opened, and to no other.
    wait_until("the client is ready", || {
        serving.recorded().matches("notifications/initialized").count() == 2
    });
}

/// An `initialize` under way has no effect but the process that it was said to.
#[test]
fn an_opening_under_way_is_repeated_and_its_answer_is_the_clients() {
    let (mut serving, mut client) = scripted("");
    fs::remove_file(serving.home.file("opening")).unwrap();
    let id = client.send_request("initialize", &json!({}));
    wait_until("it has arrived", || serving.recorded().contains("initialize"));
    serving.kill();
    serving.home.write("opening", OPENING);
    serving.start();
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
    // And it is what a later server must agree to.
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    wait_until("that has arrived, too", || serving.recorded().contains("initialized"));
    serving.kill();
    serving.start();
    assert_eq!(client.receive_json()["method"], "notifications/tools/list_changed");
}

/// The first word of a client that comes while the serving side stops is for the next one, and
/// is said to it once.
#[test]
fn an_opening_during_a_drain_is_the_successors() {
    let (mut serving, _) = scripted("");
    let mut client = serving.talkative_client("scripted", "");
    let under_way = client.send_request("tools/call", &json!({"name": "transfer"}));
    wait_until("the call is executed", || serving.recorded().contains("transfer"));
    serving.serve().process().terminate();
    client.log().wait_for(&["the serving side is shutting down"]);
    let id = client.send_request("initialize", &json!({}));
    serving.stop();
    serving.start();
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(under_way), "server_ended"), "{answer}");
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
    // Whatever else has been said to the server has been said before this.
    assert_eq!(client.request("tools/call", &json!({"name": "later"}))["result"], json!({}));
    assert_eq!(serving.recorded().matches("\"initialize\"").count(), 1, "{}", serving.recorded());
}

#[test]
fn an_opening_that_waits_for_a_successor_in_vain_is_answered() {
    let (mut serving, _) = scripted("");
    let extra = "[listen]\nreconnect_timeout = \"1s\"";
    let mut client = serving.talkative_client("scripted", extra);
    client.send_request("tools/call", &json!({"name": "transfer"}));
    wait_until("the call is executed", || serving.recorded().contains("transfer"));
    serving.serve().process().terminate();
    client.log().wait_for(&["the serving side is shutting down"]);
    let id = client.send_request("initialize", &json!({}));
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(id), "not_sent"), "{answer}");
    assert!(!serving.recorded().contains("initialize"));
    serving.stop();
}

/// A client of revision 2026-07-28: there is nothing to repeat. Its server sends back each
/// message, so that requests come back as requests of the server's.
#[test]
fn requests_of_a_dead_server_are_cancelled_and_their_answers_kept_from_the_next() {
    let home = Home::initialized();
    let (table, record) = wire_table(&home);
    let mut serving = Restarted::new(home, &table);
    let mut client = serving.client("wire", "");
    let request = |id| json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create"});
    client.send(request(1).to_string());
    assert_eq!(client.receive_json(), request(1));
    serving.kill();
    serving.start();
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(1), "outcome_unknown"), "{answer}");
    let cancelled = client.receive_json();
    assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
    assert_eq!(cancelled["params"]["requestId"], json!(1), "{cancelled}");

    // The new server asks under the same id: whose answer would come?
    client.send(request(1).to_string());
    let refused = client.receive_json();
    assert_eq!((&refused["id"], word(&refused)), (&json!(1), "request_id_in_use"), "{refused}");
    let late = json!({"jsonrpc": "2.0", "id": 1, "result": {"for": "the dead"}});
    client.send(late.to_string());
    // From now on the id is free again.
    client.send(request(1).to_string());
    assert_eq!(client.receive_json(), request(1));
    assert!(!fs::read_to_string(record).unwrap().contains("the dead"));
    // Not that the serving side had to keep it from its server: it never got there.
    let refused = |line: &String| line.contains("response_unexpected");
    assert!(!serving.serve().log().lines().iter().any(refused));
}

/// A client that floods while nobody is there has to wait; it does not fill our memory.
#[test]
fn what_waits_for_a_new_server_is_bounded() {
    let home = Home::initialized();
    let (table, _) = wire_table(&home);
    let mut serving = Restarted::new(home, &table);
    let mut client = serving.client("wire", "");
    let message = |number: usize| {
        let text = "y".repeat(500_000);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/n","params":{{"{number}":"{text}"}}}}"#
        )
    };
    client.send(message(0));
    assert_eq!(client.receive(), message(0).as_bytes());
    serving.stop();
    client.log().wait_for(&["opening another conversation"]);
    let pid = client.process().child().id();
    thread::scope(|scope| {
        scope.spawn(|| (1..200).for_each(|number| client.send(message(number))));
        let read = || fs::read_to_string(format!("/proc/{pid}/io")).expect("it runs");
        let mut before = String::new();
        wait_until("it reads no more", || {
            thread::sleep(Duration::from_millis(500));
            std::mem::replace(&mut before, read()) == before
        });
        serving.start();
    });
    (1..200).for_each(|number| assert!(client.receive() == message(number).as_bytes()));
    let memory = client.process().peak_memory();
    assert!(memory < MEMORY, "{} MiB", memory >> 20);
}

#[test]
fn the_clients_end_and_a_signal_end_the_wait_for_a_new_server() {
    for by_signal in [true, false] {
        let (mut serving, mut client) = scripted("");
        client.initialize();
        serving.stop();
        client.log().wait_for(&["opening another conversation"]);
        if by_signal {
            client.process().terminate();
        } else {
            client.close_input();
        }
        let status = client.process().wait();
        assert_eq!(status.code(), Some(0), "{:#?}", client.log().lines());
    }
}

/// After an orderly stop nobody comes back: what was said meanwhile was not sent.
#[test]
fn a_server_that_does_not_come_back_is_told_in_the_end() {
    let (mut serving, mut client) = scripted("[listen]\nreconnect_timeout = \"1s\"");
    client.initialize();
    serving.stop();
    client.log().wait_for(&["opening another conversation"]);
    let waiting = client.send_request("tools/call", &json!({"name": "later"}));
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(waiting), "not_sent"), "{answer}");
    assert_eq!(client.process().wait().code(), Some(1));
}
