//! Newline-delimited messages over any pair of byte streams: MCP's stdio framing
//! (MCP 2025-11-25, Transports, stdio).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::endpoint::{Endpoint, EndpointError, Incoming};
use crate::line_writer::LineWriter;
use crate::link::Ending;
use crate::memory::Buffer;

/// Bytes asked for in one read.
const CHUNK: usize = 64 * 1024;
/// Unwritten bytes beyond which no further message is taken.
const BACKLOG: usize = 1024 * 1024;
/// Bytes kept of the end of a line that is too long: there may be its id.
const END: usize = 1024;

/// An endpoint that reads lines from `R` and writes lines to `W`.
pub struct Lines<R, W> {
    reader: Reader<R>,
    writer: LineWriter<W>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Lines<R, W> {
    /// Joins two byte streams. Lines longer than `max_message` bytes are refused.
    pub fn new(input: R, output: W, max_message: usize) -> Self {
        Self {
            reader: Reader {
                input,
                buffer: Buffer::default(),
                scanned: 0,
                line: 0,
                max_message,
                was_cut: false,
                ended: false,
                count: 0,
            },
            writer: LineWriter::new(output),
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Endpoint for Lines<R, W> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        let filled = ready!(self.reader.poll_fill(cx));
        Poll::Ready(filled.map_err(|source| EndpointError::Io { what: "cannot read", source }))
    }

    fn next(&mut self) -> Option<Incoming<'_>> {
        self.reader.next()
    }

    fn consumed(&mut self, _position: u64) {}

    fn position(&self) -> u64 {
        self.reader.count
    }

    fn has_room(&self) -> bool {
        self.writer.queued() < BACKLOG
    }

    fn is_overfull(&self) -> bool {
        self.writer.queued() > 2 * BACKLOG
    }

    fn send(&mut self, message: &[u8]) {
        self.writer.send(message);
    }

    fn finish(&mut self, _ending: Ending) {
        self.writer.finish();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        let flushed = ready!(self.writer.poll_flush(cx));
        Poll::Ready(flushed.map_err(|source| EndpointError::Io { what: "cannot write", source }))
    }

    fn given(&self) -> Option<u64> {
        Some(self.writer.given())
    }

    fn poll_flush_to(
        &mut self,
        given: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        let flushed = ready!(self.writer.poll_flush_to(given, cx));
        Poll::Ready(flushed.map_err(|source| EndpointError::Io { what: "cannot write", source }))
    }

    fn accepted(&self) -> u64 {
        self.writer.accepted()
    }

    fn handed_over(&self) -> u64 {
        self.writer.handed_over()
    }

    fn is_settled(&self) -> bool {
        self.writer.is_closed()
    }

    fn can_rest(&self) -> bool {
        self.reader.buffer.can_rest() || self.writer.can_rest()
    }

    fn rest(&mut self) {
        self.reader.drop_line();
        self.reader.buffer.rest();
        self.writer.rest();
    }
}

struct Reader<R> {
    input: R,
    buffer: Buffer,
    /// How far the buffer has been searched for a line end.
    scanned: usize,
    /// Length, with its line end, of the line given out last; still in the buffer.
    line: usize,
    max_message: usize,
    /// The line at hand is too long: of what came behind its allowed first part, only the
    /// last bytes are there.
    was_cut: bool,
    ended: bool,
    count: u64,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drop_line();
        if self.ended {
            return Poll::Pending;
        }
        let count = ready!(self.buffer.poll_fill(cx, Pin::new(&mut self.input), CHUNK))?;
        self.ended = count == 0;
        Poll::Ready(Ok(()))
    }

    fn next(&mut self) -> Option<Incoming<'_>> {
        self.drop_line();
        loop {
            let Some(found) = memchr(b'\n', &self.buffer[self.scanned..]) else {
                return self.unfinished_line();
            };
            let end = self.scanned + found;
            if self.buffer[..end].trim_ascii().is_empty() {
                // An empty line, which stdio peers send now and then, is no message.
                self.scanned = 0;
                self.was_cut = false;
                self.buffer.consume(end + 1);
                continue;
            }
            return Some(self.give_out(end, 1));
        }
    }

    /// The line of `length` bytes at the start of the buffer.
    fn give_out(&mut self, length: usize, line_end: usize) -> Incoming<'_> {
        self.scanned = 0;
        self.line = length + line_end;
        self.count += 1;
        let line = &self.buffer[..length];
        if std::mem::take(&mut self.was_cut) {
            let (start, end) = (&line[..self.max_message], &line[length - END..]);
            return Incoming::Oversized { start, end };
        }
        if length > self.max_message {
            return Incoming::Oversized { start: line, end: b"" };
        }
        Incoming::Message(line)
    }

    /// What there is to say while no line end is in sight.
    fn unfinished_line(&mut self) -> Option<Incoming<'_>> {
        self.cut();
        self.scanned = self.buffer.len();
        if !self.ended {
            return None;
        }
        if !self.buffer.trim_ascii().is_empty() {
            // The last line may lack its end.
            return Some(self.give_out(self.buffer.len(), 0));
        }
        Some(Incoming::End(Ending::Orderly))
    }

    /// Throws away what stands between the first part and the last bytes of a line that is
    /// too long already.
    fn cut(&mut self) {
        let kept = self.max_message.saturating_add(END);
        let length = self.buffer.len();
        if length > kept {
            self.buffer.copy_within(length - END.., self.max_message);
            self.buffer.truncate(kept);
            self.was_cut = true;
        }
    }

    fn drop_line(&mut self) {
        self.buffer.consume(std::mem::take(&mut self.line));
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
