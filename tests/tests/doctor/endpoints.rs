//! The servers connected to are reached as `connect` reaches them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use sealwire_testkit::openssl::{Authority, ForeignServer, Leaf, Pair, Validity};
use sealwire_testkit::{Home, Serve};
use sealwire_tests::{CORE, ECHO, echo_table, serving_echo};
use serde_json::Value;

use super::{Examination, doctor_with};

/// Examines a home whose one server, `echo`, is at `endpoint`; `extra` is more of its table.
#[track_caller]
fn reach(home: &Home, endpoint: &str, extra: &str, args: &[&str]) -> Examination {
    let config = home
        .write("client.toml", format!("[mcp_servers.echo]\nendpoint = \"{endpoint}\"\n{extra}\n"));
    doctor_with(home, &["--config", config.to_str().unwrap()], args)
}

/// Examines a home whose server is a foreign one with this certificate.
#[track_caller]
fn foreign(pair: impl FnOnce(&Home) -> Pair, args: &[&str]) -> Examination {
    let home = Home::initialized();
    let ca = home.file("certs/ca/ca-cert.pem");
    let server = ForeignServer::start(&pair(&home), &ca, args);
    reach(&home, &server.address().to_string(), "", &[])
}

#[track_caller]
fn foreign_leaf(id: &str, code: &str, parts: &[&str], fault: fn(&mut Leaf)) {
    let examination = foreign(
        |home| {
            let mut leaf = Leaf::server(ECHO);
            fault(&mut leaf);
            home.authority().issue(&leaf)
        },
        &["-tls1_3"],
    );
    let found = examination.one("error", id, parts);
    assert_eq!(found["code"], code, "{found:#}");
    assert_eq!(found["server"], "echo", "{found:#}");
}

/// Listens, and answers each connection with these bytes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut hello = [0; 4096];
            if matches!(stream.read(&mut hello), Ok(1..)) {
                let _gone = stream.write_all(bytes);
            }
        }
    });
    address
}

#[test]
fn a_server_in_order() {
    let (home, serve) = serving_echo("");
    let examination = reach(&home, &serve.address().to_string(), "", &[]);
    examination.content();
    examination.passed(&["reached", ECHO, "core/core"]);
    examination.passed(&["3 tools", &serve.address().to_string()]);
    // An alert rule on refusals is not set off by it.
    let lines = serve.log().lines();
    assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:#?}");
    assert!(serve.stop().success());
}

#[test]
fn nobody_listens() {
    let home = Home::initialized();
    reach(&home, "127.0.0.1:1", "", &[]).one("error", "endpoint_closed", &["serve", "endpoint"]);
    reach(&home, "127.0.0.1:1", "", &["--offline"]).content();
}

#[test]
fn a_name_that_does_not_resolve() {
    let home = Home::initialized();
    let examination = reach(&home, "no-such-host.invalid:7443", "", &[]);
    examination.one("error", "endpoint_unresolved", &["endpoint", "client.toml"]);
}

#[test]
fn somebody_listens_and_says_nothing() {
    let home = Home::initialized();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let examination = reach(&home, &endpoint, "", &["--timeout", "1s"]);
    examination.one("error", "endpoint_silent", &["endpoint", "--timeout"]);
}

#[test]
fn another_protocol_is_spoken() {
    let home = Home::initialized();
    for bytes in
        [&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], b"SSH-2.0-x\r\n", b""]
    {
        let endpoint = answering(bytes).to_string();
        reach(&home, &endpoint, "", &[]).one("error", "endpoint_not_tls", &["endpoint"]);
    }
    let good = |home: &Home| home.authority().issue(&Leaf::server(ECHO));
    foreign(good, &["-tls1_3", "-alpn", "imap"]).one(
        "error",
        "endpoint_not_sealwire",
        &["endpoint"],
    );
    foreign(good, &["-tls1_2"]).one("error", "endpoint_not_sealwire", &["TLS 1.3"]);
}

#[test]
fn the_server_is_not_whom_it_should_be() {
    let id = "endpoint_certificate";
    foreign_leaf(id, "certificate_expired", &["cert issue"], |leaf| leaf.validity = Validity::Past);
    foreign_leaf(id, "certificate_not_yet_valid", &["date -u"], |leaf| {
        leaf.validity = Validity::Future;
    });
    foreign_leaf(id, "peer_name", &["server_name"], |leaf| {
        *leaf = Leaf::server("spiffe://sealwire.internal/mcp-server/other");
    });
    foreign_leaf(id, "trust_domain", &["trust_domain"], |leaf| {
        leaf.san = vec!["URI:spiffe://elsewhere.example/mcp-server/echo".into()];
    });
    foreign_leaf(id, "san_missing", &["cert issue"], |leaf| leaf.san = vec!["DNS:echo".into()]);

    let another = |home: &Home| Authority::create(&home.file("foreign")).issue(&Leaf::server(ECHO));
    let found = foreign(another, &["-tls1_3"]);
    let found = found.one("error", id, &["trusted_ca", "init --from-bundle"]);
    assert_eq!(found["code"], "unknown_issuer");
}

#[test]
fn an_expected_common_name_that_it_has_not() {
    let (home, serve) = serving_echo("");
    let endpoint = serve.address().to_string();
    let found = reach(&home, &endpoint, "expected_cn = \"other\"", &[]);
    let found = found.one("error", "endpoint_certificate", &["expected_cn"]);
    assert_eq!(found["code"], "common_name");
    reach(&home, &endpoint, "expected_cn = \"echo\"", &[]).content();
}

#[test]
fn a_server_that_is_not_served_there() {
    let (home, serve) = serving_echo("");
    let found = reach(&home, &serve.address().to_string(), "server_name = \"nothere\"", &[]);
    found.one("error", "endpoint_unknown_server", &["server_name"]);
}

#[test]
fn it_does_not_take_our_certificate() {
    let (home, serve) = serving_echo("");
    let stranger = Home::initialized();
    let ca = home.file("certs/ca/ca-cert.pem");
    let trust = format!("trusted_ca = \"{}\"", ca.display());
    let found = reach(&stranger, &serve.address().to_string(), &trust, &[]);
    let found = found.one("error", "endpoint_rejects_us", &["init --from-bundle"]);
    assert_eq!(found["code"], "unknown_issuer");
}

#[test]
fn its_program_cannot_be_started_there() {
    let home = Home::with_config("[mcp_servers.echo]\ncommand = \"no-such-program\"\n");
    let serve = Serve::start(&home);
    let found = reach(&home, &serve.address().to_string(), "", &[]);
    let found = found.one("error", "endpoint_declines", &["doctor"]);
    assert_eq!(found["code"], "server_start");
}

#[test]
fn its_program_ends_at_once() {
    let home = Home::with_config("[mcp_servers.echo]\ncommand = \"true\"\n");
    let serve = Serve::start(&home);
    let found = reach(&home, &serve.address().to_string(), "", &[]);
    found.one("error", "server_ended", &["sealwire doctor echo"]);
}

#[test]
fn its_certificate_is_about_to_expire() {
    let home = Home::with_config(&echo_table());
    home.run(&["cert", "issue", "echo", "--force", "--days", "3"]).ok();
    let serve = Serve::start(&home);
    let found = reach(&home, &serve.address().to_string(), "", &[]);
    found.one("warning", "certificate_expires_this_week", &["on that machine", "cert issue echo"]);
}

/// TLS does not tell the time; what a peer says of our certificate tells of its clock.
#[test]
fn its_clock_is_ahead() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let in_a_year = (now + 365 * 86_400).to_string();
    let home = Home::initialized();
    let pair = home.authority().issue(&Leaf::server(ECHO));
    let args = ["-tls1_3", "-verify_return_error", "-attime", &in_a_year];
    let server = ForeignServer::start(&pair, &home.file("certs/ca/ca-cert.pem"), &args);
    let found = reach(&home, &server.address().to_string(), "", &[]);
    let found = found.one("error", "clock_skew", &["date -u", "both machines"]);
    assert_eq!(found["code"], "certificate_expired");
}

/// Without a usable key of ours no more can be tried than whether anybody is there.
#[test]
fn a_fault_of_ours_is_not_taken_for_one_of_theirs() {
    let (home, serve) = serving_echo("");
    home.chmod("certs/core/core-key.pem", 0o644);
    let found = reach(&home, &serve.address().to_string(), "", &[]);
    found.one("error", "mode_too_wide", &["core-key.pem"]);
    found.passed(&["something listens"]);
    let found = reach(&home, "127.0.0.1:1", "", &[]);
    let ids: Vec<&Value> = found.grave().into_iter().map(|finding| &finding["id"]).collect();
    assert_eq!(ids, ["mode_too_wide", "endpoint_closed"]);

    // Its refusal would say no more than is known.
    let expired = Leaf { validity: Validity::Past, ..Leaf::client(CORE) };
    let expired = home.authority().issue(&expired);
    fs::copy(expired.cert, home.file("certs/core/core-cert.pem")).unwrap();
    fs::copy(expired.key, home.file("certs/core/core-key.pem")).unwrap();
    home.chmod("certs/core/core-key.pem", 0o600);
    let found = reach(&home, &serve.address().to_string(), "", &[]);
    found.one("error", "certificate_expired", &["cert issue core"]);
}
