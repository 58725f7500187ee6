//! What is said of a call, in two parts: what it may have in common with others, and its own.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sealwire_names::{Fingerprint, PeerId, Refusal};

use crate::entry::{Body, push_integer};
use crate::text::Escaped;
use crate::{CallId, CallResult, Message, Position};

/// A keyed hash as it stands in a line: base64url without padding, between quotation marks.
pub(crate) type Hash = [u8; 45];

/// What an entry says of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallBody<'b> {
    /// What it may have in common with others: members, from the type on, in two parts.
    pub(crate) shared: [&'b [u8]; 2],
    /// What is its own.
    pub(crate) own: Own<'b>,
    /// Some text of it was too long.
    pub(crate) is_cut: bool,
}

/// What is a call's own, whomever and whatever it has in common with others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own<'b> {
    /// As it stands in a line.
    pub(crate) id: Option<&'b [u8]>,
    /// Of its arguments.
    pub(crate) arguments: Option<&'b Hash>,
    /// The entry of its decision, and which of the calls of that it is.
    pub(crate) decision: Option<(u64, u64)>,
    /// How long it took.
    pub(crate) duration_us: Option<u64>,
}

/// Where that is put together. One call after the other is to the same tool by the same peer: what
/// they have in common is written once.
#[derive(Debug, Default)]
pub(crate) struct CallDraft {
    shared: Vec<u8>,
    is_shared_cut: bool,
    /// What `shared` says, if that is that such a call was allowed.
    allowed: Option<About>,
    /// Empty if there is none.
    id: Vec<u8>,
    is_id_cut: bool,
    arguments: Option<Hash>,
    decision: Option<(u64, u64)>,
    duration_us: Option<u64>,
}

/// Whom and what a call that was allowed is about.
#[derive(Debug)]
struct About {
    peer: Option<PeerId>,
    server: String,
    direction: String,
    method: String,
    subject: Option<String>,
    certificate: Option<Fingerprint>,
    policy: Option<Fingerprint>,
}

impl CallDraft {
    /// The latest.
    pub(crate) fn body(&self) -> CallBody<'_> {
        let &Self { ref arguments, decision, duration_us, .. } = self;
        let id = Some(&self.id[..]).filter(|id| !id.is_empty());
        CallBody {
            shared: [&self.shared, b""],
            own: Own { id, arguments: arguments.as_ref(), decision, duration_us },
            is_cut: self.is_shared_cut || self.is_id_cut,
        }
    }

    /// A decision. `arguments` is the keyed hash of those of the message.
    pub(crate) fn decided(
        &mut self,
        message: &Message<'_>,
        denied: Option<&Refusal>,
        arguments: Option<&[u8; 32]>,
    ) {
        if denied.is_some() || !self.allowed.as_ref().is_some_and(|about| about.is_of(message)) {
            self.share("call.decision", |body| {
                body.text("decision", if denied.is_none() { "allow" } else { "deny" });
                about(body, message);
                body.certificate(message.certificate);
                if let Some(policy) = message.policy {
                    body.hex("policy", policy.as_bytes());
                }
                if let Some(refusal) = denied {
                    body.refusal(refusal);
                }
            });
            self.allowed = denied.is_none().then(|| About::of(message));
        }
        self.identify(message.id);
        self.arguments = arguments.map(shown);
        (self.decision, self.duration_us) = (None, None);
    }

    /// An outcome. What it is about, and the id, are said where the decision is not known: half of
    /// the bytes of a busy log would be that.
    pub(crate) fn ended(
        &mut self,
        message: &Message<'_>,
        decision: Position,
        result: CallResult,
        duration: Duration,
    ) {
        self.decision = decision.last_entry().map(|entry| (entry, decision.call()));
        let is_known = self.decision.is_some();
        self.share("call.outcome", |body| {
            body.text("outcome", result.as_str());
            if !is_known {
                about(body, message);
            }
        });
        self.identify(message.id.filter(|_| !is_known));
        self.arguments = None;
        self.duration_us = Some(micros(duration));
    }

    fn share(&mut self, kind: &str, members: impl FnOnce(&mut Body<'_>)) {
        self.allowed = None;
        self.shared.clear();
        let mut body = Body::new(&mut self.shared, kind);
        members(&mut body);
        self.is_shared_cut = body.is_cut;
    }

    /// The id of a request: a text, whatever it was.
    fn identify(&mut self, id: Option<CallId<'_>>) {
        self.id.clear();
        self.is_id_cut = false;
        let Some(id) = id else { return };
        self.id.push(b'"');
        match id {
            CallId::Integer(id) => push_integer(&mut self.id, id),
            CallId::Json(id) => {
                let mut escaped = Escaped::new(&mut self.id);
                escaped.push(id);
                self.is_id_cut = escaped.is_cut;
            }
        }
        self.id.push(b'"');
    }
}

/// How a call ended, as the member that follows others.
pub(crate) fn outcome(result: CallResult) -> &'static [u8] {
    match result {
        CallResult::Result => b",\"outcome\":\"result\"",
        CallResult::Error => b",\"outcome\":\"error\"",
        CallResult::Unanswered => b",\"outcome\":\"unanswered\"",
    }
}

/// How long something took, as a number that fits every reader.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

fn shown(hash: &[u8; 32]) -> Hash {
    let mut text = [b'"'; 45];
    // 32 bytes are 43 characters.
    let _length = BASE64_URL_SAFE_NO_PAD.encode_slice(hash, &mut text[1..44]);
    text
}

impl About {
    fn of(message: &Message<'_>) -> Self {
        Self {
            peer: message.peer.cloned(),
            server: message.server.to_owned(),
            direction: message.direction.to_owned(),
            method: message.method.to_owned(),
            subject: message.subject.map(str::to_owned),
            certificate: message.certificate.copied(),
            policy: message.policy.copied(),
        }
    }

    fn is_of(&self, message: &Message<'_>) -> bool {
        self.subject.as_deref() == message.subject
            && self.method == message.method
            && self.direction == message.direction
            && self.server == message.server
            && self.policy.as_ref() == message.policy
            && self.certificate.as_ref() == message.certificate
            && self.peer.as_ref() == message.peer
    }
}

/// Whom and what a call is about.
fn about(body: &mut Body<'_>, message: &Message<'_>) {
    body.peer(message.peer);
    body.text("server", message.server);
    body.text("direction", message.direction);
    // Of a message that could not be understood, there is none.
    if !message.method.is_empty() {
        body.text("mcp.method.name", message.method);
    }
    if let Some(subject) = message.subject {
        let name = match message.method {
            "tools/call" => "gen_ai.tool.name",
            "prompts/get" => "gen_ai.prompt.name",
            method if method.contains("resources/") => "mcp.resource.uri",
            _ => "subject",
        };
        body.text(name, subject);
    }
}

#[cfg(test)]
mod tests {
    use sealwire_names::RefusalCode;

    use super::*;
    use crate::group::Group;

    fn said(draft: &CallDraft) -> String {
        let mut group = Group::default();
        group.add(&draft.body());
        let mut out = b"{".to_vec();
        group.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_calls_have_in_common_is_theirs_and_not_that_of_others() {
        let peers: [PeerId; 2] =
            ["spiffe://test/agent/A", "spiffe://test/agent/B"].map(|peer| peer.parse().unwrap());
        let hashes = [Fingerprint::from_sha256([1; 32]), Fingerprint::from_sha256([2; 32])];
        let long = "\n".repeat(5_000);
        let message = Message {
            peer: Some(&peers[0]),
            server: "s",
            direction: "to_server",
            method: "tools/call",
            subject: Some("t"),
            id: Some(CallId::Integer(7)),
            certificate: Some(&hashes[0]),
            arguments: None,
            policy: Some(&hashes[0]),
            at: None,
        };
        let refusal = Refusal::new(RefusalCode::NotAuthorized, "no");
        let others = [
            (message, None),
            (Message { peer: Some(&peers[1]), ..message }, None),
            (Message { peer: None, ..message }, None),
            (Message { server: "r", ..message }, None),
            (Message { direction: "to_client", ..message }, None),
            (Message { method: "prompts/get", ..message }, None),
            (Message { subject: None, ..message }, None),
            (Message { subject: Some(&long), ..message }, None),
            (Message { certificate: Some(&hashes[1]), ..message }, None),
            (Message { policy: None, ..message }, None),
            (message, Some(&refusal)),
        ];
        let mut draft = CallDraft::default();
        let mut all = Vec::new();
        for (other, denied) in others {
            for (message, denied) in [(&message, None), (&other, denied), (&other, denied)] {
                let mut fresh = CallDraft::default();
                fresh.decided(message, denied, Some(&[3; 32]));
                draft.decided(message, denied, Some(&[3; 32]));
                assert_eq!(said(&draft), said(&fresh));
            }
            all.push(said(&draft));
            draft.ended(&other, Position::of_call(3, 1), CallResult::Error, Duration::ZERO);
            assert_eq!(
                said(&draft),
                r#"{"type":"call.outcome","outcome":"error","decision_entry":3,"decision_call":1,"duration_us":0}"#
            );
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len());
    }
}
