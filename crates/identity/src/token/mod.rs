//! Keys that are held by a token, such as a hardware security module, and never leave it:
//! PKCS #11 (OASIS, version 2.40 and later), through the module that its maker supplies.
//!
//! A private key is named by a [`TokenUri`] instead of a file, or the file holds that URI in one
//! line in the place of the key. Nothing of this is loaded where no key is named so.
//!
//! The module is code that runs in this process with all its rights: it is loaded from an absolute
//! path, and not if others than its owner could have written it.

mod key;
mod module;
mod signature;
mod uri;

use std::path::Path;

use zeroize::Zeroizing;

pub(crate) use key::TokenKey;
pub use uri::TokenUri;

use crate::error::Error;
use crate::files;

/// Where a private key is.
pub(crate) enum KeyPlace {
    /// The text of a file: PEM.
    Text(Zeroizing<Vec<u8>>),
    /// A token.
    Token(TokenUri),
}

impl KeyPlace {
    /// What `path` names: a key in a token itself, a file that holds its URI, or one with a key.
    /// The file's mode may be no wider than `mode`: who can write to it says which code is loaded.
    pub(crate) fn read(path: &Path, mode: u32) -> Result<Self, Error> {
        if TokenUri::is_in(path) {
            return path.to_string_lossy().parse().map(Self::Token);
        }
        let text = files::read_checked(path, Some(mode))?;
        Ok(Self::of_text(&text, path)?.map_or(Self::Text(text), Self::Token))
    }

    fn of_text(text: &[u8], path: &Path) -> Result<Option<TokenUri>, Error> {
        let Some(line) = std::str::from_utf8(text).ok().filter(|text| text.starts_with("pkcs11:"))
        else {
            return Ok(None);
        };
        line.strip_suffix('\n').unwrap_or(line).parse().map(Some).map_err(|error| Error::Key {
            label: path.display().to_string(),
            reason: format!("it holds a URI that cannot be used: {error}"),
        })
    }
}

/// The token that `path` names a key in, itself or by what the file holds; `None` for a file with a
/// key, or no file.
///
/// # Errors
/// Of a file that cannot be read, or is open to others; [`Error::Key`] for a URI that is none.
pub fn token_of(path: &Path) -> Result<Option<TokenUri>, Error> {
    if !TokenUri::is_in(path) && !path.exists() {
        return Ok(None);
    }
    Ok(match KeyPlace::read(path, files::PRIVATE_FILE)? {
        KeyPlace::Token(uri) => Some(uri),
        KeyPlace::Text(_) => None,
    })
}
