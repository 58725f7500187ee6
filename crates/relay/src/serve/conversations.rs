//! The conversations of this run: who may go on with which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sealwire_identity::VerifiedPeer;
use sealwire_names::{PeerId, Refusal, RefusalCode, Timestamp};
use tokio::sync::{mpsc, watch};

use super::current::Tally;
use super::report::ConversationReport;
use crate::link::frame::Resume;
use crate::link::{Attachment, Handle, InstanceId};

/// Connections that may wait for a conversation to take them.
const QUEUED: usize = 4;

pub(super) struct Conversations {
    instance: InstanceId,
    by_handle: Mutex<HashMap<Handle, Entry>>,
    ended: Mutex<Ended>,
}

/// What the conversations that have ended have counted, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) conversations: u64,
    pub(super) allowed: u64,
    pub(super) denied: u64,
}

struct Entry {
    peer: PeerId,
    presented: watch::Receiver<Arc<VerifiedPeer>>,
    server_name: Arc<str>,
    /// Of the latest accepted attempt to come back.
    generation: u64,
    attach: Attach,
    since: Timestamp,
    tally: Arc<Tally>,
}

/// Where to hand a conversation's connections, and what the peer is to know of it.
#[derive(Clone)]
pub(super) struct Attach {
    pub(super) connections: mpsc::Sender<Attachment>,
    /// Largest message the conversation takes, in bytes: the limit it began with.
    pub(super) max_message: usize,
}

/// A conversation's place in the registry; given up on drop.
pub(crate) struct Registered {
    conversations: Arc<Conversations>,
    pub(super) handle: Handle,
    pub(super) tally: Arc<Tally>,
}

impl Conversations {
    pub(super) fn new() -> Self {
        Self { instance: random(), by_handle: Mutex::default(), ended: Mutex::default() }
    }

    /// Names this run of the process.
    pub(super) fn instance(&self) -> InstanceId {
        self.instance
    }

    /// How many conversations a peer has, connected or not.
    pub(super) fn count_of(&self, peer: &PeerId) -> usize {
        self.lock().values().filter(|entry| entry.peer == *peer).count()
    }

    /// Registers a new conversation under an unguessable handle; its connections arrive
    /// through the receiver.
    pub(super) fn open(
        self: &Arc<Self>,
        presented: watch::Receiver<Arc<VerifiedPeer>>,
        server_name: Arc<str>,
        max_message: usize,
    ) -> (Registered, Attach, mpsc::Receiver<Attachment>) {
        let handle = random();
        let (connections, attachments) = mpsc::channel(QUEUED);
        let attach = Attach { connections, max_message };
        let tally = Arc::new(Tally::default());
        let peer = presented.borrow().id.clone();
        let entry = Entry {
            peer,
            presented,
            server_name,
            generation: 0,
            attach: attach.clone(),
            since: SystemTime::now().into(),
            tally: Arc::clone(&tally),
        };
        self.lock().insert(handle, entry);
        (Registered { conversations: Arc::clone(self), handle, tally }, attach, attachments)
    }

    /// The conversations there are, and what those before them have counted.
    pub(super) fn report(&self) -> (Vec<ConversationReport>, Ended) {
        let report = |entry: &Entry| {
            let (allowed, denied) = entry.tally.counts();
            ConversationReport {
                peer: entry.peer.clone(),
                presented: Arc::clone(&entry.presented.borrow()),
                server: Arc::clone(&entry.server_name),
                since: entry.since,
                allowed,
                denied,
            }
        };
        let by_handle = self.lock();
        let live = by_handle.values().map(report).collect();
        // Within the other lock: nobody ends meanwhile and is counted twice, or not at all.
        (live, *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where to hand a connection that wants to go on with a conversation.
    ///
    /// One answer serves for an unknown handle, another peer's and another server's: who
    /// tries handles learns nothing from it.
    pub(super) fn resume(
        &self,
        resume: &Resume,
        peer: &PeerId,
        server_name: &str,
    ) -> Result<Attach, Refusal> {
        let unknown = |reason: &str| Refusal::new(RefusalCode::ResumeUnknown, reason);
        if resume.instance != self.instance {
            return Err(unknown("the conversation belongs to an earlier run of this process"));
        }
        let mut by_handle = self.lock();
        let entry =
            by_handle.get_mut(&resume.handle).ok_or_else(|| unknown("no such conversation"))?;
        if entry.peer != *peer {
            return Err(unknown(&format!("the conversation belongs to {}", entry.peer)));
        }
        if *entry.server_name != *server_name {
            return Err(unknown(&format!("the conversation is with {}", entry.server_name)));
        }
        if resume.generation <= entry.generation {
            let reason =
                format!("attempt {} arrived after attempt {}", resume.generation, entry.generation);
            return Err(Refusal::new(RefusalCode::ResumeStale, reason));
        }
        entry.generation = resume.generation;
        Ok(entry.attach.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Handle, Entry>> {
        self.by_handle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut by_handle = self.conversations.lock();
        by_handle.remove(&self.handle);
        let (allowed, denied) = self.tally.counts();
        let mut ended = self.conversations.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.conversations += 1;
        ended.allowed += allowed;
        ended.denied += denied;
    }
}

/// 128 random bits. A machine without randomness cannot do TLS either, so that nobody
/// gets here; zeros would still only be refused as unknown by the next run.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!("the system has no randomness");
        std::process::abort();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwire_names::Fingerprint;

    fn peer(name: &str) -> PeerId {
        format!("spiffe://x/core/{name}").parse().unwrap()
    }

    fn presented(name: &str) -> watch::Receiver<Arc<VerifiedPeer>> {
        let moment = Timestamp::from_unix_millis(0);
        let verified = VerifiedPeer {
            id: peer(name),
            fingerprint: Fingerprint::from_sha256([0; 32]),
            signed: Fingerprint::from_sha256([0; 32]),
            not_before: moment,
            not_after: moment,
            chain: Arc::new([]),
        };
        watch::channel(Arc::new(verified)).1
    }

    #[test]
    fn only_the_peer_itself_may_come_back_and_only_forward() {
        let conversations = Arc::new(Conversations::new());
        let (registered, _attach, _attachments) = conversations.open(presented("a"), "s".into(), 9);
        let attempt = |generation| Resume {
            instance: conversations.instance(),
            handle: registered.handle,
            generation,
        };
        let code = |resume: &Resume, name: &str, server: &str| {
            conversations.resume(resume, &peer(name), server).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(&attempt(1), "b", "s"), Some(RefusalCode::ResumeUnknown));
        assert_eq!(code(&attempt(1), "a", "t"), Some(RefusalCode::ResumeUnknown));
        let guessed = Resume { handle: [0; 16], ..attempt(1) };
        assert_eq!(code(&guessed, "a", "s"), Some(RefusalCode::ResumeUnknown));
        let restarted = Resume { instance: [0; 16], ..attempt(1) };
        assert_eq!(code(&restarted, "a", "s"), Some(RefusalCode::ResumeUnknown));

        assert_eq!(code(&attempt(2), "a", "s"), None);
        assert_eq!(code(&attempt(2), "a", "s"), Some(RefusalCode::ResumeStale));
        assert_eq!(code(&attempt(1), "a", "s"), Some(RefusalCode::ResumeStale));
        assert_eq!(code(&attempt(3), "a", "s"), None);

        let last = attempt(4);
        assert_eq!(conversations.count_of(&peer("a")), 1);
        drop(registered);
        assert_eq!(code(&last, "a", "s"), Some(RefusalCode::ResumeUnknown));
        assert_eq!(conversations.count_of(&peer("a")), 0);
    }
}
