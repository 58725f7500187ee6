//! Programs under test: started, followed line by line, ended by their own process id.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for what must happen before it calls it a hang.
pub const GUARD: Duration = Duration::from_secs(60);

/// Waits until `condition` holds. For what nothing can announce to us, such as a file
/// that another program writes.
///
/// # Panics
/// After [`GUARD`], with `what`.
pub fn wait_until(what: impl fmt::Display, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + GUARD;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {GUARD:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The lines a program writes, as they come.
#[derive(Clone)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads `source` to its end, on a thread of its own.
    pub fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.lock().lines.push(text);
                writer.0.1.notify_all();
                line.clear();
            }
            writer.lock().ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    /// How many lines there are so far: a mark for [`Log::wait_after`].
    pub fn mark(&self) -> usize {
        self.lock().lines.len()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The first line that holds every one of `parts`; waits for it.
    pub fn wait_for(&self, parts: &[&str]) -> String {
        self.wait_after(0, parts)
    }

    /// The first line after `mark` that holds every one of `parts`; waits for it.
    /// Whether the value of a field is quoted makes no difference.
    ///
    /// # Panics
    /// If the program ends without such a line, or after [`GUARD`].
    pub fn wait_after(&self, mark: usize, parts: &[&str]) -> String {
        let deadline = Instant::now() + GUARD;
        let mut state = self.lock();
        loop {
            let holds = |line: &&String| {
                let line = line.replace("=\"", "=");
                parts.iter().all(|part| line.contains(part))
            };
            if let Some(line) = state.lines.iter().skip(mark).find(holds) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended { "the program ended" } else { "hang guard" };
                let said = state.lines[mark.min(state.lines.len())..].join("\n");
                drop(state);
                panic!("no line with {parts:?} ({why}). It said:\n{said}");
            }
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until the program has closed its end, then gives all lines.
    pub fn wait_end(&self) -> Vec<String> {
        let (state, timeout) =
            self.0.1.wait_timeout_while(self.lock(), GUARD, |state| !state.ended).unwrap();
        assert!(!timeout.timed_out(), "the program does not close its output");
        state.lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap()
    }
}

/// A running program whose standard error is followed. Dropping it ends it.
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command`.
    pub fn spawn(mut command: Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let log = Log::follow(child.stderr.take().expect("piped"));
        Self { name, child, log }
    }

    /// What it has said on standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGSTOP, and waits until it stands still.
    ///
    /// # Panics
    /// After [`GUARD`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until("it stands still", || self.is_paused());
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it is stopped, as `ps` says.
    ///
    /// # Panics
    /// If it has ended.
    pub fn is_paused(&self) -> bool {
        let mut ps = Command::new("ps");
        ps.args(["-o", "stat=", "-p", &self.child.id().to_string()]);
        run(ps, b"").ok().stdout.starts_with('T')
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// The most memory it ever had resident, in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let kib: usize = line.trim_end_matches("kB").trim().parse().expect("a number of KiB");
        kib * 1024
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After [`GUARD`].
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(format_args!("{} ends; it said:\n{}", self.name, self.said()), || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        status.expect("waited for")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("our own child can be signalled");
    }

    fn said(&self) -> String {
        self.log.lines().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.name, self.said());
        }
    }
}

/// What a program that has ended left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Itself, if the program ended with exit code 0.
    ///
    /// # Panics
    /// If not, showing the output.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit code {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs `command` to its end with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let stdout = Log::follow(process.child.stdout.take().expect("piped"));
    let mut stdin = process.child.stdin.take().expect("piped");
    // A program that ends without reading its input is not an error here.
    let _ = stdin.write_all(input);
    drop(stdin);
    let code = process.wait().code();
    let text = |log: &Log| log.wait_end().join("\n");
    Output { code, stdout: text(&stdout), stderr: text(&process.log) }
}
