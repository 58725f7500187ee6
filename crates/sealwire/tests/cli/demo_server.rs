//! `sealwire demo-server`, spoken to by an SDK client in both eras of the protocol.

use std::process::Stdio;

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ContentBlock, ElicitRequestParams,
    ElicitResult, ElicitationAction, ErrorData, Implementation, ProtocolVersion,
};
#[expect(deprecated, reason = "MCP deprecates sampling, but the clients served today have it")]
use rmcp::model::{CreateMessageRequestParams, CreateMessageResult, SamplingMessage};
use rmcp::service::{RequestContext, RoleClient, RunningService};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// Answers every question in a way the tests recognise.
struct Client;

impl ClientHandler for Client {
    #[expect(deprecated, reason = "as above")]
    fn get_info(&self) -> ClientConfig {
        let capabilities =
            ClientCapabilities::builder().enable_sampling().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("sealwire-tests", "0"))
    }

    #[expect(deprecated, reason = "as above")]
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let asked = params.messages[0].content.first().unwrap().as_text().unwrap();
        let answer = format!("you asked: {}", asked.text);
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(answer), "test".into()))
    }

    async fn create_elicitation(
        &self,
        _params: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let content = json!({ "confirmed": true });
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }
}

type Running = RunningService<RoleClient, Client>;

async fn start(mode: ClientLifecycleMode) -> (Child, Running) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealwire"))
        .arg("demo-server")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pipes = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let client = Client.serve_with_lifecycle(pipes, mode).await.unwrap();
    (child, client)
}

async fn call(client: &Running, tool: &'static str, arguments: Value) -> String {
    let mut params = CallToolRequestParams::new(tool);
    params.arguments = arguments.as_object().cloned();
    let result = client.call_tool(params).await.unwrap();
    result.content.iter().filter_map(ContentBlock::as_text).map(|t| t.text.as_str()).collect()
}

async fn serves(mode: ClientLifecycleMode) {
    let (mut child, client) = start(mode).await;
    let tools = client.list_all_tools().await.unwrap();
    let mut names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["add", "ask", "big", "confirm", "echo", "executions", "slow"]);

    assert_eq!(call(&client, "echo", json!({ "text": "grüße\n" })).await, "grüße\n");
    assert_eq!(call(&client, "add", json!({ "a": 2, "b": 0.5 })).await, "2.5");
    assert_eq!(call(&client, "slow", json!({ "ms": 1 })).await, "took 1 ms");
    assert_eq!(call(&client, "big", json!({ "bytes": 3_000_000 })).await.len(), 3_000_000);
    assert_eq!(call(&client, "ask", json!({ "question": "why?" })).await, "you asked: why?");
    let confirmed = call(&client, "confirm", json!({ "question": "sure?" })).await;
    assert_eq!(confirmed, "accept {\"confirmed\":true}");

    call(&client, "echo", json!({ "text": "" })).await;
    let counts: Value =
        serde_json::from_str(&call(&client, "executions", json!({})).await).unwrap();
    assert_eq!(counts["echo"], 2);
    assert_eq!(counts["add"], 1);
    assert_eq!(counts["executions"], 1);

    let mut params = CallToolRequestParams::new("big");
    params.arguments = json!({ "bytes": 100_000_000 }).as_object().cloned();
    assert!(client.call_tool(params).await.is_err());

    client.cancel().await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn with_initialize() {
    serves(ClientLifecycleMode::Initialize).await;
}

#[tokio::test]
async fn with_discover() {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    serves(ClientLifecycleMode::Discover { preferred_versions }).await;
}

#[tokio::test]
async fn ends_when_standard_input_does() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealwire"))
        .arg("demo-server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.wait().await.unwrap();
}
