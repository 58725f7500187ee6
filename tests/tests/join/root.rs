//! The root's key can be elsewhere: what is done day by day goes on without it, what needs it asks
//! for it, and the authority that issues is renewed, or replaced and revoked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use sealwire_testkit::openssl::Authority;
use sealwire_testkit::{Connect, Home, Output, Serve, bin, run};
use sealwire_tests::{call_echo, echo_table, honest_session};
use serde_json::Value;

use super::renewal::serial;
use super::rotation::issuer;
use super::{entries, invite, inviting};

const ROOT_KEY: &str = "certs/ca/ca-key.pem";
const ISSUING_KEY: &str = "certs/ca/issuing-key.pem";
const ISSUING_CERT: &str = "certs/ca/issuing-cert.pem";
const PASSPHRASE: &str = "four words of one's own";

/// A root's key that has been moved away.
pub(super) struct MovedAway {
    file: PathBuf,
    passphrase: PathBuf,
}

impl MovedAway {
    /// What commands are told of it.
    pub(super) fn args(&self) -> [&str; 4] {
        let [file, passphrase] = [&self.file, &self.passphrase].map(|it| it.to_str().unwrap());
        ["--root-key", file, "--passphrase-file", passphrase]
    }
}

fn secret(home: &Home, name: &str, text: &str) -> PathBuf {
    let file = home.write(name, text);
    home.chmod(name, 0o600);
    file
}

/// Moves the root's key away from a home.
pub(super) fn moved_away(home: &Home) -> MovedAway {
    let (file, passphrase) =
        (home.file("root.pem"), secret(home, "passphrase", &format!("{PASSPHRASE}\n")));
    let moved = MovedAway { file, passphrase };
    let [_, file, option, passphrase] = moved.args();
    home.run(&["ca", "export-root", file, option, passphrase]).ok();
    moved
}

fn shown(home: &Home, file: &str) -> Value {
    let path = home.file(file);
    let shown = home.run(&["cert", "show", path.to_str().unwrap(), "--json"]).ok().stdout;
    serde_json::from_str::<Value>(&shown).unwrap()[0].clone()
}

fn refused(output: &Output, parts: &[&str]) {
    assert_ne!(output.code, Some(0), "{output}");
    for part in parts.iter().chain(&["to fix:"]) {
        assert!(output.stderr.contains(part), "{part}: {output}");
    }
}

#[test]
fn what_is_done_day_by_day_does_not_need_the_root() {
    let (home, ca) = inviting();
    let before = Serve::start(&home);
    let key = fs::read_to_string(home.file(ROOT_KEY)).unwrap();
    let root = moved_away(&home);
    assert!(!home.file(ROOT_KEY).exists());
    assert_eq!(fs::metadata(&root.file).unwrap().permissions().mode() & 0o777, 0o600);
    // OpenSSL reads it, by the passphrase alone, and it is the key that was there.
    let openssl = |passphrase: &str| {
        let mut command = Command::new("openssl");
        command.args(["pkey", "-in"]).arg(&root.file).args(["-passin", passphrase]);
        run(command, b"")
    };
    let words = format!("pass:{PASSPHRASE}");
    let mut public = Command::new("openssl");
    public.args(["pkey", "-in", "/dev/stdin"]);
    assert_eq!(openssl(&words).ok().stdout, run(public, key.as_bytes()).ok().stdout);
    assert_ne!(openssl("pass:four words of another").code, Some(0));

    // What ran goes on, and so does everything else.
    honest_session(&home, before.address());
    before.stop();
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    home.run(&["init"]).ok();
    assert!(!home.file(ROOT_KEY).exists());
    let serve = Serve::start(&home);
    let endpoint = serve.address().to_string();
    let laptop = Home::empty();
    let line = invite(&home, ca.address, &["laptop", "--endpoint", &endpoint]);
    laptop.run(&["join", &line]).ok();
    let mut command = laptop.sealwire();
    command.args(["connect", "echo"]);
    let mut connect = Connect::spawn(command);
    connect.initialize();
    call_echo(&mut connect, "before");
    home.run(&["cert", "revoke", "core/laptop"]).ok();
    connect.log().wait_for(&["certificate_revoked"]);
    home.run(&["cert", "crl"]).ok();
    home.run(&["status"]).ok();
    home.run(&["config", "check"]).ok();
    let examined = home.run(&["doctor", "--offline"]).ok().stdout;
    assert!(examined.contains("root's key is not on this machine"), "{examined}");
    let again = ["ca", "export-root", "other.pem", "--passphrase-file", root.args()[3]];
    refused(&home.run(&again), &["not here any more"]);
    let changed = entries(&home, "key.changed");
    assert!(changed[0]["detail"].to_string().contains("moved away"), "{changed:?}");
}

#[test]
fn what_needs_the_root_asks_for_its_key() {
    let home = Home::with_config(&echo_table());
    home.run(&["cert", "crl"]).ok();
    let root = moved_away(&home);
    for command in [&["ca", "renew-issuing"][..], &["ca", "rotate"]] {
        refused(&home.run(command), &["root's key", "--root-key"]);
        let [option, _, with, _] = root.args();
        let [file, wrong] = ["root.pem", "wrong"].map(|it| home.file(it));
        secret(&home, "wrong", "four words of another");
        let args = [option, file.to_str().unwrap(), with, wrong.to_str().unwrap()];
        let output = home.run(&[command, &args].concat());
        assert!(output.stderr.contains("passphrase is not that of the key"), "{output}");
    }
    // What it is carried about on keeps no modes; the key is encrypted.
    fs::set_permissions(home.file("root.pem"), fs::Permissions::from_mode(0o755)).unwrap();
    let (key, before) = (fs::read(home.file(ISSUING_KEY)).unwrap(), shown(&home, ISSUING_CERT));
    let renew = [&["ca", "renew-issuing", "--days", "3"], &root.args()[..]].concat();
    let told = home.run(&renew).ok().stdout;
    assert!(told.contains("certified anew"), "{told}");
    // The same key and name: what it has issued and signed stays as it is.
    assert_eq!(fs::read(home.file(ISSUING_KEY)).unwrap(), key);
    let after = shown(&home, ISSUING_CERT);
    assert_eq!(after["subject"], before["subject"]);
    assert_ne!(after["serial"], before["serial"]);
    home.configure(&format!(
        "[security.certificates]\ncrl = \"certs/ca/ca-crl.pem\"\n\n{}",
        echo_table()
    ));
    home.run(&["config", "check"]).ok();
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    // What it issues ends with it, and the doctor says so in time.
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    assert_eq!(shown(&home, "certs/mcp-servers/echo-cert.pem")["not_after"], after["not_after"]);
    let examined = home.run(&["doctor", "--offline"]).stdout;
    assert!(examined.contains("ca renew-issuing"), "{examined}");
}

#[test]
fn what_cannot_be_read_again_is_not_moved_away() {
    let home = Home::with_config(&echo_table());
    let export = |file: &str, passphrase: &str| {
        let [file, passphrase] = [file, passphrase].map(|it| home.file(it));
        let [file, passphrase] = [&file, &passphrase].map(|it| it.to_str().unwrap());
        home.run(&["ca", "export-root", file, "--passphrase-file", passphrase])
    };
    for (name, text, part) in [
        ("empty", "\n", "fewer than 12 characters"),
        ("short", "elevenchars", "fewer than 12 characters"),
        ("two", "four words of one's own\nand more\n", "more than one line"),
    ] {
        secret(&home, name, text);
        let output = export("root.pem", name);
        assert!(output.code == Some(1) && output.stderr.contains(part), "{name}: {output}");
    }
    secret(&home, "good", PASSPHRASE);
    home.chmod("good", 0o644);
    refused(&export("root.pem", "good"), &["0644"]);
    home.chmod("good", 0o600);
    home.write("there.pem", "something else");
    refused(&export("there.pem", "good"), &["there.pem", "not overwritten"]);
    refused(&export("nowhere/root.pem", "good"), &["nowhere"]);
    home.run(&["ca", "rotate"]).ok();
    refused(&export("root.pem", "good"), &["a rotation has begun"]);
    // Nobody can be asked.
    let other = Home::initialized();
    let mut command = Command::new("setsid");
    command.arg(bin("sealwire")).arg("--home").arg(other.path());
    command.args(["ca", "export-root"]).arg(home.file("root.pem"));
    refused(&run(command, b""), &["--passphrase-file"]);
    assert!(home.file(ROOT_KEY).exists() && !home.file("root.pem").exists());
    assert_eq!(fs::read_to_string(home.file("there.pem")).unwrap(), "something else");
}

/// Runs a command at a terminal, with what is answered to each prompt, and prints what it shows.
const AT_A_TERMINAL: &str = r#"
import os, pty, sys
answers, command = sys.argv[1].split(":"), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
shown = b""
for answer in answers:
    asked = b""
    while not asked.endswith(b": "):
        asked += os.read(terminal, 1)
    os.write(terminal, answer.encode() + b"\n")
    shown += asked
try:
    while more := os.read(terminal, 4096):
        shown += more
except OSError:
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn at_a_terminal_the_passphrase_is_asked_for_twice_and_shown_to_nobody() {
    let home = Home::initialized();
    let at_a_terminal = |answers: &str, args: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", AT_A_TERMINAL, answers]).arg(bin("sealwire"));
        command.arg("--home").arg(home.path()).args(args);
        run(command, b"")
    };
    let root = home.file("root.pem");
    let export = ["ca", "export-root", root.to_str().unwrap()];
    let other = at_a_terminal(&format!("{PASSPHRASE}:another of this kind"), &export);
    assert!(other.code == Some(1) && other.stdout.contains("differ"), "{other}");
    let short = at_a_terminal("short", &export);
    assert!(short.code == Some(1) && short.stdout.contains("fewer than 12"), "{short}");
    assert!(home.file(ROOT_KEY).exists() && !root.exists());
    let twice = at_a_terminal(&format!("{PASSPHRASE}:{PASSPHRASE}"), &export).ok();
    assert!(!twice.stdout.contains(PASSPHRASE) && root.exists(), "{twice}");
    let renew = ["ca", "renew-issuing", "--root-key", root.to_str().unwrap()];
    let once = at_a_terminal(PASSPHRASE, &renew).ok();
    assert!(once.stdout.contains("certified anew") && !once.stdout.contains(PASSPHRASE), "{once}");
}

/// Somebody has the key that issues: he could have given himself any name.
#[test]
fn an_authority_that_is_replaced_is_believed_nowhere() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["echo", "--kind", "mcp-server"]);
    let (server, far) = super::renewal::serving(&line);
    let (key, old) = (fs::read(home.file(ISSUING_KEY)).unwrap(), issuer(&home, "core"));
    let near = Serve::start(&home);
    let mut connect = Connect::start(&home, "echo", near.address());
    connect.initialize();
    call_echo(&mut connect, "before");
    let marks = [near.log().mark(), far.log().mark()];
    let told = home.run(&["ca", "renew-issuing", "--new-key"]).ok().stdout;
    assert!(told.contains("revoked") && told.contains(&old), "{told}");
    assert_ne!(fs::read(home.file(ISSUING_KEY)).unwrap(), key);
    connect.log().wait_for(&["certificate_revoked"]);
    near.log().wait_after(marks[0], &["revoked"]);
    // A machine with a certificate of that authority is told, too, before it is told no more.
    far.log().wait_after(marks[1], &["our certificate is revoked"]);
    let listed = server.run(&["cert", "list", "--revoked"]).ok().stdout;
    assert!(listed.contains("certificate") && listed.contains("was replaced"), "{listed}");
    // Neither does it renew anything, nor is what it has issued in order any more.
    refused(&home.run(&["config", "check"]), &["authority", "revoked"]);
    near.stop();
    home.run(&["cert", "issue", "--all", "--force"]).ok();
    home.run(&["cert", "issue", "core", "--force"]).ok();
    assert_ne!(issuer(&home, "core"), old);
    home.run(&["config", "check"]).ok();
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    drop((ca, far));
}

/// Whatever fails on the way, the one that may be stolen is believed no longer.
#[test]
fn an_authority_is_revoked_before_another_takes_its_place() {
    for (damaged, goes_on) in [("certs/ca/ca-crl.pem", true), ("certs/ca/root-crl.pem", false)] {
        let home = Home::with_config(&echo_table());
        home.run(&["cert", "crl"]).ok();
        let (key, old) = (fs::read(home.file(ISSUING_KEY)).unwrap(), issuer(&home, "core"));
        home.write(damaged, "no list");
        let output = home.run(&["ca", "renew-issuing", "--new-key"]);
        assert_eq!(output.code == Some(0), goes_on, "{output}");
        assert!(output.stderr.contains(damaged), "{output}");
        let is_replaced = fs::read(home.file(ISSUING_KEY)).unwrap() != key;
        assert_eq!(is_replaced, goes_on);
        let revoked = || home.run(&["cert", "list", "--revoked"]).ok().stdout;
        assert_eq!(revoked().matches("was replaced").count(), 1);
        refused(&home.run(&["config", "check"]), &[&old, "revoked"]);
        // Again, when that is mended: what was not put in its place is revoked, too.
        fs::remove_file(home.file(damaged)).unwrap();
        home.run(&["ca", "renew-issuing", "--new-key"]).ok();
        assert_eq!(revoked().matches("was replaced").count(), 2);
        home.run(&["cert", "issue", "core", "--force"]).ok();
        home.run(&["cert", "issue", "--all", "--force"]).ok();
        home.run(&["config", "check"]).ok();
    }
}

/// As homes were made before there was an authority below the root.
fn old_home() -> Home {
    let home = Home::with_config(&format!("[ca]\nleaf_lifetime = \"1ms\"\n\n{}", echo_table()));
    for file in ["ca-cert.pem", "ca-key.pem", "issuing-cert.pem", "issuing-key.pem", "root-crl.pem"]
    {
        fs::remove_file(home.file("certs/ca").join(file)).unwrap();
    }
    let root = Authority::create(&home.file("old"));
    fs::copy(&root.pair().cert, home.file("certs/ca/ca-cert.pem")).unwrap();
    fs::copy(&root.pair().key, home.file(ROOT_KEY)).unwrap();
    home.chmod(ROOT_KEY, 0o400);
    home.run(&["cert", "issue", "--all", "--force"]).ok();
    home.run(&["cert", "issue", "core", "--force"]).ok();
    home
}

#[test]
fn an_older_home_goes_on_and_has_an_authority_below_its_next_root() {
    let home = old_home();
    home.run(&["config", "check"]).ok();
    honest_session(&home, Serve::start(&home).address());
    let passphrase = secret(&home, "passphrase", PASSPHRASE);
    let root = home.file("root.pem");
    let [root, passphrase] = [&root, &passphrase].map(|it| it.to_str().unwrap());
    let export = ["ca", "export-root", root, "--passphrase-file", passphrase];
    refused(&home.run(&export), &["nothing could be issued", "ca rotate"]);
    refused(&home.run(&["ca", "renew-issuing"]), &["pathLen 0", "ca rotate"]);
    assert!(home.file(ROOT_KEY).exists());

    let before = issuer(&home, "core");
    home.run(&["ca", "rotate"]).ok();
    sealwire_testkit::wait_until("it is time", || {
        home.run(&["ca", "rotate", "--finish"]).code == Some(0)
    });
    // What was issued before is good, beside what is issued now.
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    assert_eq!(issuer(&home, "core"), before);
    home.run(&["config", "check"]).ok();
    honest_session(&home, Serve::start(&home).address());
    home.run(&export).ok();
    home.run(&["cert", "issue", "after"]).ok();
}

/// Whoever has taken the machine that issues makes nobody trust a root of his own.
#[test]
fn the_authority_that_issues_cannot_name_another_root() {
    let (home, ca) = inviting();
    let (client, _serve) = super::renewal::joined_for_20_s(&home, &ca);
    let trusted = fs::read(client.file("certs/ca/ca-cert.pem")).unwrap();
    let before = serial(&client, "laptop");
    // He has everything there but the root's key, and says what he likes.
    let thief = Home::initialized();
    thief.run(&["ca", "rotate"]).ok();
    let told = thief.file("certs/ca/ca-anchors.json");
    fs::copy(told, home.file("certs/ca/ca-anchors.json")).unwrap();
    let roots = |of: &Home| fs::read_to_string(of.file("certs/ca/ca-cert.pem")).unwrap();
    fs::write(home.file("certs/ca/ca-cert.pem"), roots(&home) + &roots(&thief)).unwrap();
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let connect = Connect::spawn(command);
    connect.log().wait_for(&["what was trusted before is trusted", "not signed by"]);
    // Nobody is locked out by it.
    sealwire_testkit::wait_until("the certificate is renewed all the same", || {
        serial(&client, "laptop") != before
    });
    assert_eq!(fs::read(client.file("certs/ca/ca-cert.pem")).unwrap(), trusted);
    drop(ca);
}

/// What is known of it elsewhere in the home comes into the next one.
#[test]
fn a_roots_list_that_is_lost_is_missed_and_made_again() {
    let home = Home::with_config("");
    let old = shown(&home, ISSUING_CERT)["serial"].as_str().unwrap().to_uppercase();
    home.run(&["ca", "renew-issuing", "--new-key"]).ok();
    home.run(&["cert", "crl"]).ok();
    assert!(!home.run(&["doctor", "--offline"]).stdout.contains("root_list_missing"));
    for file in ["certs/ca/root-crl.pem", "certs/ca/ca-crl.pem"] {
        fs::remove_file(home.file(file)).unwrap();
    }
    let examined = home.run(&["doctor", "--offline"]).stdout;
    assert!(examined.contains("[root_list_missing]"), "{examined}");
    assert!(examined.contains("ca renew-issuing"), "{examined}");
    home.run(&["ca", "renew-issuing"]).ok();
    assert!(!home.run(&["doctor", "--offline"]).stdout.contains("root_list_missing"));
    let mut command = Command::new("openssl");
    command.args(["crl", "-noout", "-text", "-in"]).arg(home.file("certs/ca/root-crl.pem"));
    let listed = run(command, b"").ok().stdout;
    assert!(listed.contains(&old), "{old} in {listed}");
}
