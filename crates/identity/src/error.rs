use std::fmt;
use std::io;
use std::path::PathBuf;

use sealwire_names::{Refusal, RefusalCode};

use crate::pem::PemError;

/// Why a key, a certificate or a TLS configuration could not be read, made or used.
///
/// The text says what and where; [`Error::remedy`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or directory is open to more users than it may be.
    #[error("{} has mode {mode:04o}, wider than {allowed:04o}", path.display())]
    Mode {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The widest permission bits accepted.
        allowed: u32,
    },
    /// A file or directory is neither root's nor ours, and its owner could change it.
    #[error("{} belongs to user {owner}, and must be root's or ours", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is, by number.
        owner: u32,
    },
    /// Something other than a regular file, or than a directory, is at the path.
    #[error("{} is not a {wanted}", path.display())]
    FileType {
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file is already there, and keys and certificates are never overwritten.
    #[error("{} already exists and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is larger than any key or certificate file.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size read, in bytes.
        limit: u64,
    },
    /// The text is not the PEM that is needed.
    #[error("{label}: {problem}")]
    Pem {
        /// The file, or what the caller called the text.
        label: String,
        /// What is wrong with it.
        problem: PemError,
    },
    /// A certificate breaks one of the rules that every peer of ours checks.
    #[error("{label}: {refusal}")]
    Certificate {
        /// The file, or what the caller called the text.
        label: String,
        /// The rule.
        refusal: Refusal,
    },
    /// A revocation list is not one that can be gone by.
    #[error("{label}: {reason}")]
    RevocationList {
        /// The file.
        label: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A private key is of a kind that cannot be used.
    #[error("{label}: {reason}")]
    Key {
        /// The file, or what the caller called the text.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key is not the one that the certificate was made for.
    #[error("{key} is not the private key of the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate is from.
        certificate: String,
        /// Where the key is from.
        key: String,
    },
    /// A certificate was asked for that this authority cannot or must not issue.
    #[error("cannot issue a certificate for {name}: {reason}")]
    Request {
        /// The name asked for.
        name: String,
        /// The rule it breaks.
        reason: String,
    },
    /// A passphrase that is not to be used.
    #[error("the passphrase cannot be used: {reason}")]
    Passphrase {
        /// The rule it breaks.
        reason: String,
    },
    /// A key in a token cannot be used.
    #[error("{uri}: {reason}")]
    Token {
        /// Which key; no secret is in it.
        uri: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A text is not a URI of a key in a token (RFC 7512). It is not repeated: a PIN may be in it.
    #[error("not a pkcs11: URI that is understood here: {reason}")]
    TokenUri {
        /// What is wrong.
        reason: String,
    },
    /// Key generation, signing or encoding failed inside a cryptographic library.
    #[error("{what} failed: {reason}")]
    Crypto {
        /// The operation.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
}

impl Error {
    /// Whether a file is not there.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// What to do about it: one sentence, with the command to run where there is one.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::NotFound => {
                format!("correct the path {}, or put the file there", path.display())
            }
            Self::Io { path, .. } => {
                format!("check the owner and permissions of {}", path.display())
            }
            Self::Mode { path, allowed, .. } => {
                format!("run: chmod {allowed:o} {}", shell_quote(&path.display().to_string()))
            }
            Self::Owner { path, .. } => {
                format!("run as root: chown root {}", shell_quote(&path.display().to_string()))
            }
            Self::FileType { path, wanted } => {
                format!("move {} away, or name a {wanted}", path.display())
            }
            Self::Exists { path } => {
                format!("keep using it, or move {} away first", path.display())
            }
            Self::TooLarge { .. } => "name a PEM file of keys or certificates".into(),
            Self::Pem { label, problem } => problem.remedy(label),
            Self::Certificate { refusal, .. }
                if refusal.code == RefusalCode::CertificateRevoked =>
            {
                "issue a new certificate with `sealwire cert issue NAME --force`; from another \
                 machine, bring it with `sealwire cert bundle`"
                    .into()
            }
            Self::Certificate { .. } => "issue a new certificate with `sealwire cert issue`".into(),
            Self::RevocationList { label, .. } => format!(
                "bring the list that the authority has now to {label}; `sealwire cert crl` writes \
                 one, where the authority is"
            ),
            Self::Key { .. } => {
                "use an Ed25519, ECDSA (P-256, P-384, P-521) or RSA key of 2048 bits or more".into()
            }
            Self::KeyMismatch { .. } => {
                "name the certificate and the key that were issued together".into()
            }
            Self::Passphrase { .. } => {
                "choose a longer one, of several words that nobody would put together".into()
            }
            Self::Token { remedy, .. } => remedy.clone(),
            Self::TokenUri { .. } => {
                "write it like pkcs11:token=LABEL;object=KEY?pin-source=file:/path/of/pin".into()
            }
            Self::Request { .. } => "correct the request and issue again".into(),
            Self::Crypto { .. } => "this is a defect or a broken system library; report it".into(),
        }
    }

    /// An operating system's error with the operation and the path it concerns.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A cryptographic library's error.
    pub(crate) fn crypto<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |reason| Self::Crypto { what, reason: reason.to_string() }
    }
}

/// A path that can be pasted into a shell.
pub(crate) fn shell_quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,@%".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_for_a_mode_is_the_command_to_run() {
        let error = Error::Mode { path: "/a b/it's".into(), mode: 0o644, allowed: 0o600 };
        assert_eq!(error.to_string(), "/a b/it's has mode 0644, wider than 0600");
        assert_eq!(error.remedy(), r"run: chmod 600 '/a b/it'\''s'");
    }
}
