//! What an authority has signed as revoked (RFC 5280) holds wherever its list is brought: live
//! connections are cut, nothing is resumed, and without a list that is up to date nobody is let in.

use std::fs;
use std::time::{Duration, SystemTime};

use sealwire_identity::{CertificateAuthority, describe};
use sealwire_names::Timestamp;
use sealwire_testkit::openssl::{Leaf, Pair};
use sealwire_testkit::{Connect, Home, Serve, run};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, call_echo, echo_table, honest_session, wire_table};
use serde_json::Value;

const REVOKED: &str = "certificate_revoked";
const UNKNOWN: &str = "revocation_unknown";
const LISTED: &str = "[security.certificates]\ncrl = \"pushed.pem\"\n";
const LAPTOP: &str = "spiffe://sealwire.internal/core/laptop";
const DAY: Duration = Duration::from_secs(86_400);

/// Brings a list of the home's authority that revokes these, made elsewhere.
fn push(home: &Home, revoked: &[&Pair], validity: Duration) {
    let domain = "sealwire.internal".parse().unwrap();
    let ca = CertificateAuthority::load(&home.file("certs/ca"), &domain).unwrap();
    let now: Timestamp = SystemTime::now().into();
    let summary = |pair: &&Pair| {
        let pem = fs::read(&pair.cert).unwrap();
        (describe(&pem, "").unwrap().remove(0), now)
    };
    let revoked: Vec<_> = revoked.iter().map(summary).collect();
    let elsewhere = home.file("elsewhere.pem");
    ca.write_revocation_list(&elsewhere, &revoked, now, validity).unwrap();
    fs::copy(&elsewhere, home.file("pushed.new")).unwrap();
    fs::rename(home.file("pushed.new"), home.file("pushed.pem")).unwrap();
}

/// A home that goes by a list, which revokes nobody yet.
fn home() -> Home {
    let home = Home::initialized();
    push(&home, &[], DAY);
    let (wire, _) = wire_table(&home);
    home.configure(&format!("{LISTED}{wire}{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    home
}

fn laptop(home: &Home) -> Pair {
    home.authority().issue(&Leaf::client(LAPTOP))
}

fn note(text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/note","params":{{"text":"{text}"}}}}"#)
}

fn exchange(client: &mut LinkClient, seq: u64) {
    let text = note(&seq.to_string());
    client.send_message(seq, &text);
    assert_eq!(client.message(), (seq, text));
}

#[test]
fn a_client_in_a_list_is_cut_and_not_resumed() {
    let home = home();
    let serve = Serve::start(&home);
    // One authority for both, as it numbers the files that it writes.
    let (authority, leaf) = (home.authority(), Leaf::client(LAPTOP));
    let (pair, other) = (authority.issue(&leaf), authority.issue(&leaf));
    let tls = LinkClient::tls(&home, &pair);
    let dial = || LinkClient::dial_with(&tls, "wire", serve.address());
    dial().open();
    let mut live = dial();
    let granted = live.open();
    exchange(&mut live, 1);
    let mut good = LinkClient::dial(&home, &other, "wire", serve.address());
    good.open();
    let mark = serve.log().mark();
    push(&home, &[&pair], DAY);
    assert!(live.until_closed().iter().all(|raw| raw.message().is_none()));
    let line = serve.refused(mark, REVOKED);
    assert!(line.contains("core/laptop") && line.contains("revocation list"), "{line}");
    for resume in [None, Some(granted.resume(1))] {
        let mut back = dial();
        back.hello(resume, 0);
        assert_eq!(back.granted(), Err(REVOKED.to_owned()));
    }
    // Another certificate of the same name is not concerned.
    exchange(&mut good, 1);
    honest_session(&home, serve.address());
    drop(serve);
    let serve = Serve::start(&home);
    let mut back = LinkClient::dial(&home, &pair, "wire", serve.address());
    back.hello(None, 0);
    assert_eq!(back.granted(), Err(REVOKED.to_owned()));
}

#[test]
fn a_server_in_a_list_is_refused_by_who_connects() {
    let home = Home::with_config(&echo_table());
    push(&home, &[], DAY);
    let serve = Serve::start(&home);
    let connect = || Connect::spawn(home.connect_command("echo", serve.address(), LISTED));
    let mut live = connect();
    live.initialize();
    call_echo(&mut live, "before");
    let cert = home.file("certs/mcp-servers/echo-cert.pem");
    push(&home, &[&Pair { key: cert.clone(), cert }], DAY);
    live.log().wait_for(&[REVOKED, "revocation list"]);
    assert!(!live.process().wait().success());
    let mut again = connect();
    again.log().wait_for(&[&format!("[{REVOKED}]")]);
    assert!(!again.process().wait().success());
}

/// Whoever keeps new lists away does not keep a stolen certificate alive by it.
#[test]
fn a_list_out_of_date_lets_nobody_in_and_ends_what_stands() {
    let home = home();
    push(&home, &[], Duration::from_secs(8));
    let serve = Serve::start(&home);
    let pair = laptop(&home);
    let mut live = LinkClient::dial(&home, &pair, "wire", serve.address());
    let granted = live.open();
    exchange(&mut live, 1);
    assert!(live.until_closed().iter().all(|raw| raw.message().is_none()));
    let mark = serve.log().mark();
    let mut back = LinkClient::dial(&home, &pair, "wire", serve.address());
    back.hello(Some(granted.resume(1)), 1);
    assert_eq!(back.granted(), Err(UNKNOWN.to_owned()));
    let line = serve.refused(mark, UNKNOWN);
    assert!(line.contains("out of date"), "{line}");
    // Nor does it begin so.
    let connect = run(home.connect_command("echo", serve.address(), LISTED), b"");
    for refused in [home.run(&["config", "check"]), home.run(&["serve"]), connect] {
        assert_eq!(refused.code, Some(78), "{refused}");
        assert!(refused.stderr.contains("out of date"), "{refused}");
        assert!(refused.stderr.contains("sealwire cert crl"), "{refused}");
    }
    let mark = serve.log().mark();
    push(&home, &[], DAY);
    serve.log().wait_after(mark, &["enforcing: revocation list", "revoked=0"]);
    let mut back = LinkClient::dial(&home, &pair, "wire", serve.address());
    back.hello(Some(granted.resume(2)), 1);
    assert!(back.granted().is_ok());
    exchange(&mut back, 2);
}

/// What is older or no list of this authority's at all does not take the place of what holds.
#[test]
fn there_is_no_way_back_behind_a_list() {
    let home = home();
    let older = fs::read(home.file("pushed.pem")).unwrap();
    let pair = laptop(&home);
    push(&home, &[&pair], DAY);
    let serve = Serve::start(&home);
    let is_refused = || {
        let mut back = LinkClient::dial(&home, &pair, "wire", serve.address());
        back.hello(None, 0);
        assert_eq!(back.granted(), Err(REVOKED.to_owned()));
    };
    is_refused();
    for (list, words) in
        [(older, "an older revocation list"), (vec![b'?'; 9], "the old configuration stays")]
    {
        let mark = serve.log().mark();
        fs::write(home.file("pushed.new"), list).unwrap();
        fs::rename(home.file("pushed.new"), home.file("pushed.pem")).unwrap();
        serve.log().wait_after(mark, &[words]);
        is_refused();
    }
    honest_session(&home, serve.address());
}

/// A missing list is not an empty one.
#[test]
fn a_list_that_is_not_there_is_fatal() {
    let home = home();
    fs::remove_file(home.file("pushed.pem")).unwrap();
    for command in [&["config", "check"][..], &["serve"]] {
        let refused = home.run(command);
        assert_eq!(refused.code, Some(78), "{refused}");
        assert!(refused.stderr.contains("pushed.pem"), "{refused}");
    }
}

#[test]
fn revoking_by_command_writes_the_authoritys_list() {
    let home = Home::with_config(&echo_table());
    home.run(&["cert", "issue", "laptop"]).ok();
    let shown = |name: &str| -> Value {
        let shown = home.run(&["cert", "show", name, "--json"]).ok().stdout;
        serde_json::from_str::<Value>(&shown).unwrap()[0].clone()
    };
    let serial = shown("laptop")["serial"].as_str().unwrap().to_uppercase();
    let told = home.run(&["cert", "revoke", "laptop", "--json"]).ok().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["crl"]["revoked"], 1, "{told}");
    let listed = || {
        let mut command = std::process::Command::new("openssl");
        command.arg("crl").arg("-in").arg(home.file("certs/ca/ca-crl.pem"));
        command.arg("-CAfile").arg(home.file("certs/ca/issuing-cert.pem"));
        command.args(["-noout", "-text"]);
        let output = run(command, b"").ok();
        assert!(output.stderr.contains("verify OK"), "{output}");
        output.stdout
    };
    assert!(listed().contains(&serial), "{}", listed());
    // The next one has a greater number, and still knows of it.
    home.run(&["cert", "issue", "laptop", "--force"]).ok();
    fs::remove_file(home.file("certs/laptop/laptop-cert.pem.old")).unwrap();
    let next = home.run(&["cert", "crl", "--days", "1", "--json"]).ok().stdout;
    let next: Value = serde_json::from_str(&next).unwrap();
    assert!(next["number"].as_str() > told["crl"]["number"].as_str(), "{next} {told}");
    assert_eq!(next["revoked"], 1, "{next}");
    assert!(listed().contains(&serial));
    let text = home.run(&["cert", "revoke", CORE]).ok().stdout;
    assert!(text.contains("wrote the revocation list") && text.contains("ca-crl.pem"), "{text}");
    // It can be gone by where it was written.
    home.configure(&format!(
        "[security.certificates]\ncrl = \"certs/ca/ca-crl.pem\"\n{}",
        echo_table()
    ));
    home.run(&["cert", "issue", "core", "--force"]).ok();
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
}
