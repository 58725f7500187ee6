use std::time::Duration;

use sealwire_names::RefusalCode;
use serde_json::Value;

use super::RequestId;

/// The JSON-RPC error codes that sealwire itself answers with (JSON-RPC 2.0 §5.1;
/// −32099 to −32000 are free for servers). `data.sealwire` tells more exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ErrorCode {
    /// The message is not JSON.
    ParseError = -32700,
    /// The message is JSON, but not a request that passes.
    InvalidRequest = -32600,
    /// Policy, a limit or an orderly stop keeps the message from passing.
    Refused = -32080,
    /// The request was sent, but nobody can tell whether it was carried out.
    OutcomeUnknown = -32081,
    /// The request was never sent.
    NotSent = -32082,
    /// The server ended before it answered.
    ServerEnded = -32083,
}

impl ErrorCode {
    /// The code under which a refusal is told to the sender of the message.
    pub fn for_refusal(code: RefusalCode) -> Self {
        match code {
            RefusalCode::MessageMalformed => Self::ParseError,
            RefusalCode::MessageInvalid
            | RefusalCode::MessageBatch
            | RefusalCode::MessageTooDeep
            | RefusalCode::MessageTooLarge
            | RefusalCode::MemberAmbiguous
            | RefusalCode::RequestIdInUse => Self::InvalidRequest,
            _ => Self::Refused,
        }
    }
}

/// A JSON-RPC error answer. `word` is one of our own: it needs no escaping.
///
/// An answer to something whose id could not be read carries `null` (JSON-RPC 2.0 §5).
pub fn error_answer(
    id: Option<&RequestId>,
    code: ErrorCode,
    text: &str,
    word: &'static str,
) -> Vec<u8> {
    let code = code as i32;
    let text = Value::from(format!("sealwire: {text}"));
    let id = id.map_or_else(|| "null".to_owned(), ToString::to_string);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{text},"data":{{"sealwire":"{word}"}}}}}}"#
    )
    .into_bytes()
}

/// The same for a request that is one too many, with when it may be made again: `data`
/// has `retry_after_ms`, rounded up.
pub fn error_answer_later(id: &RequestId, word: &'static str, wait: Duration) -> Vec<u8> {
    let code = ErrorCode::Refused as i32;
    let millis = wait.as_nanos().div_ceil(1_000_000);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"sealwire: too many requests; try again in {millis} ms","data":{{"sealwire":"{word}","retry_after_ms":{millis}}}}}}}"#
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_json() {
        let id = RequestId::parse(r#""a\"\n""#).unwrap();
        let bytes = error_answer(Some(&id), ErrorCode::Refused, "not allowed", "not_authorized");
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["id"], "a\"\n");
        assert_eq!(json["error"]["code"], -32080);
        assert_eq!(json["error"]["data"]["sealwire"], "not_authorized");

        let wait = Duration::from_nanos(1_500_000_001);
        let bytes = error_answer_later(&id, "rate_limited", wait);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["error"]["data"]["retry_after_ms"], 1501);

        let bytes = error_answer(None, ErrorCode::ParseError, "not JSON", "message_malformed");
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(json["id"].is_null());
    }
}
