//! Messages of the client's that have not been written to any connection, and what of
//! them another server process can still be given.

use std::collections::{HashSet, VecDeque};

use crate::message::{Head, Parser, RequestId};
use crate::opening::{INITIALIZE, INITIALIZED};

/// What a message of the client's is to a server that takes another's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// A request: it stands for itself.
    Request(RequestId),
    /// A notification that stands for itself.
    Notification,
    /// The cancellation of a request: it belongs where that request went.
    Cancels(Option<RequestId>),
    /// Something that only the server means anything to that caused it: an answer to a
    /// request of its own, or word of how far that has got.
    Refers,
    /// The client's part of the opening, which is repeated by itself; with an id if it is
    /// the request.
    Opens(Option<RequestId>),
}

impl Bearing {
    /// Reads it from a message that has been judged before.
    pub(crate) fn of(message: &[u8]) -> Self {
        match Parser::default().parse(message) {
            Ok(Head::Request { id, method, .. }) if method == INITIALIZE => Self::Opens(Some(id)),
            Ok(Head::Request { id, .. }) => Self::Request(id),
            Ok(Head::Notification { method, params }) => match &*method {
                INITIALIZED => Self::Opens(None),
                "notifications/cancelled" => Self::Cancels(params.cancelled),
                "notifications/progress" => Self::Refers,
                _ => Self::Notification,
            },
            Ok(Head::Response { .. }) | Err(_) => Self::Refers,
        }
    }

    /// The id under which the client waits for an answer to it.
    pub(crate) fn awaited(self) -> Option<RequestId> {
        match self {
            Self::Request(id) | Self::Opens(Some(id)) => Some(id),
            _ => None,
        }
    }
}

/// Messages in order, to be sent once there is a server for them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    messages: VecDeque<Box<[u8]>>,
    bytes: usize,
    requests: HashSet<RequestId>,
}

impl Held {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    /// The ids of the requests among them.
    pub(crate) fn requests(&self) -> &HashSet<RequestId> {
        &self.requests
    }

    /// Adds a message at the end.
    pub(crate) fn push(&mut self, message: &[u8]) {
        self.requests.extend(Bearing::of(message).awaited());
        self.bytes += message.len();
        self.messages.push_back(message.into());
    }

    /// Puts what another server process can be given of `messages` before all others. What
    /// is not taken has no answer to come, or none that means anything there. The client's
    /// opening is not kept here either: whatever it has said of that is repeated by itself.
    pub(crate) fn put_first<'a>(&mut self, messages: impl Iterator<Item = &'a [u8]>) {
        let later = std::mem::take(self).messages;
        messages.for_each(|message| self.carry_over(message));
        later.iter().for_each(|message| self.carry_over(message));
    }

    fn carry_over(&mut self, message: &[u8]) {
        match Bearing::of(message) {
            Bearing::Request(_) | Bearing::Notification => self.push(message),
            Bearing::Cancels(Some(id)) if self.requests.contains(&id) => self.push(message),
            Bearing::Cancels(_) | Bearing::Refers | Bearing::Opens(_) => {}
        }
    }

    /// Takes out the first message.
    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        if let Some(id) = Bearing::of(&message).awaited() {
            self.requests.remove(&id);
        }
        Some(message)
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}"#;
    const OTHER: &[u8] = br#"{"jsonrpc":"2.0","id":"8","method":"ping"}"#;
    const CANCEL: &[u8] =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    const ROOTS: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;

    fn all(mut held: Held) -> Vec<Box<[u8]>> {
        std::iter::from_fn(|| held.pop()).collect()
    }

    #[test]
    fn what_refers_to_a_server_that_is_gone_goes_with_it() {
        let gone: [&[u8]; 6] = [
            br#"{"jsonrpc":"2.0","id":1,"result":{"role":"assistant"}}"#,
            br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
            br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#,
            br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            br#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#,
            CANCEL,
        ];
        let mut held = Held::default();
        held.put_first(gone.into_iter());
        assert!(held.is_empty() && held.bytes() == 0 && held.requests().is_empty());
        // The same cancellation belongs to a request that is still here.
        held.put_first([CALL, ROOTS, CANCEL].into_iter());
        assert_eq!(all(held), [CALL, ROOTS, CANCEL].map(Into::into));
    }

    /// Else it would be said twice: once as the opening, and once in its place here.
    #[test]
    fn an_opening_that_waits_is_not_taken_along() {
        let mut held = Held::default();
        held.push(br#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#);
        assert!(held.requests().contains(&RequestId::Integer(0)), "somebody waits for it");
        held.push(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        held.push(CALL);
        held.put_first([OTHER].into_iter());
        assert_eq!((held.bytes(), held.requests().len()), (OTHER.len() + CALL.len(), 2));
        assert_eq!(all(held), [OTHER, CALL].map(Into::into));
    }

    #[test]
    fn order_and_account_are_kept() {
        let mut held = Held::default();
        held.push(OTHER);
        held.put_first([CALL, ROOTS].into_iter());
        assert_eq!(held.bytes(), CALL.len() + ROOTS.len() + OTHER.len());
        assert_eq!((held.count(), held.requests().len()), (3, 2));
        assert_eq!(held.pop().as_deref(), Some(CALL));
        assert_eq!(held.requests().iter().map(ToString::to_string).collect::<Vec<_>>(), ["\"8\""]);
        assert_eq!(held.bytes(), ROOTS.len() + OTHER.len());
        assert_eq!(all(held), [ROOTS, OTHER].map(Into::into));
    }
}
