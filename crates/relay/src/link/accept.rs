//! The serving side's carrier: connections are handed to it by the listener.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::endpoint::{Carrier, Connected, LinkState};
use super::{LinkError, Tcp};

/// A connection for a conversation, greeted by its peer but not yet by us.
pub(crate) type Attachment = Connected<TlsStream<Tcp>>;

/// Connections for one conversation, in the order in which they were accepted. A later
/// one replaces an earlier one, which is thereby fenced off: nothing that it still has
/// under way is read or written any more.
pub(crate) struct Attachments {
    incoming: mpsc::Receiver<Attachment>,
    resume_window: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Attachments {
    pub(crate) fn new(incoming: mpsc::Receiver<Attachment>, resume_window: Duration) -> Self {
        Self { incoming, resume_window, deadline: None }
    }
}

impl Carrier for Attachments {
    type Stream = TlsStream<Tcp>;

    fn poll_connect(
        &mut self,
        cx: &mut Context<'_>,
        state: LinkState,
    ) -> Poll<Result<Attachment, LinkError>> {
        if let Poll::Ready(attachment) = self.incoming.poll_recv(cx) {
            self.deadline = None;
            // The registry keeps a sender for as long as the conversation lives.
            let gone = LinkError::Abandoned(Duration::ZERO);
            return Poll::Ready(attachment.ok_or(gone));
        }
        if state.is_connected {
            return Poll::Pending;
        }
        let window = self.resume_window;
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + window)));
        deadline.as_mut().poll(cx).map(|()| Err(LinkError::Abandoned(window)))
    }
}
