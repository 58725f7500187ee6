//! Files and directories of the log: for their owner alone, and there after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::day::Day;

/// Whether nobody but the owner can read or change it.
pub(crate) fn is_private(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 == 0;
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

/// Gives what was made to whom its directory belongs: root commands for others, and must not
/// shut them out. Nobody else can, nor needs to.
#[cfg(unix)]
pub(crate) fn give(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let Some(parent) = path.parent() else { return Ok(()) };
    let (parent, made) = (fs::metadata(parent)?, fs::symlink_metadata(path)?);
    if parent.uid() == made.uid() {
        return Ok(());
    }
    match lchown(path, Some(parent.uid()), Some(parent.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
pub(crate) fn give(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes a directory, for its owner alone, unless it is there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => give(path).and_then(|()| path.parent().map_or(Ok(()), sync_directory)),
    }
}

/// Makes a directory and those that it is in, for their owner alone, unless they are there.
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    match make_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), make_directories)?;
            make_directory(path)
        }
        done => done,
    }
}

/// Makes everything last that was written to the file system that has this directory.
pub(crate) fn sync_file_system(directory: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(File::open(directory)?)?);
    #[cfg(not(target_os = "linux"))]
    sync_directory(directory)
}

/// Makes what was made, renamed or removed in a directory last.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Opens a file to read and write, and makes it, for its owner alone, if it is not there.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = options().read(true).write(true).create(true).truncate(false).open(path)?;
    give(path).map(|()| file)
}

/// Appends a line, after the whole lines that are there. It is not synced.
pub(crate) fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = open(path)?;
    let mut last = [b'\n'];
    if file.seek(io::SeekFrom::End(0))? > 0 {
        file.seek(io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let torn = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{torn}{line}\n").as_bytes())
}

/// Puts a file in place of another, whole or not at all.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = options().write(true).create(true).truncate(true).open(&temporary)?;
    give(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// The text of a file, if it is there: none of one that is longer than `most`, and with other
/// characters where it is not UTF-8, so that it is found to be no note.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<Option<String>> {
    match length(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(length) if length > most => Ok(Some(String::new())),
        Ok(_) => match fs::read(path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Err(at(path, &error)),
        },
    }
}

/// The length of a regular file: whoever opens a pipe may wait for ever.
pub(crate) fn length(path: &Path) -> io::Result<u64> {
    let metadata = path.metadata().map_err(|error| at(path, &error))?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Err(at(path, &io::Error::other("it is not a regular file")))
}

/// An error that says of which file it is.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(crate) fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "elsewhere there is no mode to set"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The files of a directory that are named by a day and `suffix`, by day. None if there is no
/// such directory.
pub(crate) fn days(directory: &Path, suffix: &str) -> io::Result<Vec<(Day, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut days = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let day = name.to_str().and_then(|name| name.strip_suffix(suffix)?.parse().ok());
        days.extend(day.map(|day| (day, entry.path())));
    }
    days.sort_unstable();
    Ok(days)
}
