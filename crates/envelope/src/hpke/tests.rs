use super::*;

#[test]
fn a_content_key_is_unwrapped_by_its_receiver_with_the_same_info_and_no_other() {
    let (bob, carol) = (RecipientKey::generate().unwrap(), RecipientKey::generate().unwrap());
    let cek = [5; 32];
    let (enc, wrapped) = wrap_key(bob.public(), &cek, b"info").unwrap();
    assert_eq!(bob.unwrap_key(&enc, &wrapped, b"info").as_deref(), Some(&cek));
    assert_eq!(bob.unwrap_key(&enc, &wrapped, b"other"), None);
    assert_eq!(carol.unwrap_key(&enc, &wrapped, b"info"), None);
    let (other_enc, other) = wrap_key(bob.public(), &cek, b"info").unwrap();
    assert_ne!((enc, wrapped), (other_enc, other), "a new key each time");
    assert_eq!(bob.unwrap_key(&other_enc, &wrapped, b"info"), None);
}

/// What everybody could agree on: refused as a key, and as an encapsulated one.
#[test]
fn points_of_low_order_are_refused_in_both_places() {
    let bob = RecipientKey::generate().unwrap();
    let low = |byte| std::array::from_fn(|index| if index == 0 { byte } else { 0 });
    let high = |byte| {
        std::array::from_fn(|index| match index {
            0 => byte,
            31 => 0x7f,
            _ => 0xff,
        })
    };
    let points = [low(0), low(1), high(0xec), high(0xed), high(0xee), ORDER_8[0], ORDER_8[1]];
    for mut point in points {
        for top in [0, 0x80] {
            point[31] |= top;
            let refused = RecipientPublicKey::from_bytes(&point).unwrap_err();
            assert_eq!(refused.code, RefusalCode::WeakKey, "{point:02x?}");
            assert_eq!(bob.unwrap_key(&point, &[0; WRAPPED], b""), None);
            // The library refuses it too: a sender cannot be made to use it.
            let (bytes, kid) = (point, KeyId::of(&point));
            assert!(wrap_key(&RecipientPublicKey { bytes, kid }, &[0; 32], b"").is_err());
        }
    }
}

#[test]
fn keys_lead_back_and_debug_shows_none() {
    let key = RecipientKey::generate().unwrap();
    let bytes = key.to_bytes();
    let same = RecipientKey::from_bytes(&bytes).unwrap();
    assert_eq!(same.public(), key.public());
    let parsed = RecipientPublicKey::from_bytes(key.public().as_bytes()).unwrap();
    assert_eq!(parsed, *key.public());
    assert!(!format!("{key:?}").contains(&format!("{:?}", &bytes[..4])));
}
