//! When certificates, keys and lists are due, told by the doctor and by `status`, whether a
//! `serve` runs or not.

use sealwire_testkit::{Home, Serve};
use sealwire_tests::echo_table;
use serde_json::Value;

use super::{doctor, healthy, text};

/// What is due of one kind: each with its name.
fn of_kind<'a>(json: &'a Value, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let due = json["due"].as_array().expect("due");
    let due = due.iter().filter(|one| one["kind"] == kind);
    due.map(|one| (text(&one["what"]), one)).collect()
}

fn status(home: &Home, code: i32) -> Value {
    let output = home.run(&["status", "--json"]);
    assert_eq!(output.code, Some(code), "{output}");
    serde_json::from_str(&output.stdout).expect("JSON")
}

#[test]
fn each_certificate_and_key_has_its_day() {
    let home = healthy();
    home.run(&["key", "new", "A"]).ok();
    let examination = doctor(&home, &["--offline"]);
    let json = &examination.content().json;
    let authorities = of_kind(json, "authority");
    let how: Vec<_> = authorities.iter().map(|(_, one)| text(&one["how"])).collect();
    assert_eq!(how.len(), 2, "{json:#}");
    assert!(how[0].ends_with("ca renew-issuing") && how[1].ends_with("ca rotate"), "{how:?}");
    let certificates = of_kind(json, "certificate");
    let mut names: Vec<&str> = certificates.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let ends = ["agent/A", "core/core", "mcp-server/echo"];
    assert_eq!(names.len(), ends.len(), "{names:?}");
    assert!(names.iter().zip(ends).all(|(name, end)| name.ends_with(end)), "{names:?}");
    let keys = of_kind(json, "agent_keys");
    assert_eq!(keys.len(), 1);
    for (_, one) in certificates.into_iter().chain(keys) {
        assert_eq!(one["state"], "good", "{one:#}");
        assert!(text(&one["due"]) < text(&one["until"]), "{one:#}");
        assert!(!text(&one["how"]).is_empty() && !text(&one["where"]).is_empty(), "{one:#}");
    }
    // People read it, too.
    let read = home.run(&["doctor", "--offline"]).ok().stdout;
    assert!(read.contains("keys of agent A") && read.contains("mcp-server/echo\n"), "{read}");
}

#[test]
fn what_is_due_says_what_to_do() {
    let home = healthy();
    home.run(&["cert", "issue", "echo", "--force", "--days", "20"]).ok();
    let json = status(&home, 1);
    let certificates = of_kind(&json, "certificate");
    let (_, echo) = certificates.iter().find(|(name, _)| name.ends_with("echo")).expect("echo");
    assert_eq!(echo["state"], "due");
    assert!(text(&echo["how"]).contains("cert issue echo --kind mcp-server --force"), "{echo:#}");
}

#[test]
fn without_serve_status_tells_what_files_and_state_say() {
    let home = healthy();
    home.run(&["key", "new", "A"]).ok();
    home.run(&["quarantine", "add", "peer", "core/laptop", "--reason", "lost"]).ok();
    home.run(&["cert", "revoke", "core/laptop", "--reason", "stolen"]).ok();
    let json = status(&home, 1);
    assert_eq!(json["running"], false);
    assert_eq!(json["quarantine"][0]["reason"], "lost");
    assert_eq!(json["revoked"][0]["reason"], "stolen");
    assert_eq!(of_kind(&json, "agent_keys").len(), 1);
    let read = home.run(&["status"]);
    assert!(read.stdout.starts_with("no `serve` runs with this home: "), "{read}");
    for part in ["core/core", "keys of agent A", "lost", "stolen"] {
        assert!(read.stdout.contains(part), "{part}: {read}");
    }
    assert!(read.stderr.contains("sealwire serve"), "{read}");

    let serve = Serve::start(&home);
    let json = status(&home, 0);
    assert_eq!(json["running"], true);
    assert_eq!(of_kind(&json, "agent_keys").len(), 1);
    let read = home.run(&["status"]).ok().stdout;
    assert!(read.contains("\ndue 2"), "the next thing that is due: {read}");
    drop(serve);
}

/// Where nothing is to be served, that nothing runs is as it should be.
#[test]
fn a_home_that_only_connects_has_a_status() {
    let home = Home::with_config("[mcp_servers.away]\nendpoint = \"127.0.0.1:1\"\n");
    assert_eq!(status(&home, 0)["running"], false);
    home.configure(&echo_table());
    status(&home, 1);
}
