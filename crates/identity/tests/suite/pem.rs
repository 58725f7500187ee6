//! PEM: every key format read, every kind of wrong file told apart, nothing panics.

use std::fs;

use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;
use sealwire_identity::{PemError, parse_pem_certificates, parse_pem_private_key};
use tempfile::TempDir;

use crate::support::{Ca, run, run_in};

fn certificate() -> String {
    Ca::new().leaf(|_| ()).pem()
}

fn key() -> String {
    Ca::new().leaf(|_| ()).key_pem
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    run("openssl", arguments, b"")
}

fn ssh_keygen(arguments: &[&str]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    run_in(dir.path(), "ssh-keygen", &[&["-q", "-f", "key"], arguments].concat(), b"");
    fs::read(dir.path().join("key")).unwrap()
}

#[test]
fn every_key_format_is_read() {
    let p256 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    assert!(matches!(*parse_pem_private_key(&p256).unwrap(), PrivateKeyDer::Pkcs8(_)));
    let sec1 = openssl(&["ecparam", "-name", "prime256v1", "-genkey"]);
    assert!(String::from_utf8_lossy(&sec1).contains("EC PARAMETERS"));
    assert!(matches!(*parse_pem_private_key(&sec1).unwrap(), PrivateKeyDer::Sec1(_)));
    let pkcs1 = openssl(&["genrsa", "-traditional", "2048"]);
    assert!(matches!(*parse_pem_private_key(&pkcs1).unwrap(), PrivateKeyDer::Pkcs1(_)));
    let openssh = ssh_keygen(&["-t", "ed25519", "-N", ""]);
    assert!(matches!(*parse_pem_private_key(&openssh).unwrap(), PrivateKeyDer::Pkcs8(_)));
}

#[test]
fn an_openssh_key_becomes_the_same_key_in_pkcs8() {
    let dir = TempDir::new().unwrap();
    run_in(dir.path(), "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"], b"");
    let key = parse_pem_private_key(&fs::read(dir.path().join("key")).unwrap()).unwrap();
    let spki =
        run("openssl", &["pkey", "-inform", "DER", "-pubout", "-outform", "DER"], key.secret_der());
    let public = fs::read_to_string(dir.path().join("key.pub")).unwrap();
    let blob =
        run("openssl", &["base64", "-d", "-A"], public.split(' ').nth(1).unwrap().as_bytes());
    assert_eq!(spki[spki.len() - 32..], blob[blob.len() - 32..]);
}

#[test]
fn encrypted_keys_are_refused_as_such() {
    let pkcs8 = openssl(&["genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:secret"]);
    assert_eq!(parse_pem_private_key(&pkcs8), Err(PemError::Encrypted));
    let rsa = openssl(&["genrsa", "-traditional", "-aes256", "-passout", "pass:secret", "2048"]);
    assert_eq!(parse_pem_private_key(&rsa), Err(PemError::Encrypted));
    let openssh = ssh_keygen(&["-t", "ed25519", "-N", "secret"]);
    assert_eq!(parse_pem_private_key(&openssh), Err(PemError::OpenSshEncrypted));
    let other = ssh_keygen(&["-t", "ecdsa", "-N", ""]);
    assert_eq!(parse_pem_private_key(&other), Err(PemError::OpenSshAlgorithm));
}

#[test]
fn each_wrong_file_is_told_apart() {
    let (certificate, key) = (certificate(), key());
    let der = run("openssl", &["x509", "-outform", "DER"], certificate.as_bytes());
    let without_end = certificate.split("-----END").next().unwrap().to_owned();
    let damaged = certificate.replacen("MII", "M*I", 1).replacen("MIIB", "M*IB", 1);
    let cases: Vec<(&str, Vec<u8>, PemError)> = vec![
        ("empty", vec![], PemError::Empty),
        ("white space", b" \r\n\t\n".to_vec(), PemError::Empty),
        ("DER", der, PemError::Der),
        ("text", b"hello\n".to_vec(), PemError::NotPem),
        ("no END", without_end.clone().into_bytes(), PemError::Truncated),
        ("no END before the next", (without_end + &certificate).into_bytes(), PemError::Truncated),
        ("cut BEGIN", b"-----BEGIN CERT".to_vec(), PemError::Truncated),
        ("END only", b"-----END CERTIFICATE-----\n".to_vec(), PemError::Truncated),
        (
            "another END",
            certificate.replace("END CERT", "END X CERT").into_bytes(),
            PemError::Truncated,
        ),
        ("damaged", damaged.into_bytes(), PemError::Base64),
        ("key only", key.clone().into_bytes(), PemError::KeyAmongCertificates),
        ("key too", (certificate.clone() + &key).into_bytes(), PemError::KeyAmongCertificates),
        (
            "request",
            b"-----BEGIN X-----\nAAAA\n-----END X-----\n".to_vec(),
            PemError::NoCertificate,
        ),
    ];
    for (case, pem, error) in cases {
        assert_eq!(parse_pem_certificates(&pem), Err(error), "{case}");
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(parse_pem_private_key(certificate.as_bytes()), Err(PemError::NoKey));
    assert_eq!(parse_pem_private_key((key.clone() + &key).as_bytes()), Err(PemError::SeveralKeys));
    let der = run("openssl", &["pkey", "-outform", "DER"], key.as_bytes());
    assert_eq!(parse_pem_private_key(&der), Err(PemError::Der));
    assert_eq!(parse_pem_private_key(b""), Err(PemError::Empty));
}

#[test]
fn text_around_blocks_and_other_line_ends_are_no_matter() {
    let two = certificate() + &certificate();
    let expected = parse_pem_certificates(two.as_bytes()).unwrap();
    assert_eq!(expected.len(), 2);
    for same in [
        two.replace('\n', "\r\n"),
        two.replace('\n', "\r"),
        two.trim_end().to_owned(),
        two.replace("-----BEGIN", "subject=O = Someone\n-----BEGIN"),
    ] {
        assert_eq!(parse_pem_certificates(same.as_bytes()).unwrap(), expected);
    }
}

#[test]
fn no_cut_of_a_file_is_taken_for_a_whole_one() {
    let certificate = certificate();
    let whole = certificate.trim_end().len();
    for cut in 0..whole {
        assert!(parse_pem_certificates(&certificate.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    for key in [key().into_bytes(), ssh_keygen(&["-t", "ed25519", "-N", ""])] {
        for cut in 0..key.trim_ascii_end().len() {
            assert!(parse_pem_private_key(&key[..cut]).is_err(), "cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse_pem_certificates(&bytes);
        let _ = parse_pem_private_key(&bytes);
    }

    #[test]
    fn no_mutilated_block_panics(
        label in prop_oneof![
            Just("CERTIFICATE"), Just("PRIVATE KEY"), Just("EC PRIVATE KEY"),
            Just("RSA PRIVATE KEY"), Just("OPENSSH PRIVATE KEY"), Just("X"),
        ],
        body in "[A-Za-z0-9+/=\r\n -]{0,300}",
        tail in "(-----END [A-Z ]{0,20}-----)?",
    ) {
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n{tail}");
        let _ = parse_pem_certificates(pem.as_bytes());
        let _ = parse_pem_private_key(pem.as_bytes());
    }
}
