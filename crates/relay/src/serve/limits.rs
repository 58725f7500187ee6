use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealwire_names::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds on what peers may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in total, before and after their peer is known.
    pub max_connections: usize,
    /// Connections of one peer.
    pub max_connections_per_peer: usize,
    /// Conversations of one peer that wait for it to come back.
    pub max_detached_per_peer: usize,
    /// Longest time from the first byte to the end of the greeting.
    pub handshake_timeout: Duration,
    /// A connection from which nothing is heard for this long is given up.
    pub idle_timeout: Duration,
    /// How long a conversation waits for its peer to come back.
    pub resume_window: Duration,
    /// How long requests under way may take once we are to stop.
    pub drain_timeout: Duration,
    /// Largest message, in bytes.
    pub max_message: usize,
}

/// The places that connections take up, in total and by peer.
pub(super) struct Places {
    total: Arc<Semaphore>,
    per_peer: usize,
    by_peer: Mutex<HashMap<PeerId, usize>>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            total: Arc::new(Semaphore::new(limits.max_connections)),
            per_peer: limits.max_connections_per_peer,
            by_peer: Mutex::default(),
        }
    }

    /// A place among all connections; `None` if there is none left.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.total).try_acquire_owned().ok()
    }

    /// A place among one peer's connections; `None` if there is none left.
    pub(super) fn take_for(self: &Arc<Self>, peer: &PeerId) -> Option<PeerPlace> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_peer.entry(peer.clone()).or_default();
        if *taken >= self.per_peer {
            return None;
        }
        *taken += 1;
        Some(PeerPlace { places: Arc::clone(self), peer: peer.clone() })
    }

    /// How many connections a peer has.
    pub(super) fn taken_by(&self, peer: &PeerId) -> usize {
        let by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        by_peer.get(peer).copied().unwrap_or(0)
    }
}

/// One of a peer's places; given back on drop.
pub(super) struct PeerPlace {
    places: Arc<Places>,
    peer: PeerId,
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut by_peer = self.places.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = by_peer.get_mut(&self.peer) {
            *taken -= 1;
            if *taken == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}
