//! The requests of one direction that wait for an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use sealwire_audit::Position;
use sealwire_names::{Refusal, RefusalCode};

use crate::message::{Asked, RequestId};

/// Most requests that may wait.
const MAX_IN_FLIGHT: usize = 16_384;
/// Most cancelled requests that are remembered.
const MAX_CANCELLED: usize = 1_024;

/// What a request calls.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) method: Box<str>,
    pub(crate) subject: Option<Box<str>>,
}

/// A request that was let through.
pub(crate) struct Call {
    /// Shared by calls of the same tool that follow each other, as they mostly do.
    pub(crate) target: Arc<Target>,
    pub(crate) since: Instant,
    /// Which page of a list it asks for.
    pub(crate) page: Asked<'static>,
    /// The entry of its decision.
    pub(crate) decision: Position,
    /// Whoever asked no longer waits, but the answer may be on its way (MCP 2025-11-25,
    /// Cancellation): it passes if it comes, and nobody is told if it does not.
    cancelled: bool,
    /// Whoever asked is gone for good: the answer, if it comes, is for nobody.
    orphaned: bool,
}

impl Call {
    pub(crate) fn new(target: Arc<Target>, since: Instant) -> Self {
        Self {
            target,
            since,
            page: Asked::First,
            decision: Position::default(),
            cancelled: false,
            orphaned: false,
        }
    }

    /// The same, for a page of a list.
    pub(crate) fn of(self, page: Asked<'static>) -> Self {
        Self { page, ..self }
    }

    /// Whether the answer has nobody to go to.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned
    }
}

#[derive(Default)]
pub(crate) struct InFlight {
    /// Seeded at random, but not by a keyed function as strong as the standard library's,
    /// which would cost more than all else done here. Whoever made ids collide would slow
    /// down their own conversation, by at most [`MAX_IN_FLIGHT`] comparisons a message.
    calls: HashMap<RequestId, Call, RandomState>,
    cancelled: usize,
}

impl InFlight {
    /// Whether somebody waits for an answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.calls.len() > self.cancelled
    }

    /// Notes a request.
    pub(crate) fn enter(&mut self, id: RequestId, call: Call) -> Result<(), Refusal> {
        if self.calls.len() >= MAX_IN_FLIGHT {
            let reason = format!("{MAX_IN_FLIGHT} requests wait for an answer already");
            return Err(Refusal::new(RefusalCode::RequestsInFlight, reason));
        }
        match self.calls.entry(id) {
            Entry::Vacant(free) => {
                free.insert(call);
                Ok(())
            }
            Entry::Occupied(taken) => {
                let reason = format!("a request with id {} is waiting already", taken.key());
                Err(Refusal::new(RefusalCode::RequestIdInUse, reason))
            }
        }
    }

    /// The answer to a request has come.
    pub(crate) fn answered(&mut self, id: &RequestId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        self.cancelled -= usize::from(call.cancelled);
        Some(call)
    }

    /// Whoever made a request no longer waits for its answer.
    pub(crate) fn cancel(&mut self, id: &RequestId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if !std::mem::replace(&mut call.cancelled, true) {
            self.cancelled += 1;
        }
        self.forget_cancelled();
    }

    /// The entry of the decision about a request that is noted.
    pub(crate) fn decided(&mut self, id: &RequestId, decision: Position) {
        if let Some(call) = self.calls.get_mut(id) {
            call.decision = decision;
        }
    }

    /// Whether a request with this id is noted.
    pub(crate) fn contains(&self, id: &RequestId) -> bool {
        self.calls.contains_key(id)
    }

    /// Gives up the requests that `which` picks; yields those whose answers somebody
    /// waits for.
    pub(crate) fn give_up(&mut self, which: impl Fn(&RequestId) -> bool) -> Vec<(RequestId, Call)> {
        let mut given_up: Vec<_> = self.calls.extract_if(|id, _| which(id)).collect();
        let before = given_up.len();
        given_up.retain(|(_, call)| !call.cancelled);
        self.cancelled -= before - given_up.len();
        given_up
    }

    /// Whoever made these requests is gone. Answers may still come, and must not be taken
    /// for those to another's requests under the same ids. Yields what was waited for.
    pub(crate) fn orphan(&mut self) -> Vec<RequestId> {
        let mut orphans = Vec::new();
        for (id, call) in &mut self.calls {
            call.orphaned = true;
            if !std::mem::replace(&mut call.cancelled, true) {
                orphans.push(id.clone());
            }
        }
        self.cancelled = self.calls.len();
        self.forget_cancelled();
        orphans
    }

    fn forget_cancelled(&mut self) {
        if self.cancelled > MAX_CANCELLED {
            self.calls.retain(|_, call| !call.cancelled);
            self.cancelled = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call::new(Arc::default(), Instant::now())
    }

    fn id(number: usize) -> RequestId {
        RequestId::Integer(i64::try_from(number).unwrap())
    }

    #[test]
    fn a_cancelled_request_is_not_waited_for_but_may_be_answered() {
        let mut in_flight = InFlight::default();
        in_flight.enter(id(1), call()).unwrap();
        in_flight.enter(id(2), call()).unwrap();
        in_flight.cancel(&id(1));
        in_flight.cancel(&id(1));
        in_flight.cancel(&id(3));
        assert!(in_flight.is_waiting());
        assert!(in_flight.answered(&id(2)).is_some());
        assert!(!in_flight.is_waiting());
        assert_eq!(
            in_flight.enter(id(1), call()).unwrap_err().code,
            RefusalCode::RequestIdInUse,
            "its answer could be taken for the new request's"
        );
        assert!(in_flight.answered(&id(1)).is_some());
        assert!(in_flight.answered(&id(1)).is_none());
        assert!(!in_flight.is_waiting());
    }

    #[test]
    fn giving_up_tells_those_who_wait() {
        let mut in_flight = InFlight::default();
        (0..3).for_each(|number| in_flight.enter(id(number), call()).unwrap());
        in_flight.cancel(&id(1));
        let given_up = in_flight.give_up(|id| *id != self::id(2));
        assert_eq!(given_up.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [id(0)]);
        assert!(
            in_flight.is_waiting() && in_flight.contains(&id(2)) && !in_flight.contains(&id(1))
        );
        assert_eq!(in_flight.give_up(|_| true).len(), 1);
        assert!(!in_flight.is_waiting() && in_flight.give_up(|_| true).is_empty());
    }

    #[test]
    fn an_orphans_id_stays_taken_until_its_answer_has_come() {
        let mut in_flight = InFlight::default();
        (0..3).for_each(|number| in_flight.enter(id(number), call()).unwrap());
        in_flight.cancel(&id(1));
        let mut orphans = in_flight.orphan();
        orphans.sort_by_key(ToString::to_string);
        assert_eq!(orphans, [id(0), id(2)]);
        assert!(in_flight.orphan().is_empty() && !in_flight.is_waiting());
        assert!(in_flight.enter(id(0), call()).is_err());
        assert!(in_flight.answered(&id(0)).unwrap().is_orphaned());
        in_flight.enter(id(0), call()).unwrap();
        assert!(!in_flight.answered(&id(0)).unwrap().is_orphaned());
    }

    #[test]
    fn memory_is_bounded() {
        let mut in_flight = InFlight::default();
        for number in 0..MAX_IN_FLIGHT {
            in_flight.enter(id(number), call()).unwrap();
        }
        let full = in_flight.enter(id(MAX_IN_FLIGHT), call()).unwrap_err();
        assert_eq!(full.code, RefusalCode::RequestsInFlight);
        for number in 0..=MAX_CANCELLED {
            in_flight.cancel(&id(number));
        }
        assert!(in_flight.answered(&id(0)).is_none(), "forgotten");
        in_flight.enter(id(0), call()).unwrap();
    }
}
