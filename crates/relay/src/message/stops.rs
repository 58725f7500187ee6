//! Where the plain characters of a string end.
//!
//! Most strings of a message are short, and many stand side by side. So the text is looked
//! at in blocks, and what was found in one serves all strings that begin there.

use memchr::memchr2;
use wide::u8x16;

/// Bytes looked at together: as many as a word has bits.
const BLOCK: usize = 64;
/// What comes before it is a control character, which no string may hold as it is
/// (RFC 8259 §7).
pub(super) const SPACE: u8 = 0x20;
/// Plain characters after which a string counts as long.
const LONG: usize = 2 * BLOCK;

/// The quotes, backslashes and control characters of one block of a text.
pub(super) struct Stops {
    block: usize,
    /// The lowest bit stands for the block's first byte.
    found: u64,
}

impl Stops {
    /// Those of the first block of `text`.
    #[inline]
    pub(super) fn new(text: &[u8]) -> Self {
        Self { block: 0, found: stops(text) }
    }

    /// Where the first one from `at` on stands; the text's length if none does. `at` must not
    /// be less than it was before.
    #[inline(always)]
    pub(super) fn next(&mut self, text: &[u8], at: usize) -> usize {
        let offset = at - self.block;
        if offset < BLOCK {
            let rest = self.found >> offset;
            if rest != 0 {
                return at + rest.trailing_zeros() as usize;
            }
        }
        self.next_beyond(text, at)
    }

    /// The same, where the block at hand has none.
    #[inline(never)]
    fn next_beyond(&mut self, text: &[u8], from: usize) -> usize {
        let mut at = from.max(self.block + BLOCK);
        while at < text.len() {
            if at > from + LONG {
                at = long(text, at);
            }
            (self.block, self.found) = (at, stops(&text[at..]));
            if self.found != 0 {
                return at + self.found.trailing_zeros() as usize;
            }
            at += BLOCK;
        }
        text.len()
    }
}

/// A place from `at` on, before which nothing stops a string. memchr takes longer to get
/// going, and then less for each byte.
#[cold]
fn long(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    let end = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    // The least byte of all is found many bytes at a time; where it stands is not.
    let (sixteens, tail) = rest[..end].as_chunks::<16>();
    let least = sixteens.iter().map(|sixteen| u8x16::new(*sixteen)).fold(u8x16::MAX, u8x16::min);
    let least = least.to_array().iter().chain(tail).copied().min();
    let plain = match least {
        Some(..SPACE) => rest.iter().position(|byte| *byte < SPACE).unwrap_or(end),
        _ => end,
    };
    at + plain
}

/// One bit for each of the first [`BLOCK`] bytes of `text`.
#[inline(always)]
fn stops(text: &[u8]) -> u64 {
    let mut padded = [b' '; BLOCK];
    let block = match text.first_chunk() {
        Some(block) => block,
        None => {
            padded[..text.len()].copy_from_slice(text);
            &padded
        }
    };
    let (sixteens, _) = block.as_chunks::<16>();
    sixteens.iter().rev().fold(0, |found, sixteen| {
        let bytes = u8x16::new(*sixteen);
        let quote = bytes.simd_eq(u8x16::splat(b'"'));
        let backslash = bytes.simd_eq(u8x16::splat(b'\\'));
        let control = bytes.min(u8x16::splat(SPACE - 1)).simd_eq(bytes);
        found << 16 | u64::from((quote | backslash | control).to_bitmask())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What [`Stops`] is to find, byte by byte.
    fn naive(text: &[u8]) -> Vec<usize> {
        let is_stop = |byte: u8| byte < SPACE || matches!(byte, b'"' | b'\\');
        (0..text.len()).filter(|at| is_stop(text[*at])).collect()
    }

    fn all(text: &[u8], steps: &[usize]) -> Vec<usize> {
        let (mut stops, mut found, mut at) = (Stops::new(text), Vec::new(), 0);
        let mut steps = steps.iter().cycle();
        while at < text.len() {
            let next = stops.next(text, at);
            found.extend((next < text.len()).then_some(next));
            // Text between strings is read without asking for stops.
            at = next + 1 + steps.next().unwrap();
        }
        found
    }

    #[test]
    fn every_byte_is_told_apart() {
        for byte in 0..=u8::MAX {
            for length in [1, 15, 16, 63, 64, 65, 200, 1000] {
                let mut text = vec![b'a'; length];
                text[length - 1] = byte;
                assert_eq!(all(&text, &[0]), naive(&text), "{byte} behind {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn all_are_found(
            text in proptest::collection::vec(prop_oneof![9 => Just(b'a'), 1 => any::<u8>()], 0..600),
            steps in proptest::collection::vec(0usize..100, 1..8),
        ) {
            prop_assert_eq!(all(&text, &[0]), naive(&text));
            let skipping = all(&text, &steps);
            let naive = naive(&text);
            let (mut at, mut steps) = (0, steps.iter().cycle());
            for found in skipping {
                prop_assert_eq!(naive.iter().find(|stop| **stop >= at), Some(&found));
                at = found + 1 + steps.next().unwrap();
            }
        }
    }
}
