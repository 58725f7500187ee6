//! A client that speaks to any MCP server line by line, and keeps what it got as it came.

use std::process::Command;

use sealwire_testkit::Connect;
use serde_json::{Map, Value, json};

/// The newest revision, which has no `initialize`.
pub const NEWEST: &str = "2026-07-28";
/// The newest revision with `initialize`.
const NEWEST_WITH_INITIALIZE: &str = "2025-11-25";

/// A conversation with one server, begun.
pub struct Conversation {
    client: Connect,
    /// The revision that is spoken.
    pub revision: String,
    /// The server's answer to the first request that it understood.
    pub opening: Vec<u8>,
    /// The tools that were called, in order, each once.
    pub called: Vec<String>,
    capabilities: Value,
}

impl Conversation {
    /// Begins as clients of today do: with `server/discover`, and where that is not
    /// understood with `initialize`.
    pub fn open(command: Command) -> Self {
        let mut conversation = Self::start(command);
        conversation.revision = NEWEST.to_owned();
        let (line, answer) = conversation.request("server/discover", Map::new());
        if answer["result"].is_object() {
            let versions = &answer["result"]["supportedVersions"];
            assert!(
                versions.as_array().is_some_and(|all| all.contains(&json!(NEWEST))),
                "{answer}"
            );
            conversation.capabilities = answer["result"]["capabilities"].clone();
            conversation.opening = line;
        } else {
            assert!(answer["error"]["code"].is_i64(), "neither result nor error: {answer}");
            conversation.initialize();
        }
        conversation
    }

    /// Begins as older clients do, with `initialize`.
    pub fn open_with_initialize(command: Command) -> Self {
        let mut conversation = Self::start(command);
        conversation.initialize();
        conversation
    }

    /// Whether the server offers this at all: `tools`, `prompts` or `resources`.
    pub fn offers(&self, what: &str) -> bool {
        self.capabilities[what].is_object()
    }

    /// Lists all of that; gives how many there are and the answers as they came.
    pub fn list(&mut self, what: &str) -> (usize, Vec<Vec<u8>>) {
        let (mut count, mut pages, mut params) = (0, Vec::new(), Map::new());
        loop {
            let (line, answer) = self.request(&format!("{what}/list"), params);
            let Some(page) = answer["result"][what].as_array() else {
                panic!("{what} are not listed: {answer}");
            };
            count += page.len();
            pages.push(line);
            match &answer["result"]["nextCursor"] {
                Value::Null => return (count, pages),
                cursor => params = Map::from_iter([("cursor".to_owned(), cursor.clone())]),
            }
        }
    }

    /// Calls a tool, which must succeed, and gives the text of its answer.
    pub fn call(&mut self, tool: &str, arguments: Value) -> String {
        self.note(format!("`{tool}`"));
        let answer = self.call_tool(tool, arguments);
        let result = &answer["result"];
        assert!(result["isError"].as_bool() != Some(true), "{tool}: {answer}");
        let parts = result["content"].as_array().unwrap_or_else(|| panic!("{tool}: {answer}"));
        parts.iter().filter_map(|part| part["text"].as_str()).collect()
    }

    /// Calls a tool in a way that its server refuses without asking anybody else, and
    /// gives the refusal: a result that is an error, or a JSON-RPC error of the server's.
    pub fn call_in_vain(&mut self, tool: &str, arguments: Value) -> String {
        self.note(format!("`{tool}` (refused)"));
        let answer = self.call_tool(tool, arguments);
        if answer["result"]["isError"] == true {
            return answer["result"]["content"].to_string();
        }
        assert!(answer["error"]["data"]["sealwire"].is_null(), "an error of ours: {answer}");
        answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{tool}: {answer}")).to_owned()
    }

    /// Ends the conversation as a client does: it closes the server's input. Whatever
    /// has led there must then end in good order.
    pub fn close(self) {
        let (status, rest) = self.client.finish();
        assert!(status.success(), "ended with {status}");
        for line in rest {
            let message: Value = serde_json::from_slice(&line).expect("JSON");
            assert!(message.get("id").is_none(), "more answers than requests: {message}");
        }
    }

    fn start(command: Command) -> Self {
        Self {
            client: Connect::spawn(command),
            revision: String::new(),
            opening: Vec::new(),
            called: Vec::new(),
            capabilities: Value::Null,
        }
    }

    fn initialize(&mut self) {
        self.revision.clear();
        let params = json!({
            "protocolVersion": NEWEST_WITH_INITIALIZE,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let Value::Object(params) = params else { unreachable!("an object") };
        let (line, answer) = self.request("initialize", params);
        let revision = &answer["result"]["protocolVersion"];
        let Some(revision) = revision.as_str() else { panic!("not initialized: {answer}") };
        self.revision = revision.to_owned();
        self.capabilities = answer["result"]["capabilities"].clone();
        self.opening = line;
        self.client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    }

    fn call_tool(&mut self, tool: &str, arguments: Value) -> Value {
        let params = [("name".to_owned(), json!(tool)), ("arguments".to_owned(), arguments)];
        self.request("tools/call", Map::from_iter(params)).1
    }

    fn note(&mut self, call: String) {
        if !self.called.contains(&call) {
            self.called.push(call);
        }
    }

    /// The answer to one request, as it came and parsed. Notifications before it are
    /// passed over.
    fn request(&mut self, method: &str, mut params: Map<String, Value>) -> (Vec<u8>, Value) {
        if self.revision == NEWEST {
            let name = |part: &str| format!("io.modelcontextprotocol/{part}");
            let meta = Map::from_iter([
                (name("protocolVersion"), json!(NEWEST)),
                (name("clientInfo"), client_info()),
                (name("clientCapabilities"), json!({})),
            ]);
            params.insert("_meta".to_owned(), meta.into());
        }
        let id = self.client.send_request(method, &params.into());
        loop {
            let line = self.client.receive();
            let message: Value = serde_json::from_slice(&line).expect("JSON");
            if message.get("id").is_none() {
                continue;
            }
            assert_eq!(message["id"], json!(id), "not the answer to {method}: {message}");
            return (line, message);
        }
    }
}

fn client_info() -> Value {
    json!({"name": "sealwire-tests", "version": "0"})
}
