//! Remedies that several findings share.

use std::path::Path;

use sealwire::home::CertificatePair;
use sealwire_identity::TokenUri;
use sealwire_names::{Kind, PeerId};

use super::Case;
use super::finding::Finding;
use crate::cli::shell_word;

/// A path as one word of a shell command.
pub(super) fn word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// A certificate of this home, as far as it is known whose it is.
#[derive(Clone, Debug)]
pub(super) struct Issued<'a> {
    pub(super) cert: &'a Path,
    pub(super) key: &'a Path,
    /// The peer it is for, or says it is for.
    pub(super) id: Option<PeerId>,
}

impl Issued<'_> {
    /// Adds how to make it, or make it anew. Files that are there are put aside, never
    /// overwritten.
    pub(super) fn fix(&self, case: &Case<'_>, finding: Finding) -> Finding {
        let Some(id) = self.id.as_ref().filter(|id| self.is_ours(case, id)) else {
            let (cert, key) = (self.cert.display(), self.key.display());
            return finding.fix(format!(
                "get a certificate and key from your authority, and put them at {cert} and {key}"
            ));
        };
        if !case.context.home.has_authority() {
            let (bundle, take) = (
                format!("sealwire cert bundle {} --kind {}", id.name(), id.kind()),
                case.sealwire("init --from-bundle FILE"),
            );
            return finding.fix(format!(
                "on the machine that has the authority, run: {bundle}; here, move {} and {} \
                 away and run: {take}",
                self.cert.display(),
                self.key.display(),
            ));
        }
        let issue = format!("cert issue {} --kind {}", id.name(), id.kind());
        // A key in a token is used if it is there, and made otherwise.
        let key = if TokenUri::is_in(self.key) { self.cert } else { self.key };
        let command = match (self.cert.exists(), key.exists()) {
            (true, true) => case.sealwire(&format!("{issue} --force")),
            (false, false) => case.sealwire(&issue),
            (cert, _) => {
                // Half a pair is not overwritten by `cert issue`.
                let half = word(if cert { self.cert } else { self.key });
                format!("mv {half} {half}.old && {}", case.sealwire(&issue))
            }
        };
        finding.run(command)
    }

    /// Whether `cert issue` would write to these files for that name.
    fn is_ours(&self, case: &Case<'_>, id: &PeerId) -> bool {
        let pair = CertificatePair { cert: self.cert.to_owned(), key: self.key.to_owned() };
        let served = id.kind() == Kind::McpServer
            && case.config.as_ref().is_some_and(|config| {
                config.servers.values().any(|entry| {
                    entry.server_name == id.name()
                        && matches!(&entry.role, sealwire::config::ServerRole::Serve {
                            tls_cert, tls_key, ..
                        } if *tls_cert == pair.cert && *tls_key == pair.key)
                })
            });
        served || case.context.home.pair_of(id) == pair
    }
}
