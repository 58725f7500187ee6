//! Who is kept out, although his certificate is good by itself.

use std::sync::Arc;
use std::time::SystemTime;

use sealwire_guard::Quarantine;
use sealwire_identity::{Revocations, VerifiedPeer};
use sealwire_names::Refusal;

/// Which certificates are revoked, and who is quarantined. Each is replaced as a whole, and
/// whoever waits for a change hears of both.
#[derive(Clone, Default)]
pub(crate) struct Barred {
    pub(super) revocations: Arc<Revocations>,
    pub(super) quarantine: Arc<Quarantine>,
}

impl Barred {
    /// May the peer, by this certificate of its, use the server now?
    ///
    /// # Errors
    /// `certificate_revoked`, `revocation_unknown`, or what the quarantine says.
    pub(super) fn check(&self, peer: &VerifiedPeer, server: &str) -> Result<(), Refusal> {
        let now = SystemTime::now().into();
        self.revocations.check_peer(peer, now)?;
        self.quarantine.check(&peer.id, server, now)
    }
}
