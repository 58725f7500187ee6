//! What is sealed is opened by those it is for, once, in the stated order.

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

    let opened = Receiver::new(&bob, &[&alice]).open(sealed.as_bytes()).unwrap();
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
fn a_second_copy_is_refused() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"once", &bob, 1);
    let mut receiver = Receiver::new(&bob, &[&alice]);
    receiver.open(sealed.as_bytes()).unwrap();
    assert_eq!(receiver.refuses(sealed.as_bytes()), RefusalCode::MessageReplayed);
}
