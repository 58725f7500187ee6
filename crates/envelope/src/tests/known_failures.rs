//! What systems of this kind got wrong before, one test each.

use std::collections::HashSet;

use sealwire_names::RefusalCode as Code;

use super::support::*;
use crate::*;

/// The receiver decrypts with the IV that was sent, and with no other.
#[test]
fn the_receiver_decrypts_with_the_iv_that_was_sent() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let mut ivs = HashSet::new();
    for seq in 0..100 {
        let sealed = alice.seal(b"the same content", &bob, seq);
        let iv = Forged::of(&sealed).iv;
        assert!(sealed.as_bytes().windows(12).any(|window| window == iv), "it travels");
        assert!(ivs.insert(iv), "an IV of its own");
        receiver.open(sealed.as_bytes(), NOW).unwrap();
    }
    let sealed = alice.seal(b"x", &bob, 100);
    let other = Forged::with(&sealed, |forged| forged.iv = [0; 12]).signed(&alice.signing);
    assert_eq!(refused(&receiver, &other), Code::ContentInvalid);
}

#[test]
fn the_signature_covers_sender_receiver_time_and_type() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let sealed = alice.seal(b"x", bob, 1);
    // Receivers that would take the changed header: only the signature stands in the way.
    type Change = (&'static str, fn(&mut Forged));
    let changes: [Change; 5] = [
        ("receiver", |f| f.header.audience = Audience::Agent(agent("Carol"))),
        ("time of issue", |f| f.header.issued = later(-5)),
        ("time of expiry", |f| f.header.expires = later(HOUR)),
        ("type", |f| f.header.message_type = MessageType::Shutdown),
        ("number", |f| f.header.nonce.seq = 2),
    ];
    for (what, change) in changes {
        let mut receiver = bob.receiver(&[alice]);
        if what == "receiver" {
            receiver.agent = carol.name.clone();
        }
        let forged = Forged::with(&sealed, change).unsigned();
        assert_eq!(refused(&receiver, &forged), Code::SignatureInvalid, "{what}");
    }
    // The sender's name belongs to the key; with another name of the same key it would be
    // the signature again, as the directory of this receiver shows.
    let mut checks = Asked::new(bob, alice);
    let forged = Forged::with(&sealed, |f| f.header.from = agent("Mallory")).unsigned();
    let opened = open(&forged, &bob.name, &mut checks, NOW, TimeRule::DIRECT);
    assert!(matches!(opened, Err(OpenError::Refused(r)) if r.code == Code::SignatureInvalid));
}

/// Who loses count starts another epoch; who forgot to is refused, not believed.
#[test]
fn a_count_that_begins_again_is_no_second_chance() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let draft = Draft::new(MessageType::TaskRequest, b"x");
    let to = To::Agent(&bob.bundle);
    for process in 0..10 {
        let sealed = alice.seal_at(&draft, &to, Nonce { epoch: process, seq: 0 }, NOW);
        receiver.open(sealed.as_bytes(), NOW).unwrap();
        let same = alice.seal_at(&draft, &to, Nonce { epoch: process, seq: 0 }, NOW);
        assert_eq!(refused(&receiver, same.as_bytes()), Code::MessageReplayed);
    }
}

#[test]
fn the_future_side_of_the_clock_is_checked() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"x", &bob, 1);
    let receiver = bob.receiver(&[&alice]);
    let code = refused_at(&receiver, sealed.as_bytes(), later(-11));
    assert_eq!(code, Code::MessageFromFuture);
}

/// The same signing key goes with any recipient key, and the same 32 bytes make different
/// keys: nothing leads from one to the other.
#[test]
fn no_encryption_key_comes_from_a_signing_key() {
    let signing = SigningKey::from_seed(&[7; 32]).unwrap();
    let recipients = [(), ()].map(|()| RecipientKey::generate().unwrap());
    assert_ne!(recipients[0].public(), recipients[1].public());
    let same_bytes = RecipientKey::from_bytes(&[7; 32]).unwrap();
    assert_ne!(same_bytes.public().as_bytes(), signing.verifying_key().as_bytes());
    assert_ne!(same_bytes.public().kid(), signing.verifying_key().kid());
}

/// The sender cannot open what it sealed, nor can the receiver send it back as its own.
#[test]
fn the_two_ends_share_no_key() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"x", &bob, 1);
    let mut sender = alice.receiver(&[&alice, &bob]);
    assert_eq!(refused(&sender, sealed.as_bytes()), Code::NotAddressed);
    sender.agent = bob.name.clone();
    assert_eq!(refused(&sender, sealed.as_bytes()), Code::RecipientKeyUnknown);

    let back = Forged::with(&sealed, |f| {
        f.header.from = agent("Bob");
        f.header.audience = Audience::Agent(agent("Alice"));
    });
    let alice_again = alice.receiver(&[&bob]);
    assert_eq!(refused(&alice_again, &back.signed(&bob.signing)), Code::SenderKeyUnknown);
    let mut back = back;
    back.header.kid = bob.bundle.fingerprint();
    let code = refused(&alice_again, &back.signed(&bob.signing));
    assert_eq!(code, Code::RecipientKeyUnknown);
}
