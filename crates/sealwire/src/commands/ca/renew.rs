//! `ca renew-issuing`: the authority below the root, certified anew, or another one.

use std::time::SystemTime;

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::state::State;
use sealwire_audit::ChangeKind;
use sealwire_identity::{
    CertificateAuthority, CertificateSummary, Error, RenewedIssuing, Revocation, Revoked, token_of,
};
use sealwire_names::RefusalCode;

use super::root_key::RootKeyArguments;
use crate::cli::{Context, Failure, print};
use crate::commands::crl;
use crate::commands::issuing::{HomeLock, days};
use crate::control::note;
use crate::joining::CRL_FILE;

/// Why what a replaced authority has issued is revoked.
const REASON: &str = "the issuing authority was replaced";

/// Certify the issuing authority anew, or put another in its place
///
/// Certificates are issued by an authority below the root, which is valid for two years. This
/// certifies it for as long again, with the same key: what it has issued stays as it is, and nobody
/// else has to do anything. It needs the root's key.
///
/// With --new-key, when somebody else may have its key: another one takes its place, and it is
/// revoked with everything that it has issued, as by `cert revoke`. Every certificate has to be
/// issued anew then, and every machine that joined has to join again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca renew-issuing
  sealwire ca renew-issuing --root-key /media/stick/root.pem
  sealwire ca renew-issuing --new-key          somebody else may have the key that issues")]
pub(super) struct RenewArguments {
    /// Make another key, and revoke the authority that had the old one
    #[arg(long)]
    new_key: bool,
    /// Validity from now, in days; never longer than the root's
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=18_250))]
    days: u32,
    /// Where the root's key is.
    #[command(flatten)]
    root: RootKeyArguments,
}

/// What is usual.
const DAYS: u32 = 2 * 365;

pub(super) fn renew(arguments: &RenewArguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let home = config.layout();
    let lock = HomeLock::acquire(&home)?;
    let root = arguments.root.open(&config)?;
    let is_first = !home.issuing_key().exists();
    let validity = days(arguments.days);
    let explain = |error| explain(error, &config);
    let RenewedIssuing { certificate, revoked } = match arguments.new_key {
        true => {
            refuse_during_rotation(&config)?;
            let replacement = root.replace_issuing(validity).map_err(explain)?;
            // First: whatever ends halfway, the one that may be stolen is not believed any more.
            revoke(&config, replacement.revoked(), REASON)?;
            replacement.put_in_place().map_err(explain)?
        }
        false => root.renew_issuing(validity).map_err(explain)?,
    };
    let until = certificate.not_after;
    let detail = format!("{} issues, until {until}", certificate.subject);
    note(&config, ChangeKind::KeyChanged, "the issuing authority", &detail);
    if home.ca_dir().join(CRL_FILE).exists() {
        // What is done is done, with or without a list of it.
        if let Err(failure) = crl::write_locked(&config, crl::DEFAULT_DAYS) {
            let reason = failure.one_line();
            tracing::warn!(reason, "the revocation list is not written: write it by `cert crl`");
        }
    }
    drop(lock);
    let subject = &certificate.subject;
    if revoked.is_empty() {
        let word = if is_first { "is made, and issues" } else { "is certified anew" };
        return print(&format!("{subject} {word}, until {until}\n"));
    }
    let mut old: Vec<_> = revoked.iter().map(|one| one.subject.as_str()).collect();
    old.dedup();
    let (old, invocation) = (old.join("; "), &context.invocation);
    print(&format!(
        "{subject} issues, until {until}\n\
         revoked {old}, with everything that it has issued\n\
         next: {invocation} cert issue --all --force; then whatever else was issued by hand: \
         {invocation} cert list\n\
         those who joined are refused: {invocation} invite NAME, for another home\n\
         to machines that are not told what is revoked, take the list that `cert crl` writes\n"
    ))
}

/// Says in the state that they are revoked: it holds here at once, and where it is told.
pub(super) fn revoke(
    config: &SecureMcpConfig,
    revoked: &[CertificateSummary],
    reason: &str,
) -> Result<(), Failure> {
    let mut state = State::open(&config.layout())?;
    for certificate in revoked {
        let (at, reason) = (SystemTime::now().into(), reason.to_owned());
        let revocation = Revocation { what: Revoked::certificate(certificate), at, reason };
        if state.revoke(&revocation)? {
            note(config, ChangeKind::Revocation, &revocation.what, &revocation.reason);
        }
    }
    Ok(())
}

/// Whoever has the key that issues may have those of a rotation as well, which are beside it.
fn refuse_during_rotation(config: &SecureMcpConfig) -> Result<(), Failure> {
    let Some(next) = CertificateAuthority::next(&config.layout().ca_dir())? else { return Ok(()) };
    Err(Failure::new(
        "a rotation has begun, and its keys are beside the one that is to be replaced",
    )
    .at(next.subject)
    .because("whoever has that one may have these, which would be trusted afterwards")
    .fix("give the rotation up first: sealwire ca rotate --abandon"))
}

/// With what to do about a root that has none below it.
fn explain(error: Error, config: &SecureMcpConfig) -> Failure {
    let is_path = |code| code == RefusalCode::CertificatePath;
    match &error {
        Error::Certificate { refusal, label } if is_path(refusal.code) => {
            let failure = Failure::new("this root cannot have an authority below it")
                .at(label)
                .because(&refusal.reason);
            match token_of(&config.layout().ca_key()) {
                Ok(Some(_)) => failure.fix("its key is in a token, and goes on issuing"),
                _ => failure.fix("replace it by one that can: sealwire ca rotate"),
            }
        }
        _ => error.into(),
    }
}
