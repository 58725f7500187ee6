//! Opening a log: whose turn it is, what is whole of it, and the tree over that.
//!
//! What a power cut takes is what was not synced, and that is not always an end: a file may lack a
//! block and have the next one. It reads as zeros then. A sync is good for all that stands before,
//! so what stands after such a hole never lasted, nor was anything let through by it that had to
//! wait until it does; it is cut off with the hole. Not so if a checkpoint covers it, or what was
//! written ahead, or if it is in the file of a day before the last: all of that was synced, and no
//! power cut takes it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::day::Day;
use crate::day_files::{self, DayFiles};
use crate::edge::{CHECKPOINT, Edge};
use crate::files;
use crate::lines::{self, Whole};
use crate::note::{Checkpoint, Signer};
use crate::prune::{self, PRUNED};
use crate::text::parse_line;
use crate::tiles::Tiles;
use crate::tree::{TILE_WIDTH, Tree};
use crate::write_ahead;

/// Most bytes that are read of who has the lock.
const MAX_HOLDER: u64 = 16;
const WIDTH: u64 = TILE_WIDTH as u64;

/// Why a log cannot be opened. Nothing of it was changed, unless what a power cut had taken was put
/// back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes it.
    #[error("{}: {} writes this log", directory.display(), process(*holder))]
    InUse {
        /// The log.
        directory: PathBuf,
        /// The number of that process, if it has said so.
        holder: Option<u32>,
    },
    /// A file or directory cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It is not what was signed of it.
    #[error("{}: {what}", directory.display())]
    Damaged {
        /// The log.
        directory: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A log that is ours.
pub(crate) struct Opened {
    /// Held for as long as we write.
    pub(crate) lock: File,
    pub(crate) days: DayFiles,
    pub(crate) edge: Edge,
    /// What was cut off at its end.
    pub(crate) torn: Option<Torn>,
    /// Bytes that a power cut had taken, and that were put back.
    pub(crate) restored: u64,
    /// The first entry that is there, or would be.
    pub(crate) first: u64,
}

/// Bytes at the end that were no entry, or stood after a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    /// Numbers of entries that are given again: of those in a hole and after it.
    pub(crate) entries: u64,
}

/// The files with lines, by day, up to the last whole one.
struct Found {
    files: Vec<(Day, PathBuf)>,
    /// Up to where the last of them is whole.
    length: u64,
    next: u64,
    torn: Vec<(PathBuf, u64)>,
    /// The entry after the last one that was found, if there is a hole before that.
    beyond: Option<u64>,
}

/// Opens the log in `directory`, or begins it.
pub(crate) fn open(directory: &Path, signer: Signer) -> Result<Opened, OpenError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |reason| OpenError::Unusable { path, reason }
    };
    files::make_directory(directory).map_err(unusable(directory))?;
    let metadata = fs::metadata(directory).map_err(unusable(directory))?;
    if !files::is_private(&metadata) {
        let reason = io::Error::other("it can be used by others; chmod go-rwx it");
        return Err(unusable(directory)(reason));
    }
    let lock = take_lock(directory)?;
    let damaged = |what| OpenError::Damaged { directory: directory.to_owned(), what };
    let note = |name, read: &dyn Fn(&str) -> Result<Checkpoint, crate::note::NoteError>| {
        let path = directory.join(name);
        match fs::read_to_string(&path) {
            Ok(note) => read(&note).map(Some).map_err(|error| damaged(format!("{name}: {error}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path)(error)),
        }
    };
    let signed = note(CHECKPOINT, &|text| signer.verifier().checkpoint(text))?;
    let pruned = note(PRUNED, &|text| signer.verifier().pruned(text))?;
    let first = pruned.map_or(0, |pruned| pruned.size);
    prune::finish(directory, first).map_err(unusable(directory))?;
    let restored = write_ahead::recover(directory).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged(format!(
            "{error}: no power cut does that. If this is a copy that was made while the log was \
             written, remove that file from it; else keep this directory, and name another \
             log_dir for a new log"
        )),
        _ => unusable(directory)(error),
    })?;
    let size = signed.map_or(0, |signed| signed.size);
    let found = look(directory, first, size, restored.end).map_err(unusable(directory))?;
    if let Some(Checkpoint { size, .. }) = signed
        && found.next < size
    {
        return Err(damaged(format!(
            "it has {} entries, and {size} were signed: what is missing was removed, or lost by \
             the disk. `sealwire audit verify` tells more. Keep this directory, put back what is \
             missing, or name another log_dir for a new log",
            found.next
        )));
    }
    let edge = build(directory, &found, signer, signed).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged(error.to_string()),
        _ => unusable(directory)(error),
    })?;
    // Only now is anything cut off.
    let torn = cut(&found).map_err(unusable(directory))?;
    write_ahead::remove(directory).map_err(unusable(directory))?;
    let day = found.files.last().map(|(day, _)| *day);
    let days = DayFiles::resume(directory, day).map_err(unusable(directory))?;
    Ok(Opened { lock, days, edge, torn, restored: restored.bytes, first })
}

fn take_lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let unusable = |reason| OpenError::Unusable { path: path.clone(), reason };
    let mut lock = files::open(&path).map_err(unusable)?;
    let taken = lock.try_lock();
    let mut holder = String::new();
    // Only for those who wait.
    let _unknown = (&lock).take(MAX_HOLDER).read_to_string(&mut holder);
    match taken {
        Ok(()) => {
            let ours = std::process::id().to_string();
            if holder != ours {
                let _untold = lock.rewind().and_then(|()| lock.set_len(0));
                let _untold = lock.write_all(ours.as_bytes());
            }
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            Err(OpenError::InUse { directory: directory.to_owned(), holder: holder.parse().ok() })
        }
        Err(TryLockError::Error(reason)) => Err(OpenError::Unusable { path, reason }),
    }
}

/// A process in a message.
fn process(number: Option<u32>) -> String {
    number.map_or_else(|| "another process".to_owned(), |number| format!("process {number}"))
}

/// Finds the end of what is whole. So many entries are `signed`; what lasts up to the place `synced`
/// is whole.
fn look(
    directory: &Path,
    first: u64,
    signed: u64,
    synced: Option<(Day, u64)>,
) -> io::Result<Found> {
    let mut files = files::days(directory, day_files::SUFFIX)?;
    let last = files.last().map(|(day, _)| *day);
    let mut torn = Vec::new();
    let mut beyond = None;
    while let Some((day, path)) = files.last() {
        let file = File::open(path)?;
        let mut whole = lines::last_whole(&file)?;
        if Some(*day) == last
            && let Some(hole) = hole(&file, whole, signed)?
            && !synced.is_some_and(|(of, end)| of == *day && hole < end)
        {
            beyond = whole.next;
            whole = lines::last_whole_before(&file, hole)?;
        }
        if file.metadata()?.len() > whole.length {
            torn.push((path.clone(), whole.length));
        }
        if let Some(next) = whole.next {
            return Ok(Found { files, length: whole.length, next, torn, beyond });
        }
        files.pop();
    }
    Ok(Found { files, length: 0, next: first, torn, beyond })
}

/// Where something is missing before the last line of a file and after what was signed.
fn hole(file: &File, whole: Whole, signed: u64) -> io::Result<Option<u64>> {
    if whole.next.is_none_or(|next| next <= signed) {
        return Ok(None);
    }
    let begin = lines::find(file, whole.length, signed)?;
    lines::first_zero(file, (begin, whole.length))
}

/// The tree over all lines: from the tiles of what is signed, and the lines after it.
fn build(
    directory: &Path,
    found: &Found,
    signer: Signer,
    signed: Option<Checkpoint>,
) -> io::Result<Edge> {
    let full = signed.map_or(0, |signed| signed.size / WIDTH);
    let tree = Tree::restore(full, &Tiles::at(directory)).map_err(|error| {
        let why = format!("{error}; without it the tree cannot go on");
        io::Error::new(io::ErrorKind::InvalidData, why)
    })?;
    let mut edge = Edge::new(directory, tree, signer);
    let check = |edge: &Edge| match signed {
        Some(signed) if signed.size == edge.size() && signed != edge.now() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its entries are not those that were signed; `sealwire audit verify` tells which. \
                 Keep this directory, and name another log_dir for a new log",
        )),
        _ => Ok(()),
    };
    check(&edge)?;
    // From the last file that begins at or before the first line that is wanted.
    let mut start = found.files.len();
    while start > 0 {
        start -= 1;
        let first = lines::first_entry(&File::open(&found.files[start].1)?)?;
        if first.is_some_and(|first| first <= edge.size()) {
            break;
        }
    }
    for (at, (_, path)) in found.files.iter().enumerate().skip(start) {
        let file = File::open(path)?;
        let is_last = at + 1 == found.files.len();
        let length = if is_last { found.length } else { file.metadata()?.len() };
        let begin = lines::find(&file, length, edge.size())?;
        lines::each(&file, (begin, length), |line| {
            let entry = parse_line(line).map(|head| head.entry);
            if entry != Ok(edge.size()) {
                let why = format!(
                    "entry {} is not where it should be, in {}",
                    edge.size(),
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            edge.append_line(line);
            check(&edge)
        })?;
    }
    if let Some(signed) = signed {
        edge.was_signed(signed);
    }
    Ok(edge)
}

/// Cuts off what is torn.
fn cut(found: &Found) -> io::Result<Option<Torn>> {
    let mut bytes = 0;
    let mut hash = Sha256::new();
    for (path, length) in &found.torn {
        let mut file = files::open(path)?;
        file.seek(SeekFrom::Start(*length))?;
        let mut block = vec![0; 1 << 16];
        loop {
            match file.read(&mut block)? {
                0 => break,
                read => {
                    hash.update(&block[..read]);
                    bytes += read as u64;
                }
            }
        }
        file.set_len(*length)?;
        file.sync_all()?;
    }
    let entries = found.beyond.map_or(0, |beyond| beyond.saturating_sub(found.next));
    Ok((bytes > 0).then(|| Torn { bytes, sha256: hash.finalize().into(), entries }))
}
