//! The files beside the database, and their modes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The directory beside the database: `state.db` → `state.db-mail`.
pub(super) fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-mail");
    name.into()
}

/// Opens a file for reading and writing, and makes it, for its owner alone, if it is not there.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| named(path, &error))
}

/// Makes a directory for its owner alone, unless it is there.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| named(path, &error))
}

/// Refuses what others can read or change: who talks to whom is nobody else's business, and who
/// can write here can destroy mail.
pub(super) fn check_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions());
        if mode & 0o077 != 0 {
            let mode = mode & 0o777;
            let problem = format!(
                "{} can be used by others (mode {mode:04o}); chmod go-rwx it",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// What tells a file from its copy: the inode. Where there is none, 0, and copies are told by
/// the witness alone.
pub(super) fn number_of(path: &Path) -> io::Result<i64> {
    let metadata = fs::metadata(path).map_err(|error| named(path, &error))?;
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::ino(&metadata).cast_signed());
    #[cfg(not(unix))]
    {
        let _ = metadata;
        Ok(0)
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
