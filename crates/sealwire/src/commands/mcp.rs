//! As much of an MCP client as shows whether a server answers: `initialize` and
//! `tools/list`, or their like in the revision that has no `initialize`.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout_at};

/// The revision offered in `initialize`; a server may answer with an older one.
const OFFERED: &str = "2025-11-25";
/// The revision without `initialize`.
const WITHOUT_INITIALIZE: &str = "2026-07-28";
/// JSON-RPC's "method not found".
const METHOD_NOT_FOUND: i64 = -32601;
/// Most pages of a list that are asked for.
const MAX_PAGES: usize = 1000;
/// Most tools that are kept.
const MAX_TOOLS: usize = 100_000;
/// Most characters shown of what a server wrote.
const SHOWN: usize = 120;

/// What a server said about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// Its name and version.
    pub(crate) server: String,
    /// The revision of MCP agreed on.
    pub(crate) protocol: String,
    /// Its tools, as it describes them; `None` if it says that it offers none at all.
    pub(crate) tools: Option<Vec<Value>>,
    /// The first line on its output that was no JSON-RPC message.
    pub(crate) stray: Option<String>,
}

/// Why a server did not get that far.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It gave no answer to this method in time.
    Silent(&'static str),
    /// Its output ended before it answered this method.
    Ended(&'static str),
    /// It answered this method with an error, or with something else than it should.
    Refuses(&'static str, String),
    /// A line was longer than the largest message.
    TooLong(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(method) => write!(f, "the server does not answer {method}"),
            Self::Ended(method) => {
                write!(f, "the server closed its output before it answered {method}")
            }
            Self::Refuses(method, answer) => write!(f, "the server refuses {method}: {answer}"),
            Self::TooLong(limit) => write!(f, "the server's answer is larger than {limit} bytes"),
        }
    }
}

/// A fault, and what is known of the server by then.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) stray: Option<String>,
}

/// Asks a server who it is and which tools it has. Each answer may take `patience`.
pub(crate) async fn ask<R, W>(
    input: R,
    output: W,
    max_message: usize,
    patience: Duration,
) -> Result<Answered, Failed>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let input = BufReader::new(input);
    let mut client = Client { input, output, max_message, patience, next_id: 1, stray: None };
    let answered = client.ask().await;
    let stray = client.stray;
    match answered {
        Ok(answered) => Ok(Answered { stray, ..answered }),
        Err(fault) => Err(Failed { fault, stray }),
    }
}

struct Client<R, W> {
    input: BufReader<R>,
    output: W,
    max_message: usize,
    patience: Duration,
    next_id: u64,
    stray: Option<String>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<R, W> {
    async fn ask(&mut self) -> Result<Answered, Fault> {
        let params = json!({
            "protocolVersion": OFFERED,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let (result, meta) = match self.request("initialize", params).await? {
            Ok(result) => {
                self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
                (result, None)
            }
            Err(error) => {
                let meta = json!({
                    "io.modelcontextprotocol/protocolVersion": WITHOUT_INITIALIZE,
                    "io.modelcontextprotocol/clientInfo": client_info(),
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                // A server that knows neither is told of by its answer to the first.
                match self.request("server/discover", json!({"_meta": meta})).await {
                    Ok(Ok(result)) => (result, Some(meta)),
                    _ => return Err(Fault::Refuses("initialize", error_text(&error))),
                }
            }
        };
        let protocol = match &meta {
            None => text(&result["protocolVersion"]),
            Some(_) => WITHOUT_INITIALIZE.to_owned(),
        };
        if protocol.is_empty() {
            let what = format!("no protocolVersion in {}", shortened(&result.to_string()));
            return Err(Fault::Refuses("initialize", what));
        }
        let info = match &meta {
            None => &result["serverInfo"],
            Some(_) => &result["_meta"]["io.modelcontextprotocol/serverInfo"],
        };
        let server = format!("{} {}", text(&info["name"]), text(&info["version"]));
        let server = shortened(server.trim());
        let tools = match result["capabilities"]["tools"].is_object() {
            true => self.list_tools(meta.as_ref()).await?,
            false => None,
        };
        Ok(Answered { server, protocol, tools, stray: None })
    }

    async fn list_tools(&mut self, meta: Option<&Value>) -> Result<Option<Vec<Value>>, Fault> {
        const METHOD: &str = "tools/list";
        let mut all = Vec::new();
        let mut params = json!({});
        if let Some(meta) = meta {
            params["_meta"] = meta.clone();
        }
        for _ in 0..MAX_PAGES {
            let mut result = match self.request(METHOD, params.clone()).await? {
                Ok(result) => result,
                Err(error) if error["code"] == METHOD_NOT_FOUND => return Ok(None),
                Err(error) => return Err(Fault::Refuses(METHOD, error_text(&error))),
            };
            let Some(tools) = result["tools"].as_array_mut() else {
                let what = format!("no list of tools in {}", shortened(&result.to_string()));
                return Err(Fault::Refuses(METHOD, what));
            };
            all.append(tools);
            if all.len() > MAX_TOOLS {
                return Err(Fault::Refuses(METHOD, format!("more than {MAX_TOOLS} tools")));
            }
            match &result["nextCursor"] {
                Value::String(cursor) => params["cursor"] = json!(cursor),
                _ => return Ok(Some(all)),
            }
        }
        Err(Fault::Refuses(METHOD, format!("more than {MAX_PAGES} pages")))
    }

    /// The result, or the error object, of a request.
    async fn request(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<Result<Value, Value>, Fault> {
        let deadline = Instant::now() + self.patience;
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let exchange = async {
            self.send(&request).await;
            loop {
                let mut message = self.receive(method).await?;
                if message["method"].is_string() {
                    if !message["id"].is_null() {
                        self.send(&refusal(&message)).await;
                    }
                } else if message["id"] == id {
                    return match message.get_mut("error") {
                        Some(error) if is_of_the_link(error) => Err(Fault::Ended(method)),
                        Some(error) => Ok(Err(error.take())),
                        None => Ok(Ok(message["result"].take())),
                    };
                }
            }
        };
        timeout_at(deadline, exchange).await.unwrap_or(Err(Fault::Silent(method)))
    }

    /// Writes a message. A server that reads no more is told of by what it does not answer.
    async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        if self.output.write_all(line.as_bytes()).await.is_ok() {
            let _unread = self.output.flush().await;
        }
    }

    /// The next message; what is none is kept for the report.
    async fn receive(&mut self, method: &'static str) -> Result<Value, Fault> {
        loop {
            let mut line = Vec::new();
            let limit = u64::try_from(self.max_message).unwrap_or(u64::MAX).saturating_add(1);
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut line).await;
            if !matches!(read, Ok(1..)) {
                return Err(Fault::Ended(method));
            }
            if line.last() != Some(&b'\n') && line.len() > self.max_message {
                return Err(Fault::TooLong(self.max_message));
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(message) if message["jsonrpc"] == "2.0" => return Ok(message),
                _ => {
                    let text = String::from_utf8_lossy(&line);
                    if !text.trim().is_empty() {
                        self.stray.get_or_insert_with(|| shortened(text.trim()));
                    }
                }
            }
        }
    }
}

/// Whether sealwire answered in the server's place, because that is out of reach
/// (docs/errors.md).
fn is_of_the_link(error: &Value) -> bool {
    let word = error["data"]["sealwire"].as_str();
    word.is_some_and(|word| ["server_ended", "not_sent", "outcome_unknown"].contains(&word))
}

/// We promise no capabilities, so whatever a server asks for is not there.
fn refusal(request: &Value) -> Value {
    match request["method"].as_str() {
        Some("ping") => json!({"jsonrpc": "2.0", "id": request["id"], "result": {}}),
        _ => json!({
            "jsonrpc": "2.0",
            "id": request["id"],
            "error": {"code": METHOD_NOT_FOUND, "message": "not offered by sealwire"},
        }),
    }
}

fn client_info() -> Value {
    json!({"name": "sealwire", "version": env!("CARGO_PKG_VERSION")})
}

fn error_text(error: &Value) -> String {
    format!("error {}: {}", error["code"], shortened(&text(&error["message"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
