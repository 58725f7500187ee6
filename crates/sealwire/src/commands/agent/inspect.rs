use std::path::PathBuf;

use clap::Args;
use sealwire_envelope::{Audience, Inspection, KeyId, MAX_MESSAGE, inspect};
use sealwire_names::AgentId;
use serde_json::json;

use super::post::read_input;
use crate::cli::{Failure, print, print_json, printable};

/// Show what can be read of a sealed message without a key; nothing of it is verified
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire agent inspect message.cose
  sealwire agent inspect - --json < message.cose")]
pub(super) struct Arguments {
    /// The message; `-` is standard input
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bytes = read_input(Some(&arguments.file), MAX_MESSAGE)?;
    let found = inspect(&bytes).map_err(|refusal| {
        Failure::new("this is no sealed message")
            .at(arguments.file.display())
            .because(refusal)
            .fix("name the file of one message, as it was sent")
    })?;
    if arguments.json { print_json(&as_json(&found)) } else { print(&as_text(&found)) }
}

fn as_json(found: &Inspection) -> serde_json::Value {
    let message = &found.message;
    let audience = match &message.audience {
        Audience::Agent(agent) => json!({ "agent": agent.as_str() }),
        Audience::Agents(agents) => {
            json!({ "agents": agents.iter().map(AgentId::as_str).collect::<Vec<_>>() })
        }
        Audience::Group(group) => {
            json!({ "group": group.name.as_str(), "roster_version": group.version })
        }
    };
    json!({
        "verified": false,
        "message_id": message.metadata.message_id.to_string(),
        "from": message.from.as_str(),
        "audience": audience,
        "type": message.metadata.message_type.as_str(),
        "priority": message.metadata.priority,
        "issued_at": message.timestamp.to_string(),
        "expires_at": message.expires.to_string(),
        "in_reply_to": message.in_reply_to.map(|id| id.to_string()),
        "epoch": format!("{:016x}", message.nonce.epoch),
        "seq": message.nonce.seq,
        "sender_kid": message.sender_kid.to_hex(),
        "recipient_kids": message.recipient_kids.iter().map(KeyId::to_hex).collect::<Vec<_>>(),
        "recipients_match": found.recipients_match,
        "size": found.size,
        "content_size": found.content_size,
    })
}

fn as_text(found: &Inspection) -> String {
    let message = &found.message;
    let mut rows = vec![
        ("message", message.metadata.message_id.to_string()),
        ("from", message.from.to_string()),
        ("to", message.audience.to_string()),
        ("type", message.metadata.message_type.to_string()),
        ("priority", message.metadata.priority.to_string()),
        ("issued", message.timestamp.to_string()),
        ("expires", message.expires.to_string()),
        ("number", format!("{} of epoch {:016x}", message.nonce.seq, message.nonce.epoch)),
        ("signing key", message.sender_kid.to_string()),
    ];
    rows.extend(message.in_reply_to.map(|id| ("answers", id.to_string())));
    rows.extend(message.recipient_kids.iter().map(|kid| ("sealed for key", kid.to_string())));
    rows.push(("size", format!("{} bytes, content {} bytes", found.size, found.content_size)));
    let mut text: String =
        rows.iter().map(|(name, value)| format!("{name:15} {}\n", printable(value))).collect();
    if !found.recipients_match {
        text.push_str("the recipients are not those that the header was made for\n");
    }
    text.push_str("nothing of this is verified: that takes a receiver's keys\n");
    text
}
