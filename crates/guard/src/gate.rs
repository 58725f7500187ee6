//! The question and the answer: what every decision point has in common.

use std::time::Duration;

use sealwire_names::{Fingerprint, PeerId, Refusal, RefusalCode, Timestamp};

use crate::Level;

/// Decides about messages. Called once for each request and each notification.
///
/// Responses are not asked about: one passes only if the request it answers did.
pub trait Gate: Send + Sync {
    /// Decides about `request` at the moment `now`.
    fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision;

    /// Whether policy lets such a request pass at all. Nothing is used up, so that a list
    /// of what may be called can be made by asking about each.
    fn allows(&self, request: &Request<'_>) -> bool;

    /// The level of what is asked for, whoever asks; `None` where levels do not count.
    fn level(&self, request: &Request<'_>) -> Option<Level> {
        let _ = request;
        None
    }

    /// The hash of the policy by which it decides about `server`, if there is one. A gate that
    /// follows changes answers for the policy that its latest decision went by: to be asked
    /// after [`decide`](Self::decide), by whoever asked that.
    fn policy(&self, server: &str) -> Option<Fingerprint> {
        let _ = server;
        None
    }
}

/// What a gate is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose wire the message arrived on, or leaves by.
    pub peer: Principal<'a>,
    /// The MCP server's name.
    pub server: &'a str,
    /// Which way the message travels.
    pub direction: Direction,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// `params.name` or `params.uri`, unescaped: the tool, prompt or resource.
    pub subject: Option<&'a str>,
}

/// Who is at the other end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal<'a> {
    /// A name verified from a certificate.
    Peer(&'a PeerId),
    /// The process that started us and talks over our standard input and output.
    Local,
}

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the MCP client to the MCP server: tool calls and the like.
    ToServer,
    /// From the MCP server to the MCP client: sampling, elicitation, roots.
    ToClient,
}

impl Direction {
    /// The direction as logs and policies write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToServer => "to_server",
            Self::ToClient => "to_client",
        }
    }
}

/// A gate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// The message may pass.
    Allow,
    /// It may not; the code goes to the peer, the reason to the log.
    Deny(Refusal),
    /// It may not now, and may when this time has passed.
    Later(Refusal, Duration),
}

/// Lets every verified peer pass, and the local process that started us: the gate of a
/// wire that no configuration describes.
///
/// It is total: a principal that is neither does not exist, because an unverified peer
/// never gets as far as sending a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAuthenticated;

impl Gate for AllowAuthenticated {
    fn decide(&self, request: &Request<'_>, _now: Timestamp) -> Decision {
        match request.peer {
            Principal::Peer(_) | Principal::Local => Decision::Allow,
        }
    }

    fn allows(&self, _request: &Request<'_>) -> bool {
        true
    }
}

/// Refuses everything: what a caller falls back to when it has no policy to apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

impl Gate for DenyAll {
    fn decide(&self, request: &Request<'_>, _now: Timestamp) -> Decision {
        let reason = format!("no policy allows {} on {}", request.method, request.server);
        Decision::Deny(Refusal::new(RefusalCode::NotAuthorized, reason))
    }

    fn allows(&self, _request: &Request<'_>) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_method_and_server() {
        let request = Request {
            peer: Principal::Local,
            server: "github",
            direction: Direction::ToServer,
            method: "tools/call",
            subject: Some("create_issue"),
        };
        let now = Timestamp::from_unix_millis(0);
        assert_eq!(AllowAuthenticated.decide(&request, now), Decision::Allow);
        let Decision::Deny(refusal) = DenyAll.decide(&request, now) else { panic!("allowed") };
        assert_eq!(refusal.code, RefusalCode::NotAuthorized);
        assert!(refusal.reason.contains("tools/call on github"));
    }
}
