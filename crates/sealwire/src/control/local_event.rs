//! What happens between a client of this machine and a server that `connect` has started for it,
//! as it is handed over to whoever writes the log.
//!
//! It never names a peer: that a peer has called, only the process knows that has verified him,
//! and that is `serve` itself.

use std::io;
use std::time::Duration;

use sealwire_audit::{AuditSink, CallId, CallResult, Event, Message, Position, body_of};
use sealwire_names::{Fingerprint, Refusal, RefusalCode};
use serde::{Deserialize, Serialize};

/// Most bytes of a text that are handed over. An entry has no more than half of that, so that it
/// says the same, and that it was cut.
const MAX_KEPT: usize = 8 * 1024;
/// What the members of an event take besides what they say.
const MEMBERS: usize = 512;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum LocalEvent {
    /// A message was decided upon.
    Decision {
        /// Which.
        message: Spoken,
        /// Why it was denied, if it was: a code, and the whole reason.
        denied: Option<(String, String)>,
        /// `params.arguments` as they came.
        arguments: Option<String>,
        /// The policy by which it was decided.
        policy: Option<String>,
    },
    /// A request that was let through has its answer, or never will.
    Outcome {
        /// Which.
        message: Spoken,
        /// Where its decision is.
        decision: Place,
        /// `result`, `error` or `unanswered`.
        result: String,
        /// From the decision to the answer.
        duration_us: u64,
    },
    /// The client was cut off from the server, or not let to it.
    Refused {
        /// The server.
        server: String,
        /// Why: a code, and the whole reason.
        refusal: (String, String),
    },
    /// Anything else that a command may record.
    Other {
        /// What follows the time in an entry.
        entry: String,
    },
}

/// A place in the log: how many entries there were with that one, none if it is not known, and which
/// of the calls of that entry it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place(u64, u64);

impl Place {
    pub(super) fn of(position: Position) -> Self {
        Self(position.entries(), position.call())
    }

    /// The entries that stand before this.
    pub(super) fn entries(self) -> u64 {
        self.0
    }

    fn position(self) -> Position {
        self.0
            .checked_sub(1)
            .map_or_else(Position::default, |entry| Position::of_call(entry, self.1))
    }
}

/// A request or notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spoken {
    server: String,
    direction: String,
    method: String,
    subject: Option<String>,
    id: Option<String>,
}

impl Spoken {
    fn of(message: &Message<'_>) -> Self {
        Self {
            server: kept(message.server),
            direction: kept(message.direction),
            method: kept(message.method),
            subject: message.subject.map(kept),
            id: message.id.map(|id| kept(&id.to_string())),
        }
    }
}

impl LocalEvent {
    /// `event`, to be handed over; `None` if it is none that is recorded of a local client.
    pub(super) fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Decision { message, denied } => Self::Decision {
                message: Spoken::of(message),
                denied: denied.map(refusal_of),
                // They are a part of a message, which is UTF-8.
                arguments: message.arguments.map(|bytes| String::from_utf8_lossy(bytes).into()),
                policy: message.policy.map(ToString::to_string),
            },
            Event::Outcome { message, decision, result, duration } => Self::Outcome {
                message: Spoken::of(message),
                decision: Place::of(*decision),
                result: result.to_string(),
                duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            },
            Event::ConnectionRefused { address: None, peer: None, server, refusal } => {
                Self::Refused { server: kept((*server)?), refusal: refusal_of(refusal) }
            }
            // It is no client of this machine.
            Event::ConnectionRefused { .. } => return None,
            other => Self::Other { entry: String::from_utf8_lossy(&body_of(other)).into_owned() },
        })
    }

    /// The most bytes that it takes to hand it over: a character takes up to six in JSON, and one
    /// of what is JSON already, two.
    pub(super) fn size(&self) -> usize {
        let texts = match self {
            Self::Decision { message, denied, arguments, policy } => {
                let arguments = arguments.as_ref().map_or(0, String::len);
                let denied = denied.as_ref().map_or(0, |(code, reason)| code.len() + reason.len());
                let policy = policy.as_ref().map_or(0, String::len);
                return MEMBERS + 6 * (message.length() + denied + policy) + 2 * arguments;
            }
            Self::Outcome { message, result, .. } => message.length() + result.len(),
            Self::Refused { server, refusal } => server.len() + refusal.0.len() + refusal.1.len(),
            Self::Other { entry } => entry.len(),
        };
        MEMBERS + 6 * texts
    }

    /// Records it in `log`, which is the journal or stands before it. What is no event of that
    /// kind is `append`'s.
    ///
    /// # Errors
    /// `InvalidData` if it is nothing that can have happened; else as [`AuditSink::record`].
    pub(super) fn record(
        &self,
        log: &dyn AuditSink,
        append: impl FnOnce(&str) -> io::Result<Position>,
    ) -> io::Result<Position> {
        match self {
            Self::Decision { message, denied, arguments, policy } => {
                let policy = policy.as_ref().map(|text| text.parse::<Fingerprint>()).transpose();
                let policy = policy.map_err(|_| unknown("policy"))?;
                let refusal = denied.as_ref().map(refused).transpose()?;
                let message = Message {
                    arguments: arguments.as_ref().map(String::as_bytes),
                    policy: policy.as_ref(),
                    ..message.shown()
                };
                log.record(&Event::Decision { message: &message, denied: refusal.as_ref() })
            }
            Self::Outcome { message, decision, result, duration_us } => {
                let results = [CallResult::Result, CallResult::Error, CallResult::Unanswered];
                let result = results.into_iter().find(|known| known.to_string() == *result);
                log.record(&Event::Outcome {
                    message: &message.shown(),
                    decision: decision.position(),
                    result: result.ok_or_else(|| unknown("result"))?,
                    duration: Duration::from_micros(*duration_us),
                })
            }
            Self::Refused { server, refusal } => {
                let (server, refusal) = (Some(server.as_str()), &refused(refusal)?);
                let event = Event::ConnectionRefused { address: None, peer: None, server, refusal };
                log.record(&event)
            }
            Self::Other { entry } => append(entry),
        }
    }
}

/// As much of a text as can make a difference in an entry, where a longer one is cut.
fn kept(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_KEPT)].to_owned()
}

fn refusal_of(refusal: &Refusal) -> (String, String) {
    (refusal.code.as_str().to_owned(), kept(&refusal.reason))
}

fn refused((code, reason): &(String, String)) -> io::Result<Refusal> {
    let known = RefusalCode::ALL.iter().find(|known| known.as_str() == code);
    let code = known.copied().ok_or_else(|| unknown("code"))?;
    Ok(Refusal::new(code, reason.clone()))
}

fn unknown(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no such {what}"))
}

impl Spoken {
    fn length(&self) -> usize {
        let Self { server, direction, method, subject, id } = self;
        let [subject, id] = [subject, id].map(|text| text.as_ref().map_or(0, String::len));
        server.len() + direction.len() + method.len() + subject + id
    }

    fn shown(&self) -> Message<'_> {
        Message {
            peer: None,
            server: &self.server,
            direction: &self.direction,
            method: &self.method,
            subject: self.subject.as_deref(),
            id: self.id.as_deref().map(CallId::Json),
            certificate: None,
            arguments: None,
            policy: None,
            at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::ledger::MAX_ARGUMENTS;
    use super::super::listener::MAX_REQUEST;
    use super::*;

    /// Keeps what entries would say.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Vec<u8>>>);

    impl AuditSink for Kept {
        fn record(&self, event: &Event<'_>) -> io::Result<Position> {
            self.0.lock().unwrap().push(body_of(event));
            Ok(Position::default())
        }
    }

    #[test]
    fn what_is_handed_over_says_the_same_afterwards() {
        let id = "\"7\"";
        let policy = Fingerprint::from_sha256([7; 32]);
        let message = Message {
            peer: None,
            server: "files",
            direction: "to_server",
            method: "tools/call",
            subject: Some("read"),
            id: Some(CallId::Json(id)),
            certificate: None,
            arguments: None,
            policy: Some(&policy),
            at: None,
        };
        let refusal = Refusal::new(RefusalCode::NotAuthorized, "level 3");
        let duration = Duration::from_micros(9);
        let decision = Position::of_call(4, 2);
        let result = CallResult::Error;
        for event in [
            Event::Decision { message: &message, denied: None },
            Event::Decision { message: &message, denied: Some(&refusal) },
            Event::Outcome { message: &message, decision, result, duration },
            Event::ConnectionRefused {
                address: None,
                peer: None,
                server: Some("files"),
                refusal: &refusal,
            },
        ] {
            let kept = Kept::default();
            let text = serde_json::to_string(&LocalEvent::of(&event).unwrap()).unwrap();
            let read: LocalEvent = serde_json::from_str(&text).unwrap();
            read.record(&kept, |_| unreachable!()).unwrap();
            assert_eq!(kept.0.lock().unwrap()[0], body_of(&event));
        }
    }

    #[test]
    fn whatever_a_client_says_is_handed_over_whole_and_says_the_same() {
        let long = "\u{1}\u{2028}é".repeat(1 << 20);
        let refusal = Refusal::new(RefusalCode::NotAuthorized, long.clone());
        let id = format!("\"{long}\"");
        let message = Message {
            peer: None,
            server: "files",
            direction: "to_server",
            method: &long,
            subject: Some(&long),
            id: Some(CallId::Json(&id)),
            certificate: None,
            arguments: None,
            policy: None,
            at: None,
        };
        let quotes = format!("\"{}\"", "\\\"".repeat((MAX_ARGUMENTS - 2) / 2));
        let with_arguments = Message { arguments: Some(quotes.as_bytes()), ..message };
        let decision = Position::of_call(4, 2);
        let duration = Duration::from_micros(u64::MAX);
        for event in [
            Event::Decision { message: &with_arguments, denied: Some(&refusal) },
            Event::Outcome { message: &message, decision, result: CallResult::Error, duration },
            Event::ConnectionRefused {
                address: None,
                peer: None,
                server: Some(&long),
                refusal: &refusal,
            },
        ] {
            let handed = LocalEvent::of(&event).unwrap();
            let text = serde_json::to_string(&handed).unwrap();
            assert!(text.len() <= handed.size(), "{} > {}", text.len(), handed.size());
            assert!(text.len() + MEMBERS < MAX_REQUEST as usize, "{}", text.len());
            let kept = Kept::default();
            handed.record(&kept, |_| unreachable!()).unwrap();
            assert_eq!(kept.0.lock().unwrap()[0], body_of(&event));
        }
    }

    #[test]
    fn nobody_can_hand_over_that_a_peer_has_called() {
        let line = r#"{"event":"outcome","message":{"server":"s","direction":"to_server",
            "method":"m","subject":null,"id":null,"peer":"spiffe://x/core/a"},
            "decision":[0,0],"result":"result","duration_us":1}"#;
        let error = serde_json::from_str::<LocalEvent>(line).unwrap_err();
        assert!(error.to_string().contains("unknown field `peer`"), "{error}");
        // With that, it is one.
        let line = line.replace(",\"peer\":\"spiffe://x/core/a\"", "");
        assert!(serde_json::from_str::<LocalEvent>(&line).is_ok());
    }
}
