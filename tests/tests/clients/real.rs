//! The clients themselves: each reaches a tool after `install`, and has its entry as it was after
//! `uninstall`.

use std::process::Command;

use sealwire_testkit::{MockMessages, MockModel, TOOL_SAID, bin, quoted, run, tool};
use serde_json::{Value, json};

use crate::{User, place};

const TEXT: &str = "h\u{e9}llo \u{1f980}";

/// The server that each client starts: one that speaks both eras of the protocol. It has another
/// name, since an entry that starts sealwire is taken for installed.
fn server_under_another_name(user: &User) -> Value {
    let copy = user.file("demo");
    std::os::unix::fs::symlink(bin("sealwire"), &copy).expect("a link");
    json!({"command": copy, "args": ["demo-server"]})
}

/// A command that wants a newer Node than the machine may have.
fn client(user: &User, name: &str, args: &[&str]) -> Command {
    let node = tool("node22/node_modules/.bin");
    let path = std::env::var("PATH").expect("PATH");
    let mut command = user.with(Command::new(tool(&format!("clients/node_modules/.bin/{name}"))));
    command.args(args).env("PATH", format!("{}:{path}", node.display()));
    command
}

/// The call, as it is in the log.
fn is_logged(user: &User) {
    let log = user.log();
    let call = log.lines().find(|line| {
        line.contains("\"call.decision\"") && line.contains("\"gen_ai.tool.name\":\"echo\"")
    });
    assert!(call.is_some_and(|line| line.contains("\"decision\":\"allow\"")), "{log}");
    user.sealwire(&["audit", "verify"]).ok();
}

fn servers(user: &User, name: &str) -> Value {
    let text = user.read(place(name));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    json["mcpServers"].clone()
}

#[test]
fn codex_exec() {
    let user = User::new();
    let model = MockModel::calling("demo", "echo", &json!({ "text": TEXT }));
    let server = server_under_another_name(&user);
    let config = format!(
        "model = \"gpt-5\" # mine\nmodel_provider = \"mock\"\n\
         approval_policy = \"never\"\nsandbox_mode = \"read-only\"\n\
         [model_providers.mock]\nname = \"mock\"\nbase_url = \"{}\"\n\
         wire_api = \"responses\"\nrequest_max_retries = 0\nstream_max_retries = 0\n\n\
         [mcp_servers.demo] # the demo\ncommand = {}\nargs = [\"demo-server\"]\n\
         startup_timeout_sec = 60\ndefault_tools_approval_mode = \"approve\"\nenv = {{ MODE = \"x\" }}\n",
        model.base_url(),
        quoted(server["command"].as_str().expect("a path"))
    );
    user.write(place("codex"), &config);
    user.write("work/README", "nothing\n");
    user.sealwire(&["install", "--client", "codex", "--yes"]).ok();
    assert!(user.read(place("codex")).contains("\"connect\", \"demo\""));

    let mut command = Command::new(tool("node/node_modules/.bin/codex"));
    command.args(["exec", "--strict-config", "--skip-git-repo-check", "--cd"]);
    command.arg(user.file("work")).arg("call echo");
    let output = run(user.with(command), b"");
    assert_eq!(model.refusals(), [""; 0], "{output}");
    let output = output.ok();
    assert!(output.stdout.contains(TOOL_SAID) && output.stdout.contains(TEXT), "{output}");
    is_logged(&user);

    user.sealwire(&["uninstall", "--client", "codex", "--yes"]).ok();
    // Codex may have added something of its own at the end.
    assert!(user.read(place("codex")).starts_with(&config), "{}", user.read(place("codex")));
}

#[test]
fn claude_code() {
    let user = User::new();
    let model = MockMessages::calling("demo", "echo", &json!({ "text": TEXT }));
    let mut before = server_under_another_name(&user);
    before["type"] = "stdio".into();
    before["env"] = json!({"MODE": "x"});
    user.write(place("claude-code"), json!({"mcpServers": {"demo": before}}).to_string());
    user.sealwire(&["install", "--client", "claude-code", "--yes"]).ok();
    let claude = |args: &[&str]| {
        let mut command = client(&user, "claude", args);
        command
            .env("ANTHROPIC_API_KEY", "test")
            .env("ANTHROPIC_BASE_URL", model.base_url())
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            // On a busy machine, a server takes longer than it waits for one by itself.
            .env("MCP_CONNECT_TIMEOUT_MS", "120000")
            .env("ENABLE_TOOL_SEARCH", "false");
        run(command, b"")
    };
    let listed = claude(&["mcp", "list"]).ok();
    assert!(
        listed.stdout.contains("connect demo") && listed.stdout.contains("Connected"),
        "{listed}"
    );
    let output = claude(&["-p", "call echo", "--allowedTools", "mcp__demo__echo"]).ok();
    assert!(output.stdout.contains(TOOL_SAID) && output.stdout.contains(TEXT), "{output}");
    is_logged(&user);

    // It has written the file anew meanwhile, in its own way.
    user.sealwire(&["uninstall", "--client", "claude-code", "--yes"]).ok();
    assert_eq!(servers(&user, "claude-code"), json!({"demo": before}));
    let listed = claude(&["mcp", "list"]).ok();
    assert!(
        listed.stdout.contains("/demo demo-server") && listed.stdout.contains("Connected"),
        "{listed}"
    );
}

#[test]
fn gemini_mcp_list() {
    let user = User::new();
    let mut before = server_under_another_name(&user);
    before["timeout"] = 60_000.into();
    let planted = json!({
        "security": {"folderTrust": {"enabled": false}},
        "mcpServers": {"demo": before},
    });
    let planted = format!("// mine\n{planted:#}\n");
    user.write(place("gemini"), &planted);
    user.sealwire(&["install", "--client", "gemini", "--yes"]).ok();
    let list = || {
        let mut command = client(&user, "gemini", &["mcp", "list"]);
        command.env("GEMINI_CLI_TRUST_WORKSPACE", "true");
        let output = run(command, b"").ok();
        // It has used both for what it says.
        format!("{}{}", output.stdout, output.stderr)
    };
    let listed = list();
    assert!(listed.contains("connect demo") && listed.contains("Connected"), "{listed}");
    // To list it is to open a conversation.
    assert!(user.log().contains("\"initialize\""), "{}", user.log());
    user.sealwire(&["uninstall", "--client", "gemini", "--yes"]).ok();
    assert_eq!(user.read(place("gemini")), planted);
    let listed = list();
    assert!(listed.contains("/demo demo-server") && listed.contains("Connected"), "{listed}");
}
