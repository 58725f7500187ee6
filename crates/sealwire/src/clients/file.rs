//! A file of somebody else's: read, and replaced only if it is still what was read.

use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// No client's file is larger; Claude Code keeps much in one.
const MOST: u64 = 64 << 20;
/// With which some editors begin a file.
const BOM: &str = "\u{feff}";

/// A file, as it was read.
#[derive(Debug)]
pub(crate) struct Original {
    /// Where it is, as it is named.
    pub(crate) path: PathBuf,
    /// The file itself, where that is a link.
    target: PathBuf,
    /// `None` if there is none.
    content: Option<Content>,
}

#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    metadata: Metadata,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWritten {
    /// Somebody else has written it.
    #[error("it was changed meanwhile by another program")]
    Changed,
    /// It cannot be.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Original {
    /// Reads the file at `path`, or notes that there is none.
    ///
    /// # Errors
    /// If it is nothing that can be changed, told without showing what it says.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let none = |target: &Path| Self {
            path: path.to_owned(),
            target: target.to_owned(),
            content: None,
        };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.is_symlink() {
                    return Err("it is a link to a file that is not there".to_owned());
                }
                return Ok(none(path));
            }
            Err(error) => return Err(error.to_string()),
        };
        let metadata = fs::metadata(&target).map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("it is no regular file".to_owned());
        }
        if metadata.len() > MOST {
            return Err(format!("it is larger than {MOST} bytes"));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&target).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
        file.map_err(|error| error.to_string())?;
        if std::str::from_utf8(&bytes).is_err() {
            return Err("it is not UTF-8".to_owned());
        }
        Ok(Self { path: path.to_owned(), target, content: Some(Content { bytes, metadata }) })
    }

    /// What it says, without a byte order mark; nothing if there is no file.
    pub(crate) fn text(&self) -> &str {
        let text = self.content.as_ref().and_then(|it| std::str::from_utf8(&it.bytes).ok());
        let text = text.unwrap_or_default();
        text.strip_prefix(BOM).unwrap_or(text)
    }

    /// All of it, as it stands there.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.content.as_ref().map_or(&[], |it| &it.bytes)
    }

    /// Whether there is such a file.
    pub(crate) fn is_there(&self) -> bool {
        self.content.is_some()
    }

    /// Why [`Self::replace`] is not to be tried, if it is not: a file takes the place of this one,
    /// and must be the same to everybody else.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.content.as_ref().is_some_and(|it| it.metadata.permissions().readonly()) {
            return Some("it is read-only".to_owned());
        }
        #[cfg(unix)]
        {
            self.foreign()
        }
        #[cfg(not(unix))]
        None
    }

    #[cfg(unix)]
    fn foreign(&self) -> Option<String> {
        use std::os::unix::fs::MetadataExt;
        let me = rustix::process::geteuid();
        let Some(Content { metadata, .. }) = &self.content else {
            let above = self.target.ancestors().skip(1).find_map(|above| fs::metadata(above).ok());
            let owner = above.map(|above| above.uid()).filter(|owner| me.is_root() && *owner != 0);
            return owner.map(|owner| {
                format!(
                    "there is none yet, and a new one would be root's, in a directory of user \
                     {owner}: run this as that user"
                )
            });
        };
        if metadata.nlink() > 1 {
            return Some(format!(
                "it has {} names (hard links), and would be another file under this one alone",
                metadata.nlink()
            ));
        }
        let is_mine = metadata.uid() == me.as_raw() || me.is_root();
        (!is_mine).then(|| format!("it belongs to user {}: run this as that user", metadata.uid()))
    }

    /// Whether those may read it who are neither its owner nor of its group.
    pub(crate) fn is_readable_by_others(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            self.content.as_ref().is_some_and(|it| it.metadata.permissions().mode() & 0o004 != 0)
        }
        #[cfg(not(unix))]
        false
    }

    /// Puts `text` in its place at once, with the same owner, group and mode: a symbolic link to it
    /// stays one.
    ///
    /// # Errors
    /// [`NotWritten::Changed`] if it is not what was read any more.
    pub(crate) fn replace(&self, text: &str) -> Result<(), NotWritten> {
        let directory = self.target.parent().unwrap_or(Path::new("."));
        if !self.is_there() {
            fs::create_dir_all(directory)?;
        }
        let mut new = tempfile::Builder::new().prefix(".sealwire-").tempfile_in(directory)?;
        if self.content.as_ref().is_some_and(|it| it.bytes.starts_with(BOM.as_bytes())) {
            new.write_all(BOM.as_bytes())?;
        }
        new.write_all(text.as_bytes())?;
        // A new one is for its owner alone: there may be secrets in it one day.
        if let Some(content) = &self.content {
            #[cfg(unix)]
            keep_owner(new.as_file(), &content.metadata)?;
            new.as_file().set_permissions(content.metadata.permissions())?;
        }
        new.as_file().sync_all()?;
        self.check_unchanged()?;
        if self.is_there() {
            new.persist(&self.target).map_err(|error| error.error)?;
        } else {
            // Not in the place of one that was made meanwhile.
            new.persist_noclobber(&self.target).map_err(|error| match error.error.kind() {
                io::ErrorKind::AlreadyExists => NotWritten::Changed,
                _ => error.error.into(),
            })?;
        }
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// As of [`Self::replace`].
    pub(crate) fn remove(&self) -> Result<(), NotWritten> {
        self.check_unchanged()?;
        Ok(fs::remove_file(&self.target)?)
    }

    fn check_unchanged(&self) -> Result<(), NotWritten> {
        let now = match fs::read(&self.path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        match now.as_ref() == self.content.as_ref().map(|it| &it.bytes) {
            true => Ok(()),
            false => Err(NotWritten::Changed),
        }
    }
}

/// `text` with its lines ended as those of `original` are, where all of them are ended in one way.
pub(crate) fn with_line_ends_of(original: &str, text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let lines = original.matches('\n').count();
    match lines > 0 && original.matches("\r\n").count() == lines {
        true => text.replace('\n', "\r\n"),
        false => text,
    }
}

/// Whoever runs this may be root, by `sudo`, and the client is not.
#[cfg(unix)]
fn keep_owner(new: &fs::File, of: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let is = new.metadata()?;
    let uid = (is.uid() != of.uid()).then(|| of.uid());
    let gid = (is.gid() != of.gid()).then(|| of.gid());
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    fchown(new, uid, gid).map_err(|error| {
        let what =
            format!("its owner and group ({}:{}) cannot be kept: {error}", of.uid(), of.gid());
        io::Error::new(error.kind(), what)
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_stays_one_and_the_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "\u{feff}old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        let original = Original::read(&link).unwrap();
        assert_eq!(original.text(), "old");
        original.replace("new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "\u{feff}new");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_another_program_has_written_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let absent = Original::read(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(absent.replace("ours"), Err(NotWritten::Changed)));
        let read = Original::read(&path).unwrap();
        fs::write(&path, "theirs too").unwrap();
        assert!(matches!(read.replace("ours"), Err(NotWritten::Changed)));
        assert!(matches!(read.remove(), Err(NotWritten::Changed)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs too");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_end_as_those_of_the_original() {
        for (original, text, expected) in [
            ("a\r\n", "b\nc\r\n", "b\r\nc\r\n"),
            ("a\n", "b\r\n", "b\n"),
            ("a\r\nb\n", "c\n", "c\n"),
            ("", "b\n", "b\n"),
        ] {
            assert_eq!(with_line_ends_of(original, text), expected);
        }
    }

    #[test]
    fn a_file_of_several_names_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        fs::write(&path, "x").unwrap();
        assert_eq!(Original::read(&path).unwrap().obstacle(), None);
        fs::hard_link(&path, dir.path().join("two")).unwrap();
        let why = Original::read(&path).unwrap().obstacle().unwrap();
        assert!(why.contains("2 names"), "{why}");
    }

    #[test]
    fn what_cannot_be_changed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Original::read(dir.path()).unwrap_err().contains("no regular file"));
        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        assert!(Original::read(&link).unwrap_err().contains("a link to a file"));
        fs::write(dir.path().join("bytes"), [0xff]).unwrap();
        assert!(Original::read(&dir.path().join("bytes")).unwrap_err().contains("UTF-8"));
    }
}
