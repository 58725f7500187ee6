use clap::Args;
use sealwire::home::Home;
use serde_json::Value;

use crate::cli::{Context, Failure, print, print_json, printable};
use crate::control::{Request, find};

/// Make a running `serve` read everything again, and tell how that ended
///
/// What SIGHUP does, with an answer: exit code 1 says that the new configuration was refused
/// and the old one stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire reload
  sealwire reload --json")]
pub(crate) struct Arguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let home = context.state_home()?;
    let mut daemon = find(&home)?.ok_or_else(|| not_running(&home))?;
    let answer = daemon.ask(&Request::Reload {})?;
    if arguments.json {
        return print_json(&answer);
    }
    let changes = answer["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        return print("nothing has changed\n");
    }
    let line = |change: &Value| format!("{}\n", printable(change.as_str().unwrap_or_default()));
    print(&changes.iter().map(line).collect::<String>())
}

/// What to say where a command needs a running `serve`.
pub(super) fn not_running(home: &Home) -> Failure {
    Failure::new("no `serve` takes commands in this home")
        .at(home.control_socket().display())
        .fix("start `sealwire serve`, or name its home with --home")
}
