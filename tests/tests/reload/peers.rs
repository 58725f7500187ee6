use std::fs;

use sealwire_testkit::Home;
use sealwire_testkit::openssl::Authority;
use sealwire_tests::echo_table;
use sealwire_tests::link_client::LinkClient;

use super::{CA, RELOADED, hang_up, replace};

/// A home whose `echo` trusts the clients in a file of its own.
fn serving() -> (Home, super::Serve) {
    let home = Home::initialized();
    fs::copy(home.file(CA), home.file("clients.pem")).unwrap();
    home.configure(&format!("{}trusted_ca = \"clients.pem\"\n", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = super::start(&home, &[]);
    (home, serve)
}

/// From now on nobody of the home's authority is let in.
fn trust_others(home: &Home, serve: &mut super::Serve) {
    let mark = serve.log().mark();
    let others = Authority::create(&home.file("others"));
    replace(home, "clients.pem", fs::read(&others.pair().cert).unwrap());
    hang_up(serve);
    serve.log().wait_after(mark, &[RELOADED, "echo: trust anchors"]);
}

/// A TLS session brings back a certificate that was verified before the trust anchors
/// were replaced. It counts for nothing.
#[test]
fn an_earlier_tls_session_lets_nobody_in() {
    let (home, mut serve) = serving();
    let tls = LinkClient::tls(&home, &home.core_pair());
    let mut first = LinkClient::dial_with(&tls, "echo", serve.address());
    let granted = first.open();
    let mut second = LinkClient::dial_with(&tls, "echo", serve.address());
    assert!(second.has_resumed(), "a session can be resumed at all");
    second.open();

    trust_others(&home, &mut serve);
    let mark = serve.log().mark();
    let mut third = LinkClient::dial_with(&tls, "echo", serve.address());
    third.hello(Some(granted.resume(1)), 0);
    serve.refused(mark, "unknown_issuer");
}

/// Nor does a handshake that was complete just before.
#[test]
fn an_earlier_handshake_lets_nobody_in() {
    let (home, mut serve) = serving();
    let mut client = LinkClient::dial(&home, &home.core_pair(), "echo", serve.address());
    trust_others(&home, &mut serve);
    let mark = serve.log().mark();
    client.hello(None, 0);
    assert_eq!(client.granted(), Err("unknown_issuer".to_owned()));
    let line = serve.refused(mark, "unknown_issuer");
    assert!(line.contains("core/core"), "{line}");
}
