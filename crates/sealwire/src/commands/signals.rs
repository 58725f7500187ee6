//! When to stop, and when to read everything again.

use std::future::Future;
use std::io::{IsTerminal, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Failure;

/// A future that resolves at the first SIGTERM or SIGINT. From now on, neither ends the
/// process by itself.
#[cfg(unix)]
pub(crate) fn stop() -> Result<impl Future<Output = ()>, Failure> {
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
pub(crate) fn hangup() -> Result<Signal, Failure> {
    signal(SignalKind::hangup())
        .map_err(|error| Failure::new("cannot listen for signals").because(error))
}

/// A future that resolves when the terminal that we were started from is closed, which
/// says SIGHUP too. Who closes it means us to end, not to read files.
#[cfg(unix)]
pub(crate) fn terminal_lost() -> Result<impl Future<Output = ()>, Failure> {
    let had_one = stdin().is_terminal();
    let mut hangup = hangup()?;
    Ok(async move {
        loop {
            hangup.recv().await;
            if had_one && !stdin().is_terminal() {
                return;
            }
        }
    })
}
