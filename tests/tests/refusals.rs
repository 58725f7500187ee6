//! Whoever must not get in is refused, the log says why in one line with a stable code,
//! and honest clients go on undisturbed. The foreign peer is OpenSSL.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use sealwire_testkit::openssl::{Authority, ForeignServer, Leaf, Pair, Validity, s_client};
use sealwire_testkit::{Connect, GUARD, Home, Process, Serve};
use sealwire_tests::{CORE, ECHO, honest_session, serving_echo};

/// Lets a foreign client try; it must be refused with `code`, in one log line of its
/// own, and an honest client must get through afterwards.
fn refuses_client(code: &str, attempt: impl FnOnce(&Home, &Serve) -> Process) {
    let (home, serve) = serving_echo("");
    let mark = serve.log().mark();
    let client = attempt(&home, &serve);
    serve.refused(mark, code);
    drop(client);
    honest_session(&home, serve.address());
    let lines = serve.log().lines().split_off(mark);
    let refusals: Vec<_> = lines.iter().filter(|line| line.contains("refused")).collect();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
}

/// The same for a client whose certificate, issued by the home's own CA, has a fault.
fn refuses_client_leaf(code: &str, fault: impl FnOnce(&mut Leaf)) {
    refuses_client(code, |home, serve| {
        let mut leaf = Leaf::client(CORE);
        fault(&mut leaf);
        let pair = home.authority().issue(&leaf);
        s_client(serve.address(), "echo", Some(&pair), &["-tls1_3"])
    });
}

/// `sealwire connect` against a foreign server with this certificate must end with exit
/// code 1 and an error that says `code`.
fn refuses_server(code: &str, pair: impl FnOnce(&Home) -> Pair) {
    let home = Home::initialized();
    let ca = home.file("certs/ca/ca-cert.pem");
    let server = ForeignServer::start(&pair(&home), &ca, &["-tls1_3"]);
    let patience = "[listen]\nreconnect_timeout = \"5s\"";
    let mut client = Connect::spawn(home.connect_command("echo", server.address(), patience));
    client.log().wait_for(&["error:", "mcp-server/echo"]);
    client.log().wait_for(&[&format!("[{code}]")]);
    client.log().wait_for(&["to fix:"]);
    assert_eq!(client.process().wait().code(), Some(1));
    let (_, output) = client.finish();
    assert!(output.is_empty(), "no request, so nothing to answer: {output:?}");
}

fn refuses_server_leaf(code: &str, fault: impl FnOnce(&mut Leaf)) {
    refuses_server(code, |home| {
        let mut leaf = Leaf::server(ECHO);
        fault(&mut leaf);
        home.authority().issue(&leaf)
    });
}

/// Without this the refusals below could have any reason: the same certificate without
/// a fault is accepted, from a foreign CA tool and from a foreign TLS client.
#[test]
fn a_foreign_certificate_without_fault_is_accepted() {
    let (home, serve) = serving_echo("");
    let pair = home.authority().issue(&Leaf::client(CORE));

    let ca = home.file("certs/ca/ca-cert.pem");
    let options = ["-tls1_3", "-verify_return_error", "-CAfile", ca.to_str().unwrap()];
    let client = s_client(serve.address(), "echo", Some(&pair), &options);
    client.log().wait_for(&["CONNECTION ESTABLISHED"]);
    client.log().wait_for(&["Protocol version: TLSv1.3"]);
    drop(client);

    let mut command = home.sealwire();
    command.args(["connect", "--server-name", "echo"]);
    command.args(["--endpoint", &serve.address().to_string()]);
    command.arg("--ca").arg(&ca).arg("--cert").arg(&pair.cert).arg("--key").arg(&pair.key);
    let mut client = Connect::spawn(command);
    client.initialize();
}

#[test]
fn tls_1_2() {
    refuses_client("tls_version", |home, serve| {
        s_client(serve.address(), "echo", Some(&home.core_pair()), &["-tls1_2"])
    });
}

#[test]
fn aes_128_only() {
    refuses_client("tls_parameters", |home, serve| {
        let options = ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"];
        s_client(serve.address(), "echo", Some(&home.core_pair()), &options)
    });
}

#[test]
fn another_application_protocol() {
    refuses_client("tls_protocol", |home, serve| {
        // The last -alpn counts.
        s_client(serve.address(), "echo", Some(&home.core_pair()), &["-tls1_3", "-alpn", "imap"])
    });
}

#[test]
fn no_client_certificate() {
    refuses_client("certificate_missing", |_, serve| {
        s_client(serve.address(), "echo", None, &["-tls1_3"])
    });
}

#[test]
fn client_of_another_ca() {
    refuses_client("unknown_issuer", |home, serve| {
        let pair = Authority::create(&home.file("foreign")).issue(&Leaf::client(CORE));
        s_client(serve.address(), "echo", Some(&pair), &["-tls1_3"])
    });
}

#[test]
fn client_expired() {
    refuses_client_leaf("certificate_expired", |leaf| leaf.validity = Validity::Past);
}

#[test]
fn client_not_yet_valid() {
    refuses_client_leaf("certificate_not_yet_valid", |leaf| leaf.validity = Validity::Future);
}

#[test]
fn client_without_san() {
    refuses_client_leaf("san_missing", |leaf| leaf.san.clear());
}

/// A DNS name is a SAN, but not one that names a peer.
#[test]
fn client_without_uri_san() {
    refuses_client_leaf("san_missing", |leaf| leaf.san = vec!["DNS:core".into()]);
}

#[test]
fn client_with_two_uri_sans() {
    refuses_client_leaf("san_multiple", |leaf| {
        leaf.san.push("URI:spiffe://sealwire.internal/core/other".into());
    });
}

#[test]
fn client_with_a_uri_that_is_no_peer() {
    refuses_client_leaf("spiffe_syntax", |leaf| {
        leaf.san = vec!["URI:https://sealwire.internal/core/core".into()];
    });
}

#[test]
fn client_of_another_trust_domain() {
    refuses_client_leaf("trust_domain", |leaf| {
        leaf.san = vec!["URI:spiffe://elsewhere.example/core/core".into()];
    });
}

#[test]
fn client_with_a_ca_certificate() {
    refuses_client_leaf("ca_as_leaf", |leaf| leaf.is_ca = true);
}

#[test]
fn client_with_a_server_certificate() {
    refuses_client_leaf("key_usage", |leaf| leaf.usage = "serverAuth");
}

/// What webpki alone lets through: it is refused on the wire as well.
#[test]
fn client_whose_usage_is_not_stated() {
    refuses_client_leaf("key_usage", |leaf| leaf.key_usage = "");
}

#[test]
fn client_that_may_sign_revocation_lists() {
    refuses_client_leaf("ca_as_leaf", |leaf| leaf.key_usage = "digitalSignature,cRLSign");
}

#[test]
fn client_with_an_extension_that_nobody_understands() {
    refuses_client_leaf("certificate_path", |leaf| {
        leaf.extensions = "1.2.3.4 = critical,ASN1:NULL\n";
    });
}

#[test]
fn client_with_constraints_that_only_an_authority_has() {
    refuses_client_leaf("certificate_malformed", |leaf| {
        leaf.extensions = "nameConstraints = critical,permitted;DNS:core\n";
    });
}

#[test]
fn client_with_a_name_in_percents() {
    refuses_client_leaf("spiffe_syntax", |leaf| {
        leaf.san = vec!["URI:spiffe://sealwire.internal/core/c%6fre".into()];
    });
}

#[test]
fn client_with_a_slash_too_many() {
    refuses_client_leaf("spiffe_syntax", |leaf| leaf.san[0] += "/");
}

#[test]
fn client_with_another_common_name() {
    refuses_client_leaf("common_name", |leaf| leaf.common_name = "other".into());
}

#[test]
fn client_asks_for_a_server_not_offered() {
    refuses_client("unknown_server", |home, serve| {
        s_client(serve.address(), "nothere", Some(&home.core_pair()), &["-tls1_3"])
    });
}

#[test]
fn client_names_no_server() {
    refuses_client("unknown_server", |home, serve| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-brief", "-noservername", "-alpn", "sealwire/1"]);
        client.args(["-connect", &serve.address().to_string()]);
        let Pair { cert, key } = home.core_pair();
        client.arg("-cert").arg(cert).arg("-key").arg(key);
        client.stdin(Stdio::piped()).stdout(Stdio::null());
        Process::spawn(client)
    });
}

/// Neither a port scan nor a client that hangs up is worth more than a line.
#[test]
fn not_tls_at_all() {
    let (home, serve) = serving_echo("");
    let mark = serve.log().mark();
    let mut stream = TcpStream::connect(serve.address()).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    serve.refused(mark, "tls_handshake");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    honest_session(&home, serve.address());
}

#[test]
fn server_of_another_ca() {
    refuses_server("unknown_issuer", |home| {
        Authority::create(&home.file("foreign")).issue(&Leaf::server(ECHO))
    });
}

#[test]
fn server_with_another_name() {
    refuses_server_leaf("peer_name", |leaf| {
        *leaf = Leaf::server("spiffe://sealwire.internal/mcp-server/other");
    });
}

/// The DNS name is right, but the URI SAN alone counts.
#[test]
fn server_with_another_uri_and_the_right_dns_name() {
    refuses_server_leaf("peer_name", |leaf| {
        *leaf = Leaf::server("spiffe://sealwire.internal/mcp-server/other");
        leaf.san.push("DNS:echo".into());
    });
}

/// A client certificate's kind of name does not make a server.
#[test]
fn server_with_another_kind_of_name() {
    refuses_server_leaf("peer_name", |leaf| {
        leaf.san[0] = "URI:spiffe://sealwire.internal/agent/echo".into();
    });
}

#[test]
fn server_expired() {
    refuses_server_leaf("certificate_expired", |leaf| leaf.validity = Validity::Past);
}

#[test]
fn server_not_yet_valid() {
    refuses_server_leaf("certificate_not_yet_valid", |leaf| leaf.validity = Validity::Future);
}

#[test]
fn server_without_uri_san() {
    refuses_server_leaf("san_missing", |leaf| leaf.san.retain(|san| san.starts_with("DNS")));
}

#[test]
fn server_with_two_uri_sans() {
    refuses_server_leaf("san_multiple", |leaf| {
        leaf.san.push("URI:spiffe://sealwire.internal/mcp-server/other".into());
    });
}

#[test]
fn server_with_a_ca_certificate() {
    refuses_server_leaf("ca_as_leaf", |leaf| leaf.is_ca = true);
}

#[test]
fn server_whose_usage_is_not_stated() {
    refuses_server_leaf("key_usage", |leaf| leaf.key_usage = "");
}

#[test]
fn server_for_any_purpose() {
    refuses_server_leaf("key_usage", |leaf| leaf.usage = "anyExtendedKeyUsage");
}

#[test]
fn server_with_an_extension_that_nobody_understands() {
    refuses_server_leaf("certificate_path", |leaf| {
        leaf.extensions = "1.2.3.4 = critical,ASN1:NULL\n";
    });
}

#[test]
fn server_with_a_name_in_upper_case() {
    refuses_server_leaf("spiffe_syntax", |leaf| {
        leaf.san[0] = "URI:spiffe://Sealwire.internal/mcp-server/echo".into();
    });
}

#[test]
fn server_that_may_sign_certificates() {
    refuses_server_leaf("ca_as_leaf", |leaf| leaf.key_usage = "digitalSignature,keyCertSign");
}

#[test]
fn server_with_a_client_certificate() {
    refuses_server_leaf("key_usage", |leaf| leaf.usage = "clientAuth");
}

/// `expected_cn` is a check more, never one instead.
#[test]
fn server_with_another_common_name() {
    let (home, serve) = serving_echo("");
    let command = home.connect_command("echo", serve.address(), "expected_cn = \"other\"");
    let mut client = Connect::spawn(command);
    client.log().wait_for(&["[common_name]"]);
    assert_eq!(client.process().wait().code(), Some(1));

    let command = home.connect_command("echo", serve.address(), "expected_cn = \"echo\"");
    Connect::spawn(command).initialize();
}

/// What a client refuses is on record at the client, too: its standard error may go
/// nowhere.
#[test]
fn a_refused_server_is_in_the_log_file() {
    let home = Home::initialized();
    let pair = Authority::create(&home.file("foreign")).issue(&Leaf::server(ECHO));
    let server = ForeignServer::start(&pair, &home.file("certs/ca/ca-cert.pem"), &["-tls1_3"]);
    let mut command = home.connect_command("echo", server.address(), "");
    command.arg("--log-file").arg(home.file("log"));
    assert_eq!(Connect::spawn(command).process().wait().code(), Some(1));
    let log = fs::read_to_string(home.file("log")).unwrap().replace('"', "");
    for part in ["WARN", "audit", "connection refused", "code=unknown_issuer", "reason="] {
        assert!(log.contains(part), "no {part} in the log:\n{log}");
    }
}
