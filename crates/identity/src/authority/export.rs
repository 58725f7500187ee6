//! The root's key is moved away, under a passphrase, and used from there.

use std::path::Path;

use sealwire_names::TrustDomain;

use super::files::Layout;
use super::root::RootAuthority;
use crate::encrypted::{MIN_PASSPHRASE, decrypt, encrypt};
use crate::error::Error;
use crate::files as fs;
use crate::keys::PrivateKey;
use crate::pem::{encode_pem, parse_pem_private_key};

impl RootAuthority {
    /// Writes the root's key in `dir` to a new file of mode 0600, encrypted; reads that again, and
    /// then removes the key from `dir`. If anything fails, it is still there, and no half export is.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is such a file; [`Error::Passphrase`] for one that is too short;
    /// [`Error::Key`] if the key is in a token; as [`Self::load`].
    pub fn export(
        dir: &Path,
        trust_domain: &TrustDomain,
        file: &Path,
        passphrase: &str,
    ) -> Result<(), Error> {
        check_passphrase(passphrase)?;
        let path = Layout(dir).root_key();
        let label = path.display().to_string();
        let text = fs::read_checked(&path, Some(fs::CA_KEY_FILE))?;
        let key = parse_pem_private_key(&text)
            .map_err(|problem| Error::Pem { label: label.clone(), problem })?;
        // Of the other forms in which a key may have been brought here, OpenSSL makes this one.
        let rustls::pki_types::PrivateKeyDer::Pkcs8(pkcs8) = &*key else {
            return Err(Error::Key { label, reason: "it is not in the form PKCS #8".to_owned() });
        };
        let encrypted = encrypt(pkcs8.secret_pkcs8_der(), passphrase)?;
        fs::refuse_existing(&[file])?;
        fs::write_new(file, encrypted.as_bytes(), fs::PRIVATE_FILE)?;
        if let Err(unreadable) = Self::load_exported(dir, trust_domain, file, passphrase) {
            // Why it cannot be read again tells more than why it cannot be removed.
            let _still_there = fs::remove(file);
            return Err(unreadable);
        }
        fs::remove(&path)
    }

    /// Opens the root in `dir` with its key where [`Self::export`] has written it. Who else may read
    /// the file is not asked: it is encrypted, and what is carried about keeps no modes (FAT).
    ///
    /// # Errors
    /// [`Error::Key`] if the passphrase is not that of the key; as [`Self::load`].
    pub fn load_exported(
        dir: &Path,
        trust_domain: &TrustDomain,
        file: &Path,
        passphrase: &str,
    ) -> Result<Self, Error> {
        let label = file.display().to_string();
        let pkcs8 = decrypt(&fs::read_checked(file, None)?, passphrase, &label)?;
        let pem = encode_pem("PRIVATE KEY", &pkcs8)?;
        let wrong = |_| Error::Key {
            label: label.clone(),
            reason: "the passphrase is not that of the key, or the file is damaged".to_owned(),
        };
        let key = PrivateKey::from_pem(pem.as_bytes(), &label).map_err(wrong)?;
        Self::new(dir, trust_domain, key, file)
    }
}

/// Refuses a passphrase that can be guessed.
///
/// # Errors
/// [`Error::Passphrase`].
pub fn check_passphrase(passphrase: &str) -> Result<(), Error> {
    if passphrase.chars().count() < MIN_PASSPHRASE {
        let reason = format!("it has fewer than {MIN_PASSPHRASE} characters");
        return Err(Error::Passphrase { reason });
    }
    Ok(())
}
