//! A small real MCP server over standard input and output, for demonstrations and tests.
//!
//! It speaks both eras of the protocol: revisions with `initialize`, in which a server
//! sends requests to the client, and 2026-07-28 with `server/discover`, in which a result
//! says that input is required and the client calls again with the answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use rmcp::handler::server::tool::InputResponses;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ElicitRequest, ElicitRequestParams,
    ElicitResult, ElicitationSchema, ErrorData, Implementation, InputRequest, InputRequests,
    InputRequiredResult, ProtocolVersion, ServerCapabilities, ServerConfig,
};
#[expect(deprecated, reason = "MCP deprecates sampling, but the clients served today have it")]
use rmcp::model::{
    CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, SamplingMessage,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ServerHandler, ServiceExt, tool, tool_handler, tool_router};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::Failure;

/// Largest text that `big` makes, in bytes: what a link carries at most.
const MAX_BIG: usize = 64 << 20;
/// Longest that `slow` takes, in milliseconds.
const MAX_SLOW: u64 = 600_000;
/// Under this key a client's answer comes back in the newer era.
const ANSWER: &str = "answer";

/// Run a small MCP server on standard input and output, to try things with
#[derive(Debug, Args)]
#[command(after_help = "\
Example, in sealwire.toml:
  [mcp_servers.demo]
  command = \"sealwire\"
  args = [\"demo-server\"]
  default_level = 1")]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(format!("the demo server {what}")).because(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("cannot start", &error))?;
    let served = runtime.block_on(async {
        let service = DemoServer::new()
            .serve(rmcp::transport::stdio_pipes())
            .await
            .map_err(|error| failed("was not spoken to as MCP servers are", &error))?;
        service.waiting().await.map_err(|error| failed("broke off", &error))?;
        Ok(())
    });
    // A read of standard input that cannot be cancelled must not keep the process alive.
    runtime.shutdown_background();
    served
}

/// The server: tools, and how often each has been executed in this process.
#[derive(Clone, Debug, Default)]
struct DemoServer {
    executions: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Text {
    /// Any text
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Numbers {
    a: f64,
    b: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Milliseconds {
    /// How long to take, in milliseconds
    ms: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Size {
    /// How long the text is, in bytes
    bytes: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Question {
    /// What to ask
    question: String,
}

#[tool_router]
impl DemoServer {
    fn new() -> Self {
        Self::default()
    }

    #[tool(description = "Returns the text")]
    fn echo(&self, Parameters(Text { text }): Parameters<Text>) -> String {
        self.count("echo");
        text
    }

    #[tool(description = "Adds two numbers")]
    fn add(&self, Parameters(Numbers { a, b }): Parameters<Numbers>) -> String {
        self.count("add");
        (a + b).to_string()
    }

    #[tool(description = "Takes its time, then says how long")]
    async fn slow(
        &self,
        Parameters(Milliseconds { ms }): Parameters<Milliseconds>,
    ) -> Result<String, ErrorData> {
        self.count("slow");
        if ms > MAX_SLOW {
            return Err(ErrorData::invalid_params(format!("ms is at most {MAX_SLOW}"), None));
        }
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(format!("took {ms} ms"))
    }

    #[tool(description = "Returns a text of that many bytes")]
    fn big(&self, Parameters(Size { bytes }): Parameters<Size>) -> Result<String, ErrorData> {
        self.count("big");
        if bytes > MAX_BIG {
            return Err(ErrorData::invalid_params(format!("bytes is at most {MAX_BIG}"), None));
        }
        Ok("x".repeat(bytes))
    }

    #[tool(description = "Asks the client's model (sampling) and returns its answer")]
    #[expect(deprecated, reason = "MCP deprecates sampling, but the clients served today have it")]
    async fn ask(
        &self,
        Parameters(Question { question }): Parameters<Question>,
        InputResponses(answers): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.count("ask");
        let prompt = vec![SamplingMessage::user_text(question)];
        let request = CreateMessageRequestParams::new(prompt, 1000);
        let result: CreateMessageResult = match answers {
            Some(answers) => answer(answers)?,
            None if is_stateless(&context) => {
                let request = CreateMessageRequest::new(request);
                return Ok(input_required(InputRequest::CreateMessage(request)));
            }
            None => context.peer.create_message(request).await.map_err(refused)?,
        };
        let parts = result.message.content.into_vec();
        let texts = parts.iter().filter_map(|part| part.as_text());
        Ok(text(texts.map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n")))
    }

    #[tool(description = "Asks the user to confirm (elicitation) and returns accepted or why not")]
    async fn confirm(
        &self,
        Parameters(Question { question }): Parameters<Question>,
        InputResponses(answers): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.count("confirm");
        let requested_schema = ElicitationSchema::builder()
            .required_bool("confirmed")
            .build()
            .map_err(|error| ErrorData::internal_error(error, None))?;
        let request = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: question,
            requested_schema,
        };
        let result: ElicitResult = match answers {
            Some(answers) => answer(answers)?,
            None if is_stateless(&context) => {
                let request = ElicitRequest::new(request);
                return Ok(input_required(InputRequest::Elicitation(request)));
            }
            None => context.peer.create_elicitation(request).await.map_err(refused)?,
        };
        let action = serde_json::to_value(&result.action).unwrap_or_default();
        let content = result.content.unwrap_or_default();
        Ok(text(format!("{} {content}", action.as_str().unwrap_or_default())))
    }

    #[tool(description = "How often each tool has been executed in this process, as JSON")]
    fn executions(&self) -> String {
        self.count("executions");
        let counts = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::json!(*counts).to_string()
    }

    /// Called first in each tool's body, so that what is counted is what was done.
    fn count(&self, tool: &'static str) {
        let mut counts = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(tool).or_default() += 1;
    }
}

#[tool_handler]
impl ServerHandler for DemoServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new(
            "sealwire-demo-server",
            env!("CARGO_PKG_VERSION"),
        ))
    }
}

/// Whether the revision forbids requests from server to client.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn input_required(request: InputRequest) -> CallToolResponse {
    let requests = InputRequests::from([(ANSWER.to_owned(), request)]);
    InputRequiredResult::new(Some(requests), None).into()
}

fn answer<T: DeserializeOwned>(mut answers: rmcp::model::InputResponses) -> Result<T, ErrorData> {
    let answer = answers
        .remove(ANSWER)
        .ok_or_else(|| ErrorData::invalid_params(format!("there is no {ANSWER:?}"), None))?;
    serde_json::from_value(answer)
        .map_err(|error| ErrorData::invalid_params(format!("{ANSWER:?}: {error}"), None))
}

fn refused(error: rmcp::ServiceError) -> ErrorData {
    ErrorData::internal_error(format!("the client did not answer: {error}"), None)
}

fn text(text: String) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}
