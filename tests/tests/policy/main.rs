//! Who may do what: levels, ceilings and rules decide at both ends, the log tells why, and
//! `sealwire policy` tells the same beforehand.

mod commands;
mod decisions;
mod hostile;
mod limits;

use std::fs;

use sealwire_testkit::{Connect, Home, Output, Serve, bin, quoted};
use serde_json::{Value, json};

/// `echo` with more keys, a server that records what reaches it in the file `record`.
fn echo(home: &Home, keys: &str) -> String {
    let record = quoted(home.file("record"));
    let command = quoted(bin("sealwire-fake-server"));
    format!("[mcp_servers.echo]\ncommand = {command}\nargs = [\"--record\", {record}]\n{keys}\n")
}

/// A home that serves it, running. `keys` may go on with other tables.
fn serving(keys: &str) -> (Home, Serve) {
    let home = Home::initialized();
    home.configure(&echo(&home, keys));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start_with(&home, &["--log-level", "debug"], &[]);
    serve.log().wait_for(&["following the files"]);
    (home, serve)
}

/// A client whose own side lets everything pass, with keys of its own in `extra`.
fn client(home: &Home, serve: &Serve, extra: &str) -> Connect {
    let mut client = Connect::spawn(home.connect_command("echo", serve.address(), extra));
    client.initialize();
    client
}

/// Calls a tool of `echo`; the answer's error word, or nothing.
fn call(client: &mut Connect, tool: &str) -> Option<String> {
    let params = json!({"name": tool, "arguments": {"text": "x", "bytes": 1}});
    let answer = client.request("tools/call", &params);
    if answer["error"].is_null() {
        assert!(answer["result"].is_object(), "{answer}");
        return None;
    }
    Some(answer["error"]["data"]["sealwire"].as_str().expect("an error of ours").to_owned())
}

/// How many calls have reached the server.
fn calls(home: &Home) -> usize {
    let record = fs::read_to_string(home.file("record")).unwrap_or_default();
    record.lines().filter(|line| line.ends_with("tools/call")).count()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
