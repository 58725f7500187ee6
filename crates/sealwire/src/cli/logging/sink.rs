//! Where the log's bytes go.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the log's path is looked at, to notice that somebody has renamed the file.
const LOOK: Duration = Duration::from_secs(1);

/// Standard error, or a file.
#[derive(Debug)]
pub(super) enum Sink {
    StandardError,
    File(LogFile),
}

/// A file that is appended to, and made again when it is no longer at its path.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
    /// Why no new file could be made when it was last tried.
    stuck: Option<String>,
}

impl Sink {
    /// Opens a file, or makes it for its owner alone.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let (path, looked) = (path.to_owned(), Instant::now());
        Ok(Self::File(LogFile { path, file, looked, stuck: None }))
    }

    /// What to call it in a message about it; `None` for standard error, about which
    /// nothing can be said anywhere.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::StandardError => None,
            Self::File(file) => Some(file.path.display().to_string()),
        }
    }

    /// Follows the path, now and then. `true` if it leads to another file now.
    ///
    /// # Errors
    /// If it leads to none and none can be made; the old file stays in use.
    pub(super) fn refresh(&mut self) -> io::Result<bool> {
        match self {
            Self::StandardError => Ok(false),
            Self::File(file) => file.refresh(),
        }
    }

    /// Writes all it can: how many bytes, and why not all.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            let more = match self {
                Self::StandardError => io::stderr().lock().write(&bytes[written..]),
                Self::File(file) => file.file.write(&bytes[written..]),
            };
            match more {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

impl LogFile {
    fn refresh(&mut self) -> io::Result<bool> {
        if self.looked.elapsed() < LOOK {
            return self.stuck.clone().map_or(Ok(false), |why| Err(io::Error::other(why)));
        }
        self.looked = Instant::now();
        self.stuck = None;
        if is_at(&self.file, &self.path) {
            return Ok(false);
        }
        self.file = open(&self.path).inspect_err(|why| self.stuck = Some(why.to_string()))?;
        Ok(true)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether `path` still leads to `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Where files have no numbers, an open one cannot be renamed either.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
