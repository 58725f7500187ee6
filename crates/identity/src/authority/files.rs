//! The files of an authority, all in one directory.

use std::path::{Path, PathBuf};

/// Where an authority has its files.
#[derive(Clone, Debug)]
pub(super) struct Layout<'a>(pub(super) &'a Path);

impl Layout<'_> {
    /// Trust anchors: the root's certificate, and while one takes another's place, that one's, too.
    pub(super) fn root_cert(&self) -> PathBuf {
        self.0.join("ca-cert.pem")
    }

    /// The root's key, unless it has been moved away.
    pub(super) fn root_key(&self) -> PathBuf {
        self.0.join("ca-key.pem")
    }

    /// What the root has revoked: its list (RFC 5280), and that of one before or after it.
    pub(super) fn root_list(&self) -> PathBuf {
        self.0.join("root-crl.pem")
    }

    /// The root to come.
    pub(super) fn next_root_key(&self) -> PathBuf {
        self.0.join("next-key.pem")
    }

    /// The authority below the root, the one with the key first; others of it, or of that key, as
    /// long as anything that they have certified may be in use.
    pub(super) fn issuing_cert(&self) -> PathBuf {
        self.0.join("issuing-cert.pem")
    }

    /// Its key.
    pub(super) fn issuing_key(&self) -> PathBuf {
        self.0.join("issuing-key.pem")
    }

    /// That of the one to come.
    pub(super) fn next_issuing_key(&self) -> PathBuf {
        self.0.join("next-issuing-key.pem")
    }
}
