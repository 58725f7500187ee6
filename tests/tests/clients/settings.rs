//! What an entry says to its client, and not of how its server is reached, holds after `install` as
//! before; what cannot hold is named; and what somebody writes into it since is not lost.

use serde_json::{Value, json};

use crate::{User, place};

const FAR: &str = "[mcp_servers.far]\nendpoint = \"h.example:7443\"\ndefault_level = 1\n";

/// The entry `far` of a client's file.
fn far(client: &str, text: &str) -> Value {
    let whole: Value = match client {
        "codex" => serde_json::to_value(text.parse::<toml::Table>().expect(text)).unwrap(),
        _ => serde_json::from_str(text).expect(text),
    };
    let tables = ["mcp_servers", "mcpServers", "servers"];
    let table = tables.into_iter().find_map(|key| whole.get(key));
    table.and_then(|table| table.get("far")).expect("an entry").clone()
}

#[test]
fn a_server_at_a_url_keeps_what_the_client_was_told_of_it() {
    for (client, planted, kept, lost) in [
        (
            "codex",
            "# mine\n[mcp_servers.far] # far\nurl = \"https://h/mcp\"\nenabled = false # for now\n\
             bearer_token_env_var = \"TOKEN\"\nenabled_tools = [\n  \"read\", # only\n]\n\
             disabled_tools = [\"drop\"]\ntool_timeout_sec = 9\nhttp_headers.A = \"s3cret\"\n\
             [mcp_servers.far.tools.read]\napproval_mode = \"approve\"\n\
             [mcp_servers.far.env_http_headers]\nB = \"s3cret\"\n\n[tui]\nx = 1\n",
            json!({
                "enabled": false,
                "enabled_tools": ["read"],
                "disabled_tools": ["drop"],
                "tool_timeout_sec": 9,
                "tools": {"read": {"approval_mode": "approve"}},
            }),
            &["url https://h/mcp", "bearer_token_env_var …", "http_headers.A …"][..],
        ),
        (
            "gemini",
            "{\n  // mine\n  \"mcpServers\": {\n    \"far\": {\n      \"httpUrl\": \"https://h/mcp\", // there\n      \"headers\": { \"A\": \"s3cret\" },\n      \"includeTools\": [\n        \"read\" // only\n      ],\n      \"excludeTools\": [], \"trust\": true, \"timeout\": 5\n    }\n  }\n}\n",
            json!({"includeTools": ["read"], "excludeTools": [], "trust": true, "timeout": 5}),
            &["headers.A …"],
        ),
        (
            "cursor",
            r#"{"mcpServers":{"far":{"disabled":true,"url":"https://h/mcp","autoApprove":["read"],"auth":{"k":"s3cret"}}}}"#,
            json!({"disabled": true, "autoApprove": ["read"]}),
            &["auth.k …"],
        ),
        (
            "claude-code",
            r#"{"mcpServers":{"far":{"type":"http","url":"https://h/mcp","alwaysLoad":true,"headersHelper":"s3cret"}}}"#,
            json!({"type": "stdio", "alwaysLoad": true}),
            &["headersHelper …"],
        ),
    ] {
        let user = User::new();
        user.configure(FAR);
        user.write(place(client), planted);
        let told = user.sealwire(&["install", "--client", client, "--yes"]).ok();
        assert!(!told.stdout.contains("s3cret"), "{told}");
        for key in lost {
            assert!(told.stdout.contains(&format!("- {key}")), "{key}: {told}");
        }
        let is_off = planted.contains("enabled = false") || planted.contains("disabled");
        assert_eq!(told.stdout.contains("stays turned off"), is_off, "{told}");
        let between = user.read(place(client));
        let mut expected = kept;
        for key in expected.as_object().unwrap().keys().filter(|key| *key != "type") {
            let keeps = told.stdout.lines().find(|line| line.trim_start().starts_with("keeps "));
            assert!(keeps.is_some_and(|line| line.contains(key)), "{key}: {told}");
        }
        let stripped = between.replace(" // mine\n", "\n").replace("// only", "");
        let entry = far(client, &stripped);
        expected["command"] = entry["command"].clone();
        expected["args"] = json!(["connect", "far"]);
        assert_eq!(entry, expected, "{between}");
        user.sealwire(&["uninstall", "--client", client, "--yes"]).ok();
        assert_eq!(user.read(place(client)), planted);
    }
}

#[test]
fn what_a_client_is_told_since_is_not_lost() {
    let user = User::new();
    user.configure(FAR);
    let planted = "[mcp_servers.far]\nurl = \"https://h/mcp\"\nenabled_tools = [\"a\"]\n";
    user.write(place("codex"), planted);
    user.sealwire(&["install", "--client", "codex", "--yes"]).ok();
    let between = user.read(place("codex"));
    for (changed, lost) in [
        (between.replace("[\"a\"]", "[\"a\", \"b\"]"), "enabled_tools"),
        (format!("{between}required = true\n"), "required"),
        (between.replace("command = ", "# why\ncommand = "), "a comment"),
    ] {
        assert_ne!(changed, between);
        user.write(place("codex"), &changed);
        let told = user.sealwire(&["uninstall", "--yes"]).ok();
        let why = format!("far: left alone: it was changed since, and would lose {lost}: ");
        assert!(told.stdout.contains(&why), "{told}");
        assert_eq!(user.read(place("codex")), changed);
    }
    // Written in another way it is the same, and what was taken out of it comes back.
    for same in [
        between.replace("enabled_tools = [\"a\"]", "enabled_tools = [ 'a' ]"),
        between.replace("enabled_tools = [\"a\"]\n", ""),
    ] {
        assert_ne!(same, between);
        user.write(place("codex"), &same);
        user.sealwire(&["uninstall", "--yes"]).ok();
        assert_eq!(user.read(place("codex")), planted);
        user.sealwire(&["install", "--client", "codex", "--yes"]).ok();
    }
}

#[test]
fn comments_written_since_are_not_lost() {
    let program = "{\n  \"mcpServers\": {\n    \"a\": {\n      \"command\": \"npx\",\n      \"args\": [\"p\"]\n    }\n  }\n}\n";
    for (client, planted, options, from, to, is_kept) in [
        // What stays comes back around the comment.
        ("cursor", program, &[][..], "\"args\"", "// why\n      \"args\"", true),
        ("cursor", program, &[], "[\"connect\"", "[/* why */ \"connect\"", false),
        (
            "codex",
            "[mcp_servers.a]\ncommand = \"npx\"\nargs = [\"p\"]\n",
            &[],
            "args = [",
            "# why\nargs = [",
            true,
        ),
        (
            "codex",
            "[mcp_servers.a]\ncommand = \"npx\"\n",
            &[],
            "args = [\"connect\"",
            "args = [ # why\n\"connect\"",
            false,
        ),
        // What `install` has written goes.
        ("codex", "x = 1\n", &["--server", "far"], "args = ", "# why\nargs = ", false),
        (
            "cursor",
            "{\"mcpServers\": {}}",
            &["--server", "far"],
            "\"args\"",
            "/* why */ \"args\"",
            false,
        ),
        (
            "cursor",
            "{\"mcpServers\": {\"far\": {\"url\": \"https://h\"}}}",
            &[],
            "\"args\"",
            "/* why */ \"args\"",
            false,
        ),
    ] {
        let user = User::new();
        user.configure(FAR);
        user.write(place(client), planted);
        let mut command = vec!["install", "--client", client, "--yes"];
        command.extend(options);
        user.sealwire(&command).ok();
        let between = user.read(place(client));
        let changed = between.replacen(from, to, 1);
        assert_ne!(changed, between);
        user.write(place(client), &changed);
        let told = user.sealwire(&["uninstall", "--yes"]).ok();
        let is_left = told.stdout.contains("left alone: it was changed since, and would lose");
        assert_eq!(is_left, !is_kept, "{changed}{told}");
        let after = user.read(place(client));
        assert!(after.contains("why"), "{after}");
        match is_kept {
            true => assert_eq!(after, planted.replacen(from, to, 1)),
            false => assert_eq!(after, changed),
        }
    }
}

#[test]
fn what_a_server_does_not_get_any_more_is_named_before_anybody_agrees() {
    let user = User::new();
    user.configure(FAR);
    user.write(
        place("codex"),
        "[mcp_servers.far]\ncommand = \"npx\"\ncwd = \"/srv\"\nenv_vars = [\"KEY\"]\n\
         env = { TOKEN = \"s3cret\" }\n",
    );
    let told = user.sealwire(&["install", "--client", "codex", "--dry-run"]).ok();
    let expected = "far does not get env TOKEN, env KEY, cwd: it runs elsewhere";
    assert!(told.stdout.contains(expected) && !told.stdout.contains("s3cret"), "{told}");
    let told = user.sealwire(&["install", "--client", "codex", "--dry-run", "--json"]).ok();
    let json: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(json["entries"][0]["after"]["does_not_get"], json!(["env TOKEN", "env KEY", "cwd"]));

    // A client that gives a server its whole environment does not do so any more.
    let note = "Of the client's own environment";
    user.write(place("cursor"), r#"{"mcpServers":{"a":{"command":"npx"}}}"#);
    let told = user.sealwire(&["install", "--client", "cursor", "--dry-run"]).ok();
    assert!(told.stdout.contains(note) && told.stdout.contains("env_vars"), "{told}");
    user.write(place("codex"), "[mcp_servers.a]\ncommand = \"npx\"\n");
    let told = user.sealwire(&["install", "--client", "codex", "--dry-run"]).ok();
    assert!(!told.stdout.contains(note), "{told}");
}

#[test]
fn a_program_that_is_off_stays_off() {
    let user = User::new();
    let planted = "[mcp_servers.a]\ncommand = \"npx\"\nenabled = false\n";
    user.write(place("codex"), planted);
    let told = user.sealwire(&["install", "--client", "codex", "--yes"]).ok();
    assert!(told.stdout.contains("stays turned off"), "{told}");
    assert!(user.read(place("codex")).contains("enabled = false"));
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read(place("codex")), planted);
}

#[test]
fn a_server_of_which_a_list_of_the_clients_says_no_stays_off() {
    let user = User::new();
    let planted = r#"{"mcp": {"excluded": ["a"]}, "mcpServers": {"a": {"command": "npx"}}}"#;
    user.write(place("gemini"), planted);
    let told = user.sealwire(&["install", "--client", "gemini", "--yes"]).ok();
    assert!(told.stdout.contains("stays turned off in Gemini CLI"), "{told}");
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read(place("gemini")), planted);
}

/// What `[defaults]` asks of every server holds for those that come with a client, too.
#[test]
fn a_new_server_is_no_weaker_than_the_defaults_ask() {
    let user = User::new();
    user.configure("[defaults]\ndefault_level = 2\n");
    user.write(place("cursor"), r#"{"mcpServers":{"a":{"command":"npx"}}}"#);
    let json = ["install", "--client", "cursor", "--dry-run", "--json"];
    let told = user.sealwire(&json).ok();
    assert!(told.stdout.contains("servers") && !told.stdout.contains("default_level"), "{told}");
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    assert!(!told.stdout.contains("default_level = 1"), "{told}");
    assert!(told.stdout.contains("Their level is 2, the default_level of [defaults]"), "{told}");
    let asked = ["policy", "explain", "--server", "a", "--tool", "x", "--peer", "local", "--json"];
    let explained: Value = serde_json::from_str(&user.sealwire(&asked).stdout).unwrap();
    assert_eq!(explained["level"], 2, "{explained}");
    let text = user.read(".sealwire/sealwire.toml");
    let (_, table) = text.split_once("\n[mcp_servers.a]\n").unwrap();
    assert!(!table.contains("default_level"), "{text}");
}
