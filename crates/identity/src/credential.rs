use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use sealwire_names::{Fingerprint, PeerId, Timestamp};

use crate::certificate::{Certificate, fingerprint};
use crate::crl::Link;
use crate::error::Error;
use crate::files;
use crate::keys::PrivateKey;
use crate::pem::parse_pem_certificates;

/// What proves who we are: a certificate chain, and the private key of its leaf.
///
/// Made only if the two belong together and the leaf names exactly one peer. Whether
/// others will trust it is for [`PeerVerifier::verify`](crate::PeerVerifier::verify)
/// on [`Credential::chain`], which a program runs on its own certificates at start.
#[derive(Clone)]
pub struct Credential {
    certified: Arc<CertifiedKey>,
    waits: bool,
    id: PeerId,
    signed: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    links: Vec<Link>,
}

impl Credential {
    /// Reads a PEM chain, leaf first, and a private key: in a file of mode 0600, or in a token, see
    /// [`TokenUri`](crate::TokenUri).
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and what to do.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let certificate_pem = files::read_public(certificate)?;
        Self::new(
            &certificate_pem,
            &certificate.display().to_string(),
            || PrivateKey::load(key, files::PRIVATE_FILE),
            &key.display().to_string(),
        )
    }

    /// Like [`Credential::load`], from memory; `label` names both texts in errors.
    ///
    /// # Errors
    /// As [`Credential::load`].
    pub fn from_pem(certificate: &[u8], key: &[u8], label: &str) -> Result<Self, Error> {
        Self::new(certificate, label, || PrivateKey::from_pem(key, label), label)
    }

    /// The certificates, leaf first, as they are sent to peers.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The peer that the leaf names.
    pub fn id(&self) -> &PeerId {
        &self.id
    }

    /// The leaf's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certified.cert[0])
    }

    /// What is signed of the leaf, and from when it is valid: what a revocation goes by.
    pub(crate) fn marks(&self) -> (Fingerprint, Timestamp) {
        (self.signed, self.not_before)
    }

    /// The leaf and what is sent with it, as their issuers' revocation lists name them.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// When the leaf expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether a handshake with it waits for a token that signs, and keeps the thread waiting.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// For rustls.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    fn new(
        certificate_pem: &[u8],
        certificate_label: &str,
        key: impl FnOnce() -> Result<PrivateKey, Error>,
        key_label: &str,
    ) -> Result<Self, Error> {
        let chain = parse_pem_certificates(certificate_pem)
            .map_err(|problem| Error::Pem { label: certificate_label.into(), problem })?;
        let refuse = |refusal| Error::Certificate { label: certificate_label.into(), refusal };
        let leaf = Certificate::parse(&chain[0], "the leaf").map_err(refuse)?;
        leaf.check_not_ca().map_err(refuse)?;
        leaf.check_key_strength("the leaf").map_err(refuse)?;
        let id = leaf.peer_id().map_err(refuse)?;
        let (signed, not_before, not_after) = (leaf.signed(), leaf.not_before(), leaf.not_after());
        let above = chain.iter().skip(1).filter_map(|der| Certificate::parse(der, "it").ok());
        let links = std::iter::once(Link::of(&leaf)).chain(above.map(|it| Link::of(&it))).collect();
        let key = key()?;
        let waits = key.is_in_token();
        let certified = CertifiedKey::new(chain, key.signer());
        certified.keys_match().map_err(|_| Error::KeyMismatch {
            certificate: certificate_label.into(),
            key: key_label.into(),
        })?;
        let certified = Arc::new(certified);
        Ok(Self { certified, waits, id, signed, not_before, not_after, links })
    }
}

/// Shows whose it is, never the key.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("fingerprint", &self.fingerprint())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
