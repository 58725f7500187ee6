//! Sends a message from one agent of a home to another, and receives it there.
//!
//!     cargo run --example agent_mail -- HOME FROM TO TEXT
//!
//! HOME holds a `sealwire.toml` with agents that may send to each other and have keys;
//! `sealwire init --agents standard` makes one.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::error::Error;
use std::path::Path;

use sealwire::SecureMcpConfig;
use sealwire::agents::{open_channel, open_mailbox};
use sealwire_envelope::{Draft, MessageType};
use sealwire_names::AgentId;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, from, to, text] = &arguments[..] else {
        return Err("usage: agent_mail HOME FROM TO TEXT".into());
    };
    let (from, to): (AgentId, AgentId) = (from.parse()?, to.parse()?);

    let config = SecureMcpConfig::load(Path::new(home))?;
    let mailbox = open_mailbox(&config).await?;

    let sender = open_channel(&config, &from, mailbox.clone())?;
    let draft = Draft::new(MessageType::TaskRequest, text.as_bytes());
    // On disk when this returns.
    let id = sender.send_secure(&to, &draft).await?;

    // In another process, most likely.
    let receiver = open_channel(&config, &to, mailbox)?;
    loop {
        let delivery = receiver.receive_secure().await?;
        // Verified: the content is what this agent wrote. Whether to do what it says is
        // another question.
        let (sender, content) = (delivery.from(), String::from_utf8_lossy(delivery.content()));
        println!("{sender}: {content}");
        let is_ours = delivery.message_id() == id;
        // First the effect, then this: a crash in between delivers it again, marked.
        drop(delivery.ack().await?);
        if is_ours {
            return Ok(());
        }
    }
}
