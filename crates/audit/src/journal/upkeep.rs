//! What a log does from time to time: tells that it lives, tells what was counted, looks whether
//! there is room, and lets go of what is old.

use std::io;
use std::sync::atomic::Ordering::Release;
use std::time::{Duration, Instant, SystemTime};

use sealwire_names::Timestamp;

use super::load;
use super::shared::{Shared, lock};
use crate::day::Day;
use crate::files;
use crate::note::Checkpoint;
use crate::path::{Hashes, root_at};
use crate::prune::{self, PRUNED};

/// How often an entry says that the log is alive.
const HEARTBEAT: Duration = Duration::from_secs(15 * 60);
/// How often refusals of the unauthenticated are told, at most; and room is looked at.
const TELL: Duration = Duration::from_secs(10);
/// From this part of what there may be on, in hundredths, there is a warning.
const WARN_AT: u64 = 80;
/// Below this there is a warning, too, however small the log is: what else is on the disk grows.
pub(super) const LEAST_FREE: u64 = 64 * 1024 * 1024;

pub(super) struct Upkeep {
    heartbeat: Instant,
    tell: Instant,
    pruned: Day,
    warned: bool,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { heartbeat: now, tell: now, pruned: today(), warned: false }
    }

    /// Does what it is time for.
    pub(super) fn tick(&mut self, shared: &Shared) {
        if self.heartbeat.elapsed() >= HEARTBEAT && !shared.is_in_trouble() {
            self.heartbeat = Instant::now();
            shared.own("log.heartbeat", |_| {});
        }
        if self.tell.elapsed() >= TELL {
            self.tell = Instant::now();
            if !shared.is_in_trouble() {
                shared.tell_refusals();
            }
            self.look_at_room(shared);
        }
        if today() > self.pruned {
            self.pruned = today();
            if let Err(error) = shared.prune_old() {
                tracing::error!(%error, "what is old of the audit log could not be pruned");
            }
        }
    }

    fn look_at_room(&mut self, shared: &Shared) {
        let full = shared.fullness();
        let is_full = shared.is_nearly_full();
        if is_full && !self.warned {
            tracing::warn!(
                percent = full,
                directory = %shared.directory.display(),
                "there is little room left for the audit log; without any, nothing is allowed"
            );
        }
        self.warned = is_full;
    }
}

impl Shared {
    /// Tells the refusals that were counted.
    pub(super) fn tell_refusals(&self) {
        let refusals = std::mem::take(&mut *lock(&self.refusals));
        if !refusals.is_empty() {
            let mut body = Vec::new();
            refusals.write(&mut body);
            self.push(&body);
        }
    }

    /// Whether there will soon be no room for it.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.fullness().is_some_and(|full| full >= WARN_AT)
            || self.free().is_some_and(|free| free < LEAST_FREE)
    }

    /// What the disk has left for it, in bytes.
    pub(super) fn free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How much of what it may take the log takes, in hundredths: of `max_total_size`, or of
    /// what the disk has for it.
    pub(super) fn fullness(&self) -> Option<u64> {
        let bytes = load(&self.bytes);
        let of = |most: u64| bytes.saturating_mul(100).checked_div(most);
        let disk = self.free().and_then(|free| of(bytes.saturating_add(free)));
        disk.max(self.rules().max_total_size.and_then(of))
    }

    /// Lets go of what is older than it is to be kept.
    pub(super) fn prune_old(&self) -> io::Result<()> {
        let kept = today().earlier(self.rules().retention_days);
        let first = prune::minimum(&self.directory, kept)?;
        if let Some(first) = first.filter(|first| *first > load(&self.first)) {
            self.own("log.prune", |body| {
                body.number("first_entry", first).shown("before", kept);
            });
            self.flush()?;
            let edge = lock(&self.edge);
            // What is above the tiles that go is all that is left of them.
            let above = edge.tree().partial_tiles().filter(|tile| tile.id.level > 0);
            edge.tiles().write(&above.collect::<Vec<_>>())?;
            let hashes = Hashes { tree: edge.tree(), tiles: edge.tiles() };
            let minimum = Checkpoint { size: first, root: root_at(&hashes, first)? };
            let note = edge.signer().pruned(&minimum);
            files::replace(&self.directory.join(PRUNED), note.as_bytes())?;
            // Nothing is appended meanwhile to what goes: that is older than today.
            let gone = prune::finish(&self.directory, first)?;
            let mut files = lock(&self.files);
            files.days.pruned(gone);
            self.bytes.store(files.days.bytes(), Release);
            self.first.store(first, Release);
            tracing::info!(first, bytes = gone, before = %kept, "old entries of the audit log were pruned");
        }
        self.keys.destroy_before(kept)
    }
}

fn today() -> Day {
    let now: Timestamp = SystemTime::now().into();
    Day::of(now)
}
