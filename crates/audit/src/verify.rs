//! Whether a log is whole: offline, from its directory, a key, and any checkpoints that were
//! kept elsewhere.
//!
//! Every line is read, checked to be written in the one way there is, and hashed; the tree over
//! them is compared with everything that was signed of it, and with the tiles. What can be said
//! then, and what cannot: see [`Verification`] and docs/audit.md.

mod blocks;

use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::day_files::SUFFIX;
use crate::files;
use crate::note::{Checkpoint, MAX_NOTE, NoteError, Verifier};
use crate::tiles::{Tile, Tiles};
use crate::tree::{TILE_WIDTH, Tree, TreeHash};

use blocks::{Bad, Checked, Source};

pub use crate::edge::{CHECKPOINT, HISTORY};
pub use crate::prune::PRUNED;

/// A checkpoint that was kept elsewhere.
#[derive(Clone, Debug)]
pub struct Outside {
    /// What it is called in what is found.
    pub name: String,
    /// The signed note.
    pub note: String,
}

/// How far it has come, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// To be read.
    pub total: u64,
}

/// What was found.
///
/// Without problems, it is proven that the entries are those of which the checkpoints were
/// signed. That is as much as the key is worth: whoever has it can sign another log. Only a
/// checkpoint that was out of his reach shows that, and that a whole directory was put back to
/// what it was before; it shows it of what had been written by then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// The first entry that is there; those before it were pruned.
    pub first: u64,
    /// Entries up to which the log was read, with those that were pruned.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// The latest signed checkpoint, if there is one and its signature is good.
    pub signed: Option<Checkpoint>,
    /// Signed checkpoints that fit, those from outside not counted.
    pub confirmed: u64,
    /// Checkpoints from outside that fit.
    pub outside: u64,
    /// When the first and the last entry were written, in milliseconds since 1970.
    pub times: Option<(i64, i64)>,
    /// Files with entries.
    pub files: usize,
    /// Bytes of lines.
    pub bytes: u64,
    /// Bytes at the end that are no whole entry: being written, or torn by a crash.
    pub torn: u64,
    /// What is wrong; the first bad place first.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The first entry that it may be about.
    pub entry: Option<u64>,
    /// The entry before which it is, if only a range is known.
    pub before: Option<u64>,
    /// The file.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry, self.before) {
            (Some(entry), Some(before)) if entry + 1 < before => {
                write!(f, "entries {entry} to {}: ", before - 1)?;
            }
            (Some(entry), _) => write!(f, "entry {entry}: ")?,
            _ => {}
        }
        f.write_str(&self.what)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({}, line {line})", file.display()),
            (Some(file), None) => write!(f, " ({})", file.display()),
            _ => Ok(()),
        }
    }
}

/// Verifies the log in a directory.
///
/// # Errors
/// If something cannot be read. What is wrong with what was read is no error, but a [`Problem`].
pub fn verify(
    directory: &Path,
    verifier: &Verifier,
    outside: &[Outside],
    progress: impl FnMut(Progress),
) -> io::Result<Verification> {
    // The checkpoint first: a log that is being written grows beyond it, never falls behind.
    let mut run = Run::new(directory, verifier)?;
    run.signatures(outside)?;
    let files = run.sources()?;
    run.begin()?;
    run.lines(&files, progress)?;
    Ok(run.finish(&files))
}

/// A size and root that the log must have had.
struct Expected {
    checkpoint: Checkpoint,
    name: String,
    is_outside: bool,
}

struct Run<'a> {
    directory: &'a Path,
    verifier: &'a Verifier,
    tiles: Tiles,
    tree: Tree,
    expected: Vec<Expected>,
    /// Those before it have been looked at.
    next: usize,
    /// Up to here what was signed fits.
    fits: u64,
    /// Up to here what was kept elsewhere fits.
    fits_outside: u64,
    /// The largest checkpoint from elsewhere that is only about entries that were pruned.
    outdated: Option<(String, u64)>,
    /// A checkpoint from elsewhere does not fit.
    contradicted: bool,
    pruned: Option<Checkpoint>,
    /// The first entries that are kept, by the entries that say so.
    prunes: Vec<u64>,
    /// The entry at which each file begins.
    starts: Vec<Option<u64>>,
    /// The first entry that its tile has another hash of, and that tile.
    differs: Option<(u64, PathBuf)>,
    tile_problem: Option<Problem>,
    mismatch: Option<Problem>,
    result: Verification,
}

impl<'a> Run<'a> {
    fn new(directory: &'a Path, verifier: &'a Verifier) -> io::Result<Self> {
        fs::metadata(directory)?;
        let result = Verification {
            first: 0,
            size: 0,
            root: TreeHash::empty(),
            signed: None,
            confirmed: 0,
            outside: 0,
            times: None,
            files: 0,
            bytes: 0,
            torn: 0,
            problems: Vec::new(),
        };
        Ok(Self {
            directory,
            verifier,
            tiles: Tiles::at(directory),
            tree: Tree::new(),
            expected: Vec::new(),
            next: 0,
            fits: 0,
            fits_outside: 0,
            outdated: None,
            contradicted: false,
            pruned: None,
            prunes: Vec::new(),
            starts: Vec::new(),
            differs: None,
            tile_problem: None,
            mismatch: None,
            result,
        })
    }

    fn problem(&mut self, file: &str, what: impl fmt::Display) {
        let file = Some(self.directory.join(file));
        let what = what.to_string();
        self.result.problems.push(Problem { entry: None, before: None, file, line: None, what });
    }

    /// Reads and checks everything that is signed.
    fn signatures(&mut self, outside: &[Outside]) -> io::Result<()> {
        match self.note(CHECKPOINT)? {
            None => self.problem(
                CHECKPOINT,
                "there is no signed checkpoint: it was removed, or nothing was ever signed",
            ),
            Some(note) => match self.verifier.checkpoint(&note) {
                Ok(checkpoint) => {
                    self.result.signed = Some(checkpoint);
                    let name = format!("the checkpoint of {} entries", checkpoint.size);
                    self.expected.push(Expected { checkpoint, name, is_outside: false });
                }
                Err(error) => self.problem(CHECKPOINT, format_args!("the checkpoint: {error}")),
            },
        }
        self.history()?;
        match self.note(PRUNED)?.map(|note| self.verifier.pruned(&note)) {
            None => {}
            Some(Ok(minimum)) if minimum.size % TILE_WIDTH as u64 == 0 => {
                self.pruned = Some(minimum);
            }
            Some(Ok(_)) => self.problem(PRUNED, "it is not about whole bundles of 256 entries"),
            Some(Err(error)) => {
                self.problem(PRUNED, format_args!("the statement of what was pruned: {error}"));
            }
        }
        for Outside { name, note } in outside {
            match self.verifier.checkpoint(note) {
                Ok(checkpoint) => {
                    let name = name.clone();
                    self.expected.push(Expected { checkpoint, name, is_outside: true });
                }
                Err(error) => {
                    let what = format!(
                        "the checkpoint {name}: {error}. If it is one of this log, its key was \
                         exchanged"
                    );
                    self.result.problems.push(Problem {
                        entry: None,
                        before: None,
                        file: None,
                        line: None,
                        what,
                    });
                }
            }
        }
        // What is our own first: if that fits and one from outside does not, it was signed again.
        self.expected.sort_by_key(|expected| (expected.checkpoint.size, expected.is_outside));
        Ok(())
    }

    /// Earlier checkpoints, which tell between which two of them a first bad place is.
    fn history(&mut self) -> io::Result<()> {
        let Some(text) = files::read_text(&self.directory.join(HISTORY), u64::MAX)? else {
            return Ok(());
        };
        let mut newest = 0;
        for (at, line) in text.lines().enumerate() {
            match self.verifier.history(line) {
                // Torn by a crash: of no use, and no harm.
                Err(NoteError::Malformed(_)) => {}
                Ok(checkpoint) => {
                    newest = newest.max(checkpoint.size);
                    let name = format!("an earlier checkpoint, of {} entries", checkpoint.size);
                    self.expected.push(Expected { checkpoint, name, is_outside: false });
                }
                Err(error) => {
                    self.problem(HISTORY, format_args!("an earlier checkpoint: {error}"));
                    if let Some(problem) = self.result.problems.last_mut() {
                        problem.line = Some(at as u64 + 1);
                    }
                    break;
                }
            }
        }
        if self.result.signed.is_some_and(|signed| signed.size < newest) {
            self.problem(
                CHECKPOINT,
                format_args!("the checkpoint is older than one of {newest} entries in {HISTORY}"),
            );
        }
        Ok(())
    }

    fn note(&self, name: &str) -> io::Result<Option<String>> {
        files::read_text(&self.directory.join(name), MAX_NOTE as u64)
    }

    /// The files with entries, by day.
    fn sources(&mut self) -> io::Result<Vec<Source>> {
        let days = files::days(self.directory, SUFFIX)?;
        let source = |(_, path): (_, PathBuf)| {
            let length = files::length(&path)?;
            Ok(Source { path, length })
        };
        let files = days.into_iter().map(source).collect::<io::Result<Vec<_>>>()?;
        self.result.files = files.len();
        self.result.bytes = files.iter().map(|file| file.length).sum();
        self.starts = vec![None; files.len()];
        Ok(files)
    }

    /// Takes up the tree where the first entry that is kept begins.
    fn begin(&mut self) -> io::Result<()> {
        let Some(minimum) = self.pruned else { return Ok(()) };
        self.result.first = minimum.size;
        match Tree::restore(minimum.size / TILE_WIDTH as u64, &self.tiles) {
            Ok(tree) if tree.root() == minimum.root => {
                self.fits = minimum.size;
                self.tree = tree;
            }
            Ok(_) => self.problem("tile", "the tiles are not those of what was pruned"),
            Err(error) => {
                self.problem(
                    "tile",
                    format_args!("the hashes of what was pruned cannot be read: {error}"),
                );
            }
        }
        self.next =
            self.expected.partition_point(|expected| expected.checkpoint.size < self.tree.size());
        let outdated = self.expected[..self.next].iter().rfind(|expected| expected.is_outside);
        self.outdated = outdated.map(|one| (one.name.clone(), one.checkpoint.size));
        Ok(())
    }

    /// Reads all lines, until one is bad.
    fn lines(&mut self, files: &[Source], mut progress: impl FnMut(Progress)) -> io::Result<()> {
        let (mut done, total) = (0, self.result.bytes);
        let mut at = None;
        self.compare();
        blocks::walk(files, |checked| {
            done += checked.bytes;
            progress(Progress { done, total });
            let is_new = at != Some(checked.file);
            at = Some(checked.file);
            self.block(files, is_new, checked)
        })
    }

    fn block(&mut self, files: &[Source], is_new: bool, checked: Checked) -> ControlFlow<()> {
        let Checked { file, first, hashes, times, prunes, bad, .. } = checked;
        if let Some(first) = first {
            // A prune that was interrupted leaves entries that it was about.
            let old = self.result.first.saturating_sub(first).min(hashes.len() as u64);
            if is_new {
                self.starts[file] = Some(first);
            }
            if first + old != self.tree.size() && (old as usize) < hashes.len() {
                let entry = first + old;
                self.gap(&files[file], (is_new).then_some(1), entry);
                return ControlFlow::Break(());
            }
            for hash in &hashes[old as usize..] {
                self.append(*hash);
            }
            let begin = self.result.times.or(times).map_or(0, |(begin, _)| begin);
            self.result.times = times.map(|(_, end)| (begin, end)).or(self.result.times);
        }
        self.prunes.extend(prunes);
        let Some(bad) = bad else { return ControlFlow::Continue(()) };
        let is_end = file + 1 == files.len();
        let what = match bad {
            Bad::Torn { bytes } if is_end && self.covers_what_is_signed() => {
                self.result.torn = bytes;
                return ControlFlow::Continue(());
            }
            Bad::Torn { bytes } => format!("its line ends after {bytes} bytes, within the file"),
            Bad::TooLong => "its line is longer than a line may be".to_owned(),
            Bad::NotCanonical { byte } => {
                format!("its line is not as entries are written, from byte {byte} on")
            }
            Bad::OutOfOrder { entry } => format!("entry {entry} is in its place"),
        };
        let entry = Some(self.tree.size());
        let line = self.starts[file].or(entry).map(|start| self.tree.size() - start + 1);
        let file = Some(files[file].path.clone());
        self.first_problem(Problem { entry, before: None, file, line, what });
        ControlFlow::Break(())
    }

    /// Entries are missing, or come in another order.
    fn gap(&mut self, file: &Source, line: Option<u64>, found: u64) {
        let size = self.tree.size();
        let (entry, before, what) = if size == self.result.first && found > size {
            let what = "they are missing, and no signed statement says that they were pruned";
            (size, Some(found), what.to_owned())
        } else if found > size {
            (size, Some(found), "they are missing, or not in their place".to_owned())
        } else {
            (size, None, format!("entry {found} is in its place"))
        };
        let file = Some(file.path.clone());
        self.first_problem(Problem { entry: Some(entry), before, file, line, what });
    }

    /// Of problems with entries, the first alone is told: what follows, follows from it.
    fn first_problem(&mut self, problem: Problem) {
        if self.mismatch.is_none() {
            self.mismatch = Some(problem);
        }
    }

    fn covers_what_is_signed(&self) -> bool {
        self.expected.iter().all(|expected| expected.checkpoint.size <= self.tree.size())
    }

    fn append(&mut self, leaf: TreeHash) {
        let mut tiles = Vec::new();
        self.tree.append(leaf, |tile| tiles.push(tile));
        for tile in tiles {
            self.compare_tile(&tile);
        }
        if self.expected.get(self.next).is_some_and(|e| e.checkpoint.size <= self.tree.size()) {
            self.compare();
        }
    }

    /// Compares what was signed of this size with the tree.
    fn compare(&mut self) {
        let size = self.tree.size();
        let root = self.tree.root();
        while let Some(Expected { checkpoint, name, is_outside }) =
            self.expected.get(self.next).filter(|expected| expected.checkpoint.size == size)
        {
            self.next += 1;
            if checkpoint.root == root {
                self.fits = size;
                if *is_outside {
                    self.fits_outside = size;
                    self.result.outside += 1;
                } else {
                    self.result.confirmed += 1;
                }
                continue;
            }
            // Whoever signed the log again has signed the earlier checkpoints again, too: what
            // they fit says nothing against one that was out of his reach.
            self.contradicted |= *is_outside;
            let from = if *is_outside { self.fits_outside } else { self.fits };
            let (entry, before) = (Some(from.min(size.saturating_sub(1))), Some(size));
            let what = format!("not those of which {name} was signed");
            self.first_problem(Problem { entry, before, file: None, line: None, what });
        }
    }

    fn compare_tile(&mut self, tile: &Tile) {
        let path = self.directory.join(tile.id.path());
        let of = |what: String| {
            let file = Some(path.clone());
            Some(Problem { entry: None, before: None, file, line: None, what })
        };
        match self.tiles.read(tile.id) {
            Ok(Some(hashes)) if hashes == tile.hashes => {}
            Ok(Some(hashes)) => {
                let at = hashes.iter().zip(&tile.hashes).position(|(a, b)| a != b).unwrap_or(0);
                if tile.id.level == 0 && self.differs.is_none() {
                    let entry = tile.id.index * TILE_WIDTH as u64 + at as u64;
                    self.differs = Some((entry, path));
                } else if self.differs.is_none() && self.tile_problem.is_none() {
                    self.tile_problem =
                        of(format!("hash {at} of this tile is not that of what is below it"));
                }
            }
            // It is written with the checkpoint that covers it.
            Ok(None) if self.result.signed.is_none_or(|signed| signed.size < self.tree.size()) => {}
            Ok(None) if self.tile_problem.is_none() => {
                self.tile_problem =
                    of("this tile is missing, without which there are no proofs".into());
            }
            Ok(None) => {}
            Err(error) if self.tile_problem.is_none() => {
                // Which one, the problem says by itself.
                let (error, place) = (error.to_string(), format!("{}: ", path.display()));
                let error = error.strip_prefix(&place).unwrap_or(&error);
                self.tile_problem = of(format!("this tile cannot be read: {error}"));
            }
            Err(_) => {}
        }
    }

    fn finish(mut self, files: &[Source]) -> Verification {
        let size = self.tree.size();
        self.result.size = size;
        self.result.root = self.tree.root();
        let most = self.expected.last().map_or(0, |expected| expected.checkpoint.size);
        let largest = self.expected.iter().find(|expected| expected.checkpoint.size == most);
        if let Some(Expected { checkpoint, name, .. }) = largest.filter(|_| most > size) {
            let problem = Problem {
                entry: Some(size),
                before: Some(checkpoint.size),
                file: None,
                line: None,
                what: format!("missing: the log ends before them, and {name} was signed with them"),
            };
            self.first_problem(problem);
        }
        if let Some(minimum) = self.pruned
            && self.mismatch.is_none()
            && minimum.size > 0
            && !self.prunes.contains(&minimum.size)
        {
            self.problem(PRUNED, "no entry tells of this prune");
        }
        // Who has the key can prune, too. What is compared with nothing must not seem to fit.
        if let Some((name, size)) = self.outdated.take().filter(|_| self.result.outside == 0) {
            let (first, file, line) = (self.result.first, None, None);
            let what = format!(
                "{name} is of {size} entries, and those before entry {first} were pruned: nothing \
                 is left to compare it with; give one of at least {first} entries"
            );
            self.result.problems.push(Problem { entry: None, before: None, file, line, what });
        }
        let differs = self.differs.take();
        if let Some(mut problem) = self.mismatch.take() {
            // A tile that was not rehashed tells exactly which entry was altered.
            if let Some((entry, _)) = &differs
                && problem.entry.is_some_and(|from| from <= *entry)
                && problem.before.is_some_and(|before| *entry < before)
                && problem.line.is_none()
            {
                problem.entry = Some(*entry);
                problem.before = None;
            }
            if problem.file.is_none() {
                (problem.file, problem.line) = self.place(files, problem.entry);
            }
            let is_signed = self.result.signed.is_some_and(|signed| signed.size == self.fits);
            if self.contradicted && is_signed {
                problem.what.push_str(": the log was signed again since");
            }
            self.result.problems.insert(0, problem);
        } else if let Some((entry, path)) = differs {
            let what = if entry < self.fits {
                "this tile is damaged: it has another hash of the entry, which is as it was signed"
            } else {
                "the entry is not the one of which this tile has the hash"
            };
            let (entry, before) = (Some(entry), None);
            let (file, line) = (Some(path), None);
            self.result.problems.push(Problem { entry, before, file, line, what: what.into() });
        }
        self.result.problems.extend(self.tile_problem.take());
        self.result
    }

    /// In which file and line an entry is.
    fn place(&self, files: &[Source], entry: Option<u64>) -> (Option<PathBuf>, Option<u64>) {
        let entry = entry.filter(|entry| *entry < self.tree.size());
        let found = entry.and_then(|entry| {
            let at = self.starts.iter().rposition(|start| start.is_some_and(|s| s <= entry))?;
            Some((files[at].path.clone(), entry - self.starts[at]? + 1))
        });
        found.unzip()
    }
}
