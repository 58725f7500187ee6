//! What a server, or somebody at the file, may try.

use std::fs;
use std::process::Command;

use sealwire_testkit::{Serve, run};
use serde_json::json;

use crate::changing::{ADDED, CHANGED, Changing, call, listed};

/// Nobody knows which of the two the server would carry out.
#[test]
fn of_two_definitions_of_one_name_the_first_is_shown_and_neither_used() {
    let server = Changing::new("");
    server.list(&[&[("read", "Reads a note."), ("read", "Sends all notes.")]], "Be brief.");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["read"]);
    serve.log().wait_for(&["definition blocked", "pin_changed", "name=read"]);
    assert_eq!(call(&mut client, "read").as_deref(), CHANGED);
    assert_eq!(server.calls(), [""; 0]);
}

/// More tools than are approved on first use: the rest waits, and is told.
#[test]
fn a_server_with_too_many_tools_has_those_approved_that_there_is_room_for() {
    let server = Changing::new("");
    let tools: Vec<String> = (0..4_100).map(|number| format!("tool{number}")).collect();
    let tools: Vec<_> = tools.iter().map(|name| (name.as_str(), "Does it.")).collect();
    server.list(&[&tools], "Be brief.");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    // One of them is the server's instructions.
    assert_eq!(listed(&mut client).len(), 4_095);
    serve.log().wait_for(&["definition blocked", "pin_added", "name=tool4099"]);
    assert_eq!(call(&mut client, "tool4094"), None);
    assert_eq!(call(&mut client, "tool4095").as_deref(), ADDED);
    assert_eq!(server.waiting().len(), 5);
    server.approve();
    assert_eq!(call(&mut client, "tool4095"), None);
    assert_eq!(listed(&mut client).len(), 4_100);
}

/// The name on the wire and in the certificate counts, not what the table is called.
#[test]
fn another_name_for_the_table_is_no_first_use() {
    let server = Changing::new("server_name = \"notes\"");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    listed(&mut client);
    assert_eq!(serve.stop().code(), Some(0));
    let config = fs::read_to_string(server.home.file("sealwire.toml")).unwrap();
    let renamed = config.replace("[mcp_servers.notes]", "[mcp_servers.memo]");
    assert_ne!(renamed, config);
    server.home.write("sealwire.toml", renamed);
    server.list(&[&[("read", "Reads all notes."), ("write", "Writes a note.")]], "Be brief.");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["write"]);
    assert_eq!(call(&mut client, "read").as_deref(), CHANGED);
}

/// Runs SQL on the state, as somebody could who may write it.
fn by_hand(server: &Changing, sql: &str) {
    let mut python = Command::new("python3");
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute(sys.argv[2])\ndb.commit()";
    python.args(["-c", script]).arg(server.home.file("state.db")).arg(sql);
    run(python, b"").ok();
}

#[test]
fn a_pin_that_was_changed_by_hand_lets_nothing_new_pass() {
    let server = Changing::new("");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    listed(&mut client);
    assert_eq!(serve.stop().code(), Some(0));

    by_hand(&server, "UPDATE pin_definition SET hash = zeroblob(32) WHERE name = 'read'");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    assert_eq!(listed(&mut client), ["write"]);
    assert_eq!(call(&mut client, "read").as_deref(), CHANGED);
    // What nobody can have written is no pin, and no reason to go on without: neither in a
    // running process nor at its start.
    by_hand(&server, "UPDATE pin_definition SET hash = x'00' WHERE name = 'write'");
    by_hand(&server, "UPDATE pin_number SET number = number + 1");
    let answer = client.request("tools/list", &json!({}));
    assert_eq!(answer["error"]["data"]["sealwire"], "pins_unavailable", "{answer}");
    assert_eq!(call(&mut client, "write").as_deref(), Some("pins_unavailable"));
    drop(serve);
    let output = server.home.run(&["serve"]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("state.db"), "{output}");
    assert_eq!(server.calls(), [""; 0]);
}

/// Forgetting by hand is not first use in a process that knows better.
#[test]
fn a_state_that_is_removed_under_a_running_serve_opens_nothing() {
    let server = Changing::new("");
    let serve = Serve::start(&server.home);
    let mut client = server.client(&serve);
    client.initialize();
    listed(&mut client);
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::remove_file(server.home.file(file)).unwrap();
    }
    server.list(&[&[("read", "Reads a note?"), ("write", "Writes a note.")]], "Be brief.");
    let answer = client.request("tools/list", &json!({}));
    assert!(!answer.to_string().contains("Reads a note?"), "{answer}");
    assert!(call(&mut client, "read").is_some());
    assert_eq!(server.calls(), [""; 0]);
    drop(serve);
}
