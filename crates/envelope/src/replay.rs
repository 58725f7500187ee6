use std::collections::HashMap;
use std::time::Duration;

use sealwire_names::{Refusal, RefusalCode, Timestamp};

use crate::ids::{KeyId, Nonce, sha256};
use crate::message::SecureAgentMessage;
use crate::{Audience, cbor::Writer, header};

/// How far behind the highest `seq` of an epoch a message may come.
pub const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// The bounds of a [`ReplayWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// How old a message may be: what [`TimeRule::Direct`](crate::TimeRule::Direct) has.
    pub tolerance: Duration,
    /// How far ahead of ours a sender's clock may be: the same as there.
    pub max_future_skew: Duration,
    /// Most epochs, of all audiences together, that one signing key has at once.
    pub epochs_per_key: usize,
    /// Most epochs of all keys together; each takes about 250 bytes.
    pub epochs: usize,
}

impl Default for ReplayLimits {
    /// 300 s, 10 s, 64 epochs for each key, 65,536 in all (about 16 MiB).
    fn default() -> Self {
        Self {
            tolerance: Duration::from_secs(300),
            max_future_skew: Duration::from_secs(10),
            epochs_per_key: 64,
            epochs: 65_536,
        }
    }
}

/// What was received on a channel without a store: each message once.
///
/// Per signing key, audience and epoch it has the highest `seq` and which of the 1,024 up to
/// it were there. Its memory is bounded; an epoch is forgotten only when every message that
/// was received in it is too old to be accepted again. Where there is no room, what is new is
/// refused. It starts with nothing, so what was issued before it started, as far as that can
/// be told with clocks that differ, is refused too.
///
/// It relies on time going forward: across a restart, on the wall clock not being set back.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    limits: ReplayLimits,
    /// Messages issued up to then may have been received before the start.
    from: Timestamp,
    keys: HashMap<KeyId, Vec<Epoch>>,
    /// Epochs of all keys.
    count: usize,
    /// When a look at all keys may find something to forget.
    next_sweep: Timestamp,
}

#[derive(Clone, Debug)]
struct Epoch {
    audience: [u8; 32],
    epoch: u64,
    highest: u64,
    /// Bit `seq % 1024`: whether that one of the last 1,024 was there.
    bits: [u64; WORDS],
    /// When the last of its messages is too old.
    until: Timestamp,
}

impl ReplayWindow {
    /// A window that starts now, with no memory of what was before.
    pub fn new(limits: ReplayLimits, now: Timestamp) -> Self {
        let from = plus(now, limits.max_future_skew);
        Self { limits, from, keys: HashMap::new(), count: 0, next_sweep: now }
    }

    /// Whether a message could still be claimed; records nothing. A message whose epoch is
    /// new passes.
    ///
    /// # Errors
    /// `message_before_start`, `message_replayed`, `replay_window`.
    pub fn seen(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.check_start(message)?;
        let audience = digest(&message.audience);
        let epochs = self.keys.get(&message.sender_kid).map(Vec::as_slice).unwrap_or_default();
        epochs
            .iter()
            .find(|known| known.is(&audience, message.nonce))
            .map_or(Ok(()), |epoch| epoch.check(message))
    }

    /// Notes a message whose signature holds.
    ///
    /// # Errors
    /// Those of [`seen`](Self::seen), and `replay_capacity` where there is no room.
    pub fn claim(&mut self, message: &SecureAgentMessage, now: Timestamp) -> Result<(), Refusal> {
        self.check_start(message)?;
        let audience = digest(&message.audience);
        // What is accepted now is accepted until then at the latest.
        let until = plus(message.timestamp, self.limits.tolerance).min(message.expires);
        let epochs = self.keys.get_mut(&message.sender_kid);
        if let Some(known) = epochs
            .and_then(|epochs| epochs.iter_mut().find(|known| known.is(&audience, message.nonce)))
        {
            known.check(message)?;
            known.mark(message.nonce.seq);
            known.until = known.until.max(until);
            return Ok(());
        }
        self.make_room(message, now)?;
        let Nonce { epoch, seq } = message.nonce;
        let mut new = Epoch { audience, epoch, highest: seq, bits: [0; WORDS], until };
        new.mark(seq);
        self.keys.entry(message.sender_kid).or_default().push(new);
        self.count += 1;
        self.next_sweep = self.next_sweep.min(until);
        Ok(())
    }

    /// How many epochs it remembers.
    pub fn epochs(&self) -> usize {
        self.count
    }

    fn check_start(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        if message.timestamp > self.from {
            return Ok(());
        }
        let reason = format!(
            "issued at {}, and this side, which started then or later, does not know what it \
             received up to {}: it must be sent anew",
            message.timestamp, self.from
        );
        Err(Refusal::new(RefusalCode::MessageBeforeStart, reason))
    }

    fn make_room(&mut self, message: &SecureAgentMessage, now: Timestamp) -> Result<(), Refusal> {
        let ReplayLimits { epochs_per_key, epochs, .. } = self.limits;
        if let Some(of_key) = self.keys.get_mut(&message.sender_kid)
            && of_key.len() >= epochs_per_key
        {
            self.count -= forget(of_key, now);
            if of_key.len() >= epochs_per_key {
                let reason = format!(
                    "key {} of {} has {epochs_per_key} epochs at once already; a sender keeps \
                     its epoch",
                    message.sender_kid, message.from
                );
                return Err(Refusal::new(RefusalCode::ReplayCapacity, reason));
            }
        }
        if self.count >= epochs && now >= self.next_sweep {
            let mut forgotten = 0;
            let mut next = None;
            self.keys.retain(|_, of_key| {
                forgotten += forget(of_key, now);
                next = of_key.iter().map(|epoch| epoch.until).chain(next).min();
                !of_key.is_empty()
            });
            self.count -= forgotten;
            self.next_sweep = next.unwrap_or(now);
        }
        if self.count >= epochs {
            let reason = format!("{epochs} epochs are remembered already, of all senders together");
            return Err(Refusal::new(RefusalCode::ReplayCapacity, reason));
        }
        Ok(())
    }
}

impl Epoch {
    fn is(&self, audience: &[u8; 32], nonce: Nonce) -> bool {
        self.epoch == nonce.epoch && self.audience == *audience
    }

    fn check(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        let seq = message.nonce.seq;
        if seq > self.highest {
            return Ok(());
        }
        if self.highest - seq >= WINDOW {
            let reason = format!(
                "number {seq} of {} comes {WINDOW} or more behind number {}, too late to tell \
                 whether it was here",
                message.from, self.highest
            );
            return Err(Refusal::new(RefusalCode::ReplayWindow, reason));
        }
        let (word, bit) = place(seq);
        if self.bits[word] & bit != 0 {
            let reason = format!("number {seq} of {} was here before", message.from);
            return Err(Refusal::new(RefusalCode::MessageReplayed, reason));
        }
        Ok(())
    }

    /// Sets the bit of `seq`; those that leave the window are cleared.
    fn mark(&mut self, seq: u64) {
        if seq > self.highest {
            if seq - self.highest >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for left in self.highest + 1..=seq {
                    let (word, bit) = place(left);
                    self.bits[word] &= !bit;
                }
            }
            self.highest = seq;
        }
        let (word, bit) = place(seq);
        self.bits[word] |= bit;
    }
}

/// Forgets what can no longer be accepted, and says how many epochs that were.
fn forget(epochs: &mut Vec<Epoch>, now: Timestamp) -> usize {
    let before = epochs.len();
    epochs.retain(|epoch| epoch.until >= now);
    before - epochs.len()
}

fn place(seq: u64) -> (usize, u64) {
    let index = (seq % WINDOW) as usize;
    (index / 64, 1 << (index % 64))
}

fn digest(audience: &Audience) -> [u8; 32] {
    let mut w = Writer::default();
    header::encode_audience(&mut w, audience);
    sha256(&[&w.finish()])
}

fn plus(time: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis))
}
