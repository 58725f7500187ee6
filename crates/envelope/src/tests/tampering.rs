//! No message that was changed opens, and each change is refused for its own reason.

use std::sync::atomic::{AtomicU64, Ordering};

use sealwire_names::RefusalCode as Code;

use super::support::*;
use crate::layers::{self, Recipient};
use crate::*;

/// Every byte of a thousand messages, each changed in one way or another.
#[test]
fn no_message_with_a_changed_byte_opens() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let (next, flipped) = (AtomicU64::new(0), AtomicU64::new(0));
    let flip_all = || {
        let mut receiver = bob.receiver(&[alice, bob, carol]);
        let group = Group::new(agent("g"), 1, agents.iter().map(|a| a.name.clone()));
        receiver.add_group(group.clone());
        let both = [&bob.bundle, &carol.bundle];
        loop {
            let seq = next.fetch_add(1, Ordering::Relaxed);
            if seq >= 1_000 {
                break;
            }
            let mut random = [0; 40];
            aws_lc_rs::rand::fill(&mut random).unwrap();
            let mut draft = Draft::new(
                MessageType::ALL[usize::from(random[0]) % MessageType::ALL.len()],
                &random[8..8 + usize::from(random[1] % 32)],
            );
            draft.priority = random[2];
            draft.in_reply_to = (random[3] % 2 == 0).then(|| MessageId::from_bytes([3; 16]));
            // Mostly to one, as those are the shortest.
            let to = match random[4] % 16 {
                0 => To::Agents(&both),
                1 => To::Group(&group, &both),
                _ => To::Agent(&bob.bundle),
            };
            let sealed = alice.seal_draft(&draft, &to, seq);
            let mut bytes = sealed.as_bytes().to_vec();
            for at in 0..bytes.len() {
                let was = bytes[at];
                // Each bit in turn, and now and then several.
                bytes[at] ^= if at % 3 == 0 { random[at % 40] | 1 } else { 1 << (at % 8) };
                assert!(receiver.open(&bytes, NOW).is_err(), "byte {at} of {sealed:?}");
                bytes[at] = was;
            }
            flipped.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            receiver.open(&bytes, NOW).expect("nothing was used up by the forgeries");
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(flip_all)));
    });
    assert!(flipped.into_inner() > 400_000);
}

#[test]
fn no_part_of_a_message_opens() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"all of it", &bob, 1);
    let receiver = bob.receiver(&[&alice]);
    let bytes = sealed.as_bytes();
    for length in 0..bytes.len() {
        assert_eq!(refused(&receiver, &bytes[..length]), Code::EnvelopeMalformed, "{length}");
    }
    let more = [bytes, &[0]].concat();
    assert_eq!(refused(&receiver, &more), Code::EnvelopeMalformed);
}

/// A field, a change of it, and the refusals: with the old signature, and with a new one by
/// the sender's real key, which shows that each inner check works.
type Case<'a> = (&'a str, Box<dyn Fn(&mut Forged) + 'a>, Code, Code);

#[test]
fn each_field_replaced_is_refused_even_if_the_sender_signs_it() {
    let agents = ["Alice", "Bob", "Carol", "Mallory"].map(Agent::new);
    let [alice, bob, carol, mallory] = &agents;
    let newer = Agent::with_bundle("Alice", 2, later(-HOUR), later(HOUR));
    // Refused after the claim counts as received, so each case has a receiver of its own.
    let receiver = || {
        let mut receiver = bob.receiver(&[alice, bob, carol, mallory, &newer]);
        for version in [1, 2] {
            let members = [alice, bob].map(|a| a.name.clone());
            receiver.add_group(Group::new(agent("pair"), version, members));
        }
        receiver.open(alice.seal(b"earlier", bob, 4).as_bytes(), NOW).unwrap();
        receiver
    };
    let draft = Draft::new(MessageType::TaskRequest, b"pay 10");
    let bundle = [&bob.bundle];
    let pair = Group::new(agent("pair"), 1, [alice, bob].map(|a| a.name.clone()));
    let single = alice.seal_draft(&draft, &To::Agent(&bob.bundle), 5);
    let grouped = alice.seal_draft(&draft, &To::Group(&pair, &bundle), 5);
    let other = alice.seal(b"pay 99", bob, 6);

    let group = |name: &str, version| Audience::Group(GroupRef { name: agent(name), version });
    let to_both = Audience::Agents(vec![bob.name.clone(), carol.name.clone()]);
    let other = Forged::of(&other);
    let signature = Code::SignatureInvalid;
    let cases: Vec<Case<'_>> = vec![
        (
            "from",
            Box::new(|f| f.header.from = mallory.name.clone()),
            Code::SenderKeyUnknown,
            Code::SenderKeyUnknown,
        ),
        (
            "from, unknown",
            Box::new(|f| f.header.from = agent("Nobody")),
            Code::SenderUnknown,
            Code::SenderUnknown,
        ),
        (
            "to another",
            Box::new(|f| f.header.audience = Audience::Agent(carol.name.clone())),
            Code::NotAddressed,
            Code::NotAddressed,
        ),
        (
            "to more",
            Box::new(move |f| f.header.audience = to_both.clone()),
            Code::RecipientCount,
            Code::RecipientCount,
        ),
        (
            "to a group",
            Box::new(move |f| f.header.audience = group("pair", 1)),
            signature,
            Code::ContentKey,
        ),
        (
            "kid, unknown",
            Box::new(|f| f.header.kid = KeyId::from_bytes([1; 32])),
            Code::SenderKeyUnknown,
            Code::SenderKeyUnknown,
        ),
        (
            "kid, of another agent",
            Box::new(|f| f.header.kid = mallory.bundle.fingerprint()),
            Code::SenderKeyUnknown,
            Code::SenderKeyUnknown,
        ),
        (
            "kid, the sender's other",
            Box::new(|f| f.header.kid = newer.bundle.fingerprint()),
            signature,
            signature,
        ),
        (
            "time, within tolerance",
            Box::new(|f| f.header.issued = later(-1)),
            signature,
            Code::ContentInvalid,
        ),
        (
            "time, too old",
            Box::new(|f| f.header.issued = later(-301)),
            Code::MessageStale,
            Code::MessageStale,
        ),
        (
            "time, future",
            Box::new(|f| f.header.issued = later(11)),
            Code::MessageFromFuture,
            Code::MessageFromFuture,
        ),
        (
            "exp, later",
            Box::new(|f| f.header.expires = later(8 * 24 * HOUR)),
            signature,
            Code::ContentInvalid,
        ),
        (
            "exp, past",
            Box::new(|f| {
                f.header.issued = later(-2);
                f.header.expires = NOW;
            }),
            Code::MessageExpired,
            Code::MessageExpired,
        ),
        (
            "exp, beyond the most",
            Box::new(|f| f.header.expires = later(30 * 24 * HOUR + 1)),
            Code::EnvelopeClaim,
            Code::EnvelopeClaim,
        ),
        (
            "message id",
            Box::new(|f| f.header.message_id = MessageId::from_bytes([0; 16])),
            signature,
            Code::ContentKey,
        ),
        ("seq, fresh", Box::new(|f| f.header.nonce.seq = 9), signature, Code::ContentInvalid),
        (
            "seq, used",
            Box::new(|f| f.header.nonce.seq = 4),
            Code::MessageReplayed,
            Code::MessageReplayed,
        ),
        ("epoch", Box::new(|f| f.header.nonce.epoch = 2), signature, Code::ContentInvalid),
        (
            "type",
            Box::new(|f| f.header.message_type = MessageType::Shutdown),
            signature,
            Code::ContentInvalid,
        ),
        ("priority", Box::new(|f| f.header.priority = 255), signature, Code::ContentInvalid),
        (
            "in_reply_to",
            Box::new(|f| f.header.in_reply_to = Some(MessageId::from_bytes([1; 16]))),
            signature,
            Code::ContentInvalid,
        ),
        (
            "recipients_digest",
            Box::new(|f| f.header.recipients_digest = [0; 32]),
            signature,
            Code::RecipientsDigest,
        ),
        (
            "cek_commitment",
            Box::new(|f| f.header.cek_commitment = [0; 32]),
            signature,
            Code::CekCommitment,
        ),
        ("iv", Box::new(|f| f.iv[0] ^= 1), signature, Code::ContentInvalid),
        ("content", Box::new(move |f| f.ciphertext = vec![0; 22]), signature, Code::ContentInvalid),
        (
            "recipient, wrap changed",
            Box::new(|f| f.recipients[0].wrapped[0] ^= 1),
            signature,
            Code::RecipientsDigest,
        ),
        (
            "recipient, and its digest",
            Box::new(|f| {
                f.recipients[0].wrapped[0] ^= 1;
                f.redigest();
            }),
            signature,
            Code::ContentKey,
        ),
        (
            "recipient, of low order",
            Box::new(|f| {
                f.recipients[0].enc = [0; 32];
                f.redigest();
            }),
            signature,
            Code::ContentKey,
        ),
        (
            "recipient, of another message",
            Box::new(|f| {
                f.recipients = other.recipients.clone();
                f.redigest();
            }),
            signature,
            Code::ContentKey,
        ),
        (
            "recipient, another's",
            Box::new(|f| {
                f.recipients[0].kid = carol.recipient.public().kid();
                f.redigest();
            }),
            Code::RecipientKeyUnknown,
            Code::RecipientKeyUnknown,
        ),
        (
            "recipient, one more",
            Box::new(|f| {
                f.recipients.push(Recipient {
                    kid: KeyId::from_bytes([255; 32]),
                    ..f.recipients[0].clone()
                });
                f.redigest();
            }),
            Code::RecipientCount,
            Code::RecipientCount,
        ),
    ];
    for (field, change, unsigned, resigned) in &cases {
        let (forged, receiver) = (Forged::with(&single, change), receiver());
        assert_eq!(refused(&receiver, &forged.unsigned()), *unsigned, "{field}");
        assert_eq!(refused(&receiver, &forged.signed(&alice.signing)), *resigned, "{field}");
    }
    let grouped_cases: Vec<Case<'_>> = vec![
        (
            "roster, unknown",
            Box::new(|f| f.header.audience = group("pair", 3)),
            Code::RosterUnknown,
            Code::RosterUnknown,
        ),
        (
            "roster, known",
            Box::new(|f| f.header.audience = group("pair", 2)),
            signature,
            Code::ContentInvalid,
        ),
        (
            "roster, more recipients than it has",
            Box::new(|f| {
                let kid = KeyId::from_bytes([255; 32]);
                f.recipients.push(Recipient { kid, ..f.recipients[0].clone() });
                f.redigest();
            }),
            Code::RecipientCount,
            Code::RecipientCount,
        ),
        (
            "another group",
            Box::new(|f| f.header.audience = group("all", 1)),
            Code::RosterUnknown,
            Code::RosterUnknown,
        ),
        (
            "from group to one",
            Box::new(|f| f.header.audience = Audience::Agent(bob.name.clone())),
            signature,
            Code::ContentKey,
        ),
    ];
    for (field, change, unsigned, resigned) in &grouped_cases {
        let (forged, receiver) = (Forged::with(&grouped, change), receiver());
        assert_eq!(refused(&receiver, &forged.unsigned()), *unsigned, "{field}");
        assert_eq!(refused(&receiver, &forged.signed(&alice.signing)), *resigned, "{field}");
    }
    // Unchanged, it opens: the cases were refused for what was changed.
    receiver().open(&Forged::of(&single).signed(&alice.signing), NOW).unwrap();
    receiver().open(&Forged::of(&grouped).unsigned(), NOW).unwrap();
}

/// The encodings of a header that no honest sender makes, signed by the sender all the same.
#[test]
fn foreign_headers_are_refused_each_with_its_own_reason() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let sealed = alice.seal(b"x", &bob, 1);
    let forged = Forged::of(&sealed);
    let protected = forged.header.encode();
    let resigned = |from: &[u8], to: &[u8]| {
        let at = protected.windows(from.len()).position(|window| window == from).unwrap();
        let changed = [&protected[..at], to, &protected[at + from.len()..]].concat();
        let payload = &sealed.encrypted_content;
        let bytes = layers::message_to_be_signed(&changed, payload);
        let signature = alice.signing.sign(&bytes).unwrap();
        refused(&receiver, &layers::Signed::encode(&changed, payload, &signature))
    };
    let crit = [0x02, 0x82, 0x0f, 0x3a, 0x00, 0x01, 0x00, 0x00];
    let private = [0x3a, 0x00, 0x01, 0x00, 0x00, 0x89, 0x01];
    for (what, from, to, code) in [
        ("alg ES256", &[0xa6, 0x01, 0x27][..], &[0xa6, 0x01, 0x26][..], Code::EnvelopeAlgorithm),
        ("alg none", &[0xa6, 0x01, 0x27], &[0xa6, 0x01, 0x00], Code::EnvelopeAlgorithm),
        ("alg twice", &[0xa6, 0x01, 0x27], &[0xa7, 0x01, 0x27, 0x01, 0x27], Code::EnvelopeHeader),
        ("no alg", &[0xa6, 0x01, 0x27], &[0xa5], Code::EnvelopeHeader),
        (
            "an unknown label",
            &[0xa6, 0x01, 0x27],
            &[0xa7, 0x01, 0x27, 0x03, 0x00],
            Code::EnvelopeHeader,
        ),
        ("unknown crit", &crit, &[0x02, 0x82, 0x0f, 0x18, 0x63], Code::EnvelopeCritical),
        (
            "more crit",
            &crit,
            &[0x02, 0x83, 0x0f, 0x3a, 0, 1, 0, 0, 0x18, 0x63],
            Code::EnvelopeCritical,
        ),
        ("empty crit", &crit, &[0x02, 0x80], Code::EnvelopeCritical),
        (
            "no crit",
            &[0xa6, 0x01, 0x27, 0x02, 0x82, 0x0f, 0x3a, 0, 1, 0, 0],
            &[0xa5, 0x01, 0x27],
            Code::EnvelopeHeader,
        ),
        (
            "order",
            &[0xa6, 0x01, 0x27, 0x02, 0x82, 0x0f, 0x3a, 0, 1, 0, 0],
            &[0xa6, 0x02, 0x82, 0x0f, 0x3a, 0, 1, 0, 0, 0x01, 0x27],
            Code::EnvelopeHeader,
        ),
        (
            "a long number",
            &[0xa6, 0x01, 0x27],
            &[0xa6, 0x18, 0x01, 0x27],
            Code::EnvelopeNotDeterministic,
        ),
        (
            "an indefinite map",
            &[0xa6, 0x01, 0x27],
            &[0xbf, 0x01, 0x27],
            Code::EnvelopeNotDeterministic,
        ),
        ("another typ", b"message+cose", b"massage+cose", Code::EnvelopeVersion),
        ("version 2", &private, &[0x3a, 0, 1, 0, 0, 0x89, 0x02], Code::EnvelopeVersion),
        ("type 6", &[0x89, 0x01, 0x01, 0x00], &[0x89, 0x01, 0x06, 0x00], Code::EnvelopeClaim),
        (
            "priority 256",
            &[0x89, 0x01, 0x01, 0x00],
            &[0x89, 0x01, 0x01, 0x19, 0x01, 0x00],
            Code::EnvelopeClaim,
        ),
        ("a roster for one", &[0xf6, 0xf6], &[0xf6, 0x01], Code::EnvelopeClaim),
        ("a name that is none", b"eAlice", b"e/lice", Code::EnvelopeClaim),
    ] {
        assert_eq!(resigned(from, to), code, "{what}");
    }
    let trailing = [&protected[..], &[0]].concat();
    assert_eq!(resigned(&protected, &trailing), Code::EnvelopeMalformed);
}

#[test]
fn lists_in_another_order_or_with_repetitions_are_refused() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let receiver = bob.receiver(&[alice]);
    let draft = Draft::new(MessageType::TaskRequest, b"x");
    let sealed = alice.seal_draft(&draft, &To::Agents(&[&bob.bundle, &carol.bundle]), 1);
    let names = |list: [&Agent; 2]| Audience::Agents(list.map(|a| a.name.clone()).to_vec());
    for list in [[carol, bob], [bob, bob]] {
        let forged = Forged::with(&sealed, |f| f.header.audience = names(list));
        let code = refused(&receiver, &forged.signed(&alice.signing));
        assert_eq!(code, Code::EnvelopeNotDeterministic);
    }
    let swapped = Forged::with(&sealed, |f| {
        f.recipients.swap(0, 1);
        f.redigest();
    });
    let twice = Forged::with(&sealed, |f| {
        f.recipients[1] = f.recipients[0].clone();
        f.redigest();
    });
    for forged in [swapped, twice] {
        let code = refused(&receiver, &forged.signed(&alice.signing));
        assert_eq!(code, Code::EnvelopeNotDeterministic);
    }
    let nobody = Forged::with(&sealed, |f| f.recipients.clear());
    assert_eq!(refused(&receiver, &nobody.signed(&alice.signing)), Code::RecipientCount);
}

#[test]
fn another_agent_cannot_sign_it_again() {
    let agents = ["Alice", "Bob", "Mallory"].map(Agent::new);
    let [alice, bob, mallory] = &agents;
    let receiver = bob.receiver(&[alice, mallory]);
    let sealed = alice.seal(b"from Alice", bob, 1);
    let as_alice = Forged::of(&sealed).signed(&mallory.signing);
    assert_eq!(refused(&receiver, &as_alice), Code::SignatureInvalid);
    let as_herself = Forged::with(&sealed, |f| {
        f.header.from = mallory.name.clone();
        f.header.kid = mallory.bundle.fingerprint();
    });
    assert_eq!(refused(&receiver, &as_herself.signed(&mallory.signing)), Code::ContentKey);
}

#[test]
fn a_receiver_cannot_pass_it_on_to_a_third() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let receiver = carol.receiver(&[alice, bob]);
    let sealed = alice.seal(b"for Bob", bob, 1);
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::NotAddressed);

    // Bob, who knows the content key, wraps it for Carol under a header of his own.
    let mut forged = Forged::of(&sealed);
    let info = layers::wrap_info(&forged.header, &bob.recipient.public().kid());
    let Recipient { enc, wrapped, .. } = &forged.recipients[0];
    let cek = bob.recipient.unwrap_key(enc, wrapped, &info).unwrap();
    forged.header.audience = Audience::Agent(carol.name.clone());
    let wrap = |forged: &mut Forged| {
        let kid = carol.recipient.public().kid();
        let info = layers::wrap_info(&forged.header, &kid);
        let (enc, wrapped) = crate::hpke::wrap_key(carol.recipient.public(), &cek, &info).unwrap();
        forged.recipients = vec![Recipient { kid, enc, wrapped }];
        forged.redigest();
    };
    wrap(&mut forged);
    // As Alice's he cannot sign it; as his own, the content still belongs to her header.
    assert_eq!(refused(&receiver, &forged.unsigned()), Code::SignatureInvalid);
    forged.header.from = bob.name.clone();
    forged.header.kid = bob.bundle.fingerprint();
    wrap(&mut forged);
    assert_eq!(refused(&receiver, &forged.signed(&bob.signing)), Code::ContentInvalid);
}

/// AES-GCM alone would let a sender show two receivers of one message two contents: the
/// ciphertext here opens with the key that Carol is given, and not with Bob's.
#[test]
fn receivers_cannot_be_shown_different_contents() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let draft = Draft::new(MessageType::TaskRequest, b"what Bob sees");
    let list = [&bob.bundle, &carol.bundle];
    let mut forged = Forged::of(&alice.seal_draft(&draft, &To::Agents(&list), 1));
    let second = [0x5e; 32];
    let kid = carol.recipient.public().kid();
    let info = layers::wrap_info(&forged.header, &kid);
    let (enc, wrapped) = crate::hpke::wrap_key(carol.recipient.public(), &second, &info).unwrap();
    let place = forged.recipients.iter().position(|entry| entry.kid == kid).unwrap();
    forged.recipients[place] = Recipient { kid, enc, wrapped };
    forged.redigest();
    let aad = layers::content_aad(&forged.header.encode());
    forged.ciphertext = crate::seal::encrypt(&second, forged.iv, &aad, b"what Carol sees").unwrap();
    let bytes = forged.signed(&alice.signing);
    assert_eq!(refused(&carol.receiver(&[alice]), &bytes), Code::CekCommitment);
    assert_eq!(refused(&bob.receiver(&[alice]), &bytes), Code::ContentInvalid);

    // With a commitment to the second key Carol would have believed it.
    forged.header.cek_commitment = layers::commit(&second, &forged.header.message_id);
    let aad = layers::content_aad(&forged.header.encode());
    forged.ciphertext = crate::seal::encrypt(&second, forged.iv, &aad, b"what Carol sees").unwrap();
    let bytes = forged.signed(&alice.signing);
    let opened = carol.receiver(&[alice]).open(&bytes, NOW).unwrap();
    assert_eq!(*opened.content, b"what Carol sees");
    assert_eq!(refused(&bob.receiver(&[alice]), &bytes), Code::CekCommitment);
}
