//! X25519 keys in files (RFC 8410): with these, messages are read. What is done with them
//! is not known here.

use zeroize::Zeroizing;

use crate::error::Error;
use crate::pem::{encode_pem, parse_pem_block};

/// PKCS#8, version 1, up to the key: all that RFC 8410 §7 leaves open is its 32 bytes.
const PRIVATE: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
/// SubjectPublicKeyInfo up to the key (RFC 8410 §4).
const PUBLIC: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00";

/// A private X25519 key as PKCS#8 PEM, as `openssl genpkey -algorithm X25519` writes it.
///
/// # Errors
/// [`Error::Crypto`] if it cannot be encoded.
pub fn x25519_private_pem(key: &[u8; 32]) -> Result<Zeroizing<String>, Error> {
    let der = Zeroizing::new([PRIVATE.as_slice(), key].concat());
    encode_pem("PRIVATE KEY", &der)
}

/// A public X25519 key as SubjectPublicKeyInfo PEM.
///
/// # Errors
/// [`Error::Crypto`] if it cannot be encoded.
pub fn x25519_public_pem(key: &[u8; 32]) -> Result<String, Error> {
    let der = [PUBLIC.as_slice(), key].concat();
    encode_pem("PUBLIC KEY", &der).map(|mut pem| std::mem::take(&mut *pem))
}

/// Reads a private key that [`x25519_private_pem`] wrote; `label` names it in errors.
///
/// # Errors
/// [`Error::Pem`], or [`Error::Key`] if it is another kind of key.
pub fn parse_x25519_private(pem: &[u8], label: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
    let der = parse_pem_block(pem, "PRIVATE KEY")
        .map_err(|problem| Error::Pem { label: label.to_owned(), problem })?;
    let key = der.strip_prefix(&PRIVATE).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(Zeroizing::new).ok_or_else(|| Error::Key {
        label: label.to_owned(),
        reason: "it is no X25519 key in PKCS#8".to_owned(),
    })
}
