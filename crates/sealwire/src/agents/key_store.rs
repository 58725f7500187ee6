//! The directory of agents' keys: made, replaced, and destroyed when their time is over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwire_envelope::{Bundle, BundleRequest, CryptoError, KeyId, RecipientKey, SigningKey};
use sealwire_identity::{files, token_of};
use sealwire_names::{AgentId, Timestamp};

use super::KeyError;
use super::key_files::{self, KeyFiles, read_bundle};
use crate::config::SecureMcpConfig;

/// The directory `[agent_security.signing] keys_directory`.
///
/// An agent's keys are two, one that signs and one that messages to it are encrypted for,
/// and a bundle that names both and is signed by the first. A rotation replaces all three.
/// The signing key before it is gone at once; the recipient key is kept as long as mail may
/// wait that was sealed for it, and the bundle as long as mail may wait that was signed then.
///
/// Processes may read while one writes: whoever changes anything holds a lock meanwhile, and
/// what a crash leaves half done, the next one finishes.
#[derive(Clone, Debug)]
pub struct KeyStore {
    pub(super) directory: PathBuf,
    rotation: Duration,
    pub(super) retention: Duration,
}

/// The keys of an agent of this home.
#[derive(Debug)]
pub struct OwnKeys {
    /// Signs its messages.
    pub signing: SigningKey,
    /// Open messages to it: the one of now, then older ones, for mail that still waits.
    pub recipients: Vec<RecipientKey>,
    /// What others know of it.
    pub bundle: Bundle,
}

/// One generation of an agent's keys.
#[derive(Clone, Debug)]
pub struct Generation {
    /// What it consists of.
    pub bundle: Bundle,
    /// When its successor was made; `None` if it is the one of now.
    pub replaced: Option<Timestamp>,
}

impl KeyStore {
    /// That of a configuration.
    pub fn of(config: &SecureMcpConfig) -> Self {
        Self {
            directory: config.agent_security.keys_directory.clone(),
            rotation: config.agent_security.key_rotation,
            retention: config.mailbox.retention,
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// When the keys that were made with this bundle are due to be replaced.
    pub fn due(&self, bundle: &Bundle) -> Timestamp {
        later(bundle.not_before, self.rotation)
    }

    /// Every file that says something of an agent's keys, as they are there now.
    pub fn files_there(&self) -> Vec<PathBuf> {
        let entries =
            [self.directory.clone(), self.known_dir()].into_iter().flat_map(|directory| {
                directory
                    .read_dir()
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry.ok()?.path()))
            });
        let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
        files.retain(|file| *file != self.lock_file());
        files.sort();
        files
    }

    /// Whether this home has keys for an agent.
    pub fn has(&self, agent: &AgentId) -> bool {
        let files = self.files(agent);
        files.bundle().exists() || files.bundle_next().exists()
    }

    /// The keys of an agent of this home.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::OtherKey`], or what is wrong with a file.
    pub fn own(&self, agent: &AgentId) -> Result<OwnKeys, KeyError> {
        let _lock = self.lock_to_read(agent)?;
        self.look(agent)
    }

    /// [`KeyStore::own`], without waiting for anybody, and without finishing what a crash may
    /// have left half done: for a diagnosis.
    ///
    /// # Errors
    /// As [`KeyStore::own`], and [`KeyError::OtherKey`] if somebody replaces the keys meanwhile.
    pub fn look(&self, agent: &AgentId) -> Result<OwnKeys, KeyError> {
        let files = self.files(agent);
        let bundle = self.current(&files, agent)?;
        let other_key = |file| KeyError::OtherKey { agent: agent.clone(), file };
        let signing = signing_key(sealwire_identity::SigningKey::load(&files.signing())?)?;
        if signing.verifying_key().kid() != bundle.signing.kid() {
            return Err(other_key(files.signing()));
        }
        let recipient = key_files::read_recipient(&files.recipient())?;
        if recipient.public().kid() != bundle.recipient.kid() {
            return Err(other_key(files.recipient()));
        }
        let mut recipients = vec![recipient];
        for number in files.bundle_numbers()?.into_iter().rev() {
            let file = files.old_recipient(number);
            if file.exists() {
                recipients.push(key_files::read_recipient(&file)?);
            }
        }
        Ok(OwnKeys { signing, recipients, bundle })
    }

    /// The generations of an agent's keys that are kept, newest first; without private keys.
    ///
    /// # Errors
    /// [`KeyError::Missing`], or what is wrong with a file.
    pub fn generations(&self, agent: &AgentId) -> Result<Vec<Generation>, KeyError> {
        let _lock = self.lock_to_read(agent)?;
        let files = self.files(agent);
        let mut generations =
            vec![Generation { bundle: self.current(&files, agent)?, replaced: None }];
        for number in files.bundle_numbers()?.into_iter().rev() {
            let bundle = of(agent, read_bundle(&files.numbered_bundle(number))?, &files)?;
            let replaced = generations.last().map(|next| next.bundle.not_before);
            generations.push(Generation { bundle, replaced });
        }
        Ok(generations)
    }

    /// Makes the keys of an agent; with `signing`, that is its signing key.
    ///
    /// # Errors
    /// [`KeyError::Exists`], or that a file cannot be written.
    pub fn create(
        &self,
        agent: &AgentId,
        signing: Option<sealwire_identity::SigningKey>,
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let _lock = self.lock()?;
        if self.has(agent) {
            return Err(KeyError::Exists { agent: agent.clone() });
        }
        let files = self.files(agent);
        // Without a bundle they are of no use to anybody, and may still be somebody's own.
        for file in [files.signing(), files.recipient()] {
            if file.exists() {
                return Err(sealwire_identity::Error::Exists { path: file }.into());
            }
        }
        self.replace(agent, signing, now)
    }

    /// Replaces the keys of an agent; with `signing`, that is its signing key from now on.
    ///
    /// # Errors
    /// [`KeyError::Missing`], or that a file cannot be read or written. Nothing has changed
    /// then, or what has not yet is done by whoever opens the keys next.
    pub fn rotate(
        &self,
        agent: &AgentId,
        signing: Option<sealwire_identity::SigningKey>,
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let _lock = self.lock()?;
        let files = self.files(agent);
        self.finish(&files)?;
        self.current(&files, agent)?;
        self.replace(agent, signing, now)
    }

    /// Destroys what is left of an agent's earlier keys, because somebody else may have them:
    /// what was signed or encrypted with them is refused from now on.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn disown_earlier(&self, agent: &AgentId) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        let files = self.files(agent);
        files.bundle_numbers()?.into_iter().try_for_each(|number| remove(&files, number))
    }

    /// Destroys the recipient keys, and removes the bundles, that were replaced longer ago
    /// than mail may wait.
    ///
    /// # Errors
    /// If a file cannot be read or removed.
    pub fn destroy_outdated(&self, now: Timestamp) -> Result<(), KeyError> {
        for directory in [self.directory.clone(), self.known_dir()] {
            let mut numbered = key_files::numbered_bundles(&directory)?;
            numbered.sort();
            let _lock = if numbered.is_empty() { continue } else { self.lock()? };
            for (agent, number) in numbered {
                let files = KeyFiles::new(&directory, &agent);
                let next = files.bundle_numbers()?.into_iter().find(|next| *next > number);
                let next = next.map_or_else(|| files.bundle(), |next| files.numbered_bundle(next));
                // Without a successor it is the one of now, or the one of now was lost.
                if next.exists() && later(read_bundle(&next)?.not_before, self.retention) <= now {
                    remove(&files, number)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn files(&self, agent: &AgentId) -> KeyFiles {
        KeyFiles::new(&self.directory, agent)
    }

    /// Makes the next generation and puts it in the place of what is there.
    fn replace(
        &self,
        agent: &AgentId,
        signing: Option<sealwire_identity::SigningKey>,
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let files = self.files(agent);
        let before = match files.bundle().exists() {
            true => Some(self.current(&files, agent)?),
            false => None,
        };
        // By the clock, so that an agent whose keys were lost does not begin again below
        // what others know of it.
        let number = u64::try_from(now.unix_seconds()).unwrap_or_default();
        let number =
            before.as_ref().map_or(number, |before| number.max(before.number.saturating_add(1)));
        let is_given = signing.is_some();
        let signing = match signing {
            Some(signing) => signing,
            None => self.next_signing(&files, number)?,
        };
        let text = signing.private_text()?;
        let key = signing_key(signing)?;
        let kid = key.verifying_key().kid();
        if before.is_some_and(|before| before.signing.kid() == kid) {
            return Err(KeyError::Same { agent: agent.clone() });
        }
        if is_given && let Some(holder) = self.holder(&kid)? {
            return Err(KeyError::Taken { agent: agent.clone(), holder });
        }
        let recipient = RecipientKey::generate().map_err(crypto)?;
        let request = BundleRequest {
            agent: agent.clone(),
            number,
            not_before: now,
            not_after: later(now, self.rotation + self.retention),
        };
        let bundle = Bundle::make(&request, &key, recipient.public()).map_err(crypto)?;
        files::write_atomic(&files.signing_next(), text.as_bytes(), files::PRIVATE_FILE)?;
        key_files::write_recipient(&files.recipient_next(), &recipient)?;
        key_files::write_bundle(&files.bundle_next(), &bundle)?;
        self.finish(&files)?;
        self.current(&files, agent)
    }

    /// A new signing key: in the token that the present one is in, if it is in one.
    fn next_signing(
        &self,
        files: &KeyFiles,
        number: u64,
    ) -> Result<sealwire_identity::SigningKey, KeyError> {
        Ok(match token_of(&files.signing())? {
            Some(present) => {
                let next = present.successor(&format!("{number:010}"));
                sealwire_identity::SigningKey::open_or_generate(&next)?
            }
            None => sealwire_identity::SigningKey::generate()?,
        })
    }

    /// Finishes a rotation that was decided upon. Each step may be the last before a crash.
    fn finish(&self, files: &KeyFiles) -> Result<(), KeyError> {
        if !files.bundle_next().exists() {
            return Ok(());
        }
        if files.bundle().exists() {
            let number = read_bundle(&files.bundle())?.number;
            let kept = files.numbered_bundle(number);
            if !kept.exists() {
                copy(&files.bundle(), &kept)?;
            }
            let kept = files.old_recipient(number);
            if files.recipient_next().exists() && !kept.exists() {
                files::rename(&files.recipient(), &kept)?;
            }
        }
        for (next, place) in [
            (files.recipient_next(), files.recipient()),
            // The signing key that was is gone with this: nothing needs it any more.
            (files.signing_next(), files.signing()),
        ] {
            if next.exists() {
                files::rename(&next, &place)?;
            }
        }
        let recipient = key_files::read_recipient(&files.recipient())?;
        key_files::write_recipient_public(&files.recipient_public(), &recipient)?;
        let signing = sealwire_identity::SigningKey::load(&files.signing())?;
        let public = signing.public_key_pem()?;
        files::write_atomic(&files.signing_public(), public.as_bytes(), files::PUBLIC_FILE)?;
        Ok(files::rename(&files.bundle_next(), &files.bundle())?)
    }

    /// Whose signing key this is or was, as far as it is kept here. Two bundles with one key
    /// contradict each other, and no agent of the home could be believed with both.
    pub(super) fn holder(&self, kid: &KeyId) -> Result<Option<AgentId>, KeyError> {
        for directory in [self.directory.clone(), self.known_dir()] {
            for file in key_files::bundles(&directory)? {
                let bundle = read_bundle(&file)?;
                if bundle.signing.kid() == *kid {
                    return Ok(Some(bundle.agent));
                }
            }
        }
        Ok(None)
    }

    fn current(&self, files: &KeyFiles, agent: &AgentId) -> Result<Bundle, KeyError> {
        if !files.bundle().exists() {
            let directory = self.directory.clone();
            return Err(KeyError::Missing { agent: agent.clone(), directory });
        }
        of(agent, read_bundle(&files.bundle())?, files)
    }

    /// Keeps others from writing, and waits until nobody does.
    fn lock_to_read(&self, agent: &AgentId) -> Result<Option<File>, KeyError> {
        if self.files(agent).bundle_next().exists() {
            let lock = self.lock()?;
            self.finish(&self.files(agent))?;
            return Ok(Some(lock));
        }
        // Without the file nobody has ever written here.
        match File::open(self.lock_file()) {
            Ok(file) => {
                file.lock_shared().map_err(|source| self.cannot_lock(source))?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.cannot_lock(source)),
        }
    }

    /// Keeps others from reading and writing.
    pub(super) fn lock(&self) -> Result<File, KeyError> {
        files::create_private_dir(&self.directory)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, files::PRIVATE_FILE);
        let file = options.open(self.lock_file());
        file.and_then(|file| file.lock().map(|()| file)).map_err(|source| self.cannot_lock(source))
    }

    fn lock_file(&self) -> PathBuf {
        self.directory.join(".lock")
    }

    fn cannot_lock(&self, source: std::io::Error) -> KeyError {
        sealwire_identity::Error::Io { action: "lock", path: self.lock_file(), source }.into()
    }
}

/// The key, as messages need it.
fn signing_key(key: sealwire_identity::SigningKey) -> Result<SigningKey, KeyError> {
    if key.token().is_none() {
        return SigningKey::from_seed(&*key.seed()?).map_err(crypto);
    }
    let broken = |reason: String| KeyError::Crypto { reason };
    let public = key.public_key().try_into();
    let public = public.map_err(|_| broken("a public key of another length".into()))?;
    let sign = move |message: &[u8]| {
        key.sign(message).map_err(|error| {
            tracing::error!(%error, "a message cannot be signed");
            CryptoError::elsewhere()
        })
    };
    SigningKey::held_elsewhere(&public, sign).map_err(|refusal| broken(refusal.to_string()))
}

pub(super) fn crypto(error: CryptoError) -> KeyError {
    KeyError::Crypto { reason: error.to_string() }
}

/// `time` and then `duration`.
pub(super) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(time.unix_millis().saturating_add(millis))
}

/// The bundle, if it is this agent's.
fn of(agent: &AgentId, bundle: Bundle, files: &KeyFiles) -> Result<Bundle, KeyError> {
    if bundle.agent == *agent {
        return Ok(bundle);
    }
    let reason = format!("it is the bundle of {}", bundle.agent);
    Err(KeyError::Bundle { file: files.bundle(), reason })
}

fn remove(files: &KeyFiles, number: u64) -> Result<(), KeyError> {
    files::remove(&files.old_recipient(number))?;
    Ok(files::remove(&files.numbered_bundle(number))?)
}

fn copy(from: &Path, to: &Path) -> Result<(), KeyError> {
    Ok(files::write_atomic(to, &files::read_public(from)?, files::PRIVATE_FILE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn store(directory: &Path) -> KeyStore {
        let directory = directory.join("agents");
        KeyStore { directory, rotation: 90 * DAY, retention: 30 * DAY }
    }

    fn at(days: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + days * 86_400)
    }

    #[test]
    fn debug_output_shows_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let (store, agent) = (store(dir.path()), "A".parse().unwrap());
        store.create(&agent, None, at(0)).unwrap();
        let own = store.own(&agent).unwrap();
        let shown = format!("{own:?} {own:#?}");
        let keys = [own.signing.to_seed().unwrap(), own.recipients[0].to_bytes()];
        for key in keys {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let numbers: Vec<String> = key.iter().map(ToString::to_string).collect();
            assert!(!shown.contains(&hex) && !shown.contains(&numbers[..4].join(", ")), "{shown}");
        }
    }

    #[test]
    fn numbers_grow_within_a_second_and_after_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let (store, agent) = (store(dir.path()), "A".parse().unwrap());
        let first = store.create(&agent, None, at(0)).unwrap();
        let second = store.rotate(&agent, None, at(0)).unwrap();
        // The clock was put back.
        let third = store.rotate(&agent, None, at(-10)).unwrap();
        assert!(first.number < second.number && second.number < third.number);
        std::fs::remove_dir_all(store.directory()).unwrap();
        assert!(store.create(&agent, None, at(1)).unwrap().number > third.number);
    }

    #[test]
    fn each_generation_is_kept_as_long_as_mail_may_wait_after_its_successor_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let (store, agent) = (store(dir.path()), "A".parse().unwrap());
        store.create(&agent, None, at(0)).unwrap();
        store.rotate(&agent, None, at(10)).unwrap();
        store.rotate(&agent, None, at(20)).unwrap();
        for (day, left) in [(20, 3), (39, 3), (40, 2), (49, 2), (50, 1), (500, 1)] {
            store.destroy_outdated(at(day)).unwrap();
            assert_eq!(store.generations(&agent).unwrap().len(), left, "day {day}");
            assert_eq!(store.own(&agent).unwrap().recipients.len(), left, "day {day}");
        }
    }

    /// A crash after each step of a rotation, in turn: what is there afterwards is whole.
    #[test]
    fn a_rotation_is_finished_from_wherever_it_stopped() {
        for steps in 0..=5 {
            let dir = tempfile::tempdir().unwrap();
            let (store, agent) = (store(dir.path()), "A".parse().unwrap());
            let before = store.create(&agent, None, at(0)).unwrap();
            let files = store.files(&agent);
            // The next generation, made in another directory and put here as it is written.
            let other = tempfile::tempdir().unwrap();
            let next = KeyStore { directory: other.path().join("agents"), ..store.clone() };
            let after = next.create(&agent, None, at(1)).unwrap();
            let made = next.files(&agent);
            copy(&made.signing(), &files.signing_next()).unwrap();
            copy(&made.recipient(), &files.recipient_next()).unwrap();
            copy(&made.bundle(), &files.bundle_next()).unwrap();
            if steps > 0 {
                copy(&files.bundle(), &files.numbered_bundle(before.number)).unwrap();
            }
            if steps > 1 {
                files::rename(&files.recipient(), &files.old_recipient(before.number)).unwrap();
            }
            if steps > 2 {
                files::rename(&files.recipient_next(), &files.recipient()).unwrap();
            }
            if steps > 3 {
                files::rename(&files.signing_next(), &files.signing()).unwrap();
            }
            if steps > 4 {
                files::rename(&files.bundle_next(), &files.bundle()).unwrap();
            }
            let own = store.own(&agent).unwrap();
            assert_eq!(own.bundle, after, "after {steps} steps");
            let kids: Vec<_> = own.recipients.iter().map(|key| key.public().kid()).collect();
            assert_eq!(kids, [after.recipient.kid(), before.recipient.kid()]);
            assert!(!files.bundle_next().exists());
        }
    }
}
