//! How a process learns that another one has put something into the mailbox.
//!
//! Whoever has committed mail for an agent writes a byte into that agent's file, and whoever
//! waits has the directory watched by the system. Watching the database itself would be wrong:
//! its log is written *before* a commit can be seen, so a receiver could look too early and then
//! sleep.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use sealwire_names::AgentId;
use tokio::sync::watch;

use super::files;
use crate::Bell;

/// Most bells that are kept open for ringing.
const MAX_OPEN: usize = 256;

/// The bells of one process's receivers.
pub(super) struct Bells {
    directory: PathBuf,
    slowest: Duration,
    heard: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
    /// Made with the first receiver: whoever only sends needs none. `None` in it if the system
    /// offers none; receivers then look from time to time.
    watcher: Mutex<Option<Option<RecommendedWatcher>>>,
}

impl Bells {
    pub(super) fn new(directory: PathBuf, slowest: Duration) -> Self {
        let (heard, watcher) = (Arc::default(), Mutex::default());
        Self { directory, slowest, heard, watcher }
    }

    pub(super) fn of(&self, agent: &AgentId) -> Bell {
        // Before the watcher, which then hears for it.
        let rings = lock(&self.heard)
            .entry(agent.as_str().to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe();
        lock(&self.watcher).get_or_insert_with(|| self.watch());
        Bell::new(rings, self.slowest)
    }

    fn watch(&self) -> Option<RecommendedWatcher> {
        let heard = Arc::clone(&self.heard);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let rung = lock(&heard);
            let ring = |bell: &watch::Sender<u64>| bell.send_modify(|rings| *rings += 1);
            match event {
                Ok(event) if event.kind.is_access() || event.kind.is_remove() => {}
                Ok(event) if !event.need_rescan() => event
                    .paths
                    .iter()
                    .filter_map(|path| rung.get(path.file_name()?.to_str()?))
                    .for_each(ring),
                // Something was missed.
                _ => rung.values().for_each(ring),
            }
        });
        watcher
            .and_then(|mut watcher| {
                watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
                Ok(watcher)
            })
            .inspect_err(|error| {
                let directory = self.directory.display();
                tracing::warn!(%directory, %error, "cannot be watched; looking for mail every {:?}", self.slowest);
            })
            .ok()
    }
}

/// Rings; belongs to the writer.
pub(super) struct Ringer {
    directory: PathBuf,
    open: HashMap<AgentId, File>,
}

impl Ringer {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: HashMap::new() }
    }

    /// A bell that cannot be rung delays mail until the receiver's next look; it loses none.
    pub(super) fn ring(&mut self, agent: &AgentId) {
        if let Err(error) = self.try_ring(agent) {
            self.open.remove(agent);
            tracing::warn!(%agent, %error, "could not wake its receivers; they will look by themselves");
        }
    }

    fn try_ring(&mut self, agent: &AgentId) -> std::io::Result<()> {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        if !self.open.contains_key(agent) {
            let file = files::open_or_create(&self.directory.join(agent.as_str()))?;
            self.open.insert(agent.clone(), file);
        }
        let Some(file) = self.open.get_mut(agent) else { return Ok(()) };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(b"!")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
