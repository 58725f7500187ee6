//! Joins two endpoints: the loop that every message passes through.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use sealwire_guard::Direction;
use tokio::time::{Sleep, sleep};

use crate::conversation::{Conversation, Fate, Now, Verdict};
use crate::endpoint::{Endpoint, EndpointError, Incoming};
use crate::held_back::HeldBack;
use crate::link::Ending;
use crate::message::RequestId;
use crate::vigil::Vigil;

/// Messages handed on at once. The next in line begins with them while we judge those that
/// follow, so that a long queue is worked on by several processes at a time. Each handing
/// over costs as much as judging ten, and more where another processor has to wake for it.
const BURST: usize = 32;

/// How long nothing has to move until the memory of large messages is given back.
const REST: Duration = Duration::from_millis(500);

const TO_SERVER: Direction = Direction::ToServer;
const TO_CLIENT: Direction = Direction::ToClient;

/// Something that the relay's owner has to decide about.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The client will send nothing more.
    ClientEnded,
    /// The server will send nothing more.
    ServerEnded(Ending),
    /// The serving side is about to stop.
    Drain,
    /// The endpoint towards the client failed.
    ClientFailed(EndpointError),
    /// The endpoint towards the server failed.
    ServerFailed(EndpointError),
    /// What has been let through cannot be recorded, and so must not leave.
    Unrecorded(io::Error),
    /// What [`Until`] asked for holds.
    Reached,
}

/// What else ends [`Bridge::run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nothing: run on.
    Happened,
    /// The client waits for no answer, and knows that it is to ask for nothing more.
    Idle,
    /// The client waits for no answer, and the server's side knows that nothing more comes.
    ServerSettled,
    /// The client's side knows that nothing more comes.
    ClientSettled,
}

/// Two endpoints and the conversation between them, driven by one task.
pub(crate) struct Bridge<C, S> {
    pub(crate) client: C,
    pub(crate) server: S,
    pub(crate) conversation: Conversation,
    to_server: Flow,
    to_client: Flow,
    resting: Option<Resting>,
    vigil: Vigil,
}

/// A pause that may become a rest.
struct Resting {
    over: Pin<Box<Sleep>>,
    /// How far both sides were when it began.
    positions: (u64, u64),
}

/// One direction's bookkeeping.
#[derive(Default)]
struct Flow {
    ended: bool,
    /// Once the sink has handed over as many messages as the first number says, the
    /// source is told that everything up to the second has been consumed.
    mark: Option<(u64, u64)>,
    consumed: u64,
    /// Another source has taken the place of one whose messages fill the sink. That it
    /// limits itself is not enough: each source would fill as much again.
    crowded: bool,
    /// Something came, and no message was whole: the rest is on its way.
    partial: bool,
    held: HeldBack,
}

impl<C: Endpoint, S: Endpoint> Bridge<C, S> {
    pub(crate) fn new(client: C, server: S, conversation: Conversation) -> Self {
        Self {
            client,
            server,
            conversation,
            to_server: Flow::default(),
            to_client: Flow::default(),
            resting: None,
            vigil: Vigil::default(),
        }
    }

    /// The same, awake for so long after something moved.
    pub(crate) fn that_stays_awake(mut self, length: Duration) -> Self {
        self.vigil = Vigil::new(length);
        self
    }

    /// Moves messages until something happens. Dropping the future loses nothing.
    pub(crate) async fn run(&mut self, until: Until) -> Happened {
        poll_fn(|cx| {
            let polled = self.poll(cx);
            if polled.is_pending() && self.has_reached(until) {
                return Poll::Ready(Happened::Reached);
            }
            polled
        })
        .await
    }

    fn has_reached(&self, until: Until) -> bool {
        let idle = !self.conversation.is_client_waiting();
        match until {
            Until::Happened => false,
            Until::Idle => idle && self.client.knows_of_drain(),
            Until::ServerSettled => idle && self.server.is_settled(),
            Until::ClientSettled => self.client.is_settled(),
        }
    }

    /// Answers the requests that the client waits for, and that `which` picks, with an
    /// error. How many they were.
    pub(crate) fn abandon(&mut self, which: impl Fn(&RequestId) -> bool, fate: Fate<'_>) -> usize {
        let answers = self.conversation.abandon(which, fate);
        answers.iter().for_each(|answer| self.client.send(answer));
        answers.len()
    }

    /// The server's endpoint has begun anew: nothing of the old one is to be consumed.
    pub(crate) fn server_is_new(&mut self) {
        self.to_client = Flow { crowded: true, ..Flow::default() };
    }

    /// Moves messages until whatever has been sent to the client is on its way.
    pub(crate) async fn flush_client(&mut self) -> Result<(), EndpointError> {
        let recorded = |cx: &mut Context<'_>| self.conversation.poll_recorded(TO_CLIENT, cx);
        poll_fn(recorded).await.map_err(unrecorded)?;
        poll_fn(|cx| self.client.poll_flush(cx)).await
    }

    /// Tells the server's side that all it sent has been handed on.
    pub(crate) async fn acknowledge_server(&mut self) -> Result<(), EndpointError> {
        let recorded = |cx: &mut Context<'_>| self.conversation.poll_recorded(TO_SERVER, cx);
        poll_fn(recorded).await.map_err(unrecorded)?;
        self.server.consumed(self.server.position());
        poll_fn(|cx| self.server.poll_flush(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        loop {
            // Where it leaves all at once, nothing is added to what waits for the log, or it might
            // wait for ever.
            let full = [
                self.to_server.held.is_full(&self.server),
                self.to_client.held.is_full(&self.client),
            ];
            let mut progress = false;
            let had_room = (self.client.has_room(), self.server.has_room());

            let Self { client, server, conversation, to_server, to_client, .. } = self;
            let pumped = match full[TO_SERVER as usize] {
                false => pump(cx, TO_SERVER, to_server, client, server, conversation),
                true => Poll::Pending,
            };
            match pumped {
                Poll::Ready(Ok(None)) => progress = true,
                Poll::Ready(Ok(Some(End::Of(_)))) => return Poll::Ready(Happened::ClientEnded),
                Poll::Ready(Ok(Some(End::Drain))) => return Poll::Ready(Happened::Drain),
                Poll::Ready(Err(error)) => return Poll::Ready(Happened::ClientFailed(error)),
                Poll::Pending => {}
            }
            let pumped = match full[TO_CLIENT as usize] {
                false => pump(cx, TO_CLIENT, to_client, server, client, conversation),
                true => Poll::Pending,
            };
            match pumped {
                Poll::Ready(Ok(None)) => progress = true,
                Poll::Ready(Ok(Some(End::Of(ending)))) => {
                    return Poll::Ready(Happened::ServerEnded(ending));
                }
                Poll::Ready(Ok(Some(End::Drain))) => return Poll::Ready(Happened::Drain),
                Poll::Ready(Err(error)) => return Poll::Ready(Happened::ServerFailed(error)),
                Poll::Pending => {}
            }
            let Self { client, server, conversation, to_server, to_client, .. } = self;
            match to_server.held.poll_leave(TO_SERVER, conversation, server, cx) {
                Ok(Poll::Ready(Err(error))) => return Poll::Ready(Happened::ServerFailed(error)),
                Err(error) => return Poll::Ready(Happened::Unrecorded(error)),
                Ok(_) => {}
            }
            match to_client.held.poll_leave(TO_CLIENT, conversation, client, cx) {
                Ok(Poll::Ready(Err(error))) => return Poll::Ready(Happened::ClientFailed(error)),
                Err(error) => return Poll::Ready(Happened::Unrecorded(error)),
                Ok(_) => {}
            }
            // Room that writing or an acknowledgement has just made is of use to messages that
            // have been looked at before.
            progress |= !had_room.0 && self.client.has_room();
            progress |= !had_room.1 && self.server.has_room();
            progress |= full[TO_SERVER as usize] && !self.to_server.held.is_full(&self.server);
            progress |= full[TO_CLIENT as usize] && !self.to_client.held.is_full(&self.client);
            progress |= self.to_server.settle(&mut self.client, &self.server);
            progress |= self.to_client.settle(&mut self.server, &self.client);
            if !progress {
                if self.conversation.is_idle() {
                    self.poll_rest(cx);
                }
                // Of a long message, more comes at a time to whoever sleeps.
                if !self.to_server.partial && !self.to_client.partial {
                    self.vigil.keep(self.conversation.is_client_waiting(), cx);
                }
                return Poll::Pending;
            }
            self.vigil.moved();
        }
    }

    /// Gives memory back when nothing has moved for a while.
    fn poll_rest(&mut self, cx: &mut Context<'_>) {
        let positions = (self.client.position(), self.server.position());
        while self.resting.is_some() || self.client.can_rest() || self.server.can_rest() {
            let resting = self
                .resting
                .get_or_insert_with(|| Resting { over: Box::pin(sleep(REST)), positions });
            if resting.over.as_mut().poll(cx).is_pending() {
                return;
            }
            let nothing_moved = resting.positions == positions;
            self.resting = None;
            if nothing_moved {
                self.client.rest();
                self.server.rest();
                return;
            }
        }
    }
}

/// As the failure of an endpoint.
pub(crate) fn unrecorded(source: io::Error) -> EndpointError {
    EndpointError::Io { what: "the audit log", source }
}

enum End {
    Of(Ending),
    Drain,
}

/// Takes what `source` has, and what it gets by reading, and hands it to `sink`, as far as the
/// conversation allows. `Ready(Ok(None))` means that there may be more.
fn pump(
    cx: &mut Context<'_>,
    direction: Direction,
    flow: &mut Flow,
    source: &mut impl Endpoint,
    sink: &mut impl Endpoint,
    conversation: &mut Conversation,
) -> Poll<Result<Option<End>, EndpointError>> {
    if flow.ended && !source.limits_itself() {
        return Poll::Pending;
    }
    flow.crowded &= !sink.has_room();
    let limits_itself = source.limits_itself() && !flow.crowded;
    let mut answers = Vec::new();
    let mut now = None;
    let mut end = None;
    let mut filled = Poll::Pending;
    let mut is_fruitless = false;
    let mut count = 0;
    while sink.has_room() || limits_itself {
        if count == BURST {
            filled = Poll::Ready(Ok(()));
            break;
        }
        let limit = sink.send_limit();
        let Some(incoming) = source.next() else {
            // What has been handed to the sink does not wait for the rest of a long message.
            if is_fruitless {
                flow.partial = true;
                break;
            }
            filled = source.poll_fill(cx);
            if !matches!(filled, Poll::Ready(Ok(()))) {
                break;
            }
            is_fruitless = true;
            continue;
        };
        (is_fruitless, flow.partial) = (false, false);
        count += 1;
        let now = *now.get_or_insert_with(|| Now {
            wall: SystemTime::now().into(),
            monotonic: Instant::now(),
        });
        let verdict = match incoming {
            Incoming::Message(message) if message.len() <= limit => {
                let verdict = conversation.judge(direction, message, now);
                if verdict == Verdict::Forward {
                    sink.send(message);
                }
                verdict
            }
            Incoming::Message(whole) => {
                conversation.judge_oversized(direction, whole, b"", limit, now)
            }
            Incoming::Oversized { start, end } => {
                conversation.judge_oversized(direction, start, end, limit, now)
            }
            Incoming::Drain => {
                end = Some(End::Drain);
                break;
            }
            Incoming::End(ending) => {
                flow.ended = true;
                end = Some(End::Of(ending));
                break;
            }
        };
        match verdict {
            Verdict::Answer(_) if source.is_overfull() => {
                tracing::warn!("an error answer is dropped: the peer reads none");
            }
            Verdict::Answer(answer) => answers.push(answer),
            Verdict::Substitute(answer) if answer.len() > limit => {
                sink.send(&conversation.too_large(&answer));
            }
            Verdict::Substitute(answer) => sink.send(&answer),
            Verdict::Forward | Verdict::Drop => {}
        }
    }
    let position = source.position();
    if flow.mark.is_none() && position > flow.consumed {
        flow.mark = Some((sink.accepted(), position));
    }
    for answer in answers {
        source.send(&answer);
    }
    if end.is_some() {
        return Poll::Ready(Ok(end));
    }
    filled.map_ok(|()| None)
}

impl Flow {
    /// Tells the source what the sink has handed over. Whether that made a difference.
    fn settle(&mut self, source: &mut impl Endpoint, sink: &impl Endpoint) -> bool {
        let Some((accepted, position)) = self.mark else { return false };
        if sink.handed_over() < accepted {
            return false;
        }
        source.consumed(position);
        self.consumed = position;
        self.mark = None;
        true
    }
}

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
