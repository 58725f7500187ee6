//! Who has started a server on this machine: each such `connect` holds a file locked that says so,
//! for as long as its conversation lasts.
//!
//! So `status`, metrics and `quarantine` know of them whether a `serve` runs or not; and as a lock
//! ends with its process, however that ends, nothing is counted that is gone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use sealwire::home::Home;
use sealwire::state::make_private_directory;
use sealwire_names::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest file that is read, in bytes; a name is much shorter.
const MAX_FILE: u64 = 4096;
/// Most of them that are looked at.
const MOST: usize = 10_000;

/// A conversation with a server that its `connect` has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalConversation {
    /// The server, by its name on the wire.
    pub(crate) server: String,
    /// The process of `connect`.
    pub(crate) process: u32,
    /// Since when, in milliseconds since 1970.
    pub(crate) since: i64,
}

/// That there is one: until it is dropped.
pub(crate) struct Announced {
    path: PathBuf,
    _lock: File,
}

/// Lets others know that this process has started a server.
///
/// # Errors
/// If there is no place for the file. The conversation itself needs none.
pub(crate) fn announce(home: &Home, server: &str) -> io::Result<Announced> {
    let directory = home.local_dir();
    make_private_directory(&home.run_dir())?;
    make_private_directory(&directory)?;
    let (process, since) = (std::process::id(), Timestamp::from(SystemTime::now()).unix_millis());
    let conversation = LocalConversation { server: server.to_owned(), process, since };
    // Nobody looks at it before it is locked and whole.
    let (new, path) = (directory.join(format!(".{process}")), directory.join(process.to_string()));
    let mut options = OpenOptions::new();
    let mut lock = options.write(true).create(true).truncate(false).mode(0o600).open(&new)?;
    lock.lock()?;
    lock.set_len(0)?;
    lock.write_all(&serde_json::to_vec(&conversation)?)?;
    fs::rename(&new, &path)?;
    Ok(Announced { path, _lock: lock })
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

/// All that there are now. What is left of processes that were killed is removed.
pub(crate) fn local_conversations(home: &Home) -> Vec<LocalConversation> {
    let Ok(files) = fs::read_dir(home.local_dir()) else { return Vec::new() };
    let paths = files.filter_map(|file| Some(file.ok()?.path())).take(MOST);
    let named = paths.filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.'))
    });
    let mut found: Vec<_> = named.filter_map(read).collect();
    found.sort_by_key(|conversation| (conversation.since, conversation.process));
    found
}

fn read(path: PathBuf) -> Option<LocalConversation> {
    let file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) => {
            // Its process has the lock before the file has this name.
            let _gone = fs::remove_file(&path);
            return None;
        }
        Err(TryLockError::Error(_)) => return None,
    }
    serde_json::from_reader(io::Read::take(file, MAX_FILE)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_gone_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        assert!(local_conversations(&home).is_empty());
        let announced = announce(&home, "files").unwrap();
        let found = local_conversations(&home);
        assert_eq!((found.len(), found[0].server.as_str()), (1, "files"));
        assert_eq!(found[0].process, std::process::id());
        // One that was killed leaves its file, and no lock.
        let left = home.local_dir().join("1");
        fs::write(&left, r#"{"server":"files","process":1,"since":0}"#).unwrap();
        assert_eq!(local_conversations(&home), found);
        assert!(!left.exists());
        drop(announced);
        assert!(local_conversations(&home).is_empty());
    }
}
