//! `cert list` and `cert show`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use sealwire::home::Home;
use sealwire::revocations::revoked;
use sealwire_identity::{CertificateSummary, Revocations, describe, files};
use sealwire_names::{Kind, Refusal, Timestamp};
use serde::Serialize;

use super::revoke;
use crate::cli::{Context, Failure, print, print_json, printable};

/// From how long before its end a certificate is shown as about to expire.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// Longest validity of what renews itself: a day, and what it is backdated.
const SHORT: Duration = Duration::from_secs(25 * 3600);

/// List the certificates of this home
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert list
  sealwire cert list --revoked
  sealwire cert list --json | jq '.[] | select(.status != \"valid\")'")]
pub(crate) struct ListArguments {
    /// List what has been revoked in this home instead, also of what it does not have
    #[arg(long)]
    revoked: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Show what a certificate says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire cert show time
  sealwire cert show ./peer.pem --json")]
pub(crate) struct ShowArguments {
    /// The name of a peer of this home, or a certificate file (PEM or DER)
    #[arg(value_name = "NAME|FILE")]
    certificate: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A certificate and the file it is in.
#[derive(Debug, Serialize)]
struct Shown {
    file: PathBuf,
    status: &'static str,
    /// Since when and why, if it is.
    revoked: Option<String>,
    subject: String,
    issuer: String,
    uris: Vec<String>,
    dns: Vec<String>,
    ip: Vec<String>,
    not_before: String,
    not_after: String,
    serial: String,
    sha256: String,
    is_ca: bool,
    key_algorithm: String,
    usages: Vec<&'static str>,
}

pub(crate) fn list(arguments: &ListArguments, context: &Context) -> Result<(), Failure> {
    if arguments.revoked {
        return revoke::list(arguments.json, context);
    }
    let certificates = all(context)?;
    if arguments.json {
        return print_json(&certificates);
    }
    if certificates.is_empty() {
        return print("no certificates here; `sealwire init` makes the first\n");
    }
    let name = |shown: &Shown| match shown.uris.first() {
        Some(uri) => uri.clone(),
        None => shown.subject.clone(),
    };
    let width = certificates.iter().map(|shown| name(shown).len()).max().unwrap_or_default();
    let mut text = format!("{:width$}  {:8}  {:10}  FILE\n", "NAME", "STATUS", "UNTIL");
    for shown in &certificates {
        let until = shown.not_after.split('T').next().unwrap_or_default();
        let file = shown.file.strip_prefix(context.home.root()).unwrap_or(&shown.file);
        let (name, status) = (name(shown), shown.status);
        text.push_str(&format!("{name:width$}  {status:8}  {until:10}  {}\n", file.display()));
    }
    print(&text)
}

/// All of them, as `cert list --json` shows them.
pub(crate) fn inventory(context: &Context) -> Result<serde_json::Value, Failure> {
    let certificates = all(context)?;
    serde_json::to_value(certificates)
        .map_err(|error| Failure::new("cannot encode the certificates as JSON").because(error))
}

fn all(context: &Context) -> Result<Vec<Shown>, Failure> {
    let revocations = revocations(context);
    let mut certificates = Vec::new();
    let home = &context.home;
    for file in certificate_files(home)? {
        let held = read(&file, &revocations)?;
        // Behind a leaf stands the authority that issued it, which has a file of its own.
        let is_authority = [home.ca_cert(), home.issuing_cert()].contains(&file);
        let most = if is_authority { held.len() } else { 1 };
        certificates.extend(held.into_iter().take(most));
    }
    Ok(certificates)
}

pub(crate) fn show(arguments: &ShowArguments, context: &Context) -> Result<(), Failure> {
    let revocations = revocations(context);
    let mut certificates = Vec::new();
    for file in find(&arguments.certificate, context)? {
        certificates.extend(read(&file, &revocations)?);
    }
    if arguments.json {
        return print_json(&certificates);
    }
    let mut text = String::new();
    for shown in &certificates {
        let lines = [
            ("file", shown.file.display().to_string()),
            ("status", shown.status.to_owned()),
            ("revoked", shown.revoked.clone().unwrap_or_default()),
            ("subject", shown.subject.clone()),
            ("issuer", shown.issuer.clone()),
            ("URI", shown.uris.join(" ")),
            ("DNS", shown.dns.join(" ")),
            ("IP", shown.ip.join(" ")),
            ("from", shown.not_before.clone()),
            ("until", shown.not_after.clone()),
            ("serial", shown.serial.clone()),
            ("SHA-256", shown.sha256.clone()),
            ("key", shown.key_algorithm.clone()),
            ("usages", shown.usages.join(" ")),
        ];
        if !text.is_empty() {
            text.push('\n');
        }
        for (label, value) in lines {
            if !value.is_empty() {
                text.push_str(&format!("{label:8} {}\n", printable(&value)));
            }
        }
    }
    print(&text)
}

/// The leaf in a certificate file.
pub(crate) fn leaf(file: &Path) -> Result<CertificateSummary, Failure> {
    let label = file.display().to_string();
    let chain = describe(&files::read_public(file)?, &label)?;
    chain.into_iter().next().ok_or_else(|| Failure::new("no certificate in it").at(label))
}

/// From how long before its end a certificate is told of: what lives for a day at most when it
/// should have renewed itself, others as usual.
pub(crate) fn ends_soon(not_before: Timestamp, not_after: Timestamp, usual: Duration) -> Duration {
    let life = not_before.until(not_after).unwrap_or_default();
    if life <= SHORT { life / 4 } else { usual }
}

/// Why the leaf in a certificate file is not to be used any more, if it is revoked in `home`.
pub(crate) fn revoked_leaf(file: &Path, home: &Home) -> Result<Option<Refusal>, Failure> {
    let (leaf, revocations) = (leaf(file)?, Revocations::new(revoked(home)?));
    Ok(revocations.check_summary(&leaf).err())
}

/// A file if it is one, or looks like one; else the certificates of that name.
fn find(name: &str, context: &Context) -> Result<Vec<PathBuf>, Failure> {
    if name.contains(std::path::is_separator) || Path::new(name).is_file() {
        return Ok(vec![PathBuf::from(name)]);
    }
    let mut found: Vec<PathBuf> =
        Kind::ALL.iter().map(|kind| context.home.pair(*kind, name).cert).collect();
    found.retain(|file| file.is_file());
    found.dedup();
    if found.is_empty() {
        return Err(Failure::new(format!("no certificate of {name:?} here"))
            .at(context.home.certs_dir().display())
            .fix("`sealwire cert list` shows what there is; a file is named by its path"));
    }
    Ok(found)
}

/// What is revoked, as far as that can be found out.
fn revocations(context: &Context) -> Revocations {
    // Certificates can be looked at without a configuration that is in order.
    let home = context.state_home().unwrap_or_else(|_| context.home.clone());
    match revoked(&home) {
        Ok(all) => Revocations::new(all),
        Err(error) => {
            tracing::warn!(%error, "which certificates are revoked is not known");
            Revocations::default()
        }
    }
}

fn read(file: &Path, revocations: &Revocations) -> Result<Vec<Shown>, Failure> {
    let chain = describe(&files::read_public(file)?, &file.display().to_string())?;
    let now = Timestamp::from(SystemTime::now());
    Ok(chain.into_iter().map(|summary| Shown::new(file, summary, revocations, now)).collect())
}

/// Every certificate file: `certs/<directory>/<name>-cert.pem`, the authorities' first.
pub(crate) fn certificate_files(home: &Home) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path| {
        let place = path.display().to_string();
        move |error: std::io::Error| {
            Failure::new("cannot read the directory").at(place).because(error)
        }
    };
    let certs = home.certs_dir();
    let mut found = Vec::new();
    if !certs.exists() {
        return Ok(found);
    }
    for dir in certs.read_dir().map_err(failed(&certs))? {
        let dir = dir.map_err(failed(&certs))?.path();
        if !dir.is_dir() {
            continue;
        }
        for file in dir.read_dir().map_err(failed(&dir))? {
            let file = file.map_err(failed(&dir))?.path();
            if file.to_str().is_some_and(|name| name.ends_with("-cert.pem")) {
                found.push(file);
            }
        }
    }
    let rank = |file: &PathBuf| match file {
        file if *file == home.ca_cert() => 0,
        file if *file == home.issuing_cert() => 1,
        _ => 2,
    };
    found.sort_by_key(|file| (rank(file), file.clone()));
    Ok(found)
}

impl Shown {
    fn new(
        file: &Path,
        summary: CertificateSummary,
        revocations: &Revocations,
        now: Timestamp,
    ) -> Self {
        let revoked = revocations.check_summary(&summary).err();
        Self {
            file: file.to_owned(),
            status: if revoked.is_some() { "revoked" } else { status(&summary, now) },
            revoked: revoked.map(|refusal| refusal.reason),
            subject: summary.subject,
            issuer: summary.issuer,
            uris: summary.uris,
            dns: summary.dns,
            ip: summary.ip.iter().map(ToString::to_string).collect(),
            not_before: summary.not_before.to_string(),
            not_after: summary.not_after.to_string(),
            serial: summary.serial,
            sha256: summary.fingerprint.to_string(),
            is_ca: summary.is_ca,
            key_algorithm: summary.key_algorithm,
            usages: summary.usages,
        }
    }
}

fn status(summary: &CertificateSummary, now: Timestamp) -> &'static str {
    if now < summary.not_before {
        return "future";
    }
    let soon = ends_soon(summary.not_before, summary.not_after, SOON);
    match now.until(summary.not_after) {
        None => "expired",
        Some(left) if left < soon => "expiring",
        Some(_) => "valid",
    }
}
