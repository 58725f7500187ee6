//! A certificate authority of our own: a root, which is the trust anchor, and below it the authority
//! that certifies day by day, so that the root's key can be elsewhere. Decision 0043.

mod export;
mod files;
mod leaf;
mod making;
mod root;
mod rotation;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, Issuer, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use sealwire_names::{Fingerprint, Timestamp, TrustDomain};

pub use export::check_passphrase;
pub use leaf::{IssuedLeaf, LeafRequest, check_issuable};
pub(crate) use leaf::{SERVICE_PATH, service_name};
pub use root::{RenewedIssuing, Replacement, RootAuthority};

use files::Layout;

use crate::anchors::TrustAnchors;
use crate::below::has_certified;
use crate::certificate::Certificate;
use crate::crl::RevocationList;
use crate::crl_issue::{ListWriter, Revoked};
use crate::error::Error;
use crate::files as fs;
use crate::keys::{KeyAlgorithm, PrivateKey};
use crate::pem::{encode_pem, parse_pem_certificates};
use crate::request::{IssuedCertificate, RequestedKey};
use crate::token::TokenUri;

/// The organization in our own authorities' names: their leaves' common names are
/// always checked.
pub(crate) const ORGANIZATION: &str = "sealwire";

/// How long the authority below a root is valid: two years, of the root's ten.
pub const ISSUING_VALIDITY: Duration = Duration::from_secs(2 * 365 * 86_400);

/// What was tried when it failed.
const SIGNING: &str = "signing a certificate";

/// What certifies leaves, and signs what is said day by day: the authority below the root, or, where
/// there is none, the root itself.
pub struct CertificateAuthority {
    dir: PathBuf,
    issuer: Issuer<'static, PrivateKey>,
    certificate: CertificateDer<'static>,
    /// What is sent with a leaf: its own certificate, unless that is the anchor.
    chain: Vec<CertificateDer<'static>>,
    /// Those of its kind that others may have leaves of.
    siblings: Vec<CertificateDer<'static>>,
    trusted: Trusted,
    anchor: CertificateDer<'static>,
    anchor_hash: Fingerprint,
    trust_domain: TrustDomain,
    not_after: Timestamp,
}

impl CertificateAuthority {
    /// Makes a new authority for a trust domain in `dir`: the root, `ca-cert.pem` and
    /// `ca-key.pem`, which certifies one step of authorities (pathLen 1), and the one below it,
    /// `issuing-cert.pem` and `issuing-key.pem`, which certifies leaves only (pathLen 0) and lives for
    /// [`ISSUING_VALIDITY`] at most. The keys have mode 0400.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one already; [`Error::Request`] for a validity
    /// of no time or over 50 years; file errors.
    pub fn create(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
    ) -> Result<Self, Error> {
        Self::create_in(dir, trust_domain, validity, None)
    }

    /// The same with its key in a token, made there unless there is one of that name:
    /// `ca-key.pem` holds the URI then. There is none below it: a key in a file would not be what
    /// the token is for.
    ///
    /// # Errors
    /// As [`Self::create`], and [`Error::Token`].
    pub fn create_in(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
        token: Option<&TokenUri>,
    ) -> Result<Self, Error> {
        let files = Layout(dir);
        let (certificate_path, key_path) = (files.root_cert(), files.root_key());
        fs::create_private_dir(dir)?;
        let (below, key_below) = (files.issuing_cert(), files.issuing_key());
        fs::refuse_existing(&[&certificate_path, &key_path, &below, &key_below])?;

        let params = making::root(trust_domain, validity, token.is_none())?;
        let (key, key_pem) = PrivateKey::make(KeyAlgorithm::EcdsaP256, token)?;
        let certificate = params.self_signed(&key).map_err(Error::crypto(SIGNING))?;
        fs::write_new(&key_path, key_pem.as_bytes(), fs::CA_KEY_FILE)?;
        fs::write_new(&certificate_path, certificate.pem().as_bytes(), fs::PUBLIC_FILE)?;
        if token.is_none() {
            let validity = validity.min(ISSUING_VALIDITY);
            RootAuthority::load(dir, trust_domain)?.renew_issuing(validity)?;
        }
        Self::load(dir, trust_domain)
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// Names the file: a key open to others (wider than 0400), a key of another
    /// certificate, an authority of another trust domain or of none of the roots there, and file
    /// errors.
    pub fn load(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let files = Layout(dir);
        let trusted = Trusted::read(&files.root_cert(), trust_domain)?;
        if !files.issuing_key().exists() {
            let path = files.root_key();
            let key = PrivateKey::load(&path, fs::CA_KEY_FILE)?;
            let anchor = trusted.of_key(&key, &path)?.clone();
            let certificate = anchor.clone();
            return Self::new(dir, trusted, (key, certificate, anchor), Vec::new(), trust_domain);
        }
        let path = files.issuing_key();
        let key = PrivateKey::load(&path, fs::CA_KEY_FILE)?;
        let below = Trusted::read(&files.issuing_cert(), trust_domain)?;
        let certificate = below.of_key(&key, &path)?.clone();
        let anchor = below.anchor_of(&certificate, &trusted)?.clone();
        Self::new(dir, trusted, (key, certificate, anchor), below.certificates, trust_domain)
    }

    fn new(
        dir: &Path,
        trusted: Trusted,
        (key, certificate, anchor): (PrivateKey, CertificateDer<'static>, CertificateDer<'static>),
        siblings: Vec<CertificateDer<'static>>,
        trust_domain: &TrustDomain,
    ) -> Result<Self, Error> {
        let label = trusted.label.clone();
        let refuse = |refusal| Error::Certificate { label: label.clone(), refusal };
        let not_after =
            Certificate::parse(&certificate, "the authority").map_err(refuse)?.not_after();
        let root = Certificate::parse(&anchor, "the trust anchor").map_err(refuse)?;
        let (anchor_hash, not_after) = (root.key_hash(), root.not_after().min(not_after));
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(Error::crypto("reading the authority's certificate"))?;
        let is_anchor = certificate == anchor;
        Ok(Self {
            dir: dir.to_owned(),
            issuer,
            chain: if is_anchor { Vec::new() } else { vec![certificate.clone()] },
            certificate,
            siblings,
            trusted,
            anchor,
            anchor_hash,
            trust_domain: trust_domain.clone(),
            not_after,
        })
    }

    /// Issues a leaf with a new key.
    ///
    /// # Errors
    /// [`Error::Request`] names the rule that the request breaks.
    pub fn issue(&self, request: &LeafRequest) -> Result<IssuedLeaf, Error> {
        self.issue_after(request, None)
    }

    /// The same for a name of which everything up to `revoked` is revoked: the leaf is valid from
    /// the first whole second after that, rather than from five minutes ago. Until then it is
    /// not valid anywhere.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_after(
        &self,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
    ) -> Result<IssuedLeaf, Error> {
        self.issue_in(None, request, revoked)
    }

    /// As [`Self::issue_after`]; with `token` the key is there, made unless there is one of that
    /// name.
    ///
    /// # Errors
    /// As [`Self::issue`], and [`Error::Token`].
    pub fn issue_in(
        &self,
        token: Option<&TokenUri>,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
    ) -> Result<IssuedLeaf, Error> {
        let params = request.params(&self.trust_domain, self.not_after, revoked)?;
        let (key, key_pem) = PrivateKey::make(request.key_algorithm, token)?;
        let IssuedCertificate { cert_pem, not_after } = self.sign(&params, &key)?;
        Ok(IssuedLeaf { cert_pem, key_pem, not_after })
    }

    /// As [`Self::issue_after`], for a key that somebody else has made and holds. Nothing else of
    /// what he asks for counts: the rest is in `request`, but for the algorithm.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_for(
        &self,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
        key: &RequestedKey,
    ) -> Result<IssuedCertificate, Error> {
        self.sign(&request.params(&self.trust_domain, self.not_after, revoked)?, &key.public)
    }

    /// A leaf, with its key, for the service that lets others join, and all above it: whoever joins
    /// knows the anchor by its hash alone.
    pub(crate) fn issue_service(&self, validity: Duration) -> Result<CertifiedKey, Error> {
        let params = leaf::service(&self.trust_domain, validity, self.not_after)?;
        let (key, _never_written) = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(Error::crypto(SIGNING))?;
        let mut chain = vec![leaf.der().clone()];
        chain.extend(self.chain.iter().cloned());
        chain.push(self.anchor.clone());
        Ok(CertifiedKey::new(chain, key.signer()))
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<IssuedCertificate, Error> {
        let certificate = params.signed_by(key, &self.issuer).map_err(Error::crypto(SIGNING))?;
        let not_after = Timestamp::from_unix_seconds(params.not_after.unix_timestamp());
        let mut cert_pem = certificate.pem();
        for above in &self.chain {
            cert_pem.push_str(&encode_pem("CERTIFICATE", above)?);
        }
        Ok(IssuedCertificate { cert_pem, not_after })
    }

    /// Writes this authority's revocation list: what the one in `path` says, if there is one, and
    /// those of `revoked` that it has issued. Its number is greater than that of any before, and
    /// it holds for `validity`. What it says now.
    ///
    /// Into the file go also the root's list, those of authorities that had its place before, as
    /// long as they hold, and the certificates of all that are no anchors.
    ///
    /// # Errors
    /// [`Error::RevocationList`] if what is in `path` is not a list of one of them: nothing
    /// is written then; [`Error::Crypto`]; file errors.
    pub fn write_revocation_list(
        &self,
        path: &Path,
        revoked: Revoked<'_>,
        now: Timestamp,
        validity: Duration,
    ) -> Result<RevocationList, Error> {
        self.lists().write(path, revoked, now, validity)
    }

    /// This authority's list in `path`, if it has written one there.
    ///
    /// # Errors
    /// As [`Self::write_revocation_list`].
    pub fn revocation_list(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<RevocationList>, Error> {
        self.lists().own(path, now)
    }

    /// When the file at `path` has to be written again at the latest because of the lists of other
    /// authorities in it: one that is out of date would keep everybody from taking the file up. `None`
    /// if there are none in it.
    ///
    /// # Errors
    /// As [`Self::write_revocation_list`].
    pub fn other_lists_due(&self, path: &Path, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.lists().others_due(path, now)
    }

    fn lists(&self) -> ListWriter<'_> {
        ListWriter {
            issuer: &self.issuer,
            certificate: &self.certificate,
            trusted: &self.trusted.certificates,
            is_of_roots: false,
            above: (!self.chain.is_empty()).then(|| Layout(&self.dir).root_list()),
            below: &self.siblings,
        }
    }

    /// SHA-256 of the subjectPublicKeyInfo of the trust anchor that vouches for what it issues: by
    /// this, whoever joins knows it.
    pub fn key_hash(&self) -> Fingerprint {
        self.anchor_hash
    }

    /// Whether it stands below a root, rather than being one.
    pub fn is_below_root(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Its own certificate, and no anchor: what others need beside their anchors to check what it
    /// has signed. Empty if it is an anchor itself.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, PrivateKey> {
        &self.issuer
    }

    /// The roots, which every peer needs as its trust anchors.
    pub fn certificate_pem(&self) -> &str {
        &self.trusted.pem
    }

    /// The trust domain it issues names in.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When its certificate or the root's expires; no leaf outlives it.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A file of authorities' certificates.
struct Trusted {
    label: String,
    pem: String,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Reads it, by the same rules as for any trust anchor.
    fn read(path: &Path, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let label = path.display().to_string();
        let pem = fs::read_public(path)?;
        TrustAnchors::from_pem(&pem, trust_domain.clone(), &label)?;
        let certificates = parse_pem_certificates(&pem)
            .map_err(|problem| Error::Pem { label: label.clone(), problem })?;
        Ok(Self { label, pem: String::from_utf8_lossy(&pem).into_owned(), certificates })
    }

    /// The certificate of that key: while one authority takes another's place, both are there, and
    /// one has the key. Of several with one key, as after a renewal, the first.
    fn of_key(&self, key: &PrivateKey, key_path: &Path) -> Result<&CertificateDer<'static>, Error> {
        let is_own = |der: &&CertificateDer<'_>| {
            Certificate::parse(der, "the authority").is_ok_and(|it| it.has_public_key(key.public()))
        };
        self.certificates.iter().find(is_own).ok_or_else(|| Error::KeyMismatch {
            certificate: self.label.clone(),
            key: key_path.display().to_string(),
        })
    }

    /// Which of the `anchors` has certified one of these.
    fn anchor_of<'a>(
        &self,
        der: &CertificateDer<'_>,
        anchors: &'a Self,
    ) -> Result<&'a CertificateDer<'static>, Error> {
        let refuse = |refusal| Error::Certificate { label: self.label.clone(), refusal };
        let certificate = Certificate::parse(der, "the authority").map_err(refuse)?;
        let certifies = |anchor: &&CertificateDer<'_>| {
            Certificate::parse(anchor, "the root").is_ok_and(|it| has_certified(&it, &certificate))
        };
        anchors.certificates.iter().find(certifies).ok_or_else(|| {
            let why = format!("none of the authorities in {} has certified it", anchors.label);
            refuse(sealwire_names::Refusal::new(sealwire_names::RefusalCode::UnknownIssuer, why))
        })
    }
}
