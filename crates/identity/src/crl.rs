//! Certificate revocation lists (RFC 5280 §5): read, verified, and asked.

use std::collections::HashMap;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, Refusal, RefusalCode, Timestamp};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use crate::below::{anchor_of, is_sha1};
use crate::certificate::{Certificate, sha256};
use crate::error::Error;
use crate::files;
use crate::pem::parse_pem_certificates;

/// Label of a list in PEM (RFC 7468 §6).
pub(crate) const LABEL: &str = "X509 CRL";
/// How far ahead of ours an authority's clock may be, in milliseconds.
const SKEW: i64 = 5 * 60 * 1000;

/// One certificate of a chain, as its issuer's revocation list names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// SHA-256 of the issuer's name.
    issuer: Fingerprint,
    issuer_name: String,
    subject: String,
    serial: Vec<u8>,
    /// What its issuer has signed.
    signed: Fingerprint,
}

impl Link {
    pub(crate) fn of(certificate: &Certificate<'_>) -> Self {
        Self {
            issuer: sha256(certificate.x509.issuer().as_raw()),
            issuer_name: certificate.issuer(),
            subject: certificate.subject(),
            serial: plain(certificate.x509.raw_serial()),
            signed: certificate.signed(),
        }
    }

    /// The subject's name.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    pub(crate) fn signed(&self) -> &Fingerprint {
        &self.signed
    }

    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }
}

/// The revocation lists of all authorities whose certificates are accepted: each is verified, of
/// a known issuer, and not out of date when it is read.
///
/// An immutable value, replaced as a whole. Where there are lists, a certificate of an issuer
/// without one is not accepted, nor is any once its list is out of date: whoever keeps a new list
/// from us must not keep a stolen certificate alive by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationLists {
    lists: HashMap<Fingerprint, RevocationList>,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The issuer's name.
    pub issuer: String,
    /// Its number, in hexadecimal; a later list has a greater one (RFC 5280 §5.2.3).
    pub number: String,
    /// When it was made.
    pub this_update: Timestamp,
    /// Until when it holds: there must be another one by then.
    pub next_update: Timestamp,
    /// Since when and why, by serial number without leading zeros.
    pub(crate) revoked: HashMap<Vec<u8>, (Timestamp, String)>,
}

impl RevocationList {
    /// How many certificates it revokes.
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    fn check_time(&self, now: Timestamp) -> Result<(), String> {
        let Self { issuer, this_update, next_update, .. } = self;
        if now > *next_update {
            return Err(format!(
                "the revocation list of {issuer} is out of date: the next one was due at \
                 {next_update}"
            ));
        }
        if this_update.unix_millis() > now.unix_millis().saturating_add(SKEW) {
            return Err(format!("it was made in the future, at {this_update}: compare the clocks"));
        }
        Ok(())
    }

    /// Whether its number is lower than another's.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.number.len(), it.number.clone());
        key(self) < key(other)
    }
}

impl RevocationLists {
    /// Reads files of lists, in PEM or one in DER each. `issuers` are files of certificates that
    /// may have signed them: trust anchors, and chains of our own with the authorities between.
    ///
    /// # Errors
    /// [`Error::RevocationList`] names the file and the rule: a list that cannot be read, is not
    /// by one of the issuers, is out of date, or is older than another of the same issuer's that
    /// is there as well; file errors.
    pub fn load(paths: &[&Path], issuers: &[&Path], now: Timestamp) -> Result<Self, Error> {
        let known = certificates(issuers)?;
        let mut lists = Self::default();
        for path in paths {
            let bytes = files::read_public(path)?;
            lists.add(&bytes, &path.display().to_string(), &known, now, Late::Refused)?;
        }
        Ok(lists)
    }

    /// The same, whatever the age of the lists: for those who are about to fetch others, where what
    /// has been revoked counts, and what is missing or was made by nobody known says nothing.
    ///
    /// # Errors
    /// [`Error::RevocationList`] for a file that is damaged; file errors.
    pub fn load_late(paths: &[&Path], issuers: &[&Path], now: Timestamp) -> Result<Self, Error> {
        let known = certificates(issuers)?;
        let mut lists = Self::default();
        for path in paths {
            if let Ok(false) = path.try_exists() {
                continue;
            }
            let bytes = files::read_public(path)?;
            lists.add(&bytes, &path.display().to_string(), &known, now, Late::Taken)?;
        }
        Ok(lists)
    }

    /// The same of one file that is in memory; `label` names it in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_pem(
        pem: &[u8],
        label: &str,
        issuers: &[&Path],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut lists = Self::default();
        lists.add(pem, label, &certificates(issuers)?, now, Late::Refused)?;
        Ok(lists)
    }

    fn add(
        &mut self,
        bytes: &[u8],
        label: &str,
        known: &[CertificateDer<'_>],
        now: Timestamp,
        late: Late,
    ) -> Result<(), Error> {
        let Blocks { lists, authorities } = blocks(bytes, label)?;
        let known = with_those_below(known, authorities, now);
        for der in lists {
            let read = parse(&der, &known).and_then(|(issuer, list)| {
                if late == Late::Refused {
                    list.check_time(now)?;
                }
                Ok((issuer, list))
            });
            let (issuer, list) = match read {
                Ok(read) => read,
                Err(_) if late == Late::Taken => continue,
                Err(reason) => {
                    return Err(Error::RevocationList { label: label.to_owned(), reason });
                }
            };
            match self.lists.get(&issuer) {
                Some(other) if list.is_older_than(other) => {}
                _ => drop(self.lists.insert(issuer, list)),
            }
        }
        Ok(())
    }

    /// Every list, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &RevocationList> {
        self.lists.values()
    }

    /// Refuses to go back behind what was in force: a list of an issuer's that is older than
    /// `before` has it, or is missing now.
    ///
    /// # Errors
    /// What is older or missing.
    pub fn check_follows(&self, before: &Self) -> Result<(), String> {
        for (issuer, held) in &before.lists {
            match self.lists.get(issuer) {
                Some(list) if list.is_older_than(held) => {
                    return Err(format!(
                        "the revocation list of {} has the number {}, and {} is in force",
                        list.issuer, list.number, held.number
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Until when all of them hold; `None` where there are none.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.lists.values().map(|list| list.next_update).min()
    }

    /// Is that one certificate in a list?
    ///
    /// # Errors
    /// `certificate_revoked`.
    pub(crate) fn check_listed(&self, link: &Link) -> Result<(), Refusal> {
        let Some(list) = self.lists.get(&link.issuer) else { return Ok(()) };
        let Some((since, why)) = list.revoked.get(&link.serial) else { return Ok(()) };
        let serial: String = link.serial.iter().map(|b| format!("{b:02x}")).collect();
        Err(Refusal::new(
            RefusalCode::CertificateRevoked,
            format!(
                "the certificate with the serial number {serial} is revoked since {since} \
                 ({why}), says the revocation list {} of {}",
                list.number, list.issuer
            ),
        ))
    }

    /// Is any certificate of that chain revoked, or is that not known any more?
    ///
    /// # Errors
    /// `certificate_revoked`; `revocation_unknown` where a list is missing or out of date.
    pub(crate) fn check(&self, chain: &[Link], now: Timestamp) -> Result<(), Refusal> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let unknown = |reason| Err(Refusal::new(RefusalCode::RevocationUnknown, reason));
        for link in chain {
            let Some(list) = self.lists.get(&link.issuer) else {
                return unknown(format!(
                    "there is no revocation list of {}, which has issued a certificate of the \
                     chain",
                    link.issuer_name
                ));
            };
            self.check_listed(link)?;
            if now > list.next_update {
                return unknown(format!(
                    "the revocation list of {} is out of date since {}",
                    list.issuer, list.next_update
                ));
            }
        }
        Ok(())
    }
}

/// What becomes of a list that does not hold any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    Refused,
    Taken,
}

/// All certificates in these files.
fn certificates(files: &[&Path]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut all = Vec::new();
    for path in files {
        let label = path.display().to_string();
        let chain = parse_pem_certificates(&files::read_public(path)?)
            .map_err(|problem| Error::Pem { label, problem })?;
        all.extend(chain);
    }
    Ok(all)
}

/// What a file of lists holds.
pub(crate) struct Blocks {
    /// The lists, DER.
    pub(crate) lists: Vec<Vec<u8>>,
    /// Authorities that may have signed them, so that whoever takes the file up needs no other.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
}

/// `known`, and those of `given` that stand below one of them. None of those takes the name of one
/// that is known, unless it has its key, too: in that name it could say what is not revoked.
pub(crate) fn with_those_below<'a>(
    known: &[CertificateDer<'a>],
    given: Vec<CertificateDer<'a>>,
    now: Timestamp,
) -> Vec<CertificateDer<'a>> {
    let place = "an authority in the file";
    let takes_a_name = |it: &Certificate<'_>| {
        let is_same = |known: Certificate<'_>| {
            known.x509.subject().as_raw() == it.x509.subject().as_raw()
                && known.key_hash() != it.key_hash()
        };
        known.iter().filter_map(|der| Certificate::parse(der, place).ok()).any(is_same)
    };
    let is_below = |der: &CertificateDer<'_>| {
        Certificate::parse(der, place)
            .is_ok_and(|it| !takes_a_name(&it) && anchor_of(&it, known, now).is_some())
    };
    let below = given.into_iter().filter(is_below).collect::<Vec<_>>();
    known.iter().cloned().chain(below).collect()
}

/// Takes a file of lists apart.
pub(crate) fn blocks(bytes: &[u8], label: &str) -> Result<Blocks, Error> {
    let fail = |reason: String| Error::RevocationList { label: label.to_owned(), reason };
    let mut held = Blocks { lists: Vec::new(), authorities: Vec::new() };
    if bytes.first() == Some(&0x30) {
        held.lists.push(bytes.to_vec());
        return Ok(held);
    }
    let mut rest =
        std::str::from_utf8(bytes).map_err(|_| fail("it is neither PEM nor DER".to_owned()))?;
    while let Some(start) = rest.find("-----BEGIN ") {
        let is_list = !rest[start..].starts_with("-----BEGIN CERTIFICATE-----");
        let end = format!("-----END {}-----", if is_list { LABEL } else { "CERTIFICATE" });
        let stop = rest[start..]
            .find(&end)
            .ok_or_else(|| fail(format!("it holds something other than blocks of {LABEL}")))?;
        let block = &rest[start..start + stop + end.len()];
        let (found, der) = pem_rfc7468::decode_vec(block.as_bytes())
            .map_err(|error| fail(format!("its PEM is damaged: {error}")))?;
        match found {
            LABEL => held.lists.push(der),
            "CERTIFICATE" => held.authorities.push(der.into()),
            other => return Err(fail(format!("it holds a block of {other}"))),
        }
        rest = &rest[start + stop + end.len()..];
    }
    if held.lists.is_empty() {
        return Err(fail(format!("there is no {LABEL} in it")));
    }
    Ok(held)
}

/// The name, DER, in which a list is written, whether it is by him or not.
pub(crate) fn stated_issuer(der: &[u8]) -> Option<Vec<u8>> {
    let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
    Some(crl.issuer().as_raw().to_vec())
}

/// Reads and verifies one list; also the hash of its issuer's name.
pub(crate) fn parse(
    der: &[u8],
    issuers: &[CertificateDer<'_>],
) -> Result<(Fingerprint, RevocationList), String> {
    let (rest, crl) = CertificateRevocationList::from_der(der)
        .map_err(|error| format!("the revocation list cannot be parsed: {error}"))?;
    if !rest.is_empty() {
        return Err("the revocation list has bytes behind its end".into());
    }
    if crl.version() != Some(X509Version::V2) {
        return Err("the revocation list is not of version 2 (RFC 5280 §5.1.2.1)".into());
    }
    let issuer = crl.issuer().to_string();
    if crl.tbs_cert_list.signature != crl.signature_algorithm {
        return Err("it states two algorithms (RFC 5280 §5.1.1.2)".into());
    }
    // A critical extension says that it is not what it seems: a part of the list, or of others.
    let entries = crl.iter_revoked_certificates();
    let mut extensions =
        crl.extensions().iter().chain(entries.flat_map(|entry| entry.extensions()));
    if let Some(it) = extensions.find(|extension| extension.critical) {
        return Err(format!(
            "the critical extension {} is not understood: only full lists of one issuer are \
             (RFC 5280 §5.2)",
            it.oid
        ));
    }
    let number = crl.crl_number().ok_or("it has no number (RFC 5280 §5.2.3)")?;
    verify(&crl, &issuer, issuers)?;
    let next_update = crl
        .next_update()
        .ok_or("it does not say when the next one is due, nextUpdate (RFC 5280 §5.1.2.5)")?;
    let (this_update, next_update) = (time(crl.last_update()), time(next_update));
    let revoked = crl.iter_revoked_certificates().map(|entry| {
        let why =
            entry.reason_code().map_or("no reason given".to_owned(), |(_, it)| it.to_string());
        (plain(entry.raw_serial()), (time(entry.revocation_date), why))
    });
    let list = RevocationList {
        number: format!("{number:02x}"),
        this_update,
        next_update,
        revoked: revoked.collect(),
        issuer,
    };
    Ok((sha256(crl.issuer().as_raw()), list))
}

/// By the key of an authority that may sign lists, with an algorithm that is accepted.
fn verify(
    crl: &CertificateRevocationList<'_>,
    issuer: &str,
    issuers: &[CertificateDer<'_>],
) -> Result<(), String> {
    let algorithm = &crl.signature_algorithm.algorithm;
    if is_sha1(algorithm) {
        return Err(format!("the revocation list of {issuer} is signed with SHA-1"));
    }
    let place = "the issuer of the revocation list";
    let mut why = format!("none of the authorities known here is its issuer, {issuer}");
    for der in issuers {
        let Ok(authority) = Certificate::parse(der, place) else { continue };
        if authority.x509.subject().as_raw() != crl.issuer().as_raw() {
            continue;
        }
        let usable = authority.check_issuer(place).and(authority.check_key_strength(place));
        if let Err(refusal) = usable {
            why = refusal.reason;
        } else if authority.key_usage().is_some_and(|usage| !usage.crl_sign()) {
            why =
                format!("{issuer} may not sign it: its keyUsage lacks cRLSign (RFC 5280 §4.2.1.3)");
        } else if crl.verify_signature(authority.x509.public_key()).is_err() {
            why = format!("its signature is not by the key of {issuer}");
        } else {
            return Ok(());
        }
    }
    Err(why)
}

fn time(time: ASN1Time) -> Timestamp {
    Timestamp::from_unix_seconds(time.timestamp())
}

/// A serial number without leading zeros.
pub(crate) fn plain(serial: &[u8]) -> Vec<u8> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial[zeros..].to_vec()
}
