//! `sealwire config update`: a configuration of an earlier version in the form of this one.

use std::io::Write;
use std::process::Stdio;

use crate::support::Home;

const OLD: &str = "# mine\n[mailbox]\nmax_message_size = \"2KiB\"\nretention_days = 90\n\n\
                   [mcp_servers.time]\ncommand = \"/bin/cat\" # theirs\n";
const NEW: &str = "# mine\n[mailbox]\nretention_days = 30\n\n\
                   [mcp_servers.time]\ncommand = \"/bin/cat\" # theirs\n";

#[test]
fn what_an_earlier_version_said_is_brought_to_todays_form_once() {
    let home = Home::with(OLD);
    let told = home.run(&["config", "check"]).failed(78, &["config update"]);
    assert!(told.stderr.contains("a message between agents has at most 1 MiB"), "{told:#?}");

    let dry = home.run(&["config", "update", "--dry-run"]).ok();
    for part in [
        "mailbox.max_message_size: a message between agents has at most 1 MiB",
        "  - max_message_size = \"2KiB\"",
        "  - retention_days = 90",
        "  + retention_days = 30",
        "Nothing was changed.",
    ] {
        assert!(dry.stdout.contains(part), "{part}: {dry:#?}");
    }
    assert_eq!(home.read("sealwire.toml"), OLD);
    let nobody = home.run(&["config", "update"]).failed(1, &["nobody has answered"]);
    assert!(nobody.stdout.contains("Write this? [y/N]"), "{nobody:#?}");
    assert_eq!(home.read("sealwire.toml"), OLD);

    let done = home.run(&["config", "update", "--yes"]).ok();
    assert!(done.stdout.contains("sealwire.toml.before-1"), "{done:#?}");
    assert_eq!(home.read("sealwire.toml"), NEW);
    assert_eq!(home.read("sealwire.toml.before-1"), OLD);
    #[cfg(unix)]
    assert_eq!(home.mode("sealwire.toml.before-1"), 0o600);
    home.run(&["cert", "issue", "--all"]).ok();
    home.run(&["config", "check"]).ok();

    let again = home.run(&["config", "update", "--yes"]).ok();
    assert!(again.stdout.contains("nothing to update"), "{again:#?}");
    assert!(!home.file("sealwire.toml.before-2").exists());
    // Another one later does not take the place of the first copy.
    home.write("sealwire.toml", OLD);
    home.run(&["config", "update", "--yes"]).ok();
    assert_eq!(home.read("sealwire.toml.before-2"), OLD);
}

#[test]
fn whoever_says_yes_is_asked_and_programs_are_told() {
    let home = Home::with(OLD);
    home.run(&["config", "update", "--json"]).failed(2, &["nobody is asked"]);
    let told = home.run(&["config", "update", "--json", "--dry-run"]).ok().json();
    assert_eq!(told["changed"], false);
    assert_eq!(told["changes"][0]["key"], "mailbox.max_message_size");
    assert_eq!(told["changes"][1]["added"][0], "retention_days = 30");
    for (answer, expected) in [("n\n", OLD), ("y\n", NEW)] {
        let mut command = home.command(&["config", "update"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(home.read("sealwire.toml"), expected);
    }
    let told = home.run(&["config", "update", "--json", "--yes"]).ok().json();
    assert_eq!((&told["changed"], &told["kept"]), (&false.into(), &serde_json::Value::Null));
}

#[test]
fn what_would_not_be_in_order_is_not_written() {
    let bad = format!("{OLD}[listen]\nadress = \"x\"\n");
    let home = Home::with(&bad);
    let told = home
        .run(&["config", "update", "--yes"])
        .failed(78, &["line 8: [listen] adress", "nearest", "lines are those of the file as it"]);
    assert!(!told.stderr.contains("[mailbox]"), "{told:#?}");
    assert_eq!(home.read("sealwire.toml"), bad);
    assert!(!home.file("sealwire.toml.before-1").exists());

    for (text, what) in [
        ("config_version = 2\n", "a sealwire.toml has no version"),
        ("[mailbox]\nfoo = 1\n", "unknown key"),
        ("[mailbox", "not valid TOML"),
    ] {
        home.write("sealwire.toml", text);
        home.run(&["config", "update", "--yes"]).failed(78, &[what]);
        assert_eq!(home.read("sealwire.toml"), text);
    }
    Home::empty().run(&["config", "update", "--yes"]).failed(78, &["sealwire init"]);
}
