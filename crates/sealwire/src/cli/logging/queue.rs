//! Lines that wait to be written, up to a bound, and the count of those that found no room.

use std::ops::{Add, AddAssign};

/// Bytes that may wait before further lines are dropped. What the writing thread has in
/// hand comes on top, at most as much again.
const ROOM: usize = 512 * 1024;
/// The same for lines of the audit: a child that floods its standard error must not push
/// them out.
const AUDIT_ROOM: usize = 2 * ROOM;

/// How many lines were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// All of them.
    pub(crate) lines: u64,
    /// Those of the target `audit` among them.
    pub(crate) audit: u64,
}

impl Lost {
    /// One line.
    pub(super) fn line(audit: bool) -> Self {
        Self { lines: 1, audit: u64::from(audit) }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl Add for Lost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lines: self.lines + other.lines, audit: self.audit + other.audit }
    }
}

impl AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Writes the line about missing lines: how many, and why.
pub(super) trait Tell: FnOnce(Lost, &str) -> Vec<u8> {}

impl<F: FnOnce(Lost, &str) -> Vec<u8>> Tell for F {}

/// The lines, and what is missing after the last of them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<u8>,
    /// How many lines those are.
    count: Lost,
    missing: Lost,
    /// Why they are.
    why: String,
    lost: Lost,
}

impl Queue {
    /// Appends a line, or drops and counts it, because of `why`. `tell` writes the line
    /// that says how many are missing before this one, and why.
    pub(super) fn push(&mut self, line: &[u8], audit: bool, why: &str, tell: impl Tell) {
        let room = if audit { AUDIT_ROOM } else { ROOM };
        if self.waiting.len() + line.len() > room {
            self.drop_lines(Lost::line(audit), why);
            return;
        }
        self.tell_missing(tell);
        self.waiting.extend_from_slice(line);
        self.count += Lost::line(audit);
    }

    /// Counts lines that will never be written.
    pub(super) fn drop_lines(&mut self, lines: Lost, why: &str) {
        if self.missing.is_none() {
            why.clone_into(&mut self.why);
        }
        self.missing += lines;
        self.lost += lines;
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.missing.is_none()
    }

    /// Moves everything into `batch`, which is empty, and tells how many lines would be
    /// lost with it.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>, tell: impl Tell) -> Lost {
        self.tell_missing(tell);
        std::mem::swap(&mut self.waiting, batch);
        std::mem::take(&mut self.count)
    }

    /// Everything dropped so far.
    pub(super) fn lost(&self) -> Lost {
        self.lost
    }

    fn tell_missing(&mut self, tell: impl Tell) {
        if !self.missing.is_none() {
            self.waiting.extend(tell(std::mem::take(&mut self.missing), &self.why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(lost: Lost, why: &str) -> Vec<u8> {
        format!("<{} {} {why}>", lost.lines, lost.audit).into_bytes()
    }

    #[test]
    fn what_is_missing_is_told_where_it_is_missing() {
        let mut queue = Queue::default();
        let long = vec![b'x'; ROOM];
        queue.push(&long, false, "full", tell);
        queue.push(b"dropped", false, "full", tell);
        queue.push(b"dropped", false, "slow", tell);
        assert_eq!(queue.lost(), Lost { lines: 2, audit: 0 });
        // Audit has room of its own, and the gap stands before it.
        queue.push(b"audit", true, "slow", tell);
        queue.push(b"dropped", false, "slow", tell);
        queue.push(&long, true, "slow", tell);
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch, tell), Lost { lines: 2, audit: 1 });
        assert_eq!(&batch[ROOM..], b"<2 0 full>audit<2 1 slow>");
        assert!(queue.is_empty());
        queue.push(b"again", false, "", tell);
        batch.clear();
        queue.take(&mut batch, tell);
        assert_eq!(batch, b"again");
        assert_eq!(queue.lost(), Lost { lines: 4, audit: 1 });
    }
}
