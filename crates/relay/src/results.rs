//! Results of the server's that policy has a say in: a list shows what may be called or
//! read, and a result that asks the client for input asks what a request might ask.

use std::borrow::Cow;

use sealwire_guard::{Decision, Direction, Gate, Principal, Request};
use sealwire_names::{Refusal, Timestamp};

use crate::message::{ListKind, Listing};

/// What becomes of a result on its way to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage<'a> {
    /// It passes as it is.
    Whole,
    /// This passes in its place.
    Part(Vec<u8>),
    /// It is refused for its form.
    Malformed(Refusal),
    /// It is refused for what it asks the client for: a method, and why.
    Denied(Cow<'a, str>, Refusal),
}

/// Whose result it is.
#[derive(Clone, Copy)]
pub(crate) struct Wire<'a> {
    pub(crate) peer: Principal<'a>,
    pub(crate) server: &'a str,
    pub(crate) gate: &'a dyn Gate,
}

/// Judges the result of `method`. `asks` tells whether it asks the client for anything;
/// nearly none does, and nearly none is a list.
#[inline]
pub(crate) fn judge<'m>(
    wire: Wire<'_>,
    method: &str,
    asks: bool,
    message: &'m [u8],
    now: Timestamp,
) -> Passage<'m> {
    let kind = ListKind::of(method);
    if kind.is_none() && !asks {
        return Passage::Whole;
    }
    judge_parsed(wire, kind, message, now)
}

fn judge_parsed<'m>(
    wire: Wire<'_>,
    kind: Option<ListKind>,
    message: &'m [u8],
    now: Timestamp,
) -> Passage<'m> {
    let listing = match Listing::parse(message, kind) {
        Ok(listing) => listing,
        Err(refusal) => return Passage::Malformed(refusal),
    };
    let Wire { peer, server, gate } = wire;
    for method in &listing.asks {
        let direction = Direction::ToClient;
        let request = Request { peer, server, direction, method, subject: None };
        if let Decision::Deny(refusal) | Decision::Later(refusal, _) = gate.decide(&request, now) {
            return Passage::Denied(method.clone(), refusal);
        }
    }
    let Some(ListKind { method, .. }) = kind else { return Passage::Whole };
    let mut hidden = 0;
    let spliced = listing.splice(message, |name| {
        let direction = Direction::ToServer;
        let allowed =
            gate.allows(&Request { peer, server, direction, method, subject: Some(name) });
        hidden += usize::from(!allowed);
        allowed
    });
    if hidden > 0 {
        tracing::debug!(server, hidden, of = listing.len(), "a list is shown in part");
    }
    spliced.map_or(Passage::Whole, Passage::Part)
}
