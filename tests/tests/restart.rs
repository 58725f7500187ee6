//! The serving side is restarted, and the client's session goes on: whatever was under way is
//! answered once, with what is known of it, and nothing is carried out twice.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sealwire_testkit::fake_server::read_record;
use sealwire_testkit::{Home, bin, server_table, wait_until};
use sealwire_tests::restarted::{Restarted, scripted, word};
use sealwire_tests::{call_echo, echo_params};
use serde_json::json;

/// A server that records what it executes.
fn recording() -> (Restarted, PathBuf) {
    let home = Home::initialized();
    let record = home.file("record");
    let args = ["--record", record.to_str().unwrap()];
    let table = server_table("counted", bin("sealwire-fake-server"), &args);
    (Restarted::new(home, &table), record)
}

/// How many times each id was executed, and none twice.
fn executed(record: &Path) -> HashSet<String> {
    let calls: Vec<String> = read_record(record)
        .unwrap()
        .into_iter()
        .filter(|(_, method)| method == "tools/call")
        .map(|(id, _)| id)
        .collect();
    let once: HashSet<String> = calls.iter().cloned().collect();
    assert_eq!(once.len(), calls.len(), "something was executed twice");
    once
}

/// Keeps calls under way through five restarts and beyond. The words of those that failed.
fn under_load(restart: impl Fn(&mut Restarted)) -> Vec<String> {
    let (calls, in_flight, mut restarts) = (3_600, 64, 0);
    let (mut serving, record) = recording();
    let mut client = serving.client("counted", "");
    client.initialize();
    let (mut waiting, mut succeeded, mut failed) = (HashSet::new(), HashSet::new(), Vec::new());
    let mut sent = 0;
    while succeeded.len() + failed.len() < calls {
        while sent < calls && waiting.len() < in_flight {
            waiting.insert(client.send_request("tools/call", &echo_params("x")).to_string());
            sent += 1;
        }
        if restarts < 5 && succeeded.len() + failed.len() > 600 * restarts + 300 {
            restart(&mut serving);
            restarts += 1;
        }
        let answer = client.receive_json();
        let id = answer["id"].to_string();
        assert!(waiting.remove(&id), "twice, or never asked: {answer}");
        if answer["error"].is_null() {
            assert_eq!(answer["result"]["content"][0]["text"], json!("x"), "{answer}");
            succeeded.insert(id);
        } else {
            failed.push((id, word(&answer).to_owned()));
        }
    }
    let executed = executed(&record);
    assert!(executed.is_superset(&succeeded));
    for (id, word) in &failed {
        match word.as_str() {
            "outcome_unknown" | "server_ended" => {}
            "not_sent" | "draining" => assert!(!executed.contains(id), "{word}, yet executed"),
            _ => panic!("{id}: {word}"),
        }
    }
    call_echo(&mut client, "afterwards");
    assert!(client.finish().0.success());
    failed.into_iter().map(|(_, word)| word).collect()
}

#[test]
fn killed_under_load_each_call_has_one_answer_and_none_is_executed_twice() {
    let failed = under_load(|serving| {
        serving.kill();
        serving.start();
    });
    assert!(failed.iter().all(|word| matches!(word.as_str(), "outcome_unknown" | "not_sent")));
    assert!(!failed.is_empty(), "no call was under way");
}

#[test]
fn stopped_under_load_each_call_has_one_answer_and_none_is_executed_twice() {
    let failed = under_load(|serving| {
        serving.stop();
        serving.start();
    });
    // What was under way has been finished; what came too late was not begun.
    assert!(failed.iter().all(|word| word == "draining"), "{failed:?}");
}

/// What was under way when the process died; what came after it; and what came meanwhile.
#[test]
fn a_call_under_way_is_told_as_unknown_and_later_ones_are_carried_over() {
    let (mut serving, mut client) = scripted("");
    client.initialize();
    let lost = client.send_request("tools/call", &json!({"name": "transfer"}));
    wait_until("the call is executed", || serving.recorded().contains("transfer"));
    serving.kill();
    client.log().wait_for(&["WARN", "no connection"]);
    let later: Vec<_> =
        (0..3).map(|_| client.send_request("tools/call", &json!({"name": "later"}))).collect();
    serving.start();

    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(lost), "outcome_unknown"), "{answer}");
    // Only what announces changes of its list has them announced.
    let told = client.receive_json();
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    for id in later {
        let answer = client.receive_json();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(id), &json!({})), "{answer}");
    }
    let recorded = serving.recorded();
    assert_eq!(recorded.matches("transfer").count(), 1, "executed twice: {recorded}");
    assert_eq!(recorded.matches("\"initialize\"").count(), 2, "{recorded}");
    assert_eq!(recorded.matches("notifications/initialized").count(), 2, "{recorded}");
}
