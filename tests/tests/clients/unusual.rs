//! Homes, files and users that are not as usual: what must come back comes back, and what cannot be
//! kept as it is is not touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use sealwire_testkit::Home;
use serde_json::{Value, json};

use crate::{User, place, program};

const PLANTED: &str = "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}}}";

/// Installs for Cursor, whose file has one server.
fn installed(user: &User) {
    user.write(place("cursor"), PLANTED);
    user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    assert!(user.read(place("cursor")).contains("connect"));
}

#[test]
fn what_was_replaced_comes_back_without_a_configuration_in_order() {
    for broken in ["[mcp_servers.a]\n", "this is no TOML", ""] {
        let user = User::new();
        installed(&user);
        match broken {
            "" => fs::remove_file(user.file(".sealwire/sealwire.toml")).unwrap(),
            text => drop(user.write(".sealwire/sealwire.toml", text)),
        }
        user.sealwire(&["uninstall", "--yes"]).ok();
        assert_eq!(user.read(place("cursor")), PLANTED, "{broken:?}");
        // Where nothing is known there, it may be elsewhere, and that is not to look like nothing.
        let told = user.sealwire(&["uninstall", "--yes"]);
        assert_eq!(told.code, Some(78), "{told}");
    }

    let user = User::new();
    user.configure("[state]\ndirectory = \"../state\"\n");
    installed(&user);
    assert!(user.file("state/clients.json").exists());
    user.configure("[mcp_servers.bad]\n");
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read(place("cursor")), PLANTED);
}

#[test]
fn where_there_is_no_home_none_is_made() {
    let user = User { home: Home::empty() };
    user.write(place("cursor"), PLANTED);
    for command in ["install", "import", "uninstall"] {
        let mut words = vec![command, "--client", "cursor", "--yes"];
        let told = user.sealwire(&words);
        assert_eq!(told.code, Some(78), "{command}: {told}");
        assert!(told.stderr.contains("sealwire.toml"), "{command}: {told}");
        words[3] = "--dry-run";
        assert_eq!(user.sealwire(&words).code, Some(78), "{command}");
        assert!(!user.file(".sealwire").exists(), "{command} has made one");
    }
    assert_eq!(user.read(place("cursor")), PLANTED);
}

#[test]
fn two_clients_may_have_one_file() {
    let user = User::new();
    let planted =
        "{\"mcpServers\":{\"a\":{\"command\":\"npx\"}},\"servers\":{\"b\":{\"command\":\"uvx\"}}}";
    let file = user.write("both.json", planted);
    let file = file.to_str().unwrap();
    for client in ["cursor", "vscode"] {
        user.sealwire(&["install", "--client", client, "--file", file, "--yes"]).ok();
    }
    let between = user.read("both.json");
    assert_eq!(between.matches("connect").count(), 2, "{between}");
    // One of them alone, by another name of the same file.
    std::os::unix::fs::symlink(file, user.file("link.json")).unwrap();
    let link = user.file("link.json");
    let link = link.to_str().unwrap();
    let told = user.sealwire(&["uninstall", "--client", "vscode", "--file", link, "--yes"]).ok();
    assert!(!told.stdout.contains("  a: "), "{told}");
    assert_eq!(user.read("both.json").matches("connect").count(), 1);
    user.sealwire(&["install", "--client", "vscode", "--file", link, "--yes"]).ok();
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read("both.json"), planted);
}

#[test]
fn installed_is_what_starts_this_program_with_this_home_and_a_server_that_there_is() {
    let user = User::new();
    user.configure("[mcp_servers.known]\nendpoint = \"h:1\"\n");
    let other = user.file("other/sealwire");
    fs::create_dir(user.file("other")).unwrap();
    fs::write(&other, "#!/bin/sh\n").unwrap();
    let link = user.file("link");
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let home = user.file(".sealwire");
    let entries = [
        (json!(program()), json!(["connect", "known"]), "it is installed already"),
        (json!("sealwire"), json!(["connect", "known"]), "it is installed already"),
        (json!(link), json!(["--home", home, "connect", "known"]), "it is installed already"),
        (json!(program()), json!(["connect", "gone"]), "sealwire has no server of that name"),
        (json!(program()), json!(["--home", "/h", "connect", "known"]), "with another home"),
        (json!(program()), json!(["--config", "/c", "connect", "known"]), "another configuration"),
        (json!(program()), json!(["serve"]), "it starts sealwire itself, and not as"),
        (json!(other), json!(["connect", "known"]), "another program of the name sealwire"),
    ];
    for (command, args, expected) in entries {
        let entry = json!({"mcpServers": {"x": {"command": command, "args": args}}}).to_string();
        user.write(place("cursor"), &entry);
        let told = user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
        let line = told.stdout.lines().find(|line| line.contains("x: left alone: "));
        assert!(line.is_some_and(|line| line.contains(expected)), "{expected}: {told}");
        assert_eq!(user.read(place("cursor")), entry);
    }
    // Another program of ours is a server like any other.
    let entry = json!({"mcpServers": {"x": {"command": link, "args": ["demo-server"]}}});
    user.write(place("cursor"), entry.to_string());
    let told = user.sealwire(&["install", "--client", "cursor", "--dry-run"]).ok();
    assert!(told.stdout.contains("demo-server"), "{told}");
}

#[test]
fn the_owner_of_a_file_stays_and_nothing_is_left_for_root_alone() {
    const OWNER: u32 = 12_345;
    let user = User::new();
    let file = user.write(place("cursor"), PLANTED);
    if chown(&file, Some(OWNER), Some(OWNER)).is_err() {
        // Only root gives files away, and only root can do what this is about.
        return;
    }
    user.sealwire(&["install", "--client", "cursor", "--yes"]).ok();
    let now = fs::metadata(&file).unwrap();
    assert_eq!((now.uid(), now.gid()), (OWNER, OWNER));
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(fs::metadata(&file).unwrap().uid(), OWNER);

    user.configure("[mcp_servers.far]\nendpoint = \"h:1\"\n");
    fs::create_dir(user.file(".gemini")).unwrap();
    chown(user.file(".gemini"), Some(OWNER), None).unwrap();
    let told = user.sealwire(&["install", "--client", "gemini", "--server", "far", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("a new one would be root's"), "{told}");
    assert!(!user.file(place("gemini")).exists());

    // Nor in a home of somebody else's.
    chown(user.file(".sealwire"), Some(OWNER), None).unwrap();
    let config = user.read(".sealwire/sealwire.toml");
    for command in [
        &["install", "--client", "cursor", "--yes"][..],
        &["uninstall", "--yes"],
        &["import", "--client", "cursor", "--yes"],
        &["config", "update", "--yes"],
    ] {
        let told = user.sealwire(command);
        assert_eq!(told.code, Some(1), "{command:?}: {told}");
        assert!(told.stderr.contains("what root writes there is root's"), "{command:?}: {told}");
    }
    assert_eq!(user.read(".sealwire/sealwire.toml"), config);
    assert_eq!(user.read(place("cursor")), PLANTED);
}

#[test]
fn a_file_of_several_names_is_left_alone() {
    let user = User::new();
    let file = user.write(place("cursor"), PLANTED);
    fs::hard_link(&file, user.file("other-name.json")).unwrap();
    let told = user.sealwire(&["install", "--client", "cursor", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("it has 2 names (hard links)"), "{told}");
    assert_eq!(user.read(place("cursor")), PLANTED);
}

#[test]
fn an_entry_that_cannot_be_taken_keeps_no_other_from_it() {
    let user = User::new();
    user.write(
        place("claude-code"),
        "{\"mcpServers\":{\"a\":{\"command\":\"npx\",\"env\":{\"A=B\":\"c\"}},\"b\":{\"command\":\"uvx\"},\
         \"c\":{\"command\":\"nul\",\"args\":[\"\\u0000\"]},\"d\":{\"command\":\"\\udc00\"}},\
         \"history\":[\"\\ud83d\"]}",
    );
    let planted = user.read(place("claude-code"));
    let told = user.sealwire(&["install", "--client", "claude-code", "--yes"]).ok();
    for part in [
        "a: left alone: \"A=B\" cannot be the name of an environment variable",
        "c: left alone: sealwire.toml cannot have it: ",
        "d: left alone: it has half a character in it",
        "runs uvx",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    assert!(user.read(place("claude-code")).contains("\"\\ud83d\""));
    user.sealwire(&["config", "check"]).ok();
    user.sealwire(&["uninstall", "--yes"]).ok();
    assert_eq!(user.read(place("claude-code")), planted);
}

#[test]
fn a_path_into_which_a_client_puts_values_is_refused() {
    let user = User::new();
    let home = user.file("a$b");
    let home = home.to_str().unwrap();
    user.sealwire(&["--home", home, "init"]).ok();
    user.write(place("gemini"), PLANTED);
    user.write(place("cursor"), PLANTED);
    let told = user.sealwire(&["--home", home, "install", "--client", "gemini", "--yes"]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stderr.contains("Gemini CLI would put values into"), "{told}");
    assert_eq!(user.read(place("gemini")), PLANTED);
    user.sealwire(&["--home", home, "install", "--client", "cursor", "--yes"]).ok();
}

#[test]
fn where_there_is_nothing_to_change_it_is_told_what_could_be_added() {
    let user = User::new();
    user.configure(
        "[mcp_servers.demo]\nendpoint = \"h:1\"\n[mcp_servers.more]\nendpoint = \"h:2\"\n",
    );
    let home = user.file(".sealwire");
    let home = home.to_str().unwrap();
    let told = user.sealwire(&["--home", home, "install", "--client", "codex"]).ok();
    for part in [
        "Codex CLI has no file there yet",
        "does not have: demo, more",
        &format!("sealwire --home {home} install --client codex --server demo\n"),
        &format!("sealwire --home {home} install --client codex --all"),
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    let told =
        user.sealwire(&["--home", home, "install", "--client", "codex", "--all", "--yes"]).ok();
    let hint = format!("`sealwire --home {home} uninstall --client codex`");
    assert!(told.stdout.contains(&hint), "{told}");
    let told = user.sealwire(&["install", "--client", "codex"]).ok();
    assert!(!told.stdout.contains("--all"), "{told}");
}

#[test]
fn programs_are_told_what_is_done() {
    let user = User::new();
    user.write(
        place("cursor"),
        "{\"mcpServers\":{\"a\":{\"command\":\"npx\",\"args\":[\"p\"],\"env\":{\"T\":\"s3cret\"}},\"b\":7}}",
    );
    let run = |args: &[&str]| -> Value {
        let told = user.sealwire(args).ok();
        assert!(!told.stdout.contains("s3cret"), "{told}");
        serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
    };
    for command in ["install", "uninstall"] {
        let told = user.sealwire(&[command, "--client", "cursor", "--json"]);
        assert_eq!(told.code, Some(2), "{told}");
    }
    for (option, is_changed) in [("--dry-run", false), ("--yes", true)] {
        let told = run(&["install", "--client", "cursor", "--json", option]);
        assert_eq!(told["changed"], is_changed, "{told}");
        let [a, b] = &told["entries"].as_array().unwrap()[..] else { panic!("{told}") };
        assert_eq!(a["before"], json!({"command": "npx", "args": ["p"]}));
        assert_eq!(a["after"]["args"], json!(["connect", "a"]));
        assert_eq!((&b["change"], &b["why"]), (&json!("none"), &json!("it is no JSON object")));
        assert_eq!(told["servers"][0]["name"], "a");
    }
    for (option, is_changed) in [("--dry-run", false), ("--yes", true)] {
        let told = run(&["uninstall", "--json", option]);
        assert_eq!(told["changed"], is_changed, "{told}");
        assert_eq!(told["files"][0]["entries"][0]["entry"], "a");
        assert_eq!(told["files"][0]["entries"][0]["left_alone"], Value::Null);
    }
    assert_eq!(run(&["uninstall", "--json", "--yes"])["changed"], false);
}
