//! An MCP client on rmcp whose wire is mutual TLS: lists an MCP server's tools and
//! calls one of them.
//!
//!     cargo run --example rmcp_client -- HOME SERVER TOOL 'JSON ARGUMENTS'
//!
//! HOME holds a `sealwire.toml` with a table `[mcp_servers.SERVER]`; `sealwire init
//! --from-bundle FILE` makes one.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::error::Error;
use std::path::Path;

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use sealwire::{SecureMcpConfig, SecureMcpConnectionManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, server, tool, tool_arguments] = &arguments[..] else {
        return Err("usage: rmcp_client HOME SERVER TOOL 'JSON ARGUMENTS'".into());
    };

    let config = SecureMcpConfig::load(Path::new(home))?;
    let manager = SecureMcpConnectionManager::new(&config)?;
    // Verified on both ends when this returns, and redialled behind the stream from
    // then on. It reads and writes newline-delimited JSON-RPC, which rmcp takes as it is.
    let stream = manager.connect_to_mcp_server(server).await?;
    let client = ().serve(stream).await?;

    for tool in client.list_all_tools().await? {
        println!("{}: {}", tool.name, tool.description.unwrap_or_default());
    }
    let call = CallToolRequestParams::new(tool.clone())
        .with_arguments(serde_json::from_str(tool_arguments)?);
    let result = client.call_tool(call).await?;
    println!("{}", serde_json::to_string(&result.content)?);

    client.cancel().await?;
    Ok(())
}
