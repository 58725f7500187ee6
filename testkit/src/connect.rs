use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use serde_json::{Value, json};

use crate::{GUARD, Home, Log, Process};

/// An MCP client that speaks through a running `sealwire connect`, line by line.
pub struct Connect {
    // Before `process`: a client that goes away closes its pipe first.
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    process: Process,
    next_id: u64,
}

impl Connect {
    /// Starts `sealwire connect SERVER` with this home's own certificate.
    pub fn start(home: &Home, server: &str, address: SocketAddr) -> Self {
        Self::spawn(home.connect_command(server, address, ""))
    }

    /// Starts `command`, which speaks MCP on its standard input and output.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let stdin = process.child().stdin.take();
        let mut stdout = BufReader::new(process.child().stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                match stdout.read_until(b'\n', &mut line) {
                    Ok(length) if length > 0 => {}
                    _ => return,
                }
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, stdin, lines, next_id: 1 }
    }

    /// Sends these bytes and a newline.
    pub fn send(&mut self, message: impl AsRef<[u8]>) {
        let mut line = Vec::with_capacity(message.as_ref().len() + 1);
        line.extend_from_slice(message.as_ref());
        line.push(b'\n');
        self.send_bytes(&line);
    }

    /// Sends exactly these bytes.
    ///
    /// # Panics
    /// If the program no longer reads, with what it said.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("input is open");
        if let Err(error) = stdin.write_all(bytes).and_then(|()| stdin.flush()) {
            panic!("connect does not read: {error}; it said:\n{}", self.said());
        }
    }

    /// The next line of output without its newline; waits for it.
    ///
    /// # Panics
    /// If the program ends, or after [`GUARD`].
    pub fn receive(&self) -> Vec<u8> {
        match self.lines.recv_timeout(GUARD) {
            Ok(mut line) => {
                assert_eq!(line.pop(), Some(b'\n'), "output ends within a line");
                line
            }
            Err(RecvTimeoutError::Timeout) => panic!("hang; connect said:\n{}", self.said()),
            Err(RecvTimeoutError::Disconnected) => panic!("connect ended:\n{}", self.said()),
        }
    }

    /// The next message, parsed.
    pub fn receive_json(&self) -> Value {
        let line = self.receive();
        serde_json::from_slice(&line)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)))
    }

    /// Sends a request and returns its id.
    pub fn send_request(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(request.to_string());
        id
    }

    /// Sends a request and waits for the answer, which must be the next message.
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send_request(method, params);
        let answer = self.receive_json();
        assert_eq!(answer["id"], json!(id), "not the answer to request {id}: {answer}");
        answer
    }

    /// Does what every MCP client of the `initialize` era does first.
    pub fn initialize(&mut self) -> Value {
        let answer = self.request(
            "initialize",
            &json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "sealwire-tests", "version": "0"},
            }),
        );
        assert!(answer["result"]["serverInfo"].is_object(), "not initialized: {answer}");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    /// What it has logged.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// The process, to signal it and to wait for its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Closes its input and leaves its output to be received.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Closes its input, waits for its end, and gives what output was left.
    pub fn finish(mut self) -> (ExitStatus, Vec<Vec<u8>>) {
        self.close_input();
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(GUARD) {
                Ok(line) => rest.push(line.strip_suffix(b"\n").unwrap_or(&line).to_vec()),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("connect hangs:\n{}", self.said()),
            }
        }
        (self.process.wait(), rest)
    }

    fn said(&self) -> String {
        self.log().lines().join("\n")
    }
}
