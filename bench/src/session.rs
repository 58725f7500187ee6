//! The client that makes the load: one MCP session with a program over its
//! standard input and output.
//!
//! It shares the processor with what it measures, so it is one thread with
//! blocking reads and writes: it counts newlines instead of parsing, and answers
//! each read's worth of results with one write of as many new calls. That cannot
//! block for good: all calls in flight together fit into one pipe.
//!
//! What it counts is proven around the timed part: [`Session::check_answers`]
//! parses answers and compares them, and [`Session::finish`] asks the server how
//! many calls it executed, and whether in order where that is [`Promise`]d.

use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Foreground, Launch};
use crate::requests::Requests;
use crate::{Error, Result};

pub use self::load::Throughput;

mod load;

/// Bytes asked of one read.
const READ_SIZE: usize = 64 * 1024;
/// A session that takes longer than this hangs, and is ended.
const LIMIT: Duration = Duration::from_secs(120);
/// Calls of which each answer is checked.
const CHECKED: u64 = 256;
/// Bytes of the one large result that is checked.
const LARGE: usize = 3 << 20;

/// What the way to the server promises, beyond carrying every call once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// The session has a server process of its own, and calls reach it in the order
    /// they were made in.
    #[default]
    InOrder,
    /// Neither. HTTP bridges send each call as a request of its own, and some let all
    /// sessions share one server process; what it executed before does not count.
    OnlyOnce,
}

/// A session with a fake server, through whatever `launch` starts.
pub struct Session {
    launch: Launch,
    process: Foreground,
    input: ChildStdin,
    output: ChildStdout,
    buffer: Vec<u8>,
    unread: Vec<u8>,
    next_id: u64,
    promise: Promise,
    /// Calls the server has executed for this session, and before it.
    executed: u64,
}

impl Session {
    /// Starts `launch` and initializes a session; also returns how long it took
    /// from before the start of the process to the answer to `initialize`.
    ///
    /// # Errors
    /// If the program cannot be started or does not answer as it should.
    pub fn start(launch: &Launch, promise: Promise) -> Result<(Self, Duration)> {
        let start = Instant::now();
        let mut child = launch.piped()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let mut session = Self {
            launch: launch.clone(),
            process: Foreground::new(child, LIMIT),
            input,
            output,
            buffer: vec![0; READ_SIZE],
            unread: Vec::new(),
            next_id: Requests::FIRST_ID,
            promise,
            executed: 0,
        };
        let client = json!({"name": "sealwire-bench", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let result = session.request("initialize", &params)?;
        let elapsed = start.elapsed();
        if result["serverInfo"]["name"] != "sealwire-fake-server" {
            return Err(format!("unexpected answer to initialize: {result}").into());
        }
        session.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
        if promise == Promise::OnlyOnce {
            session.executed = session.count()?["executed"].as_u64().unwrap_or_default();
        }
        Ok((session, elapsed))
    }

    /// Makes calls that all differ, 16 in flight, and one large one, and compares
    /// every answer. Not timed.
    ///
    /// # Errors
    /// If an answer is wrong, missing or there twice.
    pub fn check_answers(&mut self) -> Result<()> {
        for _ in 0..CHECKED / 16 {
            let ids: Vec<_> = (0..16).map(|_| self.take_id()).collect();
            for id in &ids {
                let params = json!({"name": "echo", "arguments": {"text": text_of(*id)}});
                let call =
                    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
                self.send(format!("{call}\n").as_bytes())?;
            }
            let mut answered = Vec::new();
            for _ in &ids {
                let answer: Value = serde_json::from_slice(&self.read_line()?)?;
                let id = answer["id"].as_u64().unwrap_or_default();
                if answer["result"]["content"][0]["text"] != text_of(id) {
                    return Err(format!("wrong answer: {answer}").into());
                }
                answered.push(id);
            }
            answered.sort_unstable();
            if answered != ids {
                return Err(format!("called {ids:?}, answered {answered:?}").into());
            }
            self.executed += 16;
        }
        let params = json!({"name": "big", "arguments": {"bytes": LARGE}});
        let result = self.request("tools/call", &params)?;
        let length = result["content"][0]["text"].as_str().map(str::len);
        if length != Some(LARGE) {
            return Err(format!("large result: {length:?} bytes instead of {LARGE}").into());
        }
        self.executed += 1;
        Ok(())
    }

    /// Id of the connecting process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Compares the number of answers with the number of executions at the
    /// server, closes the session and waits for the program to end.
    ///
    /// # Errors
    /// If a call was lost, executed twice or, against the [`Promise`], out of order;
    /// or if the program does not end by itself.
    pub fn finish(mut self) -> Result<()> {
        let found = self.count()?;
        let in_order = self.promise == Promise::OnlyOnce || found["orderViolations"] == 0;
        if found["executed"] != self.executed || !in_order {
            return Err(
                format!("{} calls answered, but the server says {found}", self.executed).into()
            );
        }
        let Self { launch, process, input, mut output, .. } = self;
        drop(input);
        output.read_to_end(&mut Vec::new())?;
        let status = process.wait()?;
        if !status.success() {
            return Err(format!("{status} at the end of input: {}", launch.log_tail()).into());
        }
        Ok(())
    }

    /// What the server says of the calls it executed.
    fn count(&mut self) -> Result<Value> {
        let mut result = self.request("tools/call", &json!({"name": "count", "arguments": {}}))?;
        Ok(result["structuredContent"].take())
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let mut answer = self.answer(method, params)?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(format!("{method}: unexpected answer {answer}").into()),
        }
    }

    /// The whole answer to one request, be it a result or an error.
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.take_id();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(format!("{request}\n").as_bytes())?;
        let line = self.read_line()?;
        let answer: Value = serde_json::from_slice(&line)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&line)))?;
        if answer["id"] != id {
            return Err(format!("{method}: unexpected answer {answer}").into());
        }
        Ok(answer)
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write_all(bytes).map_err(|error| self.ended(&error))
    }

    fn read_line(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.unread) {
                return Ok(self.unread.drain(..=end).collect());
            }
            let read = self.read()?;
            self.unread.extend_from_slice(&self.buffer[..read]);
        }
    }

    /// One read: (bytes, newlines in them).
    fn read_answers(&mut self) -> Result<(u64, usize)> {
        let read = self.read()?;
        Ok((read as u64, memchr::memchr_iter(b'\n', &self.buffer[..read]).count()))
    }

    fn read(&mut self) -> Result<usize> {
        match self.output.read(&mut self.buffer) {
            Ok(0) => Err(self.ended(&"end of output")),
            Ok(read) => Ok(read),
            Err(error) => Err(self.ended(&error)),
        }
    }

    fn ended(&self, reason: &dyn std::fmt::Display) -> Error {
        format!("the session ended ({reason}); {}", self.launch.log_tail()).into()
    }
}

fn text_of(id: u64) -> String {
    format!("text of {id}: \u{1f980} \"\n")
}
