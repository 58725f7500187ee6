//! `sealwire init`: the first command of every user.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Home;

/// Every file with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

#[test]
fn makes_everything_once_and_says_so() {
    let home = Home::empty();
    let first = home.run(&["init", "--json"]).ok().json();
    assert_eq!(first["kept"].as_array().unwrap().len(), 0, "{first}");
    let before = files(home.path());
    for file in first["made"].as_array().unwrap() {
        assert!(before.contains_key(Path::new(file.as_str().unwrap())), "{file} was not made");
    }
    let second = home.run(&["init", "--json"]).ok().json();
    assert_eq!(second["made"].as_array().unwrap().len(), 0, "{second}");
    assert_eq!(second["kept"], first["made"]);
    assert!(files(home.path()) == before, "the second init has changed something");

    let shown = home.run(&["init"]).ok().stdout;
    let next: Vec<_> = shown.split("next:\n").nth(1).unwrap().lines().collect();
    for (line, command) in next.iter().zip([" cert issue --all ", " doctor ", " serve "]) {
        assert!(line.contains(command), "{command}: {shown}");
    }
    assert_eq!(next.len(), 3, "{shown}");
}

#[cfg(unix)]
#[test]
fn private_files_are_private_whatever_the_umask() {
    let home = Home::empty();
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "umask 0; exec \"$0\" --home \"$1\" init", env!("CARGO_BIN_EXE_sealwire")]);
    assert!(shell.arg(home.file("new")).output().unwrap().status.success());
    for (file, mode) in [
        ("new", 0o700),
        ("new/sealwire.toml", 0o600),
        ("new/certs", 0o700),
        ("new/certs/ca", 0o700),
        ("new/certs/ca/ca-key.pem", 0o400),
        ("new/certs/core/core-key.pem", 0o600),
        ("new/keys", 0o700),
        ("new/keys/ed25519-signing", 0o600),
    ] {
        assert_eq!(home.mode(file), mode, "{file}");
    }
}

#[cfg(unix)]
#[test]
fn an_empty_directory_becomes_private_and_a_used_one_that_is_open_is_refused() {
    let home = Home::empty();
    home.chmod("", 0o755);
    home.run(&["init"]).ok();
    assert_eq!(home.mode(""), 0o700);

    let used = Home::empty();
    used.write("mine", "");
    used.chmod("", 0o750);
    used.run(&["init"]).failed(1, &["mode 0750", "to fix:", "chmod 700"]);
    assert_eq!(used.mode(""), 0o750);
    assert_eq!(fs::read_dir(used.path()).unwrap().count(), 1);
}

#[test]
fn many_at_once_make_one_home() {
    let home = Home::empty();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = home.command(&["init", "--json"]);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut makers = 0;
    for child in children {
        let ended = crate::support::Ended::from(child.wait_with_output().unwrap()).ok();
        makers += usize::from(!ended.json()["made"].as_array().unwrap().is_empty());
    }
    assert_eq!(makers, 1);
    home.run(&["config", "check"]).ok();
}

#[test]
fn what_is_missing_is_made_and_what_is_there_stays() {
    let home = Home::made();
    let before = files(home.path());
    for file in ["sealwire.toml", "keys/ed25519-signing.pub"] {
        fs::remove_file(home.file(file)).unwrap();
        let report = home.run(&["init", "--json"]).ok().json();
        assert_eq!(report["made"].as_array().unwrap().len(), 1, "{report}");
        assert!(files(home.path()) == before, "{file} is not as it was");
    }
    home.write("sealwire.toml", "# mine\n");
    home.run(&["init"]).ok();
    assert_eq!(home.read("sealwire.toml"), "# mine\n");
}

#[test]
fn a_lost_half_is_told_and_not_replaced() {
    for (lost, present) in [
        ("certs/ca/ca-cert.pem", "ca-key.pem"),
        ("certs/core/core-cert.pem", "core-key.pem"),
        ("certs/core/core-key.pem", "core-cert.pem"),
    ] {
        let home = Home::made();
        fs::remove_file(home.file(lost)).unwrap();
        let before = files(home.path());
        home.run(&["init"]).failed(1, &["error:", present, "to fix:"]);
        assert!(files(home.path()) == before, "{lost}");
    }
}

#[test]
fn name_and_trust_domain_are_in_the_certificate_and_stay() {
    let home = Home::empty();
    home.run(&["init", "--name", "laptop", "--trust-domain", "example.org"]).ok();
    let shown = home.run(&["cert", "show", "laptop"]).ok().stdout;
    assert!(shown.contains("spiffe://example.org/core/laptop"), "{shown}");
    home.run(&["config", "check"]).ok();
    home.run(&["init"]).ok();
    home.run(&["init", "--name", "laptop", "--trust-domain", "example.org"]).ok();
    home.run(&["init", "--trust-domain", "example.com"]).failed(1, &["example.org", "to fix:"]);
    home.run(&["init", "--name", "other"]).failed(1, &["laptop-cert.pem", "to fix:"]);
}

#[test]
fn names_that_cannot_be_are_wrong_usage() {
    let home = Home::empty();
    for name in ["ca", "Agents", "a b", "../x", ""] {
        home.run(&["init", "--name", name]).failed(2, &["error:", "to fix:"]);
    }
    home.run(&["init", "--trust-domain", "Example.org"]).failed(2, &["lower-case"]);
    assert!(files(home.path()).is_empty(), "something was made");
}
