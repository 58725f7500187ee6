//! A language model's place in a test: the Responses API with a model that calls one
//! tool, and then repeats what the tool said.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{Answer, HttpServer};

/// The running API. It ends when it is dropped.
pub struct MockModel {
    server: HttpServer,
    refusals: Arc<Mutex<Vec<String>>>,
}

/// What the model's last message starts with; the tool's output follows.
pub const TOOL_SAID: &str = "the tool said: ";

impl MockModel {
    /// Starts a model that calls `tool` of the MCP server `server` with these arguments,
    /// if it is offered that tool in the way that Codex offers it: in a namespace of the
    /// server's name.
    pub fn calling(server: &str, tool: &'static str, arguments: &Value) -> Self {
        let namespace = format!("mcp__{}", server.replace('-', "_"));
        let arguments = arguments.to_string();
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let kept = refusals.clone();
        let server = HttpServer::start(move |request, body| {
            let turn = match request {
                "POST /v1/responses" => next_turn(body, &namespace, tool, &arguments),
                _ => Err(format!("{request} is not what a model is asked")),
            };
            match turn {
                Ok(item) => events(&item),
                Err(reason) => {
                    kept.lock().unwrap().push(reason);
                    None
                }
            }
        });
        Self { server, refusals }
    }

    /// Where it is, as clients want it in their configuration.
    pub fn base_url(&self) -> String {
        self.server.url("/v1")
    }

    /// Why it has answered requests with an error.
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }
}

/// What the model says next: a tool's output is in `body`, or it is time to call it.
fn next_turn(body: &[u8], namespace: &str, tool: &str, arguments: &str) -> Result<Value, String> {
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let input = list(&request["input"]);
    let mut outputs = input.iter().filter(|item| item["type"] == "function_call_output");
    if let Some(last) = outputs.next_back() {
        let text = match &last["output"] {
            Value::String(text) => text.clone(),
            parts => list(parts).iter().filter_map(|part| part["text"].as_str()).collect(),
        };
        return Ok(json!({
            "type": "message", "role": "assistant", "id": "msg_1",
            "content": [{"type": "output_text", "text": format!("{TOOL_SAID}{text}")}],
        }));
    }
    let offered = list(&request["tools"]).iter().any(|group| {
        group["name"] == namespace && list(&group["tools"]).iter().any(|each| each["name"] == tool)
    });
    if !offered {
        return Err(format!("no tool {tool} in {namespace}: {}", request["tools"]));
    }
    Ok(json!({
        "type": "function_call", "id": "fc_1", "call_id": "call_1",
        "namespace": namespace, "name": tool, "arguments": arguments,
    }))
}

fn events(item: &Value) -> Answer {
    let usage = json!({
        "input_tokens": 1, "input_tokens_details": null,
        "output_tokens": 1, "output_tokens_details": null, "total_tokens": 2,
    });
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}),
    ];
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", as_text(&event["type"]));
    Some(("text/event-stream", events.iter().map(event).collect()))
}

fn as_text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(request: &Value) -> Result<Value, String> {
        next_turn(request.to_string().as_bytes(), "mcp__a_b", "echo", "{}")
    }

    #[test]
    fn calls_what_it_is_offered_then_repeats_the_output() {
        let tools = json!([{"type": "namespace", "name": "mcp__a_b", "tools": [{"name": "echo"}]}]);
        let call = turn(&json!({"input": [], "tools": tools})).unwrap();
        assert_eq!((&call["name"], &call["namespace"]), (&json!("echo"), &json!("mcp__a_b")));

        let output =
            json!({"type": "function_call_output", "output": [{"text": "a"}, {"text": "b"}]});
        let message = turn(&json!({"input": [call, output], "tools": tools})).unwrap();
        assert_eq!(message["content"][0]["text"], "the tool said: ab");
    }

    #[test]
    fn does_not_call_what_it_is_not_offered() {
        let error = turn(&json!({"input": [], "tools": [{"name": "echo"}]})).unwrap_err();
        assert!(error.contains("no tool echo in mcp__a_b"), "{error}");
    }
}
