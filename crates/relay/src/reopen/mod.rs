//! The serving side as the connecting side sees it: one link, and another in its place
//! once the serving side has been restarted (docs/spec/link.md §7,
//! docs/decisions/0007).
//!
//! What may have reached the old server is never sent to a new one. What certainly did
//! not is held here meanwhile, and so is what the client says next, within a bound.

mod endpoint;

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::bridge::Bridge;
use crate::conversation::Fate;
use crate::endpoint::Endpoint;
use crate::held::Held;
use crate::link::{Dialer, Ending, LinkEndpoint, LinkError, Redial};
use crate::message::{Head, Parser, RequestId};
use crate::opening::Replay;

/// A conversation that lasted so long was none of a serving side that starts over and over.
const STEADY: Duration = Duration::from_secs(10);
/// Shortest and longest pause before the next conversation with one that does.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// Most requests of a dead server that the client is told to forget.
const MAX_CANCELLED: usize = 1_024;

const NOT_SENT: Fate<'static> = Fate::not_sent(
    "the server cannot be reached, refuses us, or takes no message so large; nothing was sent",
);

/// An endpoint towards the server that can outlive the serving process.
pub(crate) struct ServingSide {
    link: LinkEndpoint<Redial>,
    make: Make,
    phase: Phase,
    /// The serving side stops although its server has not even opened yet.
    stops: bool,
    held: Held,
    /// What we say to the client in the server's name.
    own: VecDeque<Vec<u8>>,
    /// A message that is not borrowed from the link.
    lent: Vec<u8>,
    accepted: u64,
    finishing: Option<Ending>,
    outage: Option<Outage>,
    begun: Instant,
    pause: Duration,
    fault: Option<LinkError>,
}

/// What a link is made from.
pub(crate) struct Make {
    pub(crate) dialer: Arc<Dialer>,
    /// Unacknowledged bytes that we accept.
    pub(crate) window: u32,
    pub(crate) idle_timeout: Duration,
    /// How long, from a cut, until a server must be there again.
    pub(crate) reconnect_timeout: Duration,
}

enum Phase {
    /// Messages pass.
    Open,
    /// The serving side stops: requests wait for the next one.
    Draining,
    /// The client's opening has been repeated, and its answer is awaited.
    Replaying(Replay),
}

/// The time between a lost conversation and the one that takes its place.
struct Outage {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl ServingSide {
    pub(crate) fn new(link: LinkEndpoint<Redial>, make: Make) -> Self {
        Self {
            link,
            make,
            phase: Phase::Open,
            stops: false,
            held: Held::default(),
            own: VecDeque::new(),
            lent: Vec::new(),
            accepted: 0,
            finishing: None,
            outage: None,
            begun: Instant::now(),
            pause: Duration::ZERO,
            fault: None,
        }
    }

    pub(crate) fn carrier(&mut self) -> &mut Redial {
        self.link.carrier()
    }

    /// Whether a conversation was lost and none has taken its place yet.
    pub(crate) fn is_reopening(&self) -> bool {
        self.outage.is_some()
    }

    /// From now on, requests wait for the server's successor.
    pub(crate) fn hold_requests(&mut self) {
        match self.phase {
            Phase::Open => self.phase = Phase::Draining,
            Phase::Draining => {}
            Phase::Replaying(_) => self.stops = true,
        }
    }

    /// The requests that have waited for a successor in vain. They will not be sent.
    pub(crate) fn stop_holding(&mut self) -> HashSet<RequestId> {
        self.stops = false;
        if matches!(self.phase, Phase::Draining) {
            self.phase = Phase::Open;
        }
        let waiting = self.held.requests().clone();
        self.held.clear();
        waiting
    }

    /// Tells the server at once that nothing follows.
    pub(crate) fn leave(&mut self) {
        self.link.finish(Ending::Orderly);
    }

    /// The requests that no server has got a byte of.
    pub(crate) fn unsent(&self) -> HashSet<RequestId> {
        let mut unsent = self.held.requests().clone();
        // What a replay is made of may have been written to the server before.
        if !matches!(self.phase, Phase::Replaying(_)) {
            unsent.extend(self.link.never_written().filter_map(|message| {
                match Parser::default().parse(message) {
                    Ok(Head::Request { id, .. }) => Some(id),
                    _ => None,
                }
            }));
        }
        unsent
    }

    /// Takes what the lost link has not written into our keeping.
    fn keep_unsent(&mut self) {
        // During a replay there is nothing in it but what was made for that server.
        let is_replaying = matches!(self.phase, Phase::Replaying(_));
        self.held.put_first(self.link.never_written().filter(|_| !is_replaying));
    }

    /// Begins another conversation, with what it takes to stand where the old one stood.
    ///
    /// # Errors
    /// If there is no time left for it.
    fn begin(&mut self, replay: Option<Replay>) -> Result<(), LinkError> {
        let since = match &self.outage {
            Some(outage) => outage.since,
            None => self.carrier().down_since().unwrap_or_else(Instant::now),
        };
        let limit = self.make.reconnect_timeout;
        if since.elapsed() >= limit {
            return Err(LinkError::Lost);
        }
        // A serving side that dies again and again is not to keep us busy.
        let (shortest, longest) = PAUSES;
        self.pause = match self.begun.elapsed() {
            lasted if lasted < STEADY => (self.pause * 2).clamp(shortest, longest),
            _ => Duration::ZERO,
        };
        self.begun = Instant::now();
        let deadline = Box::pin(sleep_until(since + limit));
        self.outage = Some(Outage { since, deadline });
        let Make { dialer, window, idle_timeout, .. } = &self.make;
        let carrier = Redial::in_place_of_another(Arc::clone(dialer), limit, since, self.pause);
        let max_message = dialer.config().max_message;
        self.link = LinkEndpoint::new(carrier, max_message, *window, *idle_timeout);
        self.own.clear();
        self.stops = false;
        self.phase = match replay {
            Some(replay) => {
                self.link.send(&replay.message);
                Phase::Replaying(replay)
            }
            None => Phase::Open,
        };
        Ok(())
    }
}

/// Puts another conversation in the place of one that is lost for good. Requests that may
/// have reached the old server are answered with `fate`.
///
/// # Errors
/// Why there can be none. Nothing has been answered then.
pub(crate) fn reopen<C: Endpoint>(
    bridge: &mut Bridge<C, ServingSide>,
    fate: Fate<'_>,
) -> Result<(), LinkError> {
    bridge.server.keep_unsent();
    let replay = bridge.conversation.replay().map_err(LinkError::NotReopened)?;
    let mut kept = bridge.server.held.requests().clone();
    kept.extend(replay.iter().filter(|replay| replay.terms.is_none()).map(|it| it.id.clone()));
    bridge.server.begin(replay)?;
    let unknown = bridge.abandon(|id| !kept.contains(id), fate);
    let orphans = bridge.conversation.server_is_gone();
    for id in orphans.iter().take(MAX_CANCELLED) {
        bridge.server.own.push_back(cancelled(id));
    }
    bridge.server_is_new();
    let held = bridge.server.held.count();
    tracing::warn!(unknown, held, "the server is gone; opening another conversation");
    Ok(())
}

/// Answers all that waits: what may have reached a server with `fate`, what has not with
/// an error that says so, and why if that is known.
pub(crate) fn give_up<C: Endpoint>(
    bridge: &mut Bridge<C, ServingSide>,
    fate: Fate<'_>,
    why: Option<&LinkError>,
) {
    let unsent = bridge.server.unsent();
    bridge.abandon(|id| !unsent.contains(id), fate);
    let told = why.map(not_sent);
    bridge.abandon(|_| true, told.as_deref().map_or(NOT_SENT, Fate::not_sent));
}

/// What the client is told of what was not sent: it runs here, as we do, and shows it to its user.
fn not_sent(error: &LinkError) -> String {
    let text = format!("not sent: {error}. To fix: {}", error.remedy());
    // Some of it may be the other side's words, and stand on a terminal.
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Nobody is left who waits for the client's answer (MCP 2025-11-25, Cancellation).
fn cancelled(id: &RequestId) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"sealwire: the server that asked is gone"}}}}"#
    )
    .into_bytes()
}
