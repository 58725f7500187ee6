//! A real MCP server, behind `serve`, answers real MCP clients through `connect`: the
//! npm "everything" server, the Python SDK and rmcp, requests of the server's to the
//! client (sampling, elicitation) and progress included.

#![expect(deprecated, reason = "sampling is what is tested, though newer revisions leave it")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, Implementation,
    InitializeRequestParams, SamplingCapability, SamplingMessage,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt};
use sealwire_testkit::{Home, Serve, run, server_table, tools};
use serde_json::{Value, json};

/// Arguments that make `python` drive a server through `command`.
fn drive(python: &str, command: &Command) -> Command {
    let mut driver = Command::new(tools().join("venv/bin/python"));
    driver.arg(format!("{}/python/{python}", env!("CARGO_MANIFEST_DIR")));
    driver.arg(command.get_program()).args(command.get_args());
    driver
}

fn serving_everything() -> (Home, Serve) {
    let program = tools().join("node/node_modules/.bin/mcp-server-everything");
    let home = Home::with_config(&server_table("everything", program, &["stdio"]));
    let serve = Serve::start(&home);
    (home, serve)
}

/// Without sealwire between them, so that a failure below is known to be ours.
#[test]
fn python_sdk_directly() {
    let mut everything = Command::new(tools().join("node/node_modules/.bin/mcp-server-everything"));
    everything.arg("stdio");
    let output = run(drive("everything.py", &everything), b"").ok();
    assert!(output.stdout.contains("all held"), "{output}");
}

#[test]
fn python_sdk_through_connect() {
    let (home, serve) = serving_everything();
    let connect = home.connect_command("everything", serve.address(), "");
    let output = run(drive("everything.py", &connect), b"").ok();
    assert!(output.stdout.contains("all held"), "{output}");
}

/// Answers what a server asks, and counts how often it did.
#[derive(Clone, Default)]
struct Client {
    sampled: Arc<AtomicUsize>,
    elicited: Arc<AtomicUsize>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> InitializeRequestParams {
        let mut capabilities = ClientCapabilities::default();
        capabilities.sampling = Some(SamplingCapability::default());
        capabilities.elicitation = Some(ElicitationCapability::default());
        InitializeRequestParams::new(capabilities, Implementation::new("sealwire-tests", "0"))
    }

    async fn create_message(
        &self,
        request: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        assert!(serde_json::to_string(&request).unwrap().contains("three words"), "{request:?}");
        self.sampled.fetch_add(1, Ordering::SeqCst);
        let message = SamplingMessage::assistant_text("sampled by rmcp");
        Ok(CreateMessageResult::new(message, "model-of-the-test".into()))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        assert!(matches!(request, ElicitRequestParams::FormElicitationParams { .. }));
        self.elicited.fetch_add(1, Ordering::SeqCst);
        let content = json!({"name": "Grace Hopper", "check": true});
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }
}

async fn call(
    client: &RunningService<RoleClient, Client>,
    tool: &'static str,
    args: Value,
) -> String {
    let mut params = CallToolRequestParams::new(tool);
    if let Value::Object(args) = args {
        params = params.with_arguments(args);
    }
    let result = client.call_tool(params).await.unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
    serde_json::to_string(&result.content).unwrap()
}

#[test]
fn rmcp_through_connect() {
    let (home, serve) = serving_everything();
    let command = home.connect_command("everything", serve.address(), "");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let handler = Client::default();
        let transport = TokioChildProcess::new(tokio::process::Command::from(command)).unwrap();
        let client = handler.clone().serve(transport).await.unwrap();

        let tools = client.list_all_tools().await.unwrap();
        let has = |name: &str| tools.iter().any(|tool| tool.name == name);
        assert!(has("echo") && has("trigger-sampling-request"), "{tools:?}");
        assert!(has("trigger-elicitation-request"), "{tools:?}");

        let answer = call(&client, "echo", json!({"message": "hello \u{1f600}"})).await;
        assert!(answer.contains("Echo: hello \u{1f600}"), "{answer}");
        let answer = call(&client, "get-sum", json!({"a": 40, "b": 2})).await;
        assert!(answer.contains("is 42"), "{answer}");

        let prompt = json!({"prompt": "three words", "maxTokens": 10});
        let answer = call(&client, "trigger-sampling-request", prompt).await;
        assert!(answer.contains("sampled by rmcp"), "{answer}");
        assert_eq!(handler.sampled.load(Ordering::SeqCst), 1);

        let answer = call(&client, "trigger-elicitation-request", json!({})).await;
        assert!(answer.contains("Grace Hopper"), "{answer}");
        assert_eq!(handler.elicited.load(Ordering::SeqCst), 1);

        assert!(!client.list_all_resources().await.unwrap().is_empty());
        assert!(!client.list_all_prompts().await.unwrap().is_empty());
        client.cancel().await.unwrap();
    });
}
