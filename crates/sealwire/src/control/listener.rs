//! Who may connect, how long and with how much.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sealwire::home::Home;
use sealwire::state::make_private_directory;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::protocol::Answer;
use super::service::Service;
use crate::cli::Failure;

/// Longest request, in bytes: the arguments of a call of a local client are in one.
pub(super) const MAX_REQUEST: u64 = 40 << 20;
/// Most connections at a time.
const MAX_CONNECTIONS: u32 = 16;
/// Longest wait for a request, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long commands under way may take when the socket is closed.
const CLOSING: Duration = Duration::from_secs(2);
/// Pause before it is looked again whether a `serve` that drains is done.
const LOOK: Duration = Duration::from_millis(20);
/// What stands after the process number in `serve.lock` once that process drains.
const DRAINS: &str = "drains";

/// The socket; given up on drop.
pub(crate) struct Socket {
    place: Place,
    accepting: JoinSet<()>,
    /// One for each connection, and one while there is none that waits for it.
    places: Arc<Semaphore>,
    /// Whether no more commands are taken.
    is_closing: watch::Sender<bool>,
    /// Held for as long as the socket is ours. Dropped after the file of that is gone.
    lock: File,
}

/// Where the socket is in the file system; removed on drop.
struct Place(PathBuf);

/// The right to have the socket, and with it to serve this home.
pub(crate) struct Claim {
    path: PathBuf,
    lock: File,
}

/// The process that serves a home, or did so last: it may be that of one that was killed.
pub(super) fn who_serves(home: &Home) -> Option<u32> {
    owner(&fs::read_to_string(home.serve_lock()).ok()?)
}

/// The process that has written this into `serve.lock`.
fn owner(text: &str) -> Option<u32> {
    text.split_whitespace().next()?.parse().ok()
}

impl Socket {
    /// Claims the home for this process. Waits so long for one that serves it and drains.
    ///
    /// # Errors
    /// If another process serves it, or there is no place for the socket.
    pub(crate) fn claim(home: &Home, patience: Duration) -> Result<Claim, Failure> {
        let directory = home.run_dir();
        let claimed = make_private_directory(&directory).and_then(|()| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(home.serve_lock())
        });
        let mut lock = claimed.map_err(|error| {
            Failure::new("there is no place for the control socket")
                .at(directory.display())
                .because(error)
                .fix("let whoever runs `serve` write there, or name another [state] directory")
        })?;
        let give_up = Instant::now() + patience;
        let mut is_told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(Failure::new("the home cannot be locked")
                        .at(home.serve_lock().display())
                        .because(error)
                        .fix("put the home on a file system that has locks"));
                }
            }
            let mut text = String::new();
            let _unknown = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
            let process = owner(&text).map_or_else(String::new, |process| process.to_string());
            let drains = text.ends_with(DRAINS);
            if !drains || Instant::now() >= give_up {
                let so_far = if drains { ", and still drains" } else { "" };
                return Err(Failure::new("another `serve` runs with this home")
                    .at(home.root().display())
                    .because(format!("process {process} has locked it{so_far}"))
                    .fix("stop that one, or give this one a home of its own with --home"));
            }
            if !is_told {
                is_told = true;
                tracing::info!(process, "another `serve` drains: it is waited for");
            }
            thread::sleep(LOOK);
        }
        tell(&mut lock, "");
        Ok(Claim { path: home.control_socket(), lock })
    }

    /// From now on another `serve` that begins waits until this one is done. Commands are taken
    /// all the same.
    pub(crate) fn drains(&mut self) {
        tell(&mut self.lock, DRAINS);
    }

    /// Takes no more commands, and lets those under way end, for a moment. Who has sent one that
    /// was not begun finds the connection closed, and that nothing was done. Nobody else can serve
    /// the home before what is given back is dropped.
    pub(crate) async fn close(self) -> File {
        let Self { place, mut accepting, places, is_closing, lock } = self;
        is_closing.send_replace(true);
        accepting.shutdown().await;
        if timeout(CLOSING, places.acquire_many(MAX_CONNECTIONS)).await.is_err() {
            tracing::warn!("commands under way were not waited for any longer");
        }
        drop(place);
        lock
    }
}

/// Writes who we are, and what we are doing, for those who find the lock taken.
fn tell(lock: &mut File, what: &str) {
    let text = format!("{} {what}", std::process::id());
    let _told = lock
        .rewind()
        .and_then(|()| lock.set_len(0))
        .and_then(|()| lock.write_all(text.trim_end().as_bytes()));
}

impl Claim {
    /// Listens, in place of whatever a process that is gone has left. Must be called within a
    /// tokio runtime.
    pub(crate) fn listen(self, service: Service) -> Option<Socket> {
        let Self { path, lock } = self;
        let bound = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => UnixListener::bind(&path).and_then(|listener| {
                // Until here, the directory alone keeps others out.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                Ok(listener)
            }),
        };
        match bound {
            Ok(listener) => {
                let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
                let is_closing = watch::Sender::new(false);
                let closing = is_closing.subscribe();
                let mut accepting = JoinSet::new();
                accepting.spawn(accept_all(
                    listener,
                    Arc::new(service),
                    Arc::clone(&places),
                    closing,
                ));
                tracing::debug!(socket = %path.display(), "taking commands");
                Some(Socket { place: Place(path), accepting, places, is_closing, lock })
            }
            Err(error) => {
                let socket = path.display();
                tracing::warn!(%socket, %error, "no control socket: status and reload do not reach this process, quarantine after a moment");
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is replaced by the next one.
        let _gone = fs::remove_file(&self.0);
    }
}

async fn accept_all(
    listener: UnixListener,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, closing) = (Arc::clone(&service), closing.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &service, closing).await {
                        tracing::debug!(%error, "a command was not carried out");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a command");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    service: &Service,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (reading, mut writing) = stream.into_split();
    let ours = rustix::process::geteuid().as_raw();
    if user != ours && user != 0 {
        tracing::warn!(user, "a command of another user was refused");
        let what = format!("user {user} may not command a serve of user {ours}");
        let answer = Answer::failed(what, "run the command as that user, or as root");
        return write(&mut writing, &answer).await;
    }
    let mut reader = BufReader::new(reading);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(MAX_REQUEST);
        let read = tokio::select! {
            read = timeout(PATIENCE, limited.read_until(b'\n', &mut line)) => read,
            _closing = closing.wait_for(|is_closing| *is_closing) => return Ok(()),
        };
        if read.map_err(io::Error::from)?? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let what = format!("a request is one line of at most {MAX_REQUEST} bytes");
            return write(&mut writing, &Answer::failed(what, "use the sealwire command")).await;
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => service.carry_out(request).await,
            Err(error) => Answer::failed(
                format!("no such request: {error}"),
                "use the sealwire command of the version that serves",
            ),
        };
        write(&mut writing, &answer).await?;
    }
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await?
}
