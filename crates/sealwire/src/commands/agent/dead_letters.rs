use clap::{Args, Subcommand};
use sealwire::agents::open_mailbox;
use sealwire_mailbox::DeadLetter;
use serde_json::json;

use super::block_on;
use super::post::Post;
use crate::cli::{Context, Failure, print, print_json, printable};
use crate::commands::key::own_agent;

/// Look at messages that could not be delivered, and deliver or remove them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire agent dead-letters list
  sealwire agent dead-letters release 17")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, with the reason why each was refused
    #[command(after_help = "\
Examples:
  sealwire agent dead-letters list --as General
  sealwire agent dead-letters list --json | jq '.[].code'")]
    List {
        /// Those to this agent of this home [default: all]
        #[arg(long = "as", value_name = "AGENT")]
        agent: Option<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let one be delivered after all
    ///
    /// Everything is checked again, but for one thing: with `replay_state_lost` it is you who
    /// says that the receiver has not had it.
    #[command(after_help = "\
Example:
  sealwire agent dead-letters release 17")]
    Release {
        /// Its number, as listed
        number: i64,
    },
    /// Remove one for good
    #[command(after_help = "\
Example:
  sealwire agent dead-letters remove 17")]
    Remove {
        /// Its number, as listed
        number: i64,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let agent = match &arguments.command {
        Command::List { agent: Some(name), .. } => Some(own_agent(&config, name)?.clone()),
        _ => None,
    };
    let mailbox = block_on(async { open_mailbox(&config).await.map_err(Post::failed) })?;
    let changed = |found: bool, number: i64, what: &str| {
        if found {
            return print(&format!("{what} {number}\n"));
        }
        Err(Failure::new(format!("there is no dead letter {number}"))
            .fix("see `sealwire agent dead-letters list`"))
    };
    match &arguments.command {
        Command::List { json, .. } => {
            let letters =
                block_on(async { mailbox.dead_letters(agent).await.map_err(Post::failed) })?;
            if *json {
                print_json(&letters.iter().map(as_json).collect::<Vec<_>>())
            } else {
                print(&as_text(&letters))
            }
        }
        Command::Release { number } => {
            let number = *number;
            let release = async { mailbox.release_dead_letter(number).await.map_err(Post::failed) };
            changed(block_on(release)?, number, "released")
        }
        Command::Remove { number } => {
            let number = *number;
            let remove = async { mailbox.remove_dead_letter(number).await.map_err(Post::failed) };
            changed(block_on(remove)?, number, "removed")
        }
    }
}

fn as_json(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "number": letter.number,
        "to": letter.agent.as_str(),
        // What an unverified message says of itself.
        "claimed_from": letter.from.as_str(),
        "message_id": letter.message_id.to_string(),
        "size": letter.size,
        "since": letter.since.to_string(),
        "code": letter.code,
        "reason": letter.reason,
    })
}

fn as_text(letters: &[DeadLetter]) -> String {
    let line = |letter: &DeadLetter| {
        let DeadLetter { number, agent, from, since, code, reason, size, .. } = letter;
        let reason = printable(reason);
        format!(
            "{number}  {since}  to {agent}, it says from {from}, {size} bytes  [{code}] {reason}\n"
        )
    };
    if letters.is_empty() {
        "no dead letters\n".to_owned()
    } else {
        letters.iter().map(line).collect()
    }
}
