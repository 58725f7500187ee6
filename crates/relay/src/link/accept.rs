//! The serving side's carrier: connections are handed to it by the listener.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sealwire_identity::VerifiedPeer;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::endpoint::{Carrier, Connected, LinkState};
use super::{LinkError, Tcp};

/// A connection for a conversation, greeted by its peer but not yet by us.
pub(crate) struct Attachment {
    /// Of the hello; 0 for the first connection.
    pub(crate) generation: u64,
    /// The certificate that the peer presented on it.
    pub(crate) peer: Arc<VerifiedPeer>,
    pub(crate) connected: Connected<TlsStream<Tcp>>,
}

/// Whether a connection by that certificate may still be taken.
pub(crate) type Admits = Box<dyn Fn(&VerifiedPeer) -> bool + Send>;

/// Connections for one conversation. One of a later generation replaces one of an earlier,
/// which is thereby fenced off: nothing that it still has under way is read or written any
/// more. Two that were accepted at the same time may arrive here in either order.
pub(crate) struct Attachments {
    incoming: mpsc::Receiver<Attachment>,
    generation: u64,
    /// Of the latest connection, also while there is none.
    presented: watch::Sender<Arc<VerifiedPeer>>,
    admits: Admits,
    resume_window: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Attachments {
    /// `presented` is told the certificate of each connection that is taken, before a byte of
    /// it is read or written.
    pub(crate) fn new(
        incoming: mpsc::Receiver<Attachment>,
        presented: watch::Sender<Arc<VerifiedPeer>>,
        admits: Admits,
        resume_window: Duration,
    ) -> Self {
        Self { incoming, generation: 0, presented, admits, resume_window, deadline: None }
    }
}

impl Carrier for Attachments {
    type Stream = TlsStream<Tcp>;

    fn poll_connect(
        &mut self,
        cx: &mut Context<'_>,
        state: LinkState,
    ) -> Poll<Result<Connected<Self::Stream>, LinkError>> {
        while let Poll::Ready(attachment) = self.incoming.poll_recv(cx) {
            let Some(Attachment { generation, peer, connected }) = attachment else {
                // The registry keeps a sender for as long as the conversation lives.
                return Poll::Ready(Err(LinkError::Abandoned(Duration::ZERO)));
            };
            // It was good when it was admitted, and has waited here since.
            if generation >= self.generation && (self.admits)(&peer) {
                self.presented.send_replace(peer);
                self.generation = generation;
                self.deadline = None;
                return Poll::Ready(Ok(connected));
            }
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
