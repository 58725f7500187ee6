//! Files as people have them. Each either is rewritten, and put back byte for byte, or is left as it
//! is, with the reason.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use sealwire_testkit::run;

use crate::{User, mode, place, program};

/// Plants, installs, and puts back. What is told, and the text in between.
fn there_and_back(client: &str, planted: &str) -> (String, String) {
    let user = User::new();
    let file = user.write(place(client), planted);
    let dry = user.sealwire(&["install", "--client", client, "--dry-run"]).ok();
    assert_eq!(user.read(place(client)), planted, "{dry}");
    let installed = user.sealwire(&["install", "--client", client, "--yes"]).ok();
    let between = user.read(place(client));
    assert!(between.contains(&program()) && between != planted, "{installed}\n{between}");
    user.sealwire(&["config", "check"]).ok();
    let again = user.sealwire(&["install", "--client", client, "--yes"]).ok();
    assert!(again.stdout.contains("installed already"), "{again}");
    assert_eq!(user.read(place(client)), between);
    assert_eq!(mode(&user.file(".sealwire/clients.json")), 0o600);
    user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
    assert_eq!(user.read(place(client)), planted);
    let nothing = user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
    assert!(nothing.stdout.contains("Nothing is installed"), "{nothing}");
    let left = fs::read_dir(file.parent().unwrap()).unwrap();
    let is_ours = |name: &str| name.starts_with(".sealwire-");
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| is_ours(name.to_str().unwrap())), "{left:?}");
    (installed.stdout, between)
}

/// Plants what is left alone, with the reason.
fn left_alone(client: &str, planted: &[u8], reason: &str) {
    let user = User::new();
    let file = user.write(place(client), planted);
    let told = user.sealwire(&["install", "--client", client, "--yes"]);
    let all = format!("{}{}", told.stdout, told.stderr);
    assert!(all.contains(reason), "{reason}: {told}");
    assert_eq!(fs::read(file).unwrap(), planted);
}

#[test]
fn json_in_one_line() {
    let (told, _) = there_and_back(
        "cursor",
        r#"{"mcpServers":{"files":{"command":"npx","args":["-y","p"],"env":{"TOKEN":"s3cret"}}}}"#,
    );
    assert!(told.contains("runs npx -y p") && told.contains("env_vars = [\"TOKEN\"]"), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn json_with_comments_and_trailing_commas() {
    let planted = "// mine\n{\n  \"servers\": {\n    /* files */\n    \"files\": {\n      \"type\": \"stdio\",\n      \"command\": \"npx\", // from npm\n      \"args\": [\n        \"-y\", // yes\n        \"p\",\n      ],\n    },\n  },\n  \"inputs\": [],\n}\n";
    let (_, between) = there_and_back("vscode", planted);
    for kept in ["// mine", "/* files */", "// from npm", "\"inputs\": [],", "\"type\": \"stdio\""]
    {
        assert!(between.contains(kept), "{kept}: {between}");
    }
}

#[test]
fn toml_with_comments_and_timeouts() {
    let planted = "model = \"gpt-5\" # mine\n\n[mcp_servers.files] # files\ncommand = \"npx\" # from npm\nargs = [\"-y\", \"p\"]\nstartup_timeout_sec = 20\ncwd = \"/srv\"\n[mcp_servers.files.env]\nTOKEN = \"s\"\n\n[tui]\nnotifications = true\n";
    let (_, between) = there_and_back("codex", planted);
    for kept in [
        "# mine",
        "# files",
        "# from npm",
        "startup_timeout_sec = 20",
        "cwd = \"/srv\"",
        "TOKEN = \"s\"",
        "[tui]",
    ] {
        assert!(between.contains(kept), "{kept}: {between}");
    }
}

#[test]
fn settings_of_other_things_and_several_servers() {
    there_and_back(
        "gemini",
        "{\n  \"theme\": \"x\",\n  \"mcpServers\": {\n    \"a\": { \"command\": \"npx\", \"timeout\": 600000 },\n    \"b c\": { \"command\": \"uvx\", \"args\": [\"d\"] }\n  }\n}\n",
    );
    there_and_back(
        "claude-desktop",
        "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\r\n\t\t\t\"command\": \"npx\"\r\n\t\t}\r\n\t}\r\n}",
    );
}

#[test]
fn servers_of_one_project_and_of_all() {
    let (told, _) = there_and_back(
        "claude-code",
        r#"{"mcpServers":{"a":{"type":"stdio","command":"x","args":[],"env":{}}},"projects":{"/srv/p":{"mcpServers":{"a":{"type":"stdio","command":"y"}},"history":[]}}}"#,
    );
    assert!(told.contains("a (in /srv/p)") && told.contains("a-claude-code"), "{told}");
}

#[test]
fn a_byte_order_mark_stays() {
    there_and_back("cursor", "\u{feff}{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}");
}

#[test]
fn what_is_empty_has_nothing_to_change() {
    for (client, planted) in [
        ("cursor", ""),
        ("cursor", "{}"),
        ("cursor", "{\"mcpServers\": {}}\n"),
        ("codex", ""),
        ("codex", "# nothing\n"),
    ] {
        left_alone(client, planted.as_bytes(), "Nothing to change");
    }
}

#[test]
fn what_is_not_understood_is_left_alone() {
    for (client, planted, reason) in [
        ("cursor", &b"{"[..], "it is not JSON"),
        ("cursor", b"[1, 2]", "it is no JSON object"),
        ("cursor", b"{\"mcpServers\": []}", "no JSON object"),
        (
            "cursor",
            b"{\"mcpServers\": {\"a\": {\"command\": \"b\"}, \"a\": {\"command\": \"c\"}}}",
            "twice",
        ),
        ("cursor", b"\xff\xfe{}", "it is not UTF-8"),
        ("codex", b"[mcp_servers", "it is not TOML"),
        ("codex", b"mcp_servers = []\n", "no table"),
        (
            "cursor",
            b"{\"mcpServers\": {\"a\": {\"command\": \"b\", \"args\": [1]}}}",
            "left alone: its args are not all text",
        ),
        (
            "cursor",
            b"{\"mcpServers\": {\"a\": {\"sse\": \"b\"}}}",
            "left alone: it has neither command nor url",
        ),
        (
            "cursor",
            b"{\"mcpServers\": {\"a\": {\"url\": \"https://h/mcp\"}}}",
            "left alone: its server is at a URL",
        ),
        (
            "cursor",
            b"{\"mcpServers\": {\"a\": {\"command\": \"./b\"}}}",
            "a directory that only the client knows",
        ),
        (
            "vscode",
            b"{\"servers\": {\"a\": {\"command\": \"${workspaceFolder}/b\"}}}",
            "the client itself puts values into",
        ),
        (
            "vscode",
            b"{\"servers\": {\"a\": {\"command\": \"b\", \"envFile\": \"x\"}}}",
            "variables from a file",
        ),
    ] {
        left_alone(client, planted, reason);
    }
}

#[test]
fn one_entry_that_is_not_understood_does_not_keep_others_from_it() {
    let (told, between) = there_and_back(
        "cursor",
        "{\"mcpServers\": {\"a\": {\"command\": \"b\"}, \"c\": {\"command\": 7}}}",
    );
    assert!(told.contains("c: left alone: its command is no text"), "{told}");
    assert!(between.contains("\"c\": {\"command\": 7}"), "{between}");
}

#[test]
fn a_link_stays_one_and_a_mode_stays() {
    let user = User::new();
    let real = user.write("dotfiles/mcp.json", "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}");
    user.home.chmod("dotfiles/mcp.json", 0o640);
    fs::create_dir(user.file(".cursor")).unwrap();
    symlink("../dotfiles/mcp.json", user.file(".cursor/mcp.json")).unwrap();
    user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    assert!(user.file(".cursor/mcp.json").is_symlink());
    assert!(user.read("dotfiles/mcp.json").contains("connect"));
    assert_eq!(mode(&real), 0o640);
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read("dotfiles/mcp.json"), "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}");

    fs::remove_file(user.file("dotfiles/mcp.json")).unwrap();
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]);
    assert!(told.stderr.contains("a link to a file that is not there"), "{told}");
}

#[test]
fn what_is_read_only_stays_as_it_is() {
    let user = User::new();
    let planted = "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}";
    user.write(".cursor/mcp.json", planted);
    user.home.chmod(".cursor/mcp.json", 0o444);
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("it is read-only"), "{told}");
    assert_eq!(user.read(".cursor/mcp.json"), planted);

    let user = User::new();
    fs::create_dir_all(user.file(".cursor/mcp.json")).unwrap();
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]);
    assert!(told.stderr.contains("no regular file"), "{told}");
}

#[test]
fn what_another_program_writes_in_between_is_not_lost() {
    let user = User::new();
    user.write(".cursor/mcp.json", "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}");
    let mut command = user.command(&["install", "--client", "cursor"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut asked = Vec::new();
    stdout.read_until(b'?', &mut asked).unwrap();
    let theirs = "{\"mcpServers\":{\"a\":{\"command\":\"npx\"},\"b\":{\"command\":\"uvx\"}}}";
    user.write(".cursor/mcp.json", theirs);
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(told.contains("it was changed meanwhile by another program"), "{told}");
    assert_eq!(user.read(".cursor/mcp.json"), theirs);
    // Nothing is noted of what was not done.
    let told = user.sealwire(&["uninstall", "--yes"]).ok();
    assert!(told.stdout.contains("Nothing is installed"), "{told}");
}

#[test]
fn nothing_is_written_unless_somebody_agrees() {
    let user = User::new();
    let planted = "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}";
    user.write(".cursor/mcp.json", planted);
    let config = user.read(".sealwire/sealwire.toml");
    let told = run(user.command(&["install", "--client", "cursor"]), b"\n").ok();
    assert!(
        told.stdout.contains("Write this? [y/N]") && told.stdout.contains("Nothing was changed"),
        "{told}"
    );
    assert_eq!(user.read(".cursor/mcp.json"), planted);
    assert_eq!(user.read(".sealwire/sealwire.toml"), config);

    // That nobody answers is no answer.
    let told = user.sealwire(&["install", "--client", "cursor"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("standard input has ended"), "{told}");
    assert_eq!(user.read(".cursor/mcp.json"), planted);
    user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    let between = user.read(".cursor/mcp.json");
    let told = user.sealwire(&["uninstall", "--client", "cursor"]);
    assert_eq!(told.code, Some(1), "{told}");
    let mut command = user.command(&["uninstall"]);
    command.stdin(fs::File::open(user.home.path()).unwrap());
    let told = command.output().unwrap();
    assert_eq!(told.status.code(), Some(1), "a directory cannot be read: {told:?}");
    assert_eq!(user.read(".cursor/mcp.json"), between);
}

#[test]
fn a_server_of_sealwire_is_added_and_a_url_is_replaced_by_one() {
    let user = User::new();
    user.configure("[mcp_servers.far]\nendpoint = \"tools.example.org:7443\"\ndefault_level = 1\n");
    let told = user.sealwire(&["install", "--client", "cursor", "--server", "far", "--yes"]).ok();
    assert!(told.stdout.contains("it reaches tools.example.org:7443"), "{told}");
    assert!(user.read(".cursor/mcp.json").contains("\"far\""));
    user.sealwire(&["uninstall", "--client", "cursor", "--yes"]).ok();
    assert!(!user.file(".cursor/mcp.json").exists(), "there was none before");

    for (client, planted) in [
        (
            "claude-code",
            "{\"mcpServers\": {\"far\": {\"type\": \"http\", \"url\": \"https://u:p@h/mcp?k=s3cret\", \"headers\": {\"A\": \"s3cret\"}}}, \"x\": 1}",
        ),
        (
            "codex",
            "[mcp_servers.far]\nurl = \"https://u:p@h/mcp?k=s3cret\"\n[mcp_servers.far.http_headers]\nA = \"s3cret\"\n\n# mine\n[tui]\n",
        ),
    ] {
        user.write(place(client), planted);
        let told = user.sealwire(&["install", "--client", client, "--yes"]).ok();
        assert!(!told.stdout.contains("s3cret") && !told.stdout.contains("u:p"), "{told}");
        let goes = if client == "codex" { "http_headers.A" } else { "headers.A" };
        assert!(told.stdout.contains(&format!("- {goes} …")), "{goes}: {told}");
        let between = user.read(place(client));
        assert!(between.contains("connect") && !between.contains("https"), "{between}");
        user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
        assert_eq!(user.read(place(client)), planted);
    }
    let unknown = user.sealwire(&["install", "--client", "cursor", "--server", "none", "--yes"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
}

#[test]
fn what_was_changed_since_is_left_alone_and_the_rest_comes_back() {
    let user = User::new();
    user.write(
        ".cursor/mcp.json",
        "{\"mcpServers\":{\"a\":{\"command\":\"npx\"},\"b\":{\"command\":\"uvx\"}}}",
    );
    user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    let between = user.read(".cursor/mcp.json");
    // Somebody else's tool writes it anew, and gives `b` another program.
    let mut json: serde_json::Value = serde_json::from_str(&between).unwrap();
    json["mcpServers"]["b"]["command"] = "mine".into();
    json["mcpServers"]["a"]["timeout"] = 5.into();
    user.write(".cursor/mcp.json", format!("{json:#}"));
    let told = user.sealwire(&["uninstall", "--client", "cursor", "--yes"]).ok();
    assert!(told.stdout.contains("b: left alone: it was changed since"), "{told}");
    let after: serde_json::Value = serde_json::from_str(&user.read(".cursor/mcp.json")).unwrap();
    assert_eq!(after["mcpServers"]["a"], serde_json::json!({"command": "npx", "timeout": 5}));
    assert_eq!(after["mcpServers"]["b"]["command"], "mine");
}

#[test]
fn what_was_added_to_an_entry_since_is_not_lost() {
    let url = "[mcp_servers.far]\nurl = \"https://h/mcp\"\n";
    for (client, planted, added, keys) in [
        (
            "codex",
            "",
            "env = { A = \"s3cret\" }\nstartup_timeout_sec = 9\n",
            "env, startup_timeout_sec",
        ),
        ("codex", url, "[mcp_servers.far.tools.x]\napproval_mode = \"approve\"\n", "tools.x"),
        ("cursor", "{}", "\"cwd\": \"/s3cret\", \"timeout\": 5, ", "cwd, timeout"),
        (
            "cursor",
            "{\"mcpServers\":{\"far\":{\"url\":\"https://h\"}}}",
            "\"disabled\": true, ",
            "disabled",
        ),
    ] {
        let user = User::new();
        user.configure("[mcp_servers.far]\nendpoint = \"h.example:7443\"\ndefault_level = 1\n");
        user.write(place(client), planted);
        user.sealwire(&["install", "--client", client, "--server", "far", "--yes"]).ok();
        let installed = user.read(place(client));
        let changed = match client {
            "codex" => format!("{installed}{added}"),
            _ => installed.replace("\"command\"", &format!("{added}\"command\"")),
        };
        assert_ne!(changed, installed);
        user.write(place(client), &changed);
        let told = user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
        let why = format!("far: left alone: it was changed since, and would lose {keys}:");
        assert!(told.stdout.contains(&why) && !told.stdout.contains("s3cret"), "{told}");
        assert_eq!(user.read(place(client)), changed);
        // It is still known what was there.
        user.write(place(client), installed);
        user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
        let left = user.file(place(client)).exists().then(|| user.read(place(client)));
        assert!(left.is_none_or(|left| !left.contains("connect")), "{client}: {planted}");
    }
}

#[test]
fn another_home_and_another_file_are_named_in_the_entry() {
    let user = User::new();
    let home = user.file("other home");
    let home = home.to_str().unwrap();
    user.sealwire(&["--home", home, "init"]).ok();
    let file = user.write("p/.vscode/mcp.json", "{\"servers\":{\"a\":{\"command\":\"npx\"}}}");
    let file = file.to_str().unwrap();
    user.sealwire(&["--home", home, "install", "--client", "vscode", "--file", file, "--yes"]).ok();
    let json: serde_json::Value = serde_json::from_str(&user.read("p/.vscode/mcp.json")).unwrap();
    assert_eq!(json["servers"]["a"]["args"], serde_json::json!(["--home", home, "connect", "a"]));
}
