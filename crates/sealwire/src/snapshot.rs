use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use zeroize::Zeroizing;

/// Most bytes of a file that count; no configuration, certificate or key is larger.
const MOST: u64 = 8 << 20;

/// What some files hold at one moment: equal to another snapshot of them if no byte and no
/// permission bit differs. Times do not count, so that a touch is no change.
///
/// The files' contents are not kept, only a hash of them under a key of this process: keys
/// are among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Result<u64, io::ErrorKind>>);

impl Snapshot {
    /// Looks at these files. That one is not there, or cannot be read, is part of the
    /// snapshot too.
    pub fn take(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let look = |file: PathBuf| {
            let content = content(&file).map_err(|error| error.kind());
            (file, content)
        };
        Self(files.into_iter().map(look).collect())
    }

    /// The files that differ, or are in one of the two alone.
    pub fn changed_since<'a>(&'a self, earlier: &'a Self) -> Vec<&'a Path> {
        let differ = self.0.iter().filter(|(file, held)| earlier.0.get(*file) != Some(*held));
        let gone = earlier.0.keys().filter(|file| !self.0.contains_key(*file));
        differ.map(|(file, _)| file.as_path()).chain(gone.map(PathBuf::as_path)).collect()
    }
}

fn content(path: &Path) -> io::Result<u64> {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    // Opening a named pipe would wait for somebody to write to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let mut hasher = KEY.get_or_init(RandomState::new).build_hasher();
    hasher.write_u32(permissions(&file.metadata()?));
    let mut file = file.take(MOST);
    let mut chunk = Zeroizing::new([0; 8192]);
    loop {
        match file.read(chunk.as_mut()) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => chunk[..length].iter().for_each(|byte| hasher.write_u8(*byte)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn permissions(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o777
}

#[cfg(not(unix))]
fn permissions(_: &Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_count_and_times_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let now = || Snapshot::take([a.clone(), b.clone()]);
        fs::write(&a, "one").unwrap();
        let first = now();
        fs::write(&a, "one").unwrap();
        assert_eq!(now(), first);
        fs::write(&b, "two").unwrap();
        let second = now();
        assert_eq!(second.changed_since(&first), [b.as_path()]);
        fs::write(&a, "eno").unwrap();
        assert_eq!(now().changed_since(&second), [a.as_path()]);
        fs::remove_file(&a).unwrap();
        assert_eq!(now().changed_since(&second), [a.as_path()]);
        assert_eq!(Snapshot::take([b.clone()]).changed_since(&second), [a.as_path()]);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_has_changed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let first = Snapshot::take([key.clone()]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(Snapshot::take([key.clone()]), first);
    }

    #[test]
    fn a_directory_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::take([dir.path().to_owned()]);
        assert_eq!(snapshot.0[dir.path()], Err(io::ErrorKind::InvalidInput));
    }
}
