use std::sync::Arc;

use clap::Args;
use sealwire::serving::serve_config;
use sealwire_relay::Server;

use super::signals;
use crate::admin::{Admin, Readiness};
use crate::cli::{Context, Failure};
use crate::notify;

/// Serve MCP servers over mutual TLS
///
/// Starts one process of the server for each client that connects, and ends it with the
/// conversation. SIGTERM and SIGINT stop accepting, let calls under way finish, and end
/// the servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire serve                      every server of the configuration that has a command
  sealwire serve github filesystem    only these two
  sealwire --log-format json serve    one JSON object for each log line")]
pub(crate) struct Arguments {
    /// The servers to serve [default: all that the configuration serves]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let checked = config.check_files()?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let serving = serve_config(&config, &arguments.names)?;
    if serving.listeners.is_empty() {
        return Err(Failure::config("there is nothing to serve")
            .at(context.config_file.display())
            .because("no [mcp_servers.<name>] table has a command")
            .fix(
                "add one: [mcp_servers.demo] with command = \"sealwire\", args = [\"demo-server\"]",
            ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        let readiness = Arc::new(Readiness::default());
        let _admin = match config.admin.address {
            Some(address) => Some(Admin::start(address, Arc::clone(&readiness)).await?),
            None => None,
        };
        let mut server = Server::bind(serving)
            .await
            .map_err(|error| Failure::new(error.to_string()).fix("choose another address"))?;
        for (address, servers) in server.addresses() {
            tracing::info!(%address, servers = servers.join(","), "listening");
        }
        server.start();
        readiness.serving(&config, &checked, &arguments.names);
        notify::ready("Serving");
        notify::keep_watchdog_fed();
        stop.await;
        readiness.draining();
        notify::stopping(config.listen.drain_timeout);
        server.drain().await;
        tracing::info!("stopped");
        Ok(())
    })
}
