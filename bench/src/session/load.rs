//! The timed part of a session.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Session;
use crate::Result;
use crate::requests::Requests;

/// What a load reached.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Answers per second.
    pub calls_per_s: f64,
    /// Bytes of answers per second, in 10⁶.
    pub mb_per_s: f64,
}

impl Session {
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

    /// Makes one call whose argument has `bytes` bytes, and whose answer has as many;
    /// returns how long it took, or as the inner error what was answered instead.
    ///
    /// # Errors
    /// If the session ends, or the answer is a wrong one.
    pub fn call(&mut self, bytes: usize) -> Result<std::result::Result<Duration, String>> {
        // One call and nothing else in flight: nobody answers before having read all of
        // it, so that the write cannot block for good.
        let text = "x".repeat(bytes);
        let start = Instant::now();
        let params = json!({"name": "echo", "arguments": {"text": text}});
        let answer = self.answer("tools/call", &params)?;
        let elapsed = start.elapsed();
        let refused = answer["error"]["message"].as_str().or_else(|| {
            let refused = answer["result"]["isError"] == true;
            refused.then(|| answer["result"]["content"][0]["text"].as_str().unwrap_or_default())
        });
        if let Some(refused) = refused {
            return Ok(Err(refused.to_owned()));
        }
        if answer["result"]["content"][0]["text"] != text {
            return Err(format!("a call of {bytes} bytes was answered wrongly").into());
        }
        self.executed += 1;
        Ok(Ok(elapsed))
    }
}
