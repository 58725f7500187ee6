//! Notices that files may have changed. What has is for the caller to see.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use ::notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Files are looked at this often whether a change was announced or not: network file
/// systems announce none.
pub(super) const SLOW: Duration = Duration::from_secs(30);
/// Most symbolic links followed on the way to one file, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Watches directories, not files: a file that is replaced is another file, and only its
/// directory tells. Where a path leads through symbolic links, the directory of each link
/// is watched, because a link may be what is replaced, as Kubernetes does with secrets.
pub(crate) struct FileWatch {
    /// `None` if the system offers none.
    watcher: Option<RecommendedWatcher>,
    directories: BTreeMap<PathBuf, Identity>,
    stirred: Arc<Notify>,
    heard: Arc<Mutex<Heard>>,
    /// Directories about which a warning was logged.
    blind: BTreeSet<PathBuf>,
}

/// What is shared with the watcher's own thread.
#[derive(Default)]
struct Heard {
    /// Every file and link whose content counts.
    places: BTreeSet<PathBuf>,
    /// What was removed or renamed; a watched directory, perhaps.
    gone: BTreeSet<PathBuf>,
}

/// Which directory it is that has a path.
type Identity = (u64, u64);

impl FileWatch {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        let stirred = Arc::new(Notify::new());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let watcher = {
            let (stirred, heard) = (Arc::clone(&stirred), Arc::clone(&heard));
            ::notify::recommended_watcher(move |event: ::notify::Result<Event>| {
                let Ok(event) = event else { return };
                if lock(&heard).hear(event) {
                    stirred.notify_one();
                }
            })
        };
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "file changes are not announced to us; looking for them every {:?}", SLOW);
            })
            .ok();
        let (directories, blind) = (BTreeMap::new(), BTreeSet::new());
        Self { watcher, directories, stirred, heard, blind }
    }

    /// As where the system offers none.
    #[cfg(test)]
    pub(super) fn blind() -> Self {
        Self { watcher: None, ..Self::new() }
    }

    /// What is notified when a watched file may have changed.
    pub(super) fn signal(&self) -> Arc<Notify> {
        Arc::clone(&self.stirred)
    }

    /// Resolves when a watched file may have changed since the last time it did.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// From now on, watches these files, and for new ones in these directories.
    pub(crate) fn follow(&mut self, files: &[PathBuf], directories: &[PathBuf]) {
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
        let gone = {
            let mut heard = lock(&self.heard);
            heard.places = places;
            std::mem::take(&mut heard.gone)
        };
        self.watch(&wanted, &gone);
    }

    fn watch(&mut self, wanted: &BTreeSet<PathBuf>, gone: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.directories.retain(|directory, identity| {
            // One that was removed and made again is another one, though it may have the
            // number of the old.
            let keep = wanted.contains(directory)
                && !gone.contains(directory)
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
            let watched =
                identity_of(directory).map_err(::notify::Error::io).and_then(|identity| {
                    watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| identity)
                });
            match watched {
                Ok(identity) => {
                    self.blind.remove(directory);
                    self.directories.insert(directory.clone(), identity);
                }
                Err(error) if self.blind.insert(directory.clone()) => {
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "cannot be watched; looking for changes every {:?}", SLOW);
                }
                Err(_) => {}
            }
        }
    }
}

impl Heard {
    /// Whether an event can mean that one of our files is another now. Names come and go
    /// by links and renames; but that others write into their own files, a log perhaps, is
    /// nothing to us.
    fn hear(&mut self, event: Event) -> bool {
        let is_ours = || event.paths.iter().any(|path| self.places.contains(path));
        match event.kind {
            EventKind::Access(access) => {
                access == AccessKind::Close(AccessMode::Write) && is_ours()
            }
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => is_ours(),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                self.gone.extend(event.paths);
                true
            }
            _ => true,
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
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
        let certs = root.join("certs");
        fs::remove_dir_all(&certs).unwrap();
        // That its file is gone is told before.
        while !lock(&watch.heard).gone.contains(&certs) {
            is_told(&watch).await;
        }
        fs::create_dir(&certs).unwrap();
        watch.follow(std::slice::from_ref(&file), &[]);
        while let Ok(()) = tokio::time::timeout(Duration::from_millis(300), watch.stirred()).await {
        }
        fs::write(&file, "b").unwrap();
        is_told(&watch).await;
    }
}
