//! A child process as an endpoint: one MCP server over its standard input and output.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::lines::Lines;
use crate::throttle::Throttle;

/// What a child inherits of our environment. Everything else must be stated in its
/// `env`: secrets of ours are not for every server we start.
const INHERITED: [&str; 13] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
];
/// Longest line of a child's stderr that is logged whole, in bytes.
const MAX_LOG_LINE: u64 = 8 * 1024;
/// How much of a child's stderr is logged in a second, in bytes, and what a line counts for
/// besides its text.
const LOG_BUDGET: usize = 64 * 1024;
const LOG_LINE: usize = 128;

/// How to start an MCP server.
#[derive(Clone, Debug)]
pub struct ChildConfig {
    /// The program, looked up in `PATH` if it is a bare name. No shell is involved.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables besides the inherited ones.
    pub env: BTreeMap<String, String>,
    /// Where to start it.
    pub cwd: Option<PathBuf>,
}

impl ChildConfig {
    /// The names of those variables of our environment that the server is not given, in order.
    pub fn withheld(&self) -> Vec<String> {
        let is_given =
            |name: &String| INHERITED.contains(&name.as_str()) || self.env.contains_key(name);
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| !is_given(name)).collect();
        names.sort_unstable();
        names
    }
}

/// A running MCP server in a process group of its own.
pub(crate) struct Server {
    child: Child,
    group: Option<rustix::process::Pid>,
}

/// A server's standard streams.
pub(crate) struct Streams {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    /// `None` if it goes where ours goes.
    pub(crate) stderr: Option<ChildStderr>,
}

impl Server {
    /// Starts the server and returns its endpoint. Its stderr goes to our log.
    pub(crate) fn start(
        config: &ChildConfig,
        name: &Arc<str>,
        max_message: usize,
    ) -> io::Result<(Self, Lines<ChildStdout, ChildStdin>)> {
        let (server, streams) = Self::spawn(config, Stdio::piped())?;
        if let Some(stderr) = streams.stderr {
            tokio::spawn(log_stderr(stderr, Arc::clone(name)));
        }
        Ok((server, Lines::new(streams.stdout, streams.stdin, max_message)))
    }

    /// Starts a server for the client that has started us: it writes its standard error where we
    /// write ours.
    pub(crate) fn start_attended(
        config: &ChildConfig,
        max_message: usize,
    ) -> io::Result<(Self, Lines<ChildStdout, ChildStdin>)> {
        let (server, streams) = Self::spawn(config, Stdio::inherit())?;
        Ok((server, Lines::new(streams.stdout, streams.stdin, max_message)))
    }

    /// Starts the server and returns its standard streams.
    pub(crate) fn spawn(config: &ChildConfig, stderr: Stdio) -> io::Result<(Self, Streams)> {
        let mut command = Command::new(&config.command);
        command
            .args(&config.args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|key| Some((key, std::env::var_os(key)?))))
            .envs(&config.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(cwd) = &config.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        let missing = || io::Error::other("a standard stream is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take();
        Ok((Self { child, group }, Streams { stdin, stdout, stderr }))
    }

    /// Asks the whole group to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Ends the whole group (SIGKILL).
    pub(crate) fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Waits for the server's end, at most for `limit`; `None` if it still runs.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<io::Result<ExitStatus>> {
        timeout(limit, self.child.wait()).await.ok()
    }

    /// Waits for the server's own process to end.
    pub(crate) async fn exited(&mut self) {
        // If its status cannot be had, it is no child of ours any more.
        let _status = self.child.wait().await;
        // Without a process left in it, the group's number may soon be that of others.
        let is_left = |group: &_| rustix::process::test_kill_process_group(*group).is_ok();
        self.group = self.group.filter(is_left);
    }

    /// Ends what is left of the group of a server whose own process has ended.
    ///
    /// At once, and once only: with its last process the group's number becomes free for
    /// others.
    pub(crate) fn bury(&mut self) {
        self.kill();
        self.group = None;
    }

    /// Asks the group to end, and after `grace` ends what is left of it.
    pub(crate) async fn stop(mut self, grace: Duration) {
        self.terminate();
        match self.wait(grace).await {
            Some(_) => self.bury(),
            None => tracing::warn!("the server ignored SIGTERM"),
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(group) = self.group {
            // It fails if the group has ended by itself, which is what we want.
            let _ended = rustix::process::kill_process_group(group, signal);
        }
    }
}

/// However a conversation ends, no process of the group stays behind.
impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads on whatever happens: a server whose standard error is full would stand still.
async fn log_stderr(stderr: ChildStderr, server: Arc<str>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut throttle = Throttle::new(LOG_BUDGET);
    loop {
        line.clear();
        match (&mut reader).take(MAX_LOG_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let Some(missing) = throttle.admit(length + LOG_LINE, Instant::now()) else {
                    continue;
                };
                log_suppressed(&server, missing);
                let text = String::from_utf8_lossy(&line);
                tracing::info!(target: "server", %server, "{}", text.trim_end().escape_debug());
            }
        }
    }
    log_suppressed(&server, throttle.suppressed());
}

fn log_suppressed(server: &str, lines: u64) {
    if lines > 0 {
        tracing::warn!(target: "server", %server, "{lines} lines suppressed: more than {LOG_BUDGET} bytes in a second");
    }
}
