//! Who has no line, an old one, or only stands between.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, version};
use sealwire_identity::provider;
use sealwire_testkit::{GUARD, Home, Serve};
use serde_json::{Value, json};

use super::client::Client;
use super::{entries, invite, inviting};

/// The word of a refusal.
fn why(answer: &Value) -> &str {
    answer["refused"]["why"].as_str().unwrap_or_else(|| panic!("not refused: {answer}"))
}

/// Somebody with the certificate of `name` of the same authority, and the key of it. What he
/// hears within TLS, if anything.
fn man_in_the_middle(home: &Home, name: &str) -> (SocketAddr, JoinHandle<io::Result<Vec<u8>>>) {
    let pem = |file: &str| std::fs::read(home.file(file)).unwrap();
    let mut chain = pem(&format!("certs/{name}-cert.pem"));
    chain.extend(pem("certs/ca/ca-cert.pem"));
    let chain = CertificateDer::pem_slice_iter(&chain).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem(&format!("certs/{name}-key.pem"))).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"sealwire-join/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hearing = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(GUARD)).unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let mut heard = Vec::new();
        rustls::Stream::new(&mut tls, &mut tcp).read_to_end(&mut heard)?;
        Ok(heard)
    });
    (address, hearing)
}

#[test]
fn a_man_in_the_middle_with_a_leaf_of_the_same_authority_hears_nothing() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    for name in ["mcp-servers/echo", "core/core"] {
        let (address, hearing) = man_in_the_middle(&home, name);
        let through_him = line.replace(&ca.address.to_string(), &address.to_string());
        let victim = Home::empty();
        let output = victim.run(&["join", &through_him]);
        assert_eq!(output.code, Some(1), "{output}");
        assert!(output.stderr.contains("not the service that the line names"), "{output}");
        assert!(!victim.file("sealwire.toml").exists());
        let heard = hearing.join().unwrap();
        assert!(heard.is_err(), "the handshake must fail for him: {heard:?}");
    }
    // The line is as good as before.
    Home::empty().run(&["join", &line]).ok();
}

#[test]
fn a_line_of_another_authority_does_not_lead_to_this_one() {
    let ((home, ca), (other, other_ca)) = (inviting(), inviting());
    let line = invite(&other, other_ca.address, &["laptop"]);
    let astray = line.replace(&other_ca.address.to_string(), &ca.address.to_string());
    let output = Home::empty().run(&["join", &astray]);
    assert!(output.stderr.contains("unknown_issuer"), "{output}");
    drop(home);
}

#[test]
fn a_line_is_good_once() {
    let (home, ca) = inviting();
    // There is a log from then on.
    Serve::start(&home).stop();
    let line = invite(&home, ca.address, &["laptop"]);
    Home::empty().run(&["join", &line]).ok();
    let replayed = Home::empty();
    let output = replayed.run(&["join", &line]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("has been used"), "{output}");
    assert!(!replayed.file("sealwire.toml").exists());
    let refused = entries(&home, "join.refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["subject"].to_string().contains("core/laptop"), "{refused:?}");
    assert_eq!(refused[0]["detail"], "from 127.0.0.1: the invitation has been used");
}

#[test]
fn a_line_expires() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop", "--ttl", "1ms"]);
    let output = Home::empty().run(&["join", &line]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("expired"), "{output}");
}

#[test]
fn whoever_is_revoked_is_not_invited_any_more() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    home.run(&["cert", "revoke", "core/laptop"]).ok();
    let output = Home::empty().run(&["join", &line]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("revoked"), "{output}");
    // An invitation that was made since is good.
    let line = invite(&home, ca.address, &["laptop"]);
    Home::empty().run(&["join", &line]).ok();
}

#[test]
fn five_wrong_proofs_spoil_an_invitation() {
    let (home, ca) = inviting();
    Serve::start(&home).stop();
    let line = invite(&home, ca.address, &["laptop"]);
    // A proof for another connection of his own, and for another key.
    let passed_on = Client::connect(ca.address, &line).good_request();
    let answer = Client::connect(ca.address, &line).send(&passed_on).unwrap();
    assert_eq!(why(&answer), "unproven");
    let mut client = Client::connect(ca.address, &line);
    let (mut request, another) = (client.good_request(), client.good_request());
    request["certificate_request"] = another["certificate_request"].clone();
    assert_eq!(why(&client.send(&request).unwrap()), "unproven");
    for proof in ["", "AA", &"A".repeat(43)] {
        let mut client = Client::connect(ca.address, &line);
        let mut request = client.good_request();
        request["proof"] = json!(proof);
        assert_eq!(why(&client.send(&request).unwrap()), "unproven");
    }
    // Now the good one is not accepted either.
    let mut client = Client::connect(ca.address, &line);
    let request = client.good_request();
    assert_eq!(why(&client.send(&request).unwrap()), "unproven");
    let output = Home::empty().run(&["join", &line]);
    assert!(output.stderr.contains("spoilt"), "{output}");
    // What says nothing new is not recorded.
    let refused = entries(&home, "join.refused");
    assert_eq!(refused.len(), 5, "{refused:?}");
}

#[test]
fn nobody_without_an_invitation_gets_anything() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let mut parts: Vec<_> = line.split('/').collect();
    let other = parts[2].chars().rev().collect::<String>();
    parts[2] = &other;
    let output = Home::empty().run(&["join", &parts.join("/")]);
    assert!(output.stderr.contains("not known there"), "{output}");
    // It does not count against the one that there is.
    Home::empty().run(&["join", &line]).ok();
}

/// The invitation fixes the name, whatever the request says.
#[test]
fn a_request_for_another_name_gets_the_invited_one() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let key = home.file("asked-key.pem");
    let asked = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/O=sealwire/CN=core", "-keyout"])
        .arg(&key)
        .args(["-addext", "subjectAltName=URI:spiffe://sealwire.internal/core/core"])
        .args(["-addext", "basicConstraints=critical,CA:TRUE"])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let mut client = Client::connect(ca.address, &line);
    let request = client.request(&String::from_utf8(asked.stdout).unwrap());
    let answer = client.send(&request).unwrap();
    let grant: Value = serde_json::from_str(answer["granted"]["grant"].as_str().unwrap()).unwrap();
    assert_eq!(grant["id"], "spiffe://sealwire.internal/core/laptop");
    let certificate = grant["certificate"].as_str().unwrap();
    let summary = sealwire_identity::describe(certificate.as_bytes(), "it").unwrap().remove(0);
    assert_eq!(summary.uris, ["spiffe://sealwire.internal/core/laptop"]);
    assert!(!summary.is_ca);
}

#[test]
fn what_is_malformed_or_endless_is_refused_and_others_are_served() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let mut client = Client::connect(ca.address, &line);
    let mut request = client.good_request();
    request["version"] = json!(2);
    assert_eq!(why(&client.send(&request).unwrap()), "malformed");
    let mut client = Client::connect(ca.address, &line);
    let mut request = client.good_request();
    request["certificate_request"] = json!("-----BEGIN CERTIFICATE REQUEST-----");
    assert_eq!(why(&client.send(&request).unwrap()), "malformed");
    // What is no message at all is not even answered.
    for bytes in
        [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x04{\"a\"", b"GET / HTTP/1.1\r\n"]
    {
        Client::connect(ca.address, &line).send_bytes(bytes).unwrap_err();
    }
    let silent: Vec<_> =
        (0..8).map(|_| std::net::TcpStream::connect(ca.address).unwrap()).collect();
    Home::empty().run(&["join", &line]).ok();
    drop(silent);
}
