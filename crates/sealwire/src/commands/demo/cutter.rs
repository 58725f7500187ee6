//! A way through the network that can be cut: it forwards bytes until told to drop them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// Forwards connections to one address.
pub(super) struct Cutter {
    /// Where to connect instead.
    pub(super) address: String,
    cut: broadcast::Sender<()>,
    made: Arc<AtomicU64>,
}

impl Cutter {
    pub(super) async fn start(target: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (cut, _) = broadcast::channel(1);
        let made = Arc::new(AtomicU64::new(0));
        let cutter = Self { address, cut: cut.clone(), made: Arc::clone(&made) };
        let target = target.to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, target.clone(), cut.subscribe(), Arc::clone(&made)));
            }
        });
        Ok(cutter)
    }

    /// Breaks off every connection there is.
    pub(super) fn cut(&self) {
        // An error says that there is none.
        let _none = self.cut.send(());
    }

    /// How many connections have been broken off.
    pub(super) fn cuts(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

async fn forward(
    mut near: TcpStream,
    target: String,
    mut cut: broadcast::Receiver<()>,
    made: Arc<AtomicU64>,
) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = cut.recv() => drop(made.fetch_add(1, Ordering::SeqCst)),
    }
}
