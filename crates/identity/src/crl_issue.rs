//! The revocation list that an authority of our own signs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use sealwire_names::Timestamp;

use crate::authority::CertificateAuthority;
use crate::certificate::Certificate;
use crate::crl::{LABEL, RevocationList, plain};
use crate::error::Error;
use crate::files;
use crate::pem::{encode_pem, parse_pem_certificates};
use crate::summary::CertificateSummary;

impl CertificateAuthority {
    /// Writes this authority's revocation list: what the one in `path` says, if there is one, and
    /// those of `revoked` that it has issued. Its number is greater than that of any before, and
    /// it holds for `validity`. What it says now. The list of an authority that had its place
    /// before, and is still trusted, stays in the file until it is out of date.
    ///
    /// The number is the time in seconds, or one more than before: so it grows even where the
    /// list before is lost.
    ///
    /// # Errors
    /// [`Error::RevocationList`] if what is in `path` is not a list of one of them: nothing
    /// is written then; [`Error::Crypto`]; file errors.
    pub fn write_revocation_list(
        &self,
        path: &Path,
        revoked: &[(CertificateSummary, Timestamp)],
        now: Timestamp,
        validity: Duration,
    ) -> Result<RevocationList, Error> {
        let label = path.display().to_string();
        let issuer = self.issuing_certificate();
        let (before, others) = self.lists_in(path, now)?;
        let mut all = BTreeMap::new();
        let mut number = u64::try_from(now.unix_seconds()).unwrap_or(0);
        if let Some(before) = &before {
            let last = u64::from_str_radix(&before.number, 16).map_err(|_| {
                let reason = format!("its number {} is none of ours", before.number);
                Error::RevocationList { label, reason }
            })?;
            number = number.max(last.saturating_add(1));
            all.extend(before.revoked.iter().map(|(serial, (at, _))| (serial.clone(), *at)));
        }
        let refuse = |refusal| Error::Certificate { label: path.display().to_string(), refusal };
        let name = Certificate::parse(issuer, "the authority").map_err(refuse)?.subject();
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
            next_update: date(now) + validity,
            crl_number: SerialNumber::from(plain(&number.to_be_bytes())),
            issuing_distribution_point: None,
            revoked_certs: all.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list =
            params.signed_by(self.issuer()).map_err(Error::crypto("signing a revocation list"))?;
        let mut pem = list.pem().map_err(Error::crypto("encoding a revocation list"))?;
        for der in others {
            pem.push_str(&encode_pem(LABEL, &der)?);
        }
        files::write_atomic(path, pem.as_bytes(), files::PUBLIC_FILE)?;
        let reason = "it cannot be read again".to_owned();
        let unreadable = Error::RevocationList { label: path.display().to_string(), reason };
        self.lists_in(path, now)?.0.ok_or(unreadable)
    }

    /// This authority's list in `path`, if it has written one there.
    ///
    /// # Errors
    /// As [`Self::write_revocation_list`].
    pub fn revocation_list(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<RevocationList>, Error> {
        self.lists_in(path, now).map(|(own, _)| own)
    }

    fn lists_in(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<(Option<RevocationList>, Vec<Vec<u8>>), Error> {
        if let Ok(false) = path.try_exists() {
            return Ok((None, Vec::new()));
        }
        let label = "the authorities";
        let trusted = parse_pem_certificates(self.certificate_pem().as_bytes())
            .map_err(|problem| Error::Pem { label: label.to_owned(), problem })?;
        let trusted: Vec<_> = trusted.into_iter().map(|it| it.to_vec()).collect();
        RevocationList::read_own(path, self.issuing_certificate(), &trusted, now)
    }
}
