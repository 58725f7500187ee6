//! `sealwire alerts`: is anybody told?

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::alerts::{Alert, Kind, Setup};
use crate::cli::{Context, Failure, print, print_json, printable};

/// Try out how operators are told of incidents
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sealwire alerts test")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send one alert by each way that is configured, and tell how that went
    ///
    /// It is sent by this command itself, at once and once: `serve` need not run, and nothing
    /// waits to be tried again.
    #[command(after_help = "\
Examples:
  sealwire alerts test
  sealwire alerts test email
  sealwire alerts test --json | jq .channels.slack.failure")]
    Test {
        /// The ways: slack, webhook, email [default: all that are configured]
        channels: Vec<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let Command::Test { channels, json } = &arguments.command;
    let config = context.load_config()?;
    let file = context.config_file.display();
    let setup = Setup::load(&config)?.ok_or_else(|| {
        Failure::config("no alerts are sent")
            .at(&file)
            .fix("give [audit.alerts] alert_slack_webhook, alert_webhook or alert_email")
    })?;
    let known: Vec<&str> = setup.channels().map(|(name, _)| name).collect();
    if let Some(unknown) = channels.iter().find(|name| !known.contains(&&***name)) {
        return Err(Failure::usage(format!("{unknown:?} is not configured"))
            .at(&file)
            .fix(format!("name one of: {}", known.join(", "))));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(error))?;
    let mut results = Map::new();
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, channel) in setup.channels() {
        if !channels.is_empty() && !channels.iter().any(|channel| channel == name) {
            continue;
        }
        let receiver = channel.receiver();
        let sent = runtime.block_on(channel.deliver(&[Alert::new(Kind::Test)]));
        let failure = sent.err().map(|undelivered| undelivered.reason);
        text.push_str(&match &failure {
            None => format!("{name}: delivered to {}\n", printable(&receiver)),
            Some(why) => format!("{name}: not delivered to {receiver}: {}\n", printable(why)),
        });
        if failure.is_some() {
            failed.push(name);
        }
        results.insert(
            name.to_owned(),
            json!({
                "receiver": receiver,
                "delivered": failure.is_none(),
                "failure": failure,
            }),
        );
    }
    // A name service that does not answer must not keep us.
    runtime.shutdown_background();
    if *json {
        print_json(&json!({"channels": Value::Object(results)}))?;
    } else {
        print(&text)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("not delivered by {}", failed.join(", ")))
            .at(file)
            .fix("see docs/alerts.md for what each answer means; then try again")),
    }
}
