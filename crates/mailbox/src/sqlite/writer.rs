//! The one thread of a process that writes, and its group commit.
//!
//! Jobs that arrive while the disk is busy with a commit share the next one: throughput grows
//! with the load, and nobody waits for company. A job is told its result when the commit that
//! holds it has succeeded, and an error if it has not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use sealwire_names::{AgentId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::bells::Ringer;
use super::books::Books;
use super::hot::Hot;
use super::rows::Rows;
use super::turnstile::Turnstile;
use super::witness::{Testimony, Witness};
use super::{Fault, SqliteOptions, files, mail, upkeep};
use crate::TransportError;

/// Most jobs in one transaction.
const BATCH: usize = 256;
/// Most jobs that wait; who has more waits for room.
const QUEUE: usize = 1024;

/// How long to look for more work before sleeping: less than a commit takes.
const A_MOMENT: Duration = Duration::from_micros(100);
/// Where there is nothing to do by itself.
const A_LONG_TIME: Duration = Duration::from_secs(3600);

/// What a job may use.
pub(super) struct Work<'a> {
    pub(super) db: &'a Connection,
    pub(super) options: &'a SqliteOptions,
    pub(super) now: Timestamp,
    /// This process among those that take mail.
    pub(super) holder: i64,
    /// What was put, and is not written yet: nothing, for whoever does not put.
    pub(super) rows: Rows<'a>,
    /// What is used for each job.
    pub(super) hot: Hot<'a>,
    /// What is counted.
    pub(super) books: &'a mut Books,
    /// What is to be done once this is on disk.
    pub(super) after: &'a mut After,
}

#[derive(Default)]
pub(super) struct After {
    /// Whose bells to ring.
    pub(super) rings: BTreeSet<AgentId>,
    /// There are leases to renew.
    pub(super) leases: bool,
}

/// When a job's commit must be on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durable {
    /// With the next one that is: what power failure could undo would do no harm.
    Later,
    /// Before the job is told its result.
    Now,
}

/// Something to be done in a transaction, and whoever waits for it.
trait Job: Send {
    fn durable(&self) -> Durable;
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault>;
    /// Once the transaction has ended.
    fn tell(self: Box<Self>, committed: Result<(), TransportError>);
}

struct Asked<R, F> {
    durable: Durable,
    /// It puts, and looks at nothing that others put.
    puts: bool,
    task: Option<F>,
    result: Option<R>,
    told: Option<oneshot::Sender<Result<R, TransportError>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<R: Send, F: FnOnce(&mut Work<'_>) -> Result<R, Fault> + Send> Job for Asked<R, F> {
    fn durable(&self) -> Durable {
        self.durable
    }

    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        if let Some(task) = self.task.take() {
            if !self.puts {
                work.rows.write(work.db)?;
            }
            self.result = Some(task(work)?);
        }
        Ok(())
    }

    fn tell(self: Box<Self>, committed: Result<(), TransportError>) {
        let Self { result, told, .. } = *self;
        let result = committed.and_then(|()| result.ok_or(TransportError::Closed));
        if let Some(told) = told {
            // Whoever asked may have gone; it is done all the same.
            let _nobody_waits = told.send(result);
        }
    }
}

/// The way to the thread. It ends when this is dropped and what was queued is done.
pub(super) struct Writer {
    jobs: Sender<Box<dyn Job>>,
    places: Arc<Semaphore>,
}

impl Writer {
    pub(super) fn spawn(desk: Desk) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        std::thread::Builder::new()
            .name("sealwire-mail".to_owned())
            .spawn(move || desk.work(&queue))?;
        Ok(Self { jobs, places: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Does `task` in a transaction and returns what it returned once that is committed.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        durable: Durable,
        task: impl FnOnce(&mut Work<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, TransportError> {
        self.ask(durable, false, task).await
    }

    /// As [`run`](Self::run), for what only puts: it may find that what others put is not written
    /// yet.
    pub(super) async fn put<R: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Work<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, TransportError> {
        self.ask(Durable::Now, true, task).await
    }

    async fn ask<R: Send + 'static>(
        &self,
        durable: Durable,
        puts: bool,
        task: impl FnOnce(&mut Work<'_>) -> Result<R, Fault> + Send + 'static,
    ) -> Result<R, TransportError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_closed| TransportError::Closed)?;
        let (tell, told) = oneshot::channel();
        let job = Asked {
            durable,
            puts,
            task: Some(task),
            result: None,
            told: Some(tell),
            _place: Some(place),
        };
        self.jobs.send(Box::new(job)).map_err(|_closed| TransportError::Closed)?;
        told.await.map_err(|_died| TransportError::Closed)?
    }

    /// Queues `task` without waiting for anything.
    pub(super) fn post(
        &self,
        task: impl FnOnce(&mut Work<'_>) -> Result<(), Fault> + Send + 'static,
    ) {
        let (durable, task) = (Durable::Later, Some(task));
        let job = Asked { durable, puts: false, task, result: None, told: None, _place: None };
        // If the thread is gone, so are the leases, in a while.
        let _closed = self.jobs.send(Box::new(job));
    }
}

/// What the thread works with.
pub(super) struct Desk {
    pub(super) path: PathBuf,
    pub(super) db: Connection,
    pub(super) options: SqliteOptions,
    pub(super) turnstile: Turnstile,
    pub(super) witness: Witness,
    pub(super) ringer: Ringer,
    pub(super) holder: i64,
    /// Of the store, as in the witness.
    pub(super) store: [u8; 16],
    /// The inode of the file that is open.
    pub(super) file: i64,
    /// What the connection was set to last.
    pub(super) level: Option<Durable>,
}

impl Desk {
    fn work(mut self, queue: &Receiver<Box<dyn Job>>) {
        let renewal = self.options.lease / 3;
        let mut leases = false;
        let mut renewed = Instant::now();
        let mut next = None;
        loop {
            if next.is_none() {
                next = soon(queue);
            }
            let wait = if leases { renewal.saturating_sub(renewed.elapsed()) } else { A_LONG_TIME };
            let first = match next.take().map_or_else(|| queue.recv_timeout(wait), Ok) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let renew = leases && renewed.elapsed() >= renewal;
            if first.is_none() && !renew {
                continue;
            }
            let mut batch = Batch { jobs: Vec::from_iter(first), renew, after: After::default() };
            match self.commit(&mut batch, queue, &mut next) {
                Ok(()) => {
                    if renew || !leases {
                        renewed = Instant::now();
                        leases = batch.after.leases;
                    }
                    // First whoever waits, then other processes.
                    batch.jobs.into_iter().for_each(|job| job.tell(Ok(())));
                    batch.after.rings.iter().for_each(|agent| self.ringer.ring(agent));
                }
                Err(fault) => {
                    self.level = None;
                    renewed = Instant::now();
                    let error = fault.at(&self.path);
                    if batch.jobs.is_empty() {
                        tracing::error!(%error, "leases cannot be renewed");
                    }
                    batch.jobs.into_iter().for_each(|job| job.tell(Err(error.clone())));
                }
            }
        }
    }

    /// One transaction, of a batch and of what is queued until it is done: all of it or nothing.
    /// What would have to be waited for longer than this batch is left in `next`.
    fn commit(
        &mut self,
        batch: &mut Batch,
        queue: &Receiver<Box<dyn Job>>,
        next: &mut Option<Box<dyn Job>>,
    ) -> Result<(), Fault> {
        let pass = self.turnstile.enter()?;
        if files::number_of(&self.path).ok() != Some(self.file) {
            return Err(Fault::Unusable(
                "it was replaced or removed while it was open; start again".to_owned(),
            ));
        }
        // What came while this waited for its turn decides, too, whether to wait for the disk.
        batch.jobs.extend(queue.try_iter().take(BATCH));
        let durable = batch.durable();
        set_level(&self.db, &mut self.level, durable)?;
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let now = self.options.clock.now();
        let mut books = Books::open(&transaction)?;
        let mut work = Work {
            db: &transaction,
            options: &self.options,
            now,
            holder: self.holder,
            rows: Rows::default(),
            hot: Hot::default(),
            books: &mut books,
            after: &mut batch.after,
        };
        if batch.renew {
            work.after.leases = mail::renew(&work)?;
        }
        for job in &mut batch.jobs {
            job.run(&mut work)?;
        }
        while batch.jobs.len() < BATCH
            && let Ok(mut job) = queue.try_recv()
        {
            if job.durable() > durable {
                *next = Some(job);
                break;
            }
            let done = job.run(&mut work);
            batch.jobs.push(job);
            done?;
        }
        work.rows.write(work.db)?;
        upkeep::if_due(&mut work)?;
        drop(work);
        let claims = books.close(&transaction)?;
        transaction.commit()?;
        drop(pass);
        if let Some(claims) = claims
            && let Err(error) =
                self.witness.write(&Testimony { store: self.store, claims, at: now })
        {
            tracing::warn!(%error, "the witness of the replay state could not be written");
        }
        Ok(())
    }
}

/// The next job, if one comes at once: whoever was just told a result may have more to do, and
/// to be woken takes longer than to look for a moment.
fn soon(queue: &Receiver<Box<dyn Job>>) -> Option<Box<dyn Job>> {
    let started = Instant::now();
    while started.elapsed() < A_MOMENT {
        if let Ok(job) = queue.try_recv() {
            return Some(job);
        }
        std::thread::yield_now();
    }
    None
}

/// Whether commits wait for the disk; it cannot be changed within a transaction.
fn set_level(db: &Connection, level: &mut Option<Durable>, durable: Durable) -> Result<(), Fault> {
    if *level != Some(durable) {
        let synchronous = if durable == Durable::Now { "FULL" } else { "NORMAL" };
        db.pragma_update(None, "synchronous", synchronous)?;
        *level = Some(durable);
    }
    Ok(())
}

struct Batch {
    jobs: Vec<Box<dyn Job>>,
    renew: bool,
    after: After,
}

impl Batch {
    fn durable(&self) -> Durable {
        self.jobs.iter().map(|job| job.durable()).max().unwrap_or(Durable::Later)
    }
}
