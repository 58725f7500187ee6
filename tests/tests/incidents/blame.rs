//! An attacker without the victim's key does everything that he can in its name, against rules
//! that shut out whoever does the first thing wrong; and the victim goes on.

use sealwire_relay::link::frame::Frame;
use sealwire_testkit::openssl::{Authority, Leaf, Pair, s_client};
use sealwire_testkit::{Home, Serve, wait_until};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, echo_table, honest_session};
use serde_json::json;

use crate::mail::{forged, put, receive, receive_slowly, send, team, waiting};
use crate::{incident, incidents, quarantined, rule, told};

/// The hardest there are: the first event of each kind, and what can be done about it.
fn hardest() -> String {
    let peers = ["protocol_violations", "denied_requests", "rate_limited"];
    let others = ["failed_handshakes", "bad_signatures", "replays", "untrusted_mail"];
    let hard = peers.iter().map(|kind| rule(kind, 1, "quarantine", "1h"));
    hard.chain(others.iter().map(|kind| rule(kind, 1, "notify", "1h"))).collect()
}

/// Nobody is shut out, and the victim is heard.
fn is_unharmed(home: &Home) {
    assert_eq!(quarantined(home), json!([]));
    send(home, "Victim", "Reader").ok();
    let heard = receive(home);
    assert!(heard.stdout.contains("hello"), "{heard}");
}

#[test]
fn replaying_the_victims_own_signed_mail() {
    let home = team(&hardest());
    send(&home, "Victim", "Reader").ok();
    let kept = waiting(&home);
    assert!(receive(&home).stdout.contains("hello"));
    (0..5).for_each(|_| put(&home, &kept));
    let replayed = receive(&home);
    assert_eq!(replayed.stdout, "", "{replayed}");
    assert_eq!(incidents(&home), [incident("replays", "mailbox Reader", "notify")]);
    is_unharmed(&home);
}

/// Mail that was held back comes faster than its sender may send. It waits, and that is all.
#[test]
fn releasing_the_victims_mail_all_at_once() {
    let home = team(&hardest());
    for _ in 0..9 {
        send(&home, "Victim", "Reader").ok();
    }
    let first = receive_slowly(&home, 4, &hardest());
    assert_eq!(first.stdout.lines().count(), 4, "the burst: {first}");
    assert_eq!((incidents(&home), quarantined(&home)), (vec![], json!([])));
    send(&home, "Victim", "Reader").ok();
}

#[test]
fn writing_in_the_victims_name_without_its_key() {
    let home = team(&hardest());
    for _ in 0..3 {
        send(&home, "Victim", "Reader").ok();
    }
    let sent = waiting(&home);
    assert_eq!(receive(&home).stdout.lines().count(), 3);
    put(&home, &sent.iter().map(|sent| forged(sent)).collect::<Vec<_>>());
    assert_eq!(receive(&home).stdout, "");
    assert_eq!(incidents(&home), [incident("bad_signatures", "mailbox Reader", "notify")]);
    is_unharmed(&home);
}

#[test]
fn failing_handshakes_in_the_victims_name() {
    let home = Home::with_config(&format!("{}{}", echo_table(), hardest()));
    let serve = Serve::start(&home);
    let foreign = Authority::create(&home.file("foreign"));
    let forged = foreign.issue(&Leaf::client(CORE));
    for pair in [Some(&forged), None, Some(&forged)] {
        let mark = serve.log().mark();
        let attempt = s_client(serve.address(), "echo", pair, &["-tls1_3"]);
        serve.log().wait_after(mark, &["connection refused"]);
        drop(attempt);
    }
    wait_until("it is told", || told(serve.log()) == 1);
    assert_eq!(incidents(&home), [incident("failed_handshakes", "address 127.0.0.1", "notify")]);
    assert_eq!(quarantined(&home), json!([]));
    honest_session(&home, serve.address());
}

/// A key that was stolen, and is revoked: what is done with it is not its owner's doing any more.
#[test]
fn using_the_victims_revoked_certificate() {
    let home = Home::with_config(&format!("{}{}", echo_table(), hardest()));
    let serve = Serve::start(&home);
    let stolen = Pair { cert: home.file("stolen.pem"), key: home.file("stolen-key.pem") };
    std::fs::copy(home.core_pair().cert, &stolen.cert).unwrap();
    std::fs::copy(home.core_pair().key, &stolen.key).unwrap();
    home.chmod("stolen-key.pem", 0o600);
    home.run(&["cert", "revoke", "core"]).ok();
    home.run(&["cert", "issue", "core", "--force"]).ok();
    for _ in 0..3 {
        let mark = serve.log().mark();
        let mut thief = LinkClient::dial(&home, &stolen, "echo", serve.address());
        // What would be held against whoever may say anything.
        thief.send(&Frame::Ping(1));
        assert_eq!(thief.granted(), Err("certificate_revoked".to_owned()));
        drop(thief);
        serve.refused(mark, "certificate_revoked");
    }
    assert_eq!((incidents(&home), quarantined(&home)), (vec![], json!([])));
    honest_session(&home, serve.address());
}

/// Whoever is between the victim and us can cut its connections.
#[test]
fn cutting_the_victims_connections() {
    let home = Home::with_config(&format!("{}{}", echo_table(), hardest()));
    let serve = Serve::start(&home);
    for _ in 0..3 {
        let mark = serve.log().mark();
        drop(LinkClient::dial(&home, &home.core_pair(), "echo", serve.address()));
        let line = serve.refused(mark, "connection_lost");
        assert!(line.contains(CORE), "{line}");
    }
    assert_eq!((incidents(&home), quarantined(&home)), (vec![], json!([])));
    honest_session(&home, serve.address());
}
