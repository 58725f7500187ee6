//! What is sealed is opened by those it is for, and asked about in the stated order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sealwire_names::RefusalCode;

use super::support::*;
use crate::*;

#[test]
fn one_agent_opens_what_another_sealed_for_it() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let content = b"review the patch";
    let mut draft = Draft::new(MessageType::TaskRequest, content);
    draft.priority = 7;
    draft.in_reply_to = Some(MessageId::from_bytes([9; 16]));
    let sealed = alice.seal_draft(&draft, &To::Agent(&bob.bundle), 1);
    assert!(!sealed.as_bytes().windows(content.len()).any(|window| window == content));

    let opened = bob.receiver(&[&alice]).open(sealed.as_bytes(), NOW).unwrap();
    assert_eq!(*opened.content, content);
    let message = &opened.message;
    assert_eq!(message, &sealed);
    assert_eq!(message.from, alice.name);
    assert_eq!(message.to, Some(bob.name.clone()));
    assert_eq!(message.audience, Audience::Agent(bob.name.clone()));
    assert_eq!(message.nonce, Nonce { epoch: 1, seq: 1 });
    assert_eq!(message.timestamp, NOW);
    assert_eq!(message.expires, later(7 * 24 * HOUR));
    assert_eq!(message.metadata.priority, 7);
    assert_eq!(message.metadata.message_type, MessageType::TaskRequest);
    assert_eq!(message.in_reply_to, draft.in_reply_to);
    assert_eq!(message.recipient_kids, [bob.recipient.public().kid()]);
    assert_eq!(SecureAgentMessage::decode(sealed.as_bytes()).unwrap(), sealed);
}

#[test]
fn each_of_a_list_and_each_member_of_a_group_opens_it_and_nobody_else() {
    let agents = ["Alice", "Bob", "Carol", "Dave"].map(Agent::new);
    let [alice, bob, carol, dave] = &agents;
    let draft = Draft::new(MessageType::StatusUpdate, b"half way");
    let group = Group::new(agent("team"), 3, [&alice, &bob, &carol].map(|a| a.name.clone()));

    let list = [&carol.bundle, &bob.bundle];
    let to_list = alice.seal_draft(&draft, &To::Agents(&list), 1);
    assert_eq!(to_list.to, None);
    assert_eq!(to_list.audience, Audience::Agents(vec![bob.name.clone(), carol.name.clone()]));
    let to_group = alice.seal_draft(&draft, &To::Group(&group, &list), 1);
    assert_eq!(to_group.to, None);
    assert_eq!(to_group.audience, Audience::Group(group.reference().clone()));

    for message in [to_list, to_group] {
        for member in [bob, carol] {
            let mut receiver = member.receiver(&[alice]);
            receiver.add_group(group.clone());
            assert_eq!(*receiver.open(message.as_bytes(), NOW).unwrap().content, b"half way");
        }
        let mut receiver = dave.receiver(&[alice]);
        receiver.add_group(group.clone());
        assert_eq!(refused(&receiver, message.as_bytes()), RefusalCode::NotAddressed);
    }
}

#[test]
fn empty_and_largest_contents_pass_and_a_byte_more_does_not() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let largest = vec![7; MAX_CONTENT];
    for (seq, content) in [(1, &[][..]), (2, &largest)] {
        let sealed = alice.seal(content, &bob, seq);
        assert_eq!(*receiver.open(sealed.as_bytes(), NOW).unwrap().content, content);
    }
    let draft = Draft::new(MessageType::TaskRequest, &[0; MAX_CONTENT + 1]);
    let nonce = Nonce { epoch: 1, seq: 3 };
    let sealed = seal(&draft, &alice.sender(), &To::Agent(&bob.bundle), nonce, NOW);
    let (size, limit) = (MAX_CONTENT + 1, MAX_CONTENT);
    assert_eq!(sealed.unwrap_err(), SealError::ContentTooLarge { size, limit });
    assert_eq!(refused(&receiver, &vec![0; MAX_MESSAGE + 1]), RefusalCode::MessageTooLarge);
    // Nor from a sender that has its own idea of what may be sealed.
    let small = alice.seal(b"", &bob, 4);
    for (more, refusal) in [(0, RefusalCode::ContentInvalid), (1, RefusalCode::MessageTooLarge)] {
        let forged = Forged::with(&small, |f| f.ciphertext = vec![0; MAX_CONTENT + 16 + more]);
        let receiver = bob.receiver(&[&alice]);
        assert_eq!(refused(&receiver, &forged.signed(&alice.signing)), refusal);
    }
}

/// The largest message there can be: so nothing that is sealed is refused for its size.
#[test]
fn the_most_receivers_with_the_longest_names_fit() {
    let (alice, me) = (Agent::new(&"a".repeat(128)), Agent::new(&"b".repeat(128)));
    let others: Vec<_> = (1..MAX_RECIPIENTS).map(|n| Agent::new(&format!("{n:0128}"))).collect();
    let mut bundles: Vec<_> = others.iter().map(|other| &other.bundle).collect();
    bundles.push(&me.bundle);
    let content = vec![1; MAX_CONTENT];
    let draft = Draft::new(MessageType::TaskRequest, &content);
    let sealed = alice.seal_draft(&draft, &To::Agents(&bundles), u64::MAX);
    assert!(sealed.as_bytes().len() <= MAX_MESSAGE);
    assert_eq!(*me.receiver(&[&alice]).open(sealed.as_bytes(), NOW).unwrap().content, content);

    let one_more = Agent::new("OneMore");
    bundles.push(&one_more.bundle);
    let nonce = Nonce { epoch: 1, seq: 1 };
    let sealed = seal(&draft, &alice.sender(), &To::Agents(&bundles), nonce, NOW);
    let (count, limit) = (MAX_RECIPIENTS + 1, MAX_RECIPIENTS);
    assert_eq!(sealed.unwrap_err(), SealError::TooManyRecipients { count, limit });
}

#[test]
fn the_order_of_questions_is_the_stated_one() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"x", &bob, 1);
    let asked = |bytes: &[u8], now| {
        let mut checks = Asked::new(&bob, &alice);
        let opened = open(bytes, &bob.name, &mut checks, now, TimeRule::DIRECT);
        (opened.is_ok(), checks.asked.into_inner())
    };
    let before_verify = ["sender_key", "recipient_key", "trusted", "seen"];
    let all = [&before_verify[..], &["admit", "claim", "recipient_key"]].concat();
    assert_eq!(asked(sealed.as_bytes(), NOW), (true, all));
    // Time comes after trust, and before the look for a replay.
    assert_eq!(asked(sealed.as_bytes(), later(301)), (false, before_verify[..3].to_vec()));
    // A bad signature is counted against nobody.
    let forged = Forged::with(&sealed, |forged| forged.header.priority = 1).unsigned();
    assert_eq!(asked(&forged, NOW), (false, before_verify.to_vec()));
    // What is no message asks nothing.
    assert_eq!(asked(&sealed.as_bytes()[1..], NOW), (false, vec![]));
}

/// A message that comes too fast is not used up by that.
#[test]
fn what_is_deferred_opens_later() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"patience", &bob, 1);
    let receiver = bob.receiver(&[&alice]);
    receiver.rules.budget.store(0, Ordering::Relaxed);
    let deferred = Deferred { from: alice.name.clone(), wait: Duration::from_secs(1) };
    for _ in 0..2 {
        let opened = receiver.open(sealed.as_bytes(), NOW);
        assert_eq!(opened, Err(OpenError::Deferred(deferred.clone())));
    }
    receiver.rules.budget.store(1, Ordering::Relaxed);
    receiver.open(sealed.as_bytes(), NOW).unwrap();
}

#[test]
fn nothing_is_sealed_to_nobody_to_the_wrong_or_for_the_wrong_time() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let old = Agent::with_bundle("Old", 1, later(-HOUR), NOW);
    let early = Agent::with_bundle("Early", 1, later(1), later(HOUR));
    let draft = Draft::new(MessageType::TaskRequest, b"x");
    let nonce = Nonce { epoch: 1, seq: 1 };
    let fails = |to: &To<'_>| seal(&draft, &alice.sender(), to, nonce, NOW).unwrap_err();

    let nobody = SealError::NoRecipient { from: alice.name.clone() };
    assert_eq!(fails(&To::Agents(&[])), nobody);
    for invalid in [&old, &early] {
        let error = fails(&To::Agent(&invalid.bundle));
        assert!(matches!(error, SealError::BundleNotValid { .. }), "{error}");
    }
    let twice = SealError::DuplicateRecipient { agent: bob.name.clone() };
    assert_eq!(fails(&To::Agents(&[&bob.bundle, &bob.bundle])), twice);
    let mut shared = bob.bundle.clone();
    shared.agent = carol.name.clone();
    let error = fails(&To::Agents(&[&bob.bundle, &shared]));
    assert!(matches!(error, SealError::DuplicateRecipient { .. }), "{error}");

    let group = Group::new(agent("team"), 1, agents.iter().map(|a| a.name.clone()));
    let roster = |name: &str| SealError::Roster { group: agent("team"), agent: agent(name) };
    assert_eq!(fails(&To::Group(&group, &[&bob.bundle])), roster("Carol"));
    let with_old = [&bob.bundle, &carol.bundle, &alice.bundle];
    assert_eq!(fails(&To::Group(&group, &with_old)), roster("Alice"));
    let alone = Group::new(agent("team"), 2, [alice.name.clone()]);
    assert_eq!(fails(&To::Group(&alone, &[])), nobody);

    for ttl in [Duration::ZERO, Duration::from_millis(999), MAX_TTL + Duration::from_secs(1)] {
        let draft = Draft { ttl, ..draft.clone() };
        let error = seal(&draft, &alice.sender(), &To::Agent(&bob.bundle), nonce, NOW);
        assert_eq!(error.unwrap_err(), SealError::Ttl { ttl, limit: MAX_TTL });
    }
    for clock in [i64::MIN, -1, i64::MAX] {
        let clock = sealwire_names::Timestamp::from_unix_millis(clock);
        let sealed = seal(&draft, &alice.sender(), &To::Agent(&bob.bundle), nonce, clock);
        assert!(sealed.is_err(), "{clock}");
    }
}

#[test]
fn secrets_and_contents_are_in_no_debug_output() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let draft = Draft::new(MessageType::TaskRequest, b"the secret content");
    let sealed = alice.seal_draft(&draft, &To::Agent(&bob.bundle), 1);
    let opened = bob.receiver(&[&alice]).open(sealed.as_bytes(), NOW).unwrap();
    let shown = format!(
        "{:?} {:#?} {:?} {:?} {:?} {:?}",
        draft, opened, sealed, alice.signing, alice.recipient, alice.bundle
    );
    let seed = alice.signing.to_seed().unwrap();
    let scalar = alice.recipient.to_bytes();
    for secret in [&b"the secret content"[..], &*seed, &*scalar] {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{secret:?}");
        let text = String::from_utf8_lossy(secret);
        for form in [hex.as_str(), &list, list.trim_matches(['[', ']']), &text] {
            assert!(!shown.contains(form), "{shown}");
        }
    }
}
