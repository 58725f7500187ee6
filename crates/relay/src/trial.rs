//! A server started outside any conversation, to see whether it starts and answers.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::child::{ChildConfig, Server};

/// Bytes kept of the end of a server's standard error.
const TAIL: usize = 4 * 1024;
/// How long what a server wrote last may take to be read once it has ended. What else
/// holds that pipe open, a helper left behind, ends with the group.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running MCP server that belongs to no conversation. It is started and ended exactly as
/// the serving side does it: no shell, the same environment, a process group of its own.
pub struct Trial {
    server: Server,
    stderr: JoinHandle<String>,
}

/// How a [`Trial`] ended.
#[derive(Clone, Debug)]
pub struct TrialEnd {
    /// How the server's own process ended before it was told to; `None` if it still ran.
    pub status: Option<ExitStatus>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Trial {
    /// Starts a server and returns its standard output and input. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// What the system says when the program cannot be started.
    pub fn start(config: &ChildConfig) -> io::Result<(Self, ChildStdout, ChildStdin)> {
        let (server, streams) = Server::spawn(config)?;
        let stderr = tokio::spawn(tail(streams.stderr));
        Ok((Self { server, stderr }, streams.stdout, streams.stdin))
    }

    /// Waits `patience` for the server to end by itself, as one does whose input has been
    /// closed, then ends its whole process group.
    pub async fn end(mut self, patience: Duration) -> TrialEnd {
        let status = self.server.wait(patience).await.and_then(Result::ok);
        match status {
            Some(_) => self.server.bury(),
            None => self.server.stop(patience).await,
        }
        let stderr = timeout(LAST_WORDS, self.stderr).await;
        TrialEnd { status, stderr: stderr.ok().and_then(Result::ok).unwrap_or_default() }
    }
}

/// Reads to the end, so that a server which writes much is not held up, and keeps the end.
async fn tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::with_capacity(2 * TAIL);
    let mut chunk = [0; TAIL];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
