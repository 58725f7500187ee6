//! The HPKE that content keys are wrapped with opens what RFC 9180 says it must. The vectors
//! come with PyPI's `cryptography_vectors`.

use std::fs;

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey};
use sealwire_testkit::tool;
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn vectors() -> Vec<Value> {
    let lib = tool("venv-cose/lib");
    let python = fs::read_dir(lib).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    let file = python.join("site-packages/cryptography_vectors/HPKE/test-vectors.json");
    let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn rfc_9180_base_mode_x25519_chacha20_poly1305() {
    // mode_base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
    let ours = |vector: &&Value| {
        let ids = ["mode", "kem_id", "kdf_id", "aead_id"].map(|name| vector[name].as_u64());
        ids == [0, 0x20, 1, 3].map(Some)
    };
    let vectors = vectors();
    let vector = vectors.iter().find(ours).expect("the suite is among the vectors");
    let open = |enc: Vec<u8>| {
        let key = HpkePrivateKey::from(bytes(&vector["skRm"]));
        SUITE.setup_opener(&EncapsulatedSecret(enc), &bytes(&vector["info"]), &key)
    };
    let mut opener = open(bytes(&vector["enc"])).unwrap();
    let encryptions = vector["encryptions"].as_array().unwrap();
    assert!(encryptions.len() > 200);
    for encryption in encryptions {
        let [aad, ciphertext] = ["aad", "ct"].map(|name| bytes(&encryption[name]));
        let opened = opener.open(&aad, &ciphertext).unwrap();
        assert_eq!(opened, bytes(&encryption["pt"]));
    }
    // A message has one: the first. It opens with that encapsulated key and no other.
    let [aad, ciphertext] = ["aad", "ct"].map(|name| bytes(&encryptions[0][name]));
    assert!(open(bytes(&vector["enc"])).unwrap().open(&aad, &ciphertext).is_ok());
    let mut other = bytes(&vector["enc"]);
    other[0] ^= 1;
    assert!(open(other).unwrap().open(&aad, &ciphertext).is_err());
    assert!(open(vec![0; 32]).is_err(), "an all-zero shared secret");
}
