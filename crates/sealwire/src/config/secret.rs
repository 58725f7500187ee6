//! Values that are secret: named in the configuration, never written in it.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use sealwire_identity::{Error, files};
use zeroize::Zeroizing;

/// Where a secret is. Its value is read when it is needed, by whoever needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file that nobody but its owner may read.
    File(PathBuf),
    /// A variable of the environment: for who starts the program by hand.
    Variable(String),
}

impl Secret {
    /// The secret, without white space around it.
    ///
    /// # Errors
    /// What is wrong, and what to do about it: there is none, others may read it, or it is empty
    /// or no text. Nothing of the secret is told.
    pub fn read(&self) -> Result<Zeroizing<String>, (String, String)> {
        let text = match self {
            Self::File(file) => {
                let bytes = files::read_private(file).map_err(|error| {
                    let remedy = match &error {
                        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                            "put the secret into that file, mode 0600, or correct its path".into()
                        }
                        error => error.remedy(),
                    };
                    (error.to_string(), remedy)
                })?;
                let text = std::str::from_utf8(&bytes).ok().map(|text| text.trim().to_owned());
                text.map(Zeroizing::new)
            }
            Self::Variable(name) => {
                let value = std::env::var_os(name).ok_or_else(|| {
                    let remedy = format!("set {name} where `serve` is started, or use a file");
                    (format!("{self} is not set"), remedy)
                })?;
                let value = value.into_string().ok().map(Zeroizing::new);
                value.map(|value| Zeroizing::new(value.trim().to_owned()))
            }
        };
        match text {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err((format!("{self} is empty"), "put the secret there".to_owned())),
            None => Err((format!("{self} is not text"), "put the secret there as text".to_owned())),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// The variable that `${NAME}` names.
pub(super) fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let is_name = |name: &str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        name.bytes().all(is_word) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
    };
    is_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let secret = Secret::File(file.clone());
        assert!(secret.read().is_err());
        fs::write(&file, " s3cret \n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let (what, remedy) = secret.read().unwrap_err();
        assert!(what.contains("0640") || remedy.contains("chmod"), "{what}: {remedy}");
        assert!(!what.contains("s3cret"), "{what}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(**secret.read().unwrap(), *"s3cret");
        fs::write(&file, "\n").unwrap();
        assert!(secret.read().unwrap_err().0.contains("empty"));
        fs::write(&file, [0xff]).unwrap();
        assert!(secret.read().unwrap_err().0.contains("text"));
    }

    #[test]
    fn only_a_whole_value_names_a_variable() {
        assert_eq!(variable("${A_1}"), Some("A_1"));
        for text in ["$A", "${}", "${1}", "${A", "x${A}", "${A}x", "${A-b}"] {
            assert_eq!(variable(text), None, "{text}");
        }
        let secret = Secret::Variable("SEALWIRE_NO_SUCH_VARIABLE".to_owned());
        assert!(secret.read().unwrap_err().1.contains("set SEALWIRE_NO_SUCH_VARIABLE"));
    }
}
