//! Agent messages, delivered.
//!
//! A [`SecureAgentChannel`] is one agent's way to send and receive: messages are signed and sealed
//! by the [envelope](sealwire_envelope), checked against the trust matrix and the rate on both
//! sides, and carried by a [`Transport`]: [`SqliteTransport`] for several processes on a machine,
//! [`MemoryTransport`] within one.
//!
//! ```
//! use sealwire_envelope::{Bundle, BundleRequest, Draft, MessageType, RecipientKey, SigningKey};
//! use sealwire_guard::{Partners, TrustMatrix};
//! use sealwire_mailbox::{
//!     AgentKeys, ChannelSettings, SecureAgentChannel, SqliteOptions, SqliteTransport,
//! };
//! # use std::path::Path;
//! # type Error = Box<dyn std::error::Error>;
//! # fn keys(name: &str) -> Result<(AgentKeys, Bundle), Error> {
//! #     let (signing, recipient) = (SigningKey::generate()?, RecipientKey::generate()?);
//! #     let agent: sealwire_names::AgentId = name.parse()?;
//! #     let now = sealwire_mailbox::Clock::system().now();
//! #     let not_after = sealwire_names::Timestamp::from_unix_seconds(now.unix_seconds() + 86_400);
//! #     let request = BundleRequest { agent: agent.clone(), number: 1, not_before: now, not_after };
//! #     let bundle = Bundle::decode(&Bundle::make(&request, &signing, recipient.public())?)?;
//! #     Ok((AgentKeys { agent, signing, recipients: vec![recipient] }, bundle))
//! # }
//! # async fn example(home: &Path) -> Result<(), Error> {
//! # let ((coder, coders), (tester, testers)) = (keys("Coder")?, keys("Tester")?);
//! let file = home.join("state.db");
//! let mail = SqliteTransport::open_in_task(&file, SqliteOptions::default()).await?;
//! let mut trust = TrustMatrix::new();
//! trust.allow("Coder".parse()?, Partners::These(["Tester".parse()?].into()));
//!
//! let mut settings = ChannelSettings::new(coder);
//! settings.trust = trust.clone();
//! let coder = SecureAgentChannel::new(settings, mail.clone());
//! coder.register_trusted_agent(testers)?;
//! let to: sealwire_names::AgentId = "Tester".parse()?;
//! coder.send_secure(to, &Draft::new(MessageType::TaskRequest, b"please run the tests")).await?;
//!
//! let mut settings = ChannelSettings::new(tester);
//! settings.trust = trust;
//! let tester = SecureAgentChannel::new(settings, mail);
//! tester.register_trusted_agent(coders)?;
//! let delivery = tester.receive_secure().await?;
//! println!("{}: {}", delivery.from(), String::from_utf8_lossy(delivery.content()));
//! delivery.ack().await?;
//! # Ok(())
//! # }
//! # let home = tempfile::tempdir().unwrap();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(example(home.path())).unwrap();
//! ```
//!
//! # The life of one message
//!
//! 1. [`send_secure`](SecureAgentChannel::send_secure) asks the trust matrix about each receiver,
//!    then the rate limiter; leases a number from the transport; seals; records; puts.
//! 2. The message is in the store, once for all receivers. The bell rings for each.
//! 3. A receiver takes it on lease: the highest priority first, then the oldest; nothing overtakes
//!    an earlier message of the same sender and priority.
//! 4. It is opened in the envelope's order: size, encoding, sender's key, addressed to me, trust
//!    matrix, time, a look at the replay state, signature, rate, content. What comes too fast is
//!    put off; what is refused becomes a dead letter, with the reason.
//! 5. Its id is claimed, in the transaction in which it becomes delivered. Only now is the content
//!    given to anybody.
//! 6. [`ack`](Delivery::ack) removes it, and in the same transaction its id is done. Until the
//!    message expires, the id is remembered and refused.
//!
//! # What is promised
//!
//! - What was sent is not lost, whichever process is killed, and with mail on disk even if the
//!   power fails.
//! - It is delivered at least once, and until it is acknowledged; again only marked as
//!   [`redelivered`](Delivery::redelivered). It is *processed* once if its receiver commits
//!   [`message_id`](Delivery::message_id) together with the effect. No more is promised.
//! - A copy of a message is never delivered, whoever puts it where. If the store cannot tell, since
//!   it was copied or put back from a copy, nothing in it is delivered until an operator says so.
//!   That holds as long as what the store says was delivered is its own: whoever writes other
//!   things into the file, or takes it and its witness back together in place, can repeat mail.
//!
//! # The defaults, and why
//!
//! | | default | why |
//! |---|---|---|
//! | [`SqliteOptions::retention`] | 30 days | as long as a message may live; its id must be remembered as long |
//! | [`SqliteOptions::lease`] | 15 s | renewed while the process lives; how long mail waits after a kill |
//! | [`SqliteOptions::max_deliveries`] | 20 | what kills each receiver must not do so for ever |
//! | [`MemoryTransport`] | 1,024 messages an agent | the replay window is as wide |
#![forbid(unsafe_code)]

mod channel;
mod clock;
mod delivery;
mod error;
mod limiter;
mod memory;
mod receiving;
mod settings;
mod sqlite;
mod transport;

pub use channel::SecureAgentChannel;
pub use clock::Clock;
pub use delivery::Delivery;
pub use error::{ChannelError, TransportError};
pub use limiter::{AgentRateLimiter, Limited};
pub use memory::MemoryTransport;
pub use sealwire_guard::Rate;
pub use settings::{AgentKeys, ChannelSettings, Recipient};
pub use sqlite::{DeadLetter, SqliteOptions, SqliteTransport};
pub use transport::{
    Bell, Delivered, Label, Lease, Letter, Numbers, Round, Seen, Stream, Taken, Transport,
};
