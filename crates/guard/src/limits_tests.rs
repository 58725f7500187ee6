use std::sync::atomic::AtomicU64;

use super::*;

/// A clock that stands still until it is set forward.
#[derive(Clone)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn limiter(limits: &RateLimits) -> (Self, Limiter) {
        let hand = Self(Arc::new(AtomicU64::new(7)));
        let clock = Arc::clone(&hand.0);
        let elapsed = move || Duration::from_nanos(clock.load(Ordering::SeqCst));
        (hand, Limiter::with_clock(limits, elapsed))
    }

    fn forward(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

fn peer(name: &str) -> PeerId {
    format!("spiffe://d.example/{name}").parse().unwrap()
}

fn pattern(text: &str) -> PeerPattern {
    PeerPattern::parse(text, &"d.example".parse().unwrap()).unwrap()
}

fn call<'a>(peer: Principal<'a>, server: &'a str, tool: &'a str) -> Request<'a> {
    let direction = Direction::ToServer;
    Request { peer, server, direction, method: "tools/call", subject: Some(tool) }
}

/// As a gate counts one that policy lets pass.
fn pass(limiter: &Limiter, request: &Request<'_>) -> Result<(), Limited> {
    limiter.count_peer(request)?;
    limiter.count(request)
}

/// How many of them pass now, one after the other.
fn burst(limiter: &Limiter, request: &Request<'_>) -> u32 {
    (0..).take_while(|_| pass(limiter, request).is_ok()).count() as u32
}

/// Every kind of limit, each alone, with the request that it is for.
fn each_kind(rate: Rate) -> Vec<RateLimits> {
    let server = |total, tools| ServerLimits { name: "s".into(), entry: "s".into(), total, tools };
    vec![
        RateLimits { each_peer: Some(rate), ..RateLimits::default() },
        RateLimits { peers: vec![(pattern("agent/*"), rate)], ..RateLimits::default() },
        RateLimits { total: Some(rate), ..RateLimits::default() },
        RateLimits { servers: vec![server(Some(rate), vec![])], ..RateLimits::default() },
        RateLimits {
            servers: vec![server(None, vec![("t*".parse().unwrap(), rate)])],
            ..RateLimits::default()
        },
    ]
}

#[test]
fn rate_and_burst_are_exact_for_each_kind_of_limit() {
    let a = peer("agent/a");
    let request = call(Principal::Peer(&a), "s", "t1");
    for (per_second, at_once, period) in [
        (10.0, 20, 100_000_000),
        (0.5, 1, 2_000_000_000),
        (2.5, 3, 400_000_000),
        (0.01, 2, 100_000_000_000),
        (1000.0, 1, 1_000_000),
    ] {
        for limits in each_kind(Rate::new(per_second, at_once).unwrap()) {
            let (hand, limiter) = Hand::limiter(&limits);
            assert_eq!(burst(&limiter, &request), at_once, "{limits:?}");
            hand.forward(period - 1);
            let Err(Limited::For(wait, refusal)) = pass(&limiter, &request) else {
                panic!("one nanosecond too early: {limits:?}")
            };
            assert_eq!(wait, Duration::from_nanos(1));
            let is_own = limits.each_peer.is_some() || !limits.peers.is_empty();
            let code = if is_own { RefusalCode::RateLimited } else { RefusalCode::SharedLimit };
            assert_eq!(refusal.code, code);
            hand.forward(1);
            assert_eq!(burst(&limiter, &request), 1, "one period: {limits:?}");
            hand.forward(period * u64::from(at_once) - 1);
            assert_eq!(burst(&limiter, &request), at_once - 1, "not yet all: {limits:?}");
            hand.forward(period * 1_000);
            assert_eq!(burst(&limiter, &request), at_once, "no more than the burst: {limits:?}");
        }
    }
}

#[test]
fn peers_have_buckets_of_their_own_and_the_rest_is_shared() {
    let (a, b) = (peer("agent/a"), peer("agent/b"));
    let rate = Rate::new(1.0, 2).unwrap();
    let expected = [(2, 2), (2, 2), (2, 0), (2, 0), (2, 0)];
    for (limits, (first, second)) in each_kind(rate).iter().zip(expected) {
        let (_, limiter) = Hand::limiter(limits);
        assert_eq!(burst(&limiter, &call(Principal::Peer(&a), "s", "t1")), first, "{limits:?}");
        assert_eq!(burst(&limiter, &call(Principal::Peer(&b), "s", "t2")), second, "{limits:?}");
    }
    let (_, limiter) = Hand::limiter(&each_kind(rate)[0]);
    assert_eq!(burst(&limiter, &call(Principal::Local, "s", "t")), 2, "the local client, too");
    let (_, limiter) = Hand::limiter(&each_kind(rate)[4]);
    let other = call(Principal::Peer(&a), "s", "other");
    assert!((0..100).all(|_| pass(&limiter, &other).is_ok()), "no limit is for it");
    let elsewhere = call(Principal::Peer(&a), "elsewhere", "t1");
    assert!((0..100).all(|_| pass(&limiter, &elsewhere).is_ok()), "nor for another server's");
}

#[test]
fn the_most_specific_pattern_counts() {
    let rate = |burst| Rate::new(1.0, burst).unwrap();
    let limits = RateLimits {
        each_peer: Some(rate(1)),
        peers: vec![(pattern("agent/*"), rate(2)), (pattern("agent/a"), rate(3))],
        ..RateLimits::default()
    };
    let (_, limiter) = Hand::limiter(&limits);
    for (name, expected) in [("agent/a", 3), ("agent/b", 2), ("core/a", 1)] {
        let peer = peer(name);
        assert_eq!(burst(&limiter, &call(Principal::Peer(&peer), "s", "t")), expected, "{name}");
    }
}

#[test]
fn who_is_not_registered_is_refused_where_that_is_demanded() {
    let (a, stranger) = (peer("agent/a"), peer("core/a"));
    let mut limits = RateLimits {
        each_peer: Some(Rate::new(1.0, 1).unwrap()),
        peers: vec![(pattern("agent/a"), Rate::new(1.0, 1).unwrap())],
        refuse_unregistered: true,
        ..RateLimits::default()
    };
    let (_, limiter) = Hand::limiter(&limits);
    let strange = call(Principal::Peer(&stranger), "s", "t");
    assert!(limiter.count_peer(&call(Principal::Peer(&a), "s", "t")).is_ok());
    let Err(Limited::Unregistered(refusal)) = limiter.count_peer(&strange) else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, RefusalCode::PeerNotRegistered);
    assert!(refusal.reason.contains("core/a"));
    assert!(matches!(
        limiter.count_peer(&call(Principal::Local, "s", "t")),
        Err(Limited::Unregistered(_))
    ));
    limits.refuse_unregistered = false;
    assert!(Hand::limiter(&limits).1.count_peer(&strange).is_ok());
}

#[test]
fn news_and_what_goes_to_the_client_are_not_counted() {
    let a = peer("agent/a");
    let limits = RateLimits {
        each_peer: Some(Rate::new(1.0, 1).unwrap()),
        total: Some(Rate::new(1.0, 1).unwrap()),
        ..RateLimits::default()
    };
    let (_, limiter) = Hand::limiter(&limits);
    let request = call(Principal::Peer(&a), "s", "t");
    let news = Request { method: "notifications/cancelled", subject: None, ..request };
    let back = Request { direction: Direction::ToClient, method: "ping", ..request };
    for uncounted in [news, back] {
        assert!((0..10).all(|_| pass(&limiter, &uncounted).is_ok()));
    }
    assert_eq!(burst(&limiter, &request), 1);
}

#[test]
fn memory_is_bounded_by_those_who_have_not_rested() {
    let rate = Rate::new(1.0, 1).unwrap();
    let (hand, limiter) =
        Hand::limiter(&RateLimits { each_peer: Some(rate), ..RateLimits::default() });
    for number in 0..3 * REMEMBERED {
        let peer = peer(&format!("agent/a{number}"));
        limiter.count_peer(&call(Principal::Peer(&peer), "s", "t")).unwrap();
        hand.forward(1_000_000_000);
    }
    let remembered = limiter.each_peer.unwrap().of_peers.len();
    assert!(remembered <= REMEMBERED + LOOK, "{remembered}");
}

#[test]
fn what_is_no_rate_is_refused() {
    for (per_second, burst) in
        [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1e-9, 1), (5.0, 0)]
    {
        assert!(Rate::new(per_second, burst).is_err(), "{per_second}, {burst}");
    }
}
