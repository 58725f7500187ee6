//! Entries that are recorded and not in a file yet.

use sealwire_names::Timestamp;

use crate::batch::Batch;
use crate::call::CallBody;
use crate::day::Day;
use crate::group::Group;

/// Groups to which calls may be added at a time.
const MAX_OPEN: usize = 8;

/// Where lines are put together.
#[derive(Debug)]
pub(crate) struct Entries {
    batch: Batch,
    /// Those that are open come first, in the order of their numbers. The others are memory.
    groups: Vec<OfMoment>,
    open: usize,
    /// The number of the next entry.
    next: u64,
    /// The day of the latest, or of what comes next. It never goes back, whatever the clock does.
    day: Day,
}

/// Calls of one millisecond, and their entry.
#[derive(Debug)]
struct OfMoment {
    entry: u64,
    day: Day,
    /// In milliseconds.
    moment: i64,
    calls: Group,
}

impl Entries {
    /// Goes on with entry `next`, not before `day`.
    pub(crate) fn new(next: u64, day: Day) -> Self {
        Self { batch: Batch::default(), groups: Vec::new(), open: 0, next, day }
    }

    /// How many there are, with those that were taken.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }

    /// The day of the latest, or of what comes next.
    pub(crate) fn day(&self) -> Day {
        self.day
    }

    /// The day to which an entry of that moment belongs.
    pub(crate) fn day_of(&self, now: Timestamp) -> Day {
        self.day.max(Day::of(now))
    }

    /// No entry belongs to a day before that of this moment any more.
    pub(crate) fn turn_to(&mut self, now: Timestamp) {
        let day = self.day_of(now);
        if day > self.day {
            // Whoever read the clock before is not to join those of the day that is over.
            self.close();
            self.day = day;
        }
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, now: Timestamp, body: &[u8]) {
        self.close();
        self.turn_to(now);
        let bytes = self.batch.begin(self.day, self.next, now.unix_millis());
        bytes.extend_from_slice(body);
        bytes.push(b'\n');
        self.next += 1;
    }

    /// Records a call, with others of the same moment if they are alike: which entry that is, and
    /// how many calls came before it there. It is as good as written once the entry is: no entry
    /// grows after it was taken. Whoever reads them in order meets a decision before its outcome.
    pub(crate) fn push_call(&mut self, now: Timestamp, body: &CallBody<'_>) -> (u64, u64) {
        let moment = now.unix_millis();
        let is_decided =
            |of: &OfMoment| body.own.decision.is_none_or(|(entry, _)| entry < of.entry);
        let takes = |of: &OfMoment| of.moment == moment && is_decided(of) && of.calls.takes(body);
        let at = self.groups[..self.open].iter().position(takes);
        let at = at.unwrap_or_else(|| self.open_group(now));
        let group = &mut self.groups[at];
        (group.entry, group.calls.add(body))
    }

    fn open_group(&mut self, now: Timestamp) -> usize {
        if self.open == MAX_OPEN {
            self.close();
        }
        self.turn_to(now);
        let (entry, day, moment) = (self.next, self.day, now.unix_millis());
        match self.groups.get_mut(self.open) {
            Some(spare) => (spare.entry, spare.day, spare.moment) = (entry, day, moment),
            None => self.groups.push(OfMoment { entry, day, moment, calls: Group::default() }),
        }
        self.next += 1;
        self.open += 1;
        self.open - 1
    }

    /// From now on, no call is added to those that are there.
    fn close(&mut self) {
        for OfMoment { entry, day, moment, calls } in &mut self.groups[..self.open] {
            let line = self.batch.begin(*day, *entry, *moment);
            calls.end(line);
            line.push(b'\n');
        }
        self.open = 0;
    }

    /// Bytes that wait, but for those of the few groups that are open.
    pub(crate) fn len(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Takes what there is, if anything, and goes on with `spare`, which is empty.
    pub(crate) fn take(&mut self, spare: &mut Batch) -> Option<Batch> {
        self.close();
        if self.batch.bytes.is_empty() {
            return None;
        }
        let mut batch = std::mem::replace(&mut self.batch, std::mem::take(spare));
        batch.end = self.next;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Own;

    #[test]
    fn the_day_never_goes_back_and_what_failed_is_tried_again() {
        let at = |text: &str| text.parse::<Day>().unwrap().start();
        let mut entries = Entries::new(7, Day::of(at("2026-01-02")));
        for day in ["2026-01-02", "2026-01-01", "2026-01-03", "2026-01-02"] {
            entries.push(at(day), b"\"type\":\"t\"}");
        }
        let mut batch = entries.take(&mut Batch::default()).unwrap();
        assert!(entries.take(&mut Batch::default()).is_none());
        assert_eq!(batch.end, 11);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let _failed = batch.write(|day, lines| {
                let lines: Vec<_> = lines.split_inclusive(|&byte| byte == b'\n').collect();
                if seen.len() == 1 {
                    seen.push((day.to_string(), 0));
                    return Err(());
                }
                seen.push((day.to_string(), lines.len()));
                Ok(())
            });
        }
        let day = |day: &str, lines| (day.to_owned(), lines);
        assert_eq!(seen, [day("2026-01-02", 2), day("2026-01-03", 0), day("2026-01-03", 2)]);
        let first = batch.bytes.split(|&byte| byte == b'\n').next().unwrap();
        assert_eq!(first, br#"{"entry":7,"time":1767312000000,"type":"t"}"#);
    }

    fn call<'b>(shared: &'b str, id: &'b str) -> CallBody<'b> {
        let own = Own { id: Some(id.as_bytes()), ..Own::default() };
        CallBody { shared: [b"\"type\":", shared.as_bytes()], own, is_cut: false }
    }

    fn lines(entries: &mut Entries) -> Vec<String> {
        let batch = entries.take(&mut Batch::default()).unwrap();
        assert!(batch.bytes.ends_with(b"\n"));
        let lines = batch.bytes.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n');
        lines.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn calls_of_one_moment_that_are_alike_share_an_entry() {
        let (now, later) = (Timestamp::from_unix_millis(5), Timestamp::from_unix_millis(6));
        let own = Own { decision: Some((2, 0)), duration_us: Some(9), ..Own::default() };
        let outcome = CallBody { own, is_cut: true, ..call("\"o\"", "") };
        let [first, second] = ["1", "2"].map(|id| call("\"d\"", id));
        let hash = [b'h'; 45];
        let own = Own { arguments: Some(&hash), ..second.own };
        let with_arguments = CallBody { own, ..second };
        let mut entries = Entries::new(7, Day::of(now));
        assert_eq!(entries.push_call(now, &first), (7, 0));
        assert_eq!(entries.push_call(now, &outcome), (8, 0));
        assert_eq!(entries.push_call(now, &second), (7, 1));
        assert_eq!(entries.push_call(later, &second), (9, 0));
        assert_eq!(entries.push_call(now, &second), (7, 2));
        assert_eq!(entries.push_call(now, &with_arguments), (10, 0));
        // Whatever else comes is after them, and so are further calls.
        entries.push(now, b"\"type\":\"t\"}");
        assert_eq!(entries.push_call(now, &second), (12, 0));
        assert_eq!(entries.count(), 13);
        assert_eq!(
            lines(&mut entries),
            [
                r#"{"entry":7,"time":5,"type":"d","calls":3,"jsonrpc.request.id":[1,2,2]}"#.to_owned(),
                r#"{"entry":8,"time":5,"type":"o","decision_entry":2,"decision_call":0,"duration_us":9,"cut":true}"#.to_owned(),
                r#"{"entry":9,"time":6,"type":"d","jsonrpc.request.id":2}"#.to_owned(),
                format!(r#"{{"entry":10,"time":5,"type":"d","jsonrpc.request.id":2,"arguments":{}}}"#, "h".repeat(45)),
                r#"{"entry":11,"time":5,"type":"t"}"#.to_owned(),
                r#"{"entry":12,"time":5,"type":"d","jsonrpc.request.id":2}"#.to_owned(),
            ]
        );
        // What was taken does not grow.
        assert_eq!(entries.push_call(now, &second), (13, 0));
        assert_eq!(lines(&mut entries).len(), 1);
    }

    #[test]
    fn an_outcome_stands_after_its_decision() {
        let now = Timestamp::from_unix_millis(5);
        let ended = |decision| {
            let own = Own { decision: Some(decision), duration_us: Some(9), ..Own::default() };
            CallBody { own, ..call("\"o\"", "") }
        };
        let mut entries = Entries::new(0, Day::of(now));
        let first = entries.push_call(now, &call("\"a\"", "1"));
        assert_eq!(entries.push_call(now, &ended(first)), (1, 0));
        let second = entries.push_call(now, &call("\"b\"", "2"));
        assert_eq!(second, (2, 0));
        assert_eq!(entries.push_call(now, &ended(second)), (3, 0));
        assert_eq!(entries.push_call(now, &ended(first)), (1, 1));
    }

    #[test]
    fn no_entry_is_longer_than_a_line_may_be() {
        let now = Timestamp::from_unix_millis(5);
        let mut entries = Entries::new(0, Day::of(now));
        let long = "x".repeat(4_096);
        for shared in 0..2 * MAX_OPEN {
            let shared = format!("{shared}{}", "0".repeat(20_000));
            for _ in 0..20 {
                entries.push_call(now, &call(&shared, &long));
            }
        }
        let lines = lines(&mut entries);
        assert!(lines.iter().all(|line| line.len() <= crate::MAX_LINE && line.len() > 20_000));
        let calls: usize = lines.iter().map(|line| line.matches(&long).count()).sum();
        assert_eq!(calls, 20 * 2 * MAX_OPEN);
    }
}
