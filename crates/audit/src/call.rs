//! What is said of a call, in two parts: what it may have in common with others, and its own.

use std::time::Duration;

use sealwire_names::{Fingerprint, PeerId, Refusal};

use crate::entry::Body;
use crate::{CallResult, Message, Position};

/// What an entry says of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallBody<'b> {
    /// What it may have in common with others: members, from the type on.
    pub(crate) shared: &'b [u8],
    /// What is its own: members.
    pub(crate) own: &'b [u8],
    /// Some text of it was too long.
    pub(crate) is_cut: bool,
}

impl CallBody<'_> {
    /// As an entry about this call alone has it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.shared);
        if !self.own.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(self.own);
        out.extend_from_slice(if self.is_cut { b",\"cut\":true}" } else { b"}" });
    }
}

/// Where that is put together. One call after the other is to the same tool by the same peer: what
/// they have in common is written once.
#[derive(Debug, Default)]
pub(crate) struct CallDraft {
    shared: Vec<u8>,
    is_shared_cut: bool,
    /// What `shared` says, if that is that such a call was allowed.
    allowed: Option<About>,
    own: Vec<u8>,
    is_own_cut: bool,
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
        let own = self.own.strip_prefix(b",").unwrap_or_default();
        CallBody { shared: &self.shared, own, is_cut: self.is_shared_cut || self.is_own_cut }
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
        self.own(|body| {
            request(body, message);
            if let Some(arguments) = arguments {
                body.base64("arguments", arguments);
            }
        });
    }

    /// An outcome.
    pub(crate) fn ended(
        &mut self,
        message: &Message<'_>,
        decision: Position,
        result: CallResult,
        duration: Duration,
    ) {
        let decided = decision.last_entry();
        self.share("call.outcome", |body| {
            let outcome = match result {
                CallResult::Result => "result",
                CallResult::Error => "error",
                CallResult::Unanswered => "unanswered",
            };
            body.text("outcome", outcome);
            // What it is about is not said twice: half of the bytes of a busy log would be that.
            if decided.is_none() {
                about(body, message);
            }
        });
        self.own(|body| {
            match decided {
                Some(entry) => {
                    body.number("decision_entry", entry);
                    if decision.call() > 0 {
                        body.number("decision_call", decision.call());
                    }
                }
                None => request(body, message),
            }
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            // A number that fits every reader.
            body.number("duration_us", micros.min(i64::MAX as u64));
        });
    }

    fn share(&mut self, kind: &str, members: impl FnOnce(&mut Body<'_>)) {
        self.allowed = None;
        self.shared.clear();
        let mut body = Body::new(&mut self.shared, kind);
        members(&mut body);
        self.is_shared_cut = body.is_cut;
    }

    fn own(&mut self, members: impl FnOnce(&mut Body<'_>)) {
        self.own.clear();
        let mut body = Body::members(&mut self.own);
        members(&mut body);
        self.is_own_cut = body.is_cut;
    }
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

fn request(body: &mut Body<'_>, message: &Message<'_>) {
    if let Some(id) = message.id {
        body.id("jsonrpc.request.id", id);
    }
}

#[cfg(test)]
mod tests {
    use sealwire_names::RefusalCode;

    use super::*;
    use crate::CallId;

    fn said(draft: &CallDraft) -> String {
        let mut out = b"{".to_vec();
        draft.body().write(&mut out);
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
