//! Entries of commands: they go to the `serve` that runs, which alone writes the log then.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sealwire::config::SecureMcpConfig;
use sealwire_audit::{AuditSink, Change, ChangeKind, Event, LogSink, Position, body_of};

use super::client::find;
use super::protocol::Request;
use super::turn::{Looked, Turn};

/// How long another process may have the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records for a process that is not `serve`: by the one that runs, or by itself.
#[derive(Debug)]
pub(crate) struct Courier {
    config: SecureMcpConfig,
}

/// Where a command records what happens.
pub(crate) fn recorder(config: &SecureMcpConfig) -> Arc<dyn AuditSink> {
    if config.audit.enabled {
        Arc::new((Courier { config: config.clone() }, LogSink))
    } else {
        Arc::new(LogSink)
    }
}

/// Records what an operator's command has changed, in the log that there is: a home in which
/// nothing was ever served has none, and a command begins none.
pub(crate) fn note(
    config: &SecureMcpConfig,
    kind: ChangeKind,
    subject: impl Display,
    detail: &str,
) {
    if !config.audit.enabled || !config.audit.log_dir.join("lock").exists() {
        return;
    }
    let change = Change { kind, subject: Some(&subject), detail, until: None };
    let courier = Courier { config: config.clone() };
    if let Err(error) = courier.record(&Event::Change(&change)) {
        tracing::error!(%error, "it is done, and could not be recorded");
    }
}

impl Courier {
    fn deliver(&self, body: &[u8]) -> io::Result<()> {
        let mut turn = Turn::new(PATIENCE);
        loop {
            let daemon = find(&self.config.layout());
            if let Some(mut daemon) = daemon.map_err(|error| io::Error::other(error.one_line()))? {
                let entry = String::from_utf8_lossy(body).into_owned();
                let told = daemon.ask(&Request::Record { entry });
                return told.map(drop).map_err(|error| io::Error::other(error.one_line()));
            }
            if let Looked::Ours(journal) = turn.look(&self.config).map_err(io::Error::other)? {
                let Some(journal) = journal else { return Ok(()) };
                journal.append(body)?;
                return journal.flush();
            }
        }
    }
}

impl AuditSink for Courier {
    fn record(&self, event: &Event<'_>) -> io::Result<Position> {
        self.deliver(&body_of(event))?;
        Ok(Position::default())
    }
}
