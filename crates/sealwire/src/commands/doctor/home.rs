//! The home directory: there, ours, and closed to others.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sealwire_identity::files::{CA_KEY_FILE, PRIVATE_DIR, PRIVATE_FILE};
use sealwire_names::Timestamp;

use super::finding::{Finding, Id};
use super::report::Report;
use super::{Case, remedies};
use crate::cli::shell_word;

/// Clocks may differ by this much before a file counts as being from the future.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// Looks at the directory and everything in it that is to be private.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let home = &case.context.home;
    let root = home.root();
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            let what = "the home is not a directory";
            let remedy = "name another directory with --home, or move the file away";
            return report
                .found(Finding::error(Id::HomeUnusable, what).at(root.display()).fix(remedy));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let found = Finding::error(Id::HomeMissing, "there is no home directory");
            return report.found(found.at(root.display()).run(case.sealwire("init")));
        }
        Err(error) => {
            let found = Finding::error(Id::HomeUnusable, format!("cannot be looked at: {error}"));
            let remedy = "let this user enter the directories above it";
            return report.found(found.at(root.display()).fix(remedy));
        }
    }
    let mut walk = Walk { case, report, looked_at: 0, newest: None };
    walk.directory(root, &|_| Rule::Ignored);
    let certs = home.certs_dir();
    walk.directory(&certs, &|_| Rule::Ignored);
    for dir in directories_in(&certs) {
        walk.directory(&dir, &key_beside_certificate);
    }
    let keys = home.keys_dir();
    walk.directory(&keys, &signing_key);
    for dir in directories_in(&keys) {
        walk.directory(&dir, &signing_key);
        // Whoever can write there makes others believed.
        for dir in directories_in(&dir) {
            walk.directory(&dir, &signing_key);
        }
    }
    let (looked_at, newest) = (walk.looked_at, walk.newest.take());
    if let Some((modified, file)) = newest {
        clock(case, modified, &file, report);
    }
    let is_wide = report.findings().any(|finding| finding.id == <&str>::from(Id::ModeTooWide));
    if looked_at > 0 && !is_wide {
        let what = format!("{looked_at} private files and directories are closed to others");
        report.passed(what, root.display());
    }
}

/// How open a file may be.
#[derive(Clone, Copy)]
enum Rule {
    Private,
    AuthorityKey,
    Ignored,
}

/// In a directory below `certs/`: keys, also those put aside as `.old`.
fn key_beside_certificate(file: &Path) -> Rule {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("ca-key.pem" | "issuing-key.pem" | "next-key.pem" | "next-issuing-key.pem") => {
            Rule::AuthorityKey
        }
        Some(name) if name.contains("-key.pem") => Rule::Private,
        _ => Rule::Ignored,
    }
}

/// In `keys/`: everything but public keys.
fn signing_key(file: &Path) -> Rule {
    if file.extension().is_some_and(|extension| extension == "pub") {
        Rule::Ignored
    } else {
        Rule::Private
    }
}

struct Walk<'a, 'c> {
    case: &'a Case<'c>,
    report: &'a mut Report,
    looked_at: usize,
    /// The file changed last, and when.
    newest: Option<(SystemTime, PathBuf)>,
}

impl Walk<'_, '_> {
    /// A directory that must be private, and what `rule` says of the files in it.
    fn directory(&mut self, dir: &Path, rule: &dyn Fn(&Path) -> Rule) {
        let Ok(metadata) = fs::metadata(dir) else { return };
        self.check(dir, &metadata, PRIVATE_DIR);
        let entries = match dir.read_dir() {
            Ok(entries) => entries,
            Err(error) => {
                let what = format!("the directory cannot be read: {error}");
                let found = Finding::error(Id::FileUnreadable, what).at(dir.display());
                let command = format!("chmod u+rwx {}", remedies::word(dir));
                return self.report.found(found.run(command));
            }
        };
        for file in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let Ok(metadata) = fs::metadata(&file) else { continue };
            if !metadata.is_file() {
                continue;
            }
            if let Ok(modified) = metadata.modified()
                && self.newest.as_ref().is_none_or(|(newest, _)| modified > *newest)
            {
                self.newest = Some((modified, file.clone()));
            }
            match rule(&file) {
                Rule::Private => self.check(&file, &metadata, PRIVATE_FILE),
                Rule::AuthorityKey => self.check(&file, &metadata, CA_KEY_FILE),
                Rule::Ignored => {}
            }
        }
    }

    fn check(&mut self, path: &Path, metadata: &Metadata, allowed: u32) {
        self.looked_at += 1;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & !allowed != 0 {
            self.report.found(too_wide(path, mode, allowed));
        }
        self.owner(path, metadata.uid());
    }

    fn owner(&mut self, path: &Path, owner: u32) {
        let us = rustix::process::geteuid().as_raw();
        if owner == us {
            return;
        }
        let what = format!("belongs to user {owner}, and this is user {us}");
        let found = if us == 0 {
            // root may look at everybody's home, and must not make files in it.
            let command = format!("sudo -u '#{owner}' {}", self.case.sealwire("doctor"));
            Finding::note(Id::HomeOwner, what).run(command)
        } else {
            let root = remedies::word(self.case.context.home.root());
            let what = format!("{what}: its owner can change it");
            let command = format!("sudo chown -R {us} {root}");
            Finding::error(Id::HomeOwner, what).run(command)
        };
        // Mostly all of it belongs to the same other user; once is enough.
        let root = self.case.context.home.root();
        if path == root || !self.report.has(Id::HomeOwner, root) {
            self.report.found(found.at(path.display()));
        }
    }
}

/// A file or directory that is open to more users than it may be.
pub(super) fn too_wide(path: &Path, mode: u32, allowed: u32) -> Finding {
    let why = match mode & !allowed {
        more if more & 0o022 != 0 => "others can change it",
        more if more & 0o055 != 0 => "others can read it",
        _ => "nothing may ever change it",
    };
    let what = format!("has mode {mode:04o}, wider than {allowed:04o}: {why}");
    let command = format!("chmod {allowed:o} {}", remedies::word(path));
    Finding::error(Id::ModeTooWide, what).at(path.display()).run(command)
}

/// A file that was changed in the future was changed under another clock.
fn clock(case: &Case<'_>, modified: SystemTime, file: &Path, report: &mut Report) {
    let Ok(ahead) = modified.duration_since(SystemTime::now()) else { return };
    if ahead <= SKEW {
        return;
    }
    let (changed, now) = (Timestamp::from(modified), case.now);
    let what = format!("the clock reads {now}, and this file was changed at {changed}");
    let remedy = format!(
        "compare the clock: date -u; set it: sudo timedatectl set-ntp true; if it is right, \
         it was ahead before: touch {}",
        shell_word(&file.to_string_lossy())
    );
    report.found(Finding::warning(Id::ClockBehind, what).at(file.display()).fix(remedy));
}

fn directories_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = dir.read_dir() else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}
