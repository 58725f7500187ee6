//! What is revoked where the authority is holds on other machines, as soon as they are told, and
//! they let nobody in when they are told nothing any more.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use sealwire_testkit::{Connect, Home, Serve, bin, run, soak, wait_until};
use sealwire_tests::call_echo;
use serde_json::Value;

use super::{Ca, entries, invite};

/// An authority of whose lists others go by none that is older than that.
fn authority(max_age: &str) -> (Home, Ca) {
    let config = format!("[ca]\naddress = \"127.0.0.1:0\"\nlist_max_age = \"{max_age}\"\n");
    let home = Home::with_config(&config);
    let ca = Ca::start(&home);
    (home, ca)
}

/// A machine that serves `echo`, by an invitation.
fn serving(authority: &Home, ca: &Ca) -> (Home, Serve) {
    let line = invite(authority, ca.address, &["echo", "--kind", "mcp-server"]);
    super::renewal::serving(&line)
}

/// Another that joins under that name, to reach it.
fn client(authority: &Home, ca: &Ca, name: &str, serve: &Serve) -> Home {
    let client = Home::empty();
    client.run(&["join", &invite(authority, ca.address, &[name])]).ok();
    let table =
        format!("\n[mcp_servers.echo]\nendpoint = \"{}\"\ndefault_level = 1\n", serve.address());
    let config = fs::read_to_string(client.file("sealwire.toml")).unwrap();
    client.write("sealwire.toml", config + &table);
    client
}

fn connected(client: &Home) -> Connect {
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let mut connect = Connect::spawn(command);
    connect.initialize();
    call_echo(&mut connect, "before");
    connect
}

/// From now on the service listens there.
fn listens_at(authority: &Home, address: SocketAddr) {
    let config = fs::read_to_string(authority.file("sealwire.toml")).unwrap();
    let (any, one) = ("[ca]\naddress = \"127.0.0.1:0\"", format!("[ca]\naddress = \"{address}\""));
    assert!(config.contains(any), "{config}");
    authority.write("sealwire.toml", config.replace(any, &one));
}

#[test]
fn what_is_revoked_at_the_authority_is_cut_on_other_machines() {
    let (authority, ca) = authority("1h");
    let (server, serve) = serving(&authority, &ca);
    let (laptop, other) =
        (client(&authority, &ca, "laptop", &serve), client(&authority, &ca, "other", &serve));
    let (victim, mut bystander) = (connected(&laptop), connected(&other));
    let mark = serve.log().mark();
    authority.run(&["cert", "revoke", "core/laptop", "--reason", "left in a train"]).ok();
    victim.log().wait_for(&["certificate_revoked"]);
    serve.log().wait_after(mark, &["revoked", "core/laptop", "left in a train"]);
    assert!(!victim.finish().0.success());
    call_echo(&mut bystander, "goes on");
    // Whoever comes back is refused, and so is whoever tries to have another certificate.
    let mut command = laptop.sealwire();
    command.args(["connect", "echo"]);
    Connect::spawn(command).log().wait_for(&["certificate_revoked"]);
    // It stays so, also where nobody can be asked any more.
    drop(ca);
    serve.stop();
    let listed = server.run(&["cert", "list", "--revoked"]).ok();
    assert!(listed.stdout.contains("core/laptop"), "{listed}");
    assert_eq!(entries(&server, "revocation").len(), 1);
    drop(bystander);
}

/// A server that is revoked is left by those who connect to it.
#[test]
fn a_server_that_is_revoked_at_the_authority_is_left() {
    let (authority, ca) = authority("1h");
    let (_server, serve) = serving(&authority, &ca);
    let laptop = client(&authority, &ca, "laptop", &serve);
    let connect = connected(&laptop);
    ca.process.log().wait_for(&["is told what is revoked", "core/laptop"]);
    authority.run(&["cert", "revoke", "mcp-server/echo"]).ok();
    connect.log().wait_for(&["certificate_revoked"]);
    serve.log().wait_for(&["our certificate is revoked"]);
}

#[test]
fn who_is_told_nothing_any_more_lets_nobody_in() {
    let (authority, ca) = authority("4s");
    let (server, serve) = serving(&authority, &ca);
    let laptop = client(&authority, &ca, "laptop", &serve);
    let mut connect = connected(&laptop);
    let status = || -> Value {
        serde_json::from_str(&server.run(&["status", "--json"]).ok().stdout).unwrap()
    };
    let before = status();
    assert_eq!(before["revocations"]["known"], true, "{before}");
    // As long as it is told, it goes on for longer than a list may be gone by.
    let number = |status: &Value| status["revocations"]["list"]["number"].as_i64().unwrap();
    wait_until("several lists later", || number(&status()) > number(&before) + 5_000);
    call_echo(&mut connect, "still");
    let mark = serve.log().mark();
    // Cut off from the authority.
    let address = ca.address;
    drop(ca);
    serve.log().wait_after(mark, &["not known any more"]);
    connect.log().wait_for(&["revocation_unknown"]);
    assert!(!connect.finish().0.success());
    let mark = serve.log().mark();
    let mut command = laptop.sealwire();
    command.args(["connect", "echo"]);
    let refused = Connect::spawn(command);
    // The peer is told the word, and the log why.
    refused.log().wait_for(&["revocation_unknown"]);
    let reason = serve.refused(mark, "revocation_unknown");
    assert!(reason.contains("not known since"), "{reason}");
    assert_eq!(status()["revocations"]["known"], false);
    // A start does not help, and is no fault either.
    serve.stop();
    let serve = Serve::start(&server);
    let mut command = laptop.sealwire();
    let endpoint = serve.address().to_string();
    let config = fs::read_to_string(laptop.file("sealwire.toml")).unwrap();
    let (head, _) = config.rsplit_once("endpoint = ").unwrap();
    laptop.write("sealwire.toml", format!("{head}endpoint = \"{endpoint}\"\ndefault_level = 1\n"));
    command.args(["connect", "echo"]);
    Connect::spawn(command).log().wait_for(&["revocation_unknown"]);
    // The authority is there again.
    listens_at(&authority, address);
    let _ca = Ca::start(&authority);
    serve.log().wait_for(&["it is known what is revoked"]);
    call_echo(&mut connected(&laptop), "after");
}

/// A list of RFC 5280 comes by the same way, and is written anew by who issues now.
#[test]
fn lists_of_rfc_5280_come_by_themselves() {
    let (authority, ca) = authority("1h");
    authority.run(&["cert", "crl", "--days", "1"]).ok();
    let line = invite(&authority, ca.address, &["echo", "--kind", "mcp-server"]);
    let server = Home::empty();
    server.run(&["join", &line]).ok();
    let (here, there) = (authority.file("certs/ca/ca-crl.pem"), server.file("certs/ca/ca-crl.pem"));
    fs::copy(&here, &there).unwrap();
    let text = fs::read_to_string(server.file("sealwire.toml")).unwrap();
    let text = text.replace("renew_from", "crl = \"certs/ca/ca-crl.pem\"\nrenew_from");
    let table = sealwire_testkit::server_table("echo", "cat", &[]);
    server.write("sealwire.toml", format!("[listen]\naddress = \"127.0.0.1:0\"\n{text}\n{table}"));
    let serve = Serve::start(&server);
    // A certificate of that home, so that there is one to be in a list.
    authority.run(&["cert", "issue", "laptop"]).ok();
    let mark = serve.log().mark();
    authority.run(&["cert", "revoke", "core/laptop"]).ok();
    serve.log().wait_after(mark, &["revocation list", "revoked=1"]);
    assert_eq!(fs::read(&here).unwrap(), fs::read(&there).unwrap());
}

/// From the command at the authority to the end of the connection on another machine.
#[test]
fn from_revocation_to_cut() {
    let trials = soak(5, 100);
    let (authority, ca) = authority("1h");
    let (_server, serve) = serving(&authority, &ca);
    let mut took = Vec::new();
    for trial in 0..trials {
        // One address is served 30 times in 10 s.
        std::thread::sleep(Duration::from_millis(soak(0, 700)));
        let name = format!("peer-{trial}");
        let laptop = client(&authority, &ca, &name, &serve);
        let connect = connected(&laptop);
        let mut command = authority.sealwire();
        command.args(["cert", "revoke", &format!("core/{name}")]);
        let begun = Instant::now();
        sealwire_testkit::run(command, b"").ok();
        connect.log().wait_for(&["certificate_revoked"]);
        took.push(begun.elapsed());
        connect.finish();
    }
    took.sort();
    let (median, worst) = (took[trials / 2], took[trials - 1]);
    println!("from the command to the cut: median {median:?}, worst {worst:?} of {trials}");
    // A promise of the project: the command itself is among it, and it is a debug build's.
    assert!(worst < Duration::from_secs(10), "{took:?}");
}

/// A list that was signed by the authority before is in the same file, and for 90 days: the file is
/// written anew before that is out of date, as nobody could take it up otherwise.
#[test]
fn a_list_of_an_earlier_authority_goes_before_it_is_out_of_date() {
    let home = Home::with_config("[ca]\naddress = \"127.0.0.1:0\"\nleaf_lifetime = \"1ms\"\n");
    home.run(&["cert", "crl"]).ok();
    home.run(&["ca", "rotate"]).ok();
    wait_until("it is time", || home.run(&["ca", "rotate", "--finish"]).code == Some(0));
    let later = |time: &str| {
        // `faketime` itself would go on as another process, which nobody ends.
        let script =
            "LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 | head -1) exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.env("FAKETIME", time).args(["-c", script]).arg(bin("sealwire"));
        command.arg("--home").arg(home.path());
        command
    };
    let mut command = later("+88d");
    command.args(["cert", "crl"]);
    let written = run(command, b"").ok().stdout;
    // A day into the three and a half after which it would be written anew for its own sake.
    let mut command = later("+90d");
    command.args(["ca", "serve"]);
    let ca = Ca::spawn(command);
    ca.process.log().wait_for(&["revocation list written anew"]);
    drop(ca);
    assert!(written.contains("revocation list"), "{written}");
    let mut command = later("+90d");
    command.args(["ca", "serve"]);
    let ca = Ca::spawn(command);
    let lines = ca.process.log().lines().join("\n");
    assert!(!lines.contains("not written anew"), "{lines}");
}
