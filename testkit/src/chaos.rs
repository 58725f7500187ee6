//! A network that breaks when told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::GUARD;

/// A way in which a network path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ends get a TCP reset at once; what was on its way is gone.
    Reset,
    /// After this many more bytes, counted over both directions, both ends get an end
    /// of stream: in the middle of whatever those bytes were part of.
    MidFrame(u64),
    /// Nothing is forwarded any more, and nobody is told.
    BlackHole,
}

/// A TCP proxy on loopback that forwards, counts, and cuts on command.
pub struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Paths that forward and have not been told to end.
    live: Mutex<Vec<Path>>,
    arrived: Condvar,
    accepted: AtomicUsize,
    cuts: AtomicUsize,
    refusing: AtomicBool,
    refused: AtomicUsize,
}

struct Path {
    number: usize,
    /// How many more bytes may pass; `u64::MAX` is no limit.
    budget: Arc<AtomicU64>,
    end: oneshot::Sender<Cut>,
}

impl ChaosProxy {
    /// Starts forwarding from a free port of loopback to `upstream`.
    pub fn start(upstream: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = mpsc::channel();
        let state = shared.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
                ready.send(listener.local_addr().expect("bound")).expect("start waits");
                tokio::select! {
                    () = accept(listener, upstream, state) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the proxy starts");
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has carried.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many paths have been cut, [`Cut::MidFrame`] counted when it happens.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// From now on, resets every new connection, or again carries it.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// How many connections it has reset because of [`ChaosProxy::refuse`].
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Cuts the newest path that still stands; waits until there is one.
    ///
    /// # Panics
    /// If none appears within [`GUARD`].
    pub fn cut(&self, cut: Cut) {
        let live = self.shared.live.lock().unwrap();
        let (mut live, timeout) =
            self.shared.arrived.wait_timeout_while(live, GUARD, |live| live.is_empty()).unwrap();
        assert!(!timeout.timed_out(), "nobody connects to the proxy any more");
        let path = live.pop().expect("not empty");
        drop(live);
        if let Cut::MidFrame(bytes) = cut {
            path.budget.store(bytes, Ordering::SeqCst);
        }
        // A path that ended by itself a moment ago needs no cutting, but this cut has
        // then not happened: take the next.
        if path.end.send(cut).is_err() {
            self.cut(cut);
        } else if !matches!(cut, Cut::MidFrame(_)) {
            self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: leave time for some to be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if shared.refusing.load(Ordering::SeqCst) {
            let _ = client.set_zero_linger();
            shared.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        tokio::spawn(carry(client, upstream, shared.clone()));
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
    let budget = Arc::new(AtomicU64::new(u64::MAX));
    let (end, ended) = oneshot::channel();
    shared.live.lock().unwrap().push(Path { number, budget: budget.clone(), end });
    shared.arrived.notify_all();

    let outcome = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let both = async {
            tokio::try_join!(
                pump(client_reads, server_writes, &budget),
                pump(server_reads, client_writes, &budget),
            )
        };
        tokio::pin!(both);
        tokio::select! {
            result = &mut both => result.err(),
            cut = ended => match cut {
                Ok(Cut::MidFrame(_)) => both.await.err(),
                Ok(Cut::Reset) => Some(End::Reset),
                Ok(Cut::BlackHole) => Some(End::BlackHole),
                Err(_) => None,
            },
        }
    };
    shared.live.lock().unwrap().retain(|path| path.number != number);
    match outcome {
        Some(End::BudgetSpent) => {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
        }
        Some(End::Reset) => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        // Both sockets stay open, unread, until the proxy goes.
        Some(End::BlackHole) => std::future::pending().await,
        Some(End::Broken) | None => {}
    }
}

enum End {
    BudgetSpent,
    Reset,
    BlackHole,
    Broken,
}

/// Forwards one direction until its end of stream, which it passes on.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    budget: &AtomicU64,
) -> Result<(), End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| End::Broken)?;
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        let mut allowed = length;
        let _ = budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            allowed = usize::try_from(left).unwrap_or(usize::MAX).min(length);
            (left != u64::MAX).then(|| left - allowed as u64)
        });
        to.write_all(&buffer[..allowed]).await.map_err(|_| End::Broken)?;
        if allowed < length {
            let _ = to.shutdown().await;
            return Err(End::BudgetSpent);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A proxy before a server that sends back what it gets, and a connection to it.
    fn connected() -> (ChaosProxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = ChaosProxy::start(listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        (proxy, stream)
    }

    #[test]
    fn a_reset_is_a_reset() {
        let (proxy, mut stream) = connected();
        proxy.cut(Cut::Reset);
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!((proxy.cuts(), proxy.accepted()), (1, 1));
    }

    #[test]
    fn a_cut_in_mid_frame_lets_just_so_many_bytes_pass() {
        let (proxy, mut stream) = connected();
        proxy.cut(Cut::MidFrame(15));
        stream.write_all(b"0123456789").unwrap();
        let mut back = Vec::new();
        // Whether the stream ends or is reset then, depends on what is still unread.
        let _ = stream.read_to_end(&mut back);
        assert_eq!(back, b"01234");
        crate::wait_until("the cut is counted", || proxy.cuts() == 1);
    }

    #[test]
    fn a_black_hole_says_nothing() {
        let (proxy, mut stream) = connected();
        proxy.cut(Cut::BlackHole);
        stream.write_all(b"hello").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert_eq!(proxy.cuts(), 1);
    }

    #[test]
    fn the_next_cut_waits_for_the_next_connection() {
        let (proxy, _first) = connected();
        proxy.cut(Cut::BlackHole);
        thread::scope(|scope| {
            let cut = scope.spawn(|| proxy.cut(Cut::Reset));
            let mut second = TcpStream::connect(proxy.address()).unwrap();
            assert!(second.read(&mut [0]).is_err());
            cut.join().unwrap();
        });
        assert_eq!((proxy.cuts(), proxy.accepted()), (2, 2));
    }
}
