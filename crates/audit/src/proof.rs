//! What is handed to somebody who has nothing of the log but its public key: one entry with the
//! proof that it is in it (C2SP tlog-proof), or the proof that the log only grew since a
//! checkpoint that he has (the request of C2SP tlog-witness).

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::day_files::SUFFIX;
use crate::files;
use crate::lines;
use crate::note::{Checkpoint, NoteError, Verifier, decimal};
use crate::path::{self, Hashes};
use crate::tiles::Tiles;
use crate::tree::{TILE_WIDTH, Tree, TreeHash};
use crate::verify::{CHECKPOINT, PRUNED};

/// The first line of an inclusion proof.
const VERSION: &str = "c2sp.org/tlog-proof@v1";

/// An entry, and that it is in a signed log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    /// Its line, without the line feed. In the text it is the proof's extra data.
    pub line: Vec<u8>,
    /// Its number.
    pub entry: u64,
    /// From its neighbour up to a child of the root.
    pub hashes: Vec<TreeHash>,
    /// The signed checkpoint.
    pub note: String,
}

/// That a log is the continuation of what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowthProof {
    /// How many entries it had.
    pub old: u64,
    /// The proof (RFC 6962 §2.1.2).
    pub hashes: Vec<TreeHash>,
    /// The signed checkpoint of what it is now.
    pub note: String,
}

/// A proof does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is not written as one.
    #[error("it is not a proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not one of this log.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead to the root that was signed.
    #[error("its hashes do not lead to what was signed")]
    Wrong,
}

impl EntryProof {
    /// Checks it with nothing but the log's key.
    ///
    /// # Errors
    /// If it proves nothing.
    pub fn check(&self, verifier: &Verifier) -> Result<Checkpoint, ProofError> {
        let signed = verifier.checkpoint(&self.note)?;
        let leaf = TreeHash::leaf(&self.line);
        if path::includes(leaf, self.entry, signed.size, &self.hashes, signed.root) {
            Ok(signed)
        } else {
            Err(ProofError::Wrong)
        }
    }
}

impl fmt::Display for EntryProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = BASE64_STANDARD.encode(&self.line);
        write!(f, "{VERSION}\nextra {line}\nindex {}\n", self.entry)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for EntryProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (head, note) = split(text)?;
        let mut lines = head.lines();
        if lines.next() != Some(VERSION) {
            return Err(ProofError::Malformed("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let line = extra.and_then(|extra| BASE64_STANDARD.decode(extra).ok());
        let line = line.ok_or(ProofError::Malformed("it does not have the entry"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let entry = index.and_then(decimal).ok_or(ProofError::Malformed("it has no index"))?;
        Ok(Self { line, entry, hashes: hashes(lines)?, note: note.to_owned() })
    }
}

impl GrowthProof {
    /// Checks it against the checkpoint that was kept.
    ///
    /// # Errors
    /// If it proves nothing.
    pub fn check(&self, verifier: &Verifier, kept: &Checkpoint) -> Result<Checkpoint, ProofError> {
        let new = verifier.checkpoint(&self.note)?;
        let is_the_same = self.old == kept.size
            && path::consistent((kept.size, kept.root), (new.size, new.root), &self.hashes);
        if is_the_same { Ok(new) } else { Err(ProofError::Wrong) }
    }
}

impl fmt::Display for GrowthProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for GrowthProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let (head, note) = split(text)?;
        let mut lines = head.lines();
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(decimal).ok_or(ProofError::Malformed("it has no old size"))?;
        Ok(Self { old, hashes: hashes(lines)?, note: note.to_owned() })
    }
}

/// What comes before the first blank line, and the note after it.
fn split(text: &str) -> Result<(&str, &str), ProofError> {
    text.split_once("\n\n").ok_or(ProofError::Malformed("it has no checkpoint"))
}

/// Of at most 64 levels; twice as many are in no proof.
fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<TreeHash>, ProofError> {
    let hashes: Result<Vec<_>, _> = lines.take(130).map(str::parse).collect();
    match hashes {
        Ok(hashes) if hashes.len() < 130 => Ok(hashes),
        _ => Err(ProofError::Malformed("a line is not a hash")),
    }
}

/// Makes proofs out of the directory of a log, as of its latest checkpoint.
#[derive(Debug)]
pub struct Prover {
    directory: PathBuf,
    note: String,
    signed: Checkpoint,
    first: u64,
    tree: Tree,
    tiles: Tiles,
}

impl Prover {
    /// Reads the latest checkpoint and what is needed of the tree.
    ///
    /// # Errors
    /// If something cannot be read, or the log is not what was signed.
    pub fn open(directory: &Path, verifier: &Verifier) -> io::Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| at(&path, error.kind(), error))
        };
        let invalid = |name: &str, error: NoteError| {
            at(&directory.join(name), io::ErrorKind::InvalidData, error)
        };
        let note = read(CHECKPOINT)?;
        let signed = verifier.checkpoint(&note).map_err(|error| invalid(CHECKPOINT, error))?;
        let first = match read(PRUNED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            note => verifier.pruned(&note?).map_err(|error| invalid(PRUNED, error))?.size,
        };
        let tiles = Tiles::at(directory);
        let full = signed.size / TILE_WIDTH as u64;
        let mut tree = Tree::restore(full, &tiles)?;
        each_line(directory, full * TILE_WIDTH as u64, signed.size, |line| {
            tree.append(TreeHash::leaf(line), |_| {});
        })?;
        if (tree.size(), tree.root()) != (signed.size, signed.root) {
            let why = "the log is not what was signed; `sealwire audit verify` tells more";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Self { directory: directory.to_owned(), note, signed, first, tree, tiles })
    }

    /// The checkpoint that proofs lead to.
    pub fn signed(&self) -> Checkpoint {
        self.signed
    }

    /// It, as it was signed.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Proves that an entry is in the log.
    ///
    /// # Errors
    /// `NotFound` if it is not, was pruned, or is not signed yet; `InvalidData` if it is not
    /// what was signed.
    pub fn entry(&self, entry: u64) -> io::Result<EntryProof> {
        let not_found = |why: String| Err(io::Error::new(io::ErrorKind::NotFound, why));
        if entry >= self.signed.size {
            let size = self.signed.size;
            return not_found(format!(
                "the log is signed up to entry {size}, not with it; what was just recorded is signed \
                 within a second"
            ));
        }
        if entry < self.first {
            return not_found(format!("the entries before {} were pruned", self.first));
        }
        let mut line = Vec::new();
        each_line(&self.directory, entry, entry + 1, |found| line = found.to_vec())?;
        let hashes = path::inclusion_proof(&self.hashes(), entry, self.signed.size)?;
        let proof = EntryProof { line, entry, hashes, note: self.note.clone() };
        let leaf = TreeHash::leaf(&proof.line);
        let Checkpoint { size, root } = self.signed;
        if path::includes(leaf, entry, size, &proof.hashes, root) {
            return Ok(proof);
        }
        let why = "the entry is not the one that was signed; `sealwire audit verify` tells more";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Proves that the log is the continuation of what it was at that checkpoint.
    ///
    /// # Errors
    /// `InvalidData` if it is not; `NotFound` if it had fewer entries than have been pruned.
    pub fn growth(&self, kept: &Checkpoint) -> io::Result<GrowthProof> {
        let Checkpoint { size, root } = self.signed;
        let hashes = match kept.size {
            0 => Vec::new(),
            old if old > size => {
                let why = format!("the log has {size} entries, and had {old}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            old => path::consistency_proof(&self.hashes(), old, size)?,
        };
        if path::consistent((kept.size, kept.root), (size, root), &hashes) {
            return Ok(GrowthProof { old: kept.size, hashes, note: self.note.clone() });
        }
        let why = "the log is not a continuation of what was signed then";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn hashes(&self) -> Hashes<'_> {
        Hashes { tree: &self.tree, tiles: &self.tiles }
    }
}

fn at(path: &Path, kind: io::ErrorKind, error: impl fmt::Display) -> io::Error {
    io::Error::new(kind, format!("{}: {error}", path.display()))
}

/// Gives the lines of the entries `from` to `to`, without their line feeds. As they stand: what
/// they are is for proofs to show.
fn each_line(directory: &Path, from: u64, to: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let days = files::days(directory, SUFFIX)?;
    let mut next = from;
    for (n, (_, path)) in days.iter().enumerate() {
        let following = match days.get(n + 1) {
            Some((_, path)) => lines::first_entry(&File::open(path)?)?,
            None => None,
        };
        if next >= to || following.is_some_and(|following| following <= next) {
            continue;
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = lines::find(&file, length, next)?;
        let done = lines::each(&file, (start, length), |line| {
            if next >= to {
                return Err(io::ErrorKind::Other.into());
            }
            take(line);
            next += 1;
            Ok(())
        });
        if next < to {
            done?;
        }
    }
    if next == to {
        return Ok(());
    }
    let why = format!("entry {next} is missing; `sealwire audit verify` tells more");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}
