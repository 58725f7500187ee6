//! Which roots are to be trusted, as one of them has signed it: by this, whoever joined learns of
//! another one. It is said when a rotation begins, with the root's key at hand, and told until the
//! next: so the service needs no key but that of the authority below.

use std::path::Path;
use std::time::Duration;

use sealwire_identity::{
    CertificateAuthority, RootAuthority, StatementKind, files, parse_pem_certificates,
    verify_statement,
};
use sealwire_names::{Timestamp, TrustDomain};
use serde::{Deserialize, Serialize};

use super::wire;
use crate::cli::Failure;

/// The version that is spoken.
const VERSION: u32 = 1;
/// The file of the latest, in the authority's directory.
const FILE: &str = "ca-anchors.json";

/// A [`Text`] as JSON, and the signature of one of the roots that its reader trusts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedAnchors {
    text: String,
    /// base64url.
    signature: String,
}

/// What is signed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    trust_domain: String,
    /// Milliseconds since 1970.
    issued: i64,
    /// Until when anybody may learn of them by this.
    until: i64,
    /// PEM.
    anchors: String,
}

/// What is said, whoever says it.
pub(crate) struct Told {
    /// PEM.
    pub(crate) anchors: String,
    pub(crate) issued: Timestamp,
    pub(crate) until: Timestamp,
}

impl SignedAnchors {
    /// Says that all are to be trusted that are where that root is.
    pub(crate) fn sign(
        root: &RootAuthority,
        trust_domain: &TrustDomain,
        now: Timestamp,
        validity: Duration,
    ) -> Result<Self, Failure> {
        let validity = i64::try_from(validity.as_millis()).unwrap_or(i64::MAX);
        let text = Text {
            version: VERSION,
            trust_domain: trust_domain.to_string(),
            issued: now.unix_millis(),
            until: now.unix_millis().saturating_add(validity),
            anchors: root.certificate_pem().to_owned(),
        };
        let text = serde_json::to_string(&text)
            .map_err(|error| Failure::new("cannot encode the trust anchors").because(error))?;
        let signature = wire::encode(&root.state(StatementKind::Anchors, &text)?);
        Ok(Self { text, signature })
    }

    /// Keeps it in the authority's directory, in the place of the one before.
    pub(crate) fn keep(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::new("cannot encode the trust anchors").because(error))?;
        Ok(files::write_atomic(&dir.join(FILE), text.as_bytes(), files::PUBLIC_FILE)?)
    }

    /// Keeps none any more.
    pub(crate) fn forget(dir: &Path) -> Result<(), Failure> {
        Ok(files::remove(&dir.join(FILE))?)
    }

    /// The one that is kept there, if there is one.
    pub(crate) fn kept(dir: &Path) -> Result<Option<Self>, Failure> {
        let file = dir.join(FILE);
        if !file.exists() {
            return Ok(None);
        }
        let damaged = |error: &dyn std::fmt::Display| {
            Failure::new("what is told of the trust anchors cannot be read")
                .at(file.display())
                .because(error)
                .fix("say it again: sealwire ca rotate")
        };
        let read = serde_json::from_slice(&files::read_public(&file)?);
        read.map(Some).map_err(|error| damaged(&error))
    }

    /// The same, if it is for those who trust what is trusted there now: it is by one of these roots,
    /// tells of no other, and holds. What is kept may be of a rotation that is over, and of a root
    /// that nobody is to trust any more.
    pub(crate) fn to_tell(
        dir: &Path,
        authority: &CertificateAuthority,
        now: Timestamp,
    ) -> Result<Option<Self>, Failure> {
        let Some(kept) = Self::kept(dir)? else { return Ok(None) };
        let trusted = authority.certificate_pem().as_bytes();
        let roots = |pem: &[u8]| parse_pem_certificates(pem).map_err(|problem| problem.to_string());
        let is_of_now = || {
            let told = kept.told(authority.trust_domain())?;
            let known = roots(trusted)?;
            let is_known = roots(told.anchors.as_bytes())?.iter().all(|root| known.contains(root));
            let holds = is_known && now <= told.until && kept.verify(trusted, now).is_ok();
            Ok::<_, String>(holds)
        };
        let is_of_now = is_of_now().map_err(|why| {
            Failure::new("what is told of the trust anchors cannot be used")
                .at(dir.join(FILE).display())
                .because(why)
                .fix("say it again: sealwire ca rotate")
        })?;
        Ok(Some(kept).filter(|_| is_of_now))
    }

    /// What it says, of that trust domain; by whom it is has not been looked at.
    pub(crate) fn told(&self, trust_domain: &TrustDomain) -> Result<Told, String> {
        let text: Text = serde_json::from_str(&self.text).map_err(|error| error.to_string())?;
        if text.version != VERSION {
            return Err(format!("it is of version {}", text.version));
        }
        if text.trust_domain != trust_domain.as_str() {
            return Err(format!("it is of the trust domain {}", text.trust_domain));
        }
        Ok(Told {
            anchors: text.anchors,
            issued: Timestamp::from_unix_millis(text.issued),
            until: Timestamp::from_unix_millis(text.until),
        })
    }

    /// Is it by one of the roots in that PEM text, which are trusted?
    pub(crate) fn verify(&self, trusted: &[u8], now: Timestamp) -> Result<(), String> {
        let roots = parse_pem_certificates(trusted).map_err(|problem| problem.to_string())?;
        let signature = wire::decode(&self.signature).unwrap_or_default();
        verify_statement(StatementKind::Anchors, &self.text, &signature, &roots, now)
    }

    /// Whose signature is another's.
    #[cfg(test)]
    pub(crate) fn with_signature_of(self, other: &Self) -> Self {
        Self { signature: other.signature.clone(), ..self }
    }
}
