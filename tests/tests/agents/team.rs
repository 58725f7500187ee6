//! A home with agents, and what is done in it.

use std::process::Command;

use sealwire_testkit::{Home, Output, run};
use serde_json::Value;

/// Tests send faster than agents may.
pub(crate) const FAST: &str =
    "[agent_security.rate_limiting]\nmax_messages_per_sec = 10000.0\nburst_size = 10000\n";

/// The standard team.
pub(crate) fn standard() -> Home {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let file = home.file("sealwire.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{FAST}")).unwrap();
    home
}

/// What `agent send` prints: the id.
pub(crate) fn send(home: &Home, from: &str, to: &str, more: &[&str], content: &[u8]) -> String {
    let output = try_send(home, from, to, more, content).ok();
    let id = output.stdout.trim().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{output}");
    id
}

pub(crate) fn try_send(home: &Home, from: &str, to: &str, more: &[&str], content: &[u8]) -> Output {
    let mut command = home.sealwire();
    command.args(["agent", "send", "--from", from, "--to", to]).args(more);
    run(command, content)
}

/// What waits for an agent, as `agent recv --json` has it.
pub(crate) fn receive(home: &Home, agent: &str, more: &[&str]) -> Vec<Value> {
    let output = run(recv(home, agent, more), b"").ok();
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn recv(home: &Home, agent: &str, more: &[&str]) -> Command {
    let mut command = home.sealwire();
    command.args(["agent", "recv", "--as", agent, "--json"]).args(more);
    command
}

/// A refusal: its exit code, and what is said.
pub(crate) fn refused(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output}");
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?} in {output}");
    }
}
