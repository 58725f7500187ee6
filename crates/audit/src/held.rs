//! Requests that were allowed, and not recorded yet: their entry waits for the outcome, and is one
//! with it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use sealwire_names::Timestamp;

use crate::call::{CallBody, Hash, Own};

/// Most that wait.
const MOST: u64 = 1024;
/// Most different texts of theirs.
const MOST_TEXTS: usize = 16;
/// Most whose entries are remembered, because no outcome has come yet.
const MOST_RECORDED: usize = 1 << 16;

/// Decisions that wait for their outcome, each with a number of its own, later ones with higher ones.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Each is at its number modulo [`MOST`].
    decisions: Vec<Decision>,
    /// Places of those that do not wait any more. The one that was used last, which the processor
    /// has at hand, is used first.
    free: Vec<u64>,
    /// How many there have been.
    count: u64,
    texts: Vec<Text>,
    /// The entries of those that had to be recorded without their outcome.
    recorded: BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug, Default)]
struct Decision {
    number: u64,
    /// What it has in common with others; `None` if it waits no longer.
    text: Option<usize>,
    /// In milliseconds.
    at: i64,
    /// Empty if there is none.
    id: Vec<u8>,
    arguments: Option<Hash>,
    is_cut: bool,
}

#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    /// How many of those that wait say it.
    users: usize,
}

impl Held {
    /// Takes a decision: its number. `None` if it has to be recorded at once.
    pub(crate) fn hold(&mut self, at: Timestamp, body: &CallBody<'_>) -> Option<NonZeroU64> {
        let place = match self.free.last() {
            Some(&place) => place,
            None if self.decisions.len() < MOST as usize => {
                self.free.push(self.decisions.len() as u64);
                self.decisions.push(Decision::default());
                self.free[0]
            }
            None => return None,
        };
        let text = self.use_text(body.shared[0])?;
        self.free.pop();
        self.count += 1;
        let slot = &mut self.decisions[place as usize];
        slot.number = self.count * MOST + place;
        slot.text = Some(text);
        slot.at = at.unix_millis();
        slot.id.clear();
        slot.id.extend_from_slice(body.own.id.unwrap_or_default());
        slot.arguments = body.own.arguments.copied();
        slot.is_cut = body.is_cut;
        NonZeroU64::new(slot.number)
    }

    /// Lets go of a decision: when it was, and what is to be recorded of it. `None` if it does not
    /// wait.
    pub(crate) fn release(&mut self, number: u64) -> Option<(Timestamp, CallBody<'_>)> {
        let place = number % MOST;
        let decision = self.decisions.get_mut(place as usize)?;
        let text = decision.text.take_if(|_| decision.number == number)?;
        let text = &mut self.texts[text];
        text.users -= 1;
        self.free.push(place);
        let id = Some(&decision.id[..]).filter(|id| !id.is_empty());
        let own = Own { id, arguments: decision.arguments.as_ref(), ..Own::default() };
        let body = CallBody { shared: [&text.bytes, b""], own, is_cut: decision.is_cut };
        Some((Timestamp::from_unix_millis(decision.at), body))
    }

    /// Those that wait, from the oldest on.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let waiting = self.decisions.iter().filter(|decision| decision.text.is_some());
        let mut numbers: Vec<_> = waiting.map(|decision| decision.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Remembers where a decision was recorded that waits no longer.
    pub(crate) fn was_recorded(&mut self, number: u64, place: (u64, u64)) {
        self.recorded.insert(number, place);
        if self.recorded.len() > MOST_RECORDED {
            self.recorded.pop_first();
        }
    }

    /// Where a decision was recorded whose outcome has come.
    pub(crate) fn take_recorded(&mut self, number: u64) -> Option<(u64, u64)> {
        self.recorded.remove(&number)
    }

    /// Which of the texts that is now; `None` if there are too many.
    fn use_text(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = match self.texts.iter().position(|text| text.bytes == bytes) {
            Some(at) => at,
            None => {
                let bytes = bytes.to_vec();
                match self.texts.iter_mut().position(|text| text.users == 0) {
                    Some(at) => {
                        self.texts[at].bytes = bytes;
                        at
                    }
                    None if self.texts.len() < MOST_TEXTS => {
                        self.texts.push(Text { bytes, users: 0 });
                        self.texts.len() - 1
                    }
                    None => return None,
                }
            }
        };
        self.texts[at].users += 1;
        Some(at)
    }
}
