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
//! many calls it executed, and whether in order.

use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{self, Foreground, Launch};
use crate::requests::Requests;
use crate::{Error, Result};

/// Bytes asked of one read.
const READ_SIZE: usize = 64 * 1024;
/// A session that takes longer than this hangs, and is ended.
const LIMIT: Duration = Duration::from_secs(120);
/// Calls of which each answer is checked.
const CHECKED: u64 = 256;
/// Bytes of the one large result that is checked.
const LARGE: usize = 3 << 20;

/// A session with a fake server, through whatever `launch` starts.
pub struct Session {
    launch: Launch,
    process: Foreground,
    input: ChildStdin,
    output: ChildStdout,
    buffer: Vec<u8>,
    unread: Vec<u8>,
    next_id: u64,
    executed: u64,
}

/// What a load reached.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Answers per second.
    pub calls_per_s: f64,
    /// Bytes of answers per second, in 10⁶.
    pub mb_per_s: f64,
}

impl Session {
    /// Starts `launch` and initializes a session; also returns how long it took
    /// from before the start of the process to the answer to `initialize`.
    ///
    /// # Errors
    /// If the program cannot be started or does not answer as it should.
    pub fn start(launch: &Launch) -> Result<(Self, Duration)> {
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

    /// Keeps `in_flight` calls outstanding, and counts answers for `timed` after
    /// having done so for `warm_up`.
    ///
    /// # Errors
    /// If the session ends.
    pub fn load(
        &mut self,
        mut requests: Requests,
        in_flight: usize,
        warm_up: Duration,
        timed: Duration,
    ) -> Result<Throughput> {
        let start = Instant::now();
        let mut began: Option<(Instant, u64, u64)> = None;
        let (mut answers, mut bytes) = (0_u64, 0_u64);
        let mut ready = in_flight;
        let throughput = loop {
            let calls = requests.next(ready, &mut self.next_id);
            self.send(calls)?;
            loop {
                let (read, lines) = self.read_answers()?;
                (bytes, answers, ready) = (bytes + read, answers + lines as u64, lines);
                if lines > 0 {
                    break;
                }
            }
            let now = Instant::now();
            let Some((since, answers_then, bytes_then)) = began else {
                if now - start >= warm_up {
                    began = Some((now, answers, bytes));
                }
                continue;
            };
            let seconds = (now - since).as_secs_f64();
            if now - since >= timed {
                break Throughput {
                    calls_per_s: (answers - answers_then) as f64 / seconds,
                    mb_per_s: (bytes - bytes_then) as f64 / 1e6 / seconds,
                };
            }
        };
        let mut outstanding = in_flight - ready;
        while outstanding > 0 {
            let (_, lines) = self.read_answers()?;
            (answers, outstanding) = (answers + lines as u64, outstanding - lines);
        }
        self.executed += answers;
        Ok(throughput)
    }

    /// Makes `calls` calls one after the other, and as many as a tenth of them
    /// before; returns how long each took, in µs, sorted.
    ///
    /// # Errors
    /// If the session ends.
    pub fn sequential(&mut self, mut requests: Requests, calls: usize) -> Result<Vec<f64>> {
        let mut micros = Vec::with_capacity(calls);
        let warm_up = calls / 10;
        for index in 0..warm_up + calls {
            let request = requests.next(1, &mut self.next_id);
            let start = Instant::now();
            self.send(request)?;
            while self.read_answers()?.1 == 0 {}
            if index >= warm_up {
                micros.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        self.executed += (warm_up + calls) as u64;
        micros.sort_by(f64::total_cmp);
        Ok(micros)
    }

    /// Memory of the connecting process in MB, where the system tells.
    pub fn pss_mb(&self) -> Option<f64> {
        process::pss_mb(self.process.id())
    }

    /// Compares the number of answers with the number of executions at the
    /// server, closes the session and waits for the program to end.
    ///
    /// # Errors
    /// If a call was lost, executed twice or out of order, or the program does
    /// not end by itself.
    pub fn finish(mut self) -> Result<()> {
        let result = self.request("tools/call", &json!({"name": "count"}))?;
        let found = &result["structuredContent"];
        if *found != json!({"executed": self.executed, "orderViolations": 0}) {
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

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.take_id();
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(format!("{request}\n").as_bytes())?;
        let line = self.read_line()?;
        let answer: Value = serde_json::from_slice(&line)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&line)))?;
        if answer["id"] != id || answer.get("result").is_none() {
            return Err(format!("{method}: unexpected answer {answer}").into());
        }
        Ok(answer["result"].clone())
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
