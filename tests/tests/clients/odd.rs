//! Files that are written as hardly anybody writes them: as before after `uninstall`, byte for byte,
//! or not touched.

use std::fs;

use serde_json::json;

use crate::{User, place};

const OWN: &str = "[mcp_servers.far]\nendpoint = \"h.example:7443\"\ndefault_level = 1\n\
                   [mcp_servers.\"dot.ted\"]\nendpoint = \"h.example:7443\"\ndefault_level = 1\n";

/// Installs, with these options, and puts back.
fn there_and_back(client: &str, planted: &str, options: &[&str]) {
    let user = User::new();
    user.configure(OWN);
    user.write(place(client), planted);
    let mut command = vec!["install", "--client", client, "--yes"];
    command.extend(options);
    let told = user.sealwire(&command).ok();
    let between = user.read(place(client));
    assert_ne!(between, planted, "{told}");
    user.sealwire(&["config", "check"]).ok();
    user.sealwire(&command).ok();
    assert_eq!(user.read(place(client)), between, "nothing to change the second time");
    let told = user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read(place(client)), planted, "{client}: {planted:?}{told}");
}

#[test]
fn what_was_added_goes_without_a_trace() {
    for (client, planted) in [
        ("cursor", ""),
        ("cursor", "{}"),
        ("cursor", "\u{feff}{}"),
        ("gemini", " \n\n\t"),
        ("vscode", "// nothing yet\n"),
        ("claude-code", "{\"mcpServers\": {}, \"x\": 1}"),
        ("claude-code", "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}"),
        ("vscode", "{\n  \"servers\": {\n    \"a\": { \"command\": \"npx\" }, // last\n  },\n}"),
        (
            "vscode",
            "{\n  \"servers\": {\n    \"a\": { \"command\": \"npx\" } // last\n    // x\n  }\n}",
        ),
        ("claude-desktop", "{\r\n\t\"theme\": \"dark\"\r\n}"),
        ("codex", "\n \n"),
        ("codex", "model = \"x\"\n[mcp_servers.a]\ncommand = \"npx\""),
        ("codex", "model = \"x\"\n\n\n"),
        ("codex", "model = \"x\"\n# the end"),
        ("codex", "\u{feff}model = \"x\"\r\n[tui]\r\nx = 1\r\n"),
    ] {
        there_and_back(client, planted, &["--all"]);
    }
}

#[test]
fn odd_toml_is_rewritten_in_place() {
    for planted in [
        "mcp_servers.a.command = \"npx\" # c\nmcp_servers.a.args = [\"p\"]\nmodel = \"x\"\n",
        "mcp_servers.a.command = \"npx\"\nmodel = \"x\"\n",
        "[mcp_servers]\na.command = \"npx\" # c\nb.args = []\nb.command = \"uvx\"\n",
        "mcp_servers = { a.command = \"npx\", a.args = [\"x\"] }\n",
        "mcp_servers = { a = { command = \"npx\" }, b = { args = [ ], command = 'uvx' } }\n",
        "[\"mcp_servers\".\"a.b c\\\"d\"]\n\"command\" = \"\"\"npx\"\"\"\n'args' = ['''p''', \"\"\"q\nr\"\"\"] # c\n",
        "[ mcp_servers . a ] # c\n\tcommand\t=\t\"npx\"\t# c\n",
        "[mcp_servers.a.env]\nT = \"s\"\n\n[tui]\nx=1\n\n[mcp_servers.a]\ncommand = \"npx\"\n",
        "[mcp_servers.a]\nargs = [ # one\n  \"x\", # two\n  # three\n] # four\n# five\ncommand = 'npx'\n",
        "[mcp_servers.far]\r\nurl = \"https://h\"\r\ntools.x.approval_mode = \"approve\"",
        "[mcp_servers.\"dot.ted\"]\nurl = \"https://h\"\nenabled_tools = []\n",
    ] {
        there_and_back("codex", planted, &[]);
    }
}

#[test]
fn odd_json_is_rewritten_in_place() {
    for (client, planted) in [
        (
            "cursor",
            "{\"mcpServers\" /*a*/ : /*b*/ {\"a\" /*c*/ : /*d*/ {\"command\" /*e*/ : /*f*/ \"npx\" /*g*/ , /*h*/ \"args\" : /*i*/ [ /*j*/ ] /*k*/ } } } // end",
        ),
        ("vscode", "{\"servers\":{\"a\":{\"command\":\"npx\", // c\n},},}"),
        (
            "cursor",
            "{\"mcp\\u0053ervers\":{\"a\":{\"comm\\u0061nd\":\"npx\",\"arg\\u0073\":[\"x\"]}}}",
        ),
        (
            "cursor",
            "{\"mcpServers\":{\"a\\\"\\\\\\n\\u001b[31m\":{\"command\":\"np\\nx\\\"\\u2028\",\"args\":[\"\",\"\\u0007\",\"$(x)\"]}}}",
        ),
        (
            "claude-desktop",
            "{\"mcpServers\":{\"サーバ 一\":{\"command\":\"uvx\",\"args\":[\"日本\"]}}}",
        ),
        (
            "vscode",
            "{\"servers\":{\"far\":{ // c1\n \"type\":\"http\", // c2\n \"url\":\"http://h\" /*c3*/, \"gallery\": true } /*c5*/, /*c6*/ \"b\":{\"url\":\"x\"}}}",
        ),
        (
            "claude-code",
            "{\"projects\":{\"/p\":{\"mcpServers\":{\"far\":{\"type\":\"sse\",\"url\":\"http://h\"}}},\"/q\":null},\"big\":12345678901234567890123}",
        ),
    ] {
        there_and_back(client, planted, &[]);
    }
    let servers: serde_json::Map<_, _> = (0..40)
        .map(|n| (format!("s{n}"), json!({"command": "npx", "args": [n.to_string()]})))
        .collect();
    there_and_back("cursor", &json!({ "mcpServers": servers }).to_string(), &[]);
    let history = "x".repeat(4 << 20);
    let planted = json!({"history": [history], "mcpServers": {"a": {"command": "npx"}}});
    there_and_back("claude-code", &planted.to_string(), &[]);
}

#[test]
fn what_cannot_be_rewritten_is_not_touched() {
    for (client, planted, reason) in [
        ("codex", "mcp_servers = { a.command = \"npx\" }\n", "written in another way"),
        (
            "codex",
            "[mcp_servers.far.tools.t]\na = 1\n[mcp_servers.far]\nurl = \"u\"\n",
            "in one place",
        ),
        (
            "codex",
            "[mcp_servers.far]\nurl = \"u\"\n[tui]\n[mcp_servers.far.tools.t]\na = 1\n",
            "in one place",
        ),
        ("codex", "mcp_servers.far.url = \"u\"\n", "in one place"),
        ("codex", "[[mcp_servers.a]]\ncommand = \"npx\"\n", "no table"),
        ("codex", "[mcp_servers.a]\rcommand = \"x\"\r", "it is not TOML"),
        (
            "claude-code",
            "{\"mcpServers\":{\"a\":{\"type\":\"http\",\"command\":\"x\"}}}",
            "its type is \"http\"",
        ),
        (
            "claude-code",
            "{\"mcpServers\":{\"a\":{\"command\":\"x\",\"env\":{\"A\":null}}}}",
            "in its env is no text",
        ),
        ("vscode", "{'servers':{'a':{'command':'x'}}}", "it is not JSON"),
        ("vscode", "{\"servers\":{\"a\":{\"command\":\"x\"}}} /* ", "it is not JSON"),
        ("cursor", "{}{}", "it is not JSON"),
        ("cursor", "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}\0", "it is not JSON"),
    ] {
        let user = User::new();
        user.configure(OWN);
        let file = user.write(place(client), planted);
        let told = user.sealwire(&["install", "--client", client, "--yes"]);
        let all = format!("{}{}", told.stdout, told.stderr);
        assert!(all.contains(reason), "{reason}: {told}");
        assert_eq!(fs::read_to_string(file).unwrap(), planted);
    }
    let user = User::new();
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    user.write(place("cursor"), deep);
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
}
