//! `[admin]`: is the process alive, can it be used, and what has it counted? Told over plain
//! HTTP/1.1, to this machine alone.
//!
//! Nobody authenticates here, so little is told and nothing can be done. A web page in a
//! browser on this machine can make requests too: what comes from one is refused, by the
//! `Origin` it carries, and by the `Host` where a name has been rebound to loopback.
//!
//! One connection is one request. At most [`MAX_CONNECTIONS`] are open; a newcomer takes
//! the place of the oldest, so that whoever holds them open keeps no probe out.

mod readiness;
mod request;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::cli::Failure;
pub(crate) use readiness::Readiness;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 16;
/// Longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a whole connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// Longest head of a request, in bytes; hyper's least.
const MAX_HEAD: usize = 8 * 1024;
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is told.
pub(crate) struct Answers {
    pub(crate) readiness: Arc<Readiness>,
    /// The metrics of this moment.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// The listener; given up, with its connections, on drop.
#[derive(Debug)]
pub(crate) struct Admin(JoinHandle<()>);

impl Admin {
    /// Binds `address` and answers from then on.
    pub(crate) async fn start(address: SocketAddr, answers: Arc<Answers>) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            Failure::new(format!("cannot listen on {address}, the address of [admin]"))
                .because(error)
                .fix("stop what listens there, or choose another address in [admin]")
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        tracing::info!(%address, "answering health checks");
        Ok(Self(tokio::spawn(accept_all(listener, address, answers))))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connections in the order in which they came. Dropped, all are cut.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    fn add(&mut self, connection: AbortHandle) {
        self.0.retain(|other| !other.is_finished());
        if self.0.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn accept_all(listener: TcpListener, local: SocketAddr, answers: Arc<Answers>) {
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let serving = tokio::spawn(serve(tcp, local, Arc::clone(&answers)));
                open.add(serving.abort_handle());
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a health check");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(tcp: TcpStream, local: SocketAddr, answers: Arc<Answers>) {
    let answer = service_fn(move |request| {
        let response = request::answer(&request, local, &answers);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), answer);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a health check failed"),
        Err(_) => tracing::debug!("a health check took too long"),
    }
}
