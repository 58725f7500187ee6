//! A private key under a passphrase: EncryptedPrivateKeyInfo (RFC 5958 §3) by PBES2 (RFC 8018 §6.2)
//! with PBKDF2-HMAC-SHA256 and AES-256-CBC, as `openssl pkcs8 -topk8` writes it and reads it.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{pbkdf2, rand};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::pem::{encode_pem, parse_pem_block};

/// Label of such a key in PEM (RFC 7468 §11).
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// How often HMAC is iterated: some tenths of a second for each guess, as long as it is one of a
/// person's passphrases that is guessed.
const ITERATIONS: NonZeroU32 = match NonZeroU32::new(1_000_000) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};
/// Most that are accepted of others: some seconds.
const MOST_ITERATIONS: u32 = 20_000_000;
/// Shortest passphrase, in characters.
pub(crate) const MIN_PASSPHRASE: usize = 12;

/// Object identifiers, DER: PBES2, PBKDF2, hmacWithSHA256 (RFC 8018 appendix C), aes256-CBC-PAD.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];

/// Tags of DER.
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// Encrypts a PKCS#8 key, DER. PEM.
pub(crate) fn encrypt(pkcs8: &[u8], passphrase: &str) -> Result<Zeroizing<String>, Error> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(Error::crypto("reading randomness"))?;
    let failed = "encrypting a key";
    let key = derive(passphrase, &salt, ITERATIONS);
    let key = UnboundCipherKey::new(&AES_256, &*key).map_err(Error::crypto(failed))?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(Error::crypto(failed))?;
    // With room for the padding: a buffer that grows leaves a copy behind.
    let mut data = Zeroizing::new(Vec::with_capacity(pkcs8.len() + 16));
    data.extend_from_slice(pkcs8);
    let context = key.encrypt(&mut *data).map_err(Error::crypto(failed))?;
    let iv: &[u8] = (&context).try_into().map_err(Error::crypto(failed))?;
    let prf = tlv(SEQUENCE, &[tlv(OID, HMAC_SHA256), tlv(NULL, &[])].concat());
    // The first bit of the count is 0, so that it is positive as it stands.
    let count = ITERATIONS.get().to_be_bytes();
    let count = tlv(INTEGER, &count[usize::from(count[0] == 0)..]);
    let kdf = tlv(SEQUENCE, &[tlv(OCTETS, &salt), count, prf].concat());
    let kdf = tlv(SEQUENCE, &[tlv(OID, PBKDF2), kdf].concat());
    let cipher = tlv(SEQUENCE, &[tlv(OID, AES_256_CBC), tlv(OCTETS, iv)].concat());
    let scheme = tlv(SEQUENCE, &[kdf, cipher].concat());
    let scheme = tlv(SEQUENCE, &[tlv(OID, PBES2), scheme].concat());
    encode_pem(LABEL, &tlv(SEQUENCE, &[scheme, tlv(OCTETS, &data)].concat()))
}

/// Decrypts what [`encrypt`] has encrypted, or another program in the same way.
pub(crate) fn decrypt(
    pem: &[u8],
    passphrase: &str,
    label: &str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let der = parse_pem_block(pem, LABEL)
        .map_err(|problem| Error::Pem { label: label.to_owned(), problem })?;
    let refuse = |reason: &str| Error::Key { label: label.to_owned(), reason: reason.to_owned() };
    let sealed = Sealed::parse(&der).ok_or_else(|| {
        refuse("it is not encrypted by PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC (RFC 8018)")
    })?;
    let wrong = |_| refuse("the passphrase is not that of the key, or the file is damaged");
    let key = derive(passphrase, sealed.salt, sealed.iterations);
    let key = UnboundCipherKey::new(&AES_256, &*key).map_err(wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(wrong)?;
    let mut data = Zeroizing::new(sealed.data.to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(sealed.iv));
    let length = key.decrypt(&mut data, context).map_err(wrong)?.len();
    data.truncate(length);
    Ok(data)
}

fn derive(passphrase: &str, salt: &[u8], iterations: NonZeroU32) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase.as_bytes(), &mut *key);
    key
}

/// What an EncryptedPrivateKeyInfo says.
struct Sealed<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    iv: [u8; 16],
    data: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(Der(der).only(SEQUENCE)?);
        let mut scheme = Der(outer.next(SEQUENCE)?);
        let data = outer.last(OCTETS)?;
        (scheme.next(OID)? == PBES2).then_some(())?;
        let mut scheme = Der(scheme.last(SEQUENCE)?);
        let mut kdf = Der(scheme.next(SEQUENCE)?);
        let mut cipher = Der(scheme.last(SEQUENCE)?);
        (kdf.next(OID)? == PBKDF2 && cipher.next(OID)? == AES_256_CBC).then_some(())?;
        let iv = cipher.last(OCTETS)?.try_into().ok()?;
        let mut kdf = Der(kdf.last(SEQUENCE)?);
        let salt = kdf.next(OCTETS)?;
        let iterations = number(kdf.next(INTEGER)?)?;
        if kdf.0.first() == Some(&INTEGER) {
            (number(kdf.next(INTEGER)?)? == 32).then_some(())?;
        }
        let mut prf = Der(kdf.last(SEQUENCE)?);
        (prf.next(OID)? == HMAC_SHA256 && prf.last(NULL)?.is_empty()).then_some(())?;
        let iterations = NonZeroU32::new(iterations).filter(|it| it.get() <= MOST_ITERATIONS)?;
        Some(Self { salt, iterations, iv, data })
    }
}

/// DER (X.690) that is still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, which must have that tag and the shortest form of a length
    /// below 65,536.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (length, rest) = match (length, rest) {
            (0..=0x7f, rest) => (usize::from(length), rest),
            (0x81, [length @ 0x80..=0xff, rest @ ..]) => (usize::from(*length), rest),
            (0x82, [high @ 1..=0xff, low, rest @ ..]) => {
                (usize::from(u16::from_be_bytes([*high, *low])), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    /// The same, with nothing behind it.
    fn last(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).filter(|_| self.0.is_empty())
    }

    fn only(mut self, tag: u8) -> Option<&'a [u8]> {
        self.last(tag)
    }
}

/// A positive INTEGER of 31 bits.
fn number(content: &[u8]) -> Option<u32> {
    let is_shortest = match content {
        [] | [0x80..=0xff, ..] => false,
        [0, next, ..] => *next >= 0x80,
        _ => true,
    };
    let mut bytes = [0; 4];
    let start = bytes.len().checked_sub(content.len()).filter(|_| is_shortest)?;
    bytes[start..].copy_from_slice(content);
    Some(u32::from_be_bytes(bytes))
}

/// A value in DER, of a length below 65,536.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [.., high, low] = length.to_be_bytes();
    let mut der = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn what_is_encrypted_is_decrypted_by_its_passphrase_alone() {
        for length in [0, 1, 15, 16, 17, 138, 300] {
            let key = vec![7; length];
            let pem = encrypt(&key, PASSPHRASE).unwrap();
            assert_eq!(*decrypt(pem.as_bytes(), PASSPHRASE, "it").unwrap(), key);
        }
        // Padding may fit by chance, one time in 256; what comes out of it is no key then.
        let pem = encrypt(&[7; 100], PASSPHRASE).unwrap();
        match decrypt(pem.as_bytes(), "correct horse batter", "it") {
            Err(error) => assert!(error.to_string().contains("passphrase"), "{error}"),
            Ok(other) => assert_ne!(*other, [7; 100]),
        }
    }

    proptest! {
        /// Whatever the bytes are.
        #[test]
        fn nothing_that_is_parsed_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sealed::parse(&bytes);
        }

        #[test]
        fn what_is_cut_or_changed_in_form_is_not_parsed(cut in 1usize..200, at in 0usize..24) {
            let pem = SAMPLE.get_or_init(|| encrypt(&[7; 100], PASSPHRASE).unwrap().to_string());
            let der = parse_pem_block(pem.as_bytes(), LABEL).unwrap();
            prop_assert!(Sealed::parse(&der).is_some());
            prop_assert!(Sealed::parse(&der[..der.len() - cut.min(der.len())]).is_none());
            prop_assert!(Sealed::parse(&[&der[..], &[0]].concat()).is_none());
            // Tags, lengths and identifiers up to the salt.
            let mut changed = der.to_vec();
            changed[at] ^= 0x40;
            prop_assert!(Sealed::parse(&changed).is_none());
        }
    }

    static SAMPLE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
}
