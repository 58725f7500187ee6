//! The root: certifies the authority below it, and says which roots are to be trusted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, Issuer};
use rustls::pki_types::CertificateDer;
use sealwire_names::{Refusal, RefusalCode, Timestamp, TrustDomain};
use zeroize::Zeroizing;

use super::files::Layout;
use super::{SIGNING, Trusted, making};
use crate::certificate::Certificate;
use crate::crl_issue::ListWriter;
use crate::error::Error;
use crate::files as fs;
use crate::keys::{KeyAlgorithm, PrivateKey};
use crate::pem::{encode_pem, parse_pem_certificates};
use crate::summary::{CertificateSummary, describe};

/// A trust anchor with its key. What is done with it is rare, so that the key need not be where
/// certificates are issued.
pub struct RootAuthority {
    dir: PathBuf,
    issuer: Issuer<'static, PrivateKey>,
    certificate: CertificateDer<'static>,
    trusted: Trusted,
    trust_domain: TrustDomain,
    not_after: Timestamp,
    /// What else is known to be revoked, since when, besides what its list says.
    revoked: Vec<(CertificateSummary, Timestamp)>,
}

/// What became of the authority below a root.
#[derive(Clone, Debug)]
pub struct RenewedIssuing {
    /// It is, or is to be.
    pub certificate: CertificateSummary,
    /// All others that are there, if they are to be believed no longer.
    pub revoked: Vec<CertificateSummary>,
}

/// Another authority below a root, which is not in its place yet.
pub struct Replacement<'a> {
    root: &'a RootAuthority,
    pem: Zeroizing<String>,
    renewed: RenewedIssuing,
}

impl Replacement<'_> {
    /// What is to be revoked: each certificate of an authority that is there, but its own.
    pub fn revoked(&self) -> &[CertificateSummary] {
        &self.renewed.revoked
    }

    /// Revokes them in the root's list, and puts it in its place: from now on it issues.
    ///
    /// # Errors
    /// File errors, and [`Error::Crypto`]. Nothing is changed for those who issue then; to do it
    /// again, make another.
    pub fn put_in_place(self) -> Result<RenewedIssuing, Error> {
        let Self { root, pem, renewed } = self;
        root.write_list(&renewed.revoked, renewed.certificate.not_after)?;
        fs::write_atomic(&Layout(&root.dir).issuing_key(), pem.as_bytes(), fs::CA_KEY_FILE)?;
        Ok(renewed)
    }
}

impl fmt::Debug for Replacement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement").field("renewed", &self.renewed).finish_non_exhaustive()
    }
}

impl RootAuthority {
    /// Opens the root in `dir`, with its key there.
    ///
    /// # Errors
    /// As [`CertificateAuthority::load`](super::CertificateAuthority::load).
    pub fn load(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let path = Layout(dir).root_key();
        Self::new(dir, trust_domain, PrivateKey::load(&path, fs::CA_KEY_FILE)?, &path)
    }

    /// One that is to be trusted: `pem` is its certificate.
    pub(super) fn of(
        dir: &Path,
        trust_domain: &TrustDomain,
        key: PrivateKey,
        pem: &str,
    ) -> Result<Self, Error> {
        let files = Layout(dir);
        let mut trusted = Trusted::read(&files.root_cert(), trust_domain)?;
        let new = parse_pem_certificates(pem.as_bytes())
            .map_err(|problem| Error::Pem { label: trusted.label.clone(), problem })?;
        trusted.certificates.extend(new);
        Self::with_trusted(dir, trust_domain, key, &files.next_root_key(), trusted)
    }

    pub(super) fn new(
        dir: &Path,
        trust_domain: &TrustDomain,
        key: PrivateKey,
        key_path: &Path,
    ) -> Result<Self, Error> {
        let trusted = Trusted::read(&Layout(dir).root_cert(), trust_domain)?;
        Self::with_trusted(dir, trust_domain, key, key_path, trusted)
    }

    fn with_trusted(
        dir: &Path,
        trust_domain: &TrustDomain,
        key: PrivateKey,
        key_path: &Path,
        trusted: Trusted,
    ) -> Result<Self, Error> {
        let certificate = trusted.of_key(&key, key_path)?.clone();
        let not_after = Certificate::parse(&certificate, "the root")
            .map_err(|refusal| Error::Certificate { label: trusted.label.clone(), refusal })?
            .not_after();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(Error::crypto("reading the root's certificate"))?;
        Ok(Self {
            dir: dir.to_owned(),
            issuer,
            certificate,
            trusted,
            trust_domain: trust_domain.clone(),
            not_after,
            revoked: Vec::new(),
        })
    }

    /// The same, which revokes these in each list that it writes, too, if it has certified them: so
    /// that a list which was lost says again what is known elsewhere to have been in it.
    #[must_use]
    pub fn with_revoked(self, revoked: Vec<(CertificateSummary, Timestamp)>) -> Self {
        Self { revoked, ..self }
    }

    /// Certifies the authority below it for so long, from now: the same key under the same name, so
    /// that everything that it has issued and signed stays as it is; or a new one, if there is none.
    ///
    /// # Errors
    /// [`Error::Certificate`] if the root may not certify authorities, as one that was made before
    /// there were any below it; [`Error::Request`] for a validity of no time; file errors.
    pub fn renew_issuing(&self, validity: Duration) -> Result<RenewedIssuing, Error> {
        let (files, present) = (Layout(&self.dir), self.present()?);
        let (key, new_key) = match &present {
            Some((key, _)) => (key.clone(), None),
            None => {
                let (key, pem) = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
                (key, Some(pem))
            }
        };
        let name = present.as_ref().and_then(|(_, certificates)| certificates.first());
        let certificate = self.certify(&key, validity, name)?;
        self.write_list(&[], certificate.not_after)?;
        if let Some(pem) = new_key {
            fs::write_new(&files.issuing_key(), pem.as_bytes(), fs::CA_KEY_FILE)?;
        }
        Ok(RenewedIssuing { certificate, revoked: Vec::new() })
    }

    /// Makes and certifies another authority, with another key, for the place of the one below it.
    /// It issues from [`Replacement::put_in_place`] on: first, the caller says elsewhere that the one
    /// before is revoked, so that nothing that ends halfway leaves it believed.
    ///
    /// # Errors
    /// As [`Self::renew_issuing`].
    pub fn replace_issuing(&self, validity: Duration) -> Result<Replacement<'_>, Error> {
        let (key, pem) = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let certificate = self.certify(&key, validity, None)?;
        let file = Layout(&self.dir).issuing_cert();
        let mut revoked = describe(&fs::read_public(&file)?, &file.display().to_string())?;
        revoked.retain(|before| before.key_hash != certificate.key_hash);
        Ok(Replacement { root: self, pem, renewed: RenewedIssuing { certificate, revoked } })
    }

    /// The key of the authority below it, and that one's certificates.
    fn present(&self) -> Result<Option<(PrivateKey, Vec<CertificateSummary>)>, Error> {
        let files = Layout(&self.dir);
        if !files.issuing_key().exists() {
            return Ok(None);
        }
        let key = PrivateKey::load(&files.issuing_key(), fs::CA_KEY_FILE)?;
        let cert = files.issuing_cert();
        let mut all = describe(&fs::read_public(&cert)?, &cert.display().to_string())?;
        let hash = crate::certificate::sha256(&rcgen::PublicKeyData::subject_public_key_info(&key));
        all.retain(|certificate| certificate.key_hash == hash);
        Ok(Some((key, all)))
    }

    /// Certifies a key, and puts the certificate before others in the file. It takes effect with
    /// the key.
    pub(super) fn certify(
        &self,
        key: &PrivateKey,
        validity: Duration,
        same: Option<&CertificateSummary>,
    ) -> Result<CertificateSummary, Error> {
        let root = Certificate::parse(&self.certificate, "the root")
            .map_err(|refusal| self.refuse(refusal))?;
        if root.path_len() == Some(0) {
            let why = "this authority was made to certify leaves alone (pathLen 0)";
            return Err(self.refuse(Refusal::new(RefusalCode::CertificatePath, why)));
        }
        let mut params = making::issuing(&self.trust_domain, validity, self.not_after)?;
        if let Some(name) = same.and_then(CertificateSummary::common_name) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let der = self.sign(&params, key)?;
        let file = Layout(&self.dir).issuing_cert();
        let mut text = encode_pem("CERTIFICATE", &der)?.to_string();
        let now = Timestamp::from(SystemTime::now());
        let label = file.display().to_string();
        if file.exists() {
            let before = fs::read_public(&file)?;
            let certificates = parse_pem_certificates(&before)
                .map_err(|problem| Error::Pem { label: label.clone(), problem })?;
            for (before, summary) in certificates.iter().zip(describe(&before, &label)?) {
                if now <= summary.not_after {
                    text.push_str(&encode_pem("CERTIFICATE", before)?);
                }
            }
        }
        fs::write_atomic(&file, text.as_bytes(), fs::PUBLIC_FILE)?;
        let mut all = describe(text.as_bytes(), &label)?;
        Ok(all.swap_remove(0))
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &PrivateKey,
    ) -> Result<CertificateDer<'static>, Error> {
        let certificate = params.signed_by(key, &self.issuer).map_err(Error::crypto(SIGNING))?;
        Ok(certificate.der().clone())
    }

    /// Writes the root's own list. It holds for as long as what it is about: nobody should need the
    /// root's key only because time passes.
    pub(super) fn write_list(
        &self,
        revoked: &[CertificateSummary],
        until: Timestamp,
    ) -> Result<(), Error> {
        let now = Timestamp::from(SystemTime::now());
        let revoked = revoked.iter().map(|it| (it.clone(), now));
        let revoked: Vec<_> = self.revoked.iter().cloned().chain(revoked).collect();
        let writer = ListWriter {
            issuer: &self.issuer,
            certificate: &self.certificate,
            trusted: &self.trusted.certificates,
            is_of_roots: true,
            above: None,
            below: &[],
        };
        let validity = now.until(until).unwrap_or_default().max(Duration::from_secs(1));
        writer.write(&Layout(&self.dir).root_list(), &revoked, now, validity).map(drop)
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, PrivateKey> {
        &self.issuer
    }

    /// The same, with what is trusted where it is by now.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn with_trusted_now(self) -> Result<Self, Error> {
        let trusted = Trusted::read(&Layout(&self.dir).root_cert(), &self.trust_domain)?;
        Ok(Self { trusted, ..self })
    }

    /// All roots that are trusted where it is, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.trusted.pem
    }

    /// When its certificate expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    fn refuse(&self, refusal: Refusal) -> Error {
        Error::Certificate { label: self.trusted.label.clone(), refusal }
    }
}

impl fmt::Debug for RootAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
