//! The path above the leaf: intermediates and anchors.

use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use sealwire_identity::{PeerVerifier, Role};
use sealwire_names::{RefusalCode, Timestamp};

use crate::refused::{check, check_against};
use crate::support::{Ca, anchors, ca_params, now};

#[test]
fn an_intermediate_carries_the_anchors_trust() {
    let root = Ca::new();
    let intermediate = root.intermediate(|_| ());
    let leaf = intermediate.leaf(|_| ()).with_issuer(&intermediate);
    for role in [Role::Client, Role::Server] {
        PeerVerifier::new(root.anchors(), role).verify(&leaf.chain, None, now()).unwrap();
    }
    check("intermediate not sent", &root, &intermediate.leaf(|_| ()), RefusalCode::UnknownIssuer);
}

#[test]
fn an_anchors_path_len_of_1_allows_one_authority_below_it() {
    let root = Ca::with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    let intermediate = root.intermediate(|_| ());
    let leaf = intermediate.leaf(|_| ()).with_issuer(&intermediate);
    PeerVerifier::new(root.anchors(), Role::Client).verify(&leaf.chain, None, now()).unwrap();
}

#[test]
fn an_expired_anchor_beside_a_valid_one_does_no_harm() {
    let (expired, valid) = (
        Ca::with(|p| p.not_after = date_time_ymd(2020, 1, 1)),
        Ca::with(|p| {
            p.distinguished_name.push(rcgen::DnType::OrganizationName, "Second");
        }),
    );
    let both = anchors(&(expired.0.pem() + &valid.0.pem()));
    PeerVerifier::new(both.clone(), Role::Client)
        .verify(&valid.leaf(|_| ()).chain, None, now())
        .unwrap();
    check_against("expired of two", &both, &expired.leaf(|_| ()), RefusalCode::CertificateExpired);
}

#[test]
fn a_renewed_anchor_is_found_behind_the_expired_one_of_the_same_key() {
    let old = Ca::with(|p| p.not_after = date_time_ymd(2020, 1, 1));
    let renewed = ca_params().self_signed(old.0.key()).unwrap();
    let both = anchors(&(old.0.pem() + &renewed.pem()));
    let leaf = old.leaf(|_| ());
    PeerVerifier::new(both, Role::Client).verify(&leaf.chain, None, now()).unwrap();
}

#[test]
fn an_expired_anchor_does_not_hide_a_path_to_a_valid_one() {
    let old = Ca::with(|p| {
        p.distinguished_name.push(rcgen::DnType::CommonName, "Old");
        p.not_after = date_time_ymd(2020, 1, 1);
    });
    let root = Ca::new();
    let mut params = ca_params();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Old");
    let cross = params.signed_by(old.0.key(), &root.0).unwrap();
    let mut leaf = old.leaf(|_| ());
    leaf.chain.push(cross.der().clone());
    let both = anchors(&(old.0.pem() + &root.0.pem()));
    PeerVerifier::new(both, Role::Server).verify(&leaf.chain, None, now()).unwrap();
}

#[test]
fn not_after_is_the_earliest_of_the_chain() {
    let date = |year| Timestamp::from_unix_seconds(date_time_ymd(year, 1, 1).unix_timestamp());
    for (root, intermediate, leaf, earliest) in
        [(2070, 2080, 2090, 2070), (2090, 2070, 2080, 2070), (2090, 2080, 2070, 2070)]
    {
        let root = Ca::with(|p| p.not_after = date_time_ymd(root, 1, 1));
        let intermediate = root.intermediate(|p| p.not_after = date_time_ymd(intermediate, 1, 1));
        let leaf = intermediate
            .leaf(|p| p.not_after = date_time_ymd(leaf, 1, 1))
            .with_issuer(&intermediate);
        let verifier = PeerVerifier::new(root.anchors(), Role::Server);
        let verified = verifier.verify(&leaf.chain, None, now()).unwrap();
        assert_eq!(verified.not_after, date(earliest));
        let late = verifier.verify(&leaf.chain, None, date(2071)).unwrap_err();
        assert_eq!(late.code, RefusalCode::CertificateExpired);
    }
}
