//! How often: limits for each peer, for tools, for each server and in total.
//!
//! Each limit is a bucket (GCRA): `burst` requests at once after a rest, and one more each
//! time that the period has passed, up to `burst` again. A request that one limit refuses
//! has counted for those asked before it: for its peer in any case, so that asking again and
//! again does not help.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use sealwire_names::{PeerId, Refusal, RefusalCode};

use crate::index::{Names, Peers};
use crate::{Direction, NamePattern, PeerPattern, Principal, Request};

/// Peers that are remembered, beyond which those that have rested are forgotten.
const REMEMBERED: usize = 10_000;

/// Who makes too many requests himself is told from one for whom others have left no room.
const OWN: RefusalCode = RefusalCode::RateLimited;
const SHARED: RefusalCode = RefusalCode::SharedLimit;

/// Requests from one look at how many peers are remembered to the next.
const LOOK: usize = 256;

/// How many requests or messages pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    period: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `per_second` a second, 0.01 being one every 100 s, and `burst` at once after
    /// a rest. The time between two is exact to a nanosecond.
    ///
    /// # Errors
    /// What is wrong, if the rate is not from 0.000001 to 1,000,000 or the burst is 0.
    pub fn new(per_second: f64, burst: u32) -> Result<Self, String> {
        let burst = NonZeroU32::new(burst).ok_or("a burst of 0 lets nothing pass")?;
        if !(1e-6..=1e6).contains(&per_second) {
            return Err(format!("{per_second} a second is no rate from 0.000001 to 1000000"));
        }
        Ok(Self { period: Duration::from_secs_f64(1.0 / per_second), burst })
    }

    /// How many may pass in a second in the long run.
    pub fn per_second(self) -> f64 {
        // The period is exact to a nanosecond, so its inverse may be off in the last digits.
        let rate = 1.0 / self.period.as_secs_f64();
        if rate < 1.0 { (rate * 1e9).round() / 1e9 } else { (rate * 1e3).round() / 1e3 }
    }

    /// How many may pass at once after a rest.
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    /// The time from one to the next.
    pub(crate) fn period(self) -> Duration {
        self.period
    }

    /// The same for the crate `governor`; `None` never happens, as no period is 0.
    pub fn quota(self) -> Option<Quota> {
        Quota::with_period(self.period).map(|quota| quota.allow_burst(self.burst))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one every {:?}, {} at once", self.period, self.burst)
    }
}

/// The limits as they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Of each peer that `peers` does not name; `None` if it has none.
    pub each_peer: Option<Rate>,
    /// Of each peer that a pattern matches, the most specific one. Each peer has its own
    /// bucket.
    pub peers: Vec<(PeerPattern, Rate)>,
    /// Whether a peer that `peers` does not name is refused.
    pub refuse_unregistered: bool,
    /// Of all peers together.
    pub total: Option<Rate>,
    /// Of servers.
    pub servers: Vec<ServerLimits>,
}

/// The limits of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// The name that requests give.
    pub name: String,
    /// The name of its table.
    pub entry: String,
    /// Of all peers together.
    pub total: Option<Rate>,
    /// Of the tools that a pattern matches, which share a bucket. The most specific pattern
    /// counts.
    pub tools: Vec<(NamePattern, Rate)>,
}

/// Why a request may not pass now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Its peer has no limit, and the policy demands one.
    Unregistered(Refusal),
    /// It may pass after this time.
    For(Duration, Refusal),
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;
type Buckets = RateLimiter<PeerId, HashMapStateStore<PeerId>, Ticks, NoOpMiddleware<Duration>>;

/// Compiled [`RateLimits`], and what has been used of them.
pub struct Limiter {
    ticks: Ticks,
    refuse_unregistered: bool,
    each_peer: Option<PeerBuckets>,
    peers: Peers<u32>,
    of_peers: Vec<Option<PeerBuckets>>,
    total: Option<Bucket>,
    servers: HashMap<Box<str>, ServerBuckets, RandomState>,
}

struct PeerBuckets {
    of_peers: Buckets,
    /// How many there may be before those that have rested are looked for.
    most: AtomicUsize,
    /// Requests counted; how many peers there are is asked seldom.
    requests: AtomicUsize,
    of_local: Bucket,
}

struct ServerBuckets {
    total: Option<Bucket>,
    tools: Names,
    of_tools: Vec<Option<Bucket>>,
}

impl Limiter {
    /// A limiter that goes by the system's clock.
    pub fn new(limits: &RateLimits) -> Self {
        let start = Instant::now();
        Self::with_clock(limits, move || start.elapsed())
    }

    /// As [`new`](Self::new), by a clock that shows how much time has passed since some moment.
    pub fn with_clock(
        limits: &RateLimits,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let ticks = Ticks(Arc::new(elapsed));
        let mut peers = Peers::new();
        for (index, (pattern, _)) in limits.peers.iter().enumerate() {
            let node = peers.node(pattern);
            peers.say(node, index as u32);
        }
        peers.finish(limits.peers.iter().map(|(pattern, _)| pattern));
        let servers = limits
            .servers
            .iter()
            .map(|server| (server.name.as_str().into(), ServerBuckets::new(server, &ticks)));
        Self {
            refuse_unregistered: limits.refuse_unregistered,
            each_peer: limits.each_peer.and_then(|rate| PeerBuckets::new(rate, &ticks)),
            peers,
            of_peers: limits
                .peers
                .iter()
                .map(|(_, rate)| PeerBuckets::new(*rate, &ticks))
                .collect(),
            total: limits.total.and_then(|rate| bucket(rate, &ticks)),
            servers: servers.collect(),
            ticks,
        }
    }

    /// Counts a request for its peer, whatever becomes of it. Notifications, and what goes to
    /// the client, are not counted.
    ///
    /// # Errors
    /// [`Limited`], if it is one too many.
    pub fn count_peer(&self, request: &Request<'_>) -> Result<(), Limited> {
        if !is_counted(request) {
            return Ok(());
        }
        let named = self.peers.find(request.peer).said;
        let buckets = match named.and_then(|index| self.of_peers.get(index as usize)?.as_ref()) {
            Some(buckets) => buckets,
            None if self.refuse_unregistered => {
                let reason = format!("{} has no limit of its own", shown(request.peer));
                let refusal = Refusal::new(RefusalCode::PeerNotRegistered, reason);
                return Err(Limited::Unregistered(refusal));
            }
            None => match &self.each_peer {
                Some(buckets) => buckets,
                None => return Ok(()),
            },
        };
        match request.peer {
            Principal::Local => self.passes(buckets.of_local.check(), OWN, "of the local client"),
            Principal::Peer(peer) => {
                buckets.forget_rested();
                self.passes(buckets.of_peers.check_key(peer), OWN, "of this peer")
            }
        }
    }

    /// Counts a request that policy lets pass for its tool, its server and in total.
    ///
    /// # Errors
    /// [`Limited`], if it is one too many for one of them.
    pub fn count(&self, request: &Request<'_>) -> Result<(), Limited> {
        if !is_counted(request) {
            return Ok(());
        }
        if let Some(server) = self.servers.get(request.server) {
            if request.method == "tools/call" {
                let tool = server.tools.find(request.subject.unwrap_or_default());
                let said = server.tools.said(tool);
                let bucket = said.and_then(|index| server.of_tools.get(index as usize)?.as_ref());
                if let Some(bucket) = bucket {
                    self.passes(bucket.check(), SHARED, "of this tool")?;
                }
            }
            if let Some(bucket) = &server.total {
                self.passes(bucket.check(), SHARED, "of this server")?;
            }
        }
        match &self.total {
            Some(bucket) => self.passes(bucket.check(), SHARED, "of all servers together"),
            None => Ok(()),
        }
    }

    fn passes(
        &self,
        checked: Result<(), NotUntil<Duration>>,
        code: RefusalCode,
        whose: &str,
    ) -> Result<(), Limited> {
        checked.map_err(|not_until| {
            let wait = not_until.wait_time_from(self.ticks.now());
            let reason = format!("the limit {whose} is reached; it may pass in {wait:?}");
            Limited::For(wait, Refusal::new(code, reason))
        })
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

impl PeerBuckets {
    fn new(rate: Rate, ticks: &Ticks) -> Option<Self> {
        let store = HashMapStateStore::default();
        let of_peers = RateLimiter::new(rate.quota()?, store, ticks.clone());
        Some(Self {
            of_peers,
            most: REMEMBERED.into(),
            requests: 0.into(),
            of_local: bucket(rate, ticks)?,
        })
    }

    /// Forgets peers whose bucket is full again. Were nearly all of them active, looking at
    /// each time would be slow; so after each look there may be twice as many.
    fn forget_rested(&self) {
        let looks = self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK);
        if looks && self.of_peers.len() > self.most.load(Ordering::Relaxed) {
            self.of_peers.retain_recent();
            self.most.store(REMEMBERED.max(2 * self.of_peers.len()), Ordering::Relaxed);
        }
    }
}

impl ServerBuckets {
    fn new(limits: &ServerLimits, ticks: &Ticks) -> Self {
        let mut tools = Names::new();
        for (index, (pattern, _)) in limits.tools.iter().enumerate() {
            let node = tools.node(pattern);
            tools.say(node, index as u32);
        }
        tools.finish(limits.tools.iter().map(|(pattern, _)| pattern));
        Self {
            total: limits.total.and_then(|rate| bucket(rate, ticks)),
            tools,
            of_tools: limits.tools.iter().map(|(_, rate)| bucket(*rate, ticks)).collect(),
        }
    }
}

fn bucket(rate: Rate, ticks: &Ticks) -> Option<Bucket> {
    Some(Bucket::direct_with_clock(rate.quota()?, ticks.clone()))
}

fn is_counted(request: &Request<'_>) -> bool {
    request.direction == Direction::ToServer && !request.method.starts_with("notifications/")
}

fn shown(peer: Principal<'_>) -> String {
    match peer {
        Principal::Peer(peer) => peer.to_string(),
        Principal::Local => "the local client".to_owned(),
    }
}

/// Time for governor: what has passed since some moment.
#[derive(Clone)]
struct Ticks(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
