//! What the certificates of authorities say, and what all certificates have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use sealwire_names::{Timestamp, TrustDomain};

use super::ORGANIZATION;
use crate::error::Error;

/// How long before now a certificate becomes valid, for peers whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Longest validity, in days: dates stay within what every parser reads.
const MAX_VALIDITY_DAYS: u64 = 50 * 365;
/// A host that no e-mail address can have (RFC 6761 §6.4).
const NO_HOST: &str = "invalid";

/// A root: it certifies authorities of the trust domain if `certifies_authorities`, and else
/// leaves only.
pub(super) fn root(
    trust_domain: &TrustDomain,
    validity: Duration,
    certifies_authorities: bool,
) -> Result<CertificateParams, Error> {
    let path_len = u8::from(certifies_authorities);
    authority("sealwire CA", trust_domain, path_len, params(trust_domain.as_str(), validity, None)?)
}

/// The authority below a root that certifies leaves. It never outlives the root.
///
/// webpki accepts no leaf with a URI SAN below a constraint on URIs, whatever that says, as it does
/// not read such; so the trust domain is in the SAN, to which our verifier holds everything below,
/// and the constraint is on what every verifier reads: it certifies nobody's e-mail address, and by
/// extendedKeyUsage no code. DNS names are free, as nobody knows them when this is made.
pub(super) fn issuing(
    trust_domain: &TrustDomain,
    validity: Duration,
    latest: Timestamp,
) -> Result<CertificateParams, Error> {
    let params = params(trust_domain.as_str(), validity, Some(latest))?;
    let mut params = authority("sealwire issuing CA", trust_domain, 0, params)?;
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::Rfc822Name(NO_HOST.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn authority(
    name: &str,
    trust_domain: &TrustDomain,
    path_len: u8,
    mut params: CertificateParams,
) -> Result<CertificateParams, Error> {
    // The suffix keeps two authorities' names apart, so that a certificate of
    // another one is refused as what it is and not as a broken signature.
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, format!("{name} {}", suffix()?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri_san(&format!("spiffe://{trust_domain}"))?];
    Ok(params)
}

/// Parameters common to all certificates: no name yet, a random serial, the validity.
pub(super) fn params(
    name: &str,
    validity: Duration,
    latest: Option<Timestamp>,
) -> Result<CertificateParams, Error> {
    let refuse = |reason: &str| Error::Request { name: name.into(), reason: reason.into() };
    if validity.is_zero() || validity > Duration::from_secs(MAX_VALIDITY_DAYS * 86_400) {
        return Err(refuse("the validity must be more than nothing and at most 50 years"));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| refuse("the system clock is before 1970"))?;
    let mut not_after = now + validity;
    if let Some(latest) = latest {
        let latest =
            u64::try_from(latest.unix_seconds()).map_or(Duration::ZERO, Duration::from_secs);
        if latest <= now {
            return Err(refuse("the certificate authority itself has expired"));
        }
        not_after = not_after.min(latest);
    }
    let mut serial: [u8; 16] = random()?;
    // Positive, and of full length without a sign byte (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;

    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(CLOCK_SKEW).as_secs());
    params.not_after = epoch + Duration::from_secs(not_after.as_secs());
    Ok(params)
}

pub(super) fn uri_san(uri: &str) -> Result<SanType, Error> {
    uri.try_into().map(SanType::URI).map_err(Error::crypto("encoding a SAN"))
}

/// Eight digits that tell one from another.
pub(super) fn suffix() -> Result<String, Error> {
    let suffix: [u8; 4] = random()?;
    Ok(suffix.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(Error::crypto("reading randomness"))?;
    Ok(bytes)
}
