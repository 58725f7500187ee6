use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sealwire_envelope::{Draft, MAX_CONTENT, MessageId, MessageType};
use serde_json::json;

use super::block_on;
use super::post::{Post, read_input};
use crate::cli::{Context, Failure, print, print_json};

/// Send a message to an agent or a group; ends with 0 only when it is on disk
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo \"please review\" | sealwire agent send --from CodeExpert --to General
  sealwire agent send --from General --to all --type status_update --ttl 1h --file report.md")]
pub(super) struct Arguments {
    /// The agent of this home that sends
    #[arg(long, value_name = "AGENT")]
    from: String,
    /// The agent or group that is to get it, or several agents with commas between them
    #[arg(long, value_name = "NAME")]
    to: String,
    /// What it is for: task_request, task_response, status_update, error_notification, shutdown
    #[arg(long = "type", value_name = "TYPE", default_value = "task_request")]
    message_type: MessageType,
    /// The higher, the earlier it is delivered
    #[arg(long, value_name = "0..255", default_value_t = 0)]
    priority: u8,
    /// How long it may wait, such as 30m, 12h or 7d [default: 7d, or retention_days if shorter]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,
    /// The id of the message that it answers
    #[arg(long, value_name = "ID")]
    reply_to: Option<MessageId>,
    /// The file with the content [default: standard input, as with -]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let post = Post::open(context, &arguments.from)?;
    let content = read_input(arguments.file.as_deref(), MAX_CONTENT)?;
    let mut draft = Draft::new(arguments.message_type, &content);
    draft.priority = arguments.priority;
    draft.in_reply_to = arguments.reply_to;
    let id = block_on(async {
        draft.ttl = arguments.ttl.unwrap_or(post.default_ttl().await);
        post.send(&arguments.to, &draft).await.map_err(Failure::from)
    })?;
    if arguments.json {
        return print_json(&json!({
            "message_id": id.to_string(),
            "from": arguments.from,
            "to": arguments.to,
            "type": arguments.message_type.as_str(),
            "size": content.len(),
        }));
    }
    print(&format!("{id}\n"))
}

/// A time of whole seconds, in days too.
fn ttl(text: &str) -> Result<Duration, String> {
    let expected = "expected a time such as 30m, 12h or 7d, of one second at least";
    let time = match text.strip_suffix('d').map(str::parse) {
        Some(Ok(days)) => u64::checked_mul(days, 86_400).map(Duration::from_secs),
        Some(Err(_)) => None,
        None => sealwire::config::parse_duration(text).ok(),
    };
    time.filter(|time| time.as_secs() >= 1 && time.subsec_nanos() == 0)
        .ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_days() {
        for (text, seconds) in [("90s", 90), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(ttl(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "d", "0d", "1.5d", "-1d", "250ms", "0s", "99999999999999999999d", "7"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }
}
