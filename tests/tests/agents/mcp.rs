//! The mailbox as an MCP server, driven by the Python SDK.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use sealwire_testkit::{Connect, Home, Process, bin, run, tool};
use serde_json::{Value, json};

use crate::team::{receive, send, standard};

#[test]
fn the_python_sdk_sends_and_receives() {
    let home = standard();
    let mut python = Command::new(tool("venv/bin/python"));
    python.arg(format!("{}/python/mail.py", env!("CARGO_MANIFEST_DIR")));
    python.arg(bin("sealwire")).arg(home.path());
    let output = run(python, b"").ok();
    assert!(output.stdout.ends_with("all held"), "{output}");
}

fn mailbox(home: &Home) -> Connect {
    let mut command = home.sealwire();
    command.args(["agent", "mcp", "--as", "General"]);
    let mut client = Connect::spawn(command);
    client.initialize();
    client
}

fn contents(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

/// What an MCP client has been given is gone, also when the client ends at once.
#[test]
fn what_was_answered_is_acknowledged_and_nothing_else() {
    let home = standard();
    for number in 0..3 {
        send(&home, "CodeExpert", "General", &[], number.to_string().as_bytes());
    }
    let mut client = mailbox(&home);
    let arguments = json!({"name": "receive_messages", "arguments": {"max_messages": 2}});
    let answer = client.request("tools/call", &arguments);
    let messages = answer["result"]["structuredContent"]["messages"].as_array().unwrap();
    assert_eq!(contents(messages), ["0", "1"], "{answer}");
    let (status, rest) = client.finish();
    assert!(status.success() && rest.is_empty(), "{status} {rest:?}");
    let left = receive(&home, "General", &[]);
    assert_eq!(contents(&left), ["2"]);
    assert_eq!(left[0]["redelivered"], false);
}

/// A client that is gone before it has all of the answer has not had the message.
#[test]
fn what_was_not_answered_comes_again() {
    let home = standard();
    let content = "x".repeat(1 << 20);
    send(&home, "CodeExpert", "General", &[], content.as_bytes());
    let mut command = home.sealwire();
    command.args(["agent", "mcp", "--as", "General"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Process::spawn(command);
    let mut stdin = server.child().stdin.take().unwrap();
    let mut stdout = BufReader::new(server.child().stdout.take().unwrap());
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "sealwire-tests", "version": "0"},
        },
    });
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    writeln!(stdin, "{initialize}\n{initialized}").unwrap();
    stdout.read_line(&mut String::new()).unwrap();
    let call = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "receive_messages", "arguments": {}},
    });
    writeln!(stdin, "{call}").unwrap();
    // It has begun to answer, and more does not fit into the pipe.
    stdout.read_exact(&mut [0; 64]).unwrap();
    server.child().kill().unwrap();
    server.wait();
    let messages = receive(&home, "General", &["--follow", "--count", "1"]);
    assert_eq!(contents(&messages), [content.as_str()]);
    assert_eq!(messages[0]["redelivered"], true);
}
