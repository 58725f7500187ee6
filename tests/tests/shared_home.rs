//! One home, everything that writes to its state at once: nobody is turned away, and nothing
//! is lost or torn.

use std::process::Command;
use std::sync::Mutex;
use std::thread;

use sealwire_testkit::{Connect, Home, Serve, run, server_table, tool};
use serde_json::{Value, json};

const ROUNDS: usize = 12;

/// `agent mcp`, which sends as long as it runs.
fn mailbox(home: &Home, agent: &str) -> Connect {
    let mut command = home.sealwire();
    command.args(["agent", "mcp", "--as", agent]);
    let mut client = Connect::spawn(command);
    client.initialize();
    client
}

fn tool_call(client: &mut Connect, name: &str, arguments: &Value) -> Value {
    let answer = client.request("tools/call", &json!({"name": name, "arguments": arguments}));
    let result = &answer["result"];
    assert!(result.is_object() && result["isError"] != true, "{answer}");
    result["structuredContent"].clone()
}

/// What waits for an agent: to whom it is, and what it says.
fn taken(client: &mut Connect, agent: &str) -> Vec<(String, String)> {
    let messages = tool_call(client, "receive_messages", &json!({"max_messages": 50}));
    let messages = messages["messages"].as_array().unwrap().iter();
    messages.map(|it| (agent.to_owned(), it["content"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn serve_two_mailboxes_clients_and_commands_share_one_state() {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/listing.py");
    let table =
        server_table("notes", tool("venv/bin/python"), &[script, home.path().to_str().unwrap()]);
    let config = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write(
        "sealwire.toml",
        format!("{config}\n{table}pins = \"approved\"\n[listen]\naddress = \"127.0.0.1:0\"\n"),
    );
    home.run(&["cert", "issue", "--all"]).ok();
    let list = |round: usize| {
        let tool = json!({"name": "t", "description": round.to_string(), "inputSchema": {"type": "object"}});
        let new = home.write("new", json!({"instructions": "", "pages": [[tool]]}).to_string());
        std::fs::rename(new, home.file("listing.json")).unwrap();
    };
    list(0);
    let serve = Serve::start_with(&home, &[], &["notes"]);
    let received = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let (home, address) = (&home, serve.address());
        // Two agents that write to each other, and take what has come.
        for (agent, other) in [("General", "CodeExpert"), ("CodeExpert", "General")] {
            let received = &received;
            scope.spawn(move || {
                let mut client = mailbox(home, agent);
                for round in 0..ROUNDS {
                    let message = json!({"to": other, "content": round.to_string()});
                    tool_call(&mut client, "send_message", &message);
                    received.lock().unwrap().extend(taken(&mut client, agent));
                }
                // What it has in hand is free for the next one when it ends in order.
                assert!(client.finish().0.success());
            });
        }
        // A server that changes all the time, so that pins are written at both ends.
        scope.spawn(move || {
            let keys = "pins = \"approved\"";
            let mut client = Connect::spawn(home.connect_command("notes", address, keys));
            client.initialize();
            for round in 0..ROUNDS {
                list(round);
                let answer = client.request("tools/list", &json!({}));
                assert!(answer["result"].is_object(), "{answer}");
            }
        });
        // An operator, who looks, shuts out and revokes.
        scope.spawn(move || {
            for _ in 0..ROUNDS {
                home.run(&["pins", "diff", "notes"]).ok();
                home.run(&["quarantine", "add", "agent", "Intern"]).ok();
                home.run(&["quarantine", "lift", "agent", "Intern"]).ok();
                home.run(&["cert", "revoke", "core/lost"]).ok();
            }
        });
    });
    assert!(!serve.log().lines().iter().any(|line| line.contains("is locked")));
    let mut received = received.into_inner().unwrap();
    for agent in ["General", "CodeExpert"] {
        let mut client = mailbox(&home, agent);
        received.extend(taken(&mut client, agent));
    }
    received.sort();
    let mut sent: Vec<_> = ["CodeExpert", "General"]
        .iter()
        .flat_map(|to| (0..ROUNDS).map(|round| ((*to).to_owned(), round.to_string())))
        .collect();
    sent.sort();
    assert_eq!(received, sent, "each once");
    home.approve_pins("notes");
    let mut check = Command::new("python3");
    let script = "import sqlite3, sys\nprint(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])";
    check.args(["-c", script]).arg(home.file("state.db"));
    assert_eq!(run(check, b"").ok().stdout, "ok");
}
