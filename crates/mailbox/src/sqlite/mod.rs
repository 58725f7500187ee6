//! Mail in one SQLite file, for several processes of one machine.

mod bells;
mod books;
mod dead;
mod files;
mod hot;
mod lanes;
mod mail;
mod numbers;
mod open;
mod options;
mod replay;
mod rows;
mod schema;
mod turnstile;
mod upkeep;
mod witness;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sealwire_envelope::{SecureAgentMessage, TimeRule};
use sealwire_names::{AgentId, Refusal, Timestamp};
use tokio::sync::oneshot;

use self::bells::Bells;
use self::writer::{Durable, Writer};
use crate::{
    Bell, Delivered, Label, Lease, Letter, Numbers, Round, Stream, Transport, TransportError,
};

pub use self::dead::DeadLetter;
pub use self::options::SqliteOptions;

/// Mailboxes in a SQLite database in WAL mode. Several processes may have it open, on one machine.
///
/// Beside `state.db` there is a directory `state.db-mail` with locks, bells and a witness of the
/// replay state. The database may hold other components' tables.
///
/// - *Durability*: [`put`](Transport::put), [`deliver`](Transport::deliver) and
///   [`acknowledge`](Transport::acknowledge) return when their transaction is on disk
///   (`synchronous = FULL`). Concurrent calls of a process share a commit.
/// - *Copies*: message ids are remembered until the messages expire. A database that was copied or
///   put back from a copy has lost some of them; what waits in it then becomes dead letters
///   (`replay_state_lost`), which an operator can [release](Self::release_dead_letter).
/// - *Clocks*: expiry is never undone. A clock that is put back does not make a forgotten id
///   acceptable again.
///
/// It must be on a local file system; SQLite's shared memory and the locks need one.
///
/// A handle; clones share the connection. It is closed with the last of them.
#[derive(Clone)]
pub struct SqliteTransport {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    bells: Bells,
    options: SqliteOptions,
}

impl SqliteTransport {
    /// Opens the mailboxes in `database`, and makes the file if it is not there. Takes a few
    /// milliseconds, or as long as another process writes: do not call it in a task, but
    /// [`open_in_task`](Self::open_in_task).
    ///
    /// # Errors
    /// [`TransportError::Store`] if the file cannot be used, was written by another version, or
    /// can be used by others than its owner.
    pub fn open(database: &Path, options: SqliteOptions) -> Result<Self, TransportError> {
        let opened = || {
            let desk = open::desk(database, &options)?;
            let bells = Bells::new(open::bell_directory(database), options.slowest_look);
            let inner = Inner { writer: Writer::spawn(desk)?, bells, options: options.clone() };
            Ok::<_, Fault>(Self { inner: Arc::new(inner) })
        };
        opened().map_err(|fault| fault.at(database))
    }

    /// As [`open`](Self::open), in a thread of its own: other tasks go on meanwhile, even if a
    /// process that has the file was stopped.
    ///
    /// # Errors
    /// As for `open`.
    pub async fn open_in_task(
        database: &Path,
        options: SqliteOptions,
    ) -> Result<Self, TransportError> {
        let (tell, told) = oneshot::channel();
        let path = database.to_owned();
        let open = move || {
            // If nobody waits any more, it is closed at once.
            let _nobody = tell.send(Self::open(&path, options));
        };
        std::thread::Builder::new()
            .name("sealwire-mail-open".to_owned())
            .spawn(open)
            .map_err(|error| Fault::from(error).at(database))?;
        told.await.map_err(|_died| TransportError::Closed)?
    }

    /// The dead letters of an agent, the oldest first; without one, of all agents.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn dead_letters(
        &self,
        agent: Option<AgentId>,
    ) -> Result<Vec<DeadLetter>, TransportError> {
        self.inner.writer.run(Durable::Later, move |work| dead::list(work, agent.as_ref())).await
    }

    /// Lets a dead letter be delivered after all: everything is checked again, except that it
    /// passes in spite of lost replay state. Returns whether there was one.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn release_dead_letter(&self, number: i64) -> Result<bool, TransportError> {
        self.inner.writer.run(Durable::Now, move |work| dead::release(work, number)).await
    }

    /// Removes a dead letter for good. Returns whether there was one.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub async fn remove_dead_letter(&self, number: i64) -> Result<bool, TransportError> {
        self.inner.writer.run(Durable::Now, move |work| dead::remove(work, number)).await
    }

    /// How many messages wait for an agent, on lease or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn waiting(&self, agent: AgentId) -> Result<u64, TransportError> {
        self.inner.writer.run(Durable::Later, move |work| mail::waiting(work, &agent)).await
    }
}

impl Transport for SqliteTransport {
    async fn put(&self, letter: Letter) -> Result<(), TransportError> {
        self.inner.writer.put(move |work| mail::put(work, letter)).await?
    }

    async fn take(&self, agent: &AgentId, most: usize) -> Result<Round, TransportError> {
        let agent = agent.clone();
        let mut cancelled =
            GiveBack { writer: &self.inner.writer, taken: Arc::default(), armed: true };
        let taken = Arc::clone(&cancelled.taken);
        let round = self
            .inner
            .writer
            .run(Durable::Later, move |work| {
                let round = mail::take(work, &agent, most)?;
                let leases = round.taken.iter().map(|taken| taken.lease.clone());
                // Of two jobs, one runs after the other.
                taken.lock().unwrap_or_else(PoisonError::into_inner).extend(leases);
                Ok(round)
            })
            .await;
        cancelled.armed = false;
        round
    }

    async fn deliver(
        &self,
        lease: &Lease,
        message: &SecureAgentMessage,
    ) -> Result<Delivered, TransportError> {
        let (job, label) = (lease.clone(), Label::of(message));
        let delivered = Arc::<AtomicBool>::default();
        let mut cancelled =
            Unheard { writer: &self.inner.writer, lease, delivered: Some(delivered.clone()) };
        let result = self
            .inner
            .writer
            .run(Durable::Now, move |work| {
                let result = replay::deliver(work, &job, &label)?;
                delivered.store(result.is_ok(), Ordering::Relaxed);
                Ok(result)
            })
            .await;
        cancelled.delivered = None;
        result?
    }

    async fn acknowledge(&self, lease: &Lease) -> Result<(), TransportError> {
        let lease = lease.clone();
        self.inner.writer.run(Durable::Now, move |work| replay::acknowledge(work, &lease)).await?
    }

    async fn release(&self, lease: &Lease, due: Timestamp) -> Result<(), TransportError> {
        let lease = lease.clone();
        self.inner.writer.run(Durable::Later, move |work| mail::release(work, &lease, due)).await?
    }

    async fn bury(&self, lease: &Lease, reason: Refusal) -> Result<(), TransportError> {
        let lease = lease.clone();
        // If a power failure undoes it, it is found out again. Waiting for the disk would let a
        // heap of bad mail keep back the good.
        self.inner
            .writer
            .run(Durable::Later, move |work| dead::bury_leased(work, &lease, &reason))
            .await?
    }

    fn abandon(&self, lease: &Lease) {
        let lease = lease.clone();
        // Whether it was lost meanwhile is no matter now.
        self.inner.writer.post(move |work| mail::release(work, &lease, work.now).map(drop));
    }

    fn times(&self) -> TimeRule {
        TimeRule::UntilExpiry { tolerance: self.inner.options.clock_tolerance }
    }

    fn now(&self) -> Timestamp {
        self.inner.options.clock.now()
    }

    fn bell(&self, agent: &AgentId) -> Bell {
        self.inner.bells.of(agent)
    }

    async fn number(
        &self,
        stream: Stream,
        count: u32,
        expires: Timestamp,
    ) -> Result<Numbers, TransportError> {
        // Not on disk before the message that carries one of them is.
        self.inner
            .writer
            .run(Durable::Later, move |work| numbers::lease(work, &stream, count, expires))
            .await
    }
}

/// Whoever took may be gone before he hears what: then nobody else would ever give it back, as
/// this process renews its leases.
struct GiveBack<'a> {
    writer: &'a Writer,
    taken: Arc<Mutex<Vec<Lease>>>,
    armed: bool,
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if self.armed {
            let taken = Arc::clone(&self.taken);
            self.writer.post(move |work| {
                let leases = taken.lock().unwrap_or_else(PoisonError::into_inner);
                leases.iter().try_for_each(|lease| mail::release(work, lease, work.now).map(drop))
            });
        }
    }
}

/// Whoever delivers may be gone before he hears of it: then nobody was given the message, and it
/// does not count among the deliveries of which there may be so many.
struct Unheard<'a> {
    writer: &'a Writer,
    lease: &'a Lease,
    /// Whether it was delivered; `None` once that was heard.
    delivered: Option<Arc<AtomicBool>>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(delivered) = self.delivered.take() {
            let lease = self.lease.clone();
            self.writer.post(move |work| match delivered.load(Ordering::Relaxed) {
                true => replay::uncount(work, &lease),
                false => Ok(()),
            });
        }
    }
}

/// What ends a transaction.
#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    Io(std::io::Error),
    Unusable(String),
    Other(TransportError),
}

impl Fault {
    fn at(self, path: &Path) -> TransportError {
        let problem: Arc<str> = match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => "the disk is full".into(),
                Some(rusqlite::ErrorCode::NotADatabase) => {
                    "this is no SQLite database; move it away, or restore it".into()
                }
                Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                    "the database is damaged; restore it from a copy".into()
                }
                _ => error.to_string().into(),
            },
            Self::Io(error) => error.to_string().into(),
            Self::Unusable(problem) => problem.into(),
            Self::Other(error) => return error,
        };
        TransportError::Store { path: path.to_owned(), problem }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TransportError> for Fault {
    fn from(error: TransportError) -> Self {
        Self::Other(error)
    }
}
