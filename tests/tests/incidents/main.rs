//! Refusals that are too many: who is to blame is shut out, and nobody who only is named.

mod blame;
mod lives;
mod mail;
mod peers;

use sealwire_testkit::{Connect, Home, Log, Serve};
use sealwire_tests::echo_table;
use serde_json::{Value, json};

/// A rule of one kind.
fn rule(kind: &str, trigger: u32, action: &str, expiry: &str) -> String {
    format!(
        "[incidents.{kind}]\ntrigger = {trigger}\nwindow = \"1h\"\naction = \"{action}\"\n\
         expiry = \"{expiry}\"\n"
    )
}

/// `echo` is served, and nobody may list its prompts.
fn serving(rules: &str) -> (Home, Serve) {
    let denied = "[[policy.deny]]\nmethods = [\"prompts/list\"]\n";
    let home = Home::with_config(&format!("{}{denied}{rules}", echo_table()));
    let serve = Serve::start(&home);
    (home, serve)
}

fn client(home: &Home, serve: &Serve) -> Connect {
    let mut client = Connect::start(home, "echo", serve.address());
    client.initialize();
    client
}

/// Asks so often for what is denied, and waits for no more than the answers before the last.
fn deny(client: &mut Connect, times: u32) {
    for _ in 1..times {
        let answer = client.request("prompts/list", &json!({}));
        assert_eq!(answer["error"]["data"]["sealwire"], "not_authorized", "{answer}");
    }
    client.send_request("prompts/list", &json!({}));
}

/// The conversation is cut, and why is said.
fn is_cut(mut client: Connect, code: &str) {
    assert!(!client.process().wait().success());
    client.log().wait_for(&[code]);
}

/// Whoever connects is refused with this code.
fn is_refused(home: &Home, serve: &Serve, code: &str) {
    let output = home.connect_once("echo", serve.address(), b"");
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains(code), "{output}");
}

fn json_of(home: &Home, command: &[&str]) -> Value {
    serde_json::from_str(&home.run(command).ok().stdout).unwrap()
}

fn quarantined(home: &Home) -> Value {
    json_of(home, &["quarantine", "list", "--json"])
}

/// What there has been, the latest first: what was refused, and of whom.
fn incidents(home: &Home) -> Vec<(String, String, String)> {
    let shown = json_of(home, &["quarantine", "incidents", "--json"]);
    let word = |incident: &Value, key: &str| incident[key].as_str().unwrap().to_owned();
    let three = |incident: &Value| {
        let subject = format!("{} {}", word(incident, "subject_kind"), word(incident, "subject"));
        (word(incident, "kind"), subject, word(incident, "action"))
    };
    shown.as_array().unwrap().iter().map(three).collect()
}

fn incident(kind: &str, subject: &str, action: &str) -> (String, String, String) {
    (kind.to_owned(), subject.to_owned(), action.to_owned())
}

/// So many lines tell of an incident.
fn told(log: &Log) -> usize {
    log.lines().iter().filter(|line| line.contains("audit: incident")).count()
}
