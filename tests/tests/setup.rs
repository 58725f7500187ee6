//! Setting up: the first machine, the second machine, and what both keep private.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_testkit::{Connect, Home, Serve, run};
use sealwire_tests::{CORE, ECHO, call_echo, echo_table};
use serde_json::Value;

/// Every file below `dir` with its mode and content, and every folder with its mode.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, (mode, Vec::new()));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, (mode, content));
        }
    }
    found
}

#[test]
fn init_twice_changes_nothing() {
    let home = Home::empty();
    let first = home.run(&["init"]).ok();
    assert!(first.stdout.contains("sealwire"), "no next commands: {first}");
    home.run(&["config", "check"]).ok();
    let before = tree(home.path());
    home.run(&["init"]).ok();
    assert!(tree(home.path()) == before, "init is not idempotent");

    // What is missing is made, what is there stays.
    fs::remove_file(home.file("sealwire.toml")).unwrap();
    home.run(&["init"]).ok();
    assert_eq!(tree(home.path()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let key = home.file("certs/ca/ca-key.pem");
    assert_eq!(tree(home.path())[&key], before[&key]);

    let report: Value = serde_json::from_str(&home.run(&["init", "--json"]).ok().stdout).unwrap();
    assert!(report.is_object(), "{report}");
}

#[test]
fn init_makes_private_files() {
    let home = Home::with_config(&echo_table());
    let files = tree(home.path());
    for (file, mode) in [
        ("certs", 0o700),
        ("certs/ca", 0o700),
        ("certs/ca/ca-key.pem", 0o400),
        ("certs/ca/issuing-key.pem", 0o400),
        ("certs/core/core-key.pem", 0o600),
        ("certs/mcp-servers/echo-key.pem", 0o600),
        ("keys", 0o700),
        ("keys/ed25519-signing", 0o600),
    ] {
        assert_eq!(files[&home.file(file)].0, mode, "{file}");
    }
    let config = fs::read_to_string(Home::initialized().file("sealwire.toml")).unwrap();
    let keys = config.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    assert!(keys.count() <= 10, "not a small file:\n{config}");
    assert!(config.contains('#'), "no comments:\n{config}");
}

/// OpenSSL reads what was issued, and finds what it should.
#[test]
fn certificates_are_what_they_should_be() {
    let config = format!("[agent_security]\nagents = [\"Reviewer\"]\n\n{}", echo_table());
    let home = Home::with_config(&config);
    for (file, uri, usage, purpose) in [
        ("certs/core/core-cert.pem", CORE, "Client Authentication", "sslclient"),
        ("certs/mcp-servers/echo-cert.pem", ECHO, "Server Authentication", "sslserver"),
        (
            "certs/agents/Reviewer-cert.pem",
            "spiffe://sealwire.internal/agent/Reviewer",
            "Client Authentication",
            "sslclient",
        ),
    ] {
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
        verify.arg(home.file("certs/ca/ca-cert.pem"));
        verify.arg("-untrusted").arg(home.file(file)).arg(home.file(file));
        run(verify, b"").ok();
        let mut show = Command::new("openssl");
        show.args(["x509", "-noout", "-text", "-in"]).arg(home.file(file));
        let text = run(show, b"").ok().stdout;
        for part in ["Version: 3", "CA:FALSE", usage, "Digital Signature", &format!("URI:{uri}")] {
            assert!(text.contains(part), "{file} lacks {part}:\n{text}");
        }
        assert_eq!(text.matches("URI:").count(), 1, "{text}");
        let shown = home.run(&["cert", "show", home.file(file).to_str().unwrap()]).ok();
        assert!(shown.stdout.contains(uri), "{shown}");
    }
    let mut show = Command::new("openssl");
    show.args(["x509", "-noout", "-text", "-in"]).arg(home.file("certs/ca/ca-cert.pem"));
    let text = run(show, b"").ok().stdout;
    assert!(text.contains("CA:TRUE, pathlen:1"), "{text}");

    let list: Value =
        serde_json::from_str(&home.run(&["cert", "list", "--json"]).ok().stdout).unwrap();
    for name in [CORE, ECHO, "agent/Reviewer"] {
        assert!(list.to_string().contains(name), "{name} not in {list}");
    }
}

#[test]
fn issue_keeps_what_is_there_unless_forced() {
    let home = Home::with_config(&echo_table());
    let key = home.file("certs/mcp-servers/echo-key.pem");
    let first = fs::read(&key).unwrap();
    home.run(&["cert", "issue", "--all"]).ok();
    assert!(fs::read(&key).unwrap() == first, "`issue --all` has replaced a key");
    home.run(&["cert", "issue", "echo"]);
    assert!(fs::read(&key).unwrap() == first, "`issue` has replaced a key");
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    assert!(fs::read(&key).unwrap() != first);
    let old = tree(home.path())
        .into_iter()
        .any(|(path, (_, content))| path.to_string_lossy().contains(".old") && content == first);
    assert!(old, "the replaced key was not kept");
    home.run(&["config", "check"]).ok();
}

#[test]
fn what_is_missing_is_told_with_what_makes_it() {
    let home = Home::initialized();
    home.configure(&echo_table());
    for command in [&["serve"][..], &["config", "check"]] {
        let output = home.run(command);
        assert_eq!(output.code, Some(78), "{output}");
        for part in ["certs/mcp-servers/echo-", "sealwire cert issue NAME, or --all"] {
            assert!(output.stderr.contains(part), "{part:?} missing: {output}");
        }
    }
    home.run(&["cert", "issue", "--all"]).ok();
    // What is no certificate is made in another way.
    home.configure(&format!(
        "{}[audit.alerts]\nalert_slack_webhook = {{ file = \"gone\" }}\n",
        echo_table()
    ));
    let output = home.run(&["config", "check"]);
    assert!(output.stderr.contains("put the secret into that file"), "{output}");
    assert!(!output.stderr.contains("cert issue"), "{output}");
}

/// The way of the README: `bundle` here, one file over there, `connect`.
#[test]
fn a_second_machine_needs_one_file() {
    let first = Home::with_config(&echo_table());
    let serve = Serve::start(&first);
    let address = serve.address().to_string();
    let bundle = first.file("laptop.sealwire-bundle");
    let out = bundle.to_str().unwrap();
    first.run(&["cert", "bundle", "laptop", "--endpoint", &address, "--out", out]).ok();
    assert_eq!(fs::metadata(&bundle).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&bundle).unwrap();
    for key in ["certs/ca/ca-key.pem", "certs/ca/issuing-key.pem"] {
        let key = fs::read_to_string(first.file(key)).unwrap();
        assert!(!text.contains(key.lines().nth(1).unwrap()), "the CA's key is in the bundle");
    }

    let second = Home::empty();
    second.run(&["init", "--from-bundle", out]).ok();
    second.run(&["config", "check"]).ok();
    for key in ["certs/ca/ca-key.pem", "certs/ca/issuing-key.pem"] {
        assert!(!second.file(key).exists());
    }
    let mut connect = second.sealwire();
    connect.args(["connect", "echo"]);
    let mut client = Connect::spawn(connect);
    client.initialize();
    call_echo(&mut client, "from another machine");

    // A bundle holds a key, so it is as private as one.
    first.chmod("laptop.sealwire-bundle", 0o644);
    let output = Home::empty().run(&["init", "--from-bundle", out]);
    assert_ne!(output.code, Some(0), "{output}");
    assert!(output.stderr.contains("laptop.sealwire-bundle"), "{output}");
}

#[test]
fn an_agent_has_a_name_of_its_own() {
    let home = Home::with_config(&format!(
        "[agent_security]\nagents = [\"Reviewer\"]\n\n{}",
        echo_table()
    ));
    let serve = Serve::start_with(&home, &["--log-level", "debug"], &[]);
    let agents = "\n[agent_security]\nagents = [\"Reviewer\"]\n";
    let mut command = home.connect_command("echo", serve.address(), agents);
    command.args(["--as", "Reviewer"]);
    let mut client = Connect::spawn(command);
    client.initialize();
    serve.log().wait_for(&["spiffe://sealwire.internal/agent/Reviewer"]);

    let mut command = home.connect_command("echo", serve.address(), agents);
    command.args(["--as", "Nobody"]);
    let output = run(command, b"");
    assert!(matches!(output.code, Some(2 | 78)), "{output}");
    assert!(output.stderr.contains("Nobody"), "{output}");
}

#[test]
fn completions_for_every_shell() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell]).ok().stdout.contains("connect"));
    }
}

#[test]
fn wrong_usage_is_told_apart() {
    let home = Home::empty();
    for args in [["no-such-command"].as_slice(), &["connect"], &["serve", "--no-such-option"]] {
        let output = home.run(args);
        assert_eq!(output.code, Some(2), "{args:?}: {output}");
        assert_eq!(output.stdout, "", "{args:?}: {output}");
    }
}
