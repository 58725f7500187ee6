use std::fs::File;
use std::io;
use std::path::Path;

use super::files;

/// One writer at a time among all processes, and each in its turn.
///
/// SQLite's own lock has no queue: who waits sleeps and tries again, so that a process that
/// commits all the time keeps out the others for seconds. Here a waiting process holds `turn`
/// and sleeps in the kernel for `writer`; whoever just wrote must wait for `turn` like anybody
/// else. The system ends both locks with the process, however it ends.
pub(super) struct Turnstile {
    turn: File,
    writer: File,
}

impl Turnstile {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let lock = |name| files::open_or_create(&directory.join(name));
        Ok(Self { turn: lock("turn")?, writer: lock("writer")? })
    }

    pub(super) fn enter(&self) -> io::Result<Pass<'_>> {
        self.turn.lock()?;
        let entered = self.writer.lock();
        self.turn.unlock()?;
        entered?;
        Ok(Pass(&self.writer))
    }
}

/// The right to write, until dropped.
pub(super) struct Pass<'a>(&'a File);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // It fails only for a file that is not open.
        let _ended = self.0.unlock();
    }
}
