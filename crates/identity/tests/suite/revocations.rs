//! What is revoked stays so, however its bytes are written.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use sealwire_identity::{
    PeerVerifier, Revocation, Revocations, Revoked, Role, VerifiedPeer, describe,
};
use sealwire_names::{RefusalCode, Timestamp};

use crate::support::{Ca, URI, now, peer};

/// The order of P-256 (SEC 2, 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn verified(ca: &Ca, chain: &[CertificateDer<'_>]) -> VerifiedPeer {
    PeerVerifier::new(ca.anchors(), Role::Client).verify(chain, None, now()).unwrap()
}

fn revoked(what: Revoked, at: Timestamp) -> Revocations {
    Revocations::new([Revocation { what, at, reason: "test".to_owned() }])
}

/// The same certificate with the other of its two signatures, n - s for s.
fn rewritten(certificate: &[u8]) -> Vec<u8> {
    // SEQUENCE { tbs, algorithm, BIT STRING { 0, SEQUENCE { INTEGER r, INTEGER s } } }: from the
    // start, over what stands before.
    let (_, mut at, _) = tlv(certificate, 0);
    for _ in 0..2 {
        let (_, start, length) = tlv(certificate, at);
        at = start + length;
    }
    let (signature_at, (_, bits, _)) = (at, tlv(certificate, at));
    let (_, r, r_length) = tlv(certificate, tlv(certificate, bits + 1).1);
    let (_, s, s_length) = tlv(certificate, r + r_length);
    let integers = [&certificate[r..r + r_length], &other(&certificate[s..s + s_length])]
        .map(|integer| [&[2, u8::try_from(integer.len()).unwrap()], integer].concat());
    let integers = integers.concat();
    let sequence = [&[0x30, u8::try_from(integers.len()).unwrap()], integers.as_slice()].concat();
    let bits = [&[3, u8::try_from(sequence.len() + 1).unwrap(), 0], sequence.as_slice()].concat();
    let (_, body, _) = tlv(certificate, 0);
    let body = [&certificate[body..signature_at], &bits].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82, length[0], length[1]], body.as_slice()].concat()
}

/// Tag, start and length of what stands there in DER.
fn tlv(bytes: &[u8], at: usize) -> (u8, usize, usize) {
    match bytes[at + 1] {
        short @ 0..=0x7f => (bytes[at], at + 2, usize::from(short)),
        0x81 => (bytes[at], at + 3, usize::from(bytes[at + 2])),
        0x82 => {
            (bytes[at], at + 4, usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])))
        }
        long => panic!("{long:#x}"),
    }
}

/// n - s, as DER writes it.
fn other(s: &[u8]) -> Vec<u8> {
    let mut difference = vec![0; 33];
    let mut borrow = 0;
    for place in 0..32 {
        let digit = s.len().checked_sub(place + 1).map_or(0, |at| i16::from(s[at]));
        let left = i16::from(ORDER[31 - place]) - digit - borrow;
        borrow = i16::from(left < 0);
        difference[32 - place] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    let zeros = difference.iter().take_while(|digit| **digit == 0).count();
    let start = if difference[zeros] & 0x80 == 0 { zeros } else { zeros - 1 };
    difference.split_off(start)
}

#[test]
fn another_fingerprint_is_no_other_certificate() {
    let ca = Ca::new();
    for _ in 0..20 {
        let leaf = ca.leaf(|_| ());
        let chain = [CertificateDer::from(rewritten(&leaf.chain[0]))];
        let (one, same) = (verified(&ca, &leaf.chain), verified(&ca, &chain));
        assert_ne!(one.fingerprint, same.fingerprint, "or nothing is shown");
        assert_eq!(rewritten(&chain[0]), leaf.chain[0].as_ref());
        let summary = describe(&leaf.chain[0], "leaf").unwrap().remove(0);
        let all = revoked(Revoked::certificate(&summary), now());
        for presented in [&one, &same] {
            let refused = all.check_peer(presented, now()).unwrap_err();
            assert_eq!(refused.code, RefusalCode::CertificateRevoked);
            assert!(refused.reason.contains(&presented.fingerprint.to_string()), "{refused}");
        }
        assert_eq!(all.check_peer(&verified(&ca, &ca.leaf(|_| ()).chain), now()), Ok(()));
    }
}

#[test]
fn a_name_is_revoked_for_what_began_by_then() {
    let ca = Ca::new();
    let leaf = |day| ca.leaf(|params| params.not_before = date_time_ymd(2024, 1, day));
    let at = Timestamp::from_unix_seconds(date_time_ymd(2024, 1, 2).unix_timestamp());
    let all = revoked(Revoked::Name(peer(URI)), at);
    for (day, is_revoked) in [(1, true), (2, true), (3, false)] {
        let checked = all.check_peer(&verified(&ca, &leaf(day).chain), now());
        assert_eq!(checked.is_err(), is_revoked, "{day}: {checked:?}");
    }
}
