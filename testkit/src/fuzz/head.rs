use sealwire_names::{Refusal, RefusalCode};
use sealwire_relay::message::{ErrorCode, Head, Parser, RequestId, error_answer};
use serde_json::Value;

use self::reader::Top;

mod reader;

/// The head of a message: whatever passes is JSON that another parser reads in the same
/// way, and whatever is refused is refused for a reason that holds.
pub fn head(data: &[u8]) {
    let parser = Parser::default();
    let outcome = parser.parse(data);
    let is_json = str::from_utf8(data).is_ok_and(reader::is_object_on_one_line);
    let id = match &outcome {
        Ok(head) => {
            assert!(is_json, "passes, and is no JSON object on one line");
            let text = str::from_utf8(data).expect("JSON is UTF-8");
            if let Some(theirs) = reader::read(text) {
                compare(head, &theirs);
            }
            match head {
                Head::Request { id, .. } => Some(id),
                Head::Response { id, .. } => id.as_ref(),
                Head::Notification { .. } => None,
            }
        }
        Err(rejected) => {
            match rejected.refusal.code {
                RefusalCode::MessageMalformed => assert!(!is_json, "JSON, yet {rejected:?}"),
                RefusalCode::MessageBatch => {}
                _ => assert!(is_json, "no JSON object on one line, yet {rejected:?}"),
            }
            rejected.id.as_ref()
        }
    };
    if let Some(id) = id {
        answers_under_the_same_id(parser, id);
    }
    if outcome.is_ok() {
        for end in prefixes(data.len()) {
            let refusal = Refusal::new(RefusalCode::MessageTooLarge, "");
            let suffix = &data[end.max(data.len().saturating_sub(1024))..];
            let recovered = parser.recover(&data[..end], suffix, refusal).id;
            assert!(
                recovered.is_none() || recovered.as_ref() == id,
                "from {end} bytes of {}: {recovered:?} for {id:?}",
                data.len()
            );
        }
    }
}

/// Where to cut a message: everywhere in a short one, at some places in a long one.
fn prefixes(length: usize) -> impl Iterator<Item = usize> {
    (0..=length).step_by(1 + length / 256)
}

/// Our own answer under this id is JSON-RPC, and the id is read back from it.
fn answers_under_the_same_id(parser: Parser, id: &RequestId) {
    let answer = error_answer(Some(id), ErrorCode::Refused, "no", "not_authorized");
    match parser.parse(&answer) {
        Ok(Head::Response { id: Some(again), is_error: true, .. }) => assert_eq!(again, *id),
        other => panic!("{}: {other:?}", answer.escape_ascii()),
    }
}

fn compare(ours: &Head<'_>, theirs: &Top) {
    match ours {
        Head::Request { id, method, params } => {
            assert_eq!(Some(&**method), theirs.method());
            assert_eq!(params.subject.as_deref(), theirs.subject());
            same_id(id, theirs.id.as_ref());
        }
        Head::Notification { method, params } => {
            assert_eq!(Some(&**method), theirs.method());
            assert_eq!(params.subject.as_deref(), theirs.subject());
            assert!(theirs.id.is_none(), "a notification with an id: {:?}", theirs.id);
        }
        Head::Response { id, is_error, .. } => {
            assert!(theirs.method.is_none(), "an answer with a method");
            assert_eq!((*is_error, !is_error), (theirs.error.is_some(), theirs.result.is_some()));
            match (id, &theirs.id) {
                (Some(id), theirs) => same_id(id, theirs.as_ref()),
                (None, Some(Value::Null)) => {}
                (None, theirs) => panic!("no id, yet {theirs:?}"),
            }
        }
    }
}

fn same_id(ours: &RequestId, theirs: Option<&Value>) {
    let same = match (ours, theirs) {
        (RequestId::Integer(ours), Some(theirs)) => {
            // serde_json reads "-0" as a float.
            theirs.as_i64() == Some(*ours) || (*ours == 0 && theirs.as_f64() == Some(0.0))
        }
        (RequestId::Json(ours), Some(theirs)) => {
            serde_json::from_str::<Value>(ours).is_ok_and(|ours| ours == *theirs)
        }
        (_, None) => false,
    };
    assert!(same, "{ours:?} is read as {theirs:?}");
}
