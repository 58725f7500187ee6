//! The programs that take part: how to start them, wait for them and end them.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(20);
/// How often readiness is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A program, its arguments and where its standard error goes.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
}

impl Launch {
    /// `log` is written anew by each start.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let (arguments, environment) = (Vec::new(), Vec::new());
        Self { program: program.into(), arguments, environment, log: log.into() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it with pipes for standard input and output.
    ///
    /// # Errors
    /// If it cannot be started, naming it.
    pub fn piped(&self) -> Result<Child> {
        self.start(Stdio::piped(), Stdio::piped())
    }

    /// Starts a server, which lives until the value is dropped.
    ///
    /// # Errors
    /// If it cannot be started, naming it.
    pub fn background(&self) -> Result<Background> {
        let child = self.start(Stdio::null(), Stdio::null())?;
        Ok(Background { child, launch: self.clone() })
    }

    /// What it wrote to standard error last, for an error message.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        let name = self.program.file_name().unwrap_or_default().display();
        if lines.is_empty() {
            return format!("{name} wrote nothing to standard error");
        }
        lines.iter().rev().fold(format!("{name} wrote:"), |text, line| text + "\n  " + line)
    }

    fn start(&self, input: Stdio, output: Stdio) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(input).stdout(output).stderr(File::create(&self.log)?);
        let start = |error| format!("cannot start {}: {error}", self.program.display());
        Ok(command.spawn().map_err(start)?)
    }
}

/// A server that runs for as long as its cases are measured.
#[derive(Debug)]
pub struct Background {
    child: Child,
    launch: Launch,
}

impl Background {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line in its log that has `listening address=HOST:PORT`, and
    /// returns the address.
    ///
    /// # Errors
    /// If it ends, or is not ready within 20 s; with the end of its log.
    pub fn wait_for_address(&mut self) -> Result<SocketAddr> {
        self.wait(|launch| {
            let log = std::fs::read_to_string(&launch.log).ok()?;
            // Only whole lines: the rest of the last one may not be written yet.
            let (lines, _) = log.rsplit_once('\n')?;
            let (_, rest) = lines.split_once("listening address=")?;
            rest.split_whitespace().next()?.trim_matches('"').parse().ok()
        })
    }

    /// Waits until `address` takes connections.
    ///
    /// # Errors
    /// If it ends, or is not ready within 20 s; with the end of its log.
    pub fn wait_for_port(&mut self, address: SocketAddr) -> Result<()> {
        self.wait(|_| TcpStream::connect(address).ok().map(drop))
    }

    fn wait<T>(&mut self, ready: impl Fn(&Launch) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = ready(&self.launch) {
                return Ok(found);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > READY {
                let what = ended.map_or("is not ready".to_owned(), |status| status.to_string());
                return Err(format!("server {what}: {}", self.launch.log_tail()).into());
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The connecting process, ended when dropped or when its limit is over: a
/// blocking read then returns, and the run fails instead of hanging.
#[derive(Debug)]
pub struct Foreground {
    child: Arc<Mutex<Child>>,
    _ended: Sender<()>,
}

impl Foreground {
    /// Takes over a started process.
    pub fn new(child: Child, limit: Duration) -> Self {
        let child = Arc::new(Mutex::new(child));
        let (ended, watch) = mpsc::channel();
        let watched = child.clone();
        thread::spawn(move || {
            if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // A failure to kill shows as the hang that it is.
                let _ = lock(&watched).kill();
            }
        });
        Self { child, _ended: ended }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn wait(&self) -> Result<ExitStatus> {
        loop {
            // The lock is not held while waiting, so that the watchdog can act.
            if let Some(status) = lock(&self.child).try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // It has usually ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a command to its end and returns what it wrote to standard output, or to
/// standard error if that is nothing.
///
/// # Errors
/// If it cannot be started or fails; with what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    if !output.status.success() {
        return Err(format!("{program}: {}\n{stdout}{stderr}", output.status).into());
    }
    Ok(if stdout.trim().is_empty() { stderr } else { stdout })
}

/// A program of this workspace, built beside this one.
///
/// # Errors
/// If it is not there.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        let path = path.display();
        return Err(format!("{path} is not built; scripts/bench builds it").into());
    }
    Ok(path)
}

/// A loopback address that nothing listens on, for programs that cannot choose one.
///
/// # Errors
/// If the machine has none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
