use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};

use crate::{Home, Log, Process};

/// A running `sealwire serve`. Dropping it kills it.
pub struct Serve {
    process: Process,
    address: SocketAddr,
}

impl Serve {
    /// Starts `sealwire serve` and waits until it listens.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[], &[])
    }

    /// The same with options before, and arguments after the word `serve`.
    pub fn start_with(home: &Home, options: &[&str], args: &[&str]) -> Self {
        let mut command = home.sealwire();
        command.args(options).arg("serve").args(args);
        Self::spawn(command)
    }

    /// Starts `command`, a `sealwire serve`, and waits until it listens.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::spawn(command);
        let address = listening_address(&process.log().wait_for(&["listening", "address="]));
        Self { process, address }
    }

    /// Where its first listener is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the listener is that offers `server`; waits until it listens.
    pub fn address_of(&self, server: &str) -> SocketAddr {
        listening_address(&self.log().wait_for(&["listening", "servers=", server]))
    }

    /// What it has logged.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Waits for the one log line, after `mark`, of a refused connection with this code.
    pub fn refused(&self, mark: usize, code: &str) -> String {
        self.refusal("connection refused", mark, code)
    }

    /// Waits for the log line, after `mark`, of a refused message with this code.
    pub fn refused_message(&self, mark: usize, code: &str) -> String {
        self.refusal("message refused", mark, code)
    }

    /// The process, to signal it and to wait for its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait()
    }

    fn refusal(&self, message: &str, mark: usize, code: &str) -> String {
        let line = self.log().wait_after(mark, &[message, &format!("code={code}")]);
        assert!(line.contains("WARN"), "not a warning: {line}");
        assert!(line.contains("audit"), "not of target audit: {line}");
        assert!(line.contains("reason="), "no reason given: {line}");
        line
    }
}

fn listening_address(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("address=").expect("the line has an address");
    let word = rest.split_whitespace().next().unwrap_or_default().trim_matches('"');
    word.parse().unwrap_or_else(|_| panic!("not an address in: {line}"))
}
