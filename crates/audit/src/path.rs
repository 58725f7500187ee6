//! Inclusion and consistency proofs (RFC 6962 §2.1.1 and §2.1.2; checked by the algorithms of
//! RFC 9162 §2.1.3.2 and §2.1.4.2).

use std::io;

use crate::tiles::Tiles;
use crate::tree::{TILE_WIDTH, Tree, TreeHash};

/// All hashes of a tree: its right edge, and the tiles that were written of the rest.
#[derive(Debug)]
pub struct Hashes<'a> {
    /// The edge.
    pub tree: &'a Tree,
    /// The tiles.
    pub tiles: &'a Tiles,
}

/// Proves that entry `index` is in the tree of the first `size` entries: the hashes from its
/// neighbour up to a child of the root.
///
/// # Errors
/// `InvalidInput` unless `index < size <= tree.size()`; else if a tile cannot be read.
pub fn inclusion_proof(hashes: &Hashes<'_>, index: u64, size: u64) -> io::Result<Vec<TreeHash>> {
    if index >= size || size > hashes.tree.size() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such entry in that tree"));
    }
    let mut proof = Vec::new();
    let (mut lo, mut hi) = (0, size);
    while hi - lo > 1 {
        let middle = lo + split(hi - lo);
        if index < middle {
            proof.push(hashes.range(middle, hi)?);
            hi = middle;
        } else {
            proof.push(hashes.range(lo, middle)?);
            lo = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `old` entries is the beginning of that of the first `new`.
///
/// # Errors
/// `InvalidInput` unless `0 < old <= new <= tree.size()`; else if a tile cannot be read.
pub fn consistency_proof(hashes: &Hashes<'_>, old: u64, new: u64) -> io::Result<Vec<TreeHash>> {
    if old == 0 || old > new || new > hashes.tree.size() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such two trees"));
    }
    let mut proof = Vec::new();
    let (mut lo, mut hi) = (0, new);
    while old != hi {
        let middle = lo + split(hi - lo);
        if old <= middle {
            proof.push(hashes.range(middle, hi)?);
            hi = middle;
        } else {
            proof.push(hashes.range(lo, middle)?);
            lo = middle;
        }
    }
    // If the old tree is one whole subtree from the left, its root is known to who asks.
    if lo > 0 {
        proof.push(hashes.range(lo, hi)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of the first `size` entries.
///
/// # Errors
/// `InvalidInput` if there are not so many; else if a tile cannot be read.
pub fn root_at(hashes: &Hashes<'_>, size: u64) -> io::Result<TreeHash> {
    match size {
        0 => Ok(TreeHash::empty()),
        _ if size <= hashes.tree.size() => hashes.range(0, size),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the log has fewer entries")),
    }
}

/// Whether that proof shows that `leaf` is entry `index` of the tree of that size and root.
#[must_use]
pub fn includes(leaf: TreeHash, index: u64, size: u64, proof: &[TreeHash], root: TreeHash) -> bool {
    if index >= size {
        return false;
    }
    let (mut index, mut last) = (index, size - 1);
    let mut hash = leaf;
    for other in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            hash = TreeHash::node(other, &hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = TreeHash::node(&hash, other);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether that proof shows that the tree of the first size and root is the beginning of that
/// of the second. Of an empty tree, and of the same one, that needs no proof.
#[must_use]
pub fn consistent(old: (u64, TreeHash), new: (u64, TreeHash), proof: &[TreeHash]) -> bool {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old == 0 {
        return proof.is_empty() && old_root == TreeHash::empty();
    }
    if old >= new {
        return old == new && old_root == new_root && proof.is_empty();
    }
    let (mut index, mut last) = (old - 1, new - 1);
    while index & 1 == 1 {
        index >>= 1;
        last >>= 1;
    }
    let mut proof = proof.iter();
    let first = if old.is_power_of_two() { Some(&old_root) } else { proof.next() };
    let Some(&first) = first else { return false };
    let (mut old_hash, mut new_hash) = (first, first);
    for other in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            old_hash = TreeHash::node(other, &old_hash);
            new_hash = TreeHash::node(other, &new_hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = TreeHash::node(&new_hash, other);
        }
        index >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

impl Hashes<'_> {
    /// The hash over entries `lo` to `hi`; `lo` is a multiple of the power of two at or above
    /// their number.
    fn range(&self, lo: u64, hi: u64) -> io::Result<TreeHash> {
        let count = hi - lo;
        if count.is_power_of_two() {
            return self.subtree(count.ilog2(), lo);
        }
        let middle = lo + split(count);
        Ok(TreeHash::node(&self.range(lo, middle)?, &self.range(middle, hi)?))
    }

    /// The hash over the `2^height` entries from `lo` on.
    fn subtree(&self, height: u32, lo: u64) -> io::Result<TreeHash> {
        let level = height / 8;
        let first = lo >> (8 * level);
        let count = 1_usize << (height % 8);
        let level = level as u8;
        let edge: Option<Vec<_>> =
            (first..first + count as u64).map(|number| self.tree.edge(level, number)).collect();
        debug_assert!(first % TILE_WIDTH as u64 + count as u64 <= TILE_WIDTH as u64);
        let hashes = edge.map_or_else(|| self.tiles.hashes(level, first, count), Ok)?;
        Ok(TreeHash::perfect(&hashes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tree::tests::{leaves, naive};

    /// PATH of RFC 6962 §2.1.1, word for word.
    fn naive_path(m: usize, entries: &[TreeHash]) -> Vec<TreeHash> {
        if entries.len() == 1 {
            return Vec::new();
        }
        let k = entries.len().next_power_of_two() / 2;
        let (left, right) = entries.split_at(k);
        let (mut path, other) =
            if m < k { (naive_path(m, left), right) } else { (naive_path(m - k, right), left) };
        path.push(naive(other));
        path
    }

    /// SUBPROOF of RFC 6962 §2.1.2, word for word.
    fn naive_subproof(m: usize, entries: &[TreeHash], known: bool) -> Vec<TreeHash> {
        if m == entries.len() {
            return if known { Vec::new() } else { vec![naive(entries)] };
        }
        let k = entries.len().next_power_of_two() / 2;
        let (left, right) = entries.split_at(k);
        let (mut proof, other) = if m <= k {
            (naive_subproof(m, left, known), right)
        } else {
            (naive_subproof(m - k, right, false), left)
        };
        proof.push(naive(other));
        proof
    }

    struct Made {
        leaves: Vec<TreeHash>,
        tree: Tree,
        tiles: Tiles,
        _dir: tempfile::TempDir,
    }

    fn made(size: usize) -> Made {
        let dir = tempfile::tempdir().unwrap();
        let (mut tree, tiles) = (Tree::new(), Tiles::at(dir.path()));
        let leaves = leaves(size);
        for leaf in &leaves {
            tree.append(*leaf, |tile| tiles.write(&[tile]).unwrap());
        }
        Made { leaves, tree, tiles, _dir: dir }
    }

    #[test]
    fn proofs_of_small_trees_are_those_of_the_definition() {
        let made = made(40);
        let hashes = Hashes { tree: &made.tree, tiles: &made.tiles };
        for size in 1..=40 {
            let entries = &made.leaves[..size];
            let root = naive(entries);
            let n = size as u64;
            assert_eq!(root_at(&hashes, n).unwrap(), root);
            for (index, leaf) in entries.iter().enumerate() {
                let proof = inclusion_proof(&hashes, index as u64, n).unwrap();
                assert_eq!(proof, naive_path(index, entries), "{index} in {size}");
                assert!(includes(*leaf, index as u64, n, &proof, root));
            }
            for old in 1..=size {
                let proof = consistency_proof(&hashes, old as u64, n).unwrap();
                assert_eq!(proof, naive_subproof(old, entries, true), "{old} in {size}");
                let old_root = naive(&made.leaves[..old]);
                assert!(consistent((old as u64, old_root), (n, root), &proof));
            }
        }
        assert!(inclusion_proof(&hashes, 40, 40).is_err());
        assert!(inclusion_proof(&hashes, 0, 41).is_err());
        assert!(consistency_proof(&hashes, 0, 40).is_err());
        assert!(consistency_proof(&hashes, 7, 41).is_err());
        let root = made.tree.root();
        assert!(consistent((0, TreeHash::empty()), (40, root), &[]));
        assert!(!consistent((0, root), (40, root), &[]));
        assert!(consistent((40, root), (40, root), &[]));
        assert!(!consistent((41, root), (40, root), &[]));
    }

    #[test]
    fn proofs_go_across_tiles() {
        let made = made(66_000);
        let hashes = Hashes { tree: &made.tree, tiles: &made.tiles };
        for (index, size) in
            [(0, 66_000), (65_535, 65_536), (65_999, 66_000), (300, 512), (700, 1_001)]
        {
            let proof = inclusion_proof(&hashes, index, size).unwrap();
            let entries = &made.leaves[..size as usize];
            assert_eq!(proof, naive_path(index as usize, entries), "{index} in {size}");
        }
        for (old, new) in [(1, 66_000), (65_536, 66_000), (777, 65_537), (65_999, 66_000)] {
            let proof = consistency_proof(&hashes, old, new).unwrap();
            let entries = &made.leaves[..new as usize];
            assert_eq!(proof, naive_subproof(old as usize, entries, true), "{old} in {new}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_proof_proves_nothing_else(
            size in 2_u64..1_500,
            index in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
            bit in 0_usize..256,
        ) {
            let made = made(size as usize);
            let hashes = Hashes { tree: &made.tree, tiles: &made.tiles };
            let root = made.tree.root();
            let (index, other) = (index.index(size as usize), other.index(size as usize));
            let leaf = made.leaves[index];
            let at = index as u64;
            let proof = inclusion_proof(&hashes, at, size).unwrap();
            prop_assert!(includes(leaf, at, size, &proof, root));
            let flip = |hash: TreeHash| {
                let mut bytes = hash.0;
                bytes[bit / 8] ^= 1 << (bit % 8);
                TreeHash(bytes)
            };
            prop_assert!(!includes(flip(leaf), at, size, &proof, root));
            prop_assert!(!includes(leaf, at, size, &proof, flip(root)));
            if other != index {
                prop_assert!(!includes(made.leaves[other], at, size, &proof, root));
                prop_assert!(!includes(leaf, other as u64, size, &proof, root));
            }
            prop_assert!(!includes(leaf, at, size, &proof[1..], root));
            let longer = [proof.as_slice(), &[root]].concat();
            prop_assert!(!includes(leaf, at, size, &longer, root));

            let old = at + 1;
            let old_root = root_at(&hashes, old).unwrap();
            prop_assert_eq!(old_root, naive(&made.leaves[..=index]));
            let proof = consistency_proof(&hashes, old, size).unwrap();
            prop_assert!(consistent((old, old_root), (size, root), &proof));
            prop_assert!(!consistent((old, flip(old_root)), (size, root), &proof));
            prop_assert!(!consistent((old, old_root), (size, flip(root)), &proof));
            for n in 0..proof.len() {
                let mut changed = proof.clone();
                changed[n] = flip(changed[n]);
                prop_assert!(!consistent((old, old_root), (size, root), &changed));
                changed.remove(n);
                prop_assert!(!consistent((old, old_root), (size, root), &changed));
            }
        }
    }
}
