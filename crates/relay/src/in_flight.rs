//! The requests of one direction that wait for an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use sealwire_names::{Refusal, RefusalCode};

use crate::message::RequestId;

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
    /// Whoever asked no longer waits, but the answer may be on its way (MCP 2025-11-25,
    /// Cancellation): it passes if it comes, and nobody is told if it does not.
    cancelled: bool,
}

impl Call {
    pub(crate) fn new(target: Arc<Target>, since: Instant) -> Self {
        Self { target, since, cancelled: false }
    }
}

#[derive(Default)]
pub(crate) struct InFlight {
    calls: HashMap<RequestId, Call>,
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
        if self.cancelled > MAX_CANCELLED {
            self.calls.retain(|_, call| !call.cancelled);
            self.cancelled = 0;
        }
    }

    /// Gives up all requests; yields those whose answers somebody waits for.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = (RequestId, Call)> + use<> {
        self.cancelled = 0;
        std::mem::take(&mut self.calls).into_iter().filter(|(_, call)| !call.cancelled)
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
        let mut waiting: Vec<_> = in_flight.give_up().map(|(id, _)| id.to_string()).collect();
        waiting.sort();
        assert_eq!(waiting, ["0", "2"]);
        assert!(!in_flight.is_waiting() && in_flight.give_up().next().is_none());
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
