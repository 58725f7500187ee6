//! Wycheproof's vectors, on what messages are made with.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use wycheproof::{TestResult, aead, eddsa, hkdf, xdh};

use crate::*;

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
        let key = VerifyingKey::from_bytes(&key).unwrap();
        for test in &group.tests {
            // A signature of another length does not get that far.
            let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else {
                assert_eq!(test.result, TestResult::Invalid, "{test:?}");
                continue;
            };
            let holds = key.verify(&test.msg, &signature).is_ok();
            assert_eq!(holds, test.result == TestResult::Valid, "{test:?}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public = UnparsedPublicKey::new(&X25519, &test.public_key[..]);
        let private = PrivateKey::from_private_key(&X25519, &test.private_key).unwrap();
        let shared = agree(&private, public, (), |shared| Ok(shared.to_vec()));
        let taken = <[u8; 32]>::try_from(&test.public_key[..])
            .is_ok_and(|bytes| RecipientPublicKey::from_bytes(&bytes).is_ok());
        if test.shared_secret.iter().all(|byte| *byte == 0) {
            // What everybody could agree on is agreed on with nobody, and is no key.
            assert_eq!((shared, taken), (Err(()), false), "{test:?}");
            refused += 1;
        } else {
            assert_eq!(shared.as_deref(), Ok(&test.shared_secret[..]), "{test:?}");
            agreed += 1;
        }
        if test.result == TestResult::Valid {
            assert!(taken, "{test:?}");
        }
    }
    assert!(agreed > 300 && refused > 10, "{agreed} {refused}");
}

#[test]
fn aes_256_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let mut count = 0;
    // Keys and nonces of other lengths do not exist in a message.
    for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96) {
        for test in &group.tests {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &test.key).unwrap());
            let nonce = || Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
            let mut sealed = [&test.ct[..], &test.tag].concat();
            let opened = key.open_in_place(nonce(), Aad::from(&test.aad[..]), &mut sealed);
            if test.result != TestResult::Valid {
                assert!(opened.is_err(), "{test:?}");
                continue;
            }
            assert_eq!(opened.unwrap(), &test.pt[..], "{test:?}");
            let iv = test.nonce[..].try_into().unwrap();
            let cek = test.key[..].try_into().unwrap();
            let sealed = crate::seal::encrypt(&cek, iv, &test.aad, &test.pt).unwrap();
            assert_eq!(sealed, [&test.ct[..], &test.tag].concat(), "{test:?}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// HKDF as HPKE has it: the implementation that its key schedule uses.
#[test]
fn hkdf_sha256() {
    let hkdf = TLS13_CHACHA20_POLY1305_SHA256.tls13().unwrap().hkdf_provider;
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let salt = (!test.salt.is_empty()).then_some(&test.salt[..]);
        let expander = hkdf.extract_from_secret(salt, &test.ikm);
        let mut output = vec![0; test.size];
        let expanded = expander.expand_slice(&[&test.info], &mut output).is_ok();
        assert_eq!(expanded, test.result == TestResult::Valid, "{test:?}");
        if expanded {
            assert_eq!(output, &test.okm[..], "{test:?}");
        }
        count += 1;
    }
    assert!(count > 50, "{count}");
}
