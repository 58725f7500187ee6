//! `sealwire status`: what a running `serve` is doing.

mod view;

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use self::view::{Sample, View};
use crate::cli::{Context, Failure, print, print_json};
use crate::control::{Request, find};

/// Show what a running `serve` is doing: servers, peers, rates, denials, quarantine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire status
  sealwire status --watch
  sealwire status --json | jq .conversations")]
pub(crate) struct Arguments {
    /// Print everything as one JSON object
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Go on showing it, with rates, until interrupted
    #[arg(long)]
    watch: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch",
          value_parser = sealwire::config::parse_duration)]
    every: Duration,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let home = context.state_home()?;
    let mut daemon = find(&home)?.ok_or_else(|| super::reload::not_running(&home))?;
    let mut look = || -> Result<Sample, Failure> {
        Ok(Sample { status: daemon.ask(&Request::Status {})?, at: Instant::now() })
    };
    let first = look()?;
    if arguments.json {
        return print_json(&first.status);
    }
    let mut view = View::new(stdout().is_terminal());
    if !arguments.watch {
        return print(&view.once(&first));
    }
    print(&view.next(first))?;
    loop {
        sleep(arguments.every);
        print(&view.next(look()?))?;
    }
}
