//! Hashes of the tree on disk, as C2SP tlog-tiles lays them out: `tile/<L>/<N>`.
//!
//! They are derived from the entries, and make proofs and restarts fast. Nothing is believed
//! because a tile says so: whoever verifies computes them again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::files;
use crate::tree::{TILE_WIDTH, TreeHash};

/// Tiles that are synced one by one. Of more, the disk would wait for each; so all there is on it
/// is synced at once, where the system can do that.
const FEW: usize = if cfg!(target_os = "linux") { 32 } else { usize::MAX };

/// Which tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileId {
    /// 0 has leaf hashes; each further one, a hash for each full tile below it.
    pub level: u8,
    /// Its number within the level.
    pub index: u64,
}

impl TileId {
    /// Its path below the log directory, `tile/0/x001/234`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let mut path = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1_000);
            rest /= 1_000;
        }
        format!("tile/{}/{path}", self.level).into()
    }
}

/// Consecutive hashes of one level: 256, or fewer at the right edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Which one it is.
    pub id: TileId,
    /// Its hashes.
    pub hashes: Vec<TreeHash>,
}

impl Tile {
    /// Its path below the log directory; that of a partial one ends in `.p/<W>`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let mut path = self.id.path().into_os_string();
        if self.hashes.len() < TILE_WIDTH {
            path.push(format!(".p/{}", self.hashes.len()));
        }
        path.into()
    }

    /// What its file has: the hashes, one after the other.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| hash.0).collect()
    }
}

/// The tiles of one log directory.
///
/// A tile is written and synced before the checkpoint that covers it. What is beyond the last
/// checkpoint is written again when the log is opened, as a crash may have torn it.
#[derive(Clone, Debug)]
pub struct Tiles {
    dir: PathBuf,
}

impl Tiles {
    /// Those of that log directory.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Writes them (mode 0600, directories 0700), in place of what is there, and syncs them.
    ///
    /// # Errors
    /// Those of the file system. Some may have been written then.
    pub fn write(&self, tiles: &[Tile]) -> io::Result<()> {
        let are_few = tiles.len() <= FEW;
        let mut parents = BTreeSet::new();
        for tile in tiles {
            let path = self.dir.join(tile.path());
            let mut file = create(&path)?;
            file.write_all(&tile.bytes())?;
            if are_few {
                file.sync_data()?;
                parents.extend(path.parent().map(Path::to_owned));
            }
        }
        if are_few {
            parents.iter().try_for_each(|parent| files::sync_directory(parent))
        } else {
            files::sync_file_system(&self.dir)
        }
    }

    /// A full tile; `None` if there is none.
    ///
    /// # Errors
    /// Those of the file system, and `InvalidData` if it has not the size of one.
    pub fn read(&self, id: TileId) -> io::Result<Option<Vec<TreeHash>>> {
        self.read_hashes(&self.dir.join(id.path()), TILE_WIDTH)
    }

    /// The hash of that number at that level: from its tile, or made from the full tile below.
    ///
    /// # Errors
    /// `NotFound` if neither is there; else as [`Tiles::read`].
    pub fn hash(&self, level: u8, number: u64) -> io::Result<TreeHash> {
        self.hashes(level, number, 1).map(|hashes| hashes[0])
    }

    /// Of a level, `count` hashes from `first` on, all within one tile.
    pub(crate) fn hashes(&self, level: u8, first: u64, count: usize) -> io::Result<Vec<TreeHash>> {
        let id = TileId { level, index: first / TILE_WIDTH as u64 };
        let start = (first % TILE_WIDTH as u64) as usize;
        let of = |hashes: Vec<TreeHash>| hashes[start..start + count].to_vec();
        if let Some(hashes) = self.read(id)? {
            return Ok(of(hashes));
        }
        if let Some(hashes) = self.read_partial(id, start + count)? {
            return Ok(of(hashes));
        }
        let below = |number| {
            let below = level.checked_sub(1).map(|level| TileId { level, index: number });
            let hashes = below.map(|id| self.read(id)).transpose()?.flatten();
            hashes.map(|hashes| TreeHash::perfect(&hashes)).ok_or_else(|| {
                let path = self.dir.join(id.path());
                let why = format!("{} is missing, or what it is made of", path.display());
                io::Error::new(io::ErrorKind::NotFound, why)
            })
        };
        (first..first + count as u64).map(below).collect()
    }

    /// A partial tile with at least so many hashes.
    fn read_partial(&self, id: TileId, least: usize) -> io::Result<Option<Vec<TreeHash>>> {
        let mut dir = self.dir.join(id.path()).into_os_string();
        dir.push(".p");
        let dir = PathBuf::from(dir);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let widths = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let Some(width) = widths.filter(|w| (least..TILE_WIDTH).contains(w)).max() else {
            return Ok(None);
        };
        self.read_hashes(&dir.join(width.to_string()), width)
    }

    fn read_hashes(&self, path: &Path, width: usize) -> io::Result<Option<Vec<TreeHash>>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(files::at(path, &error)),
            Ok(bytes) => bytes,
        };
        let (hashes, rest) = bytes.as_chunks();
        if hashes.len() != width || !rest.is_empty() {
            let why = format!("it has {} bytes, not {}", bytes.len(), width * 32);
            return Err(files::at(path, &io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        Ok(Some(hashes.iter().map(|hash| TreeHash(*hash)).collect()))
    }
}

/// Makes an empty file of a tile, and the directories that it is in.
fn create(path: &Path) -> io::Result<File> {
    let open = || files::options().write(true).create(true).truncate(true).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), files::make_directories)?;
            open()
        }
        opened => opened,
    }?;
    files::give(path).map(|()| file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::leaves;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index| TileId { level, index }.path();
        assert_eq!(path(0, 0), Path::new("tile/0/000"));
        assert_eq!(path(1, 999), Path::new("tile/1/999"));
        assert_eq!(path(0, 1_234_067), Path::new("tile/0/x001/x234/067"));
        let tile = Tile { id: TileId { level: 1, index: 1_000 }, hashes: leaves(17) };
        assert_eq!(tile.path(), Path::new("tile/1/x001/000.p/17"));
    }

    #[test]
    fn hashes_come_from_the_tile_or_a_partial_one_or_the_tile_below() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::at(dir.path());
        let hashes = leaves(256);
        let id = TileId { level: 0, index: 3 };
        assert_eq!(tiles.read(id).unwrap(), None);
        assert_eq!(tiles.hash(1, 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        tiles.write(&[Tile { id, hashes: hashes.clone() }]).unwrap();
        assert_eq!(tiles.hash(0, 768 + 9).unwrap(), hashes[9]);
        assert_eq!(tiles.hash(1, 3).unwrap(), TreeHash::perfect(&hashes));
        // As after a prune: the tile below is gone.
        for width in [5, 2] {
            let id = TileId { level: 1, index: 0 };
            tiles.write(&[Tile { id, hashes: hashes[..width].to_vec() }]).unwrap();
        }
        fs::remove_file(dir.path().join("tile/0/003")).unwrap();
        assert_eq!(tiles.hash(1, 3).unwrap(), hashes[3]);
        assert_eq!(tiles.hash(1, 5).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(dir.path().join("tile/0/000"), [0; 8191]).unwrap();
        assert_eq!(tiles.hash(0, 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn many_are_written_as_few_are() {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Tiles::at(dir.path());
        let id = |index| TileId { level: 0, index };
        for count in [FEW.min(32) as u64, 40] {
            let many: Vec<_> =
                (0..count).map(|index| Tile { id: id(index), hashes: leaves(256) }).collect();
            tiles.write(&many).unwrap();
            assert_eq!(tiles.read(id(count - 1)).unwrap(), Some(leaves(256)));
            assert_eq!(tiles.read(id(count)).unwrap(), None);
        }
    }
}
