//! One direction's sending half: what was queued, written, and not yet acknowledged.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::frame::{Ending, Frame, HEADER};
use super::violation::Violation;
use crate::memory::Spares;

/// A segment takes no further frames beyond this size: acknowledged memory is freed
/// segment by segment.
const SEGMENT: usize = 64 * 1024;
/// Slices handed to one vectored write: a TLS record takes 16 KiB at most, so that more
/// would only be counted and left.
pub(crate) const MAX_SLICES: usize = 8;

/// Bytes of control frames that may wait: answers to pings and the like.
const MAX_CONTROL: usize = 4 * 1024;

/// Frames in order, kept until the peer has handed them on.
///
/// Control frames are not kept: they go out between two data frames, ahead of
/// everything that is still unwritten, and a lost one is made again when needed.
#[derive(Default)]
pub(crate) struct Outgoing {
    segments: VecDeque<Segment>,
    /// The next byte to write: a segment, and an offset in it.
    cursor: (usize, usize),
    /// How far bytes may have been written to any connection so far, where that is beyond
    /// the cursor: that one goes back on resumption.
    reached: (usize, usize),
    /// The cursor is inside a data frame, where nothing may be put between.
    mid_frame: bool,
    control: Vec<u8>,
    control_written: usize,
    queued: u64,
    acked: u64,
    fin: bool,
    /// Bytes held in segments.
    retained: usize,
    spares: Spares,
}

struct Segment {
    /// Sequence number of its first frame.
    first: u64,
    bytes: Vec<u8>,
}

impl Outgoing {
    /// Bytes that the peer has not acknowledged, rounded up to whole segments.
    pub(crate) fn retained(&self) -> usize {
        self.retained
    }

    /// The last sequence number given out; 0 for none.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Whether the peer has handed on everything, the end included.
    pub(crate) fn is_settled(&self) -> bool {
        self.fin && self.acked == self.queued
    }

    /// Queues one message. After [`Self::finish`] there is nothing to add to, and it
    /// is dropped.
    pub(crate) fn message(&mut self, message: &[u8]) {
        if !self.fin {
            self.append(|seq| Frame::Data { seq, message });
        }
    }

    /// Queues the end of this direction, once.
    pub(crate) fn finish(&mut self, ending: Ending) {
        if !self.fin {
            self.append(|seq| Frame::Fin { seq, ending });
            self.fin = true;
        }
    }

    /// Queues a frame that is not numbered and not kept.
    pub(crate) fn control(&mut self, frame: &Frame<'_>) {
        frame.encode(&mut self.control);
    }

    /// Whether a peer that does not read leaves no place for more control frames.
    pub(crate) fn is_crowded(&self) -> bool {
        self.control.len() >= MAX_CONTROL
    }

    /// Queues an encoded greeting, the first frame on a new connection.
    pub(crate) fn greet(&mut self, greeting: &[u8]) {
        self.control.extend_from_slice(greeting);
    }

    /// Whether there is memory of large messages to give back.
    pub(crate) fn can_rest(&self) -> bool {
        self.spares.can_rest()
    }

    /// Gives the memory of large messages back.
    pub(crate) fn rest(&mut self) {
        self.spares.rest();
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_idle(&self) -> bool {
        self.control_written == self.control.len() && self.is_all_written()
    }

    /// The peer has handed on everything up to `seq`.
    ///
    /// # Errors
    /// If that was never sent.
    pub(crate) fn acknowledged(&mut self, seq: u64) -> Result<(), Violation> {
        if seq > self.sent() {
            return Err(Violation::AckBeyondSent { acked: seq, sent: self.sent() });
        }
        self.acked = self.acked.max(seq);
        if self.acked == self.queued {
            self.recycle(self.segments.len());
            self.cursor = (0, 0);
            self.reached = (0, 0);
            return Ok(());
        }
        // A segment is done with when the next one starts at an acknowledged number's
        // successor or before.
        let done =
            (1..self.segments.len()).take_while(|&i| self.segments[i].first <= seq + 1).count();
        self.recycle(done);
        self.cursor.0 -= done;
        let (index, offset) = self.reached;
        self.reached = index.checked_sub(done).map_or((0, 0), |index| (index, offset));
        Ok(())
    }

    /// Starts again on a new connection, after the last frame that the peer received.
    ///
    /// # Errors
    /// If the peer claims what was never sent, or no longer has what it acknowledged.
    pub(crate) fn resume(&mut self, peer_received: u64) -> Result<(), Violation> {
        self.reached = self.reached.max(self.cursor);
        let sent = self.sent_up_to(self.reached);
        if peer_received > sent {
            return Err(Violation::AckBeyondSent { acked: peer_received, sent });
        }
        if peer_received < self.acked {
            return Err(Violation::ReceivedBackwards {
                received: peer_received,
                acked: self.acked,
            });
        }
        self.control.clear();
        self.control_written = 0;
        let next = peer_received + 1;
        let index = self.segments.iter().rposition(|segment| segment.first <= next).unwrap_or(0);
        let offset = self.segments.get(index).map_or(0, |segment| segment.offset_of(next));
        self.cursor = (index, offset);
        self.mid_frame = false;
        Ok(())
    }

    /// The bytes to write next, in order; how many of the slices are in use.
    pub(crate) fn gather(&self) -> ([IoSlice<'_>; MAX_SLICES], usize) {
        let (index, offset) = self.cursor;
        let control = &self.control[self.control_written..];
        let current = self.segments.get(index).map_or(&[][..], |segment| &segment.bytes[offset..]);
        let ordered = if self.mid_frame { [current, control] } else { [control, current] };
        let following = self.segments.iter().skip(index + 1).map(|segment| &segment.bytes[..]);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        let all = ordered.into_iter().chain(following).filter(|slice| !slice.is_empty());
        for (slice, bytes) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        (slices, count)
    }

    /// The first `count` bytes of what [`Self::gather`] gave have been written.
    pub(crate) fn written(&mut self, mut count: usize) {
        while count > 0 {
            if !self.mid_frame && self.control_written < self.control.len() {
                let taken = count.min(self.control.len() - self.control_written);
                self.control_written += taken;
                count -= taken;
                if self.control_written == self.control.len() {
                    self.control.clear();
                    self.control_written = 0;
                }
                continue;
            }
            let (index, offset) = self.cursor;
            let Some(segment) = self.segments.get(index) else { return };
            let taken = count.min(segment.bytes.len() - offset);
            count -= taken;
            self.cursor.1 += taken;
            self.mid_frame = self.cursor.1 < segment.bytes.len();
            if !self.mid_frame && index + 1 < self.segments.len() {
                self.cursor = (index + 1, 0);
            }
        }
    }

    /// A write failed, and with it the knowledge of how much of what [`Self::gather`] gave
    /// has gone out: TLS may have sent one record and failed with the next.
    pub(crate) fn write_failed(&mut self) {
        let mut gathered = self.segments.iter().enumerate().take(self.cursor.0 + MAX_SLICES);
        if let Some((index, segment)) = gathered.next_back() {
            self.reached = self.reached.max((index, segment.bytes.len()));
        }
    }

    /// The messages of which not a single byte was ever written, in order.
    pub(crate) fn never_written(&self) -> impl Iterator<Item = &[u8]> {
        let (index, offset) = self.reached.max(self.cursor);
        let segments = self.segments.iter().skip(index);
        let offsets = std::iter::once(offset).chain(std::iter::repeat(0));
        segments.zip(offsets).flat_map(|(segment, offset)| segment.messages_from(offset))
    }

    /// The last sequence number of which every byte has been written.
    fn sent(&self) -> u64 {
        self.sent_up_to(self.cursor)
    }

    /// Whether every byte of every segment has been written.
    fn is_all_written(&self) -> bool {
        let (index, offset) = self.cursor;
        index + 1 >= self.segments.len()
            && self.segments.get(index).is_none_or(|segment| offset == segment.bytes.len())
    }

    /// The last sequence number that ends at or before a place in the segments.
    fn sent_up_to(&self, (index, offset): (usize, usize)) -> u64 {
        match self.segments.get(index) {
            None => self.queued,
            Some(segment) if offset == segment.bytes.len() && index + 1 == self.segments.len() => {
                self.queued
            }
            Some(segment) => segment.frames_before(offset) + segment.first - 1,
        }
    }

    fn append<'a>(&mut self, frame: impl FnOnce(u64) -> Frame<'a>) {
        self.queued += 1;
        if self.segments.back().is_none_or(|segment| segment.bytes.len() >= SEGMENT) {
            let at_end = !self.segments.is_empty() && self.is_all_written();
            let bytes = self.spares.take();
            self.segments.push_back(Segment { first: self.queued, bytes });
            if at_end {
                self.cursor = (self.segments.len() - 1, 0);
            }
        }
        if let Some(segment) = self.segments.back_mut() {
            let before = segment.bytes.len();
            frame(self.queued).encode(&mut segment.bytes);
            self.retained += segment.bytes.len() - before;
        }
    }

    fn recycle(&mut self, count: usize) {
        for segment in self.segments.drain(..count) {
            self.retained -= segment.bytes.len();
            self.spares.put(segment.bytes);
        }
    }
}

impl Segment {
    /// How many whole frames stand before `offset`.
    fn frames_before(&self, offset: usize) -> u64 {
        let mut count = 0;
        let mut at = 0;
        while let Some(next) = self.next_frame(at).filter(|&next| next <= offset) {
            at = next;
            count += 1;
        }
        count
    }

    /// Where the frame numbered `seq` starts; the end, if it would be the next one.
    fn offset_of(&self, seq: u64) -> usize {
        (self.first..seq).fold(0, |at, _| self.next_frame(at).unwrap_or(at))
    }

    /// The messages whose frames start at `offset` or behind it.
    fn messages_from(&self, offset: usize) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::successors(Some(0), |&at| self.next_frame(at));
        let frames = starts.skip_while(move |&at| at < offset);
        frames.filter_map(|at| match Frame::parse(&self.bytes[at..], usize::MAX) {
            Ok(Some((Frame::Data { message, .. }, _))) => Some(message),
            _ => None,
        })
    }

    fn next_frame(&self, at: usize) -> Option<usize> {
        let header = self.bytes.get(at..at + HEADER)?.first_chunk()?;
        Some(at + 4 + u32::from_be_bytes(*header) as usize)
    }
}
