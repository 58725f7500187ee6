//! Files and directories that are for their owner alone, also where root makes them for others.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::Path;

/// Whether nobody but the owner can read or change it.
pub(crate) fn is_private(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return metadata.permissions().mode() & 0o077 == 0;
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

/// Opens a file to read and write, and makes it, for its owner alone, if it is not there.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let mut new = options.clone();
    new.create_new(true);
    #[cfg(unix)]
    new.mode(0o600);
    match new.open(path) {
        Ok(made) => {
            #[cfg(unix)]
            give(path, &made.metadata()?, |user, group| fchown(&made, user, group))?;
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Makes a directory, for its owner alone, unless there is one.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    match builder.create(path) {
        Ok(()) => {
            #[cfg(unix)]
            give(path, &fs::symlink_metadata(path)?, |user, group| lchown(path, user, group))?;
            Ok(())
        }
        // Also where it is not ours to make.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives what was made at `path` to whom its directory belongs: root commands for others, and
/// must not shut them out. Nobody else can, nor needs to.
#[cfg(unix)]
fn give(
    path: &Path,
    made: &Metadata,
    chown: impl FnOnce(Option<u32>, Option<u32>) -> io::Result<()>,
) -> io::Result<()> {
    let Some(directory) = path.parent().map(fs::metadata).transpose()? else { return Ok(()) };
    if directory.uid() == made.uid() {
        return Ok(());
    }
    match chown(Some(directory.uid()), Some(directory.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Makes a directory for its owner alone, unless it is there; one that others can enter is
/// closed to them.
///
/// # Errors
/// If it cannot be made, or is not ours to close.
#[cfg(unix)]
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    make_directory(path)?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
