//! A certificate and its key, from files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sealwire_identity::{Credential, Error, PemError};
use sealwire_names::RefusalCode;
use tempfile::TempDir;

use crate::support::{Ca, Leaf, URI, peer, run};

struct Pair {
    _dir: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

fn write(leaf: &Leaf) -> Pair {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&certificate, leaf.pem()).unwrap();
    fs::write(&key, &leaf.key_pem).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    Pair { _dir: dir, certificate, key }
}

impl Pair {
    fn load(&self) -> Result<Credential, Error> {
        Credential::load(&self.certificate, &self.key)
    }
}

#[test]
fn a_pair_is_loaded_and_shows_no_key() {
    let leaf = Ca::new().leaf(|_| ());
    let credential = write(&leaf).load().unwrap();
    assert_eq!(*credential.id(), peer(URI));
    assert_eq!(credential.chain(), leaf.chain);
    let shown = format!("{credential:?}");
    assert!(shown.contains(URI) && !shown.to_lowercase().contains("key"), "{shown}");
}

#[test]
fn a_key_open_to_others_is_refused_by_name() {
    let pair = write(&Ca::new().leaf(|_| ()));
    fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = pair.load().unwrap_err();
    assert!(matches!(&error, Error::Mode { path, .. } if *path == pair.key), "{error}");
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let ca = Ca::new();
    let pair = write(&ca.leaf(|_| ()));
    fs::write(&pair.key, ca.leaf(|_| ()).key_pem).unwrap();
    let error = pair.load().unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
    assert!(error.to_string().contains(pair.key.to_str().unwrap()));
}

#[test]
fn broken_files_are_named_with_their_fault() {
    let leaf = Ca::new().leaf(|_| ());
    let pair = write(&leaf);
    for (content, fault) in [
        (vec![], PemError::Empty),
        (leaf.chain[0].to_vec(), PemError::Der),
        (leaf.pem().as_bytes()[..200].to_vec(), PemError::Truncated),
    ] {
        fs::write(&pair.certificate, content).unwrap();
        let error = pair.load().unwrap_err();
        assert!(matches!(error, Error::Pem { problem, .. } if problem == fault), "{error}");
        assert!(error.to_string().starts_with(pair.certificate.to_str().unwrap()), "{error}");
        assert!(!error.remedy().is_empty());
    }
    fs::write(&pair.certificate, leaf.pem()).unwrap();
    fs::write(&pair.key, b"").unwrap();
    let error = pair.load().unwrap_err();
    assert!(error.to_string().starts_with(pair.key.to_str().unwrap()), "{error}");
    fs::remove_file(&pair.key).unwrap();
    assert!(matches!(pair.load(), Err(Error::Io { path, .. }) if path == pair.key));
}

#[test]
fn a_leaf_that_no_peer_would_take_is_refused_at_once() {
    let ca = Ca::new();
    let codes = [
        (ca.leaf(|p| p.subject_alt_names.clear()), RefusalCode::SanMissing),
        (
            ca.leaf(|p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            RefusalCode::CaAsLeaf,
        ),
    ];
    for (leaf, code) in codes {
        match write(&leaf).load().unwrap_err() {
            Error::Certificate { refusal, .. } => assert_eq!(refusal.code, code),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn keys_in_every_format_fit_their_certificate() {
    let leaf = Ca::new().leaf(|_| ());
    let sec1 = run("openssl", &["ec"], leaf.key_pem.as_bytes());
    assert!(sec1.starts_with(b"-----BEGIN EC PRIVATE KEY"));
    Credential::from_pem(leaf.pem().as_bytes(), &sec1, "SEC1").unwrap();
}

#[test]
fn a_weak_key_is_refused() {
    let leaf = Ca::new().leaf(|_| ());
    let weak = run("openssl", &["genrsa", "1024"], b"");
    let error = Credential::from_pem(leaf.pem().as_bytes(), &weak, "weak").unwrap_err();
    assert!(matches!(error, Error::Key { .. }), "{error}");
}
