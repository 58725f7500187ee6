//! X25519 keys in files are OpenSSL's.

use sealwire_identity::{
    Error, PemError, encode_pem, parse_pem_block, parse_x25519_private, x25519_private_pem,
    x25519_public_pem,
};

use crate::support::run;

/// What `openssl pkey -text` shows under `heading`, without white space and colons.
fn shown(text: &str, heading: &str) -> String {
    let (_, rest) = text.split_once(heading).unwrap();
    let lines = rest.lines().skip(1).take_while(|line| line.starts_with(' '));
    lines.collect::<String>().replace([':', ' '], "")
}

fn unhex(text: &str) -> [u8; 32] {
    let byte = |i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    std::array::from_fn(byte)
}

#[test]
fn a_key_of_openssl_is_read_and_written_as_it_was() {
    let pem = run("openssl", &["genpkey", "-algorithm", "X25519"], b"");
    let text = String::from_utf8(run("openssl", &["pkey", "-text", "-noout"], &pem)).unwrap();
    let key = parse_x25519_private(&pem, "key").unwrap();
    assert_eq!(*key, unhex(&shown(&text, "priv:")));
    assert_eq!(x25519_private_pem(&key).unwrap().as_bytes(), pem);
    let public = unhex(&shown(&text, "pub:"));
    let of_openssl = run("openssl", &["pkey", "-pubout"], &pem);
    assert_eq!(x25519_public_pem(&public).unwrap().as_bytes(), of_openssl);
}

#[test]
fn another_key_is_refused() {
    for other in ["ED25519", "X448"] {
        let pem = run("openssl", &["genpkey", "-algorithm", other], b"");
        let error = parse_x25519_private(&pem, "some-file").unwrap_err();
        assert!(matches!(&error, Error::Key { label, .. } if label == "some-file"), "{error}");
    }
    let public = x25519_public_pem(&[9; 32]).unwrap();
    let error = parse_x25519_private(public.as_bytes(), "f").unwrap_err();
    assert!(matches!(error, Error::Pem { problem: PemError::OtherBlock, .. }), "{error}");
}

#[test]
fn a_block_is_one_with_its_label() {
    let pem = encode_pem("SOME THING", b"held").unwrap();
    assert_eq!(**parse_pem_block(pem.as_bytes(), "SOME THING").unwrap(), *b"held");
    let other = parse_pem_block(pem.as_bytes(), "SOME OTHER").unwrap_err();
    assert_eq!(other, PemError::OtherBlock);
    let two = pem.repeat(2);
    assert_eq!(parse_pem_block(two.as_bytes(), "SOME THING"), Err(PemError::OtherBlock));
    let damaged = pem.replace("aGVs", "a-Vs");
    assert_eq!(parse_pem_block(damaged.as_bytes(), "SOME THING"), Err(PemError::Base64));
}
