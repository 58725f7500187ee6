//! An MCP server that costs next to nothing, so that what stands between it and
//! its client is what a test or a benchmark sees.
//!
//! It never builds a JSON tree: a scanner walks an object's members in place
//! and what is echoed is copied as raw bytes. All lines that one read brought
//! are answered by one write. Its input is trusted to be JSON; what the strict
//! parser of the relay refuses never gets here.
//!
//! | method | answer |
//! |---|---|
//! | `initialize` | the client's protocol version, tools capability |
//! | `server/discover` | revision 2026-07-28 |
//! | `ping` | `{}` |
//! | `tools/list` | `echo`, `big`, `count` |
//! | `tools/call` `echo` | `arguments.text`, byte for byte |
//! | `tools/call` `big` | a text of `arguments.bytes` bytes |
//! | `tools/call` `count` | how many other calls were executed, and order violations |
//!
//! Notifications and responses are only recorded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use self::scan::Members;

mod scan;

/// Bytes asked of one read: what a pipe holds by default on Linux.
const READ_SIZE: usize = 64 * 1024;
/// Answers are written early once they reach this, so that large results flow.
const WRITE_SIZE: usize = 256 * 1024;

/// How a fake server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Appends one line per message received: its id as raw JSON (`-` if it has
    /// none), a tab, its method (`-` for a response). Written before the answers
    /// are, so that whoever has an answer finds its line.
    pub record: Option<PathBuf>,
    /// Ids of `tools/call` must be integers, each above the one before; `count`
    /// tells how many were not.
    pub verify_order: bool,
}

/// Answers newline-delimited messages from `input` on `output` until the end of
/// input.
///
/// # Errors
/// If a read or a write fails, or the record cannot be written.
pub fn serve(mut input: impl Read, mut output: impl Write, options: &Options) -> io::Result<()> {
    let mut server = FakeServer::new(options)?;
    let mut buffer = vec![0; READ_SIZE];
    let (mut filled, mut scanned) = (0, 0);
    let mut answers = Vec::with_capacity(WRITE_SIZE);
    loop {
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
        let read = input.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[scanned..filled]) {
            let end = scanned + length;
            server.receive(&buffer[start..end], &mut answers);
            (start, scanned) = (end + 1, end + 1);
            if answers.len() >= WRITE_SIZE {
                server.send(&mut answers, &mut output)?;
            }
        }
        server.send(&mut answers, &mut output)?;
        if start > 0 {
            buffer.copy_within(start..filled, 0);
            filled -= start;
        }
        scanned = filled;
    }
}

/// What a server started with [`Options::record`] received: (id, method) in the
/// order of arrival.
///
/// # Errors
/// If the file cannot be read.
pub fn read_record(path: &Path) -> io::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.map(|(id, method)| (id.to_owned(), method.to_owned())).collect())
}

struct FakeServer {
    record: Option<File>,
    received: Vec<u8>,
    verify_order: bool,
    highest_id: Option<i128>,
    executed: u64,
    order_violations: u64,
    initialized: bool,
}

impl FakeServer {
    fn new(options: &Options) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            record: options.record.as_ref().map(open).transpose()?,
            received: Vec::new(),
            verify_order: options.verify_order,
            highest_id: None,
            executed: 0,
            order_violations: 0,
            initialized: false,
        })
    }

    fn send(&mut self, answers: &mut Vec<u8>, output: &mut impl Write) -> io::Result<()> {
        if let Some(file) = &mut self.record {
            file.write_all(&self.received)?;
            self.received.clear();
        }
        if !answers.is_empty() {
            output.write_all(answers)?;
            output.flush()?;
            answers.clear();
        }
        Ok(())
    }

    fn receive(&mut self, line: &[u8], answers: &mut Vec<u8>) {
        let [mut id, mut method, mut params] = [None; 3];
        for (name, value) in Members::new(line) {
            match name {
                b"id" => id = Some(value),
                b"method" => method = Some(value),
                b"params" => params = Some(value),
                _ => {}
            }
        }
        if self.record.is_some() {
            self.received.extend_from_slice(id.unwrap_or(b"-"));
            self.received.push(b'\t');
            self.received.extend_from_slice(method.map_or(b"-", unquote));
            self.received.push(b'\n');
        }
        let (Some(id), Some(method)) = (id, method) else {
            if id.is_none() && method.is_none() && !line.trim_ascii().is_empty() {
                answer(answers, b"null", &[&error(-32700, "not a JSON-RPC message")]);
            }
            return;
        };
        match unquote(method) {
            b"tools/call" => self.call(id, params, answers),
            b"initialize" => {
                self.initialized = true;
                let version = member(params, b"protocolVersion").unwrap_or(br#""2025-11-25""#);
                answer(answers, id, &[INITIALIZE[0], version, INITIALIZE[1]]);
            }
            b"server/discover" => answer(answers, id, &[DISCOVER]),
            b"ping" => answer(answers, id, &[br#""result":{}"#]),
            b"tools/list" if self.initialized => answer(answers, id, &[b"\"result\":{", TOOLS]),
            b"tools/list" => answer(answers, id, &[LIST_2026, TOOLS]),
            _ => answer(answers, id, &[&error(-32601, "Method not found")]),
        }
    }

    fn call(&mut self, id: &[u8], params: Option<&[u8]>, answers: &mut Vec<u8>) {
        if self.verify_order {
            self.check_order(id);
        }
        let [mut name, mut arguments] = [None; 2];
        for (key, value) in Members::new(params.unwrap_or_default()) {
            match key {
                b"name" => name = Some(value),
                b"arguments" => arguments = Some(value),
                _ => {}
            }
        }
        // Revision 2026-07-28, the one without `initialize`, wants a type on every result.
        let open: &[u8] = if self.initialized { RESULT } else { RESULT_2026 };
        match name.map_or(&b""[..], unquote) {
            b"echo" => {
                let text = member(arguments, b"text").unwrap_or(b"\"\"");
                answer(answers, id, &[open, text, b"}]}"]);
            }
            b"big" => {
                let bytes = member(arguments, b"bytes").and_then(integer).unwrap_or(0);
                let bytes = usize::try_from(bytes).unwrap_or(0);
                answer_start(answers, id);
                answers.extend_from_slice(open);
                answers.push(b'"');
                answers.resize(answers.len() + bytes, b'x');
                answers.extend_from_slice(b"\"}]}}\n");
            }
            b"count" => {
                let (executed, violations) = (self.executed, self.order_violations);
                let rest = format!(
                    r#""{executed}"}}],"structuredContent":{{"executed":{executed},"orderViolations":{violations}}}}}"#
                );
                answer(answers, id, &[open, rest.as_bytes()]);
                return;
            }
            _ => {
                answer(answers, id, &[&error(-32602, "Unknown tool")]);
                return;
            }
        }
        self.executed += 1;
    }

    fn check_order(&mut self, id: &[u8]) {
        let id = integer(id);
        if id.is_none() || id <= self.highest_id {
            self.order_violations += 1;
        }
        self.highest_id = self.highest_id.max(id);
    }
}

const INITIALIZE: [&[u8]; 2] = [
    br#""result":{"protocolVersion":"#,
    br#","capabilities":{"tools":{}},"serverInfo":{"name":"sealwire-fake-server","version":"1"}}"#,
];
const DISCOVER: &[u8] = br#""result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"sealwire-fake-server","version":"1"}}}"#;
const LIST_2026: &[u8] = br#""result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","#;
const TOOLS: &[u8] = br#""tools":[{"name":"echo","description":"Answers the text.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}},{"name":"big","description":"Answers a text of so many bytes.","inputSchema":{"type":"object","properties":{"bytes":{"type":"integer"}},"required":["bytes"]}},{"name":"count","description":"Tells how many other calls were executed.","inputSchema":{"type":"object"}}]}"#;
const RESULT: &[u8] = br#""result":{"content":[{"type":"text","text":"#;
const RESULT_2026: &[u8] =
    br#""result":{"resultType":"complete","content":[{"type":"text","text":"#;

/// One answer: `parts` are its `result` or `error` member.
fn answer(answers: &mut Vec<u8>, id: &[u8], parts: &[&[u8]]) {
    answer_start(answers, id);
    for part in parts {
        answers.extend_from_slice(part);
    }
    answers.extend_from_slice(b"}\n");
}

fn answer_start(answers: &mut Vec<u8>, id: &[u8]) {
    answers.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    answers.extend_from_slice(id);
    answers.push(b',');
}

fn error(code: i32, message: &str) -> Vec<u8> {
    format!(r#""error":{{"code":{code},"message":"{message}"}}"#).into_bytes()
}

fn member<'a>(object: Option<&'a [u8]>, wanted: &[u8]) -> Option<&'a [u8]> {
    Members::new(object?).find_map(|(name, value)| (name == wanted).then_some(value))
}

fn integer(value: &[u8]) -> Option<i128> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// A JSON string without its quotes, escapes untouched.
fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests;
