//! The files: the main one, and those that `include` names.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::document::{Located, Source};
use super::error::{ConfigError, Problem, Problems};
use super::typed::Typed;
use crate::home::Home;

/// Largest configuration file, in bytes: far above any real one, far below what hurts.
const MAX_FILE: u64 = 4 << 20;

/// What makes a pattern of a name.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Reads the main file.
pub(crate) fn read_main(file: &Path) -> Result<Source, ConfigError> {
    read(file).map_err(|error| {
        let remedy = if error.kind() == std::io::ErrorKind::NotFound {
            "run `sealwire init`, or name the home with --home or the file with --config"
        } else {
            "make it a text file that this user can read"
        };
        Problem::with_file(file, format!("cannot be read: {error}"), remedy).into()
    })
}

/// Adds the servers of every file that `include` names, in the order of patterns and,
/// within a pattern, of file names.
pub(crate) fn load(home: &Home, typed: &mut Typed, problems: &mut Problems) {
    let Some(patterns) = typed.include.clone() else { return };
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in &patterns.value {
        for file in matches(home, &patterns, pattern, problems) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    for file in files {
        match read(&file) {
            Ok(source) => typed.read_included(&source, problems),
            Err(error) => {
                let remedy = "make it a text file that this user can read, or exclude it";
                problems.push(Problem::with_file(
                    &file,
                    format!("included, but cannot be read: {error}"),
                    remedy,
                ));
            }
        }
    }
}

/// The files that a pattern of `include` names.
pub(crate) fn matches(
    home: &Home,
    patterns: &Located<Vec<String>>,
    pattern: &str,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    files(home, pattern).unwrap_or_else(|(what, remedy)| {
        problems.push(patterns.at.problem(what, remedy));
        Vec::new()
    })
}

/// The files that a name or pattern stands for now, in order; or what is wrong with it,
/// and what to do.
pub(crate) fn files(home: &Home, pattern: &str) -> Result<Vec<PathBuf>, (String, &'static str)> {
    let full = home
        .resolve(pattern)
        .map_err(|error| (format!("{pattern:?}: {error}"), "use an absolute path"))?;
    // Without a wildcard a file is named, and must be there.
    if !pattern.contains(WILDCARDS) {
        return Ok(vec![full]);
    }
    // The home's own path is not part of the pattern, whatever characters it holds.
    let full = match full.strip_prefix(home.root()) {
        Ok(below) => {
            let root = glob::Pattern::escape(&home.root().to_string_lossy());
            format!("{root}/{}", below.to_string_lossy())
        }
        Err(_) => full.to_string_lossy().into_owned(),
    };
    let paths = glob::glob(&full).map_err(|error| {
        let remedy = "use * for any part of a file name, as in servers.d/*.toml";
        (format!("{pattern:?} is not a pattern: {}", error.msg), remedy)
    })?;
    let mut found: Vec<PathBuf> =
        paths.filter_map(Result::ok).filter(|path| path.is_file()).collect();
    found.sort();
    Ok(found)
}

/// The directory below which every file is that a pattern may stand for.
pub(crate) fn directory(home: &Home, pattern: &str) -> Option<PathBuf> {
    let fixed = match pattern.find(WILDCARDS) {
        Some(wildcard) => &pattern[..wildcard],
        None => pattern,
    };
    let directory = &fixed[..fixed.rfind('/').map_or(0, |slash| slash + 1)];
    home.resolve(directory).ok()
}

fn read(file: &Path) -> std::io::Result<Source> {
    // Opening a named pipe would wait for somebody to write to it.
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    let read = std::fs::File::open(file)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_FILE) {
        return Err(std::io::Error::other("larger than 4 MiB"));
    }
    Ok(Source { file: file.to_owned(), text })
}
