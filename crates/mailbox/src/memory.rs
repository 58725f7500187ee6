use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealwire_envelope::{MAX_TTL, ReplayLimits, ReplayWindow, SecureAgentMessage, TimeRule};
use sealwire_names::{AgentId, Refusal, Timestamp};
use tokio::sync::{Notify, watch};

use crate::transport::{Fixed, random};
use crate::{
    Bell, Clock, Delivered, Label, Lease, Letter, Numbers, Round, Seen, Stream, Taken, Transport,
    TransportError,
};

/// Messages of one agent that there is room for, unless said otherwise. No more than the replay
/// window is wide: what waits while all others pass is still within it.
const CAPACITY: usize = 1_024;
/// Between looks for nothing in particular; nobody here rings in vain.
const SLOWEST: Duration = Duration::from_secs(3600);
/// Most streams that are counted; beyond, all begin new epochs.
const MAX_STREAMS: usize = 65_536;

/// Mailboxes in memory, for agents within one process.
///
/// Bounded: where a receiver has no room, [`put`](Transport::put) waits. Replays are told by a
/// [`ReplayWindow`] for each receiver, which refuses a message that was overtaken by more than
/// 1,023 others from its sender. Nothing survives the process, and what cannot be delivered is
/// gone: there are no dead letters.
///
/// Clones share the mailboxes.
#[derive(Clone)]
pub struct MemoryTransport {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    clock: Clock,
    started: Timestamp,
    state: Mutex<State>,
    /// Something was removed.
    room: Notify,
}

#[derive(Default)]
struct State {
    boxes: HashMap<AgentId, Mailbox>,
    numbers: HashMap<Stream, (u64, u64)>,
    next: i64,
}

struct Mailbox {
    /// By priority, then by age.
    waiting: BTreeMap<(Reverse<u8>, i64), Entry>,
    held: HashMap<i64, Entry>,
    window: ReplayWindow,
    rings: watch::Sender<u64>,
}

struct Entry {
    message: Arc<SecureAgentMessage>,
    bytes: Arc<[u8]>,
    due: Option<Timestamp>,
    takes: i64,
    delivered: bool,
}

impl Entry {
    fn lease(&self, agent: &AgentId, record: i64) -> Lease {
        let fixed = Fixed {
            from: self.message.from.clone(),
            priority: self.message.metadata.priority,
            size: self.bytes.len() as i64,
            body: None,
        };
        Lease { agent: agent.clone(), record, take: self.takes, holder: 0, fixed }
    }
}

impl MemoryTransport {
    /// Mailboxes with room for 1,024 messages each.
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY, Clock::system())
    }

    /// Mailboxes with room for so many messages each, at least one, by this clock.
    pub fn with_capacity(capacity: usize, clock: Clock) -> Self {
        let started = clock.now();
        let (state, room) = (Mutex::default(), Notify::new());
        let capacity = capacity.max(1);
        Self { shared: Arc::new(Shared { capacity, clock, started, state, room }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All who are to get it have room, and have it; or nobody does.
    fn try_put(&self, letter: &Letter) -> bool {
        let mut state = self.state();
        let full = |agent| {
            let full = |mailbox: &Mailbox| mailbox.len() >= self.shared.capacity;
            state.boxes.get(agent).is_some_and(full)
        };
        if letter.to.iter().any(full) {
            return false;
        }
        let bytes: Arc<[u8]> = letter.message.as_bytes().into();
        let message = Arc::new(letter.message.clone());
        for agent in &letter.to {
            state.next += 1;
            let place = (Reverse(message.metadata.priority), state.next);
            let (message, bytes) = (Arc::clone(&message), Arc::clone(&bytes));
            let entry = Entry { message, bytes, due: None, takes: 0, delivered: false };
            let mailbox = self.mailbox(&mut state, agent);
            mailbox.waiting.insert(place, entry);
            mailbox.ring();
        }
        true
    }

    fn mailbox<'a>(&self, state: &'a mut State, agent: &AgentId) -> &'a mut Mailbox {
        state.boxes.entry(agent.clone()).or_insert_with(|| Mailbox::new(self.shared.started))
    }

    /// Does something with a message on lease.
    fn held<R>(
        &self,
        lease: &Lease,
        then: impl FnOnce(&mut Mailbox, Entry) -> R,
    ) -> Result<R, TransportError> {
        let mut state = self.state();
        let mailbox = state.boxes.get_mut(&lease.agent).ok_or(TransportError::LeaseLost)?;
        match mailbox.held.remove(&lease.record) {
            Some(entry) if entry.takes == lease.take => Ok(then(mailbox, entry)),
            Some(other) => {
                mailbox.held.insert(lease.record, other);
                Err(TransportError::LeaseLost)
            }
            None => Err(TransportError::LeaseLost),
        }
    }

    fn give_back(&self, lease: &Lease, due: Option<Timestamp>) -> Result<(), TransportError> {
        self.held(lease, |mailbox, entry| {
            let place = (Reverse(entry.message.metadata.priority), lease.record);
            mailbox.waiting.insert(place, Entry { due, ..entry });
            mailbox.ring();
        })
    }
}

impl Default for MemoryTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    fn new(started: Timestamp) -> Self {
        let limits = ReplayLimits {
            // Ids are remembered until the messages expire.
            tolerance: MAX_TTL,
            // Senders have the same clock.
            max_future_skew: Duration::ZERO,
            ..ReplayLimits::default()
        };
        // Times of issue are whole seconds: what is made in the first one is not from before.
        let before = Timestamp::from_unix_millis(started.unix_seconds() * 1000 - 1);
        Self {
            waiting: BTreeMap::new(),
            held: HashMap::new(),
            window: ReplayWindow::new(limits, before),
            rings: watch::Sender::new(0),
        }
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.held.len()
    }

    fn ring(&self) {
        self.rings.send_modify(|rings| *rings += 1);
    }

    /// The next messages that may be taken: not behind one of the same sender and priority that
    /// is put off.
    fn next(&self, now: Timestamp, most: usize) -> (Vec<(Reverse<u8>, i64)>, Option<Timestamp>) {
        let (mut places, mut put_off, mut soonest) = (Vec::new(), Vec::new(), None);
        for (place, entry) in &self.waiting {
            if places.len() == most {
                break;
            }
            let lane = (&entry.message.from, place.0);
            match entry.due.filter(|due| *due > now) {
                Some(due) => {
                    put_off.push(lane);
                    soonest = Some(soonest.map_or(due, |earlier: Timestamp| earlier.min(due)));
                }
                None if put_off.contains(&lane) => {}
                None => places.push(*place),
            }
        }
        (places, soonest)
    }
}

impl Transport for MemoryTransport {
    async fn put(&self, letter: Letter) -> Result<(), TransportError> {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // From here on it hears of room, so that none is missed while looking.
            room.as_mut().enable();
            if self.try_put(&letter) {
                return Ok(());
            }
            room.await;
        }
    }

    async fn take(&self, agent: &AgentId, most: usize) -> Result<Round, TransportError> {
        let now = self.now();
        let mut state = self.state();
        let mailbox = self.mailbox(&mut state, agent);
        let (places, due) = mailbox.next(now, most);
        let mut round = Round { taken: Vec::new(), due };
        for place in places {
            let Some(mut entry) = mailbox.waiting.remove(&place) else { continue };
            entry.takes += 1;
            let seen = match mailbox.window.seen(&entry.message) {
                _ if entry.delivered => Seen::ThisOne,
                Ok(()) => Seen::Never,
                Err(_) => Seen::Another,
            };
            round.taken.push(Taken {
                bytes: Arc::clone(&entry.bytes),
                label: Label::of(&entry.message),
                lease: entry.lease(agent, place.1),
                seen,
            });
            mailbox.held.insert(place.1, entry);
        }
        Ok(round)
    }

    async fn deliver(
        &self,
        lease: &Lease,
        message: &SecureAgentMessage,
    ) -> Result<Delivered, TransportError> {
        let now = self.now();
        self.held(lease, |mailbox, mut entry| {
            let redelivered = entry.delivered;
            let claimed = if redelivered { Ok(()) } else { mailbox.window.claim(message, now) };
            entry.delivered |= claimed.is_ok();
            mailbox.held.insert(lease.record, entry);
            claimed.map(|()| Delivered { redelivered })
        })?
        .map_err(TransportError::from)
    }

    async fn acknowledge(&self, lease: &Lease) -> Result<(), TransportError> {
        let delivered = self.held(lease, |mailbox, entry| {
            let delivered = entry.delivered;
            if !delivered {
                mailbox.held.insert(lease.record, entry);
            }
            delivered
        })?;
        self.shared.room.notify_waiters();
        if delivered { Ok(()) } else { Err(TransportError::LeaseLost) }
    }

    async fn release(&self, lease: &Lease, due: Timestamp) -> Result<(), TransportError> {
        self.give_back(lease, Some(due))
    }

    async fn bury(&self, lease: &Lease, _reason: Refusal) -> Result<(), TransportError> {
        self.held(lease, |_, _| ())?;
        self.shared.room.notify_waiters();
        Ok(())
    }

    fn abandon(&self, lease: &Lease) {
        // If it was lost, there is nothing to give back.
        let _lost = self.give_back(lease, None);
    }

    fn times(&self) -> TimeRule {
        TimeRule::UntilExpiry { tolerance: Duration::ZERO }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn bell(&self, agent: &AgentId) -> Bell {
        let mut state = self.state();
        Bell::new(self.mailbox(&mut state, agent).rings.subscribe(), SLOWEST)
    }

    async fn number(
        &self,
        stream: Stream,
        count: u32,
        _expires: Timestamp,
    ) -> Result<Numbers, TransportError> {
        let mut state = self.state();
        if state.numbers.len() >= MAX_STREAMS {
            state.numbers.clear();
        }
        let (epoch, next) = match state.numbers.get(&stream) {
            Some(known) => *known,
            None => (u64::from_ne_bytes(random()?), 0),
        };
        state.numbers.insert(stream, (epoch, next + u64::from(count)));
        Ok(Numbers { epoch, first: next, count })
    }
}
