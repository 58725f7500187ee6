use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, Timestamp};
use x509_parser::extensions::GeneralName;

use crate::certificate::{Certificate, fingerprint};
use crate::crl::Link;
use crate::error::Error;
use crate::pem::{PemError, parse_pem_certificates};

/// What a certificate says, for people to read. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// URI SANs: one SPIFFE ID if it is one of ours.
    pub uris: Vec<String>,
    /// DNS SANs.
    pub dns: Vec<String>,
    /// IP SANs.
    pub ip: Vec<IpAddr>,
    /// Start of the validity.
    pub not_before: Timestamp,
    /// End of the validity.
    pub not_after: Timestamp,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the DER encoding.
    pub fingerprint: Fingerprint,
    /// What is signed of it, see [`Revoked::Certificate`](crate::Revoked::Certificate).
    pub signed: Fingerprint,
    /// SHA-256 of its subjectPublicKeyInfo: names the key, whatever certificates it stands in.
    pub key_hash: Fingerprint,
    /// Whether it may issue certificates.
    pub is_ca: bool,
    /// The public key's algorithm and size, e.g. `ECDSA-P256`.
    pub key_algorithm: String,
    /// keyUsage and extendedKeyUsage, by their names in RFC 5280.
    pub usages: Vec<&'static str>,
    common_name: Option<String>,
    /// As its issuer's revocation list names it.
    pub(crate) link: Link,
}

impl CertificateSummary {
    /// The subject's common name, if there is exactly one.
    pub(crate) fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The serial number without leading zeros.
    pub(crate) fn serial_bytes(&self) -> Vec<u8> {
        self.link.serial().to_vec()
    }
}

/// Summarizes every certificate in a PEM text, or the one in a DER encoding;
/// `label` names the text in errors.
///
/// # Errors
/// [`Error::Pem`] or [`Error::Certificate`] if there is none or it cannot be parsed.
pub fn describe(pem_or_der: &[u8], label: &str) -> Result<Vec<CertificateSummary>, Error> {
    let certificates = match parse_pem_certificates(pem_or_der) {
        Err(PemError::Der) => vec![CertificateDer::from(pem_or_der.to_vec())],
        Err(problem) => return Err(Error::Pem { label: label.into(), problem }),
        Ok(certificates) => certificates,
    };
    certificates.iter().map(|certificate| summarize(certificate, label)).collect()
}

fn summarize(der: &CertificateDer<'_>, label: &str) -> Result<CertificateSummary, Error> {
    let certificate = Certificate::parse(der, "the certificate")
        .map_err(|refusal| Error::Certificate { label: label.into(), refusal })?;
    let mut dns = Vec::new();
    let mut ip = Vec::new();
    for name in certificate.sans() {
        match name {
            GeneralName::DNSName(name) => dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => ip.extend(ip_address(bytes)),
            _ => {}
        }
    }
    Ok(CertificateSummary {
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        uris: certificate.uri_sans().into_iter().map(str::to_owned).collect(),
        dns,
        ip,
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        serial: certificate.serial(),
        fingerprint: fingerprint(der),
        signed: certificate.signed(),
        key_hash: certificate.key_hash(),
        is_ca: certificate.is_ca(),
        key_algorithm: certificate.key().name,
        usages: usages(&certificate),
        common_name: certificate.common_name().map(str::to_owned),
        link: Link::of(&certificate),
    })
}

fn usages(certificate: &Certificate<'_>) -> Vec<&'static str> {
    let mut usages = Vec::new();
    let mut add = |present: bool, name| {
        if present {
            usages.push(name);
        }
    };
    if let Some(usage) = certificate.key_usage() {
        add(usage.digital_signature(), "digitalSignature");
        add(usage.non_repudiation(), "nonRepudiation");
        add(usage.key_encipherment(), "keyEncipherment");
        add(usage.data_encipherment(), "dataEncipherment");
        add(usage.key_agreement(), "keyAgreement");
        add(usage.key_cert_sign(), "keyCertSign");
        add(usage.crl_sign(), "cRLSign");
    }
    if let Some(usage) = certificate.extended_key_usage() {
        add(usage.any, "anyExtendedKeyUsage");
        add(usage.server_auth, "serverAuth");
        add(usage.client_auth, "clientAuth");
        add(usage.code_signing, "codeSigning");
        add(usage.email_protection, "emailProtection");
    }
    usages
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
