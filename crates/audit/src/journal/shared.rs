//! What the recording threads and those of the journal share, and each step of writing.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::SystemTime;

use sealwire_names::Timestamp;

use super::syncing::Ahead;
use super::{Durability, Rules, Status, load, own_body};
use crate::Position;
use crate::argument_keys::ArgumentKeys;
use crate::batch::Batch;
use crate::call::CallBody;
use crate::day::Day;
use crate::day_files::DayFiles;
use crate::edge::Edge;
use crate::entry::Body;
use crate::gathering::Gathering;
use crate::recovery::Opened;
use crate::refusals::Refusals;

/// Bytes that wait to be hashed, from which on the thread that does it is woken.
const HASH_SOON: usize = 256 * 1024;
/// Bytes that wait to be hashed, from which on whoever writes more does it.
const HASH_NOW: usize = 64 * 1024 * 1024;
/// Bytes that wait to be written, from which on whoever records more writes them.
const WRITE_NOW: usize = 4 * 1024 * 1024;
/// What is kept for later of memory for that, at most.
const LARGEST_SPARE: usize = 2 * HASH_SOON;

pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) durability: Durability,
    pub(super) rules: RwLock<Rules>,
    pub(super) keys: ArgumentKeys,
    pub(super) gathering: Mutex<Gathering>,
    pub(super) files: Mutex<Files>,
    pub(super) edge: Mutex<Edge>,
    /// The sooner way to the disk. Whoever makes something durable by it has it alone.
    pub(super) ahead: Mutex<Option<Ahead>>,
    /// Whoever syncs the files of days.
    pub(super) settling: Mutex<()>,
    pub(super) syncs: AtomicU64,
    pub(super) is_to_settle: AtomicBool,
    pub(super) refusals: Mutex<Refusals>,
    /// Entries that were recorded; that are in files; that are on the disk.
    pub(super) recorded: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    /// The first entry that is kept.
    pub(super) first: AtomicU64,
    /// Of the lines in files.
    pub(super) bytes: AtomicU64,
    pub(super) signed_at: AtomicI64,
    unhashed: Mutex<Unhashed>,
    /// Whether nothing can be written; why, then.
    is_in_trouble: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    waiting: Mutex<Vec<Waiting>>,
    pub(super) committer: OnceLock<Thread>,
    pub(super) keeper: OnceLock<Thread>,
    pub(super) is_running: AtomicBool,
    pub(super) is_stopping: AtomicBool,
    pub(super) is_closed: AtomicBool,
    _lock: File,
}

pub(super) struct Files {
    pub(super) days: DayFiles,
    /// Taken, and not all written.
    backlog: Option<Batch>,
    spare: Batch,
}

/// What is written and not hashed yet.
#[derive(Default)]
struct Unhashed {
    lines: Vec<u8>,
    spare: Vec<u8>,
}

struct Trouble {
    since: Timestamp,
    kind: io::ErrorKind,
    text: String,
    /// Events that were not recorded.
    unrecorded: u64,
}

/// Somebody who waits until so many entries are durable.
struct Waiting {
    position: u64,
    waker: Waker,
}

impl Shared {
    pub(super) fn new(
        directory: PathBuf,
        opened: Opened,
        durability: Durability,
        rules: Rules,
    ) -> Self {
        let Opened { lock, days, edge, first, .. } = opened;
        let entries = edge.size();
        let day = days.day().unwrap_or(Day::of(Timestamp::from_unix_millis(0)));
        Self {
            keys: ArgumentKeys::at(&directory),
            directory,
            durability,
            rules: RwLock::new(rules),
            gathering: Mutex::new(Gathering::new(entries, day)),
            bytes: AtomicU64::new(days.bytes()),
            files: Mutex::new(Files { days, backlog: None, spare: Batch::default() }),
            edge: Mutex::new(edge),
            ahead: Mutex::default(),
            settling: Mutex::default(),
            syncs: AtomicU64::new(0),
            is_to_settle: AtomicBool::new(false),
            refusals: Mutex::default(),
            recorded: AtomicU64::new(entries),
            written: AtomicU64::new(entries),
            durable: AtomicU64::new(entries),
            first: AtomicU64::new(first),
            signed_at: AtomicI64::new(i64::MIN),
            unhashed: Mutex::default(),
            is_in_trouble: AtomicBool::new(false),
            trouble: Mutex::new(None),
            waiting: Mutex::default(),
            committer: OnceLock::new(),
            keeper: OnceLock::new(),
            is_running: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            _lock: lock,
        }
    }

    pub(super) fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> io::Result<()> {
        match self.is_closed.load(Acquire) {
            true => Err(io::Error::other("the audit log is closed")),
            false => Ok(()),
        }
    }

    /// Whether an event may be recorded now.
    pub(super) fn may_record(&self, rules: &Rules) -> io::Result<()> {
        self.is_open()?;
        if self.is_in_trouble.load(Acquire)
            && let Some(trouble) = &mut *lock(&self.trouble)
        {
            trouble.unrecorded += 1;
            return Err(trouble.error());
        }
        if let Some(most) = rules.max_total_size
            && load(&self.bytes) >= most
        {
            let error = io::Error::new(
                io::ErrorKind::StorageFull,
                format!("it has reached max_total_size, {most} bytes"),
            );
            self.failed(&error);
            return Err(error);
        }
        Ok(())
    }

    /// Appends an entry.
    pub(super) fn push(&self, body: &[u8]) -> Position {
        let mut gathering = lock(&self.gathering);
        gathering.push(SystemTime::now().into(), body);
        let position = Position::after(gathering.count());
        self.relieve(gathering);
        position
    }

    /// Appends what is said of a call, as an entry or to one.
    pub(super) fn push_call(
        &self,
        mut gathering: MutexGuard<'_, Gathering>,
        now: Timestamp,
        body: CallBody<'_>,
    ) -> Position {
        let (entry, call) = gathering.push_call(now, &body);
        self.relieve(gathering);
        Position::of_call(entry, call)
    }

    /// Takes that a call was allowed: it is written with the outcome, before any answer leaves, or
    /// soon.
    pub(super) fn hold(
        &self,
        mut gathering: MutexGuard<'_, Gathering>,
        now: Timestamp,
        body: CallBody<'_>,
    ) -> Position {
        match gathering.hold(now, &body) {
            Some(number) => {
                self.relieve(gathering);
                Position::held(number)
            }
            None => self.push_call(gathering, now, body).unawaited(),
        }
    }

    /// Records what waited for an outcome that has not come.
    fn record_held(&self) {
        let mut gathering = lock(&self.gathering);
        gathering.record_held();
        self.relieve(gathering);
    }

    /// Appends an entry of the log about itself.
    pub(super) fn own(&self, kind: &str, members: impl FnOnce(&mut Body<'_>)) {
        self.push(&own_body(kind, members));
    }

    /// Something was recorded. Where too many bytes wait, whoever did so writes them, and so is
    /// slowed down.
    pub(super) fn relieve(&self, gathering: MutexGuard<'_, Gathering>) {
        self.recorded.store(gathering.count(), Release);
        let waits = gathering.len();
        drop(gathering);
        if waits > WRITE_NOW
            && let Err(error) = self.write()
        {
            self.failed(&error);
        }
    }

    /// Writes what has gathered.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut files = lock(&self.files);
        let mut waits = 0;
        loop {
            let was_left = files.backlog.is_some();
            let Files { days, backlog, spare } = &mut *files;
            if backlog.is_none() {
                *backlog = lock(&self.gathering).take(spare);
            }
            let Some(batch) = backlog else { break };
            batch.write(|day, lines| days.append(day, lines))?;
            self.bytes.store(days.bytes(), Release);
            self.written.store(batch.end, Release);
            if let Some(batch) = backlog.take() {
                let mut unhashed = lock(&self.unhashed);
                unhashed.lines.extend_from_slice(&batch.bytes);
                waits = unhashed.lines.len();
                *spare = batch.emptied();
            }
            // After what was left by a failure, there may be more.
            if !was_left {
                break;
            }
        }
        drop(files);
        match waits {
            HASH_NOW.. => self.hash(&mut lock(&self.edge)),
            HASH_SOON.. => self.wake_keeper(),
            _ => {}
        }
        Ok(())
    }

    /// Writes and syncs what has gathered, and tells who waits for it. After a failure it
    /// works again only once it can be signed, too.
    pub(super) fn commit(&self) -> io::Result<()> {
        self.record_held();
        let mut done = self.write().and_then(|()| self.sync());
        if self.is_in_trouble() {
            done = done.and_then(|()| self.sign());
        }
        match &done {
            Err(error) => {
                self.failed(error);
                if error.kind() == io::ErrorKind::StorageFull {
                    // What makes it quicker needs room, too.
                    let _room = self.calm_down();
                }
            }
            Ok(()) if self.is_in_trouble() => self.recovered(),
            Ok(()) => {}
        }
        self.wake_waiting();
        done
    }

    /// Hashes what is written.
    pub(super) fn hash(&self, edge: &mut Edge) {
        let mut lines = {
            let Unhashed { lines, spare } = &mut *lock(&self.unhashed);
            std::mem::replace(lines, std::mem::take(spare))
        };
        edge.append(&lines);
        if lines.capacity() <= LARGEST_SPARE {
            lines.clear();
            lock(&self.unhashed).spare = lines;
        }
    }

    /// Signs what is written.
    pub(super) fn sign(&self) -> io::Result<()> {
        let mut edge = lock(&self.edge);
        self.hash(&mut edge);
        // All that is hashed is written, and now durable: no checkpoint is ahead of its lines.
        self.settle()?;
        if edge.sign()? {
            let now: Timestamp = SystemTime::now().into();
            self.signed_at.store(now.unix_millis(), Release);
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.commit()?;
        self.sign()
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.is_in_trouble.load(Acquire)
    }

    /// From now on nothing is recorded, until it can be.
    pub(super) fn failed(&self, error: &io::Error) {
        let mut trouble = lock(&self.trouble);
        if trouble.is_none() {
            tracing::error!(
                %error,
                directory = %self.directory.display(),
                "the audit log cannot be written: until it can, nothing is allowed"
            );
            *trouble = Some(Trouble {
                since: SystemTime::now().into(),
                kind: error.kind(),
                text: error.to_string(),
                unrecorded: 0,
            });
            self.is_in_trouble.store(true, Release);
        }
    }

    fn recovered(&self) {
        // It is written, but there may be more of it than there should be.
        if self.rules().max_total_size.is_some_and(|most| load(&self.bytes) >= most) {
            return;
        }
        let Some(Trouble { since, text, unrecorded, .. }) = lock(&self.trouble).take() else {
            return;
        };
        tracing::info!(unrecorded, "the audit log can be written again");
        self.own("log.recovered", |body| {
            body.time("since", since).number("unrecorded", unrecorded).text("detail", &text);
        });
        self.is_in_trouble.store(false, Release);
    }

    pub(super) fn poll_durable(
        &self,
        position: Position,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_reached(position) {
            return Poll::Ready(Ok(()));
        }
        if !self.is_running.load(Acquire) {
            return Poll::Ready(self.commit());
        }
        if self.is_durable(position) {
            return Poll::Ready(self.written_by_now(position.written()));
        }
        {
            let mut waiting = lock(&self.waiting);
            // Looked at again under the lock that whoever wakes us takes after it.
            if self.has_reached(position) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.error() {
                return Poll::Ready(Err(error));
            }
            let position = position.durable();
            match waiting.iter_mut().find(|waiting| waiting.waker.will_wake(cx.waker())) {
                // It asks again for whatever else it waits for.
                Some(waiting) => waiting.position = waiting.position.min(position),
                None => waiting.push(Waiting { position, waker: cx.waker().clone() }),
            }
        }
        self.wake_committer();
        Poll::Pending
    }

    fn written_by_now(&self, entries: u64) -> io::Result<()> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        if let Err(error) = self.write() {
            self.failed(&error);
            return Err(error);
        }
        debug_assert!(load(&self.written) >= entries);
        Ok(())
    }

    fn has_reached(&self, position: Position) -> bool {
        load(&self.written) >= position.written() && self.is_durable(position)
    }

    /// Whether as much is on the disk as has to be.
    fn is_durable(&self, position: Position) -> bool {
        self.durability == Durability::Interval || load(&self.durable) >= position.durable()
    }

    pub(super) fn wake_waiting(&self) {
        let reached = load(&self.durable);
        let is_failing = self.is_in_trouble();
        let mut ready = Vec::new();
        lock(&self.waiting).retain(|Waiting { position, waker }| {
            let is_over = is_failing || *position <= reached;
            if is_over {
                ready.push(waker.clone());
            }
            !is_over
        });
        ready.into_iter().for_each(Waker::wake);
    }

    fn error(&self) -> Option<io::Error> {
        lock(&self.trouble).as_ref().map(Trouble::error)
    }

    /// Whether anybody waits for the disk.
    pub(super) fn is_waited_for(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    /// Whether anything is not on the disk.
    pub(super) fn has_news(&self) -> bool {
        load(&self.recorded) > load(&self.durable)
    }

    pub(super) fn wake_committer(&self) {
        self.committer.get().inspect(|thread| thread.unpark());
    }

    pub(super) fn wake_keeper(&self) {
        self.keeper.get().inspect(|thread| thread.unpark());
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Release);
        self.wake_committer();
        self.wake_keeper();
    }

    pub(super) fn status(&self) -> Status {
        let signed_at = self.signed_at.load(Acquire);
        Status {
            entries: load(&self.recorded),
            first: load(&self.first),
            bytes: load(&self.bytes),
            most_bytes: self.rules().max_total_size,
            is_nearly_full: self.is_nearly_full(),
            checkpoint: lock(&self.edge).signed(),
            signed: (signed_at > i64::MIN).then(|| Timestamp::from_unix_millis(signed_at)),
            trouble: self.error().map(|error| error.to_string()),
        }
    }
}

impl Trouble {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.text.clone())
    }
}

/// What happens under the locks cannot leave anything half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
