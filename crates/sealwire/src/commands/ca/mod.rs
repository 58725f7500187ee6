//! `ca`: the service of this home's authority, and its keys.

mod renew;
mod root_key;
mod rotate;

use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::net::TcpListener;

use super::signals;
use crate::cli::{Context, Failure};
use crate::joining::Service;

pub(super) use rotate::due;

/// Run the service of this home's certificate authority, renew and replace its keys
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca serve
  sealwire invite laptop --address ca.example.org:7444
  sealwire ca export-root /media/stick/root.pem")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArguments),
    Rotate(rotate::RotateArguments),
    RenewIssuing(renew::RenewArguments),
    ExportRoot(root_key::ExportArguments),
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
    match &arguments.command {
        Command::Serve(ServeArguments {}) => serve(context),
        Command::Rotate(arguments) => rotate::rotate(arguments, context),
        Command::RenewIssuing(arguments) => renew::renew(arguments, context),
        Command::ExportRoot(arguments) => root_key::export(arguments, context),
    }
}

fn serve(context: &Context) -> Result<(), Failure> {
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
                .fix("stop what listens there, or choose another address in [ca]")
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
