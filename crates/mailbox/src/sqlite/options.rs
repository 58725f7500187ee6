use std::time::Duration;

use sealwire_envelope::MAX_TTL;

use crate::Clock;

/// Limits of a mailbox file. Every process that opens the file should have the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long mail may wait. A message that is to expire later is refused, so that this also
    /// bounds how long message ids are remembered. Dead letters stay as long again. Default:
    /// [`MAX_TTL`].
    pub retention: Duration,
    /// Most messages that wait for one agent, of which half may be from one sender. Default: 10,000.
    pub max_messages: u64,
    /// Most bytes that wait for one agent, of which half may be from one sender. Default: 256 MiB.
    pub max_bytes: u64,
    /// Most dead letters of one agent; the oldest go first. They also have at most `max_bytes`.
    /// Default: 1,000.
    pub max_dead: u64,
    /// How often a message is delivered without being acknowledged before it becomes a dead
    /// letter. Default: 20.
    pub max_deliveries: u32,
    /// How long a message stays with a receiver that has been killed. A live one renews its
    /// leases by itself, however long it takes. Default: 15 s.
    pub lease: Duration,
    /// How far senders' clocks may be ahead of ours. After the loss of the replay state,
    /// messages made up to this long afterwards are dead letters, too. Default: 300 s.
    pub clock_tolerance: Duration,
    /// The longest time between two looks of a waiting receiver, for the case that a sender was
    /// killed between the commit and ringing the bell. Default: 5 s.
    pub slowest_look: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            retention: MAX_TTL,
            max_messages: 10_000,
            max_bytes: 256 << 20,
            max_dead: 1_000,
            max_deliveries: 20,
            lease: Duration::from_secs(15),
            clock_tolerance: Duration::from_secs(300),
            slowest_look: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}
