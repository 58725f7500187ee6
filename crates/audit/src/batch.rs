//! Lines that are put together and not in a file yet.

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

impl Batch {
    /// Begins a line; the rest of it is for the caller to write.
    pub(crate) fn begin(&mut self, day: Day, entry: u64, millis: i64) -> &mut Vec<u8> {
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
