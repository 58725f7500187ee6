//! The tree over what is on disk: what was appended to it, its tiles, and what is signed of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::note::{Checkpoint, Signer};
use crate::tiles::{Tile, Tiles};
use crate::tree::{Tree, TreeHash};

/// The file with the latest signed checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The file with earlier ones, a line for each: they tell between which two of them a first bad
/// place is. Nothing depends on it.
pub const HISTORY: &str = "checkpoints";

/// After so many entries a checkpoint becomes a line of [`HISTORY`].
const EACH: u64 = 1_000;

/// The right edge of the tree, and the key that signs it.
pub(crate) struct Edge {
    directory: PathBuf,
    tree: Tree,
    tiles: Tiles,
    /// Tiles that are full, and not on disk.
    unwritten: Vec<Tile>,
    signer: Signer,
    /// The latest that is signed, and on disk.
    signed: Option<Checkpoint>,
}

impl Edge {
    /// The tree as it is on disk, without the last lines.
    pub(crate) fn new(directory: &Path, tree: Tree, signer: Signer) -> Self {
        let tiles = Tiles::at(directory);
        let directory = directory.to_owned();
        Self { directory, tree, tiles, unwritten: Vec::new(), signer, signed: None }
    }

    /// How many entries it has, and their root.
    pub(crate) fn now(&self) -> Checkpoint {
        Checkpoint { size: self.tree.size(), root: self.tree.root() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    pub(crate) fn signed(&self) -> Option<Checkpoint> {
        self.signed
    }

    pub(crate) fn was_signed(&mut self, checkpoint: Checkpoint) {
        self.signed = Some(checkpoint);
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            self.append_line(&lines[start..end]);
            start = end + 1;
        }
    }

    /// Appends a line, which comes without its line feed.
    pub(crate) fn append_line(&mut self, line: &[u8]) {
        let unwritten = &mut self.unwritten;
        self.tree.append(TreeHash::leaf(line), |tile| unwritten.push(tile));
    }

    /// Signs what there is, if that is new, and whether it was. All of it must have been synced
    /// before.
    ///
    /// # Errors
    /// If tiles or the checkpoint cannot be written; the one before stays.
    pub(crate) fn sign(&mut self) -> io::Result<bool> {
        if self.signed.is_some_and(|signed| signed.size == self.tree.size()) {
            return Ok(false);
        }
        self.tiles.write(&self.unwritten)?;
        self.unwritten.clear();
        let checkpoint = self.now();
        let note = self.signer.checkpoint(&checkpoint);
        files::replace(&self.directory.join(CHECKPOINT), note.as_bytes())?;
        if self.signed.is_none_or(|signed| signed.size / EACH < checkpoint.size / EACH) {
            let line = self.signer.history(&checkpoint);
            files::append_line(&self.directory.join(HISTORY), &line)?;
        }
        self.signed = Some(checkpoint);
        Ok(true)
    }
}
