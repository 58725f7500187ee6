//! Every rule about a certificate, broken one at a time, in both roles: asked of the
//! verifier itself, and met in a TLS handshake.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose as Eku, date_time_ymd};
use sealwire_identity::{
    PeerVerifier, Role, TrustAnchors, client_config, handshake_refusal, is_of_anchor, refusal,
    server_config,
};
use sealwire_names::RefusalCode;
use std::sync::Arc;

use crate::support::{ALPN, Ca, Leaf, SERVER, URI, anchors, handshake, now, peer, uri};

#[test]
fn the_good_leaf_is_accepted_in_both_roles() {
    let ca = Ca::new();
    let leaf = ca.leaf(|_| ());
    for role in [Role::Client, Role::Server] {
        let verified = PeerVerifier::new(ca.anchors(), role)
            .verify(&leaf.chain, Some(&peer(URI)), now())
            .unwrap();
        assert_eq!(verified.id, peer(URI));
        assert_eq!(verified.fingerprint, leaf.credential().fingerprint());
    }
    let client = leaf.credential();
    handshake(
        client_config(&client, ca.anchors(), None, ALPN).unwrap(),
        server_config(&client, ca.anchors(), ALPN).unwrap(),
        SERVER,
    )
    .unwrap();
}

#[test]
fn a_leaf_for_one_role_is_refused_in_the_other() {
    let ca = Ca::new();
    for (role, wrong) in [(Role::Client, Eku::ServerAuth), (Role::Server, Eku::ClientAuth)] {
        let leaf = ca.leaf(|p| p.extended_key_usages = vec![wrong]);
        let refused =
            PeerVerifier::new(ca.anchors(), role).verify(&leaf.chain, None, now()).unwrap_err();
        assert_eq!(refused.code, RefusalCode::KeyUsage, "{role:?}: {refused}");
    }
}

#[test]
fn an_empty_chain_is_a_missing_certificate() {
    let verifier = PeerVerifier::new(Ca::new().anchors(), Role::Server);
    let refused = verifier.verify(&[], None, now()).unwrap_err();
    assert_eq!(refused.code, RefusalCode::CertificateMissing);
}

#[test]
fn another_peer_than_the_expected_one_is_refused() {
    let ca = Ca::new();
    let leaf = ca.leaf(|_| ());
    for other in [
        "spiffe://test.example/mcp-server/gitlab",
        "spiffe://test.example/mcp-server/GitHub",
        "spiffe://test.example/agent/github",
    ] {
        for role in [Role::Client, Role::Server] {
            let refused = PeerVerifier::new(ca.anchors(), role)
                .verify(&leaf.chain, Some(&peer(other)), now())
                .unwrap_err();
            assert_eq!(refused.code, RefusalCode::PeerName, "{other}");
        }
    }
}

#[test]
fn a_client_refuses_a_server_of_another_name_or_kind() {
    let ca = Ca::new();
    let good = ca.leaf(|_| ());
    let agent = ca.leaf(|p| p.subject_alt_names = vec![uri("spiffe://test.example/agent/github")]);
    for (leaf, name) in [(&good, "gitlab"), (&agent, SERVER), (&good, "127.0.0.1")] {
        let client = client_config(&good.credential(), ca.anchors(), None, ALPN).unwrap();
        let ended = handshake(client, leaf.careless_server(), name);
        let refused = refusal(&ended.client.unwrap_err());
        assert_eq!(refused.code, RefusalCode::PeerName, "{name}: {refused}");
    }
}

#[test]
fn the_common_name_is_checked_for_our_own_authorities_and_where_expected() {
    let ours = Ca::with(|p| p.distinguished_name.push(DnType::OrganizationName, "sealwire"));
    let misnamed: fn(&mut CertificateParams) =
        |p| p.distinguished_name.push(DnType::CommonName, "someone");
    check(
        "our authority, another common name",
        &ours,
        &ours.leaf(misnamed),
        RefusalCode::CommonName,
    );
    let nameless: fn(&mut CertificateParams) =
        |p| p.distinguished_name = rcgen::DistinguishedName::new();
    check("our authority, no common name", &ours, &ours.leaf(nameless), RefusalCode::CommonName);

    let foreign = Ca::new();
    let leaf = foreign.leaf(misnamed);
    for role in [Role::Client, Role::Server] {
        let verifier = PeerVerifier::new(foreign.anchors(), role);
        verifier.verify(&leaf.chain, None, now()).unwrap();
        verifier.clone().with_expected_cn("someone").verify(&leaf.chain, None, now()).unwrap();
        let refused =
            verifier.with_expected_cn(SERVER).verify(&leaf.chain, None, now()).unwrap_err();
        assert_eq!(refused.code, RefusalCode::CommonName);
    }
    let client = client_config(&leaf.credential(), foreign.anchors(), Some(SERVER), ALPN).unwrap();
    let ended = handshake(client, leaf.careless_server(), SERVER);
    assert_eq!(refusal(&ended.client.unwrap_err()).code, RefusalCode::CommonName);
}

#[test]
fn the_expected_common_name_does_not_replace_the_san() {
    let ca = Ca::new();
    let leaf = ca.leaf(|p| p.subject_alt_names.clear());
    let verifier = PeerVerifier::new(ca.anchors(), Role::Server).with_expected_cn(SERVER);
    let refused = verifier.verify(&leaf.chain, Some(&peer(URI)), now()).unwrap_err();
    assert_eq!(refused.code, RefusalCode::SanMissing);
}

#[test]
fn the_peer_learns_from_the_alert_what_it_can_mend() {
    let ca = Ca::new();
    let server = server_config(&ca.leaf(|_| ()).credential(), ca.anchors(), ALPN).unwrap();
    let stranger = Ca::with(|p| {
        p.distinguished_name.push(DnType::OrganizationName, "Someone Else");
    });
    for (leaf, code) in [
        (ca.leaf(|p| p.not_after = date_time_ymd(2020, 1, 1)), RefusalCode::CertificateExpired),
        (stranger.leaf(|_| ()), RefusalCode::UnknownIssuer),
        (ca.leaf(|p| p.extended_key_usages.clear()), RefusalCode::CertificatePath),
    ] {
        let ended = handshake(leaf.careless_client(), Arc::clone(&server), SERVER);
        let told = refusal(&ended.client.unwrap_err());
        assert_eq!(told.code, code, "{told}");
        assert!(told.reason.starts_with("the peer refused us"), "{told}");
    }
}

/// An alert for that has no text, and what carries it through rustls has only times.
#[test]
fn a_handshake_says_which_certificate_is_not_valid_at_this_time_and_since_when() {
    let ca = Ca::new();
    let old = Ca::with(|p| p.not_after = date_time_ymd(2020, 1, 1));
    let theirs = "the peer's certificate, or an authority's that came with it, ";
    let anchor = "the trust anchor of ours that vouches for the peer's certificate ";
    for (ca, leaf, whose, when) in [
        (
            &ca,
            ca.leaf(|p| p.not_after = date_time_ymd(2020, 1, 1)),
            theirs,
            "expired at 2020-01-01T00:00:00.000Z (it is 20",
        ),
        (
            &ca,
            ca.leaf(|p| p.not_before = date_time_ymd(2090, 1, 1)),
            theirs,
            "is not valid before 2090-01-01T00:00:00.000Z (it is 20",
        ),
        (&old, old.leaf(|_| ()), anchor, "has expired"),
    ] {
        let honest = Ca::new().leaf(|_| ()).credential();
        let server = server_config(&honest, ca.anchors(), ALPN).unwrap();
        let ended = handshake(leaf.careless_client(), server, SERVER);
        let refused = refusal(&ended.server.unwrap_err());
        assert!(refused.reason.starts_with(&format!("{whose}{when}")), "{refused}");
        let told = refusal(&ended.client.unwrap_err());
        assert!(told.reason.ends_with("(TLS alert CertificateExpired)"), "{told}");
    }
}

fn named(name: &str, year: i32) -> Ca {
    Ca::with(|p| {
        p.distinguished_name.push(DnType::CommonName, name);
        p.not_after = date_time_ymd(year, 1, 1);
    })
}

/// What a server with these anchors says of the end of a handshake with this client.
fn said_of(leaf: &Leaf, anchors: &Arc<TrustAnchors>) -> String {
    let honest = Ca::new().leaf(|_| ()).credential();
    let server = server_config(&honest, Arc::clone(anchors), ALPN).unwrap();
    let ended = handshake(leaf.careless_client(), server, SERVER).server.unwrap_err();
    let said = handshake_refusal(&std::io::Error::other(ended), anchors, now());
    assert_eq!(said.code, RefusalCode::CertificateExpired, "{said}");
    assert_eq!(is_of_anchor(&said), said.reason.contains("anchor"), "{said}");
    said.reason
}

/// What carries it through rustls cannot tell which anchor it is; which of ours are out of date
/// is known.
#[test]
fn a_handshake_that_ends_with_an_anchor_of_ours_names_it() {
    let (old, older, good) = (named("Old", 2020), named("Older", 2019), named("Good", 2090));
    let leaf = old.leaf(|_| ());
    let theirs = "the trust anchor of ours that vouches for the peer's certificate";
    let one = said_of(&leaf, &anchors(&(old.0.pem() + &good.0.pem())));
    assert!(one.starts_with(&format!("{theirs}, ")), "{one}");
    assert!(one.contains("CN=Old, expired at 2020-01-01T00:00:00.000Z (it is 20"), "{one}");
    let some = said_of(&leaf, &anchors(&(old.0.pem() + &older.0.pem() + &good.0.pem())));
    assert!(some.starts_with(&format!("{theirs} has expired; it is one of ")), "{some}");
    for which in ["CN=Old (2020-01-01T", "CN=Older (2019-01-01T"] {
        assert!(some.contains(which), "{some}");
    }
    assert!(!some.contains("Good"), "{some}");
}

/// Whoever has been given a new intermediate may send the old one along.
#[test]
fn what_a_peer_sends_beside_its_path_is_not_to_blame() {
    let root = named("Root", 2020);
    let issuer = root.intermediate(|_| ());
    let expired = root.intermediate(|p| p.not_after = date_time_ymd(2015, 1, 1));
    let anchor = root.anchors();
    // Beside the path, and in its place by name only.
    for beside in [named("Somebody", 2015), expired] {
        let mut leaf = issuer.leaf(|_| ());
        leaf.chain.extend([beside.der(), issuer.der()]);
        let said = said_of(&leaf, &anchor);
        assert!(said.contains("CN=Root, expired at 2020-01-01"), "{said}");
        refused_by_verifier("beside", &anchor, &leaf, RefusalCode::CertificateExpired)
            .iter()
            .for_each(|said| assert!(said.contains("CN=Root expired at 2020"), "{said}"));
    }
    // The leaf is, where it has expired itself.
    let mut leaf = issuer.leaf(|p| p.not_after = date_time_ymd(2018, 1, 1));
    leaf.chain.extend([named("Somebody", 2015).der(), issuer.der()]);
    let said = said_of(&leaf, &anchor);
    assert!(said.contains("the peer's certificate") && said.contains("expired at 2018"), "{said}");
}

/// The verifier says `code` in both roles, and so does the end of a handshake.
pub(crate) fn check(case: &str, ca: &Ca, leaf: &Leaf, code: RefusalCode) {
    check_against(case, &ca.anchors(), leaf, code);
}

pub(crate) fn check_against(
    case: &str,
    anchors: &Arc<TrustAnchors>,
    leaf: &Leaf,
    code: RefusalCode,
) {
    refused_by_verifier(case, anchors, leaf, code);
    let honest = Ca::new().leaf(|_| ()).credential();
    let server = server_config(&honest, Arc::clone(anchors), ALPN).unwrap();
    let ended = handshake(leaf.careless_client(), server, SERVER);
    let refused = refusal(&ended.server.expect_err(case));
    assert_eq!(refused.code, code, "{case}, client in a handshake: {refused}");

    let client = client_config(&honest, Arc::clone(anchors), None, ALPN).unwrap();
    let ended = handshake(client, leaf.careless_server(), SERVER);
    let refused = refusal(&ended.client.expect_err(case));
    assert_eq!(refused.code, code, "{case}, server in a handshake: {refused}");
}

/// The verifier says `code` in both roles; its two reasons.
pub(crate) fn refused_by_verifier(
    case: &str,
    anchors: &Arc<TrustAnchors>,
    leaf: &Leaf,
    code: RefusalCode,
) -> [String; 2] {
    [Role::Client, Role::Server].map(|role| {
        let refused = PeerVerifier::new(Arc::clone(anchors), role)
            .verify(&leaf.chain, None, now())
            .expect_err(case);
        assert_eq!(refused.code, code, "{case}, {role:?}: {refused}");
        refused.reason
    })
}
