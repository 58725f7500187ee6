//! A server that stays on this machine: `connect` starts it, and policy, pins, limits, quarantine
//! and the log stand before it, with no network, whether a `serve` runs or not.

mod log;
mod restarts;
mod seen;

use std::fs;
use std::process::Command;
use std::thread;

use sealwire_testkit::{Connect, Home, Serve, bin, evidence, quoted, run, tool, wait_until};
use sealwire_tests::{call_echo, echo_params, echo_table};
use serde_json::{Value, json};

/// The local server `echo`, with more keys of its table.
fn local(extra: &str) -> String {
    let command = quoted(bin("sealwire-fake-server"));
    format!("[mcp_servers.echo]\ntransport = \"stdio\"\ncommand = {command}\n{extra}")
}

fn home(config: &str) -> Home {
    let home = Home::initialized();
    home.configure(config);
    home
}

fn connect(home: &Home) -> Connect {
    let mut command = home.sealwire();
    command.args(["connect", "echo"]);
    Connect::spawn(command)
}

/// Every entry of the log of a kind, each call by itself, after it was found to be in order.
fn entries(home: &Home, kind: &str) -> Vec<Value> {
    home.run(&["audit", "verify"]).ok();
    let entries = evidence::entries(&home.file("audit"));
    let entries = entries.iter().filter(|entry| entry["type"] == kind);
    entries.flat_map(evidence::calls).collect()
}

/// Calls of the local server's tools that were allowed, each with its outcome.
fn calls(home: &Home) -> usize {
    let outcomes = entries(home, "call.outcome");
    let decisions = entries(home, "call.decision");
    let calls = decisions.iter().filter(|entry| {
        entry["server"] == "echo"
            && entry["mcp.method.name"] == "tools/call"
            && entry["decision"] == "allow"
    });
    let mut count = 0;
    for call in calls {
        assert!(call.get("peer").is_none(), "{call}");
        assert!(call["arguments"].is_string(), "{call}");
        let outcome = outcomes.iter().find(|outcome| {
            outcome["decision_entry"] == call["entry"] && outcome["decision_call"] == call["call"]
        });
        assert!(outcome.is_some(), "no outcome of {call}");
        count += 1;
    }
    count
}

#[test]
fn a_call_reaches_it_and_is_in_the_log_without_a_serve_or_a_certificate() {
    let home = home(&local("default_level = 1"));
    fs::remove_dir_all(home.file("certs")).unwrap();
    let mut client = connect(&home);
    client.initialize();
    call_echo(&mut client, "hello");
    call_echo(&mut client, "again");
    let (status, rest) = client.finish();
    assert!(status.success() && rest.is_empty(), "{status} {rest:?}");
    assert_eq!(calls(&home), 2);
}

#[test]
fn several_at_once_all_are_in_the_log_also_while_a_serve_comes_and_goes() {
    let far = echo_table().replace("echo]", "far]");
    let home = Home::with_config(&format!("{}\n{far}", local("default_level = 1")));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = connect(&home);
            thread::spawn(move || {
                client.initialize();
                for n in 0..25 {
                    call_echo(&mut client, &n.to_string());
                }
                assert!(client.finish().0.success());
            })
        })
        .collect();
    for _ in 0..2 {
        let mut serve = Serve::start(&home);
        serve.process().terminate();
        assert!(serve.process().wait().success());
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(calls(&home), 100);
}

#[test]
fn a_running_serve_writes_the_log_and_counts_what_is_called() {
    let far = echo_table().replace("echo]", "far]");
    let home = Home::with_config(&format!("{}\n{far}", local("default_level = 1")));
    let serve = Serve::start(&home);
    let mut client = connect(&home);
    client.initialize();
    call_echo(&mut client, "hello");
    // It is there before the answer is.
    assert_eq!(calls(&home), 1);
    assert!(client.finish().0.success());
    drop(serve);
}

#[test]
fn policy_stands_before_it_and_what_it_says_changes_at_once() {
    let home = home(&local("default_level = 1\npolicy.tools = { echo = 3 }"));
    let mut client = connect(&home);
    client.initialize();
    let denied = client.request("tools/call", &echo_params("no"));
    assert_eq!(denied["error"]["data"]["sealwire"], "not_authorized", "{denied}");
    let listed = client.request("tools/list", &json!({}));
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert!(!names.contains(&&json!("echo")) && names.contains(&&json!("big")), "{names:?}");
    home.configure(&local("default_level = 1"));
    wait_until("the new policy holds", || {
        client.request("tools/call", &echo_params("yes")).get("result").is_some()
    });
    assert!(client.finish().0.success());
    let denials = entries(&home, "call.decision");
    assert!(
        denials
            .iter()
            .any(|entry| entry["decision"] == "deny" && entry["gen_ai.tool.name"] == "echo")
    );
}

#[test]
fn limits_and_pins_stand_before_it() {
    let limits =
        "[security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 0.001\nburst_size = 3\n";
    let one = home(&format!("{limits}{}", local("default_level = 1")));
    let mut client = connect(&one);
    client.initialize();
    let answers: Vec<_> = (0..4).map(|_| client.request("tools/call", &echo_params("x"))).collect();
    assert!(answers[0].get("result").is_some(), "{answers:?}");
    assert!(answers[3].get("error").is_some(), "{answers:?}");

    let one = home(&local("default_level = 1\npins = \"approved\""));
    let mut client = connect(&one);
    client.initialize();
    let denied = client.request("tools/call", &echo_params("x"));
    assert_eq!(denied["error"]["data"]["sealwire"], "pin_unapproved", "{denied}");
    client.request("tools/list", &json!({}));
    one.approve_pins("echo");
    call_echo(&mut client, "approved");
}

#[test]
fn a_suspended_server_is_cut_off_and_not_reached() {
    let home = home(&local("default_level = 1"));
    let mut client = connect(&home);
    client.initialize();
    let told = home.run(&["quarantine", "add", "server", "echo", "--reason", "test"]).ok();
    assert!(told.stdout.contains("1 client is cut off within a second"), "{told}");
    assert!(!client.process().wait().success());
    let mut again = home.sealwire();
    again.args(["connect", "echo"]);
    let refused = run(again, b"");
    assert!(refused.code != Some(0), "{refused}");
    assert!(refused.stderr.contains("is suspended until it is lifted: test"), "{refused}");
    assert!(refused.stderr.contains("sealwire quarantine list"), "{refused}");
    // It is not even started: this one could not be.
    home.configure("[mcp_servers.echo]\ntransport = \"stdio\"\ncommand = \"no-such-program\"");
    let mut unstarted = home.sealwire();
    unstarted.args(["connect", "echo"]);
    let refused = run(unstarted, b"");
    assert!(refused.stderr.contains("is suspended until it is lifted: test"), "{refused}");
    // Whoever was cut off, or not let in, is in the log.
    let refused = entries(&home, "connection.refused");
    assert_eq!(refused.len(), 3, "{refused:?}");
    for entry in &refused {
        assert_eq!(
            (&entry["server"], &entry["reason"]),
            (&json!("echo"), &json!("server_suspended"))
        );
        assert!(entry["detail"].as_str().unwrap().contains("test"), "{entry}");
        assert!(entry.get("peer").is_none(), "{entry}");
    }
    let told = home.run(&["quarantine", "add", "server", "echo", "--reason", "test"]).ok();
    assert!(told.stdout.contains("no `connect` runs it now"), "{told}");
}

#[test]
fn a_running_serve_records_who_is_cut_off() {
    let far = echo_table().replace("echo]", "far]");
    let home = Home::with_config(&format!("{}\n{far}", local("default_level = 1")));
    let serve = Serve::start(&home);
    let mut client = connect(&home);
    client.initialize();
    home.run(&["quarantine", "add", "server", "echo", "--reason", "test"]).ok();
    assert!(!client.process().wait().success());
    assert_eq!(entries(&home, "connection.refused").len(), 1);
    drop(serve);
}

#[test]
fn what_cannot_be_recorded_is_not_let_through() {
    let home = home(&local("default_level = 1"));
    home.write("audit", "a file where the directory should be");
    let mut command = home.sealwire();
    command.args(["connect", "echo"]);
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": echo_params("x")});
    let output = run(command, format!("{call}\n").as_bytes());
    assert!(output.code != Some(0) && !output.stdout.contains("\"result\""), "{output}");
    assert!(output.stderr.contains("audit"), "{output}");
}

#[test]
fn a_server_that_does_not_start_is_told_clearly() {
    for (server, expected) in [
        (
            "command = \"no-such-program\"",
            &["the server echo cannot be started", "no-such-program", "PATH"][..],
        ),
        (
            "command = \"sh\"\nargs = [\"-c\", \"echo no key given >&2; exit 3\"]",
            &["no key given", "the server echo failed", "its process ended with an error"][..],
        ),
        (
            "command = \"sh\"\ncwd = \"/no/such\"",
            &["cannot be started", "make its working directory"][..],
        ),
    ] {
        let home = home(&format!("[mcp_servers.echo]\ntransport = \"stdio\"\n{server}"));
        let mut command = home.sealwire();
        command.args(["connect", "echo"]);
        let output = run(command, b"");
        assert_eq!(output.code, Some(1), "{output}");
        for part in expected {
            assert!(output.stderr.contains(part), "{part}: {output}");
        }
    }
}

#[test]
fn it_gets_the_variables_it_is_to_get_and_no_others() {
    let print = "command = \"sh\"\nargs = [\"-c\", \"env >&2; pwd >&2\"]\n";
    let home = home(&format!(
        "[mcp_servers.echo]\ntransport = \"stdio\"\n{print}env_vars = [\"TOKEN\", \"UNSET\"]\nenv = {{ MODE = \"x\" }}"
    ));
    let mut command = home.sealwire();
    command.args(["connect", "echo"]).env("TOKEN", "t-1").env("OTHER", "o-1");
    command.current_dir(home.path());
    let output = run(command, b"");
    for part in ["TOKEN=t-1", "MODE=x", home.path().to_str().unwrap()] {
        assert!(output.stderr.contains(part), "{part}: {output}");
    }
    assert!(!output.stderr.contains("OTHER") && !output.stderr.contains("UNSET="), "{output}");
    // Where nothing is said of variables, it is told which it does not get, by name, and where to
    // say that it should.
    home.configure(&format!("[mcp_servers.echo]\ntransport = \"stdio\"\n{print}"));
    let mut command = home.sealwire();
    command.args(["connect", "echo"]).env("OTHER", "o-1");
    let output = run(command, b"");
    let told = output.stderr.lines().find(|line| line.contains("is not given these variables"));
    let told = told.unwrap_or_else(|| panic!("{output}"));
    assert!(told.contains("WARN") && told.contains("OTHER"), "{told}");
    assert!(told.contains("env_vars of [mcp_servers.echo]"), "{told}");
    assert!(!output.stderr.contains("o-1"), "{output}");
}

#[test]
fn serve_does_not_serve_it_and_nobody_presents_a_certificate_to_it() {
    let home = home(&local("default_level = 1"));
    let served = home.run(&["serve", "echo"]);
    assert!(served.stderr.contains("echo stays on this machine"), "{served}");
    // Nor if none is named.
    let served = home.run(&["serve"]);
    assert_eq!(served.code, Some(78), "{served}");
    assert!(served.stderr.contains("echo stays on this machine"), "{served}");
    assert!(served.stderr.contains("needs no `serve`"), "{served}");
    assert!(!served.stderr.contains("has a command"), "{served}");
    let shown = home.run(&["connect", "echo", "--as", "Coder"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    let checked = home.run(&["config", "check"]).ok();
    assert!(checked.stdout.contains("started here by connect"), "{checked}");
    home.run(&["doctor", "echo"]).ok();
}

/// What npm has to offer, with the Python SDK as its client.
#[test]
fn a_server_of_npm_with_the_python_sdk() {
    let home = Home::initialized();
    let everything = quoted(tool("node/node_modules/.bin/mcp-server-everything"));
    home.configure(&format!(
        "[mcp_servers.everything]\ntransport = \"stdio\"\ncommand = {everything}\nargs = [\"stdio\"]\n{}",
        sealwire_testkit::OPEN
    ));
    let mut client = Command::new(tool("venv/bin/python"));
    client.arg(format!("{}/python/everything.py", env!("CARGO_MANIFEST_DIR")));
    client.arg(bin("sealwire")).arg("--home").arg(home.path()).args(["connect", "everything"]);
    let output = run(client, b"").ok();
    assert!(output.stdout.contains("all held"), "{output}");
    assert!(!entries(&home, "call.outcome").is_empty());
}
