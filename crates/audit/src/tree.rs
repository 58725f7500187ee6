//! The Merkle tree over all entries (RFC 6962 §2.1), as it grows.
//!
//! A [`Tree`] is the right edge alone: of each level of tiles the hashes that do not fill one
//! yet, at most 255. That is all that appending and the root need, so its size does not depend
//! on how many entries there are. What fills up leaves as a [`Tile`].

use std::fmt;
use std::io;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::tiles::{Tile, TileId, Tiles};

/// How many hashes a full tile has: the leaves of a subtree of height 8.
pub const TILE_WIDTH: usize = 256;

/// The hash of an entry, or of a subtree of them: SHA-256, shown and parsed as base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash(pub [u8; 32]);

impl TreeHash {
    /// The leaf hash of an entry: of its line, without the line feed.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// The hash of what has these two as its halves.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut bytes = [1; 65];
        bytes[1..33].copy_from_slice(&left.0);
        bytes[33..].copy_from_slice(&right.0);
        Self(Sha256::digest(bytes).into())
    }

    /// The root of a tree that has no entry.
    #[must_use]
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// The hash of the subtree over these hashes, which are a power of two of them.
    pub(crate) fn perfect(hashes: &[Self]) -> Self {
        debug_assert!(hashes.len().is_power_of_two());
        match *hashes {
            [] => Self::empty(),
            [one] => one,
            [ref left, ref right] => Self::node(left, right),
            _ => {
                let (left, right) = hashes.split_at(hashes.len() / 2);
                Self::node(&Self::perfect(left), &Self::perfect(right))
            }
        }
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}

/// A text is not a hash in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHash;

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not the base64 of a SHA-256 hash")
    }
}

impl std::error::Error for NotAHash {}

impl FromStr for TreeHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

/// The right edge of a tree, to which entries are appended.
///
/// It is small, and cloned to be able to go back when what was appended could not be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Of each level of tiles, what does not fill one yet.
    levels: Vec<Vec<TreeHash>>,
}

impl Tree {
    /// A tree without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree over the first `full * 256` entries, from the tiles that were written of it.
    /// The leaf hashes of the entries after those are then to be appended.
    ///
    /// # Errors
    /// If a tile that is needed cannot be read, or is missing.
    pub fn restore(full: u64, tiles: &Tiles) -> io::Result<Self> {
        let mut levels = Vec::new();
        if full > 0 {
            levels.push(Vec::new());
        }
        // How many hashes there are at that level.
        let mut count = full;
        while count > 0 {
            let level = levels.len() as u8;
            let partial = count - count % TILE_WIDTH as u64;
            levels.push((partial..count).map(|n| tiles.hash(level, n)).collect::<Result<_, _>>()?);
            count /= TILE_WIDTH as u64;
        }
        Ok(Self { size: full * TILE_WIDTH as u64, levels })
    }

    /// How many entries it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the entry of that leaf hash; each tile that is full with it is given to `full`,
    /// those of lower levels first.
    pub fn append(&mut self, leaf: TreeHash, full: impl FnMut(Tile)) {
        self.size += 1;
        self.push(0, leaf, full);
    }

    /// Appends 256 entries at once, by the root over their leaf hashes. The size must be a multiple
    /// of 256. What comes after can be appended; of the tile itself nothing is given to `full`.
    pub fn append_tile(&mut self, root: TreeHash, full: impl FnMut(Tile)) {
        debug_assert_eq!(self.size % TILE_WIDTH as u64, 0);
        self.size += TILE_WIDTH as u64;
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.push(1, root, full);
    }

    /// The root hash (RFC 6962 §2.1).
    #[must_use]
    pub fn root(&self) -> TreeHash {
        // From the right, the smallest subtree first: each is the right half of what comes next.
        let mut root = None;
        for level in &self.levels {
            let mut rest = level.as_slice();
            while !rest.is_empty() {
                let (left, subtree) =
                    rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                let subtree = TreeHash::perfect(subtree);
                root = Some(root.map_or(subtree, |right| TreeHash::node(&subtree, &right)));
                rest = left;
            }
        }
        root.unwrap_or_else(TreeHash::empty)
    }

    /// What does not fill a tile yet: one for each level that has any.
    pub fn partial_tiles(&self) -> impl Iterator<Item = Tile> {
        self.levels.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty()).map(
            |(level, hashes)| {
                let id = TileId { level: level as u8, index: self.tiles_at(level) };
                Tile { id, hashes: hashes.clone() }
            },
        )
    }

    /// The hash that has that number at that level of tiles, if it is at the edge.
    pub(crate) fn edge(&self, level: u8, number: u64) -> Option<TreeHash> {
        let hashes = self.levels.get(usize::from(level))?;
        let first = self.tiles_at(level.into()) * TILE_WIDTH as u64;
        hashes.get(usize::try_from(number.checked_sub(first)?).ok()?).copied()
    }

    /// How many full tiles there are at that level.
    fn tiles_at(&self, level: usize) -> u64 {
        self.size.checked_shr(8 * (level as u32 + 1)).unwrap_or(0)
    }

    fn push(&mut self, level: usize, hash: TreeHash, mut full: impl FnMut(Tile)) {
        let mut next = Some(hash);
        for level in level.. {
            let Some(hash) = next.take() else { break };
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            if hashes.len() == TILE_WIDTH {
                next = Some(TreeHash::perfect(hashes));
                let hashes = std::mem::replace(hashes, Vec::with_capacity(TILE_WIDTH));
                let index = self.tiles_at(level) - 1;
                full(Tile { id: TileId { level: level as u8, index }, hashes });
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The definition of RFC 6962 §2.1, word for word.
    pub(crate) fn naive(entries: &[TreeHash]) -> TreeHash {
        match entries {
            [] => TreeHash::empty(),
            [one] => *one,
            _ => {
                let k = entries.len().next_power_of_two() / 2;
                TreeHash::node(&naive(&entries[..k]), &naive(&entries[k..]))
            }
        }
    }

    pub(crate) fn leaves(n: usize) -> Vec<TreeHash> {
        (0..n).map(|i| TreeHash::leaf(format!("entry {i}").as_bytes())).collect()
    }

    #[test]
    fn the_published_hashes_come_out() {
        // The test vectors of Certificate Transparency's reference implementation.
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hex = |hash: TreeHash| hash.0.map(|b| format!("{b:02x}")).concat();
        let mut tree = Tree::new();
        assert_eq!(
            hex(tree.root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (entry, (size, root)) in entries.into_iter().zip([
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
            (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
            (6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ]) {
            tree.append(TreeHash::leaf(entry), |_| {});
            assert_eq!((tree.size(), hex(tree.root()).as_str()), (size, root));
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves = leaves(1_100);
        let mut tree = Tree::new();
        for (n, leaf) in leaves.iter().enumerate() {
            if n < 20 || n % 37 == 0 || n % 256 < 2 || n % 256 == 255 {
                assert_eq!(tree.root(), naive(&leaves[..n]), "{n}");
            }
            tree.append(*leaf, |_| {});
        }
        assert_eq!(tree.root(), naive(&leaves));
    }

    #[test]
    fn a_tree_continues_from_its_tiles() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::at(dir.path());
        // Enough for a full tile of level 1.
        let leaves = leaves(256 * 256 + 700);
        let mut tree = Tree::new();
        let mut by_tile = Tree::new();
        let (mut full, mut full_by_tile) = (Vec::new(), Vec::new());
        for bundle in leaves.chunks(256) {
            assert_eq!(Tree::restore(tree.size() / 256, &tiles).unwrap(), tree);
            for leaf in bundle {
                tree.append(*leaf, |tile| {
                    tiles.write(std::slice::from_ref(&tile)).unwrap();
                    full.push(tile);
                });
            }
            if bundle.len() == 256 {
                by_tile.append_tile(TreeHash::perfect(bundle), |tile| full_by_tile.push(tile));
                assert_eq!(tree.root(), by_tile.root());
            }
        }
        assert_eq!(tree.root(), naive(&leaves));
        let last = full.iter().find(|tile| tile.id.level == 1).unwrap();
        assert_eq!(*last, full_by_tile[0]);
        assert_eq!(TreeHash::perfect(&last.hashes), naive(&leaves[..256 * 256]));
        let widths: Vec<_> =
            tree.partial_tiles().map(|t| (t.id.level, t.id.index, t.hashes.len())).collect();
        assert_eq!(widths, [(0, 258, 188), (1, 1, 2), (2, 0, 1)]);
    }
}
