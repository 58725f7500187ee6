//! The Ed25519 signing key, checked against OpenSSL.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sealwire_identity::{Error, SigningKey};
use tempfile::TempDir;

use crate::support::{run, run_in};

#[test]
fn openssl_verifies_a_signature_with_the_public_key_file() {
    let dir = TempDir::new().unwrap();
    let (private, public) = (dir.path().join("signing"), dir.path().join("signing.pub"));
    SigningKey::generate().unwrap().write(&private, &public).unwrap();
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    let key = SigningKey::load(&private).unwrap();
    fs::write(dir.path().join("message"), b"hello").unwrap();
    fs::write(dir.path().join("signature"), key.sign(b"hello").unwrap()).unwrap();
    let arguments = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "signing.pub",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ];
    run_in(dir.path(), "openssl", &arguments, b"");
    // OpenSSL reads the private half too, and finds the same public half.
    let derived = run_in(dir.path(), "openssl", &["pkey", "-in", "signing", "-pubout"], b"");
    assert_eq!(derived, fs::read(&public).unwrap());
    let shown = format!("{key:?}");
    assert!(!shown.contains("pair"), "{shown}");
}

#[test]
fn nothing_is_overwritten() {
    let dir = TempDir::new().unwrap();
    let (private, public) = (dir.path().join("signing"), dir.path().join("signing.pub"));
    let key = SigningKey::generate().unwrap();
    fs::write(&public, b"mine").unwrap();
    assert!(matches!(key.write(&private, &public), Err(Error::Exists { path }) if path == public));
    assert!(!private.exists(), "half a pair was written");
}

#[test]
fn an_openssh_key_is_read_and_other_algorithms_are_not() {
    let dir = TempDir::new().unwrap();
    run_in(dir.path(), "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"], b"");
    SigningKey::load(&dir.path().join("key")).unwrap();
    let other = dir.path().join("other");
    for pem in [
        run(
            "openssl",
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            b"",
        ),
        run("openssl", &["ecparam", "-name", "prime256v1", "-genkey"], b""),
    ] {
        fs::write(&other, pem).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(SigningKey::load(&other), Err(Error::Key { .. })));
    }
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(SigningKey::load(&other), Err(Error::Mode { .. })));
}
