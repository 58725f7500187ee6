//! Results of the server's that policy and pins have a say in: a list shows what may be called
//! or read and is as it was approved, and a result that asks the client for input asks what a
//! request might ask.

use std::borrow::Cow;

use sealwire_guard::{Decision, Direction, Gate, Principal, Request};
use sealwire_names::{Refusal, Timestamp};

use crate::message::{Asked, ListKind, Listing};
use crate::pinning::{News, Pinning};

/// What becomes of a result on its way to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage<'a> {
    /// It passes as it is.
    Whole,
    /// This passes in its place.
    Part(Vec<u8>),
    /// It is refused for its form, or since nobody knows what is approved.
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

/// A response that carries a result, and what it answers.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a, 'm> {
    pub(crate) method: &'a str,
    pub(crate) page: &'a Asked<'a>,
    /// Whether it asks the client for anything.
    pub(crate) asks: bool,
    pub(crate) message: &'m [u8],
}

/// Judges a result; nearly none is a list, or asks for anything.
#[inline]
pub(crate) fn judge<'m>(
    wire: Wire<'_>,
    pinning: (&mut Pinning, &mut Vec<News>),
    answer: Answer<'_, 'm>,
    now: Timestamp,
) -> Passage<'m> {
    let kind = ListKind::of(answer.method);
    let opens = pinning.0.opens(answer.method);
    if kind.is_none() && !answer.asks && !opens {
        return Passage::Whole;
    }
    judge_parsed(wire, pinning, (kind, opens), answer, now).unwrap_or_else(Passage::Malformed)
}

fn judge_parsed<'m>(
    wire: Wire<'_>,
    (pinning, news): (&mut Pinning, &mut Vec<News>),
    (kind, opens): (Option<ListKind>, bool),
    Answer { page, message, .. }: Answer<'_, 'm>,
    now: Timestamp,
) -> Result<Passage<'m>, Refusal> {
    let listing =
        if opens { Listing::parse_opening(message)? } else { Listing::parse(message, kind)? };
    let Wire { peer, server, gate } = wire;
    for method in &listing.asks {
        let direction = Direction::ToClient;
        let request = Request { peer, server, direction, method, subject: None };
        if let Decision::Deny(refusal) | Decision::Later(refusal, _) = gate.decide(&request, now) {
            return Ok(Passage::Denied(method.clone(), refusal));
        }
    }
    if opens && !pinning.instructions((&listing, message), now, news)? {
        return Ok(listing.without_instructions(message).map_or(Passage::Whole, Passage::Part));
    }
    let Some(kind) = kind else { return Ok(Passage::Whole) };
    let pinned = pinning.list(kind, page, (&listing, message), now, news)?;
    let (mut hidden, mut index) = (0, 0);
    let spliced = listing.splice(message, |name| {
        let (direction, method) = (Direction::ToServer, kind.method);
        let allowed = pinned.as_ref().is_none_or(|pinned| pinned.get(index) == Some(&true))
            && gate.allows(&Request { peer, server, direction, method, subject: Some(name) });
        index += 1;
        hidden += usize::from(!allowed);
        allowed
    });
    if hidden > 0 {
        tracing::debug!(server, hidden, of = listing.len(), "a list is shown in part");
    }
    Ok(spliced.map_or(Passage::Whole, Passage::Part))
}
