//! `sealwire status`: what a running `serve` is doing, and what of this home is due.

mod view;

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::home::Home;
use sealwire::state::State;
use serde_json::{Value, json};

use self::view::{Sample, View};
use super::due;
use crate::cli::{Context, Failure, print, print_json};
use crate::control::{
    Request, SHOWN_INCIDENTS, as_json, find, incident_as_json, local_as_json, revocation_as_json,
};

/// Show what a running `serve` is doing: servers, peers, rates, denials, quarantine; and what is
/// due to be renewed or rotated
///
/// Where no `serve` runs it tells what files and state say, and that nothing runs: with exit code
/// 1 if something is to be served here.
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
    let Some(mut daemon) = find(&home)? else { return at_rest(arguments, context, &home) };
    let mut look = || -> Result<Sample, Failure> {
        let mut status: Value = daemon.ask(&Request::Status {})?;
        status["running"] = json!(true);
        status["due"] = due_here(context, &home, context.load_config().ok().as_ref())?;
        Ok(Sample { status, at: Instant::now() })
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

/// What is known of a home while no `serve` runs there.
fn at_rest(arguments: &Arguments, context: &Context, home: &Home) -> Result<(), Failure> {
    let config = context.load_config()?;
    let serves = config.servers.values().any(|entry| entry.role.is_served());
    let not_running = || if serves { Err(super::reload::not_running(home)) } else { Ok(()) };
    if arguments.watch {
        // There is nothing whose rates could be shown.
        return Err(super::reload::not_running(home));
    }
    let now = SystemTime::now().into();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "running": false,
        "socket": home.control_socket(),
        "local_conversations": local_as_json(home),
        "quarantine": [],
        "revoked": [],
        "incidents": [],
        "due": due_here(context, home, Some(&config))?,
    });
    if let Some(state) = State::open_existing(home)? {
        let of = |list: Vec<Value>| Value::Array(list);
        status["quarantine"] = of(state.quarantined(now)?.iter().map(as_json).collect());
        status["revoked"] = of(state.revoked()?.iter().map(revocation_as_json).collect());
        let incidents = state.incidents(SHOWN_INCIDENTS)?;
        status["incidents"] = of(incidents.iter().map(incident_as_json).collect());
    }
    if arguments.json {
        print_json(&status)?;
    } else {
        print(&view::at_rest(&status))?;
    }
    not_running()
}

/// What is due here, by files and state.
fn due_here(
    context: &Context,
    home: &Home,
    config: Option<&SecureMcpConfig>,
) -> Result<Value, Failure> {
    let all = due::all(home, config, &context.invocation, SystemTime::now().into());
    serde_json::to_value(all)
        .map_err(|error| Failure::new("cannot encode what is due as JSON").because(error))
}
