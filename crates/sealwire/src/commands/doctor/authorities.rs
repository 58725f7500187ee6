//! The authorities that are trusted, and the one that this home may have itself.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwire::config::DEFAULT_TRUST_DOMAIN;
use sealwire_identity::{
    CertificateAuthority, CertificateSummary, Error, RootAuthority, SigningKey, TrustAnchors,
    describe, files,
};
use sealwire_names::{RefusalCode, TrustDomain};

use super::finding::{Finding, Id, id_of};
use super::report::Report;
use super::{Case, home, remedies, validity};

/// Most authorities in one file that are likely to have been chosen one by one.
const MANY: usize = 8;

/// The trust anchors looked at so far, by file.
pub(super) struct Authorities {
    trust_domain: Option<TrustDomain>,
    /// `None` where there is no anchor in it that could vouch for anything now.
    loaded: BTreeMap<PathBuf, Option<Arc<TrustAnchors>>>,
}

impl Authorities {
    pub(super) fn new(case: &Case<'_>) -> Self {
        Self { trust_domain: trust_domain(case), loaded: BTreeMap::new() }
    }

    /// Looks at a file of trust anchors, once.
    pub(super) fn load(&mut self, case: &Case<'_>, file: &Path, report: &mut Report) {
        if self.loaded.contains_key(file) {
            return;
        }
        let domain = self.trust_domain.clone();
        let anchors = match domain.map(|domain| TrustAnchors::load(file, domain)) {
            Some(Ok(anchors)) => vouches(case, file, report).then(|| Arc::new(anchors)),
            Some(Err(error)) => {
                report.found(unusable(case, file, &error));
                None
            }
            None => None,
        };
        self.loaded.insert(file.to_owned(), anchors);
    }

    /// The anchors in `file`, if they can vouch for anything now.
    pub(super) fn in_file(&self, file: &Path) -> Option<&Arc<TrustAnchors>> {
        self.loaded.get(file)?.as_ref()
    }

    /// Whether this file of anchors has been looked at.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.loaded.contains_key(file)
    }

    /// The authority of this home, if it has one: can it issue?
    pub(super) fn own(&self, case: &Case<'_>, report: &mut Report) {
        let home = &case.context.home;
        let is_below_root = home.issuing_key().exists();
        let (cert, key) = match is_below_root {
            true => (home.issuing_cert(), home.issuing_key()),
            false => (home.ca_cert(), home.ca_key()),
        };
        let Some(domain) = self.trust_domain.as_ref().filter(|_| key.exists()) else { return };
        match CertificateAuthority::load(&home.ca_dir(), domain) {
            Ok(authority) => {
                if !issuing_ends(case, &authority, report) {
                    report.passed("the authority can issue certificates", key.display());
                }
                if is_below_root {
                    root(case, domain, report);
                }
            }
            Err(Error::Mode { path, mode, allowed }) => {
                report.found(home::too_wide(&path, mode, allowed));
            }
            Err(error) => {
                let of_key = match &error {
                    Error::KeyMismatch { .. } | Error::Key { .. } => true,
                    Error::Pem { label, .. } => *label == key.display().to_string(),
                    Error::Io { path, .. } | Error::FileType { path, .. } => *path == key,
                    _ => false,
                };
                // What is wrong with the root's certificate has been said, if it is trusted here.
                let root = home.ca_cert();
                let of_root = match &error {
                    Error::Pem { label, .. } | Error::Certificate { label, .. } => {
                        *label == root.display().to_string()
                    }
                    Error::Io { path, .. } | Error::FileType { path, .. } => *path == root,
                    _ => false,
                };
                if of_root && self.has(&root) {
                    return;
                }
                let remedy = "put the authority's certificate and key back from a backup: \
                              nothing else can issue certificates that its peers accept";
                let found = Finding::error(id_of(&error), error.to_string()).fix(remedy);
                report.found(found.at(if of_key { key } else { cert }.display()));
            }
        }
    }
}

/// Whether the authority below the root is found to end soon. What there is to say of a root has
/// been said with the trust anchors.
fn issuing_ends(case: &Case<'_>, authority: &CertificateAuthority, report: &mut Report) -> bool {
    let below = authority.chain().first().and_then(|der| describe(der, "").ok());
    let found = below.and_then(|all| validity::of(all.first()?, case.now));
    let Some(found) = found else { return false };
    let found = found.at(case.context.home.issuing_cert().display());
    report.found(validity::or_the_clock(found.run(case.sealwire("ca renew-issuing"))));
    true
}

/// The root's key, which nothing that is done day by day needs.
fn root(case: &Case<'_>, domain: &TrustDomain, report: &mut Report) {
    let home = &case.context.home;
    let (key, dir) = (home.ca_key(), home.ca_dir());
    let list = home.root_list();
    if !list.exists() {
        let what = "the root's revocation list is gone: what it says is in no list that is written";
        let found = Finding::warning(Id::RootListMissing, what).at(list.display());
        report.found(found.run(case.sealwire("ca renew-issuing")));
    }
    if !key.exists() {
        return report.passed("the root's key is not on this machine", dir.display());
    }
    match RootAuthority::load(&dir, domain) {
        Ok(_) => {}
        Err(Error::Mode { path, mode, allowed }) => {
            report.found(home::too_wide(&path, mode, allowed));
        }
        Err(error) => {
            let remedy = "put the root's key back from a backup, or move it away";
            let found = Finding::error(id_of(&error), error.to_string()).fix(remedy);
            report.found(found.at(key.display()));
        }
    }
}

/// The trust domain of this home, as far as it is known.
fn trust_domain(case: &Case<'_>) -> Option<TrustDomain> {
    if let Some(config) = &case.config {
        return Some(config.trust_domain.clone());
    }
    // Without a configuration the authority's own certificate says it.
    let claimed = claimed_domain(&case.context.home.ca_cert());
    claimed.as_deref().unwrap_or(DEFAULT_TRUST_DOMAIN).parse().ok()
}

/// The trust domain that an authority's certificate says it is made for.
fn claimed_domain(file: &Path) -> Option<String> {
    let authority = describe(&files::read_public(file).ok()?, "").ok()?.into_iter().next()?;
    Some(authority.uris.first()?.strip_prefix("spiffe://")?.to_owned())
}

/// Says what is to be said of a file of authorities; whether any of them is valid now.
fn vouches(case: &Case<'_>, file: &Path, report: &mut Report) -> bool {
    let read = files::read_public(file).and_then(|pem| describe(&pem, ""));
    let Ok(authorities) = read else { return false };
    let (place, now) = (file.display(), case.now);
    let is_valid = |c: &CertificateSummary| c.not_before <= now && now <= c.not_after;
    let some_are_valid = authorities.iter().any(is_valid);
    let mut in_order = true;
    for found in authorities.iter().filter_map(|authority| validity::of(authority, now)) {
        in_order = false;
        let found = found.at(&place).fix(
            "make another authority (sealwire --home NEW init), add its certificate to this file \
             on all machines, then issue every certificate by it",
        );
        report.found(validity::or_the_clock(found));
    }
    if authorities.len() > MANY {
        let what = format!(
            "{} authorities are trusted: whoever gets a certificate from any of them with a name \
             in this trust domain is that peer",
            authorities.len()
        );
        let remedy = "name a file with your own authority alone as ca_cert or trusted_ca";
        report.found(Finding::warning(Id::ManyAuthorities, what).at(place).fix(remedy));
    } else if in_order {
        let names: Vec<&str> = authorities.iter().map(|a| a.subject.as_str()).collect();
        report.passed(format!("trusted: {}", names.join("; ")), place);
    }
    some_are_valid
}

fn unusable(case: &Case<'_>, file: &Path, error: &Error) -> Finding {
    let found = match error {
        Error::Certificate { refusal, .. } if refusal.code == RefusalCode::TrustDomain => {
            let claimed = claimed_domain(file).unwrap_or_default();
            Finding::error(RefusalCode::TrustDomain.as_str(), &refusal.reason).fix(format!(
                "write trust_domain = \"{claimed}\" under [security] of {}, or name the authority \
                 of the domain that is meant as ca_cert",
                case.context.config_file.display()
            ))
        }
        Error::Certificate { refusal, .. } if refusal.code == RefusalCode::CertificatePath => {
            let remedy = "name the certificate of the authority that issues, not one it has \
                          issued, as ca_cert or trusted_ca";
            Finding::error(Id::NotAnAuthority, &refusal.reason).fix(remedy)
        }
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            let missing = Finding::error(Id::FileMissing, "the authority's certificate is missing");
            let home = &case.context.home;
            if file == home.ca_cert() && !home.certs_dir().exists() {
                missing.run(case.sealwire("init"))
            } else {
                missing.fix(
                    "put it back from a backup or from a bundle (sealwire init --from-bundle \
                     FILE), or correct ca_cert or trusted_ca",
                )
            }
        }
        error => Finding::error(id_of(error), error.to_string()).fix(error.remedy()),
    };
    found.at(file.display())
}

/// The key that signs messages: usable, and its public half the right one.
pub(super) fn signing_key(case: &Case<'_>, report: &mut Report) {
    let home = &case.context.home;
    let (private, public) = (home.signing_key(), home.signing_public_key());
    if !private.exists() {
        return;
    }
    let key = match SigningKey::load(&private) {
        Ok(key) => key,
        Err(Error::Mode { path, mode, allowed }) => {
            return report.found(home::too_wide(&path, mode, allowed));
        }
        Err(error) => {
            let found = Finding::error(id_of(&error), error.to_string()).at(private.display());
            return report.found(found.fix(error.remedy()));
        }
    };
    let init = case.sealwire("init");
    let Ok(there) = files::read_public(&public) else {
        let found =
            Finding::error(Id::FileMissing, "the public half of the signing key is missing");
        return report.found(found.at(public.display()).run(init));
    };
    if key.public_key_pem().is_ok_and(|pem| pem.as_bytes().trim_ascii() == there.trim_ascii()) {
        return;
    }
    let what = format!("is not the public half of {}", private.display());
    let command = format!("rm {} && {init}", remedies::word(&public));
    report.found(Finding::error(Id::KeyMismatch, what).at(public.display()).run(command));
}
