//! Certificates and their keys: each by itself, and whether they do what they are for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwire::config::{SecureMcpConfig, ServerRole};
use sealwire::revocations::{ListFiles, revoked};
use sealwire_identity::{
    CertificateSummary, Credential, Error, PeerVerifier, PemError, Revocations, Role, TokenUri,
    describe, files, parse_pem_certificates,
};
use sealwire_names::{Kind, PeerId, Refusal, RefusalCode};

use super::authorities::{self, Authorities};
use super::finding::{Finding, Id, Severity, id_of, id_of_code};
use super::remedies::Issued;
use super::report::Report;
use super::{Case, home, validity};
use crate::commands::certificates::certificate_files;

/// Looks at every certificate and key: those the configuration names, and the rest.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    if !case.context.home.root().is_dir() {
        return;
    }
    let revocations = revocations(case, report);
    let mut check = Check { case, report, authorities: Authorities::new(case), revocations };
    let wanted = check.wanted();
    for presented in &wanted {
        check.pair(presented);
    }
    check.rest(&wanted);
    let authorities = check.authorities;
    authorities.own(case, report);
    authorities::signing_key(case, report);
}

/// A certificate and key, and what they are for.
struct Presented {
    cert: PathBuf,
    key: PathBuf,
    role: Role,
    /// Whose it must be.
    expected: Option<PeerId>,
    /// Whose it is meant to be where it does not say.
    usual: Option<PeerId>,
    /// The authorities whose peers are to accept it.
    anchors: PathBuf,
    /// The entry that presents it, if one does.
    server: Option<String>,
    /// The most that can be wrong with it: a note where nothing uses it.
    gravest: Severity,
}

impl Presented {
    fn client(cert: &Path, key: &Path, anchors: &Path) -> Self {
        Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            role: Role::Client,
            expected: None,
            usual: None,
            anchors: anchors.to_owned(),
            server: None,
            gravest: Severity::Error,
        }
    }
}

/// What to do about the end of a certificate that should have been renewed by itself.
fn renewal(case: &Case<'_>, found: &Finding) -> Option<String> {
    let ends = [Id::ExpiresSoon.into(), Id::ExpiresThisWeek.into()].contains(&found.id);
    let has_ended = found.id == RefusalCode::CertificateExpired.as_str();
    let service = case.config.as_ref()?.renew_from.as_ref().filter(|_| ends || has_ended)?;
    Some(if has_ended {
        "what has expired cannot be renewed: have it invited again, and join with another home"
            .to_owned()
    } else {
        format!(
            "it renews itself while `serve` or `connect` runs here, and `ca serve` at {service}: \
             their logs tell why it has not"
        )
    })
}

struct Check<'a, 'c> {
    case: &'a Case<'c>,
    report: &'a mut Report,
    authorities: Authorities,
    revocations: Revocations,
}

impl Check<'_, '_> {
    /// What the configuration presents. Looks at the authorities it names, too.
    fn wanted(&mut self) -> Vec<Presented> {
        let case = self.case;
        let Some(config) = &case.config else {
            let ca_cert = case.context.home.ca_cert();
            self.authorities.load(case, &ca_cert, self.report);
            return Vec::new();
        };
        self.authorities.load(case, &config.ca_cert, self.report);
        let id = |kind, name: &str| PeerId::new(config.trust_domain.clone(), kind, name).ok();
        let mut wanted = Vec::new();
        // Without a server to connect to nothing presents it, so it may be missing.
        let is_presented = |role: &ServerRole| matches!(role, ServerRole::Connect { tls_cert, .. } if *tls_cert == config.client_cert);
        if case.entries().any(|entry| is_presented(&entry.role))
            || config.client_cert.exists()
            || config.client_key.exists()
        {
            wanted.push(Presented {
                usual: own_name(config).and_then(|name| id(Kind::Core, &name)),
                ..Presented::client(&config.client_cert, &config.client_key, &config.ca_cert)
            });
        }
        for agent in &config.agent_security.agents {
            let pair = config.layout().pair(Kind::Agent, agent.as_str());
            let unissued = !pair.cert.exists() && !pair.key.exists();
            wanted.push(Presented {
                expected: id(Kind::Agent, agent.as_str()),
                gravest: if unissued { Severity::Warning } else { Severity::Error },
                ..Presented::client(&pair.cert, &pair.key, &config.ca_cert)
            });
        }
        for entry in case.entries() {
            let (cert, key, role, expected) = match &entry.role {
                ServerRole::Serve { tls_cert, tls_key, .. } => {
                    (tls_cert, tls_key, Role::Server, id(Kind::McpServer, &entry.server_name))
                }
                role if is_presented(role) => {
                    self.authorities.load(case, &entry.trusted_ca, self.report);
                    continue;
                }
                ServerRole::Local { .. } => continue,
                ServerRole::Connect { tls_cert, tls_key, .. } => {
                    (tls_cert, tls_key, Role::Client, None)
                }
            };
            self.authorities.load(case, &entry.trusted_ca, self.report);
            let server = Some(entry.name.clone());
            let client = Presented::client(cert, key, &entry.trusted_ca);
            wanted.push(Presented { role, expected, server, ..client });
        }
        wanted
    }

    /// Certificates in the home that the configuration does not use, on which nothing
    /// depends; or all of them, if it is not known what it uses.
    fn rest(&mut self, wanted: &[Presented]) {
        let is_known = self.case.config.is_some();
        if is_known && !self.case.names.is_empty() {
            return;
        }
        // A directory that cannot be read has been found already.
        let files = certificate_files(&self.case.context.home).unwrap_or_default();
        let home = &self.case.context.home;
        let (ca_cert, issuing_cert) = (home.ca_cert(), home.issuing_cert());
        for cert in files {
            let is_wanted = wanted.iter().any(|presented| presented.cert == cert);
            let is_authority = [&ca_cert, &issuing_cert].contains(&&cert);
            if is_wanted || is_authority || self.authorities.has(&cert) {
                continue;
            }
            let Some(name) = cert.to_str().and_then(|name| name.strip_suffix("-cert.pem")) else {
                continue;
            };
            let key = PathBuf::from(format!("{name}-key.pem"));
            let serves = cert.parent().is_some_and(|dir| dir.ends_with("mcp-servers"));
            self.pair(&Presented {
                role: if serves { Role::Server } else { Role::Client },
                gravest: if is_known { Severity::Note } else { Severity::Error },
                ..Presented::client(&cert, &key, &ca_cert)
            });
        }
    }

    fn pair(&mut self, presented: &Presented) {
        let before = self.report.mark();
        let Presented { cert, key, .. } = presented;
        let leaf = leaf_of(cert);
        let named = leaf.as_ref().and_then(|leaf| leaf.uris.first()?.parse::<PeerId>().ok());
        let id = presented.expected.clone().or(named).or_else(|| presented.usual.clone());
        let issued = Issued { cert, key, id };
        if is_missing(cert) {
            let what = if is_missing(key) {
                "the certificate and its key are missing"
            } else {
                "the certificate is missing, and its key is there"
            };
            let found = Finding::error(Id::FileMissing, what).at(cert.display());
            self.report.found(issued.fix(self.case, found));
        } else {
            self.certificate(presented, &issued, leaf.as_ref());
            self.key(presented, &issued);
        }
        self.report.adjust(before, |finding| {
            let found = finding.at_most(presented.gravest);
            Finding { server: found.server.clone().or_else(|| presented.server.clone()), ..found }
        });
        // That others can read the key may have been found with the home.
        if self.report.mark() == before
            && !self.report.has(Id::ModeTooWide, key)
            && let Some(leaf) = &leaf
        {
            let who = leaf.uris.first().unwrap_or(&leaf.subject);
            let what = format!("{who}, valid until {}, with its key", leaf.not_after);
            self.report.passed(what, cert.display());
        }
    }

    fn certificate(
        &mut self,
        presented: &Presented,
        issued: &Issued<'_>,
        leaf: Option<&CertificateSummary>,
    ) {
        let cert = &presented.cert;
        let label = cert.display().to_string();
        let in_file = |problem| Error::Pem { label: label.clone(), problem };
        let chain =
            files::read_public(cert).and_then(|pem| parse_pem_certificates(&pem).map_err(in_file));
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => {
                let found = Finding::error(id_of(&error), error.to_string()).at(&label);
                return self.report.found(if can_be_converted(&error) {
                    found.fix(error.remedy())
                } else {
                    issued.fix(self.case, found)
                });
            }
        };
        let mut found = Vec::new();
        match (self.authorities.in_file(&presented.anchors), leaf) {
            (Some(anchors), _) => {
                // As a peer will that trusts the same authorities.
                let verifier = PeerVerifier::new(Arc::clone(anchors), presented.role);
                match verifier.verify(&chain, presented.expected.as_ref(), self.case.now) {
                    Ok(verified) => {
                        if let Err(refusal) = self.revocations.check_peer(&verified, self.case.now)
                        {
                            found.push(self.refused(presented, &refusal));
                        }
                        found.extend(leaf.and_then(|leaf| validity::of(leaf, self.case.now)));
                        found.extend(leaf.and_then(validity::long_lived));
                    }
                    Err(refusal) => found.push(self.refused(presented, &refusal)),
                }
            }
            // No path can be checked; what the certificate says of itself can.
            (None, Some(leaf)) => found.extend(validity::of(leaf, self.case.now)),
            (None, None) => {
                let read = files::read_public(cert).and_then(|pem| describe(&pem, &label));
                found.extend(read.err().map(|e| Finding::error(id_of(&e), e.to_string())));
            }
        }
        for found in found {
            let found = found.at(&label);
            let found = match renewal(self.case, &found) {
                Some(remedy) => found.fix(remedy),
                None => issued.fix(self.case, found),
            };
            self.report.found(validity::or_the_clock(found));
        }
    }

    fn refused(&self, presented: &Presented, refusal: &Refusal) -> Finding {
        let finding = Finding::error(id_of_code(refusal.code), &refusal.reason);
        let home = &self.case.context.home;
        match refusal.code {
            RefusalCode::CertificateNotYetValid => {
                let what = format!("{}; the clock here reads {}", refusal.reason, self.case.now);
                Finding { what, ..finding }
            }
            RefusalCode::UnknownIssuer => {
                let anchors = presented.anchors.display();
                let what = format!("none of the authorities in {anchors} has issued it");
                // The two ends may trust different authorities. Where the only one known here
                // is this home's own, that is hardly meant.
                let own = presented.anchors == home.ca_cert() && home.has_authority();
                let gravest = if own { Severity::Error } else { Severity::Warning };
                Finding { what, ..finding.at_most(gravest) }
            }
            _ => finding,
        }
    }

    fn key(&mut self, presented: &Presented, issued: &Issued<'_>) {
        let Presented { cert, key, .. } = presented;
        if is_missing(key) {
            let found = Finding::error(Id::FileMissing, "the private key is missing");
            return self.report.found(issued.fix(self.case, found.at(key.display())));
        }
        match Credential::load(cert, key) {
            // What is wrong with the certificate has been said.
            Ok(_) | Err(Error::Certificate { .. }) => {}
            Err(Error::Pem { label, .. }) if label == cert.display().to_string() => {}
            Err(Error::Io { path, .. } | Error::FileType { path, .. }) if path == *cert => {}
            Err(Error::Mode { path, mode, allowed }) => {
                self.report.found(home::too_wide(&path, mode, allowed));
            }
            Err(error) => {
                let found = Finding::error(id_of(&error), error.to_string()).at(key.display());
                self.report.found(if can_be_converted(&error) {
                    found.fix(error.remedy())
                } else {
                    issued.fix(self.case, found)
                });
            }
        }
    }
}

/// What is revoked in this home.
fn revocations(case: &Case<'_>, report: &mut Report) -> Revocations {
    let home =
        case.config.as_ref().map_or_else(|| case.context.home.clone(), SecureMcpConfig::layout);
    let lists = case.config.as_ref().map(|config| ListFiles::of(config).load(case.now));
    let lists = lists.transpose().unwrap_or_else(|error| {
        let id = RefusalCode::RevocationUnknown.as_str();
        report.found(Finding::error(id, error.to_string()).fix(error.remedy()));
        None
    });
    match revoked(&home) {
        Ok(all) => Revocations::new(all).with_lists(lists.unwrap_or_default()),
        Err(error) => {
            let what = format!("which certificates are revoked cannot be read: {error}");
            let found = Finding::error(Id::FileUnreadable, what).at(home.state_file().display());
            report.found(found.fix("run this as the user whose home it is"));
            Revocations::default()
        }
    }
}

fn leaf_of(file: &Path) -> Option<CertificateSummary> {
    describe(&files::read_public(file).ok()?, "").ok()?.into_iter().next()
}

/// Whether the file is only in the wrong form, or out of reach, so that nothing need be
/// issued anew.
fn can_be_converted(error: &Error) -> bool {
    use PemError as P;
    match error {
        Error::Io { .. } | Error::FileType { .. } => true,
        Error::Pem { problem, .. } => !matches!(
            problem,
            P::Empty | P::Truncated | P::Base64 | P::NotPem | P::NoCertificate | P::NoKey
        ),
        _ => false,
    }
}

/// A file in a directory that cannot be entered is not known to be missing, nor is a key in a token.
fn is_missing(file: &Path) -> bool {
    !TokenUri::is_in(file) && file.try_exists().is_ok_and(|exists| !exists)
}

/// The name of this installation, by the file that its certificate is in.
fn own_name(config: &SecureMcpConfig) -> Option<String> {
    let file = config.client_cert.file_name()?.to_str()?;
    Some(file.strip_suffix("-cert.pem")?.to_owned())
}
