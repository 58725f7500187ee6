//! `sealwire policy`: what the policy is, whether it holds together, and what it decides.

mod check;
mod explain;
mod show;
mod suggest;
mod tools;

use clap::{Args, Subcommand};

use crate::cli::{Context, Failure};
pub(crate) use tools::entry;

/// See who may do what, and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire policy show
  sealwire policy explain --peer agent/CodeExpert --server github --tool create_issue
  sealwire policy check
  sealwire policy suggest github")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(show::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Suggest(suggest::Arguments),
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    match &arguments.command {
        Command::Show(arguments) => show::run(arguments, context),
        Command::Check(arguments) => check::run(arguments, context),
        Command::Explain(arguments) => explain::run(arguments, context),
        Command::Suggest(arguments) => suggest::run(arguments, context),
    }
}
