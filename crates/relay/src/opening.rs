//! How a client opened its conversation, kept for the case that another process has to
//! take the server's place (docs/decisions/0007).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::message::RequestId;

/// The request that opens a conversation (MCP 2025-11-25, Lifecycle, Initialization).
pub(crate) const INITIALIZE: &str = "initialize";
/// What a client says once it has the answer.
pub(crate) const INITIALIZED: &str = "notifications/initialized";

/// Largest `initialize`, and largest answer, that can be compared with a later one, in
/// bytes: both are kept for as long as the client stays.
const MAX_KEPT: usize = 256 * 1024;

/// What can be offered anew after a restart, by the capability that announces it.
const LISTS: [(&str, &str); 3] = [
    ("tools", r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
    ("prompts", r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#),
    ("resources", r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#),
];

/// The client's part of an opening, as far as it has been seen.
///
/// Clients of revision 2026-07-28 never open: every request of theirs stands alone.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pending: Option<Initialize>,
    agreed: Option<(Initialize, Option<Arc<Terms>>)>,
    /// The client has said [`INITIALIZED`] since.
    initialized: bool,
}

/// A client's `initialize`, as it came; `None` if that was too large to be kept.
#[derive(Clone, Debug)]
struct Initialize {
    id: RequestId,
    message: Option<Arc<[u8]>>,
}

/// What a server agreed to. Two processes of equal terms can stand in for each other.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    protocol_version: Value,
    capabilities: Value,
}

/// What is to be said to a new server before anything else.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// The id of the client's `initialize`.
    pub(crate) id: RequestId,
    /// The `initialize` itself.
    pub(crate) message: Arc<[u8]>,
    /// What the answer must agree to; `None` where the client itself still waits for one.
    pub(crate) terms: Option<Arc<Terms>>,
    /// Whether the client had said that it is ready.
    pub(crate) initialized: bool,
}

impl Opening {
    /// The client's `initialize` goes to the server.
    pub(crate) fn asked(&mut self, id: &RequestId, message: &[u8]) {
        let message = (message.len() <= MAX_KEPT).then(|| message.into());
        self.pending = Some(Initialize { id: id.clone(), message });
        self.initialized = false;
    }

    /// An answer goes to the client.
    pub(crate) fn answered(&mut self, id: &RequestId, is_error: bool, answer: &[u8]) {
        let Some(initialize) = self.pending.take_if(|pending| pending.id == *id) else { return };
        if !is_error {
            self.agreed = Some((initialize, Terms::read(answer).map(Arc::new)));
        }
    }

    /// The client says that it is ready.
    pub(crate) fn initialized(&mut self) {
        self.initialized = true;
    }

    /// What a new server has to be told first, if anything. `is_waiting` tells whether the
    /// client still waits for the answer to a request.
    ///
    /// # Errors
    /// Why no other process can take the server's place.
    pub(crate) fn replay(
        &self,
        is_waiting: impl Fn(&RequestId) -> bool,
    ) -> Result<Option<Replay>, &'static str> {
        let pending = self.pending.as_ref().filter(|pending| is_waiting(&pending.id));
        let (initialize, terms) = match (pending, &self.agreed) {
            (Some(pending), _) => (pending, None),
            (None, Some((agreed, Some(terms)))) => (agreed, Some(Arc::clone(terms))),
            (None, Some((_, None))) => {
                return Err("what the first server had agreed to could not be read");
            }
            (None, None) => return Ok(None),
        };
        let Initialize { id, message } = initialize.clone();
        let message = message.ok_or("the client's initialize is too large to be repeated")?;
        Ok(Some(Replay { id, message, terms, initialized: self.initialized }))
    }
}

impl Terms {
    /// Reads the terms of an answer to `initialize`; `None` if there are none, or too many.
    pub(crate) fn read(answer: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            result: Terms,
        }
        if answer.len() > MAX_KEPT {
            return None;
        }
        serde_json::from_slice::<Answer>(answer).ok().map(|answer| answer.result)
    }

    /// One notification for each list that the server promised to tell changes of. The new
    /// process may offer other things than the old one did.
    pub(crate) fn lists_changed(&self) -> impl Iterator<Item = Vec<u8>> {
        let announced = LISTS.into_iter().filter(|(capability, _)| {
            self.capabilities.get(capability).and_then(|it| it.get("listChanged"))
                == Some(&Value::Bool(true))
        });
        announced.map(|(_, message)| message.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;

    fn answer(result: &str) -> Vec<u8> {
        format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#).into_bytes()
    }

    fn id(number: i64) -> RequestId {
        RequestId::Integer(number)
    }

    #[test]
    fn whoever_never_opened_has_nothing_to_repeat() {
        assert!(Opening::default().replay(|_| true).unwrap().is_none());
    }

    #[test]
    fn an_opening_under_way_is_repeated_for_the_client() {
        let mut opening = Opening::default();
        opening.asked(&id(0), FIRST);
        let replay = opening.replay(|waiting| *waiting == id(0)).unwrap().unwrap();
        assert_eq!((&replay.message[..], replay.initialized), (FIRST, false));
        assert!(replay.terms.is_none());
        // Given up, or refused by the server: as if it had never been.
        assert!(opening.replay(|_| false).unwrap().is_none());
        opening.answered(&id(0), true, b"{}");
        assert!(opening.replay(|_| true).unwrap().is_none());
    }

    #[test]
    fn an_opening_that_stands_is_repeated_with_its_terms() {
        let mut opening = Opening::default();
        opening.asked(&id(0), FIRST);
        opening.answered(&id(1), false, b"the answer to something else");
        let first = answer(r#"{"protocolVersion":"x","capabilities":{"tools":{}}}"#);
        opening.answered(&id(0), false, &first);
        opening.initialized();
        let replay = opening.replay(|_| false).unwrap().unwrap();
        assert_eq!(replay.terms.as_deref(), Terms::read(&first).as_ref());
        assert!(replay.initialized);
    }

    #[test]
    fn what_cannot_be_compared_or_kept_cannot_be_repeated() {
        let mut opening = Opening::default();
        opening.asked(&id(0), FIRST);
        opening.answered(&id(0), false, &answer(r#"{"capabilities":{}}"#));
        assert!(opening.replay(|_| false).is_err());

        opening.asked(&id(1), &vec![b' '; MAX_KEPT + 1]);
        assert!(opening.replay(|_| true).is_err());
        let padded = answer(r#"{"protocolVersion":"x","capabilities":{}}"#);
        assert!(Terms::read(&padded).is_some());
        let padded = [&padded[..], &vec![b' '; MAX_KEPT]].concat();
        assert!(Terms::read(&padded).is_none());
    }

    #[test]
    fn terms_are_compared_as_json() {
        let terms = |result: &str| Terms::read(&answer(result)).unwrap();
        let first = terms(
            r#"{"protocolVersion":"x","capabilities":{"tools":{"listChanged":true},"prompts":{}},"serverInfo":{"version":"1"}}"#,
        );
        let reordered = terms(
            r#"{"capabilities": {"prompts":{}, "tools":{"list\u0043hanged":true}},"instructions":"new","protocolVersion":"x"}"#,
        );
        assert_eq!(first, reordered);
        for other in [
            r#"{"protocolVersion":"y","capabilities":{"tools":{"listChanged":true},"prompts":{}}}"#,
            r#"{"protocolVersion":"x","capabilities":{"tools":{"listChanged":false},"prompts":{}}}"#,
            r#"{"protocolVersion":"x","capabilities":{"tools":{"listChanged":true}}}"#,
        ] {
            assert_ne!(first, terms(other), "{other}");
        }
        let told: Vec<_> = first.lists_changed().collect();
        assert_eq!(told, [LISTS[0].1.as_bytes()]);
    }
}
