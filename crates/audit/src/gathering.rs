//! What has been recorded and is not in a file yet.

use sealwire_names::Timestamp;

use crate::call::CallBody;
use crate::day::Day;
use crate::entry::{push_integer, push_number};

/// What is kept for later of memory that is not used, at most, in bytes.
const LARGEST_SPARE: usize = 1024 * 1024;
/// Beyond so many bytes, further calls are another entry: half of what a line may be.
const LARGEST_GROUP: usize = crate::MAX_LINE / 2;
/// How the list of the calls of a group begins.
const LIST: &[u8] = b"\"calls\":[";
/// Groups to which calls may be added at a time.
const MAX_OPEN: usize = 8;

/// Lines, in order, and the days to which they belong.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where the lines of a day begin. Empty if there are no lines.
    days: Vec<(usize, Day)>,
    /// Up to here it is in files.
    written: usize,
    /// How many entries there are with the last of them.
    pub(crate) end: u64,
}

/// Calls of one millisecond that differ in nothing but what is each call's own: one entry.
#[derive(Debug, Default)]
struct Group {
    entry: u64,
    shared: Vec<u8>,
    calls: Vec<u8>,
    count: u64,
    is_cut: bool,
}

/// Where lines are put together.
#[derive(Debug)]
pub(crate) struct Gathering {
    batch: Batch,
    /// Those that are open come first, in the order of their numbers. The others are memory.
    groups: Vec<Group>,
    open: usize,
    /// The moment of those that are open, in milliseconds.
    moment: i64,
    /// The number of the next entry.
    next: u64,
    /// The day of the latest. It never goes back, whatever the clock does.
    day: Day,
}

impl Gathering {
    /// Goes on with entry `next`, not before `day`.
    pub(crate) fn new(next: u64, day: Day) -> Self {
        let (batch, groups) = (Batch::default(), Vec::new());
        Self { batch, groups, open: 0, moment: 0, next, day }
    }

    /// The day to which an entry of that moment belongs.
    pub(crate) fn day_of(&self, now: Timestamp) -> Day {
        self.day.max(Day::of(now))
    }

    /// Appends an entry; how many there are with it.
    pub(crate) fn push(&mut self, now: Timestamp, body: &[u8]) -> u64 {
        self.close();
        self.day = self.day_of(now);
        let bytes = self.batch.begin(self.day, self.next, now.unix_millis());
        bytes.extend_from_slice(body);
        bytes.push(b'\n');
        self.next += 1;
        self.next
    }

    /// Records a call, with others of the same moment if they are alike: which entry that is, and
    /// how many calls came before it there. It is as good as written once the entry is: no entry
    /// grows after it was taken.
    pub(crate) fn push_call(&mut self, now: Timestamp, body: CallBody<'_>) -> (u64, u64) {
        let moment = now.unix_millis();
        if moment != self.moment {
            self.close();
            self.moment = moment;
        }
        let is_alike = |group: &Group| {
            group.shared == body.shared
                && group.shared.len() + group.calls.len() + body.own.len() < LARGEST_GROUP
        };
        let at = self.groups[..self.open].iter().position(is_alike);
        let at = at.unwrap_or_else(|| self.open_group(now, body.shared));
        let group = &mut self.groups[at];
        group.calls.extend_from_slice(if group.count == 0 { LIST } else { b"," });
        group.calls.push(b'{');
        group.calls.extend_from_slice(body.own);
        group.calls.push(b'}');
        group.is_cut |= body.is_cut;
        group.count += 1;
        (group.entry, group.count - 1)
    }

    fn open_group(&mut self, now: Timestamp, shared: &[u8]) -> usize {
        if self.open == MAX_OPEN {
            self.close();
        }
        if self.open == self.groups.len() {
            self.groups.push(Group::default());
        }
        self.day = self.day_of(now);
        let group = &mut self.groups[self.open];
        group.entry = self.next;
        group.shared.extend_from_slice(shared);
        self.next += 1;
        self.open += 1;
        self.open - 1
    }

    /// From now on, no call is added to those that are there.
    fn close(&mut self) {
        for group in &mut self.groups[..self.open] {
            group.end(self.batch.begin(self.day, group.entry, self.moment));
        }
        self.open = 0;
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        let open = self.groups[..self.open].iter();
        self.batch.bytes.len() + open.map(|group| group.calls.len()).sum::<usize>()
    }

    /// Takes what there is, if anything, and goes on with `spare`, which is empty.
    pub(crate) fn take(&mut self, spare: &mut Batch) -> Option<Batch> {
        self.close();
        if self.batch.bytes.is_empty() {
            return None;
        }
        let batch = std::mem::replace(&mut self.batch, std::mem::take(spare));
        Some(Batch { end: self.next, ..batch })
    }
}

impl Group {
    /// Writes the rest of the line, and is empty again. What is the only call's own stands beside
    /// the rest; that of several is a list.
    fn end(&mut self, out: &mut Vec<u8>) {
        let own: &[u8] = match self.count {
            1 => &self.calls[LIST.len() + 1..self.calls.len() - 1],
            _ => {
                self.calls.push(b']');
                &self.calls
            }
        };
        CallBody { shared: &self.shared, own, is_cut: self.is_cut }.write(out);
        out.push(b'\n');
        self.shared.clear();
        self.calls.clear();
        (self.count, self.is_cut) = (0, false);
    }
}

impl Batch {
    /// Begins a line; the rest of it is for the caller to write.
    fn begin(&mut self, day: Day, entry: u64, millis: i64) -> &mut Vec<u8> {
        if self.days.last().is_none_or(|&(_, last)| last != day) {
            self.days.push((self.bytes.len(), day));
        }
        self.bytes.extend_from_slice(b"{\"entry\":");
        push_number(&mut self.bytes, entry);
        self.bytes.extend_from_slice(b",\"time\":");
        push_integer(&mut self.bytes, millis);
        self.bytes.push(b',');
        &mut self.bytes
    }

    /// The same, empty, for other lines.
    pub(crate) fn emptied(mut self) -> Self {
        if self.bytes.capacity() > LARGEST_SPARE {
            return Self::default();
        }
        self.bytes.clear();
        self.days.clear();
        Self { written: 0, ..self }
    }

    /// Gives the lines of each day to `append`, those not that it has taken before.
    pub(crate) fn write<E>(
        &mut self,
        mut append: impl FnMut(Day, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (at, &(start, day)) in self.days.iter().enumerate() {
            let end = self.days.get(at + 1).map_or(self.bytes.len(), |next| next.0);
            if start >= self.written {
                append(day, &self.bytes[start..end])?;
                self.written = end;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_never_goes_back_and_what_failed_is_tried_again() {
        let at = |text: &str| text.parse::<Day>().unwrap().start();
        let mut gathering = Gathering::new(7, Day::of(at("2026-01-02")));
        for day in ["2026-01-02", "2026-01-01", "2026-01-03", "2026-01-02"] {
            gathering.push(at(day), b"\"type\":\"t\"}");
        }
        let mut batch = gathering.take(&mut Batch::default()).unwrap();
        assert!(gathering.take(&mut Batch::default()).is_none());
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

    const DECISION: CallBody<'_> =
        CallBody { shared: b"\"type\":\"d\"", own: b"\"id\":1", is_cut: false };

    fn lines(gathering: &mut Gathering) -> Vec<String> {
        let batch = gathering.take(&mut Batch::default()).unwrap();
        assert!(batch.bytes.ends_with(b"\n"));
        let lines = batch.bytes.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n');
        lines.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn calls_of_one_moment_that_are_alike_share_an_entry() {
        let (now, later) = (Timestamp::from_unix_millis(5), Timestamp::from_unix_millis(6));
        let outcome = CallBody { shared: b"\"type\":\"o\"", own: b"\"of\":2", is_cut: true };
        let other = CallBody { own: b"\"id\":2", ..DECISION };
        let mut gathering = Gathering::new(7, Day::of(now));
        assert_eq!(gathering.push_call(now, DECISION), (7, 0));
        assert_eq!(gathering.push_call(now, outcome), (8, 0));
        assert_eq!(gathering.push_call(now, other), (7, 1));
        // Whatever else comes is after them, and so are further calls.
        assert_eq!(gathering.push(now, b"\"type\":\"t\"}"), 10);
        assert_eq!(gathering.push_call(now, other), (10, 0));
        assert_eq!(gathering.push_call(later, other), (11, 0));
        assert_eq!(
            lines(&mut gathering),
            [
                r#"{"entry":7,"time":5,"type":"d","calls":[{"id":1},{"id":2}]}"#,
                r#"{"entry":8,"time":5,"type":"o","of":2,"cut":true}"#,
                r#"{"entry":9,"time":5,"type":"t"}"#,
                r#"{"entry":10,"time":5,"type":"d","id":2}"#,
                r#"{"entry":11,"time":6,"type":"d","id":2}"#,
            ]
        );
        // What was taken does not grow.
        assert_eq!(gathering.push_call(later, other), (12, 0));
        assert_eq!(lines(&mut gathering).len(), 1);
    }

    #[test]
    fn no_entry_is_longer_than_a_line_may_be() {
        let now = Timestamp::from_unix_millis(5);
        let mut gathering = Gathering::new(0, Day::of(now));
        let long = [b'x'; 4_096];
        for shared in 0..2 * MAX_OPEN {
            let shared = [&b"\"type\":"[..], &[b'0' + shared as u8; 20_000]].concat();
            for _ in 0..20 {
                gathering.push_call(now, CallBody { shared: &shared, own: &long, is_cut: false });
            }
        }
        let lines = lines(&mut gathering);
        assert!(lines.iter().all(|line| line.len() <= crate::MAX_LINE && line.len() > 20_000));
        let calls: usize = lines.iter().map(|line| line.matches(&"x".repeat(4_096)).count()).sum();
        assert_eq!(calls, 20 * 2 * MAX_OPEN);
    }
}
