//! rmcp, the Rust SDK, in both of its lifecycles, requests of the server's to the client
//! (sampling, elicitation) included.

#![expect(deprecated, reason = "sampling is what is tested, though newer revisions leave it")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, Implementation,
    InitializeRequestParams, ProgressNotificationParam, ProtocolVersion, SamplingCapability,
    SamplingMessage,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use sealwire_tests::compatibility::Package;
use serde_json::{Value, json};

use crate::user::User;
use crate::{ALL, ALL_2026, record, shows};

type Client = RunningService<RoleClient, Handler>;

#[test]
fn initialize() {
    let user = User::new();
    let handler = Handler::default();
    let revision = converse(async {
        let client = connect(&user, "everything", &handler, ClientLifecycleMode::Initialize).await;
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
        let answer = call(&client, "trigger-elicitation-request", json!({})).await;
        assert!(answer.contains("Grace Hopper"), "{answer}");

        let long = json!({"duration": 0.2, "steps": 4});
        let answer = call(&client, "trigger-long-running-operation", long).await;
        assert!(answer.contains("completed"), "{answer}");
        // The last one and the answer may be handled in either order.
        assert!(handler.progress.load(Ordering::SeqCst) >= 3, "progress was not told");
        assert!(!client.list_all_resources().await.unwrap().is_empty());
        assert!(!client.list_all_prompts().await.unwrap().is_empty());
        end(client).await
    });
    assert_eq!(handler.asked(), (1, 1));
    record("rmcp, `Initialize`", &package(), &revision, "everything", ALL);
    shows("rust", include_str!("rust_sdk.rs"));
}

#[test]
fn discover() {
    let user = User::new();
    let handler = Handler::default();
    let lifecycle =
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    let revision = converse(async {
        let client = connect(&user, "demo", &handler, lifecycle).await;
        let tools = client.list_all_tools().await.unwrap();
        assert!(tools.iter().any(|tool| tool.name == "echo"), "{tools:?}");
        let answer = call(&client, "echo", json!({"text": "hello \u{1f600}"})).await;
        assert!(answer.contains("hello \u{1f600}"), "{answer}");
        let answer = call(&client, "ask", json!({"question": "three words"})).await;
        assert!(answer.contains("sampled by rmcp"), "{answer}");
        let answer = call(&client, "confirm", json!({"question": "really?"})).await;
        assert!(answer.contains("accept"), "{answer}");
        end(client).await
    });
    assert_eq!(handler.asked(), (1, 1));
    assert_eq!(revision, "2026-07-28");
    record("rmcp, `Discover`", &package(), &revision, "demo", ALL_2026);
}

async fn connect(
    user: &User,
    server: &str,
    handler: &Handler,
    lifecycle: ClientLifecycleMode,
) -> Client {
    let mut command = Command::new("sealwire");
    command.args(["connect", server]);
    let command = user.with(command);
    let transport = TokioChildProcess::new(tokio::process::Command::from(command)).unwrap();
    let client = handler.clone().serve_with_lifecycle(transport, lifecycle).await;
    client.unwrap_or_else(|error| panic!("{server}: {error}"))
}

/// Closes the connection and gives the revision that it had.
async fn end(client: Client) -> String {
    let revision = client.peer_info().expect("negotiated").protocol_version.to_string();
    client.cancel().await.unwrap();
    revision
}

fn converse<T>(conversation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(conversation)
}

async fn call(client: &Client, tool: &'static str, args: Value) -> String {
    let mut params = CallToolRequestParams::new(tool);
    if let Value::Object(args) = args {
        params = params.with_arguments(args);
    }
    let result = client.call_tool(params).await.unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
    serde_json::to_string(&result.content).unwrap()
}

/// The version that this workspace's lock file has.
fn package() -> Package {
    let lock = include_str!("../../../Cargo.lock");
    let (_, rest) = lock.split_once("name = \"rmcp\"\nversion = \"").expect("rmcp is locked");
    let (version, _) = rest.split_once('"').expect("a version");
    Package { name: "rmcp".to_owned(), version: version.to_owned() }
}

/// Answers what a server asks, and counts how often it did.
#[derive(Clone, Default)]
struct Handler {
    sampled: Arc<AtomicUsize>,
    elicited: Arc<AtomicUsize>,
    progress: Arc<AtomicUsize>,
}

impl Handler {
    fn asked(&self) -> (usize, usize) {
        (self.sampled.load(Ordering::SeqCst), self.elicited.load(Ordering::SeqCst))
    }
}

impl ClientHandler for Handler {
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

    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.fetch_add(1, Ordering::SeqCst);
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        assert!(matches!(request, ElicitRequestParams::FormElicitationParams { .. }));
        self.elicited.fetch_add(1, Ordering::SeqCst);
        let content = json!({"name": "Grace Hopper", "check": true, "confirmed": true});
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }
}
