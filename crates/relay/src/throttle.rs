//! How much of what a server causes is logged: one server is not to fill the log.

use std::time::{Duration, Instant};

/// Lets a budget through in each second, and counts what it does not.
#[derive(Debug)]
pub(crate) struct Throttle {
    budget: usize,
    since: Instant,
    spent: usize,
    suppressed: u64,
}

impl Throttle {
    /// `budget` is in whatever unit the costs are in.
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, since: Instant::now(), spent: 0, suppressed: 0 }
    }

    /// Whether something that costs `cost` passes at `now`: if so, how much has not passed
    /// since the last that did.
    pub(crate) fn admit(&mut self, cost: usize, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.spent = 0;
        }
        if self.spent >= self.budget {
            self.suppressed += 1;
            return None;
        }
        self.spent += cost;
        Some(self.suppressed())
    }

    /// What has not passed since the last time that anybody was told.
    pub(crate) fn suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_budget_and_what_exceeds_it_is_counted() {
        let mut throttle = Throttle::new(10);
        let start = Instant::now();
        assert_eq!(throttle.admit(9, start), Some(0));
        assert_eq!(throttle.admit(500, start), Some(0), "one is always let through whole");
        assert_eq!(throttle.admit(1, start), None);
        assert_eq!(throttle.admit(1, start), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(throttle.admit(10, later), Some(2));
        assert_eq!(throttle.admit(1, later), None);
        assert_eq!(throttle.suppressed(), 1);
        assert_eq!(throttle.admit(1, later + Duration::from_secs(1)), Some(0));
    }
}
