//! A server started outside any conversation, to see whether it starts and answers.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::child::{ChildConfig, Server};

/// Bytes kept of the end of a server's standard error.
const TAIL: usize = 4 * 1024;
/// How long what a server wrote last may take to be read once it has ended. A helper that
/// has left its group may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running MCP server that belongs to no conversation. It is started and ended exactly as
/// the serving side does it: no shell, the same environment, a process group of its own.
pub struct Trial {
    server: Server,
    /// The end of what it wrote to standard error so far.
    said: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
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
        let (server, streams) = Server::spawn(config, Stdio::piped())?;
        let missing = || io::Error::other("a standard stream is missing");
        let stderr = streams.stderr.ok_or_else(missing)?;
        let said = Arc::default();
        let listening = tokio::spawn(tail(stderr, Arc::clone(&said)));
        Ok((Self { server, said, listening }, streams.stdout, streams.stdin))
    }

    /// Waits `patience` for the server to end by itself, as one does whose input has been
    /// closed, then ends its whole process group.
    pub async fn end(mut self, patience: Duration) -> TrialEnd {
        let status = self.server.wait(patience).await.and_then(Result::ok);
        match status {
            Some(_) => self.server.bury(),
            None => self.server.stop(patience).await,
        }
        if timeout(LAST_WORDS, &mut self.listening).await.is_err() {
            self.listening.abort();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        TrialEnd { status, stderr: String::from_utf8_lossy(&said).into_owned() }
    }
}

/// Reads to the end, so that a server which writes much is not held up, and keeps the end.
async fn tail(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; TAIL];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let mut kept = said.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&chunk[..count]);
        let surplus = kept.len().saturating_sub(TAIL);
        kept.drain(..surplus);
    }
}
