//! What is decoded encodes to the bytes it came from: there is one encoding of each message.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::support::*;
use crate::message::Parsed;
use crate::*;

static SEALED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let group = Group::new(agent("team"), 3, agents.iter().map(|a| a.name.clone()));
    let both = [&bob.bundle, &carol.bundle];
    let mut draft = Draft::new(MessageType::ErrorNotification, b"content");
    let one = alice.seal_draft(&draft, &To::Agent(&bob.bundle), 1);
    draft.in_reply_to = Some(one.metadata.message_id);
    let list = alice.seal_draft(&draft, &To::Agents(&both), 1 << 40);
    let group = alice.seal_draft(&draft, &To::Group(&group, &both), 23);
    [one, list, group].map(SecureAgentMessage::into_bytes).to_vec()
});

fn holds(bytes: &[u8]) {
    match Parsed::decode(bytes) {
        Ok(parsed) => {
            let message = parsed.message(bytes);
            assert_eq!(Forged::of(&message).unsigned(), bytes);
        }
        Err(refusal) => assert!(!refusal.reason.is_empty()),
    }
}

#[test]
fn sealed_messages_encode_to_themselves() {
    for bytes in SEALED.iter() {
        assert!(Parsed::decode(bytes).is_ok());
        holds(bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Parts taken out, put in and put elsewhere, of real messages.
    #[test]
    fn what_is_decoded_is_the_one_encoding(
        which in 0..3_usize,
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..5_usize, prop::collection::vec(any::<u8>(), 0..5)),
            1..4,
        ),
    ) {
        let mut bytes = SEALED[which].clone();
        for (at, removed, added) in edits {
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, added);
            if bytes.is_empty() {
                break;
            }
        }
        holds(&bytes);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        holds(&bytes);
        prop_assert!(Bundle::decode(&bytes).is_err());
    }
}
