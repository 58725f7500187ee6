//! The revocation list that an authority of our own signs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevocationReason, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, Timestamp};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::certificate::Certificate;
use crate::crl::{LABEL, RevocationList, blocks, parse, plain, stated_issuer, with_those_below};
use crate::error::Error;
use crate::files;
use crate::keys::PrivateKey;
use crate::pem::encode_pem;
use crate::summary::CertificateSummary;

/// How long before it is out of date a list of another's is left out of the file: one that is late
/// keeps everybody from taking the file up, and their clocks may be ahead of ours. Milliseconds.
const MARGIN: i64 = 5 * 60 * 1000;

/// What is revoked: certificates, and since when each is.
pub(crate) type Revoked<'a> = &'a [(CertificateSummary, Timestamp)];

/// Writes a file of lists, of which one is its own.
pub(crate) struct ListWriter<'a> {
    pub(crate) issuer: &'a Issuer<'static, PrivateKey>,
    pub(crate) certificate: &'a CertificateDer<'static>,
    /// Authorities whose lists stay in the file as long as they hold.
    pub(crate) trusted: &'a [CertificateDer<'static>],
    /// Whether the file is the roots' own, which nobody else writes.
    pub(crate) is_of_roots: bool,
    /// The roots' own file, whose lists belong into this one, too.
    pub(crate) above: Option<PathBuf>,
    /// Authorities below the trusted ones, which go into the file with their lists: so whoever takes
    /// it up knows who has signed them.
    pub(crate) below: &'a [CertificateDer<'static>],
}

/// What is in the file.
#[derive(Default)]
struct Held {
    own: Option<RevocationList>,
    /// Of each other issuer the latest list, DER.
    others: HashMap<Fingerprint, (RevocationList, Vec<u8>)>,
    /// Authorities that stand below the trusted ones.
    below: Vec<CertificateDer<'static>>,
    /// When lists of others that are in the file now have to go.
    others_due: Option<Timestamp>,
}

/// So many milliseconds before that.
fn before(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(at.unix_millis().saturating_sub(millis))
}

/// Whether that list is in the name of an authority that is none of these.
fn is_by_another(der: &[u8], known: &[CertificateDer<'_>]) -> bool {
    let Ok((_, list)) = CertificateRevocationList::from_der(der) else { return false };
    !known.iter().any(|der| {
        Certificate::parse(der, "the authority")
            .is_ok_and(|it| it.x509.subject().as_raw() == list.issuer().as_raw())
    })
}

impl ListWriter<'_> {
    /// Writes its list to `path`: what the one there says, if there is one, and those of `revoked`
    /// that it has issued. Its number is greater than that of any before. What it says now.
    ///
    /// The number is the time in seconds, or one more than before: so it grows even where the
    /// list before is lost.
    pub(crate) fn write(
        &self,
        path: &Path,
        revoked: Revoked<'_>,
        now: Timestamp,
        validity: Duration,
    ) -> Result<RevocationList, Error> {
        let held = self.read(path, now)?;
        let mut pem = self.sign(held.own.as_ref(), path, revoked, now, validity)?;
        let mut others: Vec<_> = held.others.into_values().collect();
        others.sort_by(|(one, _), (other, _)| one.issuer.cmp(&other.issuer));
        for (_, der) in others {
            pem.push_str(&encode_pem(LABEL, &der)?);
        }
        for der in &held.below {
            pem.push_str(&encode_pem("CERTIFICATE", der)?);
        }
        files::write_atomic(path, pem.as_bytes(), files::PUBLIC_FILE)?;
        let reason = "it cannot be read again".to_owned();
        let unreadable = Error::RevocationList { label: path.display().to_string(), reason };
        self.read(path, now)?.own.ok_or(unreadable)
    }

    /// Its own list in `path`, whatever the time, if it has written one there.
    pub(crate) fn own(&self, path: &Path, now: Timestamp) -> Result<Option<RevocationList>, Error> {
        self.read(path, now).map(|held| held.own)
    }

    /// When the file at `path` has to be written again because of the lists of others in it, which
    /// are left out when they are about to be out of date; `None` if there are none.
    pub(crate) fn others_due(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        self.read(path, now).map(|held| held.others_due)
    }

    fn read(&self, path: &Path, now: Timestamp) -> Result<Held, Error> {
        let mut lists = Vec::new();
        let mut others = Vec::new();
        for file in std::iter::once(path).chain(self.above.as_deref()) {
            if let Ok(false) = file.try_exists() {
                continue;
            }
            let label = file.display().to_string();
            let held = blocks(&files::read_public(file)?, &label)?;
            // A root that is known to nobody is one whose making was interrupted.
            let is_ours = self.is_of_roots || file != path;
            lists.extend(held.lists.into_iter().map(|der| (label.clone(), der, is_ours)));
            others.extend(held.authorities.into_iter().filter(|der| !self.below.contains(der)));
        }
        // Who takes the file up believes authorities below the roots that are valid. The lists of
        // others, which have expired or whose root is gone, go with them, and are no fault.
        let all = [self.trusted, self.below, &others].concat();
        let mut known = self.trusted.to_vec();
        for der in self.below.iter().chain(&others) {
            // One of ours is valid later than now only where the clock has been put back.
            let begins = Certificate::parse(der, "the authority").map(|it| it.not_before());
            let at = now.max(begins.unwrap_or(now));
            let found = with_those_below(self.trusted, vec![der.clone()], at);
            known.extend(found.into_iter().skip(self.trusted.len()));
        }
        // What the roots have said is kept as long as it holds.
        let margin = if self.is_of_roots { 0 } else { MARGIN };
        let (mut held, mut foreign) = (Held::default(), None);
        for (label, der, is_ours) in lists {
            if let Ok((_, list)) = parse(&der, std::slice::from_ref(self.certificate)) {
                held.own = Some(list);
                continue;
            }
            let read = parse(&der, &known);
            let until = read.as_ref().map_or(now, |(_, list)| before(list.next_update, margin));
            if !is_ours {
                held.others_due = Some(held.others_due.map_or(until, |due| due.min(until)));
            }
            let (issuer, list) = match read {
                Ok(read) => read,
                Err(_) if parse(&der, &all).is_ok() => continue,
                Err(_) if is_ours && !self.is_by_a_root(&der) => continue,
                Err(reason) if !is_by_another(&der, &all) => {
                    return Err(Error::RevocationList { label, reason });
                }
                Err(reason) => {
                    foreign = Some(Error::RevocationList { label, reason });
                    continue;
                }
            };
            let is_later = |before: &(RevocationList, _)| !list.is_older_than(&before.0);
            if now <= until && held.others.get(&issuer).is_none_or(is_later) {
                held.others.insert(issuer, (list, der));
            }
        }
        held.below = known[self.trusted.len()..].to_vec();
        // Of a root that is trusted no longer, as after a rotation, beside ours; but a file that holds
        // nothing of ours is somebody else's.
        match foreign {
            Some(error) if held.own.is_none() && held.others.is_empty() => Err(error),
            _ => Ok(held),
        }
    }

    /// Whether a list is in the name of a root that is trusted, or in none that can be read: if that
    /// does not verify, what the root has revoked would be forgotten by going on.
    fn is_by_a_root(&self, der: &[u8]) -> bool {
        let Some(name) = stated_issuer(der) else { return true };
        let roots = self.trusted.iter().chain([self.certificate]);
        let is_same = |root: &CertificateDer<'_>| {
            let root = Certificate::parse(root, "the root");
            root.is_ok_and(|root| root.x509.subject().as_raw() == name)
        };
        roots.into_iter().any(is_same)
    }

    fn sign(
        &self,
        before: Option<&RevocationList>,
        path: &Path,
        revoked: Revoked<'_>,
        now: Timestamp,
        validity: Duration,
    ) -> Result<String, Error> {
        let label = path.display().to_string();
        let mut all = BTreeMap::new();
        let mut number = u64::try_from(now.unix_seconds()).unwrap_or(0);
        if let Some(before) = before {
            let last = u64::from_str_radix(&before.number, 16).map_err(|_| {
                let reason = format!("its number {} is none of ours", before.number);
                Error::RevocationList { label: label.clone(), reason }
            })?;
            number = number.max(last.saturating_add(1));
            all.extend(before.revoked.iter().map(|(serial, (at, _))| (serial.clone(), *at)));
        }
        let refuse = |refusal| Error::Certificate { label, refusal };
        let own = Certificate::parse(self.certificate, "the authority").map_err(refuse)?;
        let (name, expires) = (own.subject(), own.not_after());
        for (summary, at) in revoked.iter().filter(|(summary, _)| summary.issuer == name) {
            all.entry(summary.serial_bytes()).or_insert(*at);
        }
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let date = |at: Timestamp| {
            epoch + Duration::from_secs(u64::try_from(at.unix_seconds()).unwrap_or(0))
        };
        let entry = |(serial, at): (Vec<u8>, Timestamp)| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date(at),
            reason_code: Some(RevocationReason::Unspecified),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(now),
            // Afterwards nobody believes the authority, nor takes up a file that has a list of it.
            next_update: (date(now) + validity).min(date(expires)),
            crl_number: SerialNumber::from(plain(&number.to_be_bytes())),
            issuing_distribution_point: None,
            revoked_certs: all.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list =
            params.signed_by(self.issuer).map_err(Error::crypto("signing a revocation list"))?;
        list.pem().map_err(Error::crypto("encoding a revocation list"))
    }
}
