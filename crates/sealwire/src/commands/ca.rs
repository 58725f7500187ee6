use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use super::signals;
use crate::cli::{Context, Failure};
use crate::joining::Service;

/// Run the service of this home's certificate authority
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca serve
  sealwire invite laptop --address ca.example.org:7444")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArguments),
}

/// Let other machines join, by the lines that `sealwire invite` prints, and renew what they got
///
/// A process and a listener of its own, at `[ca] address`: whoever breaks into the process that
/// serves MCP has not the authority's key. Whoever connects is nobody until he has proven an
/// invitation. It can run all the time, or only while somebody is to join.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca serve
  sealwire --home /etc/sealwire-ca ca serve      an authority in a home of its own")]
struct ServeArguments {}

impl Arguments {
    /// Whether it goes on until it is stopped.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let Command::Serve(ServeArguments {}) = &arguments.command;
    let config = context.load_config()?;
    let address = config.ca.address;
    let service = Arc::new(Service::new(config)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    runtime.block_on(async {
        let stop = signals::stop()?;
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot listen on {address}, the address of [ca]"))
                .because(error)
                .fix("choose another address")
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        tracing::info!(%address, "listening for those who join");
        tokio::select! {
            () = stop => {}
            () = service.serve(listener) => {}
        }
        tracing::info!("stopped");
        Ok(())
    })
}
