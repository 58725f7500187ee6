//! Notices that files may have changed. What has is for the caller to see.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Most symbolic links followed on the way to one file, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Watches directories, not files: a file that is replaced is another file, and only its
/// directory tells. Where a path leads through symbolic links, the directory of each link
/// is watched, because a link may be what is replaced, as Kubernetes does with secrets.
pub(super) struct FileWatch {
    /// `None` if the system offers none.
    watcher: Option<RecommendedWatcher>,
    directories: BTreeMap<PathBuf, Identity>,
    stirred: Arc<Notify>,
    /// Every file and link whose content counts.
    places: Arc<RwLock<BTreeSet<PathBuf>>>,
    /// Directories about which a warning was logged.
    blind: BTreeSet<PathBuf>,
}

/// Which directory it is that has a path.
type Identity = (u64, u64);

impl FileWatch {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let stirred = Arc::new(Notify::new());
        let places = Arc::new(RwLock::new(BTreeSet::new()));
        let watcher = {
            let (stirred, places) = (Arc::clone(&stirred), Arc::clone(&places));
            notify::recommended_watcher(move |event: notify::Result<Event>| {
                let places = places.read().unwrap_or_else(PoisonError::into_inner);
                if event.is_ok_and(|event| matters(&event, &places)) {
                    stirred.notify_one();
                }
            })
        };
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "file changes are not announced to us; looking for them every {:?}", super::reload::SLOW);
            })
            .ok();
        let (directories, blind) = (BTreeMap::new(), BTreeSet::new());
        Self { watcher, directories, stirred, places, blind }
    }

    /// Resolves when a watched file may have changed since the last time it did.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// From now on, watches these files, and for new ones in these directories.
    pub(super) fn follow(&mut self, files: &[PathBuf], directories: &[PathBuf]) {
        let mut places = BTreeSet::new();
        for file in files {
            places.extend(places_of(file));
        }
        let mut wanted: BTreeSet<PathBuf> =
            places.iter().map(|place| existing(directory(place))).collect();
        for directory in directories {
            wanted.insert(existing(directory));
            let links = places_of(directory);
            wanted.extend(links.iter().map(|link| existing(self::directory(link))));
        }
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = places;
        self.watch(&wanted);
    }

    fn watch(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.directories.retain(|directory, identity| {
            // One that was removed and made again is another one.
            let keep = wanted.contains(directory)
                && identity_of(directory).is_ok_and(|now| now == *identity);
            if !keep {
                // The system may have forgotten it already.
                let _forgotten = watcher.unwatch(directory);
            }
            keep
        });
        for directory in wanted {
            if self.directories.contains_key(directory) {
                continue;
            }
            let watched = identity_of(directory).map_err(notify::Error::io).and_then(|identity| {
                watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| identity)
            });
            match watched {
                Ok(identity) => {
                    self.blind.remove(directory);
                    self.directories.insert(directory.clone(), identity);
                }
                Err(error) if self.blind.insert(directory.clone()) => {
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "cannot be watched; looking for changes every {:?}", super::reload::SLOW);
                }
                Err(_) => {}
            }
        }
    }
}

/// Whether an event can mean that one of our files is another now. Names come and go by
/// links and renames; but that others write into their own files, a log perhaps, is
/// nothing to us.
fn matters(event: &Event, places: &BTreeSet<PathBuf>) -> bool {
    match event.kind {
        EventKind::Access(access) => {
            use notify::event::{AccessKind, AccessMode};
            access == AccessKind::Close(AccessMode::Write)
                && event.paths.iter().any(|path| places.contains(path))
        }
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            event.paths.iter().any(|path| places.contains(path))
        }
        _ => true,
    }
}

/// The path itself and every symbolic link on the way to what it leads to, each by a path
/// without links before its last part.
fn places_of(path: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut ahead: Vec<PathBuf> = parts(path);
    let mut walked = PathBuf::new();
    while let Some(part) = ahead.pop() {
        if part.as_os_str() == OsStr::new("..") {
            walked.pop();
            continue;
        }
        let place = walked.join(part);
        match fs::read_link(&place) {
            Ok(target) if places.len() < MAX_LINKS => {
                places.push(place);
                ahead.extend(parts(&target));
            }
            _ => walked = place,
        }
    }
    places.push(walked);
    places
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev().filter(|part| *part != Component::CurDir);
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The directory, or the nearest above it that is there, in which it will appear.
fn existing(directory: &Path) -> PathBuf {
    directory.ancestors().find(|above| above.is_dir()).unwrap_or(directory).to_owned()
}

fn identity_of(directory: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(directory).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn root() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        (dir, root)
    }

    #[test]
    fn each_link_on_the_way_counts() {
        let (_dir, root) = root();
        fs::create_dir_all(root.join("secret/..1")).unwrap();
        fs::write(root.join("secret/..1/tls.crt"), "").unwrap();
        symlink("..1", root.join("secret/..data")).unwrap();
        symlink("..data/tls.crt", root.join("secret/tls.crt")).unwrap();
        symlink("secret/../secret/./tls.crt", root.join("cert.pem")).unwrap();
        assert_eq!(
            places_of(&root.join("cert.pem")),
            ["cert.pem", "secret/tls.crt", "secret/..data", "secret/..1/tls.crt"]
                .map(|place| root.join(place))
        );
        assert_eq!(places_of(&root.join("no/file")), [root.join("no/file")]);
        assert_eq!(existing(&root.join("no/such")), root);
        symlink("circle", root.join("circle")).unwrap();
        assert!(places_of(&root.join("circle")).len() <= MAX_LINKS + 1);
    }

    async fn is_told(watch: &FileWatch) {
        tokio::time::timeout(Duration::from_secs(60), watch.stirred()).await.expect("no event");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_waited_for() {
        let (_dir, root) = root();
        let file = root.join("certs/cert.pem");
        let mut watch = FileWatch::new();
        let mut follow = || watch.follow(std::slice::from_ref(&file), &[]);
        follow();
        fs::create_dir(root.join("certs")).unwrap();
        is_told(&watch).await;
        let mut follow = || watch.follow(std::slice::from_ref(&file), &[]);
        follow();
        fs::write(&file, "a").unwrap();
        is_told(&watch).await;
        // Removed and made again, the directory is another one with the same path.
        fs::remove_dir_all(root.join("certs")).unwrap();
        is_told(&watch).await;
        fs::create_dir(root.join("certs")).unwrap();
        watch.follow(std::slice::from_ref(&file), &[]);
        while let Ok(()) = tokio::time::timeout(Duration::from_millis(300), watch.stirred()).await {
        }
        fs::write(&file, "b").unwrap();
        is_told(&watch).await;
    }
}
