//! Revocation lists: which are gone by, and what follows from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, IsCa, KeyIdMethod, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use sealwire_identity::{
    CertificateAuthority, KeyAlgorithm, LeafRequest, PeerVerifier, RevocationList, RevocationLists,
    Revocations, Role, TrustAnchors, VerifiedPeer, describe,
};
use sealwire_names::{Refusal, RefusalCode, Timestamp};
use tempfile::TempDir;

use crate::der::Der;
use crate::support::{Ca, DAY, Leaf, URI, days_from_now, now, run_in, trust_domain};

/// An authority that may sign lists.
fn authority() -> Ca {
    Ca::with(|p| p.key_usages.push(KeyUsagePurpose::CrlSign))
}

fn serial(leaf: &Leaf) -> SerialNumber {
    let summary = describe(&leaf.chain[0], "leaf").unwrap().remove(0);
    let digit = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = summary.serial.as_bytes().chunks(2).map(digit).collect();
    SerialNumber::from(bytes)
}

fn params(number: u64, revoked: &[&Leaf]) -> CertificateRevocationListParams {
    let entry = |leaf: &&Leaf| RevokedCertParams {
        serial_number: serial(leaf),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// Lists and the certificates of their issuers, in files.
struct Files {
    dir: TempDir,
    lists: Vec<PathBuf>,
}

impl Files {
    fn new(lists: &[String], issuers: &[&Ca]) -> Self {
        let dir = TempDir::new().unwrap();
        let issuers: String = issuers.iter().map(|ca| ca.0.pem()).collect();
        fs::write(dir.path().join("issuers.pem"), issuers).unwrap();
        let file = |(number, list): (usize, &String)| {
            let file = dir.path().join(format!("{number}.pem"));
            fs::write(&file, list).unwrap();
            file
        };
        let lists = lists.iter().enumerate().map(file).collect();
        Self { dir, lists }
    }

    fn load(&self) -> Result<RevocationLists, sealwire_identity::Error> {
        let lists: Vec<&Path> = self.lists.iter().map(PathBuf::as_path).collect();
        RevocationLists::load(&lists, &[&self.dir.path().join("issuers.pem")], now())
    }
}

fn signed(ca: &Ca, params: &CertificateRevocationListParams) -> String {
    params.signed_by(&ca.0).unwrap().pem().unwrap()
}

fn lists(files: &[String], issuers: &[&Ca]) -> RevocationLists {
    Files::new(files, issuers).load().unwrap()
}

/// Why they cannot be gone by.
fn refused(files: &[String], issuers: &[&Ca]) -> String {
    Files::new(files, issuers).load().unwrap_err().to_string()
}

fn verified(ca: &Ca, leaf: &Leaf) -> VerifiedPeer {
    PeerVerifier::new(ca.anchors(), Role::Client).verify(&leaf.chain, None, now()).unwrap()
}

fn check(lists: &RevocationLists, peer: &VerifiedPeer, at: Timestamp) -> Result<(), Refusal> {
    Revocations::default().with_lists(lists.clone()).check_peer(peer, at)
}

fn code(checked: Result<(), Refusal>) -> RefusalCode {
    checked.unwrap_err().code
}

#[test]
fn what_is_in_a_list_is_revoked_and_nothing_else() {
    let ca = authority();
    let (bad, good) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
    let lists = lists(&[signed(&ca, &params(1, &[&bad]))], &[&ca]);
    let refusal = check(&lists, &verified(&ca, &bad), now()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::CertificateRevoked);
    for word in ["2024-01-01", "Key", "O=Test Authority"] {
        assert!(refusal.reason.contains(word), "{refusal}");
    }
    assert_eq!(check(&lists, &verified(&ca, &good), now()), Ok(()));
    let own = |leaf: &Leaf| {
        Revocations::default().with_lists(lists.clone()).check_own(&leaf.credential())
    };
    assert_eq!(code(own(&bad)), RefusalCode::CertificateRevoked);
    assert_eq!(own(&good), Ok(()));
}

#[test]
fn a_list_that_is_out_of_date_lets_nobody_in() {
    let ca = authority();
    let leaf = ca.leaf(|_| ());
    let peer = verified(&ca, &leaf);
    let mut old = params(1, &[]);
    old.next_update = date_time_ymd(2025, 1, 1);
    let why = refused(&[signed(&ca, &old)], &[&ca]);
    assert!(why.contains("out of date") && why.contains("2025-01-01"), "{why}");
    let lists = lists(&[signed(&ca, &params(1, &[]))], &[&ca]);
    let end = Timestamp::from_unix_seconds(date_time_ymd(2090, 1, 1).unix_timestamp());
    assert_eq!(lists.valid_until(), Some(end));
    assert_eq!(Revocations::default().with_lists(lists.clone()).valid_until(), end);
    assert_eq!(check(&lists, &peer, end), Ok(()));
    let late = Timestamp::from_unix_millis(end.unix_millis() + 1);
    assert_eq!(code(check(&lists, &peer, late)), RefusalCode::RevocationUnknown);
    assert_eq!(check(&RevocationLists::default(), &peer, late), Ok(()), "none is gone by");
}

#[test]
fn every_authority_of_a_chain_needs_its_list() {
    let root = authority();
    let issuer = root.intermediate(|p| p.key_usages.push(KeyUsagePurpose::CrlSign));
    let leaf = issuer.leaf(|_| ()).with_issuer(&issuer);
    let peer = verified(&root, &leaf);
    let of_root = signed(&root, &params(1, &[]));
    let of_issuer = signed(&issuer, &params(1, &[]));
    let issuers = [&root, &issuer];
    for one in [&of_root, &of_issuer] {
        let lists = lists(std::slice::from_ref(one), &issuers);
        assert_eq!(code(check(&lists, &peer, now())), RefusalCode::RevocationUnknown);
    }
    let both = lists(&[of_root.clone(), of_issuer.clone()], &issuers);
    assert_eq!(check(&both, &peer, now()), Ok(()));
    assert_eq!(both, lists(&[of_root + &of_issuer], &issuers), "in one file");
    // The authority itself is revoked, and all that it has issued with it.
    let gone = Leaf { chain: vec![issuer.der()], key_pem: String::new() };
    let all = [signed(&root, &params(2, &[&gone])), signed(&issuer, &params(1, &[]))];
    assert_eq!(code(check(&lists(&all, &issuers), &peer, now())), RefusalCode::CertificateRevoked);
}

#[test]
fn only_lists_of_known_authorities_count() {
    let (ca, impostor) = (authority(), authority());
    let other = Ca::with(|p| {
        p.key_usages.push(KeyUsagePurpose::CrlSign);
        p.distinguished_name.push(DnType::OrganizationName, "Someone Else");
    });
    let why = refused(&[signed(&other, &params(1, &[]))], &[&ca]);
    assert!(why.contains("none of the authorities"), "{why}");
    let why = refused(&[signed(&impostor, &params(1, &[]))], &[&ca]);
    assert!(why.contains("not by the key"), "{why}");
    // Whoever may not sign lists has signed one all the same: webpki alone would take it.
    let usages = |p: &mut rcgen::CertificateParams| {
        p.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    let barred = rcgen::Certificate::clone(&{
        let mut params = crate::support::ca_params();
        usages(&mut params);
        params.self_signed(ca.0.key()).unwrap()
    });
    let files = Files::new(&[signed(&ca, &params(1, &[]))], &[]);
    fs::write(files.dir.path().join("issuers.pem"), barred.pem()).unwrap();
    let why = files.load().unwrap_err().to_string();
    assert!(why.contains("cRLSign"), "{why}");
    // A leaf is no authority.
    let leaf = ca.leaf(|p| {
        p.is_ca = IsCa::ExplicitNoCa;
        p.distinguished_name.push(DnType::OrganizationName, "Test Authority");
    });
    fs::write(files.dir.path().join("issuers.pem"), leaf.pem()).unwrap();
    assert!(files.load().is_err());
}

#[test]
fn what_is_no_whole_list_is_refused() {
    let ca = authority();
    let der = params(1, &[&ca.leaf(|_| ())]).signed_by(&ca.0).unwrap().der().to_vec();
    let pem = |der: &[u8]| pem_of(der);
    let edited = |edit: &dyn Fn(&mut Der)| pem(&ca.signed_again(&der, |tbs| edit(tbs)));
    // version, algorithm, issuer, thisUpdate, nextUpdate, entries, extensions.
    for (case, list, words) in [
        ("nothing", String::new(), "no X509 CRL"),
        ("a certificate", ca.0.pem(), "no X509 CRL"),
        ("damaged", pem(&der).replace("MII", "???"), "damaged"),
        ("a byte behind it", pem(&[der.as_slice(), &[0]].concat()), "behind its end"),
        ("half of it", pem(&der[..der.len() / 2]), "cannot be parsed"),
        ("version 1", edited(&|tbs| drop(tbs.list().remove(0))), "version 2"),
        ("no next one", edited(&|tbs| drop(tbs.list().remove(4))), "nextUpdate"),
        ("no number", edited(&|tbs| drop(tbs.at(6).at(0).list().pop())), "no number"),
        (
            "another algorithm within",
            edited(&|tbs| {
                *tbs.at(1).at(0).value().last_mut().unwrap() = 3;
            }),
            "two algorithms",
        ),
        // deltaCRLIndicator (RFC 5280 §5.2.4).
        (
            "a part of a list",
            edited(&|tbs| {
                let number = Der::bytes(2, &[1]);
                let it = crate::der::new_extension(27, true, &number);
                tbs.at(6).at(0).list().push(it);
            }),
            "critical extension",
        ),
        (
            "changed",
            {
                let mut parsed = Der::parse(&der);
                parsed.at(0).at(5).list().clear();
                pem(&parsed.encode())
            },
            "not by the key",
        ),
    ] {
        let why = refused(&[list], &[&ca]);
        assert!(why.contains(words), "{case}: {why}");
    }
    let mut early = params(1, &[]);
    early.this_update = date_time_ymd(2080, 1, 1);
    assert!(refused(&[signed(&ca, &early)], &[&ca]).contains("in the future"));
    // DER will do as well.
    let files = Files::new(&[String::new()], &[&ca]);
    fs::write(&files.lists[0], &der).unwrap();
    assert_eq!(files.load().unwrap().iter().map(RevocationList::len).sum::<usize>(), 1);
}

fn pem_of(der: &[u8]) -> String {
    sealwire_identity::encode_pem("X509 CRL", der).unwrap().to_string()
}

#[test]
fn numbers_only_grow() {
    let ca = authority();
    let bad = ca.leaf(|_| ());
    let older = lists(&[signed(&ca, &params(255, &[]))], &[&ca]);
    let newer = lists(&[signed(&ca, &params(256, &[&bad]))], &[&ca]);
    assert_eq!(newer.check_follows(&older), Ok(()));
    assert_eq!(newer.check_follows(&newer), Ok(()));
    let why = older.check_follows(&newer).unwrap_err();
    assert!(why.contains("ff") && why.contains("100"), "{why}");
    // Of several in files the latest counts, in whatever order.
    let both = [signed(&ca, &params(256, &[&bad])), signed(&ca, &params(255, &[]))];
    let [first, second] = both.clone();
    assert_eq!(lists(&both, &[&ca]), newer);
    assert_eq!(lists(&[second, first], &[&ca]), newer);
}

/// What our own authority writes is read by OpenSSL, too.
#[test]
fn our_authoritys_list() {
    let dir = TempDir::new().unwrap();
    let ca = CertificateAuthority::create(&dir.path().join("ca"), &trust_domain(), 365 * DAY);
    let ca = ca.unwrap();
    let request = LeafRequest {
        id: URI.parse().unwrap(),
        dns: vec![],
        ip: vec![],
        validity: DAY,
        key_algorithm: KeyAlgorithm::default(),
    };
    let issue = || ca.issue(&request).unwrap().cert_pem;
    let (one, two, good) = (issue(), issue(), issue());
    let summary = |pem: &str| describe(pem.as_bytes(), "leaf").unwrap().remove(0);
    let file = dir.path().join("ca/ca-crl.pem");
    let write = |pem: &str, at| ca.write_revocation_list(&file, &[(summary(pem), at)], at, 7 * DAY);
    let first = write(&one, now()).unwrap();
    // The clock goes back, and the number does not; nobody is forgotten.
    let back = days_from_now(-1);
    let second = write(&two, back).unwrap();
    let number = |list: &RevocationList| u64::from_str_radix(&list.number, 16).unwrap();
    assert_eq!(number(&second), number(&first) + 1);
    assert_eq!((first.len(), second.len()), (1, 2));
    let week = 7 * 86_400;
    assert_eq!(second.next_update, Timestamp::from_unix_seconds(back.unix_seconds() + week));
    let cert = dir.path().join("ca/ca-cert.pem");
    let lists = RevocationLists::load(&[&file], &[&cert], now()).unwrap();
    let anchors = TrustAnchors::load(&cert, trust_domain()).unwrap();
    let verifier = PeerVerifier::new(std::sync::Arc::new(anchors), Role::Server);
    for (pem, is_revoked) in [(&one, true), (&two, true), (&good, false)] {
        let chain = sealwire_identity::parse_pem_certificates(pem.as_bytes()).unwrap();
        let peer = verifier.verify(&chain, None, now()).unwrap();
        assert_eq!(check(&lists, &peer, now()).is_err(), is_revoked);
    }
    let shown =
        ["crl", "-in", "ca/ca-crl.pem", "-CAfile", "ca/issuing-cert.pem", "-noout", "-text"];
    let shown = String::from_utf8(run_in(dir.path(), "openssl", &shown, b"")).unwrap();
    for pem in [&one, &two] {
        assert!(shown.contains(&summary(pem).serial.to_uppercase()), "{shown}");
    }
    // Another authority takes its place: its own list comes to the one that there is.
    CertificateAuthority::prepare_next(&dir.path().join("ca"), &trust_domain(), 365 * DAY).unwrap();
    CertificateAuthority::activate_next(&dir.path().join("ca")).unwrap();
    let next = CertificateAuthority::load(&dir.path().join("ca"), &trust_domain()).unwrap();
    assert!(next.revocation_list(&file, now()).unwrap().is_none());
    next.write_revocation_list(&file, &[], now(), 30 * DAY).unwrap();
    let lists = RevocationLists::load(&[&file], &[&cert], now()).unwrap();
    assert_eq!(lists.iter().count(), 4, "two roots, and one below each");
    let chain = sealwire_identity::parse_pem_certificates(one.as_bytes()).unwrap();
    let peer = verifier.verify(&chain, None, now()).unwrap();
    assert!(check(&lists, &peer, now()).is_err(), "what the old one has revoked stays so");
    // Until that is about to be out of date: with it nobody could take the file up.
    let due = next.other_lists_due(&file, now()).unwrap().unwrap();
    let lapses = lists.iter().map(|list| list.next_update).min().unwrap();
    assert_eq!(due.until(lapses), Some(std::time::Duration::from_secs(300)));
    assert_eq!(next.other_lists_due(&file, due).unwrap(), Some(due));
    let after = |millis| Timestamp::from_unix_millis(due.unix_millis() + millis);
    next.write_revocation_list(&file, &[], after(-1), 7 * DAY).unwrap();
    assert_eq!(RevocationLists::load(&[&file], &[&cert], after(-1)).unwrap().iter().count(), 4);
    next.write_revocation_list(&file, &[], after(1), 7 * DAY).unwrap();
    assert_eq!(RevocationLists::load(&[&file], &[&cert], after(1)).unwrap().iter().count(), 3);
    assert!(next.other_lists_due(&file, after(1)).unwrap().unwrap() > after(1));
    // The clock is put back, and the list of the old one comes into it no more.
    next.write_revocation_list(&file, &[], days_from_now(8), 7 * DAY).unwrap();
    let lists = RevocationLists::load(&[&file], &[&cert], days_from_now(8)).unwrap();
    assert_eq!(lists.iter().count(), 3);

    // When the old root is trusted no longer, its lists and those below it go, and none is a fault.
    let trusted = fs::read_to_string(&cert).unwrap();
    let (_, new) = trusted.rsplit_once("-----BEGIN").unwrap();
    fs::write(&cert, format!("-----BEGIN{new}")).unwrap();
    next.write_revocation_list(&file, &[], now(), 30 * DAY).unwrap();
    let after = CertificateAuthority::load(&dir.path().join("ca"), &trust_domain()).unwrap();
    after.write_revocation_list(&file, &[], now(), 3000 * DAY).unwrap();
    let lists = RevocationLists::load(&[&file], &[&cert], now()).unwrap();
    assert_eq!(lists.iter().count(), 2);
    // Nor does one outlive its authority, however long it was to hold.
    assert!(lists.iter().all(|list| list.next_update <= after.not_after()));
    fs::write(&cert, &trusted).unwrap();

    // What is not a list of this authority's is not written over.
    fs::write(&file, "something else").unwrap();
    write(&good, now()).unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"something else");
    let far = Duration::from_secs(1);
    fs::remove_file(&file).unwrap();
    let again = ca.write_revocation_list(&file, &[], now(), far).unwrap();
    assert!(again.is_empty() && number(&again) >= number(&first));
}

/// An authority that comes with the lists has its own name, or it could say what another revokes.
#[test]
fn an_authority_in_the_file_takes_nobodys_name() {
    let ca = authority();
    let name = |params: &mut CertificateParams, text: &str| {
        params.key_usages.push(KeyUsagePurpose::CrlSign);
        params.distinguished_name.push(DnType::CommonName, text);
    };
    let known = ca.intermediate(|params| name(params, "one"));
    let read = |text: &str| {
        let given = ca.intermediate(|params| name(params, text));
        let file = format!("{}{}", signed(&given, &params(1, &[])), given.0.pem());
        Files::new(&[file], &[&ca, &known]).load()
    };
    assert_eq!(read("other").unwrap().iter().count(), 1);
    let refused = read("one").unwrap_err().to_string();
    assert!(refused.contains("not by the key of"), "{refused}");
}
