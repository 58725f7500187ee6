//! Messages are acknowledged when the answer that holds them has been written, not when it
//! has been made: a client that is gone by then has not got them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{JsonRpcMessage, RequestId};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use sealwire_mailbox::{Delivery, SqliteTransport};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest that the end waits for what is being acknowledged.
const PATIENCE: Duration = Duration::from_secs(5);

type Deliveries = Vec<Delivery<SqliteTransport>>;

/// The deliveries whose answers are on their way, and the acknowledgements.
#[derive(Clone, Default)]
pub(super) struct Acknowledged(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: HashMap<RequestId, Deliveries>,
    tasks: JoinSet<()>,
}

impl Acknowledged {
    /// Acknowledges these when the answer to that request has been written.
    pub(super) fn when_written(&self, request: RequestId, deliveries: Deliveries) {
        // What had this id before was never answered; dropped, it is given back.
        self.lock().under_way.insert(request, deliveries);
    }

    /// Waits for the acknowledgements of what was written, and gives the rest back.
    pub(super) async fn finish(&self) {
        let (mut tasks, rest) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.under_way))
        };
        drop(rest);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("messages that were handed out could not be acknowledged in time");
        }
    }

    fn acknowledge(&self, deliveries: Deliveries) {
        let mut state = self.lock();
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(async move {
            for delivery in deliveries {
                if let Err(error) = delivery.ack().await {
                    tracing::warn!(%error, "a message that was handed out may be delivered again");
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transport that knows which answers it has written.
pub(super) struct Acknowledging<T> {
    inner: T,
    acknowledged: Acknowledged,
}

impl<T> Acknowledging<T> {
    pub(super) fn new(inner: T, acknowledged: Acknowledged) -> Self {
        Self { inner, acknowledged }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Acknowledging<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => {
                self.acknowledged.lock().under_way.remove(&response.id)
            }
            _ => None,
        };
        let sent = self.inner.send(item);
        let acknowledged = self.acknowledged.clone();
        async move {
            sent.await?;
            // Otherwise they are dropped, and given back.
            if let Some(deliveries) = answered {
                acknowledged.acknowledge(deliveries);
            }
            Ok(())
        }
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleServer>>> + Send {
        self.inner.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
