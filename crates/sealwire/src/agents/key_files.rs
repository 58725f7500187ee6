//! The files of one agent's keys: their names, and what is in them.
//!
//! No file of one agent has the name of another's, whatever dots and dashes are in their
//! names: what follows the last dash says what it is, and only then may a dot follow.

use std::path::{Path, PathBuf};

use sealwire_envelope::{Bundle, RecipientKey};
use sealwire_identity::{
    encode_pem, files, parse_pem_blocks, parse_x25519_private, x25519_private_pem,
    x25519_public_pem,
};
use sealwire_names::AgentId;

use super::KeyError;
use super::key_store::crypto;
use super::vouched::STATEMENT;

/// The label of a bundle in PEM.
pub(super) const BUNDLE: &str = "SEALWIRE AGENT BUNDLE";
/// What is written before it takes the place of what is there.
const NEXT: &str = "next";

/// Where the files of one agent are.
#[derive(Clone, Debug)]
pub(super) struct KeyFiles {
    directory: PathBuf,
    agent: AgentId,
}

impl KeyFiles {
    pub(super) fn new(directory: &Path, agent: &AgentId) -> Self {
        Self { directory: directory.to_owned(), agent: agent.clone() }
    }

    pub(super) fn signing(&self) -> PathBuf {
        self.path("signing", "")
    }

    pub(super) fn signing_public(&self) -> PathBuf {
        self.path("signing", ".pub")
    }

    pub(super) fn signing_next(&self) -> PathBuf {
        self.path("signing", &format!(".{NEXT}"))
    }

    pub(super) fn recipient(&self) -> PathBuf {
        self.path("recipient", "")
    }

    pub(super) fn recipient_public(&self) -> PathBuf {
        self.path("recipient", ".pub")
    }

    pub(super) fn recipient_next(&self) -> PathBuf {
        self.path("recipient", &format!(".{NEXT}"))
    }

    /// The recipient key of an older generation.
    pub(super) fn old_recipient(&self, number: u64) -> PathBuf {
        self.path("recipient", &format!(".{number}"))
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.path("bundle", "")
    }

    /// With this file, a rotation is decided upon: what is left of it is done later.
    pub(super) fn bundle_next(&self) -> PathBuf {
        self.path("bundle", &format!(".{NEXT}"))
    }

    /// The bundle of one generation.
    pub(super) fn numbered_bundle(&self, number: u64) -> PathBuf {
        self.path("bundle", &format!(".{number}"))
    }

    /// The numbers of the bundles that are kept by number, lowest first.
    pub(super) fn bundle_numbers(&self) -> Result<Vec<u64>, KeyError> {
        let mut numbers: Vec<u64> = numbered_bundles(&self.directory)?
            .into_iter()
            .filter(|(agent, _)| *agent == self.agent)
            .map(|(_, number)| number)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, what: &str, rest: &str) -> PathBuf {
        self.directory.join(format!("{}-{what}{rest}", self.agent))
    }
}

/// The agents and numbers of all bundles in a directory that are kept by number.
pub(super) fn numbered_bundles(directory: &Path) -> Result<Vec<(AgentId, u64)>, KeyError> {
    let parse = |name: String| {
        let (agent, number) = name.rsplit_once("-bundle.")?;
        Some((agent.parse().ok()?, number.parse().ok()?))
    };
    Ok(names(directory)?.into_iter().filter_map(parse).collect())
}

/// The files of all bundles in a directory: those of now, of before, and those decided upon.
pub(super) fn bundles(directory: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let is_bundle = |name: &String| {
        name.rsplit_once("-bundle").is_some_and(|(agent, rest)| {
            let is_one = match rest.strip_prefix('.') {
                Some(which) => which == NEXT || which.parse::<u64>().is_ok(),
                None => rest.is_empty(),
            };
            is_one && agent.parse::<AgentId>().is_ok()
        })
    };
    let names = names(directory)?.into_iter().filter(is_bundle);
    Ok(names.map(|name| directory.join(name)).collect())
}

/// The names in a directory, if it is there.
fn names(directory: &Path) -> Result<Vec<String>, KeyError> {
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            let path = directory.to_owned();
            return Err(sealwire_identity::Error::Io { action: "read", path, source }.into());
        }
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Reads a bundle and verifies that whoever made it has its signing key. Whose it is, is
/// for the caller to know.
pub(super) fn read_bundle(file: &Path) -> Result<Bundle, KeyError> {
    parse_bundle(&files::read_public(file)?, file)
}

/// [`read_bundle`] of what is in a file.
pub(super) fn parse_bundle(pem: &[u8], file: &Path) -> Result<Bundle, KeyError> {
    parse_blocks(pem, file).map(|(bundle, ..)| bundle)
}

/// A bundle, its bytes, and those of the authority's statement about it, if there is one. Whether
/// that holds is for [`vouched`](super::vouched) to say.
pub(super) fn parse_blocks(pem: &[u8], file: &Path) -> Result<Blocks, KeyError> {
    let blocks = parse_pem_blocks(pem, BUNDLE, STATEMENT);
    let (block, statement) = blocks.map_err(|problem| {
        let label = file.display().to_string();
        sealwire_identity::Error::Pem { label, problem }
    })?;
    let bundle = Bundle::decode(&block)
        .map_err(|error| KeyError::Bundle { file: file.to_owned(), reason: error.to_string() })?;
    Ok((bundle, block, statement))
}

/// What [`parse_blocks`] finds.
pub(super) type Blocks = (Bundle, Vec<u8>, Option<Vec<u8>>);

/// Writes an encoded bundle over what is there.
pub(super) fn write_bundle(file: &Path, bundle: &[u8]) -> Result<(), KeyError> {
    let pem = encode_pem(BUNDLE, bundle)?;
    Ok(files::write_atomic(file, pem.as_bytes(), files::PRIVATE_FILE)?)
}

/// Reads a recipient key that nobody else can read.
pub(super) fn read_recipient(file: &Path) -> Result<RecipientKey, KeyError> {
    let pem = files::read_private(file)?;
    let key = parse_x25519_private(&pem, &file.display().to_string())?;
    RecipientKey::from_bytes(&key).map_err(crypto)
}

/// Writes a recipient key over what is there.
pub(super) fn write_recipient(file: &Path, key: &RecipientKey) -> Result<(), KeyError> {
    let pem = x25519_private_pem(&key.to_bytes())?;
    Ok(files::write_atomic(file, pem.as_bytes(), files::PRIVATE_FILE)?)
}

/// Writes the public half of a recipient key over what is there.
pub(super) fn write_recipient_public(file: &Path, key: &RecipientKey) -> Result<(), KeyError> {
    let pem = x25519_public_pem(key.public().as_bytes())?;
    Ok(files::write_atomic(file, pem.as_bytes(), files::PUBLIC_FILE)?)
}
