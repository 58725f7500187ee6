use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::{Context, Failure, print, print_json, printable};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Ask a running `serve` whether it is well
///
/// Asks the address of [admin], from this machine. For probes that can only run a
/// program: exit code 0 means yes, 1 no. With --address the configuration is not read, so
/// that a probe does not fail for an edit that is not in effect yet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire health                     is it alive?
  sealwire health --ready             can clients be sent to it?
  sealwire health --ready --address 127.0.0.1:9443 --json")]
pub(crate) struct Arguments {
    /// Ask whether it is ready, not only whether it is alive
    #[arg(long)]
    ready: bool,
    /// The address to ask [default: that of [admin] in the configuration]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let address = match arguments.address {
        Some(address) => address,
        None => configured(context)?,
    };
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let asked = runtime.block_on(async {
        let answer = timeout(PATIENCE, ask(address, path)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    });
    let (is_well, answer) = asked.map_err(|reason| {
        Failure::new("serve does not answer")
            .at(format!("http://{address}{path}"))
            .because(reason)
            .fix("see whether `sealwire serve` runs, with this address in [admin]")
    })?;
    if arguments.json {
        print_json(&answer)?;
    }
    if is_well {
        let status = answer["status"].as_str().unwrap_or("well");
        return if arguments.json { Ok(()) } else { print(&format!("{}\n", printable(status))) };
    }
    let mut failure = Failure::new(if arguments.ready { "not ready" } else { "not well" });
    failure = failure.at(format!("http://{address}{path}"));
    for problem in answer["problems"].as_array().into_iter().flatten() {
        let (code, what) = (problem["code"].as_str(), problem["what"].as_str());
        failure = failure.because(format!("{}: {}", code.unwrap_or("?"), what.unwrap_or("?")));
    }
    Err(failure.fix("see the log of `sealwire serve`"))
}

fn configured(context: &Context) -> Result<SocketAddr, Failure> {
    let none = |reason: &str| {
        Failure::config("there is nobody to ask")
            .at(context.config_file.display())
            .because(reason)
            .fix("write address = \"127.0.0.1:9443\" into [admin], or name it with --address")
    };
    match context.load_config()?.admin.address {
        None => Err(none("[admin] has no address")),
        Some(address) if address.port() == 0 => {
            Err(none("[admin] has port 0, so that only the log of `serve` tells the port"))
        }
        Some(address) => Ok(address),
    }
}

/// The answer, and whether it is a good one.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Result<(bool, Value), String> {
    let tcp = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(tcp)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let answer = serde_json::from_slice(&body)
        .map_err(|error| format!("{status}, and what came is not of a sealwire: {error}"))?;
    match status.as_u16() {
        200 => Ok((true, answer)),
        503 => Ok((false, answer)),
        _ => Err(format!("{status}: {answer}")),
    }
}
