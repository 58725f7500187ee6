//! What a leaf says.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls::pki_types::DnsName;
use sealwire_names::{Kind, PeerId, Timestamp, TrustDomain};
use zeroize::Zeroizing;

use super::making::{params, uri_san};
use crate::error::Error;
use crate::files;
use crate::keys::KeyAlgorithm;
use crate::token::TokenUri;

/// Longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;
/// What follows the trust domain in the name of [`service_name`].
pub(crate) const SERVICE_PATH: &str = "/ca/join";

/// A leaf to be issued.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The name, which goes into the URI SAN and its last segment into the common name.
    pub id: PeerId,
    /// DNS SANs, for clients that go by them; sealwire does not.
    pub dns: Vec<String>,
    /// IP SANs, likewise.
    pub ip: Vec<IpAddr>,
    /// Validity from now; cut short where the authority itself expires.
    pub validity: Duration,
    /// The algorithm of the new key.
    pub key_algorithm: KeyAlgorithm,
}

/// A new leaf and its private key, in PEM.
pub struct IssuedLeaf {
    /// The leaf, and the authority below the trust anchor that has issued it, if it is one.
    pub cert_pem: String,
    /// The private key, PKCS#8, wiped when dropped; or the URI of one in a token, a line.
    pub key_pem: Zeroizing<String>,
    /// When the leaf expires.
    pub not_after: Timestamp,
}

impl IssuedLeaf {
    /// Writes the key (mode 0600), then the certificate. There is no file to write for a `key` that
    /// names one in a token itself.
    ///
    /// # Errors
    /// [`Error::Exists`] if either file is there already: nothing is overwritten.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        files::refuse_existing(&[certificate, key])?;
        if !TokenUri::is_in(key) {
            files::write_new(key, self.key_pem.as_bytes(), files::PRIVATE_FILE)?;
        }
        files::write_new(certificate, self.cert_pem.as_bytes(), files::PUBLIC_FILE)
    }
}

impl fmt::Debug for IssuedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedLeaf").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The name of the service that lets others join a trust domain. `ca` is no kind of peer, so that
/// no certificate of a peer can hold it.
pub(crate) fn service_name(trust_domain: &TrustDomain) -> String {
    format!("spiffe://{trust_domain}{SERVICE_PATH}")
}

/// Refuses a name that no certificate of an authority of ours can hold, so that it can be said before
/// anything else is made or promised: a peer's name may be longer than a common name, as others'
/// certificates need none.
///
/// # Errors
/// [`Error::Request`] if it has more than 64 characters (RFC 5280 appendix A.1).
pub fn check_issuable(id: &PeerId) -> Result<(), Error> {
    if id.name().len() <= MAX_COMMON_NAME {
        return Ok(());
    }
    let reason = format!(
        "a name in a certificate has at most {MAX_COMMON_NAME} characters (RFC 5280 appendix A.1), and this one {}",
        id.name().len()
    );
    Err(Error::Request { name: id.to_string(), reason })
}

impl LeafRequest {
    /// All that the leaf says but its key: of that trust domain, expiring no later than `latest`,
    /// and not valid before a revocation of the name.
    pub(super) fn params(
        &self,
        trust_domain: &TrustDomain,
        latest: Timestamp,
        revoked: Option<Timestamp>,
    ) -> Result<CertificateParams, Error> {
        let id = &self.id;
        let refuse = |reason: String| Error::Request { name: id.to_string(), reason };
        if id.trust_domain() != trust_domain {
            return Err(refuse(format!("this authority is of trust domain {trust_domain}")));
        }
        check_issuable(id)?;
        let mut params = params(&id.to_string(), self.validity, Some(latest))?;
        if let Some(revoked) = revoked {
            let earliest = u64::try_from(revoked.unix_seconds()).map_or(0, |second| second + 1);
            let earliest = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(earliest);
            params.not_before = params.not_before.max(earliest);
        }
        params.distinguished_name.push(DnType::CommonName, id.name());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match id.kind() {
            Kind::McpServer => ExtendedKeyUsagePurpose::ServerAuth,
            Kind::Core | Kind::Agent | Kind::User => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(uri_san(&id.to_string())?);
        for name in &self.dns {
            DnsName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name:?} is not a DNS name")))?;
            let name = name.as_str().try_into().map_err(|e| refuse(format!("{name:?}: {e}")))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(self.ip.iter().copied().map(SanType::IpAddress));
        Ok(params)
    }
}

/// A leaf of the service that lets others join: the authority's own name in its URI SAN is none
/// that a peer can have.
pub(super) fn service(
    trust_domain: &TrustDomain,
    validity: Duration,
    latest: Timestamp,
) -> Result<CertificateParams, Error> {
    let name = service_name(trust_domain);
    let mut params = params(&name, validity, Some(latest))?;
    params.distinguished_name.push(DnType::CommonName, "join");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names.push(uri_san(&name)?);
    Ok(params)
}
