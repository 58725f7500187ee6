//! A message between two agents, and what becomes of copies of it.

use std::path::Path;

use sealwire::SecureMcpConfig;
use sealwire::agents::{open_channel, open_mailbox};
use sealwire_audit::{AuditSink, Event, Position};
use sealwire_envelope::{Draft, MessageType, SecureAgentMessage};
use sealwire_mailbox::{Letter, SecureAgentChannel, SqliteTransport, Transport};
use sealwire_names::{AgentId, RefusalCode};
use serde::Serialize;

use super::Refused;
use crate::cli::Failure;

const FROM: &str = "CodeExpert";
const TO: &str = "General";
const CONTENT: &[u8] = b"please review parser.c";

/// A message that arrived, or did not.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    from: &'static str,
    to: &'static str,
    /// Whether it arrived once, as it was written, from a sender who was verified.
    pub(super) ok: bool,
}

/// What was tried with a copy of the message, and the code under which it must be refused.
pub(super) const COPIES: [(&str, RefusalCode); 2] = [
    ("a message changed on its way", RefusalCode::SignatureInvalid),
    ("a message sent once more", RefusalCode::MessageReplayed),
];

/// Sends a message between two agents of the home, and then copies of it.
pub(super) async fn exchange(home: &Path) -> Result<(Message, Vec<Refused>), Failure> {
    let config = SecureMcpConfig::load(home)?;
    let name = |name: &str| name.parse::<AgentId>().map_err(|error| cannot(&error));
    let (from, to) = (name(FROM)?, name(TO)?);
    let mailbox = open_mailbox(&config).await.map_err(|error| cannot(&error))?;
    let channel = |agent: &AgentId| -> Result<_, Failure> {
        Ok(open_channel(&config, agent, mailbox.clone())?.with_audit(std::sync::Arc::new(Quiet)))
    };
    let (sender, receiver) = (channel(&from)?, channel(&to)?);

    let draft = Draft::new(MessageType::TaskRequest, CONTENT);
    let id = sender.send_secure(&to, &draft).await.map_err(|error| cannot(&error))?;
    // It is kept back while a changed copy of it is tried.
    let round = mailbox.take(&to, 1).await.map_err(|error| cannot(&error))?;
    let held = round.taken.into_iter().next().ok_or_else(|| cannot(&"it is not there"))?;
    let mut changed = held.bytes.to_vec();
    // The signature comes last.
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let try_copy = async |bytes: &[u8]| refusal(&mailbox, &receiver, &to, bytes).await;
    let mut reasons = vec![try_copy(&changed).await?];
    mailbox.abandon(&held.lease);

    let delivery = receiver.receive_secure().await.map_err(|error| cannot(&error))?;
    let arrived = delivery.message_id() == id
        && *delivery.from() == from
        && delivery.content() == CONTENT
        && !delivery.redelivered();
    drop(delivery.ack().await.map_err(|error| cannot(&error))?);
    let hidden = !held.bytes.windows(CONTENT.len()).any(|part| part == CONTENT);
    reasons.push(try_copy(&held.bytes).await?);
    let refused = COPIES.into_iter().zip(reasons);
    let refused = refused.map(|((case, _), reason)| Refused { case, reason, told: None }).collect();
    Ok((Message { from: FROM, to: TO, ok: arrived && hidden }, refused))
}

/// Puts a message into the mailbox; the code under which it was refused, if it was.
async fn refusal(
    mailbox: &SqliteTransport,
    receiver: &SecureAgentChannel<SqliteTransport>,
    to: &AgentId,
    bytes: &[u8],
) -> Result<Option<String>, Failure> {
    let message = SecureAgentMessage::decode(bytes).map_err(|error| cannot(&error))?;
    let letter = Letter { message, to: vec![to.clone()] };
    mailbox.put(letter).await.map_err(|error| cannot(&error))?;
    if receiver.try_receive().await.map_err(|error| cannot(&error))?.is_some() {
        return Ok(None);
    }
    let dead = mailbox.dead_letters(Some(to.clone())).await.map_err(|error| cannot(&error))?;
    Ok(dead.last().map(|letter| letter.code.clone()))
}

fn cannot(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("cannot show a message between agents").because(error)
}

/// What is refused here is shown by other means than the log.
struct Quiet;

impl AuditSink for Quiet {
    fn record(&self, _: &Event<'_>) -> std::io::Result<Position> {
        Ok(Position::default())
    }
}
