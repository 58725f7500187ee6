//! The lines on disk: a file for each day.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::day::Day;
use crate::files;
use crate::write_ahead::Run;

/// How the name of a day's file ends.
pub(crate) const SUFFIX: &str = ".jsonl";

/// Where lines are appended.
pub(crate) struct DayFiles {
    directory: PathBuf,
    current: Option<Current>,
    /// Of all files.
    bytes: u64,
    /// What was appended and nobody has taken, if it is kept.
    run: Option<Run>,
}

struct Current {
    day: Day,
    file: Arc<File>,
    /// Up to the end of the last whole line.
    length: u64,
    /// Up to here it has been synced.
    synced: u64,
    /// Somebody waits for the disk.
    is_syncing: bool,
    /// A sync has failed: what is in memory may no longer be on its way to the disk.
    is_suspect: bool,
}

/// What is to be synced, and what that is then good for.
pub(crate) struct Unsynced {
    file: Arc<File>,
    day: Day,
    length: u64,
}

impl DayFiles {
    /// Goes on in `directory`, after the last line of `day` if there is any.
    pub(crate) fn resume(directory: &Path, day: Option<Day>) -> io::Result<Self> {
        let mut bytes = 0;
        for (_, path) in files::days(directory, SUFFIX)? {
            bytes += path.metadata()?.len();
        }
        let mut this = Self { directory: directory.to_owned(), current: None, bytes, run: None };
        if let Some(day) = day {
            let current = this.open(day)?;
            // Whoever wrote it may have been killed before it was.
            current.file.sync_data()?;
            this.current = Some(current);
        }
        Ok(this)
    }

    /// The day to whose file lines were appended last.
    pub(crate) fn day(&self) -> Option<Day> {
        self.current.as_ref().map(|current| current.day)
    }

    /// Of all days together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So many bytes are gone with files that were pruned.
    pub(crate) fn pruned(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Appends whole lines to the file of that day, which is not before the last.
    ///
    /// # Errors
    /// If not all could be written; then none were, and it can be tried again.
    pub(crate) fn append(&mut self, day: Day, lines: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_none_or(|current| current.day != day) {
            // What is in it is as durable as whatever follows.
            self.sync_last()?;
            self.current = Some(self.open(day)?);
            if let Some(run) = &mut self.run {
                run.clear();
            }
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        if let Err(error) = current.file.write_all_at(lines, current.length) {
            // What stays of a line would be found torn; a full disk may need the room.
            let _torn = current.file.set_len(current.length);
            return Err(error);
        }
        if let Some(run) = &mut self.run {
            run.push(day, current.length, lines);
        }
        current.length += lines.len() as u64;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// From now on keeps what is appended until it is taken, or no more.
    pub(crate) fn keep_runs(&mut self, keep: bool) {
        self.run = keep.then(Run::default);
    }

    /// Takes what was appended since, for `spare`, which is empty.
    pub(crate) fn take_run(&mut self, spare: Run) -> Run {
        match &mut self.run {
            Some(run) => std::mem::replace(run, spare),
            None => spare,
        }
    }

    /// Whether the file of that day is synced as far as that.
    pub(crate) fn is_synced(&self, (day, end): (Day, u64)) -> bool {
        let is_so = |now: &Current| now.day > day || now.day == day && now.synced >= end;
        self.current.as_ref().is_some_and(is_so)
    }

    /// Up to where the last file is synced.
    #[cfg(test)]
    pub(crate) fn synced_up_to(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.synced)
    }

    /// Syncs what was appended.
    fn sync_last(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.as_mut().filter(|current| current.is_syncing) {
            // Whoever does may be the one who is told that it failed.
            current.is_suspect = true;
        }
        match self.unsynced()? {
            Some(unsynced) => {
                let done = unsynced.sync();
                self.synced(&unsynced, done)
            }
            None => Ok(()),
        }
    }

    /// What is to be synced, if anything is. Others may append while that is done.
    pub(crate) fn unsynced(&mut self) -> io::Result<Option<Unsynced>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        if current.synced == current.length {
            return Ok(None);
        }
        if current.is_suspect {
            // A failed sync is told once, and what failed is then taken for written.
            current.write_again()?;
            current.is_suspect = false;
        }
        current.is_syncing = true;
        let Current { ref file, day, length, .. } = *current;
        Ok(Some(Unsynced { file: Arc::clone(file), day, length }))
    }

    /// Notes how [`Unsynced::sync`] went.
    pub(crate) fn synced(&mut self, what: &Unsynced, done: io::Result<()>) -> io::Result<()> {
        if let Some(current) = self.current.as_mut().filter(|current| current.day == what.day) {
            current.is_syncing = false;
            match done {
                Ok(()) => current.synced = current.synced.max(what.length),
                Err(_) => current.is_suspect = true,
            }
        }
        done
    }

    fn open(&self, day: Day) -> io::Result<Current> {
        let path = path(&self.directory, day);
        let is_new = !path.try_exists()?;
        let file = files::open(&path)?;
        if is_new {
            files::sync_directory(&self.directory)?;
        }
        let length = file.metadata()?.len();
        Ok(Current {
            day,
            file: Arc::new(file),
            length,
            synced: length,
            is_syncing: false,
            is_suspect: false,
        })
    }
}

impl Unsynced {
    /// Waits for the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Current {
    fn write_again(&self) -> io::Result<()> {
        let mut at = self.synced;
        let mut block = vec![0; 1 << 20];
        while at < self.length {
            let most = usize::try_from(self.length - at).unwrap_or(usize::MAX).min(block.len());
            self.file.read_exact_at(&mut block[..most], at)?;
            self.file.write_all_at(&block[..most], at)?;
            at += most as u64;
        }
        Ok(())
    }
}

/// The file of a day.
pub(crate) fn path(directory: &Path, day: Day) -> PathBuf {
    directory.join(format!("{day}{SUFFIX}"))
}
