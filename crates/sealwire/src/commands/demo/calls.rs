//! Tool calls: through the library over a network that is cut, and through
//! `sealwire connect` against the clock.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::{ServiceError, ServiceExt};
use sealwire::SecureMcpConnectionManager;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::stage::Stage;
use super::{Resumed, ToolCall};
use crate::cli::Failure;

/// How often the network is cut.
const CUTS: usize = 5;
/// Short calls under way at each cut, besides a slow one.
const CALLS_PER_CUT: u64 = 20;
/// Calls timed on each side of the comparison.
const TIMED_CALLS: usize = 300;

type Client = RunningService<RoleClient, ()>;

/// An MCP client that reached the server through the library.
pub(super) struct Conversation {
    mcp: Client,
    /// Our own name, as the server verified it.
    pub(super) client: String,
}

impl Conversation {
    pub(super) async fn open(stage: &Stage) -> Result<Self, Failure> {
        let manager = SecureMcpConnectionManager::new(&stage.config)?;
        let stream = manager.connect_to_mcp_server("demo").await?;
        let client = stream.we_are().to_owned();
        let mcp = ().serve(stream).await.map_err(|error| failed("initialize", &error))?;
        Ok(Self { mcp, client })
    }

    /// Lists the tools, calls one and checks its answer.
    pub(super) async fn list_and_call(&self) -> Result<ToolCall, Failure> {
        let tools = self.mcp.list_all_tools().await.map_err(|e| failed("tools/list", &e))?;
        let answer = call(&self.mcp, "echo", json!({"text": "sealed"})).await;
        let answer = answer.map_err(|error| failed("echo", &error))?;
        let is_listed = tools.iter().any(|tool| tool.name == "echo");
        Ok(ToolCall { ok: is_listed && answer == "sealed", tools: tools.len() })
    }

    /// Cuts the network while calls are under way, and compares what was asked for, what
    /// was answered, and what the server itself says that it carried out.
    pub(super) async fn cut_and_resume(&self, stage: &Stage) -> Result<Resumed, Failure> {
        let before = self.executions().await?;
        let mut answered = 0;
        for _ in 0..CUTS {
            let mut calls = JoinSet::new();
            let mcp = self.mcp.peer().clone();
            calls.spawn(async move { call(&mcp, "slow", json!({"ms": 60})).await });
            for number in 0..CALLS_PER_CUT {
                let mcp = self.mcp.peer().clone();
                let text = number.to_string();
                calls.spawn(async move { call(&mcp, "echo", json!({ "text": text })).await });
            }
            sleep(Duration::from_millis(20)).await;
            stage.cutter.cut();
            while let Some(call) = calls.join_next().await {
                answered += u64::from(matches!(call, Ok(Ok(_))));
            }
        }
        let calls = CUTS as u64 * (CALLS_PER_CUT + 1);
        let executed = self.executions().await? - before;
        Ok(Resumed {
            cuts: stage.cutter.cuts(),
            calls,
            lost: calls - answered.min(executed).min(calls),
            duplicated: executed.saturating_sub(calls),
        })
    }

    /// How many calls of `echo` and `slow` the server's process has carried out.
    async fn executions(&self) -> Result<u64, Failure> {
        let counts = call(&self.mcp, "executions", json!({})).await;
        let counts = counts.map_err(|error| failed("executions", &error))?;
        let counts: Value = serde_json::from_str(&counts)
            .map_err(|error| Failure::new("the server's count is not JSON").because(error))?;
        Ok(["echo", "slow"].iter().filter_map(|tool| counts[tool].as_u64()).sum())
    }

    pub(super) async fn close(self) {
        // The server ends with its client; there is nothing to do if that fails.
        let _closed = self.mcp.cancel().await;
    }
}

/// What `sealwire connect` and `sealwire serve` add to a call's median time, compared
/// with the same server over plain pipes, in turns. Microseconds.
pub(super) async fn added_latency(stage: &Stage) -> Result<i64, Failure> {
    let connecting =
        format!("[mcp_servers.demo]\nendpoint = \"{}\"\ndefault_level = 1\n", stage.address);
    let config = stage.write_config("connect.toml", &connecting)?;
    let mut direct = Command::new(&stage.program);
    direct.arg("demo-server");
    let mut sealed = Command::new(&stage.program);
    sealed.arg("--home").arg(stage.home()).arg("--config").arg(config).args(["connect", "demo"]);
    let (direct, _direct_process) = start(direct).await?;
    let (sealed, _sealed_process) = start(sealed).await?;

    let (mut direct_times, mut sealed_times) = (Vec::new(), Vec::new());
    for _ in 0..TIMED_CALLS {
        direct_times.push(timed(&direct).await?);
        sealed_times.push(timed(&sealed).await?);
    }
    let _closed = (direct.cancel().await, sealed.cancel().await);
    Ok(median(sealed_times) - median(direct_times))
}

async fn start(mut command: Command) -> Result<(Client, Child), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new("cannot start a process to time").because(error)
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot(&error))?;
    let stdout = child.stdout.take().ok_or_else(|| cannot(&"it has no standard output"))?;
    let stdin = child.stdin.take().ok_or_else(|| cannot(&"it has no standard input"))?;
    let mcp = ().serve((stdout, stdin)).await.map_err(|error| failed("initialize", &error))?;
    Ok((mcp, child))
}

async fn timed(mcp: &Client) -> Result<i64, Failure> {
    let start = Instant::now();
    call(mcp, "echo", json!({"text": "x"})).await.map_err(|error| failed("echo", &error))?;
    Ok(i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX))
}

fn median(mut times: Vec<i64>) -> i64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Calls a tool; the text of its answer.
async fn call(
    mcp: &rmcp::Peer<RoleClient>,
    tool: &'static str,
    arguments: Value,
) -> Result<String, ServiceError> {
    let mut params = CallToolRequestParams::new(tool);
    if let Value::Object(arguments) = arguments {
        params = params.with_arguments(arguments);
    }
    let result = mcp.call_tool(params).await?;
    let text = result.content.first().and_then(|content| content.as_text());
    Ok(text.map_or_else(String::new, |text| text.text.clone()))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{what} failed")).because(error)
}
