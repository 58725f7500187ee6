//! The root's key: where it is, its passphrase, and `ca export-root`.

use std::path::{Path, PathBuf};

use clap::Args;
use sealwire::config::SecureMcpConfig;
use sealwire::revocations::revoked;
use sealwire_audit::ChangeKind;
use sealwire_identity::{
    CertificateAuthority, CertificateSummary, Revoked, RootAuthority, check_passphrase, describe,
    files, token_of,
};
use sealwire_names::Timestamp;
use zeroize::Zeroizing;

use crate::cli::{Context, Failure, ask_secret, print};
use crate::commands::issuing::{HomeLock, open_authority};
use crate::control::note;

/// Where the root's key is, if it has been moved away.
#[derive(Debug, Args)]
pub(super) struct RootKeyArguments {
    /// The root's key, where `ca export-root` has written it
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// The file that holds its passphrase in one line; else it is asked for
    #[arg(long, value_name = "FILE", requires = "root_key")]
    passphrase_file: Option<PathBuf>,
}

impl RootKeyArguments {
    /// The root of this home.
    pub(super) fn open(&self, config: &SecureMcpConfig) -> Result<RootAuthority, Failure> {
        let home = config.layout();
        let (dir, domain) = (home.ca_dir(), &config.trust_domain);
        if let Some(file) = &self.root_key {
            let passphrase = passphrase(self.passphrase_file.as_deref(), false)?;
            let root = RootAuthority::load_exported(&dir, domain, file, &passphrase)?;
            return Ok(root.with_revoked(revoked_issuing(config)?));
        }
        if !home.ca_key().exists() {
            return Err(Failure::new("this needs the root's key, which is not here")
                .at(home.ca_key().display())
                .fix("name the file that `sealwire ca export-root` has written: --root-key FILE"));
        }
        Ok(RootAuthority::load(&dir, domain)?.with_revoked(revoked_issuing(config)?))
    }
}

/// The issuing authorities of this home that its state says are revoked, and since when.
fn revoked_issuing(
    config: &SecureMcpConfig,
) -> Result<Vec<(CertificateSummary, Timestamp)>, Failure> {
    let file = config.layout().issuing_cert();
    if !file.exists() {
        return Ok(Vec::new());
    }
    let all = describe(&files::read_public(&file)?, &file.display().to_string())?;
    let revoked = revoked(&config.layout())?;
    let since = |certificate: &CertificateSummary| {
        let what = Revoked::certificate(certificate);
        revoked.iter().find(|revocation| revocation.what == what).map(|it| it.at)
    };
    Ok(all.into_iter().filter_map(|it| since(&it).map(|at| (it, at))).collect())
}

/// Move the root's key away, encrypted by a passphrase
///
/// What is done day by day does not need it: certificates, invitations, renewal, revocation and the
/// service go on without. It is written in the form PKCS #8, which OpenSSL reads as well, read back,
/// and then removed here. Take the file to a medium that is kept apart, and make a copy of it: what
/// needs the root asks for it with --root-key, and nothing can be done about its loss.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire ca export-root /media/stick/root.pem
  sealwire ca renew-issuing --root-key /media/stick/root.pem    when it is needed")]
pub(super) struct ExportArguments {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file that holds the passphrase in one line; else it is asked for, twice
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn export(arguments: &ExportArguments, context: &Context) -> Result<(), Failure> {
    let config = context.load_config()?;
    let home = config.layout();
    let _lock = HomeLock::acquire(&home)?;
    let authority = open_authority(&config)?;
    let (key, dir) = (home.ca_key(), home.ca_dir());
    if !key.exists() {
        return Err(Failure::new("the root's key is not here any more")
            .at(key.display())
            .fix("use the file that was written when it was moved away"));
    }
    if let Some(uri) = token_of(&key)? {
        return Err(Failure::new("the root's key is in a token, and stays there").at(uri));
    }
    if !authority.authority().is_below_root() {
        return Err(Failure::new("nothing could be issued without this key")
            .at(key.display())
            .because("there is no authority below the root that could go on")
            .fix("make a root that has one below it: sealwire ca rotate; docs/day-two.md"));
    }
    if CertificateAuthority::next(&dir)?.is_some() {
        return Err(Failure::new("a rotation has begun, and another root is to take its place")
            .fix("finish it first: sealwire ca rotate --finish; then move that one's key away"));
    }
    let file = &arguments.file;
    // Before anything is asked for. It is looked at again when it is written.
    if file.exists() {
        return Err(Failure::new("there is such a file already, and it is not overwritten")
            .at(file.display())
            .fix("name another"));
    }
    let passphrase = passphrase(arguments.passphrase_file.as_deref(), true)?;
    RootAuthority::export(&dir, &config.trust_domain, file, &passphrase)?;
    note(&config, ChangeKind::KeyChanged, "the authority", "the root's key has been moved away");
    print(&format!(
        "the root's key is in {}, under the passphrase, and no longer here\n\
         take the file to a medium that is kept apart, and keep a copy: without it no other \
         authority can be made that is trusted already\n\
         what needs it: {invocation} ca renew-issuing --root-key FILE, by {until}; ca rotate\n",
        file.display(),
        invocation = context.invocation,
        until = authority.authority().not_after(),
    ))
}

/// A passphrase out of that file, or from whoever sits at the terminal: twice if it is `new`.
fn passphrase(file: Option<&Path>, new: bool) -> Result<Zeroizing<String>, Failure> {
    let passphrase = match file {
        Some(file) => {
            let text = files::read_private(file)?;
            let text = std::str::from_utf8(&text).map_err(|_| {
                Failure::new("the passphrase is not text (UTF-8)").at(file.display())
            })?;
            let line = text.strip_suffix('\n').unwrap_or(text);
            if line.contains(['\n', '\r']) {
                return Err(Failure::new("the file with the passphrase has more than one line")
                    .at(file.display()));
            }
            Zeroizing::new(line.to_owned())
        }
        None => {
            let first = ask_secret("passphrase of the root's key: ")?;
            if new {
                check_passphrase(&first)?;
            }
            if new && *ask_secret("once more: ")? != *first {
                return Err(Failure::new("the two passphrases differ; nothing was changed"));
            }
            first
        }
    };
    if new {
        check_passphrase(&passphrase)?;
    }
    Ok(passphrase)
}
