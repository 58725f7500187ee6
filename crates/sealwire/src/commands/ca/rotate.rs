//! `ca rotate`: one root takes another's place.

use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::invitations::Invitations;
use sealwire_audit::ChangeKind;
use sealwire_identity::{CertificateAuthority, describe, token_of};
use sealwire_names::Timestamp;

use super::renew::revoke;
use super::root_key::RootKeyArguments;
use crate::cli::{Context, Failure, print};
use crate::commands::crl;
use crate::commands::init::AUTHORITY_VALIDITY;
use crate::commands::issuing::{HomeLock, open_authority};
use crate::control::note;
use crate::joining::{CRL_FILE, SignedAnchors};

/// How long the last revocation list of an authority holds, in days.
const LAST_LIST_DAYS: u16 = 90;
/// Why the authority of a rotation that was given up is revoked.
const ABANDONED: &str = "the rotation was given up";
/// How long others may learn of another root by what was signed of it.
const TOLD: Duration = Duration::from_secs(90 * 86_400);

/// Replace the root by another one, in two steps, with nobody refused meanwhile
///
/// The first step makes the other root's key, the authority below it, and adds its certificate to
/// the trust anchors. That is signed by the present root, whose key it needs. Those who joined get it
/// with their next renewal; to other machines, take certs/ca/ca-cert.pem. When all have it,
/// `--finish` puts the new keys in the place of the old ones, which are gone then. What was issued
/// before stays good while the old root's certificate is in the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca rotate
  sealwire ca rotate --root-key /media/stick/root.pem
  sealwire ca rotate --abandon     somebody else may have the keys of the rotation
  sealwire ca rotate --finish      when every certificate has been renewed since")]
pub(super) struct RotateArguments {
    /// The second step: the new authority issues from now on
    #[arg(long, conflicts_with = "root_key")]
    finish: bool,
    /// Give up a rotation that has begun: its keys are removed, and its authority is revoked
    #[arg(long, conflicts_with_all = ["finish", "root_key"])]
    abandon: bool,
    /// Where the present root's key is.
    #[command(flatten)]
    root: RootKeyArguments,
}

pub(super) fn rotate(arguments: &RotateArguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let home = config.layout();
    let _lock = HomeLock::acquire(&home)?;
    open_authority(&config)?;
    match arguments {
        RotateArguments { finish: true, .. } => finish(&config),
        RotateArguments { abandon: true, .. } => abandon(&config),
        _ => begin(arguments, &config, context),
    }
}

fn begin(
    arguments: &RotateArguments,
    config: &SecureMcpConfig,
    context: &Context,
) -> Result<(), Failure> {
    let home = config.layout();
    let (dir, domain) = (home.ca_dir(), &config.trust_domain);
    // Before anything is changed: it is needed to tell the others.
    let present = arguments.root.open(config)?;
    let is_new = CertificateAuthority::prepare_next(&dir, domain, AUTHORITY_VALIDITY)?;
    let now = Timestamp::from(SystemTime::now());
    let trusted = present.with_trusted_now()?;
    let is_told = SignedAnchors::kept(&dir)?
        .and_then(|kept| kept.told(domain).ok())
        .is_some_and(|told| told.anchors == trusted.certificate_pem() && now < told.until);
    if is_new || !is_told {
        SignedAnchors::sign(&trusted, domain, now, TOLD)?.keep(&dir)?;
    }
    let due = due(config)?;
    if is_new {
        note(config, ChangeKind::KeyChanged, "the authority", "a rotation has begun");
    }
    let begun = if is_new { "has begun" } else { "had begun before" };
    print(&format!(
        "the rotation {begun}: {} holds the other authority's certificate, too\n\
         those who joined get it when they renew; take the file to all other machines\n\
         then, from {due} on: {} ca rotate --finish\n",
        home.ca_cert().display(),
        context.invocation
    ))
}

fn finish(config: &SecureMcpConfig) -> Result<(), Failure> {
    let home = config.layout();
    let dir = home.ca_dir();
    let due = due(config)?;
    if Timestamp::from(SystemTime::now()) < due {
        return Err(Failure::new("not all who joined can know the other authority yet")
            .because(format!("the last certificate from before is valid until {due}"))
            .fix("wait until then: who does not know it would refuse whom it certifies"));
    }
    let in_token = token_of(&home.ca_key())?;
    let is_away = !home.ca_key().exists();
    // What the old one has revoked is to stay so for as long as what it has issued by hand lives.
    let has_list = dir.join(CRL_FILE).exists();
    if has_list {
        crl::write_locked(config, LAST_LIST_DAYS)?;
    }
    CertificateAuthority::activate_next(&dir)?;
    if has_list {
        crl::write_locked(config, crl::DEFAULT_DAYS)?;
    }
    note(config, ChangeKind::KeyChanged, "the authority", "the other one issues from now on");
    let old = match in_token {
        Some(uri) => format!("the key of the old one is in its token still: destroy {uri} there"),
        None if is_away => "the key of the old one is where it was moved to: destroy it".to_owned(),
        None => "the key of the old one is gone".to_owned(),
    };
    print(&format!("the other authority issues from now on; {old}\n"))
}

fn abandon(config: &SecureMcpConfig) -> Result<(), Failure> {
    let (dir, domain) = (config.layout().ca_dir(), &config.trust_domain);
    let next = CertificateAuthority::next(&dir)?;
    // Its keys may be all that is left where this was interrupted.
    if next.is_none() && !CertificateAuthority::has_next_keys(&dir) {
        return Err(none_begun());
    }
    if let Some(next) = &next
        && open_authority(config)?.authority().key_hash() == next.key_hash
    {
        return Err(Failure::new("the other authority issues already")
            .at(&next.subject)
            .fix("finish the rotation: sealwire ca rotate --finish"));
    }
    let next_key = dir.join("next-key.pem");
    let in_token = if next_key.exists() { token_of(&next_key)? } else { None };
    // First, as its key is gone afterwards: it may be that somebody has it.
    revoke(config, &CertificateAuthority::next_issuing(&dir)?, ABANDONED)?;
    CertificateAuthority::abandon_next(&dir, domain)?;
    SignedAnchors::forget(&dir)?;
    note(config, ChangeKind::KeyChanged, "the authority", "a rotation is given up");
    let token = in_token.map(|uri| format!("destroy its key in the token: {uri}\n"));
    let token = token.unwrap_or_default();
    let Some(next) = next else {
        return print(&format!(
            "the rotation is given up: what was left of it is removed\n{token}\
             machines that have learned of it trust it still: take the certificate that is not in {} \
             here out of the file of trust anchors on each of them\n",
            config.layout().ca_cert().display()
        ));
    };
    print(&format!(
        "the rotation is given up: {} is not trusted here any more, and its keys are removed\n\
         {token}machines that have learned of it trust it still: take its certificate out of the file of \
         trust anchors on each of them, the one with the SHA-256 fingerprint {}\n",
        next.subject, next.fingerprint,
    ))
}

fn none_begun() -> Failure {
    Failure::new("no rotation has begun").fix("begin one: sealwire ca rotate")
}

/// When everything that was issued before the others could be told has been renewed, or has
/// expired.
pub(in crate::commands) fn due(config: &SecureMcpConfig) -> Result<Timestamp, Failure> {
    let home = config.layout();
    let next = CertificateAuthority::next(&home.ca_dir())?.ok_or_else(none_begun)?;
    let again = |why: &str| {
        Failure::new("nobody else has been told of the other authority")
            .because(why)
            .fix("say it again: sealwire ca rotate")
    };
    let told =
        SignedAnchors::kept(&home.ca_dir())?.ok_or_else(|| again("nothing is signed of it"))?;
    let told = told.told(&config.trust_domain).map_err(|why| again(&why))?;
    // What is kept may be of the rotation before.
    let named = describe(told.anchors.as_bytes(), "what is told")?;
    if !named.iter().any(|root| root.fingerprint == next.fingerprint) {
        return Err(again("what is signed is of another"));
    }
    let longest = Invitations::open(&home)?.longest_lifetime()?.max(config.ca.leaf_lifetime);
    let life = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    let millis = told.issued.unix_millis();
    Ok(Timestamp::from_unix_millis(millis.saturating_add(life).saturating_add(1_000)))
}
