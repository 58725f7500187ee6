//! `ca renew-issuing`: the authority below the root, certified anew, or another one.

use std::time::SystemTime;

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::state::State;
use sealwire_audit::ChangeKind;
use sealwire_identity::{CertificateSummary, Error, RenewedIssuing, Revocation, Revoked, token_of};
use sealwire_names::RefusalCode;

use super::root_key::RootKeyArguments;
use crate::cli::{Context, Failure, print};
use crate::commands::crl;
use crate::commands::issuing::{HomeLock, days};
use crate::control::{Request, find, note};
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
    let renewed = match arguments.new_key {
        true => root.replace_issuing(validity),
        false => root.renew_issuing(validity),
    };
    let RenewedIssuing { certificate, revoked } =
        renewed.map_err(|error| explain(error, &config))?;
    let until = certificate.not_after;
    let detail = format!("{} issues, until {until}", certificate.subject);
    note(&config, ChangeKind::KeyChanged, "the issuing authority", &detail);
    if home.ca_dir().join(CRL_FILE).exists() {
        crl::write_locked(&config, crl::DEFAULT_DAYS)?;
    }
    // Whoever takes a revocation up may read the files here.
    drop(lock);
    revoke(&config, &revoked)?;
    let subject = &certificate.subject;
    if revoked.is_empty() {
        let word = if is_first { "is made, and issues" } else { "is certified anew" };
        return print(&format!("{subject} {word}, until {until}\n"));
    }
    let (old, invocation) = (&revoked[0].subject, &context.invocation);
    print(&format!(
        "{subject} issues, until {until}\n\
         revoked {old}, with everything that it has issued\n\
         next: {invocation} cert issue --all --force; then whatever else was issued by hand: \
         {invocation} cert list\n\
         those who joined are refused: {invocation} invite NAME, for another home\n\
         to machines that are not told what is revoked, take the list that `cert crl` writes\n"
    ))
}

/// Says that they are revoked, as `cert revoke` does: it holds here at once, and where it is told.
fn revoke(config: &SecureMcpConfig, revoked: &[CertificateSummary]) -> Result<(), Failure> {
    let home = config.layout();
    for certificate in revoked {
        let what = Revoked::certificate(certificate);
        if let Some(mut daemon) = find(&home)? {
            daemon.ask(&Request::Revoke {
                kind: what.kind().to_owned(),
                what: what.text(),
                signed: what.signed().map(ToString::to_string),
                reason: REASON.to_owned(),
            })?;
            continue;
        }
        let (at, reason) = (SystemTime::now().into(), REASON.to_owned());
        let revocation = Revocation { what, at, reason };
        if State::open(&home)?.revoke(&revocation)? {
            note(config, ChangeKind::Revocation, &revocation.what, REASON);
        }
    }
    Ok(())
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
