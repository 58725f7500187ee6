//! Who is served at the same time, and how often.
//!
//! Nobody is known before he has proven something. So there are few places, a newcomer takes that
//! of whoever has been there longest, and one network is served only so often. Whoever has proven
//! his invitation keeps his place: it is used up by then, and he must hear what came of it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// So often is one network served within [`WINDOW`].
const MOST_OF_ONE: u32 = 30;
const WINDOW: Duration = Duration::from_secs(10);
/// Networks that are counted apart; all others are counted as one.
const MOST_NETWORKS: usize = 4096;

/// The connections that are served, and who came lately.
#[derive(Default)]
pub(super) struct Doors {
    open: VecDeque<(Place, AbortHandle)>,
    seen: Seen,
}

/// The place of a connection among those that are served at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Arc<AtomicU8>);

const TAKEN: u8 = 0;
const KEPT: u8 = 1;
const LOST: u8 = 2;
const LEFT: u8 = 3;

impl Place {
    /// Keeps it until the connection ends. `false` if a newcomer has it already.
    pub(super) fn keep(&self) -> bool {
        self.turn_to(KEPT)
    }

    /// Gives it to others, and goes on: whoever is known is counted elsewhere. `false` as above.
    pub(super) fn leave(&self) -> bool {
        self.turn_to(LEFT)
    }

    fn has_left(&self) -> bool {
        self.0.load(Ordering::Acquire) == LEFT
    }

    fn turn_to(&self, what: u8) -> bool {
        let turned = self.0.compare_exchange(TAKEN, what, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok_and(|_| true) || turned == Err(what)
    }
}

impl Doors {
    /// A place for whoever comes from that address, if there is one for him.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> Option<Place> {
        if !self.seen.may_go_on(address, now) {
            return None;
        }
        self.open.retain(|(place, task)| !task.is_finished() && !place.has_left());
        if self.open.len() >= MAX_CONNECTIONS {
            let longest = self.open.iter().position(|(place, _)| place.turn_to(LOST))?;
            let (_, task) = self.open.remove(longest)?;
            task.abort();
        }
        Some(Place::default())
    }

    /// Who has that place.
    pub(super) fn seat(&mut self, place: Place, task: AbortHandle) {
        self.open.push_back((place, task));
    }
}

/// How often each network came within the present window.
#[derive(Default)]
struct Seen {
    window: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
    others: u32,
}

impl Seen {
    fn may_go_on(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            *self = Self { window: Some(now), ..Self::default() };
        }
        let has_room = self.counts.len() < MOST_NETWORKS;
        let network = network(address);
        let count = match self.counts.get_mut(&network) {
            Some(count) => count,
            None if has_room => self.counts.entry(network).or_default(),
            None => &mut self.others,
        };
        *count = count.saturating_add(1);
        *count <= MOST_OF_ONE
    }
}

/// What one subscriber has: an address of IPv4, and of IPv6 64 bits, within which he has as many
/// addresses as he likes (RFC 6177).
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::task::JoinHandle;

    use super::*;

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[tokio::test]
    async fn who_has_proven_his_invitation_is_not_put_out() {
        let (mut doors, now) = (Doors::default(), Instant::now());
        let mut come = |number| -> Option<(Place, JoinHandle<()>)> {
            let place = doors.admit(address(number), now)?;
            let task = tokio::spawn(std::future::pending());
            doors.seat(place.clone(), task.abort_handle());
            Some((place, task))
        };
        let first: Vec<_> = (0..MAX_CONNECTIONS).map(|number| come(number).unwrap()).collect();
        assert!(first[0].0.keep());
        come(100).unwrap();
        let [(kept, serving), (lost, ended), ..] = first.as_slice() else { unreachable!() };
        assert!(kept.keep(), "as often as he likes");
        assert!(!lost.keep(), "he is too late");
        while !ended.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!serving.is_finished());
        // Where everybody has, it is the newcomer who goes.
        first[2..].iter().for_each(|(place, _)| assert!(place.keep()));
        assert!(come(101).is_some_and(|(place, _)| place.keep()), "in the place of the newcomer");
        assert!(come(102).is_none());
        // Who is done makes room.
        serving.abort();
        while !serving.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(come(103).is_some());
        // Who has left goes on, and makes room, too.
        let (place, task) = &first[2];
        assert!(!place.leave(), "he has said that he stays");
        let (mut doors, now) = (Doors::default(), Instant::now());
        let left: Vec<_> = (0..2 * MAX_CONNECTIONS)
            .map(|number| {
                let place = doors.admit(address(number), now).unwrap();
                let task = tokio::spawn(std::future::pending::<()>());
                doors.seat(place.clone(), task.abort_handle());
                assert!(place.leave());
                task
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(!task.is_finished() && left.iter().all(|task| !task.is_finished()));
    }

    #[test]
    fn a_network_is_served_only_so_often() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        for _ in 0..MOST_OF_ONE {
            assert!(seen.may_go_on(address(1), start));
        }
        assert!(!seen.may_go_on(address(1), start));
        assert!(seen.may_go_on(address(2), start));
        assert!(!seen.may_go_on(address(1), start + WINDOW - Duration::from_millis(1)));
        assert!(seen.may_go_on(address(1), start + WINDOW));
        let networks = MOST_NETWORKS + usize::try_from(MOST_OF_ONE).unwrap();
        (2..networks).for_each(|number| {
            seen.may_go_on(address(number), start + WINDOW);
        });
        assert!(seen.may_go_on(address(networks), start + WINDOW));
        assert!(!seen.may_go_on(address(networks + 1), start + WINDOW));
        assert!(seen.counts.len() <= MOST_NETWORKS);
    }

    #[test]
    fn addresses_of_one_network_are_counted_together() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let from = |text: String| -> IpAddr { text.parse().unwrap() };
        for number in 0..MOST_OF_ONE {
            assert!(seen.may_go_on(from(format!("2001:db8:1:2::{number:x}")), now));
            assert!(seen.may_go_on(from(format!("::ffff:10.0.0.{number}")), now));
        }
        assert!(!seen.may_go_on(from("2001:db8:1:2:ffff::1".into()), now));
        assert!(seen.may_go_on(from("2001:db8:1:3::1".into()), now));
        // What is IPv4 is counted as such, however it is written.
        assert!(seen.may_go_on(from("::ffff:10.0.0.0".into()), now));
        assert!(seen.may_go_on(from("10.0.0.1".into()), now));
        assert_eq!(network(from("::ffff:10.0.0.1".into())), from("10.0.0.1".into()));
    }
}
