use super::*;
use crate::clients::installed::{Replaced, Was};

const COMMAND: &str = "/usr/bin/sealwire";

fn args() -> Vec<String> {
    vec!["connect".to_owned(), "x".to_owned()]
}

fn program(client: Client, text: &str) -> Program {
    let found = read(client, text).unwrap_or_else(|why| panic!("{why}: {text}"));
    match &found[..] {
        [Found { shape: Shape::Program(program), .. }] => program.clone(),
        other => panic!("{other:?}"),
    }
}

/// Rewrites the only program of `text` and puts it back.
fn there_and_back(client: Client, text: &str) -> String {
    let program = program(client, text);
    let list = list(client, &args());
    let command = text[program.command_at.clone()].to_owned();
    let before = program.args_at.clone().map(|at| text[at].to_owned());
    let (at, start, end) = &program.args_place;
    let splices = vec![
        Splice { at: program.command_at.clone(), text: string(client, COMMAND) },
        match &program.args_at {
            Some(at) => Splice { at: at.clone(), text: list },
            None => Splice { at: *at..*at, text: format!("{start}{list}{end}") },
        },
    ];
    let rewritten = spliced(text, splices);
    let found = read(client, &rewritten).unwrap_or_else(|why| panic!("{why}: {rewritten}"));
    let [Found { shape: Shape::Program(new), table, name, .. }] = &found[..] else {
        panic!("{rewritten}")
    };
    assert_eq!((new.command.as_str(), &new.args), (COMMAND, &args()), "{rewritten}");
    assert_eq!(
        (&new.env, &new.env_vars, &new.cwd),
        (&program.env, &program.env_vars, &program.cwd)
    );
    let replaced = Replaced {
        client: client.word().to_owned(),
        file: "f".into(),
        table: table.clone(),
        name: name.clone(),
        server: "x".to_owned(),
        was: Was::Program { command, args: before },
        command: COMMAND.to_owned(),
        args: args(),
        wrote: None,
    };
    assert_eq!(replaced.undone(client, &rewritten).unwrap(), text, "{rewritten}");
    rewritten
}

#[test]
fn json_is_rewritten_in_place_and_put_back_byte_for_byte() {
    for text in [
        r#"{"mcpServers":{"x":{"command":"npx","args":["-y","p"],"env":{"T":"s"}}}}"#,
        "{\n  // mine\n  \"mcpServers\": {\n    \"x\": {\n      \"command\": \"npx\", // why\n      \"args\": [\n        \"-y\", /* p */ \"p\",\n      ],\n    },\n  },\n}\n",
        "{\r\n\t\"mcpServers\": {\r\n\t\t\"x\": {\r\n\t\t\t\"command\": \"npx\"\r\n\t\t}\r\n\t}\r\n}",
        r#"{"mcpServers":{"x":{"args":[],"command":"a \" \u00e9"}},"other":[1,{"command":"no"}]}"#,
    ] {
        there_and_back(Client::Cursor, text);
    }
    let line = r#"{"mcpServers":{"x":{"command":"npx"}}}"#;
    let rewritten = there_and_back(Client::Cursor, line);
    assert!(
        rewritten.contains(r#""command":"/usr/bin/sealwire", "args": ["connect", "x"]"#),
        "{rewritten}"
    );
}

#[test]
fn toml_is_rewritten_in_place_and_put_back_byte_for_byte() {
    for text in [
        "model = \"gpt-5\" # mine\n\n[mcp_servers.x]\ncommand = 'npx' # why\nargs = [\n  \"-y\", # yes\n  \"p\",\n]\n[mcp_servers.x.env]\nT = \"s\"\n\n[tui]\n",
        "[mcp_servers.x]\n  command = \"npx\" # no arguments\n  tool_timeout_sec = 5",
        "mcp_servers = { x = { command = \"npx\" } }\n",
        "[mcp_servers]\nx = { command = \"npx\", args = [], env_vars = [\"A\"] }\n",
        "[mcp_servers.\"a b\"]\r\ncommand = \"npx\"\r\n",
        "mcp_servers.x.command = \"npx\" # why\nmcp_servers.x.args = [] # none\nmodel = \"m\"\n",
        "mcp_servers . x . command = \"npx\"\r\nmodel = \"m\"\r\n",
        "[mcp_servers]\n  x.command = \"npx\" # why\n",
        "mcp_servers = { x.command = \"npx\", x.args = [] }\n",
    ] {
        there_and_back(Client::Codex, text);
    }
}

#[test]
fn what_is_not_understood_is_told() {
    for (client, text, why) in [
        (Client::Cursor, "{", "not JSON"),
        (Client::Cursor, "[]", "no JSON object"),
        (Client::Cursor, "{\"mcpServers\": 1}", "no JSON object"),
        (Client::Cursor, "{\"mcpServers\": {}, \"mcpServers\": {}}", "twice"),
        (Client::Cursor, "{\"mcpServers\": {\"a\": {}, \"a\": {}}}", "twice"),
        (Client::Cursor, "{'mcpServers': {}}", "not JSON"),
        (Client::Codex, "a = ", "not TOML"),
        (Client::Codex, "mcp_servers = 1", "no table"),
    ] {
        let told = read(client, text).expect_err(text);
        assert!(told.contains(why), "{text}: {told}");
    }
    for (entry, why) in [
        ("{}", "neither command nor url"),
        ("1", "no JSON object"),
        ("{\"command\": 1}", "command is no text"),
        ("{\"command\": \"a\", \"args\": [1]}", "not all text"),
        ("{\"command\": \"a\", \"args\": \"b\"}", "no list"),
        ("{\"command\": \"a\", \"url\": \"b\"}", "both command and url"),
        ("{\"command\": \"a\", \"command\": \"b\"}", "twice"),
    ] {
        let found =
            read(Client::Cursor, &format!("{{\"mcpServers\": {{\"a\": {entry}}}}}")).unwrap();
        let Shape::Unknown(told) = &found[0].shape else { panic!("{entry}: {found:?}") };
        assert!(told.contains(why), "{entry}: {told}");
    }
}

#[test]
fn entries_are_added_and_removed() {
    for (client, text) in [
        (
            Client::Cursor,
            "{\n  // mine\n  \"mcpServers\": {\n    \"a\": { \"command\": \"b\" }, // last\n  }\n}\n",
        ),
        (Client::VsCode, "{\n  \"inputs\": []\n}\n"),
        (Client::Codex, "# mine\n[mcp_servers.a]\ncommand = \"b\"\n"),
        (Client::Codex, "model = \"x\""),
        (Client::Gemini, ""),
    ] {
        let before = read(client, text).unwrap().len();
        let added = add(client, text, "new one", COMMAND, &args()).unwrap();
        let found = read(client, &added).unwrap_or_else(|why| panic!("{why}: {added}"));
        assert_eq!(found.len(), before + 1, "{added}");
        let new = found.iter().find(|one| one.name == "new one").unwrap();
        assert!(
            matches!(&new.shape, Shape::Program(p) if p.command == COMMAND && p.args == args())
        );
        let removed = remove(client, &added, new).unwrap();
        assert_eq!(read(client, &removed).unwrap().len(), before, "{removed}");
        if text.is_empty() {
            assert!(is_bare(&removed), "{removed}");
        } else if text.contains(client.table()) && text.ends_with('\n') {
            assert_eq!(removed, text);
        }
    }
}

#[test]
fn an_entry_of_a_url_is_replaced_with_all_that_is_of_it() {
    let text = "[mcp_servers.a]\nurl = \"https://h/mcp\"\n[mcp_servers.a.http_headers]\nX = \"y\" # end\n\n# theirs\n[tui]\nx = 1\n";
    let found = read(Client::Codex, text).unwrap();
    let others = vec![Other {
        key: "http_headers".to_owned(),
        inner: Some("X".to_owned()),
        value: "\"y\"".to_owned(),
    }];
    let remote = Remote { url: "https://h/mcp".to_owned(), is_off: false, others };
    assert_eq!(found[0].shape, Shape::Remote(remote));
    let was = &text[found[0].at.clone().unwrap()];
    let with = entry(Client::Codex, &found[0], was, COMMAND, &args()).unwrap();
    let rewritten = spliced(text, vec![Splice { at: found[0].at.clone().unwrap(), text: with }]);
    assert!(rewritten.ends_with("\n\n# theirs\n[tui]\nx = 1\n"), "{rewritten}");
    assert!(!rewritten.contains("http_headers"), "{rewritten}");
    assert_eq!(program(Client::Codex, &rewritten).args, args());
}

#[test]
fn what_stands_between_the_tables_of_an_entry_is_not_replaced_with_it() {
    let theirs = "\n[projects.\"/p\"]\ntrust_level = \"trusted\"\n";
    let remote = format!(
        "[mcp_servers.a]\nurl = \"https://h/mcp\"\n{theirs}\n[mcp_servers.a.http_headers]\nX = \"y\"\n"
    );
    let found = read(Client::Codex, &remote).unwrap();
    let Shape::Unknown(why) = &found[0].shape else { panic!("{found:?}") };
    assert!(why.contains("in one place"), "{why}");

    // Codex adds a table for a tool at the end; a program is changed within it, and stays one.
    let text =
        format!("[mcp_servers.x]\ncommand = \"npx\"\n{theirs}\n[mcp_servers.x.tools.t]\na = 1\n");
    there_and_back(Client::Codex, &text);
    for was in [Was::Nothing { file: true, put: None }, Was::Whole("[mcp_servers.x]\n".to_owned())]
    {
        let replaced = Replaced {
            client: "codex".to_owned(),
            file: "f".into(),
            table: vec!["mcp_servers".to_owned()],
            name: "x".to_owned(),
            server: "x".to_owned(),
            was,
            command: "npx".to_owned(),
            args: Vec::new(),
            wrote: None,
        };
        let why = replaced.undone(Client::Codex, &text).unwrap_err();
        assert!(why.contains("would lose tools.t:"), "{why}");
        let inline = "[mcp_servers]\nx = { command = \"npx\" }\n";
        assert!(replaced.undone(Client::Codex, inline).unwrap_err().contains("in one place"));
    }
}

#[test]
fn what_is_written_in_a_way_that_cannot_be_changed_is_told() {
    for (text, expected) in [
        ("mcp_servers = { x.command = \"npx\" }\n", "and has no args"),
        ("mcp_servers = { x = { command = \"npx\", url = \"u\" } }\n", "both command and url"),
        ("[mcp_servers.x.tools.t]\na = 1\n[mcp_servers.x]\nurl = \"u\"\n", "in one place"),
        ("mcp_servers.x.url = \"u\"\n", "in one place"),
    ] {
        let found = read(Client::Codex, text).unwrap();
        let Shape::Unknown(why) = &found[0].shape else { panic!("{text}: {found:?}") };
        assert!(why.contains(expected), "{text}: {why}");
    }
    let text = "{\"servers\": {\"a\": {\"type\": \"http\", \"command\": \"b\"}}}";
    let found = read(Client::VsCode, text).unwrap();
    assert!(matches!(&found[0].shape, Shape::Unknown(why) if why.contains("its type is")));
}

#[test]
fn an_entry_is_not_added_where_the_file_would_be_none_any_more() {
    let text = "mcp_servers = { a = { command = \"b\" } }\n";
    let why = add(Client::Codex, text, "new", COMMAND, &args()).unwrap_err();
    assert!(why.contains("not TOML"), "{why}");
}

#[test]
fn projects_of_claude_code_have_servers_too() {
    let text = r#"{"projects": {"/p": {"mcpServers": {"a": {"type": "stdio", "command": "b"}}}, "/q": {}}}"#;
    let found = read(Client::ClaudeCode, text).unwrap();
    assert_eq!(found[0].table, ["projects", "/p", "mcpServers"]);
    there_and_back(Client::ClaudeCode, text);
}

#[test]
fn half_a_character_elsewhere_keeps_no_entry_from_anything() {
    let text = "{\n  \"mcpServers\": {\n    \"a\": { \"command\": \"b\" },\n    \"c\": { \"command\": \"\\udc00\" }\n  },\n  \"history\": [\"\\ud83d\", \"\\uD83D\\uDE00\"],\n  \"projects\": { \"/\\ud83d\": { \"mcpServers\": { \"d\": { \"command\": \"e\" } } } }\n}\n";
    let client = Client::ClaudeCode;
    let found = read(client, text).unwrap();
    let told: Vec<_> = found.iter().map(|one| matches!(one.shape, Shape::Program(_))).collect();
    assert_eq!(told, [true, false, false], "{found:?}");
    let Shape::Unknown(why) = &found[1].shape else { panic!("{found:?}") };
    assert!(why.contains("half a character"), "{why}");

    let added = add(client, text, "new", COMMAND, &args()).unwrap();
    for kept in ["\\udc00", "[\"\\ud83d\", \"\\uD83D\\uDE00\"]", "/\\ud83d"] {
        assert!(added.contains(kept), "{kept}: {added}");
    }
    let new = read(client, &added).unwrap().into_iter().find(|one| one.name == "new").unwrap();
    assert_eq!(remove(client, &added, &new).unwrap(), text);
}

#[test]
fn what_the_client_is_told_of_a_server_is_in_the_new_entry_too() {
    for (client, was, expected) in [
        (
            Client::Codex,
            "[mcp_servers.x]\r\nurl = \"u\" # there\r\n# only\r\nenabled_tools = [\"a\"]\r\nhttp_headers.A = \"b\"\r\n[mcp_servers.x.tools.a]\r\nq = 1\r\n[mcp_servers.x.oauth]\r\nr = 1\r\n",
            "[mcp_servers.x]\r\n# only\r\nenabled_tools = [\"a\"]\r\ncommand = \"/usr/bin/sealwire\"\r\nargs = [\"connect\", \"x\"]\r\n[mcp_servers.x.tools.a]\r\nq = 1\r\n",
        ),
        (
            Client::Gemini,
            "{ \"url\": \"u\", \"trust\": true, // why\n  \"headers\": {}, \"includeTools\": [ \"a\" ], }",
            "{ \"command\": \"/usr/bin/sealwire\", \"args\": [\"connect\", \"x\"], \"trust\": true, \"includeTools\": [ \"a\" ] }",
        ),
        (
            Client::VsCode,
            "{}",
            "{ \"type\": \"stdio\", \"command\": \"/usr/bin/sealwire\", \"args\": [\"connect\", \"x\"] }",
        ),
    ] {
        let found = Found {
            table: vec![client.table().to_owned()],
            name: "x".to_owned(),
            shape: Shape::Unknown(String::new()),
            at: None,
        };
        let new = entry(client, &found, was, COMMAND, &args()).unwrap();
        assert_eq!(new, expected);
        let kept: Vec<_> = others(client, &new).iter().map(Other::name).collect();
        assert!(others(client, &new).iter().all(|other| other.is_kept(client)), "{kept:?}");
    }
}

#[test]
fn comments_are_told_from_what_looks_like_one() {
    let text = "# a\nx = \"# no\" # b\ny = \"\"\"\n# no\n\"\"\"\nz = [ # c\n '# no' ]\n";
    assert_eq!(comments(Client::Codex, text), ["# a", "# b", "# c"]);
    let text = "// a\n{ \"x\": \"// no\", /* b */ \"y\": [ // c\n \"\\ud83d /* no */\" ] } // a";
    assert_eq!(comments(Client::Cursor, text), ["a", "b", "c", "a"]);
}
