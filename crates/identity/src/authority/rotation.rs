//! One root takes another's place, with the authority below it.

use std::path::Path;
use std::time::Duration;

use sealwire_names::TrustDomain;

use super::files::Layout;
use super::root::RootAuthority;
use super::{CertificateAuthority, ISSUING_VALIDITY, SIGNING, making};
use crate::certificate::sha256;
use crate::error::Error;
use crate::files as fs;
use crate::keys::{KeyAlgorithm, PrivateKey};
use crate::pem::{encode_pem, parse_pem_certificates};
use crate::summary::{CertificateSummary, describe};
use crate::token::KeyPlace;

impl CertificateAuthority {
    /// Begins a rotation: makes the key of the root to come in `dir`, `next-key.pem`, and adds
    /// its certificate to `ca-cert.pem`, so that it is trusted before anything is issued below it;
    /// and the authority below that one, `next-issuing-key.pem`. `false` if that has been done
    /// already. If the present key is in a token, the next is made there, too, with the same name
    /// and 8 digits behind it, and there is none below it.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::load`]; nothing that is in use is changed then.
    pub fn prepare_next(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
    ) -> Result<bool, Error> {
        if Self::next(dir)?.is_some() {
            return Ok(false);
        }
        Self::load(dir, trust_domain)?;
        let files = Layout(dir);
        let mut trusted = fs::read_public(&files.root_cert())?;
        // A key that has been moved away was in a file.
        let token = match files.root_key().exists() {
            false => None,
            true => match KeyPlace::read(&files.root_key(), fs::CA_KEY_FILE)? {
                KeyPlace::Token(present) => Some(present.successor(&making::suffix()?)),
                KeyPlace::Text(_) => None,
            },
        };
        let params = making::root(trust_domain, validity, token.is_none())?;
        let (key, key_pem) = PrivateKey::make(KeyAlgorithm::EcdsaP256, token.as_ref())?;
        let certificate = params.self_signed(&key).map_err(Error::crypto(SIGNING))?;
        // One that is there belongs to no certificate: somebody was interrupted here.
        fs::write_atomic(&files.next_root_key(), key_pem.as_bytes(), fs::CA_KEY_FILE)?;
        if token.is_none() {
            let text = certificate.pem();
            let root = RootAuthority::of(dir, trust_domain, key, &text)?;
            let (below, pem) = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
            let issuing = root.certify(&below, validity.min(ISSUING_VALIDITY), None)?;
            root.write_list(&[], issuing.not_after)?;
            fs::write_atomic(&files.next_issuing_key(), pem.as_bytes(), fs::CA_KEY_FILE)?;
        }
        // Last: with it the rotation has begun.
        trusted.extend(certificate.pem().as_bytes());
        fs::write_atomic(&files.root_cert(), &trusted, fs::PUBLIC_FILE)?;
        Ok(true)
    }

    /// The certificate of the root to come, if a rotation has begun.
    ///
    /// # Errors
    /// Of files that cannot be read or used.
    pub fn next(dir: &Path) -> Result<Option<CertificateSummary>, Error> {
        let files = Layout(dir);
        if !files.next_root_key().exists() {
            return Ok(None);
        }
        let key = PrivateKey::load(&files.next_root_key(), fs::CA_KEY_FILE)?;
        let certificate_path = files.root_cert();
        let label = certificate_path.display().to_string();
        let all = describe(&fs::read_public(&certificate_path)?, &label)?;
        let hash = sha256(&rcgen::PublicKeyData::subject_public_key_info(&key));
        Ok(all.into_iter().find(|certificate| certificate.key_hash == hash))
    }

    /// The certificates of the authority below the root to come, if there is one.
    ///
    /// # Errors
    /// Of files that cannot be read or used.
    pub fn next_issuing(dir: &Path) -> Result<Vec<CertificateSummary>, Error> {
        let files = Layout(dir);
        if !files.next_issuing_key().exists() {
            return Ok(Vec::new());
        }
        let key = PrivateKey::load(&files.next_issuing_key(), fs::CA_KEY_FILE)?;
        let file = files.issuing_cert();
        let mut all = describe(&fs::read_public(&file)?, &file.display().to_string())?;
        let hash = sha256(&rcgen::PublicKeyData::subject_public_key_info(&key));
        all.retain(|certificate| certificate.key_hash == hash);
        Ok(all)
    }

    /// Whether there are keys of a rotation: of one that has begun, or whose beginning or giving up
    /// was interrupted.
    pub fn has_next_keys(dir: &Path) -> bool {
        let files = Layout(dir);
        files.next_root_key().exists() || files.next_issuing_key().exists()
    }

    /// Gives a rotation up: the root to come is trusted no longer, and its keys are removed. What is
    /// in a token stays there. The caller has revoked [`Self::next_issuing`]. Interrupted, it can be
    /// done again.
    ///
    /// # Errors
    /// [`Error::Exists`] if what is to come issues already, as when [`Self::activate_next`] was
    /// interrupted: nothing is changed then; file errors.
    pub fn abandon_next(dir: &Path, trust_domain: &TrustDomain) -> Result<(), Error> {
        let files = Layout(dir);
        if let Some(next) = Self::next(dir)? {
            if Self::load(dir, trust_domain)?.key_hash() == next.key_hash {
                return Err(Error::Exists { path: files.issuing_key() });
            }
            let file = files.root_cert();
            let text = fs::read_public(&file)?;
            let label = file.display().to_string();
            let roots = parse_pem_certificates(&text)
                .map_err(|problem| Error::Pem { label: label.clone(), problem })?;
            let mut kept = String::new();
            for (der, root) in roots.iter().zip(describe(&text, &label)?) {
                if root.key_hash != next.key_hash {
                    kept.push_str(&encode_pem("CERTIFICATE", der)?);
                }
            }
            fs::write_atomic(&file, kept.as_bytes(), fs::PUBLIC_FILE)?;
        }
        fs::remove(&files.next_issuing_key())?;
        fs::remove(&files.next_root_key())
    }

    /// Puts the keys of the root to come and of the authority below it in the places of the present
    /// ones, which are gone then: from now on it issues. What the old one has issued stays trusted
    /// with its certificate. Interrupted, it can be done again.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none, or it cannot be renamed; nothing is changed then.
    pub fn activate_next(dir: &Path) -> Result<(), Error> {
        let files = Layout(dir);
        // It issues with the first rename, of one file: so there is no moment in which two do not
        // fit. Which certificate is whose is told by the keys.
        let next = files.next_issuing_key();
        if files.next_root_key().exists() && next.exists() {
            fs::rename(&next, &files.issuing_key())?;
        }
        fs::rename(&files.next_root_key(), &files.root_key())
    }
}
