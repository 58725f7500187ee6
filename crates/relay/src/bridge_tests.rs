use super::*;
use crate::lines::Lines;
use sealwire_audit::{AuditSink, Event, LogSink, Position};
use sealwire_guard::AllowAuthenticated;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::io::{duplex, split};
use tokio::time::timeout;

/// Has room from the moment on at which an acknowledgement has been read and taken.
#[derive(Default)]
struct Acknowledged {
    read: bool,
    room: bool,
    sent: Vec<Vec<u8>>,
    /// How many messages of half a mebibyte it has to say.
    words: usize,
    word: Vec<u8>,
    /// How many more reads bring only a part of a long message.
    parts: usize,
    /// How many of them were left when it was first to write.
    left_at_flush: Option<usize>,
    /// How often it was looked at for something to read.
    looks: usize,
    /// How often it was told to rest; it has something to give back until then.
    rests: usize,
}

impl Endpoint for Acknowledged {
    fn poll_fill(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        self.looks += 1;
        if let Some(parts) = self.parts.checked_sub(1) {
            self.parts = parts;
            return Poll::Ready(Ok(()));
        }
        if std::mem::replace(&mut self.read, true) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn next(&mut self) -> Option<Incoming<'_>> {
        self.room = self.read;
        self.words = self.words.checked_sub(1)?;
        let text = "x".repeat(512 * 1024);
        self.word = format!(r#"{{"jsonrpc":"2.0","method":"n","x":"{text}"}}"#).into();
        Some(Incoming::Message(&self.word))
    }

    fn limits_itself(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        self.room
    }

    fn send(&mut self, message: &[u8]) {
        self.sent.push(message.to_vec());
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        self.left_at_flush.get_or_insert(self.parts);
        Poll::Pending
    }

    fn consumed(&mut self, _position: u64) {}

    fn position(&self) -> u64 {
        0
    }

    fn is_overfull(&self) -> bool {
        false
    }

    fn finish(&mut self, _ending: Ending) {}

    fn accepted(&self) -> u64 {
        0
    }

    fn handed_over(&self) -> u64 {
        0
    }

    fn is_settled(&self) -> bool {
        false
    }

    fn can_rest(&self) -> bool {
        self.rests == 0
    }

    fn rest(&mut self) {
        self.rests += 1;
    }
}

type Local = Lines<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn bridge(pipe: usize) -> (Bridge<Local, Acknowledged>, DuplexStream) {
    let (ours, theirs) = duplex(pipe);
    let (input, output) = split(ours);
    let (gate, audit) = (Arc::new(AllowAuthenticated), Arc::new(LogSink));
    let conversation = Conversation::new(None, "s".into(), gate, audit);
    let client = Lines::new(input, output, 1024);
    (Bridge::new(client, Acknowledged::default(), conversation), theirs)
}

/// A server that says all it may and is replaced, over and over, does not fill our
/// memory; and whoever comes last is heard once there is room.
#[tokio::test]
async fn a_client_that_does_not_read_is_not_told_more_by_each_new_server() {
    let (mut bridge, mut theirs) = bridge(8 << 20);
    for _ in 0..20 {
        bridge.server = Acknowledged { words: 3, ..Acknowledged::default() };
        bridge.server_is_new();
        poll_fn(|cx| Poll::Ready(bridge.poll(cx).is_pending())).await;
    }
    let taken = bridge.client.accepted();
    assert!(taken <= 21, "{taken} messages");
    let all_heard = tokio::spawn(async move {
        let (mut lines, mut chunk) = (0, vec![0; 8 << 20]);
        while lines < taken + 3 {
            let count = theirs.read(&mut chunk).await.unwrap();
            lines += chunk[..count].iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        }
        theirs
    });
    tokio::select! {
        happened = bridge.run(Until::Happened) => panic!("{happened:?}"),
        heard = timeout(Duration::from_secs(60), all_heard) => drop(heard.unwrap().unwrap()),
    }
}

/// What makes the room wakes nobody once more: it has to be used at once.
#[tokio::test]
async fn room_that_an_acknowledgement_makes_is_used_at_once() {
    let (mut bridge, mut theirs) = bridge(1024);
    let message = br#"{"jsonrpc":"2.0","method":"n"}"#;
    theirs.write_all(&[&message[..], b"\n"].concat()).await.unwrap();
    poll_fn(|cx| Poll::Ready(bridge.poll(cx).is_pending())).await;
    assert_eq!(bridge.server.sent, [message]);
}

#[tokio::test]
async fn what_has_been_judged_does_not_wait_for_a_long_message_behind_it() {
    let (mut bridge, _theirs) = bridge(8 << 20);
    bridge.server = Acknowledged { words: 2, parts: 100, ..Acknowledged::default() };
    poll_fn(|cx| Poll::Ready(bridge.poll(cx).is_pending())).await;
    assert_eq!(bridge.client.accepted(), 2);
    assert_eq!(bridge.server.left_at_flush, Some(99), "both sides are flushed together");
}

/// New memory is costly: between two large messages, none is given back.
#[tokio::test(start_paused = true)]
async fn memory_is_given_back_when_nothing_has_moved_for_a_while() {
    let (mut bridge, mut theirs) = bridge(1024);
    bridge.server.room = true;
    for _ in 0..3 {
        theirs.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n").await.unwrap();
        assert!(timeout(REST * 2 / 3, bridge.run(Until::Happened)).await.is_err());
        assert_eq!(bridge.server.rests, 0);
    }
    assert_eq!(bridge.server.sent.len(), 3);
    assert!(timeout(REST * 2, bridge.run(Until::Happened)).await.is_err());
    assert_eq!(bridge.server.rests, 1);
}

/// A request whose answer takes long may be answered at length.
#[tokio::test(start_paused = true)]
async fn memory_is_kept_while_a_request_waits() {
    let (mut bridge, mut theirs) = bridge(1024);
    bridge.server.room = true;
    theirs.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n").await.unwrap();
    assert!(timeout(REST * 5, bridge.run(Until::Happened)).await.is_err());
    assert_eq!((bridge.server.sent.len(), bridge.server.rests), (1, 0));
}

/// Nobody wakes us here: what is seen is seen by looking.
#[tokio::test]
async fn whoever_stays_awake_looks_again_and_again() {
    let (mut bridge, _theirs) = bridge(1024);
    bridge.server.read = true;
    assert!(timeout(Duration::from_millis(50), bridge.run(Until::Happened)).await.is_err());
    let looks = bridge.server.looks;
    assert!(looks < 20, "{looks} looks");
    let mut bridge = bridge.that_stays_awake(Duration::from_secs(3600));
    let looked = poll_fn(|cx| match bridge.poll(cx) {
        Poll::Pending if bridge.server.looks < looks + 1000 => Poll::Pending,
        _ => Poll::Ready(()),
    });
    timeout(Duration::from_secs(60), looked).await.unwrap();
}

/// Whoever sleeps meanwhile reads more of it at a time.
#[tokio::test]
async fn nobody_stays_awake_for_the_rest_of_a_long_message() {
    let (bridge, _theirs) = bridge(1024);
    let mut bridge = bridge.that_stays_awake(Duration::from_secs(3600));
    bridge.server = Acknowledged { parts: 1, ..Acknowledged::default() };
    assert!(timeout(Duration::from_millis(50), bridge.run(Until::Happened)).await.is_err());
    let looks = bridge.server.looks;
    assert!(looks < 20, "{looks} looks");
}

/// A log on a disk that takes its time.
#[derive(Default)]
struct Slow {
    recorded: AtomicU64,
    durable: AtomicU64,
    broken: AtomicBool,
}

impl AuditSink for Slow {
    fn record(&self, _event: &Event<'_>) -> io::Result<Position> {
        Ok(Position::after(self.recorded.fetch_add(1, Relaxed) + 1))
    }

    fn poll_durable(&self, position: Position, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.durable.load(Relaxed) >= position.entries() {
            return Poll::Ready(Ok(()));
        }
        if self.broken.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A bridge with that log, and calls that its client has made.
async fn waiting_for_the_log(calls: u64) -> (Bridge<Local, Acknowledged>, DuplexStream, Arc<Slow>) {
    let (mut bridge, mut theirs) = bridge(1 << 16);
    let slow = Arc::new(Slow::default());
    let audit = Arc::clone(&slow);
    bridge.conversation = Conversation::new(None, "s".into(), Arc::new(AllowAuthenticated), audit);
    (bridge.server.read, bridge.server.room) = (true, true);
    call(&mut theirs, 0..calls).await;
    (bridge, theirs, slow)
}

async fn call(theirs: &mut DuplexStream, ids: std::ops::Range<u64>) {
    for id in ids {
        let call = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\"}}\n");
        theirs.write_all(call.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_leaves_before_it_is_recorded_and_nothing_is_added_meanwhile() {
    let (mut bridge, mut theirs, slow) = waiting_for_the_log(3).await;
    let poll = async |bridge: &mut Bridge<_, _>| {
        poll_fn(|cx| Poll::Ready(bridge.poll(cx).is_pending())).await
    };
    assert!(poll(&mut bridge).await);
    assert_eq!((bridge.server.sent.len(), bridge.server.left_at_flush), (3, None));
    // A steady stream must not make the first wait for the last.
    call(&mut theirs, 3..5).await;
    slow.durable.store(2, Relaxed);
    assert!(poll(&mut bridge).await);
    assert_eq!((bridge.server.sent.len(), bridge.server.left_at_flush), (3, None));
    slow.durable.store(5, Relaxed);
    assert!(poll(&mut bridge).await);
    assert_eq!((bridge.server.sent.len(), bridge.server.left_at_flush), (5, Some(0)));
}

#[tokio::test]
async fn what_cannot_be_recorded_never_leaves() {
    let (mut bridge, _theirs, slow) = waiting_for_the_log(1).await;
    slow.broken.store(true, Relaxed);
    let happened = bridge.run(Until::Happened).await;
    assert!(matches!(happened, Happened::Unrecorded(_)), "{happened:?}");
    assert_eq!(bridge.server.left_at_flush, None);
    let answers = bridge.abandon(|_| true, Fate::server_ended("x"));
    assert_eq!(answers, 1);
    bridge.flush_client().await.expect_err("the answer must not leave either");
}
