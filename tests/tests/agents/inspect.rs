//! What can be read of a sealed message without a key.

use std::time::{Duration, SystemTime};

use sealwire_envelope::{
    Bundle, BundleRequest, Draft, MessageType, Nonce, RecipientKey, Sender, SigningKey, To, seal,
};
use sealwire_testkit::Home;
use serde_json::{Value, json};

use crate::team::refused;

#[test]
fn a_sealed_message_shows_its_header_and_not_its_content() {
    let now = SystemTime::now();
    let later = now + Duration::from_secs(3600);
    let now = now.into();
    let (signing, recipient) = (SigningKey::generate().unwrap(), RecipientKey::generate().unwrap());
    let request = BundleRequest {
        agent: "Bob".parse().unwrap(),
        number: 1,
        not_before: now,
        not_after: later.into(),
    };
    let bundle = Bundle::make(&request, &SigningKey::generate().unwrap(), recipient.public());
    let bundle = Bundle::decode(&bundle.unwrap()).unwrap();
    let agent = "Ann".parse().unwrap();
    let sender = Sender { agent: &agent, key: &signing };
    let mut draft = Draft::new(MessageType::StatusUpdate, b"the content");
    draft.priority = 3;
    let nonce = Nonce { epoch: 7, seq: 42 };
    let message = seal(&draft, &sender, &To::Agent(&bundle), nonce, now).unwrap();

    let home = Home::empty();
    let file = home.write("message", message.as_bytes());
    let inspect =
        |more: &[&str]| home.run(&[&["agent", "inspect", file.to_str().unwrap()], more].concat());
    let output = inspect(&["--json"]).ok();
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    for (member, value) in [
        ("verified", json!(false)),
        ("from", json!("Ann")),
        ("audience", json!({ "agent": "Bob" })),
        ("type", json!("status_update")),
        ("priority", json!(3)),
        ("seq", json!(42)),
        ("recipients_match", json!(true)),
        ("content_size", json!(11)),
        ("message_id", json!(message.metadata.message_id.to_string())),
        ("sender_kid", json!(signing.verifying_key().kid().to_hex())),
        ("recipient_kids", json!([recipient.public().kid().to_hex()])),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    let text = inspect(&[]).ok().stdout;
    assert!(
        text.contains("nothing of this is verified") && !text.contains("the content"),
        "{text}"
    );

    home.write("message", &message.as_bytes()[1..]);
    refused(&inspect(&[]), 1, &["no sealed message", "envelope_", "to fix"]);
    home.write("message", vec![0; 4 << 20]);
    refused(&inspect(&[]), 1, &["longer than", "to fix"]);
}
