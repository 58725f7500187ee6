//! What `serve` must keep has a place of its own where the home is closed to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_testkit::{Home, Serve, bin, quoted, run};
use sealwire_tests::{echo_table, honest_session};

/// Neither root nor the owner of anything.
const NOBODY: u32 = 65_534;

/// A home that keeps its state in a directory outside.
fn apart() -> (Home, Home, PathBuf) {
    let (home, elsewhere) = (Home::initialized(), Home::empty());
    let directory = elsewhere.file("state");
    home.configure(&format!("[state]\ndirectory = {}\n{}", quoted(&directory), echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    (home, elsewhere, directory)
}

#[test]
fn quarantine_is_kept_where_the_home_is_closed() {
    let (home, _elsewhere, directory) = apart();
    let serve = Serve::start(&home);
    assert!(directory.join("run/control.sock").exists());
    assert!(!home.file("state.db").exists() && !home.file("run").exists());
    let answer = home.run(&["quarantine", "add", "peer", "core/core"]).ok();
    assert!(answer.stdout.contains("it had nothing open"), "{answer}");
    assert!(home.run(&["status"]).ok().stdout.contains("core/core"));
    assert_eq!(serve.stop().code(), Some(0));

    let serve = Serve::start(&home);
    let refused = home.connect_once("echo", serve.address(), b"");
    assert!(refused.stderr.contains("peer_quarantined"), "{refused}");
    home.run(&["quarantine", "lift", "peer", "core/core"]).ok();
    honest_session(&home, serve.address());

    // A configuration that is no longer good does not say where `serve` is, and that is told.
    let good = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("{good}\n[lisen]\n"));
    for command in ["status", "reload", "quarantine list"] {
        let output = home.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(output.code, Some(78), "{output}");
        assert!(output.stderr.contains("lisen"), "{output}");
    }
    // What runs there is not followed to another place.
    let moved = good.replace("/state\"", "/other\"");
    assert_ne!(moved, good);
    let mark = serve.log().mark();
    home.write("sealwire.toml", moved);
    let line = serve.log().wait_after(mark, &["reload refused"]);
    assert!(line.contains("[state]"), "{line}");
}

#[test]
fn without_a_place_for_it_serve_does_not_start() {
    let home = Home::with_config(&echo_table());
    let directory = home.file("handed-over");
    fs::create_dir(&directory).unwrap();
    for (file, name) in [
        ("sealwire.toml", "sealwire.toml"),
        ("certs/ca/ca-cert.pem", "certs_ca_ca-cert.pem"),
        ("certs/mcp-servers/echo-cert.pem", "certs_mcp-servers_echo-cert.pem"),
        ("certs/mcp-servers/echo-key.pem", "certs_mcp-servers_echo-key.pem"),
    ] {
        fs::copy(home.file(file), directory.join(name)).unwrap();
    }
    let mut command = Command::new(bin("sealwire"));
    command.args(["--home", "/nonexistent/home", "--credentials"]).arg(directory).arg("serve");
    let output = run(command, b"");
    assert_eq!(output.code, Some(78), "{output}");
    let expected = ["/nonexistent/home", "to fix:", "[state] directory"];
    assert!(expected.iter().all(|part| output.stderr.contains(part)), "{output}");
}

#[test]
fn what_is_still_in_the_home_is_not_forgotten() {
    let (home, _elsewhere, directory) = apart();
    home.write("state.db", "somebody may be in quarantine");
    for command in ["serve", "quarantine list", "quarantine add peer core/core"] {
        let output = home.run(&command.split(' ').collect::<Vec<_>>());
        assert!(output.code != Some(0), "{output}");
        let state = home.file("state.db");
        let expected = [state.to_str().unwrap(), directory.to_str().unwrap(), "move it"];
        assert!(expected.iter().all(|part| output.stderr.contains(part)), "{output}");
    }
    assert!(!directory.join("state.db").exists());
}

/// systemd and the container file make the directory in which a home in `/etc` keeps it.
#[test]
fn the_packaged_home_has_its_state_where_the_packages_make_room() {
    let elsewhere = Home::empty();
    let config = elsewhere.write("sealwire.toml", "");
    let mut command = Command::new(bin("sealwire"));
    command.args(["--home", "/etc/no-such-sealwire", "--config"]).arg(config).arg("status");
    // It serves nothing, so that none runs is as it should be.
    let output = run(command, b"").ok();
    assert!(output.stdout.contains("/var/lib/no-such-sealwire/run/control.sock"), "{output}");
}

/// Root commands for the service's user, and leaves nothing behind that this one cannot use.
#[test]
fn what_root_makes_belongs_to_whom_the_directory_does() {
    let (home, _elsewhere, directory) = apart();
    fs::create_dir(&directory).unwrap();
    if chown(&directory, Some(NOBODY), Some(NOBODY)).is_err() {
        println!("not tried: only root can give files away");
        return;
    }
    home.run(&["quarantine", "add", "peer", "core/core"]).ok();
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(owner(&path), NOBODY, "{}", path.display());
    }
    assert_eq!(owner(&directory.join("state.db")), NOBODY);
    assert_eq!(owner(&directory.join("run/quarantine")), NOBODY);
}
