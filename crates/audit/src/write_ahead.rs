//! What was appended last, once more, where a disk has it soonest.
//!
//! To sync a file that grows, a file system writes the data and then a journal of its own: its
//! size has changed. A file of fixed size whose blocks are all there takes one write. So what goes
//! to the file of a day is put here, too, and what waits for the disk waits for this; the day's
//! file is synced in its own time, and before it is signed. After a power cut, [`recover`] appends
//! to it what it has lost.
//!
//! The file has two halves. Records go to one until it is full, and then to the other, once the
//! day's file is synced as far as that says. A record is a header, lines as they are in the day's
//! file, and zeros up to the next block; docs/spec/audit.md §1.1 has its bytes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use sealwire_names::Timestamp;
use sha2::{Digest, Sha256};

use crate::day::Day;
use crate::{day_files, files};

/// The file.
pub(crate) const WRITE_AHEAD: &str = "write-ahead";
/// What a disk writes at once; unbuffered writes are whole ones, from memory that begins at one.
const BLOCK: usize = 4096;
const HALF: usize = 8 * 1024 * 1024;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
const MAGIC: &[u8; 8] = b"sealwa/1";
/// The magic, and three numbers; then the hash.
const HASHED: usize = 8 + 4 * 8;
const HEADER: usize = HASHED + 32;
/// Lines beyond this are synced where they are: then the journal is the lesser part.
pub(crate) const LARGEST: usize = 256 * 1024;

/// Lines that follow one another in the file of a day.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Where they begin; `None` if there are none.
    start: Option<(Day, u64)>,
    lines: Vec<u8>,
}

impl Run {
    /// Appends lines that begin there, where those before end.
    pub(crate) fn push(&mut self, day: Day, offset: u64, lines: &[u8]) {
        self.start.get_or_insert((day, offset));
        self.lines.extend_from_slice(lines);
    }

    pub(crate) fn clear(&mut self) {
        self.start = None;
        self.lines.clear();
        self.lines.shrink_to(LARGEST);
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Where they end.
    fn end(&self) -> Option<(Day, u64)> {
        self.start.map(|(day, offset)| (day, offset + self.lines.len() as u64))
    }
}

/// The file, to be written.
#[derive(Debug)]
pub(crate) struct WriteAhead {
    file: File,
    /// Room for a record, from `aligned` on.
    buffer: Vec<u8>,
    aligned: usize,
    /// Of the half that is written to.
    generation: u64,
    /// Up to where it is written, in bytes.
    at: usize,
    /// Where the lines of both halves end: of this one, and of the other one.
    ends: [Option<(Day, u64)>; 2],
}

impl WriteAhead {
    /// Makes the file, in place of any there is: nothing that it says may be needed any more.
    ///
    /// # Errors
    /// If there is no room for it, or it cannot be made.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(WRITE_AHEAD);
        remove(directory)?;
        // Zeros that are written: a block that is only promised changes the file when it comes.
        let mut made = files::open(&path)?;
        let written = (0..2 * HALF / ZEROS.len()).try_for_each(|_| made.write_all(&ZEROS));
        if let Err(error) = written.and_then(|()| made.sync_all()) {
            // Whoever has no room for it needs what it took.
            remove(directory)?;
            return Err(error);
        }
        files::sync_directory(directory)?;
        let open = |flags: OFlags| {
            let flags = (OFlags::DSYNC | flags).bits();
            files::options().write(true).custom_flags(flags.cast_signed()).open(&path)
        };
        // Past the page cache, where the file system can: then a write is the disk's and no more.
        let file = open(DIRECT).or_else(|_| open(OFlags::empty()))?;
        let buffer = vec![0; HEADER.next_multiple_of(BLOCK) + LARGEST + BLOCK];
        let address = buffer.as_ptr().addr();
        let aligned = address.next_multiple_of(BLOCK) - address;
        Ok(Self { file, buffer, aligned, generation: 1, at: 0, ends: [None; 2] })
    }

    /// From now on, nothing can be written.
    #[cfg(test)]
    pub(crate) fn fail(&mut self) {
        self.file = File::open("/dev/null").unwrap();
    }

    /// Whether there is room for lines of that length before the other half is needed.
    pub(crate) fn has_room(&self, run: &Run) -> bool {
        self.at + padded(run.len()) <= HALF
    }

    /// Up to where the day's file must be synced before the other half is needed.
    pub(crate) fn end_of_other(&self) -> Option<(Day, u64)> {
        self.ends[1]
    }

    /// Goes on with the other half.
    pub(crate) fn switch(&mut self) {
        self.generation += 1;
        self.at = 0;
        self.ends = [None, self.ends[0]];
    }

    /// Writes lines, and waits for the disk. There is room for them, and they are at most
    /// [`LARGEST`].
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn put(&mut self, run: &Run) -> io::Result<()> {
        let Some((day, offset)) = run.start else { return Ok(()) };
        let length = padded(run.len());
        let record = &mut self.buffer[self.aligned..self.aligned + length];
        let (head, rest) = record.split_at_mut(HEADER);
        head[..8].copy_from_slice(MAGIC);
        let day = day.start().unix_millis().cast_unsigned();
        for (at, number) in [self.generation, day, offset, run.len() as u64].into_iter().enumerate()
        {
            head[8 + 8 * at..16 + 8 * at].copy_from_slice(&number.to_be_bytes());
        }
        rest[..run.len()].copy_from_slice(&run.lines);
        rest[run.len()..].fill(0);
        let hash = hash(&head[..HASHED], &run.lines);
        head[HASHED..].copy_from_slice(hash.as_ref());
        let half = usize::from(self.generation.is_multiple_of(2)) * HALF;
        self.file.write_all_at(record, (half + self.at) as u64)?;
        self.at += length;
        self.ends[0] = run.end();
        Ok(())
    }
}

#[cfg(target_os = "linux")]
const DIRECT: OFlags = OFlags::DIRECT;
#[cfg(not(target_os = "linux"))]
const DIRECT: OFlags = OFlags::empty();

/// How many bytes a record of so many is.
fn padded(lines: usize) -> usize {
    (HEADER + lines).next_multiple_of(BLOCK)
}

fn hash(head: &[u8], lines: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(head).chain_update(lines).finalize().into()
}

/// What was found there, and put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// How many bytes a day's file had lost.
    pub(crate) bytes: u64,
    /// Up to here, lines had reached the disk.
    pub(crate) end: Option<(Day, u64)>,
}

/// Puts back what the files of days have lost of what is there. The file stays until it is removed.
///
/// # Errors
/// If a file cannot be read or written; `InvalidData` if what is there does not follow what a
/// day's file has, or is not what that says: no power cut does that.
pub(crate) fn recover(directory: &Path) -> io::Result<Restored> {
    let mut content = Vec::new();
    match File::open(directory.join(WRITE_AHEAD)) {
        Ok(file) => file.take(2 * HALF as u64).read_to_end(&mut content)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restored::default()),
        Err(error) => return Err(error),
    };
    // Before another day was begun, the file of the one before was synced. It may be pruned by now.
    let last = files::days(directory, day_files::SUFFIX)?.pop().map(|(day, _)| day);
    let mut restored = Restored::default();
    for record in records(&content).iter().filter(|record| Some(record.day) >= last) {
        let file = open_day(directory, record.day)?;
        restored.bytes += restore(&file, record)?;
        restored.end = Some((record.day, record.offset + record.lines.len() as u64));
        file.sync_data()?;
    }
    Ok(restored)
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
struct Record<'b> {
    generation: u64,
    day: Day,
    offset: u64,
    lines: &'b [u8],
}

/// The records of both halves, in the order in which they were written.
fn records(content: &[u8]) -> Vec<Record<'_>> {
    let mut halves: Vec<Vec<Record<'_>>> = content.chunks(HALF).map(records_of_half).collect();
    halves.sort_by_key(|half| half.first().map(|record| record.generation));
    halves.into_iter().flatten().collect()
}

/// Those up to the first that is not whole, or was there before the half was begun anew.
fn records_of_half(mut half: &[u8]) -> Vec<Record<'_>> {
    let mut records: Vec<Record<'_>> = Vec::new();
    while let Some(record) = Record::read(half)
        && records.first().is_none_or(|first| first.generation == record.generation)
    {
        half = half.get(padded(record.lines.len())..).unwrap_or_default();
        records.push(record);
    }
    records
}

impl<'b> Record<'b> {
    /// The one that a half begins with, if that is whole.
    fn read(half: &'b [u8]) -> Option<Self> {
        let (magic, rest) = half.split_first_chunk::<8>()?;
        let (numbers, rest) = rest.split_first_chunk::<32>()?;
        let (said, rest) = rest.split_first_chunk::<32>()?;
        let mut numbers =
            numbers.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number));
        let (generation, day, offset) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let lines = rest.get(..usize::try_from(numbers.next()?).ok()?)?;
        let is_whole = magic == MAGIC && hash(&half[..HASHED], lines).as_ref() == said;
        let day = Day::of(Timestamp::from_unix_millis(day.cast_signed()));
        is_whole.then_some(Self { generation, day, offset, lines })
    }
}

fn open_day(directory: &Path, day: Day) -> io::Result<File> {
    let path = day_files::path(directory, day);
    let is_new = !path.try_exists()?;
    let file = files::open(&path)?;
    if is_new {
        files::sync_directory(directory)?;
    }
    Ok(file)
}

/// Writes to the day's file what it lacks of a record, and how many bytes that is.
fn restore(file: &File, record: &Record<'_>) -> io::Result<u64> {
    let Record { day, offset, lines, .. } = *record;
    let differs = |what: &str| {
        let why = format!("{WRITE_AHEAD} has lines of {day} from byte {offset} on, and {what}");
        io::Error::new(io::ErrorKind::InvalidData, why)
    };
    let Some(common) = file.metadata()?.len().checked_sub(offset) else {
        return Err(differs("the file of that day ends before"));
    };
    let common = usize::try_from(common).unwrap_or(usize::MAX).min(lines.len());
    let mut there = vec![0; common];
    file.read_exact_at(&mut there, offset)?;
    let whole = match there == lines[..common] {
        true => common,
        // What never reached the disk in the midst of a file reads as zeros, of which no line has
        // any.
        false if there.iter().zip(lines).any(|(is, was)| is != was && *is != 0) => {
            return Err(differs("the file of that day has others there"));
        }
        false => there.iter().zip(lines).take_while(|(is, was)| is == was).count(),
    };
    file.write_all_at(&lines[whole..], offset + whole as u64)?;
    Ok((lines.len() - whole) as u64)
}

/// Removes the file, if there is one.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(WRITE_AHEAD)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => files::sync_directory(directory),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn run(day: Day, offset: u64, lines: &[u8]) -> Run {
        let mut run = Run::default();
        run.push(day, offset, lines);
        run
    }

    /// Lines of these lengths, no two alike, put after one another for one day.
    fn written(directory: &Path, day: Day, lengths: &[usize]) -> (WriteAhead, Vec<u8>) {
        let mut ahead = WriteAhead::create(directory).unwrap();
        let mut all = Vec::new();
        for (at, length) in lengths.iter().enumerate() {
            let lines = vec![b'a' + (at % 26) as u8; *length];
            let run = run(day, all.len() as u64, &lines);
            if !ahead.has_room(&run) {
                ahead.switch();
            }
            ahead.put(&run).unwrap();
            all.extend_from_slice(&lines);
        }
        (ahead, all)
    }

    #[test]
    fn what_a_day_has_lost_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let today = day("2026-11-23");
        let path = day_files::path(dir.path(), today);
        let (_ahead, all) = written(dir.path(), today, &[1, 5_000, 4_024, 4_025, 100]);
        let mut holes = all.clone();
        holes[2_000..9_000].fill(0);
        for (there, restored) in [
            (&all[..], 0),
            (&all[..all.len() - 1], 1),
            (&all[..7_000], all.len() - 7_000),
            (&all[..0], all.len()),
            (&holes, 0),
            (&holes[..12_000], all.len() - 12_000),
        ] {
            fs::write(&path, there).unwrap();
            let put_back = recover(dir.path()).unwrap().bytes;
            assert!(put_back >= restored as u64, "{put_back} of {restored}");
            assert_eq!(fs::read(&path).unwrap(), all);
            assert_eq!(recover(dir.path()).unwrap().bytes, 0);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(recover(dir.path()).unwrap().bytes, all.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), all);

        // What stands after it was not lost.
        let more = [&all[..], b"more\n"].concat();
        fs::write(&path, &more).unwrap();
        assert_eq!(recover(dir.path()).unwrap().bytes, 0);
        assert_eq!(fs::read(&path).unwrap(), more);

        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(recover(dir.path()).unwrap().bytes, 0);
    }

    #[test]
    fn the_halves_take_turns_and_the_newest_is_last() {
        let dir = tempfile::tempdir().unwrap();
        let today = day("2026-11-23");
        let path = day_files::path(dir.path(), today);
        // Two halves and a half, of records that are no divisor of one.
        let lengths = vec![LARGEST; 5 * HALF / 2 / LARGEST];
        let (ahead, all) = written(dir.path(), today, &lengths);
        assert_eq!(ahead.generation, 3);
        let (_, settled) = ahead.end_of_other().unwrap();
        let kept = records(&fs::read(dir.path().join(WRITE_AHEAD)).unwrap()).len();
        let half = HALF / padded(LARGEST);
        assert!(kept > half && kept <= 2 * half, "{kept}");
        // The oldest half is gone, and was settled before.
        for there in [settled - (half * LARGEST) as u64, settled, settled + 1] {
            fs::write(&path, &all[..usize::try_from(there).unwrap()]).unwrap();
            assert_eq!(recover(dir.path()).unwrap().bytes, all.len() as u64 - there);
            assert_eq!(fs::read(&path).unwrap(), all);
        }
    }

    #[test]
    fn what_no_power_cut_does_is_an_error_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let today = day("2026-11-23");
        let path = day_files::path(dir.path(), today);
        let (mut ahead, all) = written(dir.path(), today, &[100, 200]);
        ahead.put(&run(today, 400, b"later\n")).unwrap();
        let mut altered = all.clone();
        altered[50] ^= 1;
        for (there, expected) in [(&all, "ends before"), (&altered, "has others there")] {
            fs::write(&path, there).unwrap();
            let error = recover(dir.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(&fs::read(&path).unwrap(), there);
        }
    }

    #[test]
    fn a_day_before_the_last_needs_nothing_and_may_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut ahead, _) = written(dir.path(), day("2026-11-22"), &[100, 200]);
        ahead.put(&run(day("2026-11-23"), 0, b"new\n")).unwrap();
        fs::write(day_files::path(dir.path(), day("2026-11-23")), "").unwrap();
        assert_eq!(recover(dir.path()).unwrap().bytes, 4);
        assert!(!day_files::path(dir.path(), day("2026-11-22")).exists());
    }

    #[test]
    fn a_record_that_is_torn_ends_its_half() {
        let dir = tempfile::tempdir().unwrap();
        let today = day("2026-11-23");
        let (_ahead, _) = written(dir.path(), today, &[5_000, 5_000, 5_000]);
        let content = fs::read(dir.path().join(WRITE_AHEAD)).unwrap();
        assert_eq!(records(&content).len(), 3);
        for (at, whole) in [(0, 0), (20, 0), (60, 0), (5_000, 0), (8_192, 1), (17_000, 2)] {
            let mut torn = content.clone();
            torn[at] ^= 1;
            assert_eq!(records(&torn).len(), whole, "byte {at}");
        }
        // Padding says nothing.
        let mut padding = content;
        padding[8_191] = 1;
        assert_eq!(records(&padding).len(), 3);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(content: Vec<u8>, length: u64, cut in 0..5_000_usize) {
            let mut record = b"sealwa/1".to_vec();
            for number in [1, u64::MAX, u64::MAX, length] {
                record.extend_from_slice(&number.to_be_bytes());
            }
            record.extend_from_slice(hash(&record, b"").as_ref());
            record.extend_from_slice(&content);
            record.truncate(cut);
            let _any = records(&record);
            let _any = records(&content);
        }
    }
}
