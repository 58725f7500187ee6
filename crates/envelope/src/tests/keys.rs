//! Bundles, and the directory of those that are believed.

use sealwire_names::RefusalCode as Code;

use super::support::*;
use crate::*;

fn made(name: &str, number: u64, signing: &SigningKey, recipient: &RecipientKey) -> Vec<u8> {
    let (not_before, not_after) = (later(-HOUR), later(HOUR));
    let request = BundleRequest { agent: agent(name), number, not_before, not_after };
    Bundle::make(&request, signing, recipient.public()).unwrap()
}

#[test]
fn a_bundle_says_what_was_put_into_it() {
    let (signing, recipient) = (SigningKey::generate().unwrap(), RecipientKey::generate().unwrap());
    let bytes = made("Alice", 3, &signing, &recipient);
    assert!(bytes.len() <= MAX_BUNDLE);
    let bundle = Bundle::decode(&bytes).unwrap();
    assert_eq!((bundle.agent.as_str(), bundle.number), ("Alice", 3));
    assert_eq!(bundle.signing, *signing.verifying_key());
    assert_eq!(bundle.recipient, *recipient.public());
    assert_eq!((bundle.not_before, bundle.not_after), (later(-HOUR), later(HOUR)));
    assert_eq!(bundle.fingerprint(), signing.verifying_key().kid());
    assert!(bundle.valid_at(later(-HOUR)) && bundle.valid_at(later(HOUR - 1)));
    assert!(!bundle.valid_at(later(-HOUR - 1)) && !bundle.valid_at(later(HOUR)));
}

/// Its signature proves that whoever made it has the key; without it, anybody could claim
/// another's key as his own.
#[test]
fn no_bundle_with_a_changed_byte_decodes() {
    let (signing, recipient) = (SigningKey::generate().unwrap(), RecipientKey::generate().unwrap());
    let bytes = made("Alice", 3, &signing, &recipient);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(Bundle::decode(&changed).is_err(), "byte {at}");
        assert!(Bundle::decode(&bytes[..at]).is_err(), "{at} bytes");
    }
    let huge = vec![0; MAX_BUNDLE + 1];
    assert_eq!(Bundle::decode(&huge).unwrap_err().code, Code::MessageTooLarge);
}

/// Neither is taken for the other, although the same key signs both.
#[test]
fn a_bundle_is_no_message_and_a_message_no_bundle() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let bundle = made("Alice", 1, &alice.signing, &alice.recipient);
    assert!(SecureAgentMessage::decode(&bundle).is_err());
    assert!(Bundle::decode(alice.seal(b"x", &bob, 1).as_bytes()).is_err());
}

#[test]
fn the_highest_number_that_is_valid_is_sealed_to() {
    let old = Agent::with_bundle("Bob", 1, later(-HOUR), later(10));
    let new = Agent::with_bundle("Bob", 2, later(0), later(HOUR));
    let next = Agent::with_bundle("Bob", 3, later(100), later(HOUR));
    let mut directory = Directory::new();
    for bob in [&new, &next, &old] {
        directory.vouch(bob.bundle.clone()).unwrap();
    }
    let bob = agent("Bob");
    let current =
        |directory: &Directory, at| directory.current(&bob, later(at)).map(|bundle| bundle.number);
    assert_eq!(current(&directory, -HOUR - 1), None);
    assert_eq!(current(&directory, -1), Some(1));
    assert_eq!(current(&directory, 0), Some(2));
    assert_eq!(current(&directory, 100), Some(3));
    assert_eq!(current(&directory, HOUR), None);
    // In the overlap, what the old key signed is still believed.
    for (at, believed) in [(9, true), (10, false)] {
        let key = directory.sender_key(&bob, &old.bundle.fingerprint(), later(at));
        assert_eq!(key.is_ok(), believed);
    }
    let numbers: Vec<_> = directory.bundles(&bob).map(|bundle| bundle.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    // A revoked recipient key is not sealed to, although its signing key is good.
    directory.revoke(next.recipient.public().kid());
    assert_eq!(current(&directory, 100), Some(2));
    directory.revoke(new.bundle.fingerprint());
    assert_eq!(current(&directory, 100), None);
}

#[test]
fn strangers_revoked_and_expired_keys_are_refused_each_with_its_reason() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let old = Agent::with_bundle("Alice", 2, later(-HOUR), later(0));
    let mut receiver = bob.receiver(&[]);
    let sealed = alice.seal(b"x", &bob, 1);
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::SenderUnknown);
    receiver.directory.vouch(old.bundle.clone()).unwrap();
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::SenderKeyUnknown);
    let expired = old.seal(b"x", &bob, 1);
    assert_eq!(refused(&receiver, expired.as_bytes()), Code::SenderKeyExpired);
    receiver.directory.vouch(alice.bundle.clone()).unwrap();
    receiver.rules.distrusted = Some(alice.name.clone());
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::NotTrusted);
    receiver.rules.distrusted = None;
    receiver.directory.revoke(alice.bundle.fingerprint());
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::SenderKeyRevoked);
    let again = receiver.directory.vouch(Agent::new("Alice").bundle);
    assert_eq!(again.unwrap_err().code, Code::BundleConflict);
}

#[test]
fn bundles_that_contradict_are_refused() {
    let alice = Agent::new("Alice");
    let mut directory = Directory::new();
    directory.vouch(alice.bundle.clone()).unwrap();
    directory.vouch(alice.bundle.clone()).unwrap();
    // The same key under another name, or with another recipient key; the same number.
    let other = RecipientKey::generate().unwrap();
    for (name, number, recipient) in
        [("Bob", 1, &alice.recipient), ("Alice", 2, &alice.recipient), ("Alice", 1, &other)]
    {
        let bundle = Bundle::decode(&made(name, number, &alice.signing, recipient)).unwrap();
        assert_eq!(directory.vouch(bundle).unwrap_err().code, Code::BundleConflict, "{name}");
    }
    let same_number = Agent::new("Alice").bundle;
    assert_eq!(directory.vouch(same_number).unwrap_err().code, Code::BundleConflict);
    assert_eq!(directory.agents().count(), 1);
    assert!(!directory.knows(&agent("Bob")));
    let mut revoked = Directory::new();
    revoked.revoke(alice.recipient.public().kid());
    let refused = revoked.vouch(alice.bundle.clone()).unwrap_err();
    assert_eq!(refused.code, Code::SenderKeyRevoked);
    assert!(revoked.is_revoked(&alice.recipient.public().kid()));
    assert!(!revoked.knows(&alice.name));
}
