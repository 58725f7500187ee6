//! A link as an endpoint: the session's bytes over whatever connection there is.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use sealwire_names::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::LinkError;
use super::frame::{DATA_OVERHEAD, Ending, Frame};
use super::greeting::{CHUNK, Wire};
use super::session::{Received, Session};
use crate::endpoint::{Endpoint, EndpointError, Incoming};

/// An acknowledgement travels with the next message, or alone after this long.
const ACK_DELAY: Duration = Duration::from_millis(40);

/// Most that is reserved ahead of what has arrived, in bytes: a header alone is not to cost
/// more.
const MOST_RESERVED: usize = 32 * CHUNK;

/// Where a link gets its connections from.
pub trait Carrier {
    /// The kind of connection it brings.
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// A new connection, which replaces the current one, if there is one.
    ///
    /// # Errors
    /// When there will be none any more.
    fn poll_connect(
        &mut self,
        cx: &mut Context<'_>,
        state: LinkState,
    ) -> Poll<Result<Connected<Self::Stream>, LinkError>>;
}

/// What a carrier needs to know about its link.
#[derive(Clone, Copy, Debug)]
pub struct LinkState {
    /// The last sequence number received.
    pub received: u64,
    /// Whether there is a connection now.
    pub is_connected: bool,
}

/// A connection on which both greetings have been exchanged, or are about to be.
pub struct Connected<S> {
    pub(crate) wire: Wire<S>,
    /// The last sequence number that the peer has received.
    pub(crate) peer_received: u64,
    /// How many unacknowledged bytes the peer accepts.
    pub(crate) peer_window: u32,
    /// The largest message that the peer accepts.
    pub(crate) peer_max_message: usize,
    /// Until when the peer's certificate holds, and it is known whether it is revoked: the
    /// connection ends by then.
    pub(crate) valid_until: Timestamp,
    /// Our greeting, where it has to tell what we had received by now.
    pub(crate) greeting: Option<Box<dyn FnOnce(u64) -> Vec<u8> + Send>>,
}

/// An endpoint over a link.
pub struct LinkEndpoint<C: Carrier> {
    session: Session,
    carrier: C,
    wire: Option<Wire<C::Stream>>,
    /// Until when the certificate of the peer of `wire` holds.
    valid_until: Timestamp,
    /// Length of the frame given out last, still in the wire's buffer.
    taken: usize,
    max_message: usize,
    peer_max_message: usize,
    idle_timeout: Duration,
    heard: Instant,
    spoke: Instant,
    ping_timer: Pin<Box<Sleep>>,
    ack_timer: Option<Pin<Box<Sleep>>>,
    fault: Option<LinkError>,
    was_connected: bool,
    /// How often a connection was lost.
    cuts: u64,
}

impl<C: Carrier> LinkEndpoint<C> {
    /// A link without a connection yet: the carrier brings the first, too.
    ///
    /// A connection from which nothing is heard for `idle_timeout`, not even the answer
    /// to a ping, is given up. Must be called within a tokio runtime with a timer.
    pub fn new(carrier: C, max_message: usize, window: u32, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            session: Session::new(window),
            carrier,
            wire: None,
            valid_until: Timestamp::from_unix_millis(i64::MAX),
            taken: 0,
            max_message,
            peer_max_message: usize::MAX,
            idle_timeout,
            heard: now,
            spoke: now,
            ping_timer: Box::pin(sleep_until(now + idle_timeout / 3)),
            ack_timer: None,
            fault: None,
            was_connected: false,
            cuts: 0,
        }
    }

    /// How often a connection was lost so far.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// The carrier.
    pub fn carrier(&mut self) -> &mut C {
        &mut self.carrier
    }

    /// Waits until the first connection stands.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn connected(&mut self) -> Result<(), LinkError> {
        std::future::poll_fn(|cx| self.poll_carrier(cx)).await
    }

    /// Whether there ever was a connection, so that the peer's limits are known.
    pub(crate) fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// The messages of which not a single byte was ever written to a connection, in order:
    /// the only ones of which it is certain that the peer knows nothing.
    pub(crate) fn never_written(&self) -> impl Iterator<Item = &[u8]> {
        self.session.never_written()
    }

    /// Takes a connection from the carrier, if it has one.
    fn poll_carrier(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let state =
            LinkState { received: self.session.received(), is_connected: self.wire.is_some() };
        let connected = ready!(self.carrier.poll_connect(cx, state))?;
        if self.wire.is_some() {
            self.cuts += 1;
        }
        let greeting = match connected.greeting {
            Some(greeting) => greeting(self.session.received()),
            None => Vec::new(),
        };
        self.session.resume(connected.peer_received, connected.peer_window, &greeting)?;
        if !self.was_connected
            && self.session.outgoing().retained() > connected.peer_max_message + DATA_OVERHEAD
        {
            return Poll::Ready(Err(LinkError::FirstMessageTooLarge(connected.peer_max_message)));
        }
        self.peer_max_message = connected.peer_max_message;
        self.wire = Some(connected.wire);
        self.valid_until = connected.valid_until;
        self.taken = 0;
        self.was_connected = true;
        self.heard = Instant::now();
        let look = self.heard + self.next_look();
        self.ping_timer.as_mut().reset(look);
        Poll::Ready(Ok(()))
    }

    fn lose(&mut self, why: &str) {
        if self.wire.take().is_none() {
            return;
        }
        self.cuts += 1;
        self.taken = 0;
        if self.session.fin().is_some() {
            tracing::debug!(why, "connection closed");
        } else {
            tracing::info!(why, "connection lost");
        }
    }

    /// How long the peer's certificate holds: to the end of its last second, as path validation
    /// has it.
    fn expires_in(&self) -> Duration {
        let end = self.valid_until.unix_millis().saturating_add(1000);
        let left = end.saturating_sub(Timestamp::from(SystemTime::now()).unix_millis());
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// When to look again: the clock that certificates go by may be set meanwhile, so not only
    /// when the peer's expires.
    fn next_look(&self) -> Duration {
        (self.idle_timeout / 3).min(self.expires_in())
    }

    /// Ends a connection whose peer's certificate has expired: the peer may come back by another,
    /// and the conversation goes on. Gives up a dead connection, and lets the peer know that ours is not dead.
    ///
    /// Whoever has written nothing for a while pings, rather than whoever has heard
    /// nothing: a side that takes a long time to send one large message hears so that its
    /// peer is there, although it can put no ping of its own into the middle of it.
    fn poll_idle(&mut self, cx: &mut Context<'_>) {
        while self.ping_timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.wire.is_some() && self.expires_in().is_zero() {
                self.lose("the peer's certificate, or a revocation list, has expired");
            } else if self.wire.is_some() && now.duration_since(self.heard) >= self.idle_timeout {
                self.lose("nothing heard from the peer");
            } else if self.wire.is_some() && now.duration_since(self.spoke) >= self.idle_timeout / 3
            {
                self.spoke = now;
                self.session.ping();
            }
            let look = if self.wire.is_some() { self.next_look() } else { self.idle_timeout / 3 };
            self.ping_timer.as_mut().reset(now + look);
        }
    }

    /// Sends an acknowledgement alone if no message has carried it for a while.
    fn poll_ack(&mut self, cx: &mut Context<'_>) {
        if !self.session.owes_ack() {
            return;
        }
        let timer =
            self.ack_timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + ACK_DELAY)));
        if timer.as_mut().poll(cx).is_ready() {
            self.ack_timer = None;
            self.session.acknowledge();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        wire.buffer.consume(std::mem::take(&mut self.taken));
        // A large frame gets the room it needs, rather than twice that by doubling.
        let missing = Frame::missing(&wire.buffer).clamp(CHUNK, MOST_RESERVED);
        match ready!(wire.buffer.poll_fill(cx, Pin::new(&mut wire.stream), missing)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {
                self.heard = Instant::now();
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<C: Carrier> Endpoint for LinkEndpoint<C> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault.into()));
        }
        self.poll_idle(cx);
        loop {
            if let Poll::Ready(connected) = self.poll_carrier(cx) {
                connected?;
                // Messages may have come along with the greeting. The next call asks the
                // carrier again, which is what makes it wake us for a further connection.
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_read(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => self.lose(&error.to_string()),
            }
        }
    }

    fn next(&mut self) -> Option<Incoming<'_>> {
        let wire = self.wire.as_mut()?;
        wire.buffer.consume(std::mem::take(&mut self.taken));
        loop {
            let (frame, length) = match Frame::parse(&wire.buffer[self.taken..], self.max_message) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return None,
                Err(error) => {
                    self.fault = Some(error.into());
                    return None;
                }
            };
            self.taken += length;
            match self.session.receive(&frame) {
                Ok(Received::Nothing) => {}
                Ok(Received::Message(message)) => return Some(Incoming::Message(message)),
                Ok(Received::Drain) => return Some(Incoming::Drain),
                Ok(Received::Fin(ending)) => return Some(Incoming::End(ending)),
                Err(violation) => {
                    self.fault = Some(violation.into());
                    return None;
                }
            }
        }
    }

    fn consumed(&mut self, position: u64) {
        self.session.consumed(position);
    }

    fn position(&self) -> u64 {
        self.session.received()
    }

    /// Before the first greeting the peer's limits are unknown, and one message is enough
    /// to have somebody to answer to if there never is a connection.
    fn has_room(&self) -> bool {
        self.session.has_room() && (self.was_connected || self.session.queued() == 0)
    }

    fn is_overfull(&self) -> bool {
        self.session.is_overfull()
    }

    fn send(&mut self, message: &[u8]) {
        self.session.outgoing().message(message);
    }

    fn finish(&mut self, ending: Ending) {
        self.session.outgoing().finish(ending);
    }

    fn announce_drain(&mut self) {
        self.session.announce_drain();
    }

    /// A peer that is cut off is not waited for.
    fn knows_of_drain(&self) -> bool {
        self.wire.is_none() || self.session.drain_is_known()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        self.poll_ack(cx);
        loop {
            let Some(wire) = &mut self.wire else { return Poll::Pending };
            if !self.session.outgoing().is_idle() {
                self.session.acknowledge();
            }
            let stream = Pin::new(&mut wire.stream);
            let (slices, count) = self.session.outgoing().gather();
            let written = if count == 0 {
                match ready!(stream.poll_flush(cx)) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(error) => Err(error),
                }
            } else {
                ready!(stream.poll_write_vectored(cx, &slices[..count]))
            };
            match written {
                Ok(count) if count > 0 => {
                    self.spoke = Instant::now();
                    self.session.outgoing().written(count);
                }
                Ok(_) => self.lose("the connection takes no more bytes"),
                Err(error) => {
                    self.session.outgoing().write_failed();
                    self.lose(&error.to_string());
                }
            }
            if self.wire.is_none() {
                // The carrier, polled by `poll_fill`, is to bring another.
                cx.waker().wake_by_ref();
            }
        }
    }

    fn limits_itself(&self) -> bool {
        true
    }

    fn accepted(&self) -> u64 {
        self.session.queued()
    }

    /// What has been queued is kept until it arrives: the link is answerable for it.
    fn handed_over(&self) -> u64 {
        self.session.queued()
    }

    fn is_settled(&self) -> bool {
        self.session.is_settled()
    }

    fn can_rest(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.buffer.can_rest()) || self.session.can_rest()
    }

    fn rest(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.buffer.consume(std::mem::take(&mut self.taken));
            wire.buffer.rest();
        }
        self.session.outgoing().rest();
    }

    fn send_limit(&self) -> usize {
        self.peer_max_message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Buffer;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// Brings the connections it is given, then none.
    struct Planned(VecDeque<Connected<DuplexStream>>);

    impl Carrier for Planned {
        type Stream = DuplexStream;

        fn poll_connect(
            &mut self,
            _cx: &mut Context<'_>,
            _state: LinkState,
        ) -> Poll<Result<Connected<DuplexStream>, LinkError>> {
            self.0.pop_front().map_or(Poll::Pending, |connected| Poll::Ready(Ok(connected)))
        }
    }

    fn connected(frames: &[Frame<'_>]) -> (Connected<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        let mut wire = Wire::new(ours);
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        wire.buffer = Buffer::from(bytes);
        let connected = Connected {
            wire,
            peer_received: 0,
            peer_window: 1024,
            peer_max_message: 1024,
            valid_until: Timestamp::from_unix_millis(i64::MAX),
            greeting: None,
        };
        (connected, theirs)
    }

    fn link(
        connections: impl IntoIterator<Item = Connected<DuplexStream>>,
    ) -> LinkEndpoint<Planned> {
        let carrier = Planned(connections.into_iter().collect());
        LinkEndpoint::new(carrier, 1024, 1024, Duration::from_secs(30))
    }

    /// Whether `poll_fill` has something to say without anything happening elsewhere.
    async fn fills_at_once(link: &mut LinkEndpoint<Planned>) -> bool {
        poll_fn(|cx| Poll::Ready(link.poll_fill(cx).is_ready())).await
    }

    #[tokio::test]
    async fn messages_that_came_with_the_greeting_are_not_left_lying() {
        let (connected, _theirs) = connected(&[Frame::Data { seq: 1, message: b"early" }]);
        let mut link = link([connected]);
        assert!(fills_at_once(&mut link).await);
        assert_eq!(link.next(), Some(Incoming::Message(b"early")));
    }

    /// A large message over a slow network: its sender cannot ping in the middle of it, and
    /// must hear that its peer is there.
    #[tokio::test(start_paused = true)]
    async fn a_side_that_only_listens_speaks_now_and_then() {
        let (connected, mut theirs) = connected(&[]);
        let mut link = link([connected]);
        let sending = async move {
            let mut heard = Vec::new();
            theirs.write_all(&[0, 0, 4, 0, 4]).await.unwrap();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                theirs.write_all(b"x").await.unwrap();
                let reading = theirs.read_buf(&mut heard);
                let _nothing_yet = tokio::time::timeout(Duration::from_millis(1), reading).await;
            }
            heard
        };
        let driving = poll_fn(|cx| {
            while let Poll::Ready(filled) = link.poll_fill(cx) {
                filled.unwrap();
                assert_eq!(link.next(), None);
            }
            link.poll_flush(cx).map(Result::unwrap).map(|()| ()).is_ready();
            Poll::<()>::Pending
        });
        let heard = tokio::select! {
            heard = sending => heard,
            () = driving => unreachable!("it never ends"),
        };
        let first = Frame::parse(&heard, 0).unwrap();
        assert!(matches!(first, Some((Frame::Ping(_), _))), "{heard:?}");
        assert_eq!(link.cuts(), 0);
    }

    /// Whatever the connection has to say: nothing of it is taken after that.
    #[tokio::test]
    async fn a_connection_ends_with_the_peers_certificate() {
        let (mut expired, mut gone) = connected(&[]);
        expired.valid_until = Timestamp::from_unix_seconds(1);
        let (later, _theirs) = connected(&[Frame::Data { seq: 1, message: b"by another" }]);
        let mut link = link([expired]);
        gone.write_all(&[0, 0, 4, 0, 4]).await.unwrap();
        assert!(fills_at_once(&mut link).await, "it is connected");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!fills_at_once(&mut link).await);
        assert_eq!(link.next(), None);
        assert_eq!(link.cuts(), 1);
        assert_eq!(gone.read(&mut [0]).await.unwrap(), 0, "closed");
        link.carrier().0.push_back(later);
        assert!(fills_at_once(&mut link).await);
        assert_eq!(link.next(), Some(Incoming::Message(b"by another")));
    }

    #[tokio::test]
    async fn a_later_connection_replaces_an_earlier_one() {
        let (earlier, mut gone) = connected(&[Frame::Data { seq: 1, message: b"fenced" }]);
        let (later, _theirs) = connected(&[Frame::Data { seq: 1, message: b"taken" }]);
        let mut link = link([earlier, later]);
        assert!(fills_at_once(&mut link).await && fills_at_once(&mut link).await);
        assert_eq!(link.next(), Some(Incoming::Message(b"taken")));
        assert_eq!(link.next(), None);
        assert_eq!(gone.read(&mut [0]).await.unwrap(), 0, "closed");
        assert_eq!(link.cuts(), 1);
    }
}
