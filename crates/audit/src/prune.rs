//! What is old goes: whole bundles of 256 entries, and never without a signature.
//!
//! First an entry says what will go, then a signed note gives the number of the first entry that
//! stays, then the files go. Whoever stops in between finds the note, and goes on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::day::Day;
use crate::day_files::SUFFIX;
use crate::files;
use crate::lines;
use crate::tiles::TileId;
use crate::tree::TILE_WIDTH;

/// The file with the signed number of the first entry that is kept.
pub const PRUNED: &str = "pruned";

/// The first entry that must stay if all days before `day` may go, as far as whole bundles
/// allow; `None` if no day is so old.
pub(crate) fn minimum(directory: &Path, day: Day) -> io::Result<Option<u64>> {
    let days = files::days(directory, SUFFIX)?;
    let Some(kept) = days.iter().position(|(of, _)| *of >= day).filter(|&kept| kept > 0) else {
        return Ok(None);
    };
    let first = lines::first_entry(&File::open(&days[kept].1)?)?;
    Ok(first.map(|first| first - first % TILE_WIDTH as u64))
}

/// Removes the entries before `first`, and the tiles with their hashes. Does what is left to do
/// of it if it was begun before. How many bytes of days are gone.
pub(crate) fn finish(directory: &Path, first: u64) -> io::Result<u64> {
    let mut gone = 0;
    let days = files::days(directory, SUFFIX)?;
    for (at, (_, path)) in days.iter().enumerate() {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        match lines::first_entry(&file)? {
            Some(entry) if entry < first => {}
            _ => continue,
        }
        // Where the next day begins at or before the first that stays, none of this one does.
        let next = match days.get(at + 1) {
            Some((_, next)) => lines::first_entry(&File::open(next)?)?,
            None => None,
        };
        if next.is_some_and(|next| next <= first) {
            fs::remove_file(path)?;
            gone += length;
            continue;
        }
        let start = lines::find(&file, length, first)?;
        keep_from(path, &file, start)?;
        gone += start;
    }
    remove_tiles(directory, first / TILE_WIDTH as u64)?;
    if gone > 0 {
        files::sync_directory(directory)?;
    }
    Ok(gone)
}

/// Makes a file begin at what was at `start` of it.
fn keep_from(path: &Path, file: &File, start: u64) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let kept = files::open(Path::new(&temporary))?;
    kept.set_len(0)?;
    let mut writer = BufWriter::new(&kept);
    lines::each(file, (start, u64::MAX), |line| {
        writer.write_all(line)?;
        writer.write_all(b"\n")
    })?;
    writer.flush()?;
    drop(writer);
    kept.sync_all()?;
    fs::rename(temporary, path)
}

/// Removes the tiles of leaf hashes before that one. Those above them stay: by them the rest is
/// proven.
fn remove_tiles(directory: &Path, before: u64) -> io::Result<()> {
    let path = |index| directory.join(TileId { level: 0, index }.path());
    let mut first = before;
    while first > 0 && path(first - 1).try_exists()? {
        first -= 1;
    }
    // The oldest first: what is left when we are stopped is found from its end.
    (first..before).try_for_each(|index| fs::remove_file(path(index)))
}
