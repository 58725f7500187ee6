//! A language model's place in a test, as Claude Code asks one: the Messages API with a model
//! that calls one tool, and then repeats what the tool said.

use serde_json::{Value, json};

use crate::TOOL_SAID;
use crate::http::{Answer, HttpServer};

/// The running API. It ends when it is dropped.
pub struct MockMessages {
    server: HttpServer,
}

impl MockMessages {
    /// Starts a model that calls `tool` of the MCP server `server` with these arguments, if it is
    /// offered that tool.
    pub fn calling(server: &str, tool: &str, arguments: &Value) -> Self {
        let (name, arguments) = (format!("mcp__{server}__{tool}"), arguments.clone());
        let server = HttpServer::start(move |request, body| {
            let is_asked = request.starts_with("POST /v1/messages");
            let asked: Value = serde_json::from_slice(body).ok().filter(|_| is_asked)?;
            answer(&asked, &next_block(&asked, &name, &arguments))
        });
        Self { server }
    }

    /// What stands in `ANTHROPIC_BASE_URL`.
    pub fn base_url(&self) -> String {
        self.server.url("")
    }
}

/// What the model says next.
fn next_block(asked: &Value, name: &str, arguments: &Value) -> Value {
    let messages = asked["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.last().and_then(|message| message["content"].as_array());
    let result = last.and_then(|parts| parts.iter().find(|part| part["type"] == "tool_result"));
    if let Some(result) = result {
        let said: String = match &result["content"] {
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        return json!({"type": "text", "text": format!("{TOOL_SAID}{said}")});
    }
    let tools = asked["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tools.iter().any(|tool| tool["name"] == *name) {
        return json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments});
    }
    json!({"type": "text", "text": format!("no tool {name} is offered")})
}

fn answer(asked: &Value, block: &Value) -> Answer {
    let is_tool = block["type"] == "tool_use";
    let stop = if is_tool { "tool_use" } else { "end_turn" };
    let message = |content: Value, stop: Value| {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": content, "stop_reason": stop, "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        })
    };
    if asked["stream"] != true {
        return Some(("application/json", message(json!([block]), json!(stop)).to_string()));
    }
    let (mut start, delta) = (
        block.clone(),
        match is_tool {
            true => json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}),
            false => json!({"type": "text_delta", "text": block["text"]}),
        },
    );
    start[if is_tool { "input" } else { "text" }] = if is_tool { json!({}) } else { json!("") };
    let events = [
        json!({"type": "message_start", "message": message(json!([]), Value::Null)}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null},
            "usage": {"output_tokens": 1},
        }),
        json!({"type": "message_stop"}),
    ];
    let event = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    Some(("text/event-stream", events.iter().map(event).collect()))
}
