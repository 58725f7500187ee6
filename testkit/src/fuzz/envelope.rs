use ciborium::Value;
use sealwire_envelope::{
    Audience, Bundle, DirectReceiver, Directory, MAX_BUNDLE, MAX_MESSAGE, MAX_RECIPIENTS, MAX_TTL,
    ReplayLimits, Rules, SecureAgentMessage, inspect,
};
use sealwire_names::{Refusal, RefusalCode};

/// A message between agents, or a bundle of keys: what passes is the one encoding of what
/// another CBOR library reads in it, and obeys every bound; nothing opens for a stranger.
pub fn envelope(data: &[u8]) {
    match Bundle::decode(data) {
        Ok(bundle) => {
            assert!(data.len() <= MAX_BUNDLE && is_deterministic(data));
            assert!(bundle.not_before < bundle.not_after, "{bundle:?}");
            assert_ne!(bundle.signing.as_bytes(), &[0; 32]);
            assert!(SecureAgentMessage::decode(data).is_err(), "a bundle that is a message");
        }
        Err(refusal) => assert!(!refusal.reason.is_empty(), "{refusal:?}"),
    }
    let message = match SecureAgentMessage::decode(data) {
        Ok(message) => message,
        Err(refusal) => {
            assert!(!refusal.reason.is_empty(), "{refusal:?}");
            assert_eq!(inspect(data), Err(refusal));
            return;
        }
    };
    assert_eq!(message.as_bytes(), data);
    assert!(data.len() <= MAX_MESSAGE && is_deterministic(data));
    assert!(is_deterministic(&message.encrypted_content));
    let life = message.timestamp.until(message.expires).expect("it lives");
    assert!(life <= MAX_TTL, "{life:?}");
    let recipients = message.recipient_kids.len();
    assert!((1..=MAX_RECIPIENTS).contains(&recipients), "{recipients} recipients");
    assert!(message.recipient_kids.is_sorted_by(|a, b| a < b), "{message:?}");
    match &message.audience {
        Audience::Agent(agent) => {
            assert_eq!((message.to.as_ref(), recipients), (Some(agent), 1));
        }
        Audience::Agents(agents) => {
            assert!(agents.is_sorted_by(|a, b| a < b) && agents.len() == recipients);
        }
        Audience::Group(group) => assert!(message.to.is_none(), "{group}"),
    }
    let inspection = inspect(data).expect("it was decoded");
    assert!(inspection.content_size < data.len());
    assert_eq!(inspection.message, message);

    let (limits, now) = (ReplayLimits::default(), message.timestamp);
    let me = message.to.clone().unwrap_or(message.from);
    let receiver = DirectReceiver::new(me, vec![], Directory::new(), Nobody, limits, now);
    assert!(receiver.open(data, now).is_err(), "opened without a key");
}

struct Nobody;

impl Rules for Nobody {
    fn trusted(&self, _: &SecureAgentMessage) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotTrusted, "nobody is"))
    }

    fn admit(&self, message: &SecureAgentMessage) -> Result<(), sealwire_envelope::Deferred> {
        panic!("asked before the signature held: {message:?}")
    }
}

/// Whether another library writes the same bytes for what it reads, layers included.
fn is_deterministic(data: &[u8]) -> bool {
    let Ok(value) = ciborium::from_reader::<Value, _>(data) else { return false };
    let mut written = Vec::new();
    ciborium::into_writer(&value, &mut written).expect("a vector takes all");
    let Value::Tag(_, layers) = value else { return false };
    let protected = layers.as_array().and_then(|layer| layer.first()?.as_bytes().cloned());
    let Some(protected) = protected else { return false };
    let Ok(header) = ciborium::from_reader::<Value, _>(&protected[..]) else { return false };
    let mut header_written = Vec::new();
    ciborium::into_writer(&header, &mut header_written).expect("a vector takes all");
    written == data && header_written == protected
}
