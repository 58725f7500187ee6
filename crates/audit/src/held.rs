//! Requests that were allowed, and not recorded yet: their entry waits for the outcome, and is one
//! with it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use sealwire_names::Timestamp;

use crate::call::{CallBody, Hash, Own};

/// Most that wait.
const MOST: u64 = 1024;
/// Most different texts of theirs.
const MOST_TEXTS: usize = 16;
/// Most whose entries are remembered, because no outcome has come yet.
const MOST_RECORDED: usize = 1 << 16;

/// Decisions that wait for their outcome, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// A ring: each is at its number modulo [`MOST`].
    decisions: Vec<Decision>,
    /// How many there have been: the number of the latest.
    latest: u64,
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
    /// Takes a decision: its number. `None` if it has to be recorded at once. The one
    /// [`Held::in_the_way`] must not wait any more.
    pub(crate) fn hold(&mut self, at: Timestamp, body: &CallBody<'_>) -> Option<NonZeroU64> {
        let text = self.use_text(body.shared[0])?;
        self.latest += 1;
        let place = place(self.latest);
        if place == self.decisions.len() {
            self.decisions.push(Decision::default());
        }
        let slot = &mut self.decisions[place];
        slot.number = self.latest;
        slot.text = Some(text);
        slot.at = at.unix_millis();
        slot.id.clear();
        slot.id.extend_from_slice(body.own.id.unwrap_or_default());
        slot.arguments = body.own.arguments.copied();
        slot.is_cut = body.is_cut;
        NonZeroU64::new(self.latest)
    }

    /// Lets go of a decision: when it was, and what is to be recorded of it. `None` if it does not
    /// wait.
    pub(crate) fn release(&mut self, number: u64) -> Option<(Timestamp, CallBody<'_>)> {
        let decision = self.decisions.get_mut(place(number)).filter(|of| of.number == number)?;
        let text = &mut self.texts[decision.text.take()?];
        text.users -= 1;
        let id = Some(&decision.id[..]).filter(|id| !id.is_empty());
        let own = Own { id, arguments: decision.arguments.as_ref(), ..Own::default() };
        let body = CallBody { shared: [&text.bytes, b""], own, is_cut: decision.is_cut };
        Some((Timestamp::from_unix_millis(decision.at), body))
    }

    /// Those that may wait, from the oldest on.
    pub(crate) fn numbers(&self) -> RangeInclusive<u64> {
        match self.texts.iter().all(|text| text.users == 0) {
            true => RangeInclusive::new(1, 0),
            false => self.in_the_way().unwrap_or(1)..=self.latest,
        }
    }

    /// Whose place in the ring the next one gets.
    pub(crate) fn in_the_way(&self) -> Option<u64> {
        (self.latest + 1).checked_sub(MOST).filter(|&number| number > 0)
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

/// Where in the ring that decision is.
fn place(number: u64) -> usize {
    ((number - 1) % MOST) as usize
}
