//! Buffers that take what a large message needs, and give it back.
//!
//! The GNU C library maps large blocks one by one; but each that is freed raises the size from
//! which on it does so, and it then keeps up to twice that size of freed memory for ever: one
//! message of 3 MiB would cost a process 6 MiB as long as it lives. Blocks above 32 MiB
//! (`DEFAULT_MMAP_THRESHOLD_MAX`, mallopt(3)) are excepted from that. So what is large is given
//! a block of that size, of which it uses the first part: pages that are not written to cost
//! nothing but addresses.
//!
//! New pages are costly, too. Emptied blocks are therefore used again, and given back when
//! nothing has happened for a while ([`crate::Endpoint::rest`]).

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// From this size on, in bytes, a block is large.
const LARGE: usize = 256 * 1024;

/// The size of a large block, in bytes, unless more is needed.
const APART: usize = (32 << 20) + (64 << 10);

/// How many emptied blocks are kept for use.
const SPARES: usize = 4;

/// Makes room for `wanted` more bytes.
pub(crate) fn reserve(bytes: &mut Vec<u8>, wanted: usize) {
    let (length, spare) = (bytes.len(), bytes.capacity() - bytes.len());
    if wanted > spare && length + wanted > LARGE {
        bytes.reserve(wanted.max(APART.saturating_sub(length)));
    } else {
        bytes.reserve(wanted);
    }
}

/// What has been read and not yet been consumed.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where it begins.
    start: usize,
}

impl Buffer {
    /// Reads once, at most as much as there is room for, but for at least `wanted` bytes.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        input: Pin<&mut impl AsyncRead>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        self.make_room(wanted);
        poll_read_buf(input, cx, &mut self.bytes)
    }

    /// Takes `count` bytes off the beginning.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Keeps the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(self.start + length);
    }

    /// Whether it has the memory of large messages.
    pub(crate) fn can_rest(&self) -> bool {
        self.bytes.capacity() > LARGE
    }

    /// Gives the memory of large messages back, if nothing is in it.
    pub(crate) fn rest(&mut self) {
        if self.bytes.is_empty() && self.can_rest() {
            self.bytes = Vec::new();
        }
    }

    fn make_room(&mut self, wanted: usize) {
        let (capacity, length) = (self.bytes.capacity(), self.len());
        if capacity - self.bytes.len() >= wanted {
            return;
        }
        // Moving costs what is left, so it has to win at least as much: else many small
        // reads behind a long rest would each move it.
        let is_worth_it = self.start >= length;
        self.bytes.drain(..self.start);
        self.start = 0;
        let missing = if is_worth_it { wanted } else { wanted.max(capacity - length + 1) };
        reserve(&mut self.bytes, missing);
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

/// Emptied blocks, to be used again.
#[derive(Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// An empty block.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a block that is not needed any more.
    pub(crate) fn put(&mut self, mut bytes: Vec<u8>) {
        if self.0.len() < SPARES {
            bytes.clear();
            self.0.push(bytes);
        }
    }

    /// Whether a block is of a size for large messages.
    pub(crate) fn can_rest(&self) -> bool {
        self.0.iter().any(|bytes| bytes.capacity() > LARGE)
    }

    /// Gives the memory of large messages back.
    pub(crate) fn rest(&mut self) {
        self.0.retain(|bytes| bytes.capacity() <= LARGE);
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
