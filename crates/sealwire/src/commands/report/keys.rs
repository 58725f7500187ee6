//! The keys that there are now: what a report says of them beside its figures.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealwire_audit::note::Verifier;
use sealwire_envelope::KeyId;
use sealwire_names::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Context, Failure};
use crate::commands::key;

/// Those of agents, with when each is due to be rotated, and those that sign for this
/// installation. `agents` is null where no configuration says which there are.
pub(super) fn inventory(log_key: &Verifier, context: &Context) -> Result<Value, Failure> {
    let home = context.state_home().unwrap_or_else(|_| context.home.clone());
    let mut signing = vec![signing("the audit log", log_key.key(), &home.audit_public_key())];
    let own = home.signing_public_key();
    let pem = fs::read_to_string(&own).ok();
    signing
        .extend(pem.and_then(|pem| Some(self::signing("this installation", &public(&pem)?, &own))));
    let agents = match context.load_config() {
        Ok(config) => key::inventory(config)?,
        Err(failure) => {
            tracing::warn!(%failure, "which keys agents have is not known without a configuration");
            Value::Null
        }
    };
    Ok(json!({ "signing": signing, "agents": agents }))
}

/// A key without a bundle: since when it is there, only its file tells.
fn signing(what: &str, public: &[u8; 32], file: &Path) -> Value {
    let since = fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
    json!({
        "signs_for": what,
        "fingerprint": KeyId::of(public).to_hex(),
        "file_since": since.map(|since| Timestamp::from(since).to_string()),
        "age_days": age.map(|age| age.as_secs() / 86_400),
    })
}

/// An Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 §4), where it is the last 32 bytes.
fn public(pem: &str) -> Option<[u8; 32]> {
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(base64).ok()?;
    der.last_chunk().copied()
}
