//! The journal's own threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Durability;
use super::shared::{Shared, lock};
use super::upkeep::LEAST_FREE;

/// How often what is new is synced and signed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Syncs in a second from which on it is worth the room to make them quicker.
const BUSY: u64 = 20;
/// How often writing is tried again after it failed.
const RETRY: Duration = Duration::from_millis(250);

pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    if shared.durability == Durability::Fsync {
        let committing = Arc::clone(shared);
        let thread = thread::Builder::new().name("audit-commit".to_owned());
        let thread = thread.spawn(move || commit_for_ever(&committing))?;
        let _first = shared.committer.set(thread.thread().clone());
        threads.push(thread);
    }
    let keeping = Arc::clone(shared);
    let thread = thread::Builder::new().name("audit-keep".to_owned());
    let thread = thread.spawn(move || keep_for_ever(&keeping))?;
    let _first = shared.keeper.set(thread.thread().clone());
    threads.push(thread);
    Ok(threads)
}

/// Commits whatever has gathered, again and again.
fn commit_for_ever(shared: &Shared) {
    while !shared.is_stopping.load(Acquire) {
        if shared.is_in_trouble() {
            thread::park_timeout(RETRY);
        } else if !shared.is_waited_for() {
            // Whoever waits wakes us; what nobody waits for has a second.
            thread::park_timeout(INTERVAL);
        }
        if shared.has_news() || shared.is_in_trouble() {
            let _told = shared.commit();
        }
    }
    let _told = shared.commit();
}

/// Hashes, signs, and does what is to be done from time to time.
fn keep_for_ever(shared: &Shared) {
    let mut upkeep = super::upkeep::Upkeep::new();
    let mut may_hurry = cfg!(target_os = "linux") && shared.durability == Durability::Fsync;
    let mut next = Instant::now() + INTERVAL;
    while !shared.is_stopping.load(Acquire) {
        let is_interval = shared.durability == Durability::Interval;
        let wait = next.saturating_duration_since(Instant::now());
        thread::park_timeout(if is_interval && shared.is_in_trouble() {
            wait.min(RETRY)
        } else {
            wait
        });
        if is_interval && shared.is_in_trouble() {
            let _told = shared.commit();
        }
        shared.hash(&mut lock(&shared.edge));
        if shared.is_to_settle.swap(false, AcqRel)
            && let Err(error) = shared.settle()
        {
            shared.failed(&error);
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + INTERVAL;
        upkeep.tick(shared);
        let is_busy = shared.syncs.swap(0, Relaxed) > BUSY;
        if may_hurry && is_busy && shared.free().is_none_or(|free| free > LEAST_FREE) {
            // Once: without it each wait is longer, and nothing else.
            may_hurry = false;
            if let Err(error) = shared.hurry() {
                tracing::warn!(%error, "the audit log is not written ahead");
            }
        }
        if is_interval && !shared.is_in_trouble() {
            let _told = shared.commit();
        }
        // What is not signed could be taken away unseen: no more of it than of one interval.
        if let Err(error) = shared.sign() {
            shared.failed(&error);
        }
    }
}
