//! What has been recorded and is not in a file yet, and what is yet to be recorded.

#[cfg(test)]
mod property_tests;

use std::num::NonZeroU64;

use sealwire_names::Timestamp;

use crate::CallResult;
use crate::batch::Batch;
use crate::call::{CallBody, Own, outcome};
use crate::day::Day;
use crate::entries::Entries;
use crate::held::Held;

/// Entries that are recorded, and decisions whose entry waits for their outcome.
#[derive(Debug)]
pub(crate) struct Gathering {
    entries: Entries,
    held: Held,
}

impl Gathering {
    /// Goes on with entry `next`, not before `day`.
    pub(crate) fn new(next: u64, day: Day) -> Self {
        Self { entries: Entries::new(next, day), held: Held::default() }
    }

    /// How many entries are recorded.
    pub(crate) fn count(&self) -> u64 {
        self.entries.count()
    }

    /// Bytes that wait to be written, about.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The day to which an entry of that moment belongs.
    pub(crate) fn day_of(&self, now: Timestamp) -> Day {
        self.entries.day_of(now)
    }

    /// Takes what is recorded, if anything, and goes on with `spare`, which is empty.
    pub(crate) fn take(&mut self, spare: &mut Batch) -> Option<Batch> {
        self.entries.take(spare)
    }

    /// Appends an entry. What was decided before it stands before it.
    pub(crate) fn push(&mut self, now: Timestamp, body: &[u8]) {
        self.record_held();
        self.entries.push(now, body);
    }

    /// Appends what is said of a call, as an entry or to one: which, and how many calls came before
    /// it there.
    pub(crate) fn push_call(&mut self, now: Timestamp, body: &CallBody<'_>) -> (u64, u64) {
        self.turn_to(now);
        self.entries.push_call(now, body)
    }

    /// Holds back that a call was allowed, for [`Gathering::end`]: by which number. `None` if it has
    /// to be recorded at once.
    pub(crate) fn hold(&mut self, now: Timestamp, body: &CallBody<'_>) -> Option<NonZeroU64> {
        self.turn_to(now);
        self.held.hold(now, body)
    }

    /// Records a call that was held back, with its outcome, as [`Gathering::push_call`] does.
    ///
    /// # Errors
    /// If it had to be recorded meanwhile: where, as far as that is known.
    pub(crate) fn end(
        &mut self,
        number: NonZeroU64,
        result: CallResult,
        duration_us: u64,
    ) -> Result<(u64, u64), Option<(u64, u64)>> {
        let Some((at, body)) = self.held.release(number.get()) else {
            return Err(self.held.take_recorded(number.get()));
        };
        let own = Own { duration_us: Some(duration_us), ..body.own };
        let shared = [body.shared[0], outcome(result)];
        Ok(self.entries.push_call(at, &CallBody { shared, own, ..body }))
    }

    /// Records all that is held back.
    pub(crate) fn record_held(&mut self) {
        self.held.numbers().into_iter().for_each(|number| self.record(number));
    }

    /// The key of their arguments is that of their day: so is their entry. What is held from now on
    /// is not of a day before, even if whoever decided it read the clock sooner.
    fn turn_to(&mut self, now: Timestamp) {
        if self.entries.day_of(now) > self.entries.day() {
            self.record_held();
            self.entries.turn_to(now);
        }
    }

    fn record(&mut self, number: u64) {
        if let Some((at, body)) = self.held.release(number) {
            let place = self.entries.push_call(at, &body);
            self.held.was_recorded(number, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Own<'_> = Own { id: Some(b"1"), arguments: None, decision: None, duration_us: None };

    fn call(text: &str) -> CallBody<'_> {
        CallBody { shared: [text.as_bytes(), b""], own: OWN, is_cut: false }
    }

    fn lines(gathering: &mut Gathering) -> Vec<String> {
        let batch = gathering.take(&mut Batch::default());
        let bytes = batch.map_or(Vec::new(), |batch| batch.bytes);
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    const NOON: Timestamp = Timestamp::from_unix_millis(43_200_000);

    fn gathering() -> Gathering {
        Gathering::new(0, Day::of(NOON))
    }

    #[test]
    fn a_decision_waits_for_its_outcome_and_for_nothing_else() {
        let later = Timestamp::from_unix_millis(43_200_009);
        let mut gathering = gathering();
        let [first, second] = [0; 2].map(|_| gathering.hold(NOON, &call("a")).unwrap());
        assert!(lines(&mut gathering).is_empty());
        assert_eq!(gathering.end(second, CallResult::Error, 7), Ok((0, 0)));
        assert_eq!(
            lines(&mut gathering),
            [
                r#"{"entry":0,"time":43200000,a,"outcome":"error","jsonrpc.request.id":1,"duration_us":7}"#
            ]
        );
        gathering.push(later, b"b}");
        assert_eq!(
            lines(&mut gathering),
            [
                r#"{"entry":1,"time":43200000,a,"jsonrpc.request.id":1}"#,
                r#"{"entry":2,"time":43200009,b}"#
            ]
        );
        assert_eq!(gathering.end(first, CallResult::Result, 7), Err(Some((1, 0))));
        // Each ends once.
        for number in [first, second] {
            assert_eq!(gathering.end(number, CallResult::Result, 7), Err(None));
        }
        assert!(lines(&mut gathering).is_empty());
    }

    #[test]
    fn what_was_decided_on_a_day_is_recorded_on_it() {
        let before = Timestamp::from_unix_millis(86_399_999);
        let after = Timestamp::from_unix_millis(86_400_000);
        let mut gathering = gathering();
        let [first, second] = [0; 2].map(|_| gathering.hold(before, &call("a")).unwrap());
        assert_eq!(gathering.end(first, CallResult::Result, 7), Ok((0, 0)));
        assert!(gathering.hold(after, &call("a")).is_some());
        assert_eq!(gathering.end(second, CallResult::Result, 7), Err(Some((1, 0))));
        let days_of = |gathering: &mut Gathering| {
            let mut batch = gathering.take(&mut Batch::default()).unwrap();
            let mut days = Vec::new();
            batch
                .write(|day, _| {
                    days.push(day);
                    Ok::<_, ()>(())
                })
                .unwrap();
            days
        };
        assert_eq!(days_of(&mut gathering), [Day::of(before)]);
        gathering.record_held();
        assert_eq!(days_of(&mut gathering), [Day::of(after)]);
    }

    /// Whoever read the clock before midnight may come after one who read it then. The key of its
    /// arguments is that of the day on which it will be recorded.
    #[test]
    fn no_decision_is_held_for_a_day_before_that_of_another() {
        let before = Timestamp::from_unix_millis(86_399_999);
        let after = Timestamp::from_unix_millis(86_400_000);
        let mut gathering = Gathering::new(0, Day::of(before));
        let first = gathering.hold(after, &call("a")).unwrap();
        assert_eq!(gathering.day_of(before), Day::of(after));
        let second = gathering.hold(before, &call("a")).unwrap();
        assert_eq!(gathering.end(first, CallResult::Result, 7), Ok((0, 0)), "it is still held");
        assert_eq!(gathering.end(second, CallResult::Result, 7), Ok((1, 0)));

        // Nor does it join those of the day that is over.
        let mut gathering = Gathering::new(0, Day::of(before));
        for at in [before, after, before] {
            gathering.hold(at, &call("a")).unwrap();
        }
        gathering.record_held();
        assert_eq!(lines(&mut gathering).len(), 3);
    }

    #[test]
    fn what_is_too_much_to_be_held_back_is_recorded_at_once_and_nothing_is_lost() {
        let mut gathering = gathering();
        let texts: Vec<_> = (0..17).map(|n| format!("a{n}")).collect();
        let mut ended = 0;
        let numbers: Vec<_> = (0..1_500)
            .map(|n| {
                let held = gathering.hold(NOON, &call(&texts[n % 16]));
                // Their places are used again.
                if n % 3 == 0 {
                    ended += 1;
                    let end = gathering.end(held.unwrap(), CallResult::Result, 7);
                    assert!(end.is_ok());
                }
                held.unwrap()
            })
            .collect();
        assert_eq!(gathering.hold(NOON, &call(&texts[16])), None, "a text too many");
        for _ in 0..24 {
            assert!(gathering.hold(NOON, &call(&texts[0])).is_some());
        }
        assert_eq!(gathering.hold(NOON, &call(&texts[0])), None, "a call too many");
        gathering.record_held();
        let ends: Vec<_> =
            numbers.iter().map(|number| gathering.end(*number, CallResult::Result, 7)).collect();
        let mut places: Vec<_> = ends.into_iter().filter_map(Result::unwrap_err).collect();
        assert_eq!(places.len(), 1_500 - ended);
        assert!(places.is_sorted(), "they are recorded in order");
        places.dedup();
        assert_eq!(places.len(), 1_500 - ended);
        // And now there is room for others.
        assert!(gathering.hold(NOON, &call(&texts[16])).is_some());
    }
}
