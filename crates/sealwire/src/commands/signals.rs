//! When to stop, and when to read everything again.

use std::future::Future;

use crate::cli::Failure;

/// A future that resolves at the first SIGTERM or SIGINT. From now on, neither ends the
/// process by itself.
#[cfg(unix)]
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = |error| Failure::new("cannot listen for signals").because(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// SIGHUP, which from now on does not end the process.
#[cfg(unix)]
pub(crate) fn hangup() -> Result<tokio::signal::unix::Signal, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = |error| Failure::new("cannot listen for signals").because(error);
    signal(SignalKind::hangup()).map_err(cannot)
}
