//! `sealwire config check`, and how every command treats a bad configuration.

use crate::support::Home;

const SERVED: &str = "[mcp_servers.time]\ncommand = \"/bin/cat\"\n";

#[test]
fn a_good_home_is_told_in_full() {
    let home = Home::with(SERVED);
    home.run(&["cert", "issue", "--all"]).ok();
    let shown = home.run(&["config", "check"]).ok();
    assert!(shown.stdout.contains("spiffe://sealwire.internal/mcp-server/time"), "{shown:#?}");
    let json = home.run(&["config", "check", "--json"]).ok().json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["servers"][0]["address"], "127.0.0.1:7443");
}

#[test]
fn an_unknown_key_ends_every_command_with_78() {
    let home = Home::with("[listen]\nadress = \"127.0.0.1:1\"\n");
    for args in
        [&["config", "check"][..], &["cert", "issue", "x"], &["cert", "bundle", "x"], &["init"]]
    {
        home.run(args).failed(
            78,
            &["error:", "sealwire.toml", "line 2", "[listen] adress", "address", "to fix:"],
        );
    }
    let json = home.run(&["config", "check", "--json"]).failed(78, &["adress"]).json();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"][0]["line"], 2);
    assert_eq!(json["problems"][0]["key"], "[listen] adress");
}

#[test]
fn the_file_named_by_config_is_the_one_read() {
    let home = Home::made();
    home.write("other.toml", "nothing = 1\n");
    home.run(&["config", "check"]).ok();
    home.run(&["--config", "other.toml", "config", "check"]).failed(78, &["other.toml"]);
    home.run(&["--config", "gone.toml", "config", "check"]).failed(78, &["gone.toml", "to fix:"]);
}

/// Spoils a good home in one way; the check must find it and name `part`.
#[cfg(unix)]
fn finds(spoil: impl FnOnce(&Home), parts: &[&str]) {
    let home = Home::with(SERVED);
    home.run(&["cert", "issue", "--all"]).ok();
    home.run(&["config", "check"]).ok();
    spoil(&home);
    home.run(&["config", "check"]).failed(78, &["error:", "to fix:"]).failed(78, parts);
}

#[cfg(unix)]
#[test]
fn files_that_cannot_be_used_are_found() {
    use std::fs;
    const CERT: &str = "certs/mcp-servers/time-cert.pem";
    const KEY: &str = "certs/mcp-servers/time-key.pem";
    const CORE_KEY: &str = "certs/core/core-key.pem";
    finds(|home| home.chmod(KEY, 0o640), &[KEY, "chmod"]);
    finds(|home| home.chmod(CORE_KEY, 0o644), &[CORE_KEY]);
    finds(|home| fs::remove_file(home.file(KEY)).unwrap(), &[KEY]);
    finds(|home| fs::remove_file(home.file(CERT)).unwrap(), &[CERT]);
    finds(|home| fs::remove_file(home.file("certs/ca/ca-cert.pem")).unwrap(), &["ca-cert.pem"]);
    finds(|home| home.write(KEY, &home.read(CORE_KEY)), &[KEY]);
    finds(|home| home.write(CERT, ""), &[CERT, "empty"]);
    // A good pair, but of somebody else.
    finds(
        |home| {
            home.write(CERT, &home.read("certs/core/core-cert.pem"));
            home.write(KEY, &home.read(CORE_KEY));
        },
        &[CERT, "core/core", "mcp-server/time"],
    );
    finds(
        |home| home.write("sealwire.toml", "[security]\ntrust_domain = \"example.org\"\n"),
        &["ca-cert.pem", "example.org"],
    );
}

#[cfg(unix)]
#[test]
fn programs_and_directories_that_are_not_there_are_found() {
    let spoil = |text: &'static str| move |home: &Home| home.write("sealwire.toml", text);
    finds(spoil("[mcp_servers.time]\ncommand = \"/no/such\"\n"), &["/no/such", "time"]);
    finds(
        spoil("[mcp_servers.time]\ncommand = \"/bin/cat\"\ncwd = \"gone\"\n"),
        &["gone", "directory"],
    );
    let home = Home::with("[mcp_servers.time]\ncommand = \"no-such-program\"\n");
    home.run(&["cert", "issue", "--all"]).ok();
    let shown = home.run(&["config", "check"]).ok().stdout;
    assert!(shown.contains("warning:") && shown.contains("no-such-program"), "{shown}");
}

#[test]
fn another_authority_on_the_other_side_is_no_error() {
    let (home, other) = (Home::with(SERVED), Home::made());
    home.run(&["cert", "issue", "--all"]).ok();
    home.write("theirs.pem", &other.read("certs/ca/ca-cert.pem"));
    home.write("sealwire.toml", &format!("{SERVED}trusted_ca = \"theirs.pem\"\n"));
    let shown = home.run(&["config", "check"]).ok().stdout;
    assert!(shown.contains("warning:") && shown.contains("time-cert.pem"), "{shown}");
}

#[test]
fn logs_never_reach_standard_output() {
    let home = Home::with(SERVED);
    home.run(&["cert", "issue", "--all"]).ok();
    let args = ["--log-level", "trace", "--log-file", "log", "--log-format", "json"];
    let json = home.run(&[&args[..], &["cert", "list", "--json"]].concat()).ok();
    assert_eq!(json.stderr, "");
    assert!(json.json().is_array());
    #[cfg(unix)]
    assert_eq!(home.mode("log"), 0o600);
    home.run(&["--log-file", "no/such/dir/log", "cert", "list"]).failed(1, &["no/such/dir/log"]);
}

#[test]
fn completions_for_each_shell_and_usage_errors() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("demo-server"), "{shell}");
    }
    home.run(&["completions", "csh"]).failed(2, &["bash"]);
    home.run(&["no-such-command"]).failed(2, &["no-such-command"]);
    home.run(&[]).failed(2, &["Usage"]);
    assert!(home.run(&["--version"]).ok().stdout.starts_with("sealwire "));
}
