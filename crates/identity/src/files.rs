//! Files that hold secrets: read only if nobody else can, written whole or not at all.
//!
//! The permission bits are read from the opened file, never from its path, so that
//! what was checked is what is read. Symbolic links are followed; what counts is the
//! file they lead to. Where there are no Unix permission bits (Windows), files
//! inherit the access list of their directory and no mode is checked.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::Error;

/// Mode of a private key file.
pub const PRIVATE_FILE: u32 = 0o600;
/// Mode of a certificate authority's key file, which nothing ever rewrites.
pub const CA_KEY_FILE: u32 = 0o400;
/// Mode of a directory that holds private files.
pub const PRIVATE_DIR: u32 = 0o700;
/// Mode of a file that everyone may read: certificates and public keys.
pub const PUBLIC_FILE: u32 = 0o644;

/// Largest key or certificate file read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file that its owner alone may read or write (mode 0600 or narrower).
///
/// Of a file that belongs to root, while we are somebody else, a group may be readers too
/// (0640): root can read it anyway, and has chosen the group. So do systemd
/// (`LoadCredential=`) and Kubernetes (`fsGroup`) hand a secret to a service.
///
/// # Errors
/// [`Error::Mode`] if others have access, [`Error::Io`], [`Error::FileType`],
/// [`Error::TooLarge`].
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    read_checked(path, Some(PRIVATE_FILE))
}

/// Reads a file that may be readable by all, such as a certificate.
///
/// # Errors
/// [`Error::Io`], [`Error::FileType`], [`Error::TooLarge`].
pub fn read_public(path: &Path) -> Result<Vec<u8>, Error> {
    read_checked(path, None).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// Checks that a file (0600) or directory (0700) is open to its owner alone.
///
/// # Errors
/// [`Error::Mode`], [`Error::Io`].
pub fn check_private(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    check_mode(path, &metadata, if metadata.is_dir() { PRIVATE_DIR } else { PRIVATE_FILE })
}

/// Writes a file whole or not at all, replacing what is there: a temporary file in
/// the same directory, with `mode` from the start, is synced and then renamed.
///
/// # Errors
/// [`Error::Io`]; nothing is changed then.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, mode)?;
    temporary.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    sync_directory(path)
}

/// Like [`write_atomic`], but refuses to replace an existing file.
///
/// # Errors
/// [`Error::Exists`] if there is anything at `path`; [`Error::Io`].
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = write_temporary(path, bytes, mode)?;
    temporary.persist_noclobber(path).map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.into() },
        _ => Error::io("write", path)(e.error),
    })?;
    sync_directory(path)
}

/// Puts a file in the place of another in the same directory, durably: after a crash, one of
/// the two is there.
///
/// # Errors
/// [`Error::Io`]; nothing is changed then.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    sync_directory(to)
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`Error::Io`].
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
        Ok(()) => sync_directory(path),
    }
}

/// Makes a directory, and its missing parents, for private files (mode 0700).
///
/// # Errors
/// [`Error::Mode`] if it exists and others may enter it, [`Error::FileType`] if it
/// is a file, [`Error::Io`].
pub fn create_private_dir(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, PRIVATE_DIR);
    match builder.create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::FileType { path: path.into(), wanted: "directory" })
        }
        Err(e) => Err(Error::io("create", path)(e)),
        Ok(()) => check_private(path),
    }
}

/// Replaces a leading `~/` (or a lone `~`) by the user's home directory.
pub fn expand(path: &Path, home_dir: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.into(), |rest| home_dir.join(rest))
}

/// Reads a file after checking, on the open file, that it is one and that its mode
/// is `allowed` or narrower.
pub(crate) fn read_checked(path: &Path, allowed: Option<u32>) -> Result<Zeroizing<Vec<u8>>, Error> {
    // Opening a named pipe would block, so its kind is looked at first; the check
    // that counts is the one on the open file.
    check_is_file(path, &fs::metadata(path).map_err(Error::io("read", path))?)?;
    let file = File::open(path).map_err(Error::io("read", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    check_is_file(path, &metadata)?;
    if let Some(allowed) = allowed {
        check_mode(path, &metadata, allowed | handed_over(&metadata))?;
    }
    let too_large = || Error::TooLarge { path: path.into(), limit: MAX_FILE };
    let size = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    if metadata.len() > MAX_FILE {
        return Err(too_large());
    }
    // Sized once: a buffer that grows leaves copies behind that are never wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(metadata.len() + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() > size {
        return Err(Error::io("read", path)(io::Error::other("it grew while it was read")));
    }
    Ok(bytes)
}

/// Refuses to go on if any of these is there, so that of a pair neither half is
/// written when the other cannot be.
pub(crate) fn refuse_existing(paths: &[&Path]) -> Result<(), Error> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(Error::Exists { path: path.into() }),
        None => Ok(()),
    }
}

fn check_is_file(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Error::FileType { path: path.into(), wanted: "regular file" })
    }
}

/// The access of others that a private file may have since root gives it to us.
#[cfg(unix)]
fn handed_over(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    if metadata.uid() == 0 && !rustix::process::geteuid().is_root() { 0o040 } else { 0 }
}

#[cfg(not(unix))]
fn handed_over(_: &Metadata) -> u32 {
    0
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &Metadata, allowed: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & !allowed == 0 {
        Ok(())
    } else {
        Err(Error::Mode { path: path.into(), mode, allowed })
    }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &Metadata, _: u32) -> Result<(), Error> {
    Ok(())
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> Result<tempfile::NamedTempFile, Error> {
    // Created 0600 with a random name and O_EXCL; the final mode is set before the
    // first byte is written and does not depend on the umask.
    let mut temporary = tempfile::Builder::new()
        .prefix(".sealwire-")
        .tempfile_in(directory(path))
        .map_err(Error::io("write beside", path))?;
    let file = temporary.as_file_mut();
    set_mode(file, mode)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))?;
    Ok(temporary)
}

#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

/// Makes the rename itself durable.
#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = directory(path);
    File::open(directory).and_then(|d| d.sync_all()).map_err(Error::io("sync", directory))
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), Error> {
    Ok(())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
