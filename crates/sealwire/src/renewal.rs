//! Who we are when connecting, and whom we trust: files, read again when they change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sealwire_identity::{Credential, Error, PeerVerifier, Role, TrustAnchors, client_config};
use sealwire_names::{PeerId, RefusalCode, TrustDomain};
use sealwire_relay::link::{ALPN, DialIdentity, IdentitySource};

use crate::revocations::Followed;
use crate::snapshot::Snapshot;

/// The files of one connecting end, and what does not change with them.
#[derive(Clone)]
pub(crate) struct IdentityFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) anchors: PathBuf,
    pub(crate) trust_domain: TrustDomain,
    /// What the server certificate's common name must be, beside its URI SAN.
    pub(crate) expected_cn: Option<String>,
    /// What is revoked: a certificate of ours may be.
    pub(crate) revocations: Followed,
}

/// What the files held when they were last looked at, and what held when they were last
/// in order.
struct Renewal {
    files: IdentityFiles,
    /// Whose certificate it is. A conversation belongs to that peer.
    id: PeerId,
    held: Mutex<(Snapshot, DialIdentity)>,
}

impl IdentityFiles {
    /// The identity in these files: as they are now, and at each dial as they are then.
    /// When they are no longer in order, the last identity stays, and a warning tells why.
    ///
    /// # Errors
    /// If they are not in order now.
    pub(crate) fn source(self) -> Result<IdentitySource, Error> {
        let seen = self.snapshot();
        let (credential, _, identity) = self.load()?;
        let held = Mutex::new((seen, identity));
        let renewal = Renewal { files: self, id: credential.id().clone(), held };
        Ok(Arc::new(move || renewal.current()))
    }

    fn load(&self) -> Result<(Credential, Arc<TrustAnchors>, DialIdentity), Error> {
        let credential = Credential::load(&self.cert, &self.key)?;
        self.revocations.now().check_own(&credential).map_err(|refusal| Error::Certificate {
            label: self.cert.display().to_string(),
            refusal,
        })?;
        let anchors = Arc::new(TrustAnchors::load(&self.anchors, self.trust_domain.clone())?);
        let expected_cn = self.expected_cn.as_deref();
        let tls = client_config(&credential, Arc::clone(&anchors), expected_cn, &[ALPN])?;
        let mut verifier = PeerVerifier::new(Arc::clone(&anchors), Role::Server);
        if let Some(cn) = expected_cn {
            verifier = verifier.with_expected_cn(cn);
        }
        let identity = DialIdentity { tls, verifier: Arc::new(verifier) };
        Ok((credential, anchors, identity))
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take([self.cert.clone(), self.key.clone(), self.anchors.clone()])
    }
}

impl Renewal {
    fn current(&self) -> DialIdentity {
        self.files.revocations.look();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (seen, identity) = &mut *held;
        let now = self.files.snapshot();
        if now != *seen {
            // Bad files are told of once, not at each attempt to dial.
            *seen = now;
            match self.renewed() {
                Ok((credential, renewed)) => {
                    let (fingerprint, not_after) =
                        (credential.fingerprint(), credential.not_after());
                    tracing::info!(id = %self.id, %fingerprint, %not_after, "identity renewed");
                    *identity = renewed;
                }
                Err(reason) => {
                    tracing::warn!(%reason, "the new certificate, key or trust anchors are refused; the old ones stay");
                }
            }
        }
        identity.clone()
    }

    fn renewed(&self) -> Result<(Credential, DialIdentity), String> {
        let (credential, anchors, identity) =
            self.files.load().map_err(|error| format!("{error} (to fix: {})", error.remedy()))?;
        let cert = self.files.cert.display();
        if *credential.id() != self.id {
            let (found, ours) = (credential.id(), &self.id);
            return Err(format!("{cert} names {found}, and we are {ours} (to fix: start anew)"));
        }
        // What holds today is not to be given up for what nobody would accept. That the
        // server trusts other authorities than we do is for the server to say.
        let verifier = PeerVerifier::new(anchors, Role::Client);
        match verifier.verify(credential.chain(), None, SystemTime::now().into()) {
            Err(refusal) if refusal.code != RefusalCode::UnknownIssuer => {
                Err(format!("{cert}: {refusal} (to fix: issue a new certificate)"))
            }
            _ => Ok((credential, identity)),
        }
    }
}
