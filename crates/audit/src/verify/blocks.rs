//! Reading a whole log fast: blocks of lines, checked and hashed by a few threads, and given
//! back in order. What is held at a time is a few blocks, however long the log is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};

use crate::MAX_LINE;
use crate::files;
use crate::text::parse_line;
use crate::tree::TreeHash;

/// Bytes of a block; each has at least one whole line of any length.
const BLOCK: usize = 1 << 20;
/// Threads that check: more do not help, as one reads and builds the tree.
const MAX_WORKERS: usize = 4;

/// A file with lines, as long as it was when that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// What was found in a block.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Which of the files it is from.
    pub(crate) file: usize,
    /// The number of its first entry.
    pub(crate) first: Option<u64>,
    /// The leaf hashes of its entries, which have consecutive numbers.
    pub(crate) hashes: Vec<TreeHash>,
    /// The times of its first and its last entry.
    pub(crate) times: Option<(i64, i64)>,
    /// The first entries that are kept, by the entries in it that tell of a prune.
    pub(crate) prunes: Vec<u64>,
    /// Bytes that were looked at.
    pub(crate) bytes: u64,
    /// What is wrong with the line after those.
    pub(crate) bad: Option<Bad>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is not as entries are written.
    NotCanonical { byte: usize },
    /// It is another entry than the one that comes next.
    OutOfOrder { entry: u64 },
    /// It is longer than a line may be.
    TooLong,
    /// The file ends within it.
    Torn { bytes: u64 },
}

/// Whole lines, after a byte that is none of theirs, and what follows the last line feed where
/// the file ends.
struct Block {
    file: usize,
    bytes: Vec<u8>,
    is_last: bool,
    answer: SyncSender<Checked>,
}

/// Reads all files and gives what is in them, in order, until `take` breaks.
pub(crate) fn walk(
    sources: &[Source],
    mut take: impl FnMut(Checked) -> ControlFlow<()>,
) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS);
    let (jobs, queue) = mpsc::sync_channel::<Block>(workers);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(block) = job else { break };
                    let answer = block.answer.clone();
                    // Nobody waits for it any more if something bad came before.
                    let _gone = answer.send(check(block));
                }
            });
        }
        // Dropped with everything that may wait for it, so that the workers end.
        let jobs = jobs;
        let mut waiting: VecDeque<Receiver<Checked>> = VecDeque::new();
        let mut next = |waiting: &mut VecDeque<Receiver<Checked>>| match waiting
            .pop_front()
            .map(|answer| answer.recv())
        {
            None => ControlFlow::Continue(()),
            Some(Ok(checked)) => take(checked),
            Some(Err(_)) => ControlFlow::Break(()),
        };
        for (at, source) in sources.iter().enumerate() {
            let mut reader = Reader::open(source)?;
            while let Some((bytes, is_last)) = reader.next()? {
                let (answer, checked) = mpsc::sync_channel(1);
                if jobs.send(Block { file: at, bytes, is_last, answer }).is_err() {
                    return Ok(());
                }
                waiting.push_back(checked);
                if waiting.len() > 2 * workers && next(&mut waiting).is_break() {
                    return Ok(());
                }
            }
        }
        while !waiting.is_empty() {
            if next(&mut waiting).is_break() {
                break;
            }
        }
        Ok(())
    })
}

struct Reader<'s> {
    source: &'s Source,
    file: io::Take<File>,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
    is_done: bool,
}

impl<'s> Reader<'s> {
    fn open(source: &'s Source) -> io::Result<Self> {
        let file = File::open(&source.path).map_err(|error| files::at(&source.path, &error))?;
        let file = file.take(source.length);
        Ok(Self { source, file, rest: Vec::new(), is_done: false })
    }

    /// The next block, and whether it is the last of the file.
    fn next(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        if self.is_done {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(1 + self.rest.len() + BLOCK);
        bytes.push(b'\n');
        bytes.append(&mut self.rest);
        let wanted = BLOCK as u64;
        let read = self.file.by_ref().take(wanted).read_to_end(&mut bytes);
        let read = read.map_err(|error| files::at(&self.source.path, &error))?;
        if (read as u64) < wanted {
            self.is_done = true;
            return Ok((bytes.len() > 1).then_some((bytes, true)));
        }
        let end = memchr::memrchr(b'\n', &bytes).unwrap_or_default();
        if end > 0 {
            self.rest = bytes.split_off(end + 1);
        } else {
            // A block without a line feed is too long a line: that is all there is to find.
            self.is_done = true;
        }
        Ok(Some((bytes, self.is_done)))
    }
}

fn check(block: Block) -> Checked {
    let Block { file, mut bytes, is_last, .. } = block;
    let mut checked = Checked { file, bytes: bytes.len() as u64 - 1, ..Checked::default() };
    checked.hashes.reserve(bytes.len() / 256);
    let mut start = 1;
    while start < bytes.len() {
        let Some(length) = memchr::memchr(b'\n', &bytes[start..]) else {
            let bytes = (bytes.len() - start) as u64;
            debug_assert!(is_last);
            let is_long = bytes > MAX_LINE as u64;
            checked.bad = Some(if is_long { Bad::TooLong } else { Bad::Torn { bytes } });
            break;
        };
        let end = start + length;
        if let Err(bad) = line(&mut checked, &bytes[start..end]) {
            checked.bad = Some(bad);
            break;
        }
        // A leaf hash is over a zero and the line: the byte before it is done with.
        bytes[start - 1] = 0;
        checked.hashes.push(TreeHash(Sha256::digest(&bytes[start - 1..end]).into()));
        start = end + 1;
    }
    checked
}

fn line(checked: &mut Checked, line: &[u8]) -> Result<(), Bad> {
    if line.len() > MAX_LINE {
        return Err(Bad::TooLong);
    }
    let head = parse_line(line).map_err(|error| Bad::NotCanonical { byte: error.at })?;
    let next = checked.first.map(|first| first + checked.hashes.len() as u64);
    if next.is_some_and(|next| next != head.entry) {
        return Err(Bad::OutOfOrder { entry: head.entry });
    }
    checked.first.get_or_insert(head.entry);
    let (first, _) = checked.times.unwrap_or((head.time, head.time));
    checked.times = Some((first, head.time));
    if head.kind == "log.prune" {
        checked.prunes.extend(number(line, "\"first_entry\":"));
    }
    Ok(())
}

/// The number after that name, in a canonical line.
fn number(line: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once(name)?;
    rest.split([',', '}']).next()?.parse().ok()
}
