//! How what is written becomes durable: by the files of days alone, or sooner.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use super::load;
use super::shared::{Shared, lock};
use crate::write_ahead::{self, LARGEST, Run, WRITE_AHEAD, WriteAhead};

/// The sooner way.
pub(super) struct Ahead {
    pub(super) file: WriteAhead,
    /// Memory.
    run: Run,
}

impl Shared {
    /// Makes what is written last through a power cut, the sooner way if there is one.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Relaxed);
        let mut ahead = lock(&self.ahead);
        let Some(using) = &mut *ahead else {
            drop(ahead);
            return self.settle();
        };
        let written = {
            let mut files = lock(&self.files);
            using.run = files.days.take_run(std::mem::take(&mut using.run));
            load(&self.written)
        };
        if let Err(error) = self.put(using) {
            // What was taken is nowhere but in the day's file.
            tracing::warn!(%error, "the audit log goes on without {WRITE_AHEAD}");
            return self.do_without(&mut ahead);
        }
        self.durable.fetch_max(written, AcqRel);
        Ok(())
    }

    fn put(&self, Ahead { file, run }: &mut Ahead) -> io::Result<()> {
        if run.len() > LARGEST {
            self.settle()?;
        } else {
            if !file.has_room(run) {
                if !file.end_of_other().is_none_or(|end| lock(&self.files).days.is_synced(end)) {
                    self.settle()?;
                }
                file.switch();
                // So that it is, the next time.
                self.is_to_settle.store(true, Release);
                self.wake_keeper();
            }
            file.put(run)?;
        }
        run.clear();
        Ok(())
    }

    /// Begins to use the sooner way, if it is not used yet.
    pub(super) fn hurry(&self) -> io::Result<()> {
        if lock(&self.ahead).is_some() {
            return Ok(());
        }
        // What there may be of such a file is not needed any more.
        self.settle()?;
        let file = WriteAhead::create(&self.directory)?;
        let mut ahead = lock(&self.ahead);
        lock(&self.files).days.keep_runs(true);
        // From here on, all that is not synced yet will be in it.
        if let Err(error) = self.settle() {
            self.do_without(&mut ahead)?;
            return Err(error);
        }
        *ahead = Some(Ahead { file, run: Run::default() });
        Ok(())
    }

    /// Does without it again.
    pub(super) fn calm_down(&self) -> io::Result<()> {
        self.do_without(&mut lock(&self.ahead))
    }

    /// The file stays as long as it may be needed.
    fn do_without(&self, ahead: &mut Option<Ahead>) -> io::Result<()> {
        *ahead = None;
        lock(&self.files).days.keep_runs(false);
        self.settle()?;
        write_ahead::remove(&self.directory)
    }

    /// Makes the files of days last through a power cut.
    pub(super) fn settle(&self) -> io::Result<()> {
        // A file tells of a failure once: to two who sync it at a time, only one of them.
        let settling = lock(&self.settling);
        let mut files = lock(&self.files);
        let written = load(&self.written);
        if let Some(unsynced) = files.days.unsynced()? {
            // Others write meanwhile.
            drop(files);
            let done = unsynced.sync();
            lock(&self.files).days.synced(&unsynced, done)?;
        }
        drop(settling);
        self.durable.fetch_max(written, AcqRel);
        self.wake_waiting();
        Ok(())
    }
}
