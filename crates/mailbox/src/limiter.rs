use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use sealwire_guard::Rate;
use sealwire_names::{AgentId, Refusal, RefusalCode};

/// Limits how fast each agent sends. Whoever is not registered may not send at all.
///
/// An agent has `burst` messages at once, and one more each time that the period of its rate has
/// passed, up to `burst` again. Nothing is remembered of agents that are not registered, and of
/// each that is, a number: memory is bounded by the register.
///
/// ```
/// use sealwire_mailbox::{AgentRateLimiter, Limited, Rate};
///
/// let limiter = AgentRateLimiter::new(Some(Rate::new(0.5, 2)?));
/// let (coder, stranger) = ("Coder".parse().unwrap(), "Stranger".parse().unwrap());
/// limiter.register_agent(&coder);
/// assert!(limiter.allow_request(&coder).is_ok());
/// assert!(limiter.allow_request(&coder).is_ok());
/// assert!(matches!(limiter.allow_request(&coder), Err(Limited::For(_))));
/// assert!(matches!(limiter.allow_request(&stranger), Err(Limited::Unregistered(_))));
/// # Ok::<(), String>(())
/// ```
pub struct AgentRateLimiter {
    ticks: Ticks,
    quota: Option<Quota>,
    /// `None` where there is no limit.
    agents: RwLock<HashMap<AgentId, Option<Bucket>>>,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// Why a message may not pass now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// The agent is not registered.
    Unregistered(Refusal),
    /// It may pass after this time.
    For(Duration),
}

impl AgentRateLimiter {
    /// One that lets each registered agent send at this rate; without a rate, as fast as it
    /// likes.
    pub fn new(rate: Option<Rate>) -> Self {
        let start = Instant::now();
        Self::with_clock(rate, move || start.elapsed())
    }

    /// As [`new`](Self::new), by a clock that shows how much time has passed since some moment.
    pub fn with_clock(
        rate: Option<Rate>,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let quota = rate.and_then(Rate::quota);
        Self { ticks: Ticks(Arc::new(elapsed)), quota, agents: RwLock::default() }
    }

    /// Lets an agent send. One that is registered already keeps what it has used.
    pub fn register_agent(&self, agent: &AgentId) {
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        if !agents.contains_key(agent) {
            let bucket =
                self.quota.map(|quota| Bucket::direct_with_clock(quota, self.ticks.clone()));
            agents.insert(agent.clone(), bucket);
        }
    }

    /// Lets only those agents send for which `known` is true; forgets the others.
    pub fn retain(&self, known: impl Fn(&AgentId) -> bool) {
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|agent, _| known(agent));
    }

    /// May `agent` send one message now? If so, it has.
    ///
    /// # Errors
    /// [`Limited`]; nothing was used up.
    pub fn allow_request(&self, agent: &AgentId) -> Result<(), Limited> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = agents.get(agent) else {
            let reason = format!("{agent} is not registered: no rate says how fast it may send");
            let refusal = Refusal::new(RefusalCode::AgentNotRegistered, reason);
            return Err(Limited::Unregistered(refusal));
        };
        let Some(bucket) = bucket else { return Ok(()) };
        bucket.check().map_err(|not_until| Limited::For(not_until.wait_time_from(self.ticks.now())))
    }
}

impl fmt::Debug for AgentRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentRateLimiter").field("quota", &self.quota).finish_non_exhaustive()
    }
}

/// Time for governor: what has passed since some moment.
#[derive(Clone)]
struct Ticks(Arc<dyn Fn() -> Duration + Send + Sync>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Fixture {
        nanos: Arc<AtomicU64>,
        limiter: AgentRateLimiter,
        agent: AgentId,
    }

    impl Fixture {
        fn new(per_second: f64, burst: u32) -> Self {
            let nanos = Arc::new(AtomicU64::new(7));
            let clock = Arc::clone(&nanos);
            let rate = Rate::new(per_second, burst).unwrap();
            let limiter = AgentRateLimiter::with_clock(Some(rate), move || {
                Duration::from_nanos(clock.load(Ordering::SeqCst))
            });
            let agent = "A".parse().unwrap();
            limiter.register_agent(&agent);
            Self { nanos, limiter, agent }
        }

        /// How many pass now, one after the other.
        fn pass(&self) -> u32 {
            (0..).take_while(|_| self.limiter.allow_request(&self.agent).is_ok()).count() as u32
        }

        fn forward(&self, nanos: u64) {
            self.nanos.fetch_add(nanos, Ordering::SeqCst);
        }
    }

    #[test]
    fn rate_and_burst_are_exact() {
        for (per_second, burst, period) in [
            (5.0, 20, 200_000_000),
            (0.5, 1, 2_000_000_000),
            (2.5, 3, 400_000_000),
            (0.01, 2, 100_000_000_000),
            (1000.0, 1, 1_000_000),
        ] {
            let fixture = Fixture::new(per_second, burst);
            assert_eq!(fixture.pass(), burst, "{per_second}: the burst");
            fixture.forward(period - 1);
            assert_eq!(fixture.pass(), 0, "{per_second}: one nanosecond too early");
            let wait = fixture.limiter.allow_request(&fixture.agent);
            assert_eq!(wait, Err(Limited::For(Duration::from_nanos(1))));
            fixture.forward(1);
            assert_eq!(fixture.pass(), 1, "{per_second}: one period");
            fixture.forward(period * u64::from(burst) - 1);
            assert_eq!(fixture.pass(), burst - 1, "{per_second}: not yet all of the burst");
            fixture.forward(period * 1_000);
            assert_eq!(fixture.pass(), burst, "{per_second}: no more than the burst");
        }
    }

    #[test]
    fn agents_have_buckets_of_their_own_and_strangers_none() {
        let fixture = Fixture::new(1.0, 1);
        let other: AgentId = "B".parse().unwrap();
        assert!(matches!(fixture.limiter.allow_request(&other), Err(Limited::Unregistered(_))));
        fixture.limiter.register_agent(&other);
        assert_eq!(fixture.pass(), 1);
        assert!(fixture.limiter.allow_request(&other).is_ok());
        fixture.limiter.register_agent(&fixture.agent);
        assert_eq!(fixture.pass(), 0, "registering again gives nothing");
        fixture.limiter.retain(|agent| *agent == fixture.agent);
        assert!(matches!(fixture.limiter.allow_request(&other), Err(Limited::Unregistered(_))));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for (per_second, burst) in
            [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1e-9, 1), (5.0, 0)]
        {
            assert!(Rate::new(per_second, burst).is_err(), "{per_second}, {burst}");
        }
        let unlimited = AgentRateLimiter::new(None);
        let agent = "A".parse().unwrap();
        assert!(unlimited.allow_request(&agent).is_err());
        unlimited.register_agent(&agent);
        assert!((0..10_000).all(|_| unlimited.allow_request(&agent).is_ok()));
    }
}
