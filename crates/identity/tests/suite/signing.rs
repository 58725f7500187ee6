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

/// RFC 8032 §7.1, test 1.
#[test]
fn the_seed_is_the_private_key_of_the_rfc() {
    let seed: [u8; 32] = std::array::from_fn(|i| {
        let text = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()
    });
    let pem = sealwire_identity::encode_pem("PRIVATE KEY", &{
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend_from_slice(&seed);
        der
    });
    let pem = pem.unwrap();
    let key = SigningKey::from_pem(pem.as_bytes(), "rfc").unwrap();
    assert_eq!(*key.seed().unwrap(), seed);
    assert_eq!(key.public_key()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    assert_eq!(*key.private_text().unwrap(), *pem);
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
