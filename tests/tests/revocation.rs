//! Certificates that are revoked by command: what is live by them is cut, nothing is resumed, no
//! restart forgets, and whatever else the peer has goes on.

use std::fs;
use std::thread;
use std::time::Instant;

use sealwire_testkit::openssl::{Leaf, Pair};
use sealwire_testkit::{Connect, Home, Serve, wait_until};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, ECHO, call_echo, echo_table, honest_session, serving_echo, wire_table};
use serde_json::{Value, json};

const REVOKED: &str = "certificate_revoked";

fn revoke(home: &Home, what: &[&str]) -> String {
    let words: Vec<_> = ["cert", "revoke"].iter().chain(what).copied().collect();
    home.run(&words).ok().stdout
}

fn json_of(home: &Home, command: &[&str]) -> Value {
    serde_json::from_str(&home.run(command).ok().stdout).unwrap()
}

/// The certificate of that name, or in that file.
fn shown(home: &Home, name: &str) -> Value {
    json_of(home, &["cert", "show", name, "--json"])[0].clone()
}

fn client(home: &Home, serve: &Serve) -> Connect {
    let mut client = Connect::start(home, "echo", serve.address());
    client.initialize();
    call_echo(&mut client, "before");
    client
}

/// A certificate of this home that is somebody else's to use.
fn laptop(home: &Home) -> Pair {
    home.run(&["cert", "issue", "laptop"]).ok();
    Pair {
        cert: home.file("certs/laptop/laptop-cert.pem"),
        key: home.file("certs/laptop/laptop-key.pem"),
    }
}

fn note(text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/note","params":{{"text":"{text}"}}}}"#)
}

/// A conversation with `wire` in which one message has come back.
fn talking(home: &Home, serve: &Serve, pair: &Pair) -> LinkClient {
    let mut client = LinkClient::dial(home, pair, "wire", serve.address());
    client.open();
    exchange(&mut client, 1);
    client
}

fn exchange(client: &mut LinkClient, seq: u64) {
    let text = note(&seq.to_string());
    client.send_message(seq, &text);
    assert_eq!(client.message(), (seq, text));
}

fn serving_wire() -> (Home, Serve) {
    let home = Home::initialized();
    let (wire, _) = wire_table(&home);
    home.configure(&format!("{wire}{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    (home, serve)
}

/// Nobody has to know where a certificate is, or what kind of peer it is for.
#[test]
fn a_name_without_its_kind_is_found_wherever_its_certificate_is() {
    let (home, serve) = serving_echo("");
    let invite = |name: &[&str]| {
        let words = [&["invite"], name, &["--address", "127.0.0.1:1", "--endpoint", "127.0.0.1:1"]];
        home.run(&words.concat()).ok();
    };
    invite(&["phone"]);
    let told = revoke(&home, &["phone"]);
    assert!(told.contains("/core/phone"), "{told}");
    invite(&["both"]);
    invite(&["both", "--kind", "agent"]);
    let several = home.run(&["cert", "revoke", "both"]);
    assert_eq!(several.code, Some(2), "{several}");
    assert!(several.stderr.contains("core/both") && several.stderr.contains("agent/both"));
    // By a certificate that this home has not any more, while somebody is connected.
    let Pair { cert, key } = laptop(&home);
    let away = Pair { cert: home.file("away.pem"), key: home.file("away-key.pem") };
    fs::rename(&cert, &away.cert).unwrap();
    fs::rename(&key, &away.key).unwrap();
    let unknown = home.run(&["cert", "revoke", "laptop"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    let mut client = LinkClient::dial(&home, &away, "echo", serve.address());
    client.open();
    revoke(&home, &["laptop"]);
    wait_until("it is cut", || json_of(&home, &["status", "--json"])["conversations"] == json!([]));
}

#[test]
fn a_name_is_cut_refused_and_good_again_with_another_certificate() {
    let (home, mut serve) = serving_wire();
    let pair = laptop(&home);
    let mut live = talking(&home, &serve, &pair);
    let mark = serve.log().mark();
    let text = revoke(&home, &["laptop", "--reason", "left in a train"]);
    assert!(text.contains("core/laptop") && text.contains("1 conversation ended"), "{text}");
    assert!(text.contains("certs/laptop/laptop-cert.pem"), "{text}");
    assert!(text.contains("cert issue laptop --kind core --force"), "{text}");
    assert!(live.until_closed().iter().all(|raw| raw.message().is_none()));
    // The log tells everything, and whoever comes back a word.
    let line = serve.refused(mark, REVOKED);
    assert!(line.contains("left in a train") && line.contains("core/laptop"), "{line}");
    let refuses = |serve: &Serve, pair: &Pair| {
        let mark = serve.log().mark();
        let mut again = LinkClient::dial(&home, pair, "wire", serve.address());
        again.hello(None, 0);
        assert_eq!(again.granted(), Err(REVOKED.to_owned()));
        assert_eq!(again.until_closed(), []);
        drop(again);
        let line = serve.refused(mark, REVOKED);
        let fingerprint = shown(&home, pair.cert.to_str().unwrap())["sha256"].clone();
        assert!(line.contains("left in a train"), "{line}");
        assert!(
            line.contains("core/laptop") && line.contains(fingerprint.as_str().unwrap()),
            "{line}"
        );
    };
    refuses(&serve, &pair);
    assert_eq!(shown(&home, "laptop")["status"], "revoked");
    assert!(home.run(&["cert", "list"]).ok().stdout.contains("revoked"));
    let listed = json_of(&home, &["cert", "list", "--revoked", "--json"]);
    assert_eq!(listed[0]["what"], "spiffe://sealwire.internal/core/laptop", "{listed}");
    assert_eq!(json_of(&home, &["status", "--json"])["revoked"], listed);

    // No restart forgets it, and others are not concerned.
    drop(serve);
    serve = Serve::start(&home);
    refuses(&serve, &pair);
    honest_session(&home, serve.address());

    // Neither the one that is kept aside nor what somebody made of the authority's key before is
    // any better; what is issued now is good at once.
    let bundle = home.run(&["cert", "bundle", "laptop", "--endpoint", "h:1"]);
    assert!(bundle.stderr.contains(REVOKED) && bundle.stderr.contains("--force"), "{bundle}");
    home.run(&["cert", "issue", "laptop", "--force"]).ok();
    let old = Pair { cert: home.file("old.pem"), key: home.file("old-key.pem") };
    fs::copy(home.file("certs/laptop/laptop-cert.pem.old"), &old.cert).unwrap();
    fs::copy(home.file("certs/laptop/laptop-key.pem.old"), &old.key).unwrap();
    let mut live = talking(&home, &serve, &pair);
    refuses(&serve, &old);
    exchange(&mut live, 2);

    // And so once more, until it is revoked again.
    revoke(&home, &["core/laptop", "--reason", "left in a train again"]);
    live.until_closed();
    refuses(&serve, &pair);
}

#[test]
fn one_certificate_is_cut_and_another_of_the_same_name_lives_on() {
    let (home, serve) = serving_wire();
    let lost = laptop(&home);
    let other = home.authority().issue(&Leaf::client("spiffe://sealwire.internal/core/laptop"));
    let (mut by_lost, mut by_other) =
        (talking(&home, &serve, &lost), talking(&home, &serve, &other));
    // Begun by one, and gone on with by the other, either way round.
    let moved = |from: &Pair, to: &Pair| {
        let mut first = LinkClient::dial(&home, from, "wire", serve.address());
        let granted = first.open();
        exchange(&mut first, 1);
        let mut second = LinkClient::dial(&home, to, "wire", serve.address());
        second.hello(Some(granted.resume(1)), 1);
        assert!(second.granted().is_ok());
        exchange(&mut second, 2);
        (granted, second)
    };
    let ((granted, mut to_lost), (_, mut to_other)) = (moved(&other, &lost), moved(&lost, &other));
    let serial = shown(&home, "laptop")["serial"].as_str().unwrap().to_uppercase();
    let colons: Vec<_> =
        serial.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
    assert!(revoke(&home, &[&colons.join(":")]).contains("2 conversations ended"));
    by_lost.until_closed();
    to_lost.until_closed();
    exchange(&mut by_other, 2);
    exchange(&mut to_other, 3);
    // What was cut is not kept for the good one either: it was in the wrong hands.
    let mut back = LinkClient::dial(&home, &other, "wire", serve.address());
    back.hello(Some(granted.resume(2)), 2);
    assert_eq!(back.granted(), Err("resume_unknown".to_owned()));
    let mut again = LinkClient::dial(&home, &lost, "wire", serve.address());
    again.hello(None, 0);
    assert_eq!(again.granted(), Err(REVOKED.to_owned()));
    // The name's next one is not concerned, and that it was one before is told.
    assert!(revoke(&home, &[&serial]).contains("it was already"));
    talking(&home, &serve, &other);
}

/// The same TLS session, the same conversation, and the first one again: while it is connected,
/// and while it is away.
#[test]
fn neither_a_tls_session_nor_a_conversation_is_resumed() {
    let (home, serve) = serving_wire();
    let pair = laptop(&home);
    let tls = LinkClient::tls(&home, &pair);
    let dial = || LinkClient::dial_with(&tls, "wire", serve.address());
    let mut away = dial();
    let waiting = away.open();
    exchange(&mut away, 1);
    drop(away);
    let mut live = dial();
    assert!(live.has_resumed(), "or nothing is shown below");
    let granted = live.open();
    exchange(&mut live, 1);
    assert!(revoke(&home, &["laptop"]).contains("2 conversations ended"));
    live.until_closed();
    for (handle, generation) in [(&granted, 1), (&waiting, 1), (&granted, u64::MAX)] {
        let mut back = dial();
        assert!(back.has_resumed(), "or it is only another handshake");
        back.hello(Some(handle.resume(generation)), 1);
        assert_eq!(back.granted(), Err(REVOKED.to_owned()));
        assert_eq!(back.until_closed(), []);
    }
    wait_until("nothing is left of them", || {
        json_of(&home, &["status", "--json"])["conversations"] == json!([])
    });
}

/// From the start of the command until the client is cut, 100 times.
#[test]
fn live_connections_are_reached_at_once() {
    let (home, serve) = serving_echo("");
    let mut times = Vec::new();
    for _ in 0..100 {
        let mut client = client(&home, &serve);
        let serial = shown(&home, "core")["serial"].as_str().unwrap().to_owned();
        let client_log = client.log().clone();
        let waiting = thread::spawn(move || {
            client_log.wait_for(&[REVOKED]);
            Instant::now()
        });
        let began = Instant::now();
        revoke(&home, &[&serial]);
        times.push(waiting.join().unwrap().saturating_duration_since(began));
        assert!(!client.process().wait().success());
        let refused = home.connect_once("echo", serve.address(), b"");
        assert!(refused.stderr.contains(REVOKED), "{refused}");
        home.run(&["cert", "issue", "core", "--force"]).ok();
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("revocation by command reaches a live peer: median {median:?}, worst {worst:?}");
    honest_session(&home, serve.address());
}

/// Where no `serve` takes commands, the next one begins with it; one that runs and cannot be asked
/// notices.
#[test]
fn without_a_socket_the_state_is_enough() {
    let (home, serve) = serving_wire();
    let pair = laptop(&home);
    let mut live = talking(&home, &serve, &pair);
    fs::remove_file(home.file("run/control.sock")).unwrap();
    let text = revoke(&home, &["laptop"]);
    assert!(text.contains("the next one begins with it"), "{text}");
    live.until_closed();
    serve.stop();
    let serve = Serve::start(&home);
    let mut again = LinkClient::dial(&home, &pair, "wire", serve.address());
    again.hello(None, 0);
    assert_eq!(again.granted(), Err(REVOKED.to_owned()));
}

/// The other direction: a server whose key is stolen is not talked to any more.
#[test]
fn a_revoked_server_is_refused_by_who_connects() {
    let (home, serve) = serving_echo("");
    let far = Home::empty();
    let bundle = far.file("far.sealwire-bundle");
    let endpoint = serve.address().to_string();
    let out = bundle.to_str().unwrap();
    home.run(&["cert", "bundle", "far", "--endpoint", &endpoint, "--out", out]).ok();
    far.run(&["init", "--from-bundle", out]).ok();
    let connect = || {
        let mut command = far.sealwire();
        command.args(["connect", "echo"]);
        Connect::spawn(command)
    };
    let mut live = connect();
    live.initialize();
    call_echo(&mut live, "before");
    let text = revoke(&far, &["echo", "--reason", "its machine was broken into"]);
    assert!(text.contains(ECHO), "{text}");
    // It is cut by itself, with the reason, which is our own.
    assert!(!live.process().wait().success());
    live.log().wait_for(&[REVOKED, "broken into"]);
    let mut again = connect();
    assert!(!again.process().wait().success());
    again.log().wait_for(&["to fix", "the server needs another certificate"]);
    // Another one is good, and known to be by its time alone.
    revoke(&home, &["echo"]);
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    serve.log().wait_for(&["configuration reloaded", "echo"]);
    let mut good = connect();
    good.initialize();
    call_echo(&mut good, "after");
}

#[test]
fn a_home_whose_own_certificate_is_revoked_says_so() {
    let (home, serve) = serving_echo("");
    revoke(&home, &["echo"]);
    serve.log().wait_for(&["ERROR", "we present a revoked certificate", "echo"]);
    let serving_on = home.run(&["config", "check"]);
    assert_eq!(serving_on.code, Some(78), "{serving_on}");
    assert!(serving_on.stderr.contains(REVOKED), "{serving_on}");
    serve.stop();
    let refused = home.run(&["serve"]);
    assert_eq!(refused.code, Some(78), "{refused}");
    assert!(refused.stderr.contains(REVOKED), "{refused}");
    assert!(refused.stderr.contains("cert issue echo --kind mcp-server --force"), "{refused}");
    let doctor = json_of_failed(&home, &["doctor", "--offline", "--json"]);
    let found =
        doctor["findings"].as_array().unwrap().iter().find(|it| it["id"] == REVOKED).unwrap();
    assert_eq!(found["severity"], "error");
    assert!(found["command"].as_str().unwrap().contains("cert issue echo"), "{found}");
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    home.run(&["config", "check"]).ok();
    revoke(&home, &[CORE]);
    home.configure("[mcp_servers.far]\nendpoint = \"127.0.0.1:9\"\n");
    let refused = home.run(&["connect", "far"]);
    assert!(refused.stderr.contains(REVOKED) && refused.stderr.contains("to fix"), "{refused}");
}

fn json_of_failed(home: &Home, command: &[&str]) -> Value {
    let output = home.run(command);
    assert_eq!(output.code, Some(1), "{output}");
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn what_is_not_known_is_refused_with_what_is() {
    let (home, serve) = serving_echo("");
    laptop(&home);
    let ca = home.file("certs/ca/ca-cert.pem");
    let ca = shown(&home, ca.to_str().unwrap())["sha256"].as_str().unwrap().to_owned();
    home.run(&["cert", "issue", "echo", "--kind", "core"]).ok();
    for (wrong, words) in [
        ("laptpo", vec!["core/laptop", "mcp-server/echo", "fingerprint"]),
        ("5e0c41d90f0a4f6f8a4b2b1f6f0c77aa", vec!["core/laptop", "serial"]),
        ("robot/laptop", vec!["<kind>/<name>"]),
        ("spiffe://elsewhere.example/core/laptop", vec!["sealwire.internal"]),
        ("echo", vec!["core/echo", "mcp-server/echo"]),
        (&ca, vec!["trust anchors"]),
    ] {
        let refused = home.run(&["cert", "revoke", wrong]);
        assert_eq!(refused.code, Some(2), "{wrong}: {refused}");
        for word in words.into_iter().chain(["to fix:"]) {
            assert!(refused.stderr.contains(word), "{wrong}: {word}: {refused}");
        }
    }
    assert_eq!(json_of(&home, &["cert", "list", "--revoked", "--json"]), json!([]));
    // One that is elsewhere is named in full, and told to be.
    let far = revoke(&home, &["agent/Far"]);
    assert!(far.contains("it holds all the same"), "{far}");
    let told: Value = serde_json::from_str(&revoke(&home, &["laptop", "--json"])).unwrap();
    assert_eq!(told["revoked"]["what"], "spiffe://sealwire.internal/core/laptop", "{told}");
    assert_eq!((&told["new"], &told["conversations_ended"]), (&json!(true), &json!(0)), "{told}");
    assert_eq!(told["certificates"][0]["serial"], shown(&home, "laptop")["serial"], "{told}");
    // Nor is a fingerprint taken of which nothing else is known: the same certificate can have
    // another one. By whom it is presented is known.
    let unknown = home.run(&["cert", "revoke", &"ab".repeat(32)]);
    assert_eq!(unknown.code, Some(1), "{unknown}");
    assert!(unknown.stderr.contains("<kind>/<name>"), "{unknown}");
    let other = home.authority().issue(&Leaf::client("spiffe://sealwire.internal/core/far"));
    let mut live = LinkClient::dial(&home, &other, "echo", serve.address());
    live.open();
    let status = json_of(&home, &["status", "--json"]);
    let fingerprint = status["conversations"][0]["certificate"].as_str().unwrap().to_owned();
    assert!(revoke(&home, &[&fingerprint]).contains("1 conversation ended"));
    live.until_closed();
    assert_eq!(
        json_of(&home, &["cert", "list", "--revoked", "--json"]).as_array().unwrap().len(),
        3
    );
}

/// When the command is done, nothing that is sent on a live link reaches the server any more.
#[test]
fn nothing_passes_once_the_command_is_done() {
    let (home, serve) = serving_wire();
    let pair = laptop(&home);
    for _ in 0..20 {
        let mut live = talking(&home, &serve, &pair);
        let record = || fs::read_to_string(home.file("record")).unwrap_or_default();
        let first = note("1") + "\n";
        wait_until("the server has recorded what it has answered", || record() == first);
        let serial = shown(&home, "laptop")["serial"].as_str().unwrap().to_owned();
        revoke(&home, &[&serial]);
        for seq in 2..20 {
            live.send_message(seq, &note("late"));
        }
        live.until_closed();
        wait_until("the server is gone", || {
            json_of(&home, &["status", "--json"])["conversations"] == json!([])
        });
        assert_eq!(record(), first);
        home.run(&["cert", "issue", "laptop", "--force"]).ok();
    }
}
