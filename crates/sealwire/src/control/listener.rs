//! Who may connect, how long and with how much.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealwire::home::Home;
use sealwire::state::make_private_directory;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::protocol::Answer;
use super::service::Service;
use crate::cli::Failure;

/// Longest request, in bytes: the arguments of a call of a local client are in one.
pub(super) const MAX_REQUEST: u64 = 40 << 20;
/// Most connections at a time.
const MAX_CONNECTIONS: usize = 16;
/// Longest wait for a request, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket; given up on drop.
pub(crate) struct Socket {
    path: PathBuf,
    accepting: JoinHandle<()>,
    /// Held for as long as the socket is ours.
    _lock: File,
}

/// The right to have the socket, and with it to serve this home.
pub(crate) struct Claim {
    path: PathBuf,
    lock: File,
}

impl Socket {
    /// Claims the home for this process.
    ///
    /// # Errors
    /// If another process serves it, or there is no place for the socket.
    pub(crate) fn claim(home: &Home) -> Result<Claim, Failure> {
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
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _unknown = lock.read_to_string(&mut owner);
                return Err(Failure::new("another `serve` runs with this home")
                    .at(home.root().display())
                    .because(format!("process {} has locked it", owner.trim()))
                    .fix("stop that one, or give this one a home of its own with --home"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::new("the home cannot be locked")
                    .at(home.serve_lock().display())
                    .because(error)
                    .fix("put the home on a file system that has locks"));
            }
        }
        // Only for the message above.
        let _told = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Claim { path: home.control_socket(), lock })
    }
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
                let accepting = tokio::spawn(accept_all(listener, Arc::new(service)));
                tracing::debug!(socket = %path.display(), "taking commands");
                Some(Socket { path, accepting, _lock: lock })
            }
            Err(error) => {
                let socket = path.display();
                tracing::warn!(%socket, %error, "no control socket: status and reload do not reach this process, quarantine after a moment");
                None
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.accepting.abort();
        // What stays is replaced by the next one.
        let _gone = fs::remove_file(&self.path);
    }
}

async fn accept_all(listener: UnixListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &service).await {
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

async fn converse(stream: UnixStream, service: &Service) -> io::Result<()> {
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
        let read = timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await;
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
