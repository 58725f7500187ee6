//! The MCP clients that people use reach servers through `sealwire connect`, each set up
//! as docs/compatibility.md says: on another machine, with `sealwire` in the path and its
//! configuration in `~/.sealwire`. The table of them there is what was found.

mod codex;
mod rust_sdk;
mod user;

use std::process::Command;

use sealwire_testkit::{Output, run, tool};
use sealwire_tests::compatibility::{self, Package, snippet};
use serde_json::{Value, json};

use user::User;

/// All rows of the table.
const CLIENTS: [&str; 8] = [
    "Python SDK",
    "Python SDK, 2026-07-28",
    "TypeScript SDK",
    "TypeScript SDK 2, 2026-07-28",
    "rmcp, `Initialize`",
    "rmcp, `Discover`",
    "MCP Inspector",
    "Codex CLI",
];
/// What a client has done that drove the server "everything", or one like it.
const ALL: &str = "list, call, sampling, elicitation, progress, prompts, resources";
const ALL_2026: &str = "list, call, sampling and elicitation as `input_required`";

/// Without sealwire between them, so that a failure below is known to be ours.
#[test]
fn python_sdk_directly() {
    let mut everything = python("everything.py");
    everything.arg(tool("node/node_modules/.bin/mcp-server-everything")).arg("stdio");
    let output = run(everything, b"").ok();
    assert!(output.stdout.contains("all held"), "{output}");
}

#[test]
fn python_sdk() {
    let user = User::new();
    let output = run(user.with(python("everything.py")), b"").ok();
    let package = Package::pypi("venv", "mcp");
    record("Python SDK", &package, &all_held(&output), "everything", ALL);
    shows("python", include_str!("../../python/everything.py"));
}

#[test]
fn python_sdk_of_2026() {
    let user = User::new();
    let output = run(user.with(python("discover.py")), b"").ok();
    let package = Package::pypi("venv", "mcp");
    record("Python SDK, 2026-07-28", &package, &all_held(&output), "demo", ALL_2026);
}

#[test]
fn typescript_sdk() {
    let user = User::new();
    let output = run(user.with(node(&user, "everything.mjs")), b"").ok();
    let package = Package::npm("@modelcontextprotocol/sdk");
    record("TypeScript SDK", &package, &all_held(&output), "everything", ALL);
    shows("typescript", include_str!("../../node/everything.mjs"));
}

#[test]
fn typescript_sdk_of_2026() {
    let user = User::new();
    let output = run(user.with(node(&user, "discover.mjs")), b"").ok();
    let package = Package::npm("@modelcontextprotocol/client");
    record("TypeScript SDK 2, 2026-07-28", &package, &all_held(&output), "demo", ALL_2026);
}

/// The Inspector's command line, with the file that many clients have, in both eras.
#[test]
fn inspector() {
    let user = User::new();
    user.write("mcp.json", &snippet("mcp.json"));
    let inspect = |era: &str, what: &[&str]| -> Value {
        let mut command = Command::new(tool("node22/node_modules/.bin/node"));
        command.arg(tool("node/node_modules/.bin/mcp-inspector")).args(["--cli", "--config"]);
        command.arg(user.file("mcp.json")).args(["--server", "demo", "--protocol-era", era]);
        command.args(["--quiet", "--format", "json"]).args(what);
        let output = run(user.with(command), b"").ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
    };
    for era in ["legacy", "modern"] {
        let listed = inspect(era, &["--method", "tools/list"]);
        let tools = listed["result"]["tools"].as_array();
        let tools = tools.unwrap_or_else(|| panic!("{era}: {listed}"));
        assert!(tools.iter().any(|tool| tool["name"] == "echo"), "{era}: {listed}");

        let text = "h\u{e9}llo \u{1f980}";
        let arguments = json!({ "text": text }).to_string();
        let echo = ["--method", "tools/call", "--tool-name", "echo", "--tool-args-json"];
        let called = inspect(era, &[&echo[..], &[&arguments]].concat());
        assert_eq!(called["result"]["content"][0]["text"], text, "{era}: {called}");
    }
    let package = Package::npm("@modelcontextprotocol/inspector");
    record("MCP Inspector", &package, &user.revisions_of_demo(), "demo", "list, call");
}

/// Writes, or checks, the client's row of the table.
fn record(client: &str, package: &Package, revision: &str, server: &str, what: &str) {
    let package = format!("`{}` {}", package.name, package.version);
    let cells = [client, &package, revision, server, what];
    compatibility::row("clients", &CLIENTS, &cells);
}

/// Checks that what the document shows is what the test's own source does.
fn shows(name: &str, source: &str) {
    let flat = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let snippet = snippet(name);
    assert!(flat(source).contains(&flat(&snippet)), "the test of {name} does not do:\n{snippet}");
}

/// Checks a script's last words, and gives the revision that it spoke.
fn all_held(output: &Output) -> String {
    assert!(output.stdout.contains("all held"), "{output}");
    let revision = output.stdout.lines().find_map(|line| line.strip_prefix("held: protocol: "));
    revision.unwrap_or_else(|| panic!("no revision: {output}")).to_owned()
}

fn python(script: &str) -> Command {
    let mut command = Command::new(tool("venv/bin/python"));
    command.arg(format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// Runs a copy of the script, beside which Node finds the packages.
fn node(user: &User, script: &str) -> Command {
    let source = format!("{}/node/{script}", env!("CARGO_MANIFEST_DIR"));
    let copy = user.write(script, &std::fs::read_to_string(source).expect("a script"));
    let modules = user.file("node_modules");
    std::os::unix::fs::symlink(tool("node/node_modules"), modules).expect("a link");
    let mut command = Command::new("node");
    command.arg(copy);
    command
}
