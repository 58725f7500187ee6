//! Entries of commands: they go to the `serve` that runs, which alone writes the log then.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use sealwire::config::SecureMcpConfig;
use sealwire_audit::{AuditSink, Change, ChangeKind, Event, LogSink, Position, body_of};

use super::protocol::Request;
use super::turn::{Recorder, Turn};

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
        let request = || Request::Record { entry: String::from_utf8_lossy(body).into_owned() };
        match Turn::new().take(&self.config, request)? {
            Recorder::Serve(_) | Recorder::Us(None) => Ok(()),
            Recorder::Us(Some(journal)) => {
                journal.append(body)?;
                journal.flush()
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
