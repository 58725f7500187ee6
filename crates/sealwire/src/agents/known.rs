//! Agents of other homes: their bundles, for which somebody here has vouched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sealwire_envelope::Bundle;
use sealwire_identity::{Revocations, encode_pem, files};
use sealwire_names::{AgentId, Timestamp};

use super::KeyError;
use super::key_files::{self, KeyFiles};
use super::key_store::{Generation, KeyStore, later};
use super::vouched::{Believed, is_of_revoked, read_vouched};

/// The directory of imported bundles, in that of the keys. What is in it was confirmed.
const KNOWN: &str = "known";

impl KeyStore {
    /// Takes the bundle of an agent that lives elsewhere, if `fingerprint` is that of its
    /// signing key. Whoever calls this has it from its owner, by another way than the file.
    /// A statement in it is left out: it is not what the bundle is believed for.
    ///
    /// `own` are the agents of this home, for whom nobody else speaks.
    ///
    /// # Errors
    /// [`KeyError::Fingerprint`], or as [`KeyStore::import_vouched`].
    pub fn import(
        &self,
        file: &Path,
        fingerprint: &str,
        own: &[AgentId],
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let (bundle, encoded, _) = key_files::parse_blocks(&files::read_public(file)?, file)?;
        if !bundle.fingerprint().is_fingerprint(fingerprint) {
            return Err(KeyError::Fingerprint { agent: bundle.agent });
        }
        let pem = encode_pem(key_files::BUNDLE, &encoded)?;
        self.keep(bundle, pem.as_bytes(), own, now)
    }

    /// Takes the bundle of an agent that lives elsewhere, if one of `anchors`, the authorities that
    /// are trusted here, says for that trust domain that it is the agent's.
    ///
    /// `own` are the agents of this home, for whom nobody else speaks.
    ///
    /// # Errors
    /// [`KeyError::Unvouched`], [`KeyError::Replaced`], [`KeyError::Own`], [`KeyError::Expired`],
    /// [`KeyError::Taken`], or what is wrong with the bundle. Nothing has changed then.
    pub fn import_vouched(
        &self,
        file: &Path,
        believed: Believed<'_>,
        own: &[AgentId],
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let pem = files::read_public(file)?;
        let (bundle, believed) = read_vouched(&pem, file, believed, now)?;
        let missing = || Err("no authority vouches for it".to_owned());
        believed.unwrap_or_else(missing).map_err(|reason| {
            let agent = bundle.agent.clone();
            KeyError::Unvouched { agent, reason }
        })?;
        self.keep(bundle, &pem, own, now)
    }

    /// Keeps a bundle that is believed, in that writing.
    fn keep(
        &self,
        bundle: Bundle,
        pem: &[u8],
        own: &[AgentId],
        now: Timestamp,
    ) -> Result<Bundle, KeyError> {
        let agent = &bundle.agent;
        let is_same = |other: &AgentId| other.as_str().eq_ignore_ascii_case(agent.as_str());
        if own.iter().any(is_same) || self.has(agent) {
            return Err(KeyError::Own { agent: agent.clone() });
        }
        if bundle.not_after <= now {
            return Err(KeyError::Expired { agent: agent.clone(), at: bundle.not_after });
        }
        let _lock = self.lock()?;
        files::create_private_dir(&self.known_dir())?;
        let files = KeyFiles::new(&self.known_dir(), agent);
        let place = files.numbered_bundle(bundle.number);
        if let Some(&known) = files.bundle_numbers()?.last()
            && known >= bundle.number
        {
            if known == bundle.number && key_files::read_bundle(&place)? == bundle {
                // What it is believed for may be something else by now.
                files::write_atomic(&place, pem, files::PRIVATE_FILE)?;
                return Ok(bundle);
            }
            let number = bundle.number;
            return Err(KeyError::Replaced { agent: agent.clone(), number, known });
        }
        if let Some(holder) = self.holder(&bundle.fingerprint())? {
            return Err(KeyError::Taken { agent: agent.clone(), holder });
        }
        files::write_atomic(&place, pem, files::PRIVATE_FILE)?;
        Ok(bundle)
    }

    /// The agents of other homes that are known here, with the generations of their keys,
    /// newest first. One that was replaced longer ago than mail may wait is left out.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn known(&self, now: Timestamp) -> Result<BTreeMap<AgentId, Vec<Generation>>, KeyError> {
        let mut numbered = key_files::numbered_bundles(&self.known_dir())?;
        numbered.sort();
        let mut known: BTreeMap<AgentId, Vec<Generation>> = BTreeMap::new();
        for (agent, number) in numbered.into_iter().rev() {
            let file = KeyFiles::new(&self.known_dir(), &agent).numbered_bundle(number);
            let bundle = key_files::read_bundle(&file)?;
            if bundle.agent != agent || bundle.number != number {
                let reason = format!("it is number {} of {}", bundle.number, bundle.agent);
                return Err(KeyError::Bundle { file, reason });
            }
            let generations = known.entry(agent).or_default();
            let replaced = generations.last().map(|next| next.bundle.not_before);
            if replaced.is_none_or(|replaced| later(replaced, self.retention) > now) {
                generations.push(Generation { bundle, replaced });
            }
        }
        Ok(known)
    }

    /// Those bundles among the known that are believed by the word of an authority which is revoked
    /// since: whoever has its key may have made them.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn vouched_by_revoked(&self, revocations: &Revocations) -> Result<Vec<Bundle>, KeyError> {
        let mut all = Vec::new();
        for (agent, number) in key_files::numbered_bundles(&self.known_dir())? {
            let file = KeyFiles::new(&self.known_dir(), &agent).numbered_bundle(number);
            let (bundle, _, word) = key_files::parse_blocks(&files::read_public(&file)?, &file)?;
            if word.is_some_and(|word| is_of_revoked(&word, revocations)) {
                all.push(bundle);
            }
        }
        Ok(all)
    }

    /// Where imported bundles are.
    pub fn known_dir(&self) -> PathBuf {
        self.directory.join(KNOWN)
    }

    /// Reads a bundle that somebody has exported.
    ///
    /// # Errors
    /// If it is damaged, or was not made by who has its signing key.
    pub fn parse_bundle(pem: &[u8], file: &Path) -> Result<Bundle, KeyError> {
        key_files::parse_bundle(pem, file)
    }

    /// The bundle of an agent of this home as text, to be imported elsewhere. It holds no
    /// secret.
    ///
    /// # Errors
    /// [`KeyError::Missing`], or that the file cannot be read.
    pub fn export(&self, agent: &AgentId) -> Result<String, KeyError> {
        // What is told is what is in force, not what a crash has left half done.
        let bundle = self.generations(agent)?;
        debug_assert!(!bundle.is_empty());
        let pem = files::read_public(&self.files(agent).bundle())?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }
}
