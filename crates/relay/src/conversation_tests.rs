use super::*;
use sealwire_audit::Event;
use sealwire_guard::{AllowAuthenticated, DenyAll};
use sealwire_names::Timestamp;
use std::sync::Mutex;

use Direction::{ToClient, ToServer};

/// Keeps what it is given, as text.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl AuditSink for Recorder {
    fn record(&self, event: &Event<'_>) -> std::io::Result<Position> {
        let line = match event {
            Event::Decision { message, denied: None } => format!("allow {}", message.method),
            Event::Decision { denied: Some(refusal), .. } => format!("deny {}", refusal.code),
            Event::Outcome { message, result, .. } => format!("{result} {}", message.method),
            _ => unreachable!("a conversation records calls only"),
        };
        self.0.lock().unwrap().push(line);
        Ok(Position::default())
    }
}

struct Broken;

impl AuditSink for Broken {
    fn record(&self, _event: &Event<'_>) -> std::io::Result<Position> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

fn now() -> Now {
    Now { wall: Timestamp::from_unix_millis(0), monotonic: Instant::now() }
}

fn open() -> (Conversation, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let conversation =
        Conversation::new(None, "s".into(), Arc::new(AllowAuthenticated), recorder.clone());
    (conversation, recorder)
}

fn error_in(verdict: &Verdict) -> (serde_json::Value, String) {
    let (Verdict::Answer(bytes) | Verdict::Substitute(bytes)) = verdict else {
        panic!("{verdict:?} carries no answer")
    };
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    (json["id"].clone(), json["error"]["data"]["sealwire"].as_str().unwrap().to_owned())
}

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
const RESULT: &[u8] = br#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

#[test]
fn a_call_and_its_answer_pass_and_are_recorded() {
    let (mut conversation, recorder) = open();
    assert_eq!(conversation.judge(ToServer, CALL, now()), Verdict::Forward);
    assert!(conversation.is_client_waiting());
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Forward);
    assert!(!conversation.is_client_waiting());
    assert_eq!(*recorder.0.lock().unwrap(), ["allow tools/call", "result tools/call"]);
}

#[test]
fn ids_in_flight_are_unique_in_each_direction() {
    let (mut conversation, _) = open();
    assert_eq!(conversation.judge(ToServer, CALL, now()), Verdict::Forward);
    let (id, word) = error_in(&conversation.judge(ToServer, CALL, now()));
    assert_eq!((id, word.as_str()), (1.into(), "request_id_in_use"));
    // The server numbers its own requests; the first request still waits.
    let sampling = br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
    assert_eq!(conversation.judge(ToClient, sampling, now()), Verdict::Forward);
    assert_eq!(conversation.judge(ToServer, RESULT, now()), Verdict::Forward);
    assert!(conversation.is_client_waiting());
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Forward);
    assert_eq!(conversation.judge(ToServer, CALL, now()), Verdict::Forward, "free again");
}

#[test]
fn an_answer_nobody_waits_for_is_dropped() {
    let (mut conversation, recorder) = open();
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Drop);
    assert_eq!(*recorder.0.lock().unwrap(), ["deny response_unexpected"]);
    let unreadable = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#;
    assert_eq!(
        conversation.judge(ToClient, unreadable, now()),
        Verdict::Drop,
        "nobody can tell whose"
    );
}

#[test]
fn an_ambiguous_answer_is_replaced_by_an_error() {
    let (mut conversation, _) = open();
    conversation.judge(ToServer, CALL, now());
    let twice = br#"{"jsonrpc":"2.0","id":1,"result":{},"Result":{"evil":1}}"#;
    let verdict = conversation.judge(ToClient, twice, now());
    assert!(matches!(verdict, Verdict::Substitute(_)));
    assert_eq!(error_in(&verdict), (1.into(), "member_ambiguous".into()));
    assert!(!conversation.is_client_waiting());
}

#[test]
fn an_oversized_answer_is_replaced_and_an_oversized_call_is_answered() {
    let (mut conversation, _) = open();
    conversation.judge(ToServer, CALL, now());
    let prefix = br#"{"jsonrpc":"2.0","id":1,"result":{"text":"aaaaaaaaaaaaaa"#;
    let verdict = conversation.judge_oversized(ToClient, prefix, b"", 10, now());
    assert!(matches!(verdict, Verdict::Substitute(_)));
    assert_eq!(error_in(&verdict), (1.into(), "message_too_large".into()));
    let verdict = conversation.judge_oversized(ToServer, &CALL[..40], b"", 10, now());
    assert!(matches!(verdict, Verdict::Answer(_)));
    assert_eq!(error_in(&verdict).0, 1);
}

#[test]
fn an_oversized_call_is_not_mistaken_for_an_answer_with_its_id() {
    let (mut conversation, _) = open();
    let sampling = br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
    conversation.judge(ToClient, sampling, now());
    let verdict = conversation.judge_oversized(ToServer, &CALL[..45], b"", 10, now());
    assert!(matches!(verdict, Verdict::Answer(_)), "{verdict:?}");
    assert_eq!(conversation.judge(ToServer, RESULT, now()), Verdict::Forward, "still waited for");
}

#[test]
fn nobody_waits_for_a_cancelled_call() {
    let (mut conversation, _) = open();
    conversation.judge(ToServer, CALL, now());
    let cancel =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(conversation.judge(ToServer, cancel, now()), Verdict::Forward);
    assert!(!conversation.is_client_waiting());
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Forward, "it may still come");
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Drop);
}

#[test]
fn the_gate_decides_about_calls_and_notifications() {
    let recorder = Arc::new(Recorder::default());
    let mut conversation = Conversation::new(None, "s".into(), Arc::new(DenyAll), recorder.clone());
    let (id, word) = error_in(&conversation.judge(ToServer, CALL, now()));
    assert_eq!((id, word.as_str()), (1.into(), "not_authorized"));
    let notification = br#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
    assert_eq!(conversation.judge(ToClient, notification, now()), Verdict::Drop);
    assert!(!conversation.is_client_waiting());
}

#[test]
fn what_cannot_be_recorded_does_not_happen() {
    let mut conversation =
        Conversation::new(None, "s".into(), Arc::new(AllowAuthenticated), Arc::new(Broken));
    assert!(matches!(conversation.judge(ToServer, CALL, now()), Verdict::Answer(_)));
    assert!(!conversation.is_client_waiting());
}

#[test]
fn draining_lets_answers_through_and_new_calls_not() {
    let (mut conversation, _) = open();
    conversation.judge(ToServer, CALL, now());
    conversation.drain();
    let another = br#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#;
    assert_eq!(error_in(&conversation.judge(ToServer, another, now())).1, "draining");
    assert_eq!(conversation.judge(ToClient, RESULT, now()), Verdict::Forward);
}

#[test]
fn abandoning_answers_every_waiting_request_once() {
    let (mut conversation, recorder) = open();
    conversation.judge(ToServer, CALL, now());
    let answers = conversation.abandon(|_| true, Fate::outcome_unknown("lost"));
    assert_eq!(answers.len(), 1);
    let json: serde_json::Value = serde_json::from_slice(&answers[0]).unwrap();
    assert_eq!((&json["id"], &json["error"]["code"]), (&1.into(), &(-32081).into()));
    assert!(conversation.abandon(|_| true, Fate::outcome_unknown("lost")).is_empty());
    assert_eq!(recorder.0.lock().unwrap().last().unwrap(), "unanswered tools/call");
}
