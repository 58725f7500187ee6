//! `cert crl`: what is revoked, as a list that the authority signs, for other machines.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire_identity::{RevocationList, files};
use sealwire_names::Timestamp;
use serde_json::{Value, json};

use super::issuing::{HomeLock, open_authority};
use super::revoke::revoked_certificates;
use crate::cli::{Context, Failure, print, print_json};
use crate::joining::CRL_FILE;

const DAY: u64 = 86_400;
/// How long a list holds unless another time is asked for, in days.
pub(super) const DEFAULT_DAYS: u16 = 7;

/// Write the authority's certificate revocation list (RFC 5280)
///
/// It names the certificates in files of this home that are revoked, and those that it named
/// before. `cert revoke` writes it as well. Take it to the machines that have its file as `crl`
/// under [security.certificates], and write it anew before it is out of date: until then they let
/// nobody in who is not in it, and afterwards nobody at all.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert crl
  sealwire cert crl --days 1")]
pub(crate) struct Arguments {
    /// For how many days it holds
    #[arg(long, default_value_t = DEFAULT_DAYS, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let (file, list) = write(&config, arguments.days)?;
    if arguments.json {
        return print_json(&as_json(&file, &list));
    }
    print(&shown(&file, &list))
}

/// Writes it, and tells where.
pub(super) fn write(
    config: &SecureMcpConfig,
    days: u16,
) -> Result<(PathBuf, RevocationList), Failure> {
    let _lock = HomeLock::acquire(&config.layout())?;
    write_locked(config, days)
}

/// The same for one who has the home's lock.
pub(super) fn write_locked(
    config: &SecureMcpConfig,
    days: u16,
) -> Result<(PathBuf, RevocationList), Failure> {
    let home = config.layout();
    let authority = open_authority(config)?;
    let file = home.ca_dir().join(CRL_FILE);
    let now = SystemTime::now().into();
    let revoked = revoked_certificates(config)?;
    let revoked: Vec<_> = revoked.into_iter().map(|summary| (summary, now)).collect();
    let validity = Duration::from_secs(u64::from(days) * DAY);
    let list = authority.authority().write_revocation_list(&file, &revoked, now, validity)?;
    Ok((file, list))
}

/// A list that is told to others, and from when on it is to be written anew.
pub(crate) struct KeptList {
    pub(crate) pem: String,
    pub(crate) due: Timestamp,
}

/// The home's list, if there is one: written anew if half of its time has passed, if that of another
/// authority beside it is about to be out of date, or if another one issues now.
pub(crate) fn renew_revocation_list(
    config: &SecureMcpConfig,
    now: Timestamp,
) -> Result<Option<KeptList>, Failure> {
    let file = config.layout().ca_dir().join(CRL_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let authority = open_authority(config)?;
    let authority = authority.authority();
    let due = |list: &RevocationList| -> Result<Timestamp, Failure> {
        let half = list.this_update.until(list.next_update).unwrap_or_default() / 2;
        let half = i64::try_from(half.as_millis()).unwrap_or(i64::MAX);
        let half = Timestamp::from_unix_millis(list.this_update.unix_millis().saturating_add(half));
        Ok(authority.other_lists_due(&file, now)?.map_or(half, |others| half.min(others)))
    };
    let list = match authority.revocation_list(&file, now)? {
        Some(list) if now < due(&list)? => list,
        held => {
            let validity = held.and_then(|list| list.this_update.until(list.next_update));
            let days = validity.map_or(u64::from(DEFAULT_DAYS), |it| it.as_secs().div_ceil(DAY));
            let (_, list) = write(config, u16::try_from(days).unwrap_or(DEFAULT_DAYS))?;
            tracing::info!(number = list.number, until = %list.next_update, "revocation list written anew");
            list
        }
    };
    let pem = String::from_utf8_lossy(&files::read_public(&file)?).into_owned();
    Ok(Some(KeptList { pem, due: due(&list)? }))
}

pub(super) fn shown(file: &Path, list: &RevocationList) -> String {
    let (number, count, until) = (&list.number, list.len(), list.next_update);
    format!(
        "wrote the revocation list {number}, of {count} certificates, until {until}  {}\n",
        file.display()
    )
}

pub(super) fn as_json(file: &Path, list: &RevocationList) -> Value {
    json!({
        "file": file,
        "number": list.number,
        "revoked": list.len(),
        "next_update": list.next_update.to_string(),
    })
}
