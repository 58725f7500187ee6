use super::*;
use proptest::prelude::*;

/// One side with the bytes that are on their way to it.
struct Side {
    session: Session,
    wire: Vec<u8>,
    got: Vec<Vec<u8>>,
}

impl Side {
    fn new() -> Self {
        Self { session: Session::new(1024), wire: Vec::new(), got: Vec::new() }
    }

    fn write_to(&mut self, other: &mut Self, at_most: usize) {
        let (slices, count) = self.session.outgoing().gather();
        let slices = &slices[..count];
        let bytes: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).take(at_most).collect();
        self.session.outgoing().written(bytes.len());
        other.wire.extend(bytes);
    }

    fn read(&mut self) {
        let wire = std::mem::take(&mut self.wire);
        let mut rest = &wire[..];
        while let Some((frame, length)) = Frame::parse(rest, 1 << 20).unwrap() {
            rest = &rest[length..];
            if let Received::Message(message) = self.session.receive(&frame).unwrap() {
                self.got.push(message.to_vec());
            }
            let received = self.session.received();
            self.session.consumed(received);
        }
        self.wire = rest.to_vec();
    }
}

fn reconnect(a: &mut Side, b: &mut Side) {
    a.wire.clear();
    b.wire.clear();
    let (a_received, b_received) = (a.session.received(), b.session.received());
    a.session.resume(b_received, 1024, &[]).unwrap();
    b.session.resume(a_received, 1024, &[]).unwrap();
}

/// Lets both sides write and read until nothing is left.
fn settle(a: &mut Side, b: &mut Side) {
    for _ in 0..40 {
        a.session.acknowledge();
        b.session.acknowledge();
        a.write_to(b, usize::MAX);
        b.write_to(a, usize::MAX);
        b.read();
        a.read();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Queue { from_a: bool, size: usize },
    Write { from_a: bool, at_most: usize },
    Read { at_a: bool },
    Ack { at_a: bool },
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), prop_oneof![0usize..300, 60_000usize..70_000])
            .prop_map(|(from_a, size)| Step::Queue { from_a, size }),
        4 => (any::<bool>(), 0usize..80_000)
            .prop_map(|(from_a, at_most)| Step::Write { from_a, at_most }),
        3 => any::<bool>().prop_map(|at_a| Step::Read { at_a }),
        1 => any::<bool>().prop_map(|at_a| Step::Ack { at_a }),
        1 => Just(Step::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_message_arrives_once_and_in_order_whatever_is_cut(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let (mut a, mut b) = (Side::new(), Side::new());
        let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Queue { from_a: true, size } => {
                    let message = vec![u8::try_from(number % 251).unwrap(); size];
                    a.session.outgoing().message(&message);
                    from_a.push(message);
                }
                Step::Queue { from_a: false, size } => {
                    let message = vec![u8::try_from(number % 251).unwrap(); size];
                    b.session.outgoing().message(&message);
                    from_b.push(message);
                }
                Step::Write { from_a: true, at_most } => a.write_to(&mut b, at_most),
                Step::Write { from_a: false, at_most } => b.write_to(&mut a, at_most),
                Step::Read { at_a: true } => a.read(),
                Step::Read { at_a: false } => b.read(),
                Step::Ack { at_a: true } => a.session.acknowledge(),
                Step::Ack { at_a: false } => b.session.acknowledge(),
                Step::Cut => reconnect(&mut a, &mut b),
            }
        }
        a.session.outgoing().finish(Ending::Orderly);
        b.session.outgoing().finish(Ending::Drained);
        settle(&mut a, &mut b);
        prop_assert_eq!(b.got, from_a);
        prop_assert_eq!(a.got, from_b);
        prop_assert_eq!(a.session.fin(), Some(Ending::Drained));
        prop_assert!(a.session.is_settled() && b.session.is_settled());
        prop_assert_eq!(a.session.outgoing().retained(), 0);
    }
}

#[test]
fn a_gap_a_repetition_and_a_false_ack_are_fatal() {
    let mut session = Session::new(1024);
    session.receive(&Frame::Data { seq: 1, message: b"a" }).unwrap();
    for seq in [0, 1, 3, u64::MAX] {
        assert_eq!(
            session.receive(&Frame::Data { seq, message: b"b" }),
            Err(Violation::Gap { expected: 2, got: seq })
        );
    }
    session.outgoing().message(b"one");
    session.outgoing().message(b"two");
    let unsent = session.receive(&Frame::Ack(1));
    assert_eq!(unsent, Err(Violation::AckBeyondSent { acked: 1, sent: 0 }));
    session.outgoing().written(5 + 8 + 3);
    session.receive(&Frame::Ack(1)).unwrap();
    let unsent = session.receive(&Frame::Ack(2));
    assert_eq!(unsent, Err(Violation::AckBeyondSent { acked: 2, sent: 1 }));
    assert!(matches!(session.resume(0, 1, &[]), Err(Violation::ReceivedBackwards { .. })));
    assert!(matches!(session.resume(2, 1, &[]), Err(Violation::AckBeyondSent { .. })));
    session.resume(1, 1, &[]).unwrap();
}

#[test]
fn a_peer_that_ignores_the_window_is_cut_off() {
    let mut session = Session::new(1000);
    let message = |seq| Frame::Data { seq, message: &[0; 400] };
    for seq in 1..=6 {
        session.receive(&message(seq)).unwrap();
    }
    let exceeded = Err(Violation::WindowExceeded(1000));
    assert_eq!(session.receive(&message(7)), exceeded);

    let mut session = Session::new(1000);
    for seq in 1..=100 {
        session.receive(&message(seq)).unwrap();
        session.consumed(seq);
    }
    session.receive(&Frame::Data { seq: 101, message: &[0; 5000] }).unwrap();
    assert_eq!(session.receive(&message(102)), exceeded, "one may be larger than the window");
}

#[test]
fn a_peer_cannot_have_us_keep_more_than_our_own_limit() {
    let mut session = Session::new(1000);
    session.resume(0, u32::MAX, &[]).unwrap();
    let message = vec![0; 1024 * 1024];
    let mut sent = 0;
    while session.has_room() {
        session.outgoing().message(&message);
        sent += message.len();
    }
    assert!(sent <= MAX_PEER_WINDOW + message.len(), "{sent} bytes are kept");
}

#[test]
fn a_peer_that_pings_and_never_reads_costs_no_memory() {
    let mut session = Session::new(1000);
    for number in 0..100_000 {
        session.receive(&Frame::Ping(number)).unwrap();
    }
    let (slices, count) = session.outgoing().gather();
    assert!(slices[..count].iter().map(|slice| slice.len()).sum::<usize>() < 8 * 1024);
}

#[test]
fn nothing_follows_a_fin() {
    let mut session = Session::new(1024);
    session.receive(&Frame::Fin { seq: 1, ending: Ending::Orderly }).unwrap();
    let late = session.receive(&Frame::Data { seq: 2, message: b"" });
    assert_eq!(late, Err(Violation::AfterFin));
}

#[test]
fn the_end_is_acknowledged_at_once() {
    let mut session = Session::new(1024);
    session.receive(&Frame::Data { seq: 1, message: b"{}" }).unwrap();
    session.consumed(1);
    assert!(session.outgoing().is_idle(), "a message's acknowledgement may wait for company");
    session.receive(&Frame::Fin { seq: 2, ending: Ending::Orderly }).unwrap();
    session.consumed(2);
    let mut expected = Vec::new();
    Frame::Ack(2).encode(&mut expected);
    let (slices, count) = session.outgoing().gather();
    let written: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(written, expected);
}

#[test]
fn memory_is_bounded_by_the_window_and_freed_by_acknowledgement() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let mut sent = 0;
    while a.session.has_room() {
        a.session.outgoing().message(&[7; 100]);
        sent += 1;
    }
    assert!(a.session.outgoing().retained() <= DEFAULT_WINDOW as usize + 200);
    settle(&mut a, &mut b);
    assert_eq!(b.got.len(), sent);
    assert_eq!(a.session.outgoing().retained(), 0);
    assert!(a.session.has_room());
}

fn never_written(session: &Session) -> Vec<usize> {
    session.never_written().map(<[u8]>::len).collect()
}

#[test]
fn what_was_never_written_is_told_from_what_may_have_arrived() {
    let (mut a, mut b) = (Side::new(), Side::new());
    for length in [10, 70_000, 30, 40] {
        a.session.outgoing().message(&vec![b'x'; length]);
    }
    assert_eq!(never_written(&a.session), [10, 70_000, 30, 40]);
    a.write_to(&mut b, 23);
    assert_eq!(never_written(&a.session), [70_000, 30, 40]);
    // One byte of a message is enough: what became of the rest is not for us to know.
    a.write_to(&mut b, 1);
    assert_eq!(never_written(&a.session), [30, 40]);
    // A cut takes nothing back.
    reconnect(&mut a, &mut b);
    a.write_to(&mut b, 5);
    assert_eq!(never_written(&a.session), [30, 40]);
    settle(&mut a, &mut b);
    assert!(never_written(&a.session).is_empty());
    a.session.outgoing().message(b"later");
    a.session.outgoing().finish(Ending::Orderly);
    assert_eq!(never_written(&a.session), [5]);
}

/// TLS writes record by record: the first may have arrived although the write failed.
#[test]
fn after_a_failed_write_nobody_knows_what_has_gone_out() {
    let mut a = Session::new(1024);
    for _ in 0..3 {
        a.outgoing().message(b"x");
    }
    a.outgoing().write_failed();
    a.outgoing().message(b"after");
    assert_eq!(a.resume(4, 1024, &[]), Err(Violation::AckBeyondSent { acked: 4, sent: 3 }));
    assert_eq!(never_written(&a), [5], "the others may be there");
    a.resume(2, 1024, &[]).unwrap();
    assert_eq!(never_written(&a), [5]);
}

#[test]
fn a_drain_is_known_once_everything_before_it_has_arrived() {
    let (mut serving, mut connecting) = (Side::new(), Side::new());
    serving.session.announce_drain();
    serving.session.ping();
    serving.session.receive(&Frame::Pong(0)).unwrap();
    assert!(!serving.session.drain_is_known(), "that answers an earlier ping");
    connecting.session.outgoing().message(b"in ignorance");
    connecting.write_to(&mut serving, usize::MAX);
    settle(&mut serving, &mut connecting);
    assert!(serving.session.drain_is_known());
    assert_eq!(serving.got, [b"in ignorance"]);
}
