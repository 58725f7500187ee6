//! The log of what happened: where it is, and the key that signs it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealwire_audit::note::{NoteError, Signer, Verifier};
use sealwire_audit::{Journal, OpenError, Settings};
use sealwire_identity::{SigningKey, files};

use crate::config::SecureMcpConfig;
use crate::home::Home;
use crate::private;

/// Pause before it is looked again whether another process is done with the log.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no log to write to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The key that signs it cannot be used, or made.
    #[error(transparent)]
    Key(#[from] sealwire_identity::Error),
    /// The public key beside it cannot be used, or is another one.
    #[error("{}: {reason}", file.display())]
    PublicKey {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Opens the log of a configuration, and makes its key and the log itself if there are none.
/// Waits so long for another process that writes it. `None` if none is to be kept.
///
/// # Errors
/// If it cannot be used: then nothing that is to be recorded may happen.
pub fn open(
    config: &SecureMcpConfig,
    patience: Duration,
) -> Result<Option<Journal>, EvidenceError> {
    let audit = &config.audit;
    if !audit.enabled {
        return Ok(None);
    }
    let give_up = Instant::now() + patience;
    loop {
        let settings = Settings {
            directory: audit.log_dir.clone(),
            signer: signer(config)?,
            durability: audit.durability,
            rules: audit.rules,
        };
        match Journal::open(settings) {
            Err(OpenError::InUse { .. }) if Instant::now() < give_up => sleep(PAUSE),
            opened => return Ok(Some(opened?)),
        }
    }
}

/// The key that signs the log, and its name, which is that of the log. Made if it is not there.
fn signer(config: &SecureMcpConfig) -> Result<Signer, EvidenceError> {
    let home = config.layout();
    let (private, public) = (home.audit_key(), home.audit_public_key());
    if !private.exists() {
        make_key(config, &home)?;
    }
    let wrong = |reason: String| EvidenceError::PublicKey { file: public.clone(), reason };
    let verifier = fs::read_to_string(&public).map_err(|error| wrong(error.to_string()))?;
    let verifier: Verifier =
        verifier.trim_end().parse().map_err(|error: NoteError| wrong(error.to_string()))?;
    let seed = SigningKey::load(&private)?.seed()?;
    let signer = Signer::new(verifier.name(), &seed).map_err(|error| wrong(error.to_string()))?;
    if *signer.verifier() != verifier {
        return Err(wrong(format!("it is not the public half of {}", private.display())));
    }
    Ok(signer)
}

/// Makes the key: of two processes that do so at a time, the first one's counts.
fn make_key(config: &SecureMcpConfig, home: &Home) -> Result<(), EvidenceError> {
    let (secret, public) = (home.audit_key(), home.audit_public_key());
    let wrong = |reason: String| EvidenceError::PublicKey { file: public.clone(), reason };
    for directory in [Some(home.state_dir()), secret.parent()].into_iter().flatten() {
        files::create_private_dir(directory)?;
    }
    let lock = private::open(&public.with_extension("lock"))
        .and_then(|lock| lock.lock().map(|()| lock))
        .map_err(|error| wrong(error.to_string()))?;
    if secret.exists() {
        return Ok(());
    }
    let key = SigningKey::generate()?;
    let id = SigningKey::generate()?;
    // 8 digits tell the logs of one trust domain apart.
    let id: String = id.public_key().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("sealwire-audit/{}/{id}", config.trust_domain);
    let signer = Signer::new(&name, &*key.seed()?).map_err(|error| wrong(error.to_string()))?;
    files::write_atomic(&public, format!("{}\n", signer.verifier()).as_bytes(), 0o644)?;
    files::write_new(&secret, key.private_text()?.as_bytes(), 0o600)?;
    drop(lock);
    Ok(())
}

impl EvidenceError {
    /// Whether another process has the log.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Log(OpenError::InUse { .. }))
    }

    /// The number of the process that has it, if that is so and it has said so.
    pub fn holder(&self) -> Option<u32> {
        match self {
            Self::Log(OpenError::InUse { holder, .. }) => *holder,
            _ => None,
        }
    }
}

impl From<EvidenceError> for io::Error {
    fn from(error: EvidenceError) -> Self {
        io::Error::other(error)
    }
}
