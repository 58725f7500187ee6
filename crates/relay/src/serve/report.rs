//! What a running server is doing, and how somebody is shut out of it.

use std::sync::Arc;

use sealwire_guard::Quarantine;
use sealwire_identity::{Revocations, VerifiedPeer};
use sealwire_names::{PeerId, Timestamp};

use super::accept::Shared;

/// Reaches a [`Server`](super::Server) from elsewhere, for as long as it runs and drains.
#[derive(Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

/// What a server is doing.
#[derive(Clone, Debug)]
pub struct ServeReport {
    /// The conversations there are, connected or waiting for their peer to come back.
    pub conversations: Vec<ConversationReport>,
    /// How many have ended.
    pub ended: u64,
    /// Requests and notifications that passed, in all conversations there have been.
    pub allowed: u64,
    /// Those that did not.
    pub denied: u64,
    /// Connections that were refused.
    pub refused: u64,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct ConversationReport {
    /// Whose it is.
    pub peer: PeerId,
    /// The certificate that its latest connection was made with.
    pub presented: Arc<VerifiedPeer>,
    /// The server it is with.
    pub server: Arc<str>,
    /// When it began.
    pub since: Timestamp,
    /// Requests and notifications that passed, of either side.
    pub allowed: u64,
    /// Those that did not.
    pub denied: u64,
}

impl Control {
    /// What is going on now.
    pub fn report(&self) -> ServeReport {
        let (conversations, ended) = self.shared.conversations.report();
        let sum = |of: fn(&ConversationReport) -> u64| conversations.iter().map(of).sum::<u64>();
        ServeReport {
            allowed: ended.allowed + sum(|conversation| conversation.allowed),
            denied: ended.denied + sum(|conversation| conversation.denied),
            ended: ended.conversations,
            refused: self.shared.refused(),
            conversations,
        }
    }

    /// Replaces the quarantine. No message of those in it passes from now on; their
    /// conversations and connections end at once, and none of them is resumed.
    pub fn quarantine(&self, quarantine: Quarantine) {
        let quarantine = Arc::new(quarantine);
        self.shared.barred.send_modify(|barred| barred.quarantine = quarantine);
    }

    /// Replaces what is revoked. No message passes any more of whoever is connected by a revoked
    /// certificate; that conversation and connection end at once, and it is not resumed.
    /// Conversations that go on by another certificate of the same name are not concerned.
    pub fn revoke(&self, revocations: Revocations) {
        let revocations = Arc::new(revocations);
        self.shared.barred.send_modify(|barred| barred.revocations = revocations);
    }
}
