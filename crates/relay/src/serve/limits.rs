use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealwire_names::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// How long a newcomer waits for the place of a stranger that has to leave.
const CHANGEOVER: Duration = Duration::from_secs(1);

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
    /// Places that are to go once they are given back: the total was lowered below what
    /// was taken.
    surplus: Mutex<Surplus>,
    by_peer: Mutex<HashMap<PeerId, usize>>,
    strangers: Mutex<Strangers>,
}

/// How many places there are to be, and how many more there still are.
struct Surplus {
    most: usize,
    owed: usize,
}

/// Connections whose peer is not known yet, in the order in which they came, each with a
/// way to end it.
#[derive(Default)]
struct Strangers {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Places {
    /// So many in total.
    pub(super) fn new(most: usize) -> Self {
        Self {
            total: Arc::new(Semaphore::new(most)),
            surplus: Mutex::new(Surplus { most, owed: 0 }),
            by_peer: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// A place among all connections for one whose peer is not known yet; `None` if there
    /// is none left.
    ///
    /// Where all places are taken, the stranger that has been one for longest leaves: an
    /// honest peer makes itself known within milliseconds, so that whoever only holds
    /// connections open, without a certificate, cannot keep others out.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Stranger> {
        let place = match self.free_place() {
            Some(place) => place,
            None => {
                let (_, leave) = self.strangers().waiting.pop_first()?;
                // It may be leaving of its own accord at this moment.
                let _left = leave.send(());
                let place = Arc::clone(&self.total).acquire_owned();
                self.unless_owed(timeout(CHANGEOVER, place).await.ok()?.ok()?)?
            }
        };
        let (leave, displaced) = oneshot::channel();
        let mut strangers = self.strangers();
        let number = strangers.next;
        strangers.next += 1;
        strangers.waiting.insert(number, leave);
        Some(Stranger { place: Some(place), displaced, number, places: Arc::clone(self) })
    }

    /// From now on, so many in total. Nobody loses a place that he has.
    pub(super) fn resize(&self, most: usize) {
        let mut surplus = self.surplus();
        let there_are = surplus.most + surplus.owed;
        surplus.most = most;
        if most >= there_are {
            surplus.owed = 0;
            self.total.add_permits(most - there_are);
        } else {
            let too_many = there_are - most;
            surplus.owed = too_many - self.total.forget_permits(too_many);
        }
    }

    /// A place that nobody has.
    fn free_place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let place = Arc::clone(&self.total).try_acquire_owned().ok()?;
            if let Some(place) = self.unless_owed(place) {
                return Some(place);
            }
        }
    }

    /// The place, unless it is one that is to go.
    fn unless_owed(&self, place: OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        let mut surplus = self.surplus();
        if surplus.owed == 0 {
            return Some(place);
        }
        surplus.owed -= 1;
        place.forget();
        None
    }

    fn surplus(&self) -> MutexGuard<'_, Surplus> {
        self.surplus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among `most` connections of one peer; `None` if there is none left.
    pub(super) fn take_for(self: &Arc<Self>, peer: &PeerId, most: usize) -> Option<PeerPlace> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = by_peer.entry(peer.clone()).or_default();
        if *taken >= most {
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

/// A place of a connection whose peer is not known yet; no stranger any more once dropped.
pub(super) struct Stranger {
    /// The place itself, to be kept once the peer is known.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Resolves when the connection has to leave.
    pub(super) displaced: oneshot::Receiver<()>,
    number: u64,
    places: Arc<Places>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.places.strangers().waiting.remove(&self.number);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_places_take_none_away_and_more_are_there_at_once() {
        let places = Arc::new(Places::new(3));
        let take = async || Some(places.take().await?.place.take());
        let (a, b, c) = (take().await, take().await, take().await);
        assert!(a.is_some() && b.is_some() && c.is_some());
        assert!(take().await.is_none());

        places.resize(1);
        drop((a, b));
        assert!(take().await.is_none(), "one place, and it is taken");
        drop(c);
        let only = take().await;
        assert!(only.is_some());
        assert!(take().await.is_none());

        places.resize(2);
        let second = take().await;
        assert!(second.is_some());
        assert!(take().await.is_none());

        // Lowered and raised again while both are taken: nothing is owed any more.
        places.resize(1);
        places.resize(3);
        assert!(take().await.is_some());
        drop((only, second));
    }

    #[test]
    fn a_peers_places_follow_the_limit() {
        let places = Arc::new(Places::new(9));
        let peer: PeerId = "spiffe://x/core/a".parse().unwrap();
        let first = places.take_for(&peer, 1);
        assert!(first.is_some());
        assert!(places.take_for(&peer, 1).is_none());
        assert!(places.take_for(&peer, 2).is_some());
        assert_eq!(places.taken_by(&peer), 1);
    }
}
