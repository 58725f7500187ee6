//! What happens between a client of this machine and a server that `connect` has started for it,
//! as it is handed over to whoever writes the log.
//!
//! It never names a peer: that a peer has called, only the process knows that has verified him,
//! and that is `serve` itself.

use std::io;
use std::time::Duration;

use sealwire_audit::{AuditSink, CallResult, Event, Message, Position, body_of};
use sealwire_names::{Fingerprint, Refusal, RefusalCode};
use serde::{Deserialize, Serialize};

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
            server: message.server.to_owned(),
            direction: message.direction.to_owned(),
            method: message.method.to_owned(),
            subject: message.subject.map(str::to_owned),
            id: message.id.map(ToString::to_string),
        }
    }
}

impl LocalEvent {
    /// `event`, to be handed over; `None` if it is none that is recorded of a local client.
    pub(super) fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::Decision { message, denied } => Self::Decision {
                message: Spoken::of(message),
                denied: denied.map(|why| (why.code.as_str().to_owned(), why.reason.to_string())),
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
            // That the server is suspended is in the log, and so is each message denied.
            Event::ConnectionRefused { .. } => return None,
            other => Self::Other { entry: String::from_utf8_lossy(&body_of(other)).into_owned() },
        })
    }

    /// About how many bytes it takes to hand it over.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Decision { arguments, .. } => {
                2 * arguments.as_ref().map_or(0, String::len) + 1024
            }
            Self::Outcome { .. } => 1024,
            Self::Other { entry } => 2 * entry.len(),
        }
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
        let unknown =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no such {what}"));
        match self {
            Self::Decision { message, denied, arguments, policy } => {
                let policy = policy.as_ref().map(|text| text.parse::<Fingerprint>()).transpose();
                let policy = policy.map_err(|_| unknown("policy"))?;
                let refusal = match denied {
                    Some((code, reason)) => {
                        let code = RefusalCode::ALL.iter().find(|known| known.as_str() == code);
                        let code = code.copied().ok_or_else(|| unknown("code"))?;
                        Some(Refusal::new(code, reason.clone()))
                    }
                    None => None,
                };
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
            Self::Other { entry } => append(entry),
        }
    }
}

impl Spoken {
    fn shown(&self) -> Message<'_> {
        Message {
            peer: None,
            server: &self.server,
            direction: &self.direction,
            method: &self.method,
            subject: self.subject.as_deref(),
            id: self.id.as_ref().map(|id| id as &dyn std::fmt::Display),
            certificate: None,
            arguments: None,
            policy: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
            id: Some(&id),
            certificate: None,
            arguments: None,
            policy: Some(&policy),
        };
        let refusal = Refusal::new(RefusalCode::NotAuthorized, "level 3");
        let duration = Duration::from_micros(9);
        let decision = Position::of_call(4, 2);
        let result = CallResult::Error;
        for event in [
            Event::Decision { message: &message, denied: None },
            Event::Decision { message: &message, denied: Some(&refusal) },
            Event::Outcome { message: &message, decision, result, duration },
        ] {
            let kept = Kept::default();
            let text = serde_json::to_string(&LocalEvent::of(&event).unwrap()).unwrap();
            let read: LocalEvent = serde_json::from_str(&text).unwrap();
            read.record(&kept, |_| unreachable!()).unwrap();
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
