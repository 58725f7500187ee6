//! A log as the program writes it, made without it, so that a test decides about every byte.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use sealwire_audit::note::{Checkpoint, Signer};
use sealwire_audit::path::{Hashes, root_at};
use sealwire_audit::tiles::Tiles;
use sealwire_audit::tree::{Tree, TreeHash};
use sealwire_audit::verify::{CHECKPOINT, HISTORY, Outside, PRUNED, Verification, verify};

pub const ORIGIN: &str = "sealwire-audit/example.org/1";
/// Every so many entries a line of earlier checkpoints is written.
pub const EACH: u64 = 100;

pub fn signer() -> Signer {
    Signer::new(ORIGIN, &[42; 32]).unwrap()
}

pub fn line(entry: u64, kind: &str) -> String {
    let time = 1_760_000_000_000 + entry * 1_000;
    let id = entry * 7;
    format!(
        r#"{{"entry":{entry},"time":{time},"type":"{kind}","decision":"allow","peer":"spiffe://example.org/core/laptop","server":"files","gen_ai.tool.name":"read","jsonrpc.request.id":"{id}"}}"#
    )
}

/// Lines by day, in memory.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub days: Vec<(String, Vec<String>)>,
}

impl Log {
    /// So many entries on each of so many days.
    pub fn new(days: u64, entries: u64) -> Self {
        let day = |n: u64| {
            let lines = (n * entries..(n + 1) * entries).map(|entry| line(entry, "call.decision"));
            (format!("2026-{:02}-{:02}", 1 + n / 28, 1 + n % 28), lines.collect())
        };
        Self { days: (0..days).map(day).collect() }
    }

    pub fn leaves(&self) -> Vec<TreeHash> {
        let lines = self.days.iter().flat_map(|(_, lines)| lines);
        lines.map(|line| TreeHash::leaf(line.as_bytes())).collect()
    }

    /// Writes the lines alone.
    pub fn write_lines(&self, directory: &Path) {
        for (day, lines) in &self.days {
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            fs::write(directory.join(format!("{day}.jsonl")), text).unwrap();
        }
    }

    /// Writes the whole log, signed.
    pub fn write(&self, directory: &Path, signer: &Signer) -> Checkpoint {
        self.write_lines(directory);
        self.sign(directory, signer)
    }

    /// Writes tiles, earlier checkpoints and the checkpoint.
    pub fn sign(&self, directory: &Path, signer: &Signer) -> Checkpoint {
        let (mut tree, tiles) = (Tree::new(), Tiles::at(directory));
        let mut history = String::new();
        for leaf in self.leaves() {
            tree.append(leaf, |tile| tiles.write(&[tile]).unwrap());
            if tree.size() % EACH == 0 {
                let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
                history += &signer.history(&checkpoint);
                history.push('\n');
            }
        }
        fs::write(directory.join(HISTORY), history).unwrap();
        let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
        fs::write(directory.join(CHECKPOINT), signer.checkpoint(&checkpoint)).unwrap();
        checkpoint
    }

    /// The right edge, and the tiles on disk.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        self.leaves().into_iter().for_each(|leaf| tree.append(leaf, |_| {}));
        tree
    }

    /// Deletes everything before `first`, as the program does.
    pub fn prune(&mut self, directory: &Path, signer: &Signer, first: u64) {
        let tree = self.tree();
        let tiles = Tiles::at(directory);
        for tile in tree.partial_tiles().filter(|tile| tile.id.level > 0) {
            tiles.write(&[tile]).unwrap();
        }
        let hashes = Hashes { tree: &tree, tiles: &tiles };
        let minimum = Checkpoint { size: first, root: root_at(&hashes, first).unwrap() };
        fs::write(directory.join(PRUNED), signer.pruned(&minimum)).unwrap();
        let mut entry = 0;
        for (day, lines) in &mut self.days {
            lines.retain(|_| {
                entry += 1;
                entry > first
            });
            if lines.is_empty() {
                fs::remove_file(directory.join(format!("{day}.jsonl"))).unwrap();
            }
        }
        self.days.retain(|(_, lines)| !lines.is_empty());
        self.write_lines(directory);
        for n in 0..first / 256 {
            fs::remove_file(directory.join(format!("tile/0/{n:03}"))).unwrap();
        }
    }
}

pub fn note_of(directory: &Path) -> String {
    fs::read_to_string(directory.join(CHECKPOINT)).unwrap()
}

pub fn day(directory: &Path, day: &str) -> PathBuf {
    directory.join(format!("{day}.jsonl"))
}

pub fn verify_alone(directory: &Path) -> Verification {
    verify(directory, signer().verifier(), &[], |_| {}).unwrap()
}

pub fn verify_with(directory: &Path, note: &str) -> Verification {
    let outside = [Outside { name: "kept.txt".into(), note: note.into() }];
    verify(directory, signer().verifier(), &outside, |_| {}).unwrap()
}
