//! `sealwire agent`: messages between agents, from the shell and for MCP clients.

mod dead_letters;
mod inspect;
mod list;
mod mcp;
mod post;
mod readers;
mod recv;
mod send;
mod shown;

use clap::{Args, Subcommand};

use crate::cli::{Context, Failure};

/// Send and receive messages between agents, signed and sealed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire agent send --from CodeExpert --to General --file task.md
  sealwire agent recv --as General --follow
  sealwire agent mcp --as General              what an MCP client starts

docs/agents.md tells the rest.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(send::Arguments),
    Recv(recv::Arguments),
    List(list::Arguments),
    Inspect(inspect::Arguments),
    DeadLetters(dead_letters::Arguments),
    Mcp(mcp::Arguments),
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::Send(arguments) => send::run(arguments, context),
        Command::Recv(arguments) => recv::run(arguments, context),
        Command::List(arguments) => list::run(arguments, context),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(arguments, context),
        Command::Mcp(arguments) => mcp::run(arguments, context),
    }
}

/// Runs what waits for files and messages, on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let done = runtime.block_on(work);
    // A read of standard input that cannot be cancelled must not keep the process alive.
    runtime.shutdown_background();
    done
}
