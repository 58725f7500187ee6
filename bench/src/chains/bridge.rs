//! Bridges between standard input and output, and HTTP.

use std::net::SocketAddr;

use super::tools::Tool;
use crate::Result;
use crate::process::Launch;
use crate::setup::{Found, Setup, server};

/// A bridge at the client's end: it is started by the client and speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub(super) enum Near {
    McpRemote,
    PyPiMcpProxy,
    Supergateway,
}

/// A bridge at the server's end: it takes HTTP and starts the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Far {
    /// Stateful: without sessions it starts a server for each request.
    Supergateway,
    /// All sessions share one server.
    PyPiMcpProxy,
    /// All sessions share one server.
    NpmMcpProxy,
}

impl Near {
    /// As the client starts it, to reach the bridge behind `address`.
    pub(super) fn launch(
        self,
        setup: &mut Setup,
        log: &str,
        address: SocketAddr,
        path: &str,
    ) -> Result<Found<Launch>> {
        let url = format!("http://{address}{path}");
        let (tool, arguments) = match self {
            Self::McpRemote => {
                (Tool::Npm("mcp-remote"), [&url, "--transport", "http-only"].to_vec())
            }
            Self::PyPiMcpProxy => (
                Tool::PyPi("mcp-proxy"),
                ["--transport", "streamablehttp", "--log-level", "ERROR", &url].to_vec(),
            ),
            Self::Supergateway => (
                Tool::Npm("supergateway"),
                ["--streamableHttp", &url, "--logLevel", "none"].to_vec(),
            ),
        };
        Ok(tool.find(setup, log)?.map(|launch| launch.args(arguments)))
    }
}

impl Far {
    /// Path of the endpoint.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Supergateway | Self::NpmMcpProxy => "/mcp",
            // Without the slash it answers with a redirect.
            Self::PyPiMcpProxy => "/mcp/",
        }
    }

    /// Listening on `address`, before the server that all cases reach. supergateway can
    /// be told the port only.
    pub(super) fn launch(
        self,
        setup: &mut Setup,
        log: &str,
        address: SocketAddr,
    ) -> Result<Found<Launch>> {
        let [program, option] = server()?;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        // A shell reads it.
        let line = format!("'{program}' {option}");
        let (tool, arguments) = match self {
            Self::Supergateway => (
                Tool::Npm("supergateway"),
                vec![
                    "--stdio",
                    &line,
                    "--outputTransport",
                    "streamableHttp",
                    "--stateful",
                    "--port",
                    &port,
                    "--logLevel",
                    "none",
                ],
            ),
            Self::PyPiMcpProxy => (
                Tool::PyPi("mcp-proxy"),
                vec![
                    "--host",
                    &host,
                    "--port",
                    &port,
                    "--log-level",
                    "ERROR",
                    "--",
                    &program,
                    &option,
                ],
            ),
            Self::NpmMcpProxy => (
                Tool::Npm("mcp-proxy"),
                vec![
                    "--host", &host, "--port", &port, "--server", "stream", "--", &program, &option,
                ],
            ),
        };
        Ok(tool.find(setup, log)?.map(|launch| launch.args(arguments)))
    }
}
