//! One authority takes another's place, with calls under way.

use std::fs;

use sealwire_testkit::{Connect, Home, wait_until};
use sealwire_tests::call_echo;
use serde_json::Value;

use super::renewal::serial;
use super::{Ca, invite};

const ROOTS: &str = "certs/ca/ca-cert.pem";
const TOLD: &str = "certs/ca/ca-anchors.json";

pub(super) fn issuer(home: &Home, name: &str) -> String {
    let shown = home.run(&["cert", "show", name, "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    shown[0]["issuer"].as_str().unwrap().to_owned()
}

/// The key of the root that is replaced has been moved away.
#[test]
fn calls_go_on_while_the_authority_is_rotated() {
    let authority = Home::with_config("[ca]\naddress = \"127.0.0.1:0\"\nleaf_lifetime = \"15s\"\n");
    let root = super::root::moved_away(&authority);
    let ca = Ca::start(&authority);
    let line = invite(&authority, ca.address, &["echo", "--kind", "mcp-server"]);
    let (server, serve) = super::renewal::serving(&line);
    let line = invite(&authority, ca.address, &["laptop"]);
    let client = Home::empty();
    client.run(&["join", &line]).ok();
    let table =
        format!("\n[mcp_servers.echo]\nendpoint = \"{}\"\ndefault_level = 1\n", serve.address());
    let config = fs::read_to_string(client.file("sealwire.toml")).unwrap();
    client.write("sealwire.toml", config + &table);
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let mut connect = Connect::spawn(command);
    connect.initialize();
    let old = issuer(&client, "laptop");

    let refused = authority.run(&["ca", "rotate"]);
    assert!(refused.stderr.contains("--root-key"), "{refused}");
    assert!(!authority.file("certs/ca/next-key.pem").exists());
    let rotate = || authority.run(&[&["ca", "rotate"], &root.args()[..]].concat()).ok();
    rotate();
    // Too early: nobody else knows the other authority yet.
    let early = authority.run(&["ca", "rotate", "--finish"]);
    assert_eq!(early.code, Some(1), "{early}");
    // Again changes nothing.
    let trusted = fs::read(authority.file("certs/ca/ca-cert.pem")).unwrap();
    rotate();
    assert_eq!(fs::read(authority.file("certs/ca/ca-cert.pem")).unwrap(), trusted);

    let mut calls = 0_u32;
    let mut call = || {
        call_echo(&mut connect, &format!("call {calls}"));
        calls += 1;
    };
    wait_until("the rotation can be finished", || {
        call();
        authority.run(&["ca", "rotate", "--finish"]).code == Some(0)
    });
    assert!(!authority.file("certs/ca/next-key.pem").exists());
    assert!(authority.file("certs/ca/ca-key.pem").exists(), "that of the other root");
    wait_until("both ends have certificates of the other authority", || {
        call();
        issuer(&client, "laptop") != old && issuer(&server, "echo") != old
    });
    (0..100).for_each(|_| call());
    // Whoever joins now trusts what is there now.
    let line = invite(&authority, ca.address, &["late"]);
    let late = Home::empty();
    late.run(&["join", &line]).ok();
    assert_ne!(issuer(&late, "late"), old);

    // The end of it, as docs/join.md has it: the old root is taken out, at the authority first.
    for home in [&authority, &server, &client] {
        let trusted = fs::read_to_string(home.file(ROOTS)).unwrap();
        let (_, new) = trusted.rsplit_once("-----BEGIN").unwrap();
        fs::write(home.file(ROOTS), format!("-----BEGIN{new}")).unwrap();
    }
    let line = invite(&authority, ca.address, &["last", "--lifetime", "15s"]);
    let last = Home::empty();
    last.run(&["join", &line]).ok();
    assert_eq!(fs::read(last.file(ROOTS)).unwrap(), fs::read(authority.file(ROOTS)).unwrap());
    let before = [serial(&client, "laptop"), serial(&server, "echo")];
    wait_until("both ends renew without the old root", || {
        call();
        let now = [serial(&client, "laptop"), serial(&server, "echo")];
        now.iter().zip(&before).all(|(now, before)| now != before)
    });
    // Who asks while the authority is replaced may find a list that is not by it yet; not for long.
    for log in [connect.log(), serve.log()] {
        let lines = log.lines();
        let untold = lines.iter().filter(|line| line.contains("does not tell what is revoked"));
        assert!(untold.count() <= 1, "{lines:#?}");
    }
    assert!(connect.finish().0.success());
    println!("{calls} calls");
}

/// A new key in the old one's place, and nothing that was interrupted stays so.
#[test]
fn a_rotation_that_was_interrupted_is_begun_anew() {
    let authority = Home::with_config("[ca]\nleaf_lifetime = \"1ms\"\n");
    let output = authority.run(&["ca", "rotate", "--finish"]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("no rotation has begun"), "{output}");
    let before = fs::read(authority.file("certs/ca/ca-cert.pem")).unwrap();
    authority.run(&["ca", "rotate"]).ok();
    // As if the process had died before the certificate was there.
    fs::write(authority.file("certs/ca/ca-cert.pem"), &before).unwrap();
    authority.run(&["ca", "rotate"]).ok();
    wait_until("it is time", || authority.run(&["ca", "rotate", "--finish"]).code == Some(0));
    authority.run(&["cert", "issue", "x"]).ok();
    let shown = issuer(&authority, "x");
    let own = issuer(&authority, "core");
    assert_ne!(shown, own);
    authority.run(&["config", "check"]).ok();
}

/// What was signed of one rotation says nothing of the next.
#[test]
fn a_rotation_that_nobody_was_told_of_is_not_finished() {
    let home = Home::with_config("[ca]\nleaf_lifetime = \"1ms\"\n");
    let finish = || home.run(&["ca", "rotate", "--finish"]);
    home.run(&["ca", "rotate"]).ok();
    let of_the_first = fs::read(home.file(TOLD)).unwrap();
    wait_until("it is time", || finish().code == Some(0));
    home.run(&["ca", "rotate"]).ok();
    fs::write(home.file(TOLD), of_the_first).unwrap();
    let refused = finish();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("nobody else has been told"), "{refused}");
    let examined = home.run(&["doctor", "--offline"]).stdout;
    assert!(examined.contains("nobody else has been told"), "{examined}");
    home.run(&["ca", "rotate"]).ok();
    wait_until("it is time", || finish().code == Some(0));
}

/// Whoever has the key that issues may have the next ones, which are beside it.
#[test]
fn a_rotation_is_given_up_before_a_stolen_key_is_replaced() {
    let home = Home::with_config("[ca]\nleaf_lifetime = \"1ms\"\n");
    let abandon = || home.run(&["ca", "rotate", "--abandon"]);
    let none = abandon();
    assert!(none.code == Some(1) && none.stderr.contains("no rotation has begun"), "{none}");
    let before = fs::read(home.file(ROOTS)).unwrap();
    home.run(&["ca", "rotate"]).ok();
    home.run(&["cert", "crl"]).ok();
    home.chmod("certs/ca/next-key.pem", 0o600);
    let examined = home.run(&["doctor", "--offline"]).stdout;
    assert!(examined.contains("wider than 0400"), "{examined}");
    home.chmod("certs/ca/next-key.pem", 0o400);
    let refused = home.run(&["ca", "renew-issuing", "--new-key"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("ca rotate --abandon"), "{refused}");
    assert!(home.run(&["cert", "list", "--revoked"]).ok().stdout.contains("nothing is revoked"));
    let told = abandon().ok().stdout;
    assert!(told.contains("fingerprint"), "{told}");
    for file in ["next-key.pem", "next-issuing-key.pem", "ca-anchors.json"] {
        assert!(!home.file("certs/ca").join(file).exists(), "{file}");
    }
    assert_eq!(fs::read(home.file(ROOTS)).unwrap(), before);
    let listed = home.run(&["cert", "list", "--revoked"]).ok().stdout;
    assert_eq!(listed.matches("was given up").count(), 1, "{listed}");
    // What is there goes on, lists too, and can be replaced.
    home.run(&["config", "check"]).ok();
    home.run(&["cert", "crl"]).ok();
    home.run(&["ca", "renew-issuing", "--new-key"]).ok();
    home.run(&["ca", "rotate"]).ok();
    wait_until("it is time", || home.run(&["ca", "rotate", "--finish"]).code == Some(0));
}

/// Whatever is left of it, the command can be given again, and is done.
#[test]
fn a_rotation_that_was_not_quite_given_up_is_given_up_again() {
    let home = Home::with_config("");
    let keys = ["certs/ca/next-key.pem", "certs/ca/next-issuing-key.pem"];
    home.run(&["ca", "rotate"]).ok();
    let text = keys.map(|key| fs::read_to_string(home.file(key)).unwrap());
    let abandon = || home.run(&["ca", "rotate", "--abandon"]);
    assert!(abandon().ok().stdout.contains("fingerprint"));
    let trusted = fs::read(home.file(ROOTS)).unwrap();
    // As if the process had died before it removed both, and before it removed the last one.
    for left in [&[0, 1][..], &[0], &[1]] {
        for &key in left {
            home.write(keys[key], &text[key]);
            home.chmod(keys[key], 0o400);
        }
        let told = abandon().ok().stdout;
        assert!(told.contains("given up"), "{told}");
        assert!(keys.iter().all(|key| !home.file(key).exists()), "{left:?}");
    }
    assert_eq!(fs::read(home.file(ROOTS)).unwrap(), trusted);
    let listed = home.run(&["cert", "list", "--revoked"]).ok().stdout;
    assert_eq!(listed.matches("was given up").count(), 1, "{listed}");
    let none = abandon();
    assert!(none.code == Some(1) && none.stderr.contains("no rotation has begun"), "{none}");
}
