//! Receivers of alerts on loopback: a webhook, and a mail server with STARTTLS. Both keep what
//! they get.

mod mail;
mod webhook;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, version};

pub use mail::{Mail, MailServer};
pub use webhook::{Posted, Webhook};

use crate::GUARD;
use crate::openssl::Pair;

/// What has been received, in order.
struct Kept<T>(Mutex<Vec<T>>, Condvar);

impl<T: Clone> Kept<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::new()), Condvar::new()))
    }

    fn push(&self, one: T) {
        self.0.lock().unwrap().push(one);
        self.1.notify_all();
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there is one that fits.
    fn wait_for(&self, what: &str, fits: impl Fn(&T) -> bool) -> T {
        let deadline = Instant::now() + GUARD;
        let mut kept = self.0.lock().unwrap();
        loop {
            if let Some(found) = kept.iter().find(|one| fits(one)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            kept = self.1.wait_timeout(kept, left).unwrap().0;
        }
    }
}

/// A listener that gives each connection a thread. Dropped, it no longer listens.
struct Listener {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Listener {
    fn start(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, serve) = (Arc::clone(&stopping), Arc::new(serve));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), serve) = (stream, Arc::clone(&serve)) else { continue };
                let _ = stream.set_read_timeout(Some(GUARD));
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, stopping, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection, with TLS or without.
trait Wire: Read + Write + Send {}

impl<W: Read + Write + Send> Wire for W {}

fn tls_config(pair: &Pair) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&pair.cert).expect("certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("a certificate and its key"))
}

/// Takes the server's part in TLS.
fn accept_tls(config: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Wire> {
    let connection = ServerConnection::new(Arc::clone(config)).expect("a configuration");
    Box::new(StreamOwned::new(connection, stream))
}
