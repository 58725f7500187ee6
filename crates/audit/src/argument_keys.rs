//! The keys by which arguments are hashed, one for each day.
//!
//! Whoever has the arguments of a call can show that they are those of an entry, as long as the
//! key of its day is there; whoever has only the entry, or entries and guesses but not the key,
//! learns nothing. With the key, which goes when the day is pruned, the link is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::rand;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::day::Day;
use crate::files;

/// Bytes of a key.
const LENGTH: usize = 32;

pub(crate) struct ArgumentKeys {
    directory: PathBuf,
    current: RwLock<Option<(Day, Hmac<Sha256>)>>,
}

impl ArgumentKeys {
    /// Those of that log directory. Nothing is made yet.
    pub(crate) fn at(log: &Path) -> Self {
        Self { directory: log.join("argument-keys"), current: RwLock::default() }
    }

    /// The hash of arguments on that day.
    ///
    /// # Errors
    /// If the key of the day cannot be read or made.
    pub(crate) fn hash(&self, day: Day, arguments: &[u8]) -> io::Result<[u8; LENGTH]> {
        let key = self.key(day)?;
        Ok(key.chain_update(arguments).finalize().into_bytes().into())
    }

    fn key(&self, day: Day) -> io::Result<Hmac<Sha256>> {
        if let Some((of, key)) = &*self.current.read().unwrap_or_else(PoisonError::into_inner)
            && *of == day
        {
            return Ok(key.clone());
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((of, key)) if *of == day => return Ok(key.clone()),
            _ => {}
        }
        let key = Hmac::new_from_slice(&self.load(day)?).map_err(io::Error::other)?;
        *current = Some((day, key.clone()));
        Ok(key)
    }

    /// Reads the key of a day, or makes it.
    fn load(&self, day: Day) -> io::Result<[u8; LENGTH]> {
        let path = self.directory.join(day.to_string());
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                let why = format!("{} is no key of {LENGTH} bytes", path.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; LENGTH];
                rand::fill(&mut key).map_err(|_| io::Error::other("there are no random bytes"))?;
                files::make_directory(&self.directory)?;
                files::replace(&path, &key)?;
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }

    /// Destroys the keys of all days before that one.
    ///
    /// # Errors
    /// If one of them cannot be removed; others may have been.
    pub(crate) fn destroy_before(&self, day: Day) -> io::Result<()> {
        let mut is_changed = false;
        for (of, path) in files::days(&self.directory, "")? {
            if of < day {
                fs::remove_file(path)?;
                is_changed = true;
            }
        }
        if is_changed { files::sync_directory(&self.directory) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_its_day_and_then_destroyed() {
        let log = tempfile::tempdir().unwrap();
        let days: Vec<Day> =
            ["2026-01-01", "2026-01-02"].iter().map(|day| day.parse().unwrap()).collect();
        let keys = ArgumentKeys::at(log.path());
        let first = keys.hash(days[0], b"{}").unwrap();
        assert_ne!(keys.hash(days[1], b"{}").unwrap(), first);
        assert_ne!(keys.hash(days[0], b"{ }").unwrap(), first);
        // Another process, later.
        let keys = ArgumentKeys::at(log.path());
        assert_eq!(keys.hash(days[0], b"{}").unwrap(), first);
        let file = log.path().join("argument-keys/2026-01-01");
        assert_eq!(fs::metadata(&file).unwrap().len(), 32);
        keys.destroy_before(days[1]).unwrap();
        assert!(!file.exists());
        assert!(log.path().join("argument-keys/2026-01-02").exists());
    }

    /// RFC 4231 §4.2; a key that is shorter than a block is filled with zeros (RFC 2104 §2).
    #[test]
    fn it_is_an_hmac_with_sha_256() {
        let log = tempfile::tempdir().unwrap();
        fs::create_dir(log.path().join("argument-keys")).unwrap();
        let key = [[0x0b; 20].as_slice(), &[0; 12]].concat();
        fs::write(log.path().join("argument-keys/2026-01-01"), key).unwrap();
        let keys = ArgumentKeys::at(log.path());
        let hash = keys.hash("2026-01-01".parse().unwrap(), b"Hi There").unwrap();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn what_is_no_key_is_not_replaced() {
        let log = tempfile::tempdir().unwrap();
        fs::create_dir(log.path().join("argument-keys")).unwrap();
        let file = log.path().join("argument-keys/2026-01-01");
        fs::write(&file, b"short").unwrap();
        let keys = ArgumentKeys::at(log.path());
        keys.hash("2026-01-01".parse().unwrap(), b"").unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"short");
    }
}
