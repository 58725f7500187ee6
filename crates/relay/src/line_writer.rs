//! Writes lines, and knows how many of them have been written.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::memory::{Spares, reserve};

/// A segment takes no further lines beyond this size, in bytes: what has been written is
/// freed segment by segment, and no segment grows by being copied.
const SEGMENT: usize = 64 * 1024;

/// Lines on their way to `W`.
pub(crate) struct LineWriter<W> {
    /// `None` once closed.
    output: Option<W>,
    segments: VecDeque<Segment>,
    /// How much of the first segment is written.
    written: usize,
    /// Bytes in segments.
    queued: usize,
    /// Bytes of all lines that were taken, with their ends.
    given: u64,
    accepted: u64,
    handed_over: u64,
    finishing: bool,
    spares: Spares,
}

struct Segment {
    bytes: Vec<u8>,
    /// How many lines have been handed over once it is written.
    last: u64,
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    pub(crate) fn new(output: W) -> Self {
        Self {
            output: Some(output),
            segments: VecDeque::new(),
            written: 0,
            queued: 0,
            given: 0,
            accepted: 0,
            handed_over: 0,
            finishing: false,
            spares: Spares::default(),
        }
    }

    /// Takes a line, which lacks its end.
    pub(crate) fn send(&mut self, line: &[u8]) {
        self.accepted += 1;
        let wanted = line.len() + 1;
        self.given += wanted as u64;
        if self.output.is_none() {
            // Nobody reads any more; what is still sent goes nowhere.
            self.handed_over = self.accepted;
            return;
        }
        if self.segments.back().is_none_or(|last| last.bytes.len() + wanted > SEGMENT) {
            let bytes = self.spares.take();
            self.segments.push_back(Segment { bytes, last: 0 });
        }
        if let Some(Segment { bytes, last }) = self.segments.back_mut() {
            reserve(bytes, wanted);
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            *last = self.accepted;
        }
        self.queued += wanted;
    }

    /// Bytes in memory, of which some may be written.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes of all lines that were taken, with their ends.
    pub(crate) fn given(&self) -> u64 {
        self.given
    }

    /// How many lines were taken.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many lines the operating system has, or nobody ever will.
    pub(crate) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Closes the output when all that was taken is written.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether there is memory of large messages to give back.
    pub(crate) fn can_rest(&self) -> bool {
        self.spares.can_rest()
    }

    /// Gives the memory of large messages back.
    pub(crate) fn rest(&mut self) {
        self.spares.rest();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.output.is_none()
    }

    /// Writes everything.
    ///
    /// # Errors
    /// When that fails; the output is then closed, and all lines count as handed over.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(self.poll_write_all(cx));
        if flushed.is_err() {
            self.close();
        }
        Poll::Ready(flushed)
    }

    /// Writes everything up to the byte with that number, as [`LineWriter::given`] counts.
    ///
    /// # Errors
    /// As [`LineWriter::poll_flush`].
    pub(crate) fn poll_flush_to(
        &mut self,
        given: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let unwritten = (self.queued - self.written) as u64;
        let wanted = given.saturating_sub(self.given - unwritten);
        let written = ready!(self.poll_write(wanted, cx));
        if written.is_err() {
            self.close();
        }
        Poll::Ready(written)
    }

    /// Writes so many bytes, or all if there are fewer.
    fn poll_write(&mut self, mut wanted: u64, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while wanted > 0
            && let (Some(output), Some(segment)) = (&mut self.output, self.segments.front())
        {
            let rest = &segment.bytes[self.written..];
            let part = rest.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            let count = ready!(Pin::new(output).poll_write(cx, &rest[..part]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            wanted -= count as u64;
            self.written += count;
            if count == rest.len() {
                self.handed_over = segment.last;
                self.drop_first();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(u64::MAX, cx))?;
        let Some(output) = &mut self.output else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(&mut *output).poll_flush(cx))?;
        if self.finishing {
            ready!(Pin::new(output).poll_shutdown(cx))?;
            self.close();
        }
        Poll::Ready(Ok(()))
    }

    fn drop_first(&mut self) {
        self.written = 0;
        if let Some(Segment { bytes, .. }) = self.segments.pop_front() {
            self.queued -= bytes.len();
            self.spares.put(bytes);
        }
    }

    fn close(&mut self) {
        self.output = None;
        self.segments = VecDeque::new();
        self.written = 0;
        self.queued = 0;
        self.handed_over = self.accepted;
    }
}
