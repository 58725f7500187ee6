//! Our own authority: what it issues, read by OpenSSL and by us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealwire_identity::{
    CertificateAuthority, Credential, Error, IssuedLeaf, KeyAlgorithm, LeafRequest, PeerVerifier,
    Revocation, RevocationLists, Revocations, Revoked, Role, RootAuthority, TrustAnchors, describe,
};
use sealwire_names::{PeerId, RefusalCode, Timestamp};
use tempfile::TempDir;

use crate::support::{DAY, days_from_now, now, peer, run_in, trust_domain};

fn authority(dir: &Path) -> CertificateAuthority {
    CertificateAuthority::create(dir, &trust_domain(), 365 * DAY).unwrap()
}

fn request(uri: &str) -> LeafRequest {
    LeafRequest {
        id: peer(uri),
        dns: vec![],
        ip: vec![],
        validity: 90 * DAY,
        key_algorithm: KeyAlgorithm::default(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A root with pathLen 0 in `dir`, as they were made before there was an authority below them.
fn old_root(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "an old one");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![crate::support::uri("spiffe://test.example")];
    fs::write(dir.join("ca-cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.join("ca-key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(dir.join("ca-key.pem"), fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn its_files_have_their_modes_and_are_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca");
    authority(&ca);
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(mode(&ca.join("ca-key.pem")), 0o400);
    assert_eq!(mode(&ca.join("ca-cert.pem")), 0o644);
    assert_eq!(mode(&ca.join("issuing-key.pem")), 0o400);
    assert_eq!(mode(&ca.join("issuing-cert.pem")), 0o644);
    let before = fs::read(ca.join("ca-key.pem")).unwrap();
    let again = CertificateAuthority::create(&ca, &trust_domain(), 365 * DAY).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }));
    fs::remove_file(ca.join("ca-cert.pem")).unwrap();
    let again = CertificateAuthority::create(&ca, &trust_domain(), 365 * DAY).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }));
    assert_eq!(fs::read(ca.join("ca-key.pem")).unwrap(), before);
}

#[test]
fn its_certificate_is_as_rfc_5280_wants_it() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca");
    authority(&ca);
    let text = run_in(&ca, "openssl", &["x509", "-in", "ca-cert.pem", "-noout", "-text"], b"");
    let text = String::from_utf8(text).unwrap();
    for line in [
        "Version: 3 (0x2)",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:1",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
        "Subject: O = sealwire, CN = sealwire CA ",
        "X509v3 Subject Key Identifier",
        "URI:spiffe://test.example",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let text = run_in(&ca, "openssl", &["x509", "-in", "issuing-cert.pem", "-noout", "-text"], b"");
    let text = String::from_utf8(text).unwrap();
    for line in [
        "Version: 3 (0x2)",
        "Issuer: O = sealwire, CN = sealwire CA ",
        "Subject: O = sealwire, CN = sealwire issuing CA ",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
        "X509v3 Name Constraints: critical\n                Permitted:\n                  email:invalid\n",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "URI:spiffe://test.example",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    run_in(
        &ca,
        "openssl",
        &["verify", "-x509_strict", "-CAfile", "ca-cert.pem", "issuing-cert.pem"],
        b"",
    );
}

#[test]
fn openssl_accepts_what_it_issues_for_its_purpose_only() {
    let dir = TempDir::new().unwrap();
    let ca = authority(dir.path().join("ca").as_path());
    for (kind, purpose, other) in [
        ("mcp-server", "sslserver", "sslclient"),
        ("core", "sslclient", "sslserver"),
        ("agent", "sslclient", "sslserver"),
        ("user", "sslclient", "sslserver"),
    ] {
        for key_algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
            let mut request = request(&format!("spiffe://test.example/{kind}/one"));
            request.dns = vec!["one".into(), "localhost".into()];
            request.ip = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
            request.key_algorithm = key_algorithm;
            let leaf = ca.issue(&request).unwrap();
            let name = format!("{kind}-{key_algorithm:?}.pem");
            fs::write(dir.path().join(&name), &leaf.cert_pem).unwrap();
            let verify = |purpose| {
                let arguments = [
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    purpose,
                    "-CAfile",
                    "ca/ca-cert.pem",
                    "-untrusted",
                    &name,
                    &name,
                ];
                std::process::Command::new("openssl")
                    .args(arguments)
                    .current_dir(dir.path())
                    .output()
                    .unwrap()
            };
            let good = verify(purpose);
            assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
            assert!(!verify(other).status.success(), "{kind} is good for {other} too");
            // OpenSSL reads the key as well.
            run_in(dir.path(), "openssl", &["pkey", "-noout"], leaf.key_pem.as_bytes());
        }
    }
}

#[test]
fn a_leaf_says_exactly_what_was_asked() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let mut request = request("spiffe://test.example/mcp-server/github");
    request.dns = vec!["github".into(), "localhost".into()];
    request.ip = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let leaf = ca.issue(&request).unwrap();
    let [summary, issuing] =
        <[_; 2]>::try_from(describe(leaf.cert_pem.as_bytes(), "leaf").unwrap()).unwrap();
    assert!(issuing.is_ca && summary.issuer == issuing.subject, "{summary:?}");
    assert_eq!(summary.subject, "CN=github");
    assert_eq!(summary.uris, ["spiffe://test.example/mcp-server/github"]);
    assert_eq!(summary.dns, request.dns);
    assert_eq!(summary.ip, request.ip);
    assert_eq!(summary.usages, ["digitalSignature", "serverAuth"]);
    assert_eq!(summary.key_algorithm, "ECDSA-P256");
    assert!(!summary.is_ca);
    assert_eq!(summary.serial.len(), 32);
    assert_eq!(summary.not_after, leaf.not_after);
    assert!(summary.not_before < now() && now() < summary.not_after);
    let validity = summary.not_before.until(summary.not_after).unwrap();
    assert_eq!(validity, 90 * DAY + Duration::from_secs(300));
    let another = describe(ca.issue(&request).unwrap().cert_pem.as_bytes(), "leaf").unwrap();
    assert_ne!(another[0].serial, summary.serial);
}

#[test]
fn what_it_issues_loads_and_verifies_by_default_rules() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let reloaded = CertificateAuthority::load(&dir.path().join("ca"), &trust_domain()).unwrap();
    let anchors =
        Arc::new(TrustAnchors::load(&dir.path().join("ca/ca-cert.pem"), trust_domain()).unwrap());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    reloaded
        .issue(&request("spiffe://test.example/core/core"))
        .unwrap()
        .write(&cert, &key)
        .unwrap();
    assert_eq!((mode(&key), mode(&cert)), (0o600, 0o644));
    let credential = Credential::load(&cert, &key).unwrap();
    assert_eq!(*credential.id(), peer("spiffe://test.example/core/core"));
    let verifier = PeerVerifier::new(Arc::clone(&anchors), Role::Client);
    verifier.verify(credential.chain(), Some(credential.id()), now()).unwrap();
    let late = verifier.verify(credential.chain(), None, days_from_now(91)).unwrap_err();
    assert_eq!(late.code, RefusalCode::CertificateExpired);
    let second = ca.issue(&request("spiffe://test.example/core/core")).unwrap();
    assert!(matches!(second.write(&cert, &dir.path().join("new")), Err(Error::Exists { .. })));
    assert!(!dir.path().join("new").exists(), "half a pair was written");
}

#[test]
fn two_of_our_authorities_do_not_know_each_other() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (authority(&dir.path().join("a")), authority(&dir.path().join("b")));
    let anchors =
        TrustAnchors::from_pem(ours.certificate_pem().as_bytes(), trust_domain(), "ours").unwrap();
    let leaf = theirs.issue(&request("spiffe://test.example/core/core")).unwrap();
    let credential =
        Credential::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), "leaf").unwrap();
    let verifier = PeerVerifier::new(Arc::new(anchors), Role::Client);
    let refused = verifier.verify(credential.chain(), None, now()).unwrap_err();
    assert_eq!(refused.code, RefusalCode::UnknownIssuer);
}

#[test]
fn requests_beyond_the_rules_are_refused() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let long = format!("spiffe://test.example/core/{}", "a".repeat(65));
    let mut cases: Vec<LeafRequest> =
        vec![request("spiffe://other.example/core/core"), request(&long)];
    for change in [
        (|r| r.validity = Duration::ZERO) as fn(&mut LeafRequest),
        |r| r.validity = Duration::MAX,
        |r| r.dns = vec!["not a name".into()],
        |r| r.dns = vec!["nämé".into()],
    ] {
        let mut request = request("spiffe://test.example/core/core");
        change(&mut request);
        cases.push(request);
    }
    for request in cases {
        let error = ca.issue(&request).unwrap_err();
        assert!(matches!(error, Error::Request { .. }), "{request:?}: {error}");
    }
}

#[test]
fn no_leaf_outlives_its_authority() {
    let dir = TempDir::new().unwrap();
    let ca =
        CertificateAuthority::create(&dir.path().join("ca"), &trust_domain(), 30 * DAY).unwrap();
    let leaf = ca.issue(&request("spiffe://test.example/core/core")).unwrap();
    assert_eq!(leaf.not_after, ca.not_after());
}

#[test]
fn a_foreign_or_careless_authority_directory_is_refused() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    authority(&a);
    authority(&b);
    let other: PeerId = peer("spiffe://other.example/core/core");
    let refused = CertificateAuthority::load(&a, other.trust_domain()).unwrap_err();
    assert!(
        matches!(&refused, Error::Certificate { refusal, .. } if refusal.code == RefusalCode::TrustDomain),
        "{refused}"
    );
    let load = || CertificateAuthority::load(&a, &trust_domain());
    let key = a.join("issuing-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load().unwrap_err().remedy(), format!("run: chmod 400 {}", key.display()));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    let own = fs::read(a.join("issuing-cert.pem")).unwrap();
    fs::copy(b.join("issuing-cert.pem"), a.join("issuing-cert.pem")).unwrap();
    let refused = load().unwrap_err();
    assert!(matches!(refused, Error::KeyMismatch { .. }), "{refused}");
    fs::write(a.join("issuing-cert.pem"), own).unwrap();
    let root = || RootAuthority::load(&a, &trust_domain());
    root().unwrap();
    fs::copy(b.join("ca-cert.pem"), a.join("ca-cert.pem")).unwrap();
    let refused = load().unwrap_err();
    assert!(
        matches!(&refused, Error::Certificate { refusal, .. } if refusal.code == RefusalCode::UnknownIssuer),
        "{refused}"
    );
    let refused = root().unwrap_err();
    assert!(matches!(refused, Error::KeyMismatch { .. }), "{refused}");
}

/// By those who go by lists, and by those who are told.
#[test]
fn an_authority_whose_key_was_replaced_is_revoked_with_all_that_it_has_issued() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca");
    let before = authority(&ca);
    let leaf = |authority: &CertificateAuthority| {
        let leaf = authority.issue(&request("spiffe://test.example/core/a")).unwrap();
        Credential::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), "it").unwrap()
    };
    let crl = ca.join("ca-crl.pem");
    before.write_revocation_list(&crl, &[], now(), DAY).unwrap();
    let root = RootAuthority::load(&ca, &trust_domain()).unwrap();
    // With the same key, everything stays as it is.
    let renewed = root.renew_issuing(400 * DAY).unwrap();
    assert!(renewed.revoked.is_empty());
    let same = CertificateAuthority::load(&ca, &trust_domain()).unwrap();
    assert_eq!(same.key_hash(), before.key_hash());
    let (one, two) = (leaf(&before), leaf(&same));
    assert_ne!(one.chain()[1], two.chain()[1]);
    // What ended before it was in its place changes nothing, and is revoked with the others.
    drop(root.replace_issuing(400 * DAY).unwrap());
    leaf(&CertificateAuthority::load(&ca, &trust_domain()).unwrap());
    let replacement = root.replace_issuing(400 * DAY).unwrap();
    assert_eq!(replacement.revoked().len(), 3);
    let replaced = replacement.put_in_place().unwrap();
    assert_eq!(replaced.revoked.len(), 3, "each certificate but that of the new key");
    let after = CertificateAuthority::load(&ca, &trust_domain()).unwrap();
    after.write_revocation_list(&crl, &[], now(), DAY).unwrap();
    let three = leaf(&after);

    let cert = ca.join("ca-cert.pem");
    let anchors = Arc::new(TrustAnchors::load(&cert, trust_domain()).unwrap());
    let told = Revocations::new(replaced.revoked.iter().map(|summary| Revocation {
        what: Revoked::certificate(summary),
        at: now(),
        reason: "stolen".to_owned(),
    }));
    let lists = RevocationLists::load(&[&crl], &[&cert], now()).unwrap();
    let listed = Revocations::default().with_lists(lists);
    let late = Timestamp::from_unix_millis(now().unix_millis() + 401 * 86_400_000);
    // Whoever gives his word is believed while it is known that he may be.
    for revocations in [&told, &listed] {
        let refused = revocations.check_authority(&before.chain()[0], now()).unwrap_err();
        assert_eq!(refused.code, RefusalCode::CertificateRevoked);
    }
    listed.check_authority(&after.chain()[0], now()).unwrap();
    let refused = listed.check_authority(&after.chain()[0], late).unwrap_err();
    assert_eq!(refused.code, RefusalCode::RevocationUnknown);
    // Whoever keeps new lists from us does not bring a revoked service back by that.
    let load_late = |file: &Path| RevocationLists::load_late(&[file], &[&cert], late).unwrap();
    let known = Revocations::default().with_lists(load_late(&crl));
    assert!(RevocationLists::load(&[&crl], &[&cert], late).is_err());
    known.check_service(one.chain()).unwrap_err();
    known.check_service(three.chain()).unwrap();
    assert_eq!(load_late(&dir.path().join("none")).iter().count(), 0);
    let verifier = PeerVerifier::new(anchors, Role::Client);
    for (credential, is_revoked) in [(one, true), (two, true), (three, false)] {
        let peer = verifier.verify(credential.chain(), None, now()).unwrap();
        for revocations in [&told, &listed] {
            let checks = [
                revocations.check_peer(&peer, now()),
                revocations.check_own(&credential),
                revocations.check_service(credential.chain()),
            ];
            for checked in checks {
                let code = checked.err().map(|refusal| refusal.code);
                assert_eq!(code, is_revoked.then_some(RefusalCode::CertificateRevoked));
            }
        }
    }
}

/// A root that was made when there was none below it.
#[test]
fn a_root_that_may_certify_leaves_alone_certifies_no_authority() {
    let dir = TempDir::new().unwrap();
    old_root(dir.path());
    let root = RootAuthority::load(dir.path(), &trust_domain()).unwrap();
    let refused = root.renew_issuing(DAY).unwrap_err();
    assert!(refused.to_string().contains("pathLen 0"), "{refused}");
    // It issues itself.
    let authority = CertificateAuthority::load(dir.path(), &trust_domain()).unwrap();
    assert!(!authority.is_below_root());
    let leaf = authority.issue(&request("spiffe://test.example/core/a")).unwrap();
    assert_eq!(describe(leaf.cert_pem.as_bytes(), "it").unwrap().len(), 1);
    // The one that takes its place has one below it.
    CertificateAuthority::prepare_next(dir.path(), &trust_domain(), 365 * DAY).unwrap();
    assert!(!CertificateAuthority::load(dir.path(), &trust_domain()).unwrap().is_below_root());
    CertificateAuthority::activate_next(dir.path()).unwrap();
    assert!(CertificateAuthority::load(dir.path(), &trust_domain()).unwrap().is_below_root());
}

/// Nothing that is issued to a revoked name is revoked already, although it is dated back.
#[test]
fn what_is_issued_after_a_revocation_is_not_revoked() {
    let dir = TempDir::new().unwrap();
    let ca = authority(&dir.path().join("ca"));
    let request = request("spiffe://test.example/core/core");
    let at = now();
    let (name, reason) = (Revoked::Name(request.id.clone()), "test".to_owned());
    let all = Revocations::new([Revocation { what: name, at, reason }]);
    let check = |leaf: IssuedLeaf| {
        let credential =
            Credential::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), "");
        all.check_own(&credential.unwrap())
    };
    assert!(check(ca.issue(&request).unwrap()).is_err(), "as if it had been issued before");
    assert_eq!(check(ca.issue_after(&request, all.of_name(&request.id)).unwrap()), Ok(()));
    // Where it was long ago, nothing changes.
    let long_ago = Timestamp::from_unix_millis(at.unix_millis() - 3_600_000);
    let leaf = ca.issue_after(&request, Some(long_ago)).unwrap();
    assert!(check(leaf).is_err());
}

#[test]
fn another_authority_is_trusted_before_it_issues_and_the_old_one_afterwards() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca");
    let old = authority(&ca);
    let prepare = || CertificateAuthority::prepare_next(&ca, &trust_domain(), 365 * DAY).unwrap();
    assert!(CertificateAuthority::next(&ca).unwrap().is_none());
    assert!(CertificateAuthority::activate_next(&ca).is_err());
    // Interrupted before it was trusted: it is begun anew, and nothing comes of the first one.
    let trusted = fs::read(ca.join("ca-cert.pem")).unwrap();
    assert!(prepare());
    fs::write(ca.join("ca-cert.pem"), trusted).unwrap();
    assert!(CertificateAuthority::next(&ca).unwrap().is_none());
    old.write_revocation_list(&ca.join("ca-crl.pem"), &[], now(), DAY).unwrap();
    assert!(prepare());
    assert!(!prepare(), "a second one");
    assert_eq!(mode(&ca.join("next-key.pem")), 0o400);
    let next = CertificateAuthority::next(&ca).unwrap().unwrap();
    // Both are trusted; it is the old one that issues.
    let issue = || {
        let authority = CertificateAuthority::load(&ca, &trust_domain()).unwrap();
        let leaf = authority.issue(&request("spiffe://test.example/core/a")).unwrap();
        let anchors = TrustAnchors::load(&ca.join("ca-cert.pem"), trust_domain()).unwrap();
        let credential =
            Credential::from_pem(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes(), "it").unwrap();
        let verifier = PeerVerifier::new(Arc::new(anchors), Role::Client);
        verifier.verify(credential.chain(), None, now()).unwrap();
        (authority.key_hash(), credential)
    };
    let (by, before) = issue();
    assert_eq!(by, old.key_hash());
    // Interrupted between the two keys.
    fs::rename(ca.join("next-issuing-key.pem"), ca.join("issuing-key.pem")).unwrap();
    assert_eq!(issue().0, next.key_hash);
    CertificateAuthority::activate_next(&ca).unwrap();
    assert_eq!(mode(&ca.join("ca-key.pem")), 0o400);
    assert_eq!(mode(&ca.join("issuing-key.pem")), 0o400);
    assert!(CertificateAuthority::next(&ca).unwrap().is_none());
    let (by, _) = issue();
    assert_eq!(by, next.key_hash);
    let anchors = TrustAnchors::load(&ca.join("ca-cert.pem"), trust_domain()).unwrap();
    let verifier = PeerVerifier::new(Arc::new(anchors), Role::Client);
    verifier.verify(before.chain(), None, now()).unwrap();
}

/// What the root has revoked is not forgotten because its list was damaged.
#[test]
fn a_damaged_list_of_the_root_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca");
    let issuing = authority(&ca);
    let (list, crl) = (ca.join("root-crl.pem"), ca.join("ca-crl.pem"));
    let whole = fs::read(&list).unwrap();
    let (label, mut der) = pem_rfc7468::decode_vec(&whole).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let ending = pem_rfc7468::LineEnding::LF;
    let damaged = pem_rfc7468::encode_string(label, ending, &der).unwrap();
    fs::write(&list, &damaged).unwrap();
    let root = RootAuthority::load(&ca, &trust_domain()).unwrap();
    let before = fs::read(ca.join("issuing-key.pem")).unwrap();
    for refused in [
        root.replace_issuing(DAY).unwrap().put_in_place().unwrap_err(),
        issuing.write_revocation_list(&crl, &[], now(), DAY).unwrap_err(),
    ] {
        assert!(refused.to_string().contains("root-crl.pem"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&list).unwrap(), damaged);
    assert_eq!(fs::read(ca.join("issuing-key.pem")).unwrap(), before);
    // That of a root that is trusted no more is nobody's word.
    let other = dir.path().join("other");
    authority(&other);
    fs::copy(other.join("root-crl.pem"), &list).unwrap();
    issuing.write_revocation_list(&crl, &[], now(), DAY).unwrap();
}
