//! The mail of a home, in the hands of somebody who can write to its store, and has no key.

use std::future::Future;

use sealwire_envelope::SecureAgentMessage;
use sealwire_mailbox::{Letter, SqliteOptions, SqliteTransport, Transport};
use sealwire_testkit::Home;

/// What waits for an agent, as it is.
///
/// # Panics
/// If the store cannot be read.
pub fn waiting(home: &Home, agent: &str) -> Vec<Vec<u8>> {
    let store = store(home);
    block_on(async {
        let taken = store.take(&agent.parse().unwrap(), 100).await.unwrap().taken;
        for taken in &taken {
            store.release(&taken.lease, store.now()).await.unwrap();
        }
        taken.into_iter().map(|taken| taken.bytes.to_vec()).collect()
    })
}

/// Puts messages into an agent's mailbox.
///
/// # Panics
/// If one is none, or the store cannot be written.
pub fn put(home: &Home, agent: &str, messages: &[Vec<u8>]) {
    let store = store(home);
    block_on(async {
        for message in messages {
            let message = SecureAgentMessage::decode(message).unwrap();
            let to = vec![agent.parse().unwrap()];
            store.put(Letter { message, to }).await.unwrap();
        }
    });
}

fn store(home: &Home) -> SqliteTransport {
    SqliteTransport::open(&home.file("state.db"), SqliteOptions::default()).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
