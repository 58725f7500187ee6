//! A resumed session asks no verifier, so the caller must: and can.

use std::sync::Arc;

use rustls::HandshakeKind;
use sealwire_identity::{PeerVerifier, Role, client_config, server_config};
use sealwire_names::RefusalCode;

use crate::support::{ALPN, Ca, SERVER, URI, days_from_now, handshake, now, peer};

#[test]
fn the_second_handshake_resumes_and_still_knows_both_peers() {
    let ca = Ca::new();
    let leaf = ca.leaf(|_| ());
    let credential = leaf.credential();
    let client = client_config(&credential, ca.anchors(), None, ALPN).unwrap();
    let server = server_config(&credential, ca.anchors(), ALPN).unwrap();
    let (first, _) = handshake(Arc::clone(&client), Arc::clone(&server), SERVER).unwrap();
    assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
    let (client_end, server_end) = handshake(client, server, SERVER).unwrap();
    assert_eq!(client_end.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(server_end.handshake_kind(), Some(HandshakeKind::Resumed));
    for (role, chain) in [
        (Role::Client, server_end.peer_certificates()),
        (Role::Server, client_end.peer_certificates()),
    ] {
        let verifier = PeerVerifier::new(ca.anchors(), role);
        let verified = verifier.verify(chain.unwrap(), Some(&peer(URI)), now()).unwrap();
        assert_eq!(verified.fingerprint, credential.fingerprint());
    }
}

#[test]
fn verifying_again_catches_what_changed_since_the_full_handshake() {
    let ca = Ca::new();
    let expiry = days_from_now(10);
    let leaf = ca.leaf(|p| {
        p.not_after = rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(expiry.unix_seconds().unsigned_abs());
    });
    let credential = leaf.credential();
    let client = client_config(&credential, ca.anchors(), None, ALPN).unwrap();
    let server = server_config(&credential, ca.anchors(), ALPN).unwrap();
    handshake(Arc::clone(&client), Arc::clone(&server), SERVER).unwrap();
    let (client_end, server_end) = handshake(client, server, SERVER).unwrap();
    assert_eq!(server_end.handshake_kind(), Some(HandshakeKind::Resumed));
    for (role, chain) in [
        (Role::Client, server_end.peer_certificates()),
        (Role::Server, client_end.peer_certificates()),
    ] {
        let chain = chain.unwrap();
        let verifier = PeerVerifier::new(ca.anchors(), role);
        let verified = verifier.verify(chain, None, now()).unwrap();
        assert_eq!(verified.not_after.unix_seconds(), expiry.unix_seconds());
        let late = verifier.verify(chain, None, days_from_now(11)).unwrap_err();
        assert_eq!(late.code, RefusalCode::CertificateExpired);
        let replaced = PeerVerifier::new(Ca::new().anchors(), role);
        assert!(replaced.verify(chain, None, now()).is_err());
    }
}

#[test]
fn a_session_of_one_server_configuration_is_no_session_of_another() {
    let ca = Ca::new();
    let credential = ca.leaf(|_| ()).credential();
    let client = client_config(&credential, ca.anchors(), None, ALPN).unwrap();
    for _ in 0..2 {
        let server = server_config(&credential, ca.anchors(), ALPN).unwrap();
        let (end, _) = handshake(Arc::clone(&client), server, SERVER).unwrap();
        assert_eq!(end.handshake_kind(), Some(HandshakeKind::Full));
    }
}
