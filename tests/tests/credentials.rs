//! Keys that a service manager hands over: in a directory of their own, and of root's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_testkit::{Home, Output, Serve, bin, install, quoted, run};
use sealwire_tests::{echo_table, honest_session};

/// Neither root nor the owner of anything.
const NOBODY: u32 = 65_534;

/// A home with everything in it, and a directory as systemd makes one of
/// `LoadCredential=certs_mcp-servers:HOME/certs/mcp-servers` and the like.
fn handed_over() -> (Home, PathBuf) {
    let home = Home::with_config(&echo_table());
    let directory = home.file("handed-over");
    fs::create_dir(&directory).unwrap();
    hand_over(&home, &directory);
    (home, directory)
}

fn hand_over(home: &Home, directory: &Path) {
    for (file, name) in [
        ("sealwire.toml", "sealwire.toml"),
        ("certs/ca/ca-cert.pem", "certs_ca_ca-cert.pem"),
        ("certs/mcp-servers/echo-cert.pem", "certs_mcp-servers_echo-cert.pem"),
        ("certs/mcp-servers/echo-key.pem", "certs_mcp-servers_echo-key.pem"),
    ] {
        fs::copy(home.file(file), directory.join(name)).unwrap();
    }
}

fn sealwire(home: &Path, credentials: &Path) -> Command {
    let mut command = Command::new(bin("sealwire"));
    command.arg("--home").arg(home).arg("--credentials").arg(credentials);
    command
}

#[test]
fn a_service_needs_nothing_of_the_home() {
    let (home, directory) = handed_over();
    let state = format!("[state]\ndirectory = {}\n", quoted(home.file("state")));
    home.configure(&format!("{state}{}", echo_table()));
    hand_over(&home, &directory);
    let mut command = sealwire(Path::new("/nonexistent"), &directory);
    command.arg("serve");
    let serve = Serve::spawn(command);
    honest_session(&home, serve.address());
    // And what is handed over anew is taken from there.
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    hand_over(&home, &directory);
    serve.log().wait_for(&["configuration reloaded"]);
    honest_session(&home, serve.address());
    assert_eq!(serve.stop().code(), Some(0));

    let check = |name: &str| {
        let mut command = sealwire(home.path(), &directory);
        command.args(name.split(' '));
        run(command, b"")
    };
    check("config check").ok();
    // What was handed over counts, not what is in the home.
    fs::write(directory.join("certs_mcp-servers_echo-key.pem"), "").unwrap();
    for command in ["config check", "serve"] {
        let output = check(command);
        assert_eq!(output.code, Some(78), "{output}");
        assert!(output.stderr.contains("handed-over/certs_mcp-servers_echo-key.pem"), "{output}");
    }
    fs::write(directory.join("sealwire.toml"), "[listen]\nadress = 1\n").unwrap();
    assert!(check("serve").stderr.contains("adress"));
    // What was not is that of the home.
    fs::remove_file(directory.join("sealwire.toml")).unwrap();
    fs::remove_file(directory.join("certs_mcp-servers_echo-key.pem")).unwrap();
    check("config check").ok();
}

/// The home is no substitute for a directory that is not there.
#[test]
fn a_misspelt_directory_is_not_passed_over() {
    let (home, _) = handed_over();
    let mut command = sealwire(home.path(), &home.file("handed-ovre"));
    command.args(["config", "check"]);
    let output = run(command, b"");
    assert_eq!(output.code, Some(2), "{output}");
    assert!(output.stderr.contains("handed-ovre") && output.stderr.contains("to fix:"), "{output}");
}

/// systemd's files belong to root and can be read by us: mode 0440 where an access list says
/// so, 0400 where they are ours. So do Kubernetes' with `fsGroup`.
#[test]
fn what_root_gives_to_a_group_is_private_enough() {
    let (home, directory) = handed_over();
    let key = directory.join("certs_mcp-servers_echo-key.pem");
    if chown(&key, Some(0), Some(NOBODY)).is_err() {
        println!("not tried: only root can make files that belong to root");
        return;
    }
    for path in [home.path(), &directory] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for file in fs::read_dir(&directory).unwrap() {
        let file = file.unwrap().path();
        chown(&file, Some(0), Some(NOBODY)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
    }
    // Where nobody else may go, the program has to come along.
    let program = home.file("sealwire");
    install(&bin("sealwire"), &program);
    let check = |owner: u32, mode: u32| -> Output {
        chown(&key, Some(owner), Some(NOBODY)).unwrap();
        home.chmod("handed-over/certs_mcp-servers_echo-key.pem", mode);
        let mut command = Command::new(&program);
        command.arg("--home").arg("/nonexistent").arg("--credentials").arg(&directory);
        command.args(["config", "check"]).uid(NOBODY).gid(NOBODY);
        run(command, b"")
    };
    for (owner, mode) in [(0, 0o440), (0, 0o640), (NOBODY, 0o400), (NOBODY, 0o600)] {
        check(owner, mode).ok();
    }
    for (owner, mode) in
        [(0, 0o444), (0, 0o660), (0, 0o450), (NOBODY, 0o440), (NOBODY, 0o640), (1, 0o440)]
    {
        let output = check(owner, mode);
        assert_eq!(output.code, Some(78), "{owner} {mode:o}: {output}");
        assert!(output.stderr.contains("echo-key.pem"), "{output}");
    }
    // Root itself is its own owner, and gives itself nothing.
    home.chmod("handed-over/certs_mcp-servers_echo-key.pem", 0o440);
    chown(&key, Some(0), Some(0)).unwrap();
    let mut command = sealwire(Path::new("/nonexistent"), &directory);
    command.args(["config", "check"]);
    assert_eq!(run(command, b"").code, Some(78));
}
