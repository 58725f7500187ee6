//! What has been recorded and is not in a file yet.

use sealwire_names::Timestamp;

use crate::day::Day;
use crate::entry::{push_integer, push_number};

/// What is kept for later of memory that is not used, at most, in bytes.
const LARGEST_SPARE: usize = 1024 * 1024;

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

/// Where lines are put together.
#[derive(Debug)]
pub(crate) struct Gathering {
    batch: Batch,
    /// The number of the next entry.
    next: u64,
    /// The day of the latest. It never goes back, whatever the clock does.
    day: Day,
}

impl Gathering {
    /// Goes on with entry `next`, not before `day`.
    pub(crate) fn new(next: u64, day: Day) -> Self {
        Self { batch: Batch::default(), next, day }
    }

    /// The day to which an entry of that moment belongs.
    pub(crate) fn day_of(&self, now: Timestamp) -> Day {
        self.day.max(Day::of(now))
    }

    /// Appends an entry; how many there are with it.
    pub(crate) fn push(&mut self, now: Timestamp, body: &[u8]) -> u64 {
        let day = self.day_of(now);
        let Batch { bytes, days, .. } = &mut self.batch;
        if bytes.is_empty() || day != self.day {
            days.push((bytes.len(), day));
            self.day = day;
        }
        bytes.extend_from_slice(b"{\"entry\":");
        push_number(bytes, self.next);
        bytes.extend_from_slice(b",\"time\":");
        push_integer(bytes, now.unix_millis());
        bytes.push(b',');
        bytes.extend_from_slice(body);
        bytes.push(b'\n');
        self.next += 1;
        self.next
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.batch.bytes.len()
    }

    /// Takes what there is, if anything, and goes on with `spare`, which is empty.
    pub(crate) fn take(&mut self, spare: &mut Batch) -> Option<Batch> {
        if self.batch.bytes.is_empty() {
            return None;
        }
        let batch = std::mem::replace(&mut self.batch, std::mem::take(spare));
        Some(Batch { end: self.next, ..batch })
    }
}

impl Batch {
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
}
