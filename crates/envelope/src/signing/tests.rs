use super::*;

fn signed() -> (SigningKey, [u8; 64]) {
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let signature = key.sign(b"message").unwrap();
    (key, signature)
}

/// Adds the order of the base point, L, to S: the same number to whoever does not look.
#[test]
fn a_signature_with_s_beyond_the_order_is_refused() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (key, signature) = signed();
    key.verifying_key().verify(b"message", &signature).unwrap();
    let mut malleable = signature;
    let mut carry = 0;
    for (byte, add) in malleable[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = u8::try_from(sum % 256).unwrap();
        carry = sum / 256;
    }
    assert_eq!(carry, 0);
    let refused = key.verifying_key().verify(b"message", &malleable).unwrap_err();
    assert_eq!(refused.code, RefusalCode::SignatureInvalid);
}

/// Every encoding of the eight points of small order: five values of y, two of which have a
/// second encoding, each with both signs.
fn small_order() -> Vec<[u8; 32]> {
    let low = |byte| std::array::from_fn(|index| if index == 0 { byte } else { 0 });
    let high = |byte| {
        std::array::from_fn(|index| match index {
            0 => byte,
            31 => 0x7f,
            _ => 0xff,
        })
    };
    let y = [low(0), low(1), high(0xec), ORDER_8[0], ORDER_8[1], high(0xed), high(0xee)];
    y.into_iter()
        .flat_map(|point: [u8; 32]| {
            let mut signed = point;
            signed[31] |= 0x80;
            [point, signed]
        })
        .collect()
}

#[test]
fn keys_of_small_order_are_refused() {
    for point in small_order() {
        let refused = VerifyingKey::from_bytes(&point).unwrap_err();
        assert_eq!(refused.code, RefusalCode::WeakKey, "{point:02x?}");
    }
}

/// With a key of small order, one signature holds for many messages: the library alone
/// would say so. It is the check before it that refuses.
#[test]
fn the_check_of_small_order_is_what_refuses() {
    let forged = |a: [u8; 32], message: &[u8]| {
        // R the identity, S zero: holds where h·A is the identity.
        let mut signature = [0; 64];
        signature[0] = 1;
        UnparsedPublicKey::new(&ED25519, &a).verify(message, &signature).is_ok()
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    assert!(forged(identity, b"one") && forged(identity, b"another"));
    let order_8 = (0..100_u8).filter(|n| forged(ORDER_8[0], &[*n])).count();
    assert!((1..100).contains(&order_8), "{order_8}");
}

#[test]
fn signatures_with_r_of_small_order_are_refused_before_the_library_is_asked() {
    let (key, mut signature) = signed();
    for r in small_order() {
        signature[..32].copy_from_slice(&r);
        let refused = key.verifying_key().verify(b"message", &signature).unwrap_err();
        assert_eq!(refused.code, RefusalCode::SignatureInvalid);
        assert!(refused.reason.starts_with("R of the signature"), "{refused}");
    }
}

#[test]
fn seeds_lead_back_and_debug_shows_none() {
    let key = SigningKey::generate().unwrap();
    let seed = key.to_seed().unwrap();
    let same = SigningKey::from_seed(&seed).unwrap();
    assert_eq!(same.verifying_key(), key.verifying_key());
    let parsed = VerifyingKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
    assert_eq!(parsed, *key.verifying_key());
    assert!(!format!("{key:?}").contains(&format!("{:?}", &seed[..4])));
}

#[test]
fn encodings_of_a_point_that_are_not_canonical_are_refused() {
    for low in 0xed..=0xff {
        let mut point = [0xff; 32];
        point[0] = low;
        for top in [0x7f, 0xff] {
            point[31] = top;
            let refused = VerifyingKey::from_bytes(&point).unwrap_err();
            assert_eq!(refused.code, RefusalCode::WeakKey);
        }
    }
}
