//! Every rule about a certificate, broken one at a time, in both roles: asked of the
//! verifier itself, and met in a TLS handshake.

use rcgen::{CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose as Eku};
use rcgen::{IsCa, KeyUsagePurpose, date_time_ymd};
use sealwire_identity::{PeerVerifier, Role, TrustAnchors, client_config, refusal, server_config};
use sealwire_names::RefusalCode;
use std::sync::Arc;

use crate::support::{ALPN, Ca, Leaf, SERVER, URI, handshake, now, peer, uri};

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
fn each_broken_rule_has_its_code() {
    type Change = fn(&mut CertificateParams);
    let cases: &[(&str, RefusalCode, Change)] = &[
        ("expired", RefusalCode::CertificateExpired, |p| p.not_after = date_time_ymd(2020, 1, 1)),
        ("not yet valid", RefusalCode::CertificateNotYetValid, |p| {
            p.not_before = date_time_ymd(2090, 1, 1);
        }),
        ("validity ends before it begins", RefusalCode::CertificateMalformed, |p| {
            p.not_before = date_time_ymd(2090, 1, 1);
            p.not_after = date_time_ymd(2080, 1, 1);
        }),
        ("no SAN", RefusalCode::SanMissing, |p| p.subject_alt_names.clear()),
        ("DNS SAN only", RefusalCode::SanMissing, |p| {
            p.subject_alt_names = vec![rcgen::SanType::DnsName(SERVER.try_into().unwrap())];
        }),
        ("two URI SANs", RefusalCode::SanMultiple, |p| {
            p.subject_alt_names.push(uri("spiffe://test.example/core/core"));
        }),
        ("a second URI SAN that is no SPIFFE ID", RefusalCode::SanMultiple, |p| {
            p.subject_alt_names.push(uri("https://test.example"));
        }),
        ("another scheme", RefusalCode::SpiffeSyntax, |p| {
            p.subject_alt_names = vec![uri("https://test.example/mcp-server/github")];
        }),
        ("upper case in the trust domain", RefusalCode::SpiffeSyntax, |p| {
            p.subject_alt_names = vec![uri("spiffe://Test.example/mcp-server/github")];
        }),
        ("unknown kind", RefusalCode::SpiffeSyntax, |p| {
            p.subject_alt_names = vec![uri("spiffe://test.example/robot/github")];
        }),
        ("a path that climbs", RefusalCode::SpiffeSyntax, |p| {
            p.subject_alt_names = vec![uri("spiffe://test.example/mcp-server/..")];
        }),
        ("another trust domain", RefusalCode::TrustDomain, |p| {
            p.subject_alt_names = vec![uri("spiffe://other.example/mcp-server/github")];
        }),
        ("CA as leaf", RefusalCode::CaAsLeaf, |p| {
            p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }),
        ("leaf that may sign certificates", RefusalCode::CaAsLeaf, |p| {
            p.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }),
        ("keyUsage without digitalSignature", RefusalCode::KeyUsage, |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        }),
        ("no extendedKeyUsage", RefusalCode::KeyUsage, |p| p.extended_key_usages.clear()),
        ("another purpose", RefusalCode::KeyUsage, |p| {
            p.extended_key_usages = vec![Eku::CodeSigning];
        }),
        ("anyExtendedKeyUsage", RefusalCode::KeyUsage, |p| {
            p.extended_key_usages = vec![Eku::Any];
        }),
        ("unknown critical extension", RefusalCode::CertificatePath, |p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions.push(extension);
        }),
        ("an extension twice", RefusalCode::CertificateMalformed, |p| {
            p.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]));
            p.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]));
        }),
        // GeneralNames { [6] "\xff" }: a URI that is no text must not go uncounted.
        ("a SAN that cannot be decoded", RefusalCode::CertificateMalformed, |p| {
            p.subject_alt_names.clear();
            let mut names = vec![0x30, 3 + 2 + URI.len() as u8, 0x86, URI.len() as u8];
            names.extend_from_slice(URI.as_bytes());
            names.extend_from_slice(&[0x86, 1, 0xff]);
            p.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], names));
        }),
    ];
    let ca = Ca::new();
    for (case, code, change) in cases {
        check(case, &ca, &ca.leaf(change), *code);
    }
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
fn an_issuer_that_is_no_anchor_is_unknown() {
    let ca = Ca::new();
    let other = Ca::with(|p| {
        p.distinguished_name.push(DnType::OrganizationName, "Someone Else");
    });
    check("another authority", &ca, &other.leaf(|_| ()), RefusalCode::UnknownIssuer);
}

#[test]
fn an_issuer_with_an_anchors_name_and_another_key_is_a_broken_signature() {
    let (ca, impostor) = (Ca::new(), Ca::new());
    check("impostor", &ca, &impostor.leaf(|_| ()), RefusalCode::CertificateSignature);
}

#[test]
fn bytes_that_are_no_certificate_are_malformed() {
    let ca = Ca::new();
    let mut leaf = ca.leaf(|_| ());
    leaf.chain = vec![vec![0x30, 0x82, 0x01].into()];
    check("garbage", &ca, &leaf, RefusalCode::CertificateMalformed);
    let mut leaf = ca.leaf(|_| ());
    let longer = [leaf.chain[0].as_ref(), b"\0"].concat();
    leaf.chain = vec![longer.into()];
    check("trailing byte", &ca, &leaf, RefusalCode::CertificateMalformed);
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
    for role in [Role::Client, Role::Server] {
        let refused = PeerVerifier::new(Arc::clone(anchors), role)
            .verify(&leaf.chain, None, now())
            .expect_err(case);
        assert_eq!(refused.code, code, "{case}, {role:?}: {refused}");
    }
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
