//! The part of scenario `envelope` about delivery: the mailbox, beside a table that does nothing
//! but keep what it is given.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use sealwire_envelope::{
    Bundle, BundleRequest, Draft, MessageId, MessageType, Nonce, RecipientKey, SecureAgentMessage,
    Sender, SigningKey, To, seal,
};
use sealwire_mailbox::{Letter, SqliteOptions, SqliteTransport, Taken, Transport};
use sealwire_names::{AgentId, Timestamp};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::setup::{Maker, Setup};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result};

/// Messages under way at a time: what a commit of the mailbox has at most.
const TOGETHER: usize = 64;
const CONTENT: usize = 256;

pub(crate) const MEASURES: [Measure; 3] = [
    Measure::more(
        "put",
        "1/s",
        "ready-sealed messages put on disk per second, 64 under way, from when they are ready; of `inserts`, rows, 64 in a commit",
    ),
    Measure::more(
        "ack",
        "1/s",
        "messages acknowledged per second, 64 under way; of `inserts`, as `put`",
    ),
    Measure::more(
        "receive",
        "1/s",
        "messages taken, claimed and acknowledged per second, 64 under way; of `inserts`, as `put`",
    ),
];

pub(crate) const OVER_INSERTS: Ratio = Ratio { of: "mailbox", to: "inserts" };

pub(crate) const MAKERS: [Maker; 2] = [
    ("inserts", |setup| Ok(Ok(Box::new(Inserts::new(setup)?)))),
    ("mailbox", |setup| Ok(Ok(Box::new(Mailbox::new(setup)?)))),
];

pub(crate) fn limits() -> [Limit; 2] {
    let slower = "what is around the table costs more than the table";
    [
        Limit::at_least(0.5, OVER_INSERTS, "put", slower),
        Limit::at_least(0.5, OVER_INSERTS, "ack", slower),
    ]
}

/// Rows of the same size, in the same kind of file.
struct Inserts {
    database: Connection,
    row: Vec<u8>,
}

impl Inserts {
    fn new(setup: &Setup) -> Result<Self> {
        let database = Connection::open(setup.directory.join("inserts.db"))?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);",
        )?;
        Ok(Self { database, row: sealed()?.into_bytes() })
    }

    fn commit(&self) -> Result<()> {
        let transaction =
            Transaction::new_unchecked(&self.database, TransactionBehavior::Immediate)?;
        for _ in 0..TOGETHER {
            transaction
                .prepare_cached("INSERT INTO row (bytes) VALUES (?1)")?
                .execute([&self.row])?;
        }
        Ok(transaction.commit()?)
    }
}

impl Case for Inserts {
    fn name(&self) -> &'static str {
        "inserts"
    }

    fn about(&self) -> &'static str {
        "bare inserts of as many bytes into one table of the same SQLite, 64 in a commit"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let started = Instant::now();
        while started.elapsed() < effort.warm_up {
            self.commit()?;
        }
        let (started, mut count) = (Instant::now(), 0_u32);
        while started.elapsed() < effort.load {
            self.commit()?;
            count += TOGETHER as u32;
        }
        let rate = f64::from(count) / started.elapsed().as_secs_f64();
        // The file has the same size in each round.
        self.database.execute("DELETE FROM row", [])?;
        let mut figures = Figures::default();
        for measure in ["put", "ack", "receive"] {
            figures.insert(measure, rate);
        }
        Ok(figures)
    }
}

struct Mailbox {
    runtime: Runtime,
    transport: SqliteTransport,
    message: SecureAgentMessage,
    to: AgentId,
    /// Makes ids that differ.
    next: u128,
}

impl Mailbox {
    fn new(setup: &Setup) -> Result<Self> {
        let mut options = SqliteOptions::default();
        options.max_messages = u64::MAX;
        options.max_bytes = 1 << 40;
        let transport = SqliteTransport::open(&setup.directory.join("mailbox.db"), options)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, transport, message: sealed()?, to: "Bob".parse()?, next: 0 })
    }

    /// A message that waits to be put.
    fn letter(&mut self) -> Letter {
        self.next += 1;
        let mut message = self.message.clone();
        message.metadata.message_id = MessageId::from_bytes(scattered(self.next));
        Letter { message, to: vec![self.to.clone()] }
    }

    /// Puts 64 messages at once, and returns the time from when they were ready.
    fn put(&mut self) -> Result<Duration> {
        let letters: Vec<_> = (0..TOGETHER).map(|_| self.letter()).collect();
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        self.runtime.block_on(async {
            for letter in letters {
                let transport = self.transport.clone();
                tasks.spawn(async move { transport.put(letter).await });
            }
            tasks.join_all().await.into_iter().try_for_each(|put| Ok::<_, crate::Error>(put?))
        })?;
        Ok(started.elapsed())
    }

    /// Takes 64 messages, and claims them.
    fn claim(&self) -> Result<Vec<Taken>> {
        self.runtime.block_on(async {
            let round = self.transport.take(&self.to, TOGETHER).await?;
            let mut tasks = JoinSet::new();
            for taken in round.taken {
                let (transport, mut message) = (self.transport.clone(), self.message.clone());
                message.metadata.message_id = taken.label.message_id;
                tasks.spawn(async move {
                    transport.deliver(&taken.lease, &message).await.map(|_new| taken)
                });
            }
            let claimed: Vec<_> =
                tasks.join_all().await.into_iter().collect::<std::result::Result<_, _>>()?;
            if claimed.len() != TOGETHER {
                return Err("mail is missing".into());
            }
            Ok(claimed)
        })
    }

    fn acknowledge(&self, claimed: Vec<Taken>) -> Result<()> {
        let mut tasks = JoinSet::new();
        self.runtime.block_on(async {
            for taken in claimed {
                let transport = self.transport.clone();
                tasks.spawn(async move { transport.acknowledge(&taken.lease).await });
            }
            tasks.join_all().await.into_iter().try_for_each(|done| Ok(done?))
        })
    }
}

impl Case for Mailbox {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn about(&self) -> &'static str {
        "`put`, `take`, `deliver` and `acknowledge` of sealwire-mailbox's SQLite transport"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let (mut count, mut warming) = (0_u32, Duration::ZERO);
        while warming < effort.warm_up {
            warming += self.put()?;
            count += 1;
        }
        let (warm_up, mut putting) = (count, Duration::ZERO);
        while putting < effort.load {
            putting += self.put()?;
            count += 1;
        }
        let each = TOGETHER as f64;
        let mut figures = Figures::default();
        figures.insert("put", f64::from(count - warm_up) * each / putting.as_secs_f64());

        let (mut receiving, mut acknowledging) = (0.0, 0.0);
        for _ in 0..count {
            let started = Instant::now();
            let claimed = self.claim()?;
            let claims = started.elapsed().as_secs_f64();
            let started = Instant::now();
            self.acknowledge(claimed)?;
            let acks = started.elapsed().as_secs_f64();
            receiving += claims + acks;
            acknowledging += acks;
        }
        figures.insert("receive", f64::from(count) * each / receiving);
        figures.insert("ack", f64::from(count) * each / acknowledging);
        Ok(figures)
    }
}

/// Ids of messages are random; consecutive ones would fall next to each other in the index.
fn scattered(number: u128) -> [u8; 16] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}

/// A message as an agent seals it.
fn sealed() -> Result<SecureAgentMessage> {
    let now = Timestamp::from(std::time::SystemTime::now());
    let bundle = |name: &str, signing: &SigningKey| -> Result<Bundle> {
        let request = BundleRequest {
            agent: name.parse()?,
            number: 1,
            not_before: Timestamp::from_unix_seconds(0),
            not_after: Timestamp::from_unix_seconds(now.unix_seconds() + 86_400),
        };
        let recipient = RecipientKey::generate()?;
        Ok(Bundle::decode(&Bundle::make(&request, signing, recipient.public())?)?)
    };
    let alice = SigningKey::generate()?;
    let bob = bundle("Bob", &SigningKey::generate()?)?;
    let sender = Sender { agent: &"Alice".parse()?, key: &alice };
    let draft = Draft::new(MessageType::TaskRequest, &[1; CONTENT]);
    Ok(seal(&draft, &sender, &To::Agent(&bob), Nonce { epoch: 1 << 63, seq: 1 }, now)?)
}
