//! Who may be told what is revoked, at the same time: so many in all, so many of one name, and so
//! many of one network. All of them are known, and one may still be stolen, or run wild.
//!
//! Where all seats are taken, a newcomer takes that of whoever has the most, if he has fewer himself
//! then: so a few who take all that they get keep nobody else out, and equals not each other.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealwire_names::PeerId;
use tokio::sync::Notify;

use super::doors::network;

/// Most seats, most of one peer (each of its processes asks for itself), and most of one network.
const MOST: usize = 768;
const MOST_OF_PEER: usize = 64;
const MOST_OF_NETWORK: usize = 512;

/// The seats, and who has them.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// The oldest first.
    all: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    number: u64,
    peer: PeerId,
    network: IpAddr,
    lost: Arc<Notify>,
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    number: u64,
    lost: Arc<Notify>,
}

impl Seats {
    /// A seat for that peer, who comes from that address; `None` if there is none for him.
    pub(super) fn take(&self, peer: &PeerId, address: IpAddr) -> Option<Seat<'_>> {
        let mut taken = self.lock();
        let network = network(address);
        let of_peer = taken.all.iter().filter(|row| row.peer == *peer).count();
        let of_network = taken.all.iter().filter(|row| row.network == network).count();
        if of_peer >= MOST_OF_PEER {
            return None;
        }
        let victim = if taken.all.len() >= MOST {
            let by_name = most(&taken.all, |row| &row.peer, of_peer);
            let by_network = || most(&taken.all, |row| &row.network, of_network);
            Some(by_name.or_else(by_network)?)
        } else if of_network >= MOST_OF_NETWORK {
            // Of those of the same network.
            let here = || taken.all.iter().filter(|row| row.network == network);
            let worst = most(here(), |row| &row.peer, of_peer)?;
            let number = here().nth(worst).map(|row| row.number);
            Some(taken.all.iter().position(|row| Some(row.number) == number)?)
        } else {
            None
        };
        if let Some(victim) = victim {
            taken.all.remove(victim).lost.notify_one();
        }
        taken.last += 1;
        let (number, lost) = (taken.last, Arc::new(Notify::new()));
        let peer = peer.clone();
        taken.all.push(Row { number, peer, network, lost: Arc::clone(&lost) });
        Some(Seat { seats: self, number, lost })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of the oldest row of whoever has the most, if that is more than `own` will be with one
/// more.
fn most<'r, K: Eq + Hash + 'r>(
    rows: impl IntoIterator<Item = &'r Row>,
    key: impl Fn(&'r Row) -> &'r K,
    own: usize,
) -> Option<usize> {
    let mut counts: HashMap<&K, (usize, usize)> = HashMap::new();
    for (place, row) in rows.into_iter().enumerate() {
        counts.entry(key(row)).or_insert((0, place)).0 += 1;
    }
    let (count, oldest) =
        counts.into_values().max_by_key(|(count, oldest)| (*count, usize::MAX - oldest))?;
    (count > own + 1).then_some(oldest)
}

impl Seat<'_> {
    /// Waits until somebody else has got it.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.lock().all.retain(|row| row.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn peer(number: usize) -> PeerId {
        format!("spiffe://x/core/p{number}").parse().unwrap()
    }

    /// Addresses of a network of their own for each number.
    fn address(number: usize) -> IpAddr {
        let number = u16::try_from(number).unwrap();
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, 7))
    }

    fn is_lost(seat: &Seat<'_>) -> bool {
        let mut lost = pin!(seat.lost());
        lost.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn twelve_who_take_all_keep_nobody_out() {
        let seats = Seats::default();
        let mut held: Vec<Seat<'_>> = Vec::new();
        for name in 0..12 {
            held.extend((0..100).filter_map(|_| seats.take(&peer(name), address(name))));
        }
        assert_eq!(held.len(), MOST);
        let honest: Vec<_> = (20..60).map(|n| seats.take(&peer(n), address(n)).unwrap()).collect();
        assert!(honest.iter().all(|seat| !is_lost(seat)));
        assert_eq!(held.iter().filter(|seat| is_lost(seat)).count(), honest.len());
        // Whoever has lost one does not get it back from those who have less.
        assert!(seats.take(&peer(0), address(0)).is_none());
        assert!(honest.iter().all(|seat| !is_lost(seat)));
    }

    #[test]
    fn equals_do_not_take_from_each_other() {
        let seats = Seats::default();
        let held: Vec<_> = (0..MOST).map(|n| seats.take(&peer(n), address(n)).unwrap()).collect();
        assert!(seats.take(&peer(MOST), address(MOST)).is_none());
        assert!(held.iter().all(|seat| !is_lost(seat)));
        drop(held);
        assert!(seats.take(&peer(MOST), address(MOST)).is_some());
    }

    /// Many names from one network do not keep out who comes from another one.
    #[test]
    fn no_network_has_all_the_seats() {
        let seats = Seats::default();
        let taken = |seat: Option<Seat<'_>>| seat.map(std::mem::forget).is_some();
        let of_one = (0..MOST).filter(|n| taken(seats.take(&peer(*n), address(1)))).count();
        assert_eq!(of_one, MOST_OF_NETWORK);
        assert!(taken(seats.take(&peer(9_000), address(2))));
    }

    #[test]
    fn a_seat_that_was_lost_frees_none_when_it_is_dropped() {
        let seats = Seats::default();
        let mut of_one: Vec<_> =
            (0..MOST_OF_PEER).map(|_| seats.take(&peer(0), address(0)).unwrap()).collect();
        assert!(seats.take(&peer(0), address(0)).is_none());
        of_one.pop();
        assert!(seats.take(&peer(0), address(0)).is_some());
        drop(of_one);
        assert_eq!(seats.lock().all.len(), 0);
    }
}
