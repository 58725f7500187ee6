//! Certificates that renew themselves, with calls under way all the time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use sealwire_identity::join::{RENEWAL_ALPN, renewal_client_config};
use sealwire_identity::{Credential, TrustAnchors};
use sealwire_testkit::{Connect, GUARD, Home, Serve, bin, server_table, soak, wait_until};
use sealwire_tests::{call_echo, echo_table};
use serde_json::Value;

use super::rotation::issuer;
use super::{Ca, entries, invite, inviting};

/// The serial number of the certificate in a file of a home.
pub(super) fn serial(home: &Home, name: &str) -> String {
    let shown = home.run(&["cert", "show", name, "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    shown[0]["serial"].as_str().unwrap().to_owned()
}

/// A home that has joined as an MCP server, and serves it.
pub(super) fn serving(line: &str) -> (Home, Serve) {
    let home = Home::empty();
    home.run(&["join", line]).ok();
    let text = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    let table = server_table("echo", bin("sealwire-fake-server"), &[]);
    home.write("sealwire.toml", format!("[listen]\naddress = \"127.0.0.1:0\"\n{text}\n{table}"));
    let serve = Serve::start(&home);
    (home, serve)
}

/// A client that has joined, with a certificate for 20 s, and whom it is to reach.
pub(super) fn joined_for_20_s(authority: &Home, ca: &Ca) -> (Home, Serve) {
    let serve = Serve::start(authority);
    let endpoint = serve.address().to_string();
    let args = ["laptop", "--lifetime", "20s", "--endpoint", &endpoint];
    let client = Home::empty();
    client.run(&["join", &invite(authority, ca.address, &args)]).ok();
    (client, serve)
}

/// Rotates the authority as soon as that is allowed; when it was.
fn rotate(authority: &Home, begun: Instant, whole: Duration) -> Option<Duration> {
    authority.run(&["ca", "rotate"]).ok();
    while begun.elapsed() < whole {
        if authority.run(&["ca", "rotate", "--finish"]).code == Some(0) {
            return Some(begun.elapsed());
        }
        thread::sleep(Duration::from_secs(1));
    }
    None
}

#[test]
fn calls_go_on_through_every_renewal_of_both_ends() {
    // In a soak five minutes, leaves of a minute at both ends, and another authority meanwhile.
    let whole = Duration::from_secs(soak(75, 300));
    let authority = Home::with_config(&format!(
        "[ca]\naddress = \"127.0.0.1:0\"\nleaf_lifetime = \"60s\"\n\n{}",
        echo_table()
    ));
    let ca = Ca::start(&authority);
    // There is a log from then on.
    Serve::start(&authority).stop();
    let line =
        invite(&authority, ca.address, &["echo", "--kind", "mcp-server", "--lifetime", "60s"]);
    let (server, serve) = serving(&line);
    let line = invite(&authority, ca.address, &["laptop", "--lifetime", "60s"]);
    let client = Home::empty();
    client.run(&["join", &line]).ok();
    let first = (serial(&server, "echo"), serial(&client, "laptop"));

    let config = std::fs::read_to_string(client.file("sealwire.toml")).unwrap();
    let endpoint = serve.address();
    // It was invited before the server was there: this is the entry that it lacks.
    let config = config.replace("127.0.0.1:1", &endpoint.to_string());
    client.write("sealwire.toml", config);
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let mut connect = Connect::spawn(command);
    connect.initialize();
    let (begun, mut calls) = (Instant::now(), 0_u32);
    let finished_at = thread::scope(|scope| {
        let rotating = scope.spawn(|| rotate(&authority, begun, whole));
        while begun.elapsed() < whole {
            // Each is answered, and rightly.
            call_echo(&mut connect, &format!("call {calls}"));
            calls += 1;
            thread::sleep(Duration::from_millis(5));
        }
        rotating.join().unwrap()
    });
    let log = connect.log().lines().join("\n");
    assert!(connect.finish().0.success());
    assert_ne!(serial(&server, "echo"), first.0, "the server's is as old as before");
    assert_ne!(serial(&client, "laptop"), first.1, "the client's is as old as before: {log}");
    let issued = entries(&authority, "certificate.issued");
    let renewed = |name: &str| {
        let of_it = |entry: &&Value| {
            entry["subject"].to_string().contains(name)
                && entry["detail"].to_string().contains("renewed from 127.0.0.1")
        };
        issued.iter().filter(of_it).count()
    };
    println!("{calls} calls, {} and {} renewals", renewed("echo"), renewed("laptop"));
    println!("another authority issues since {finished_at:?} of {whole:?}");
    if soak(false, true) {
        let issuers = (issuer(&server, "echo"), issuer(&client, "laptop"));
        assert!(issuers.0 == issuers.1 && issuers.0 != issuer(&authority, "core"), "{issuers:?}");
    }
    assert!(renewed("mcp-server/echo") > 0 && renewed("core/laptop") > 0, "{issued:?}");
}

/// Whoever is revoked where the authority is does not get another certificate.
#[test]
fn who_is_revoked_is_not_renewed() {
    let (authority, ca) = inviting();
    let (client, serve) = joined_for_20_s(&authority, &ca);
    serve.stop();
    authority.run(&["cert", "revoke", "core/laptop"]).ok();
    let before = serial(&client, "laptop");
    // It tries to reach the server for longer than the certificate lives.
    let config = std::fs::read_to_string(client.file("sealwire.toml")).unwrap();
    client.write("sealwire.toml", format!("{config}\n[listen]\nconnect_timeout = \"60s\"\n"));
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let connect = Connect::spawn(command);
    connect.log().wait_for(&["could not be renewed", "revoked"]);
    ca.process.log().wait_for(&["renewal refused", "core/laptop"]);
    assert_eq!(serial(&client, "laptop"), before);
    // Once, although it is tried each second.
    connect.log().wait_after(connect.log().mark(), &["could not be renewed"]);
    let refused = entries(&authority, "renewal.refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["subject"].to_string().contains("core/laptop"), "{refused:?}");
    assert!(refused[0]["detail"].to_string().contains("revoked"), "{refused:?}");
}

/// The service may be away for a while.
#[test]
fn a_renewal_is_tried_again() {
    let (authority, ca) = inviting();
    let (client, _serve) = joined_for_20_s(&authority, &ca);
    let before = serial(&client, "laptop");
    let address = ca.address;
    drop(ca);
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let connect = Connect::spawn(command);
    connect.log().wait_for(&["could not be renewed", &address.to_string()]);
    let config = std::fs::read_to_string(authority.file("sealwire.toml")).unwrap();
    let config = config
        .replace("[ca]\naddress = \"127.0.0.1:0\"", &format!("[ca]\naddress = \"{address}\""));
    authority.write("sealwire.toml", config);
    let ca = Ca::start(&authority);
    ca.process.log().wait_for(&["renewed", "core/laptop"]);
    wait_until("the file is another one", || serial(&client, "laptop") != before);
}

/// What the service answers whoever presents that certificate.
fn renewed(authority: &Home, ca: &Ca, cert: &Path, key: &Path) -> String {
    let own = Credential::load(cert, key).unwrap();
    let domain = own.id().trust_domain().clone();
    let anchors =
        Arc::new(TrustAnchors::load(&authority.file("certs/ca/ca-cert.pem"), domain).unwrap());
    let tls = renewal_client_config(&own, anchors, RENEWAL_ALPN).unwrap();
    let mut tcp = TcpStream::connect(ca.address).unwrap();
    tcp.set_read_timeout(Some(GUARD)).unwrap();
    let mut tls = ClientConnection::new(tls, ServerName::from(ca.address.ip())).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    let request = br#"{"version":1}"#;
    stream.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

const NOT_JOINED: &str = r#"{"refused":{"why":"not_joined"}}"#;

/// What was issued by hand is for days, and does not become what lasts for ever.
#[test]
fn what_did_not_join_is_not_renewed() {
    let (authority, ca) = inviting();
    let own = authority.core_pair();
    assert_eq!(renewed(&authority, &ca, &own.cert, &own.key), NOT_JOINED);
}

/// Neither is it for one whose invitation was refused, or who has joined and was revoked.
#[test]
fn who_was_revoked_has_not_joined() {
    let (authority, ca) = inviting();
    for (name, joins) in [("ghost", false), ("laptop", true)] {
        let line = invite(&authority, ca.address, &[name]);
        let id = format!("core/{name}");
        if joins {
            Home::empty().run(&["join", &line]).ok();
        }
        authority.run(&["cert", "revoke", &id]).ok();
        if !joins {
            let output = Home::empty().run(&["join", &line]);
            assert!(output.stderr.contains("revoked"), "{output}");
        }
        authority.run(&["cert", "issue", name]).ok();
        let file = |what: &str| authority.file(&format!("certs/{name}/{name}-{what}.pem"));
        let answer = renewed(&authority, &ca, &file("cert"), &file("key"));
        assert_eq!(answer, NOT_JOINED, "{name}");
    }
}

/// However quickly one follows the other.
#[test]
fn who_is_revoked_invited_and_revoked_again_is_cut() {
    let (authority, ca) = inviting();
    let serve = Serve::start(&authority);
    let endpoint = serve.address().to_string();
    let revoke = || authority.run(&["cert", "revoke", "core/laptop"]).ok();
    revoke();
    let line = invite(&authority, ca.address, &["laptop", "--endpoint", &endpoint]);
    let client = Home::empty();
    thread::scope(|scope| {
        let joining = scope.spawn(|| client.run(&["join", &line]));
        ca.process.log().wait_for(&["joined", "core/laptop"]);
        revoke();
        joining.join().unwrap().ok();
    });
    let mut command = client.sealwire();
    command.args(["connect", "echo"]);
    let connect = Connect::spawn(command);
    connect.log().wait_for(&["certificate_revoked"]);
}
