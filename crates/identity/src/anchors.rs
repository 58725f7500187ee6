use std::borrow::Cow;
use std::path::Path;

use rustls::pki_types::{CertificateDer, TrustAnchor};
use sealwire_names::{Refusal, RefusalCode, Timestamp, TrustDomain};

use crate::certificate::Certificate;
use crate::error::Error;
use crate::files;
use crate::pem::parse_pem_certificates;

/// The certificate authorities that vouch for the peers of one trust domain.
///
/// Bound to that domain: a chain to one of these anchors proves a name in it and in
/// no other (SPIFFE Trust Domain and Bundle §3).
#[derive(Debug)]
pub struct TrustAnchors {
    trust_domain: TrustDomain,
    anchors: Vec<TrustAnchor<'static>>,
    rules: Vec<AnchorRules>,
}

impl TrustAnchors {
    /// Reads a PEM file of one or more authorities' certificates.
    ///
    /// # Errors
    /// Names the file and what is wrong: the PEM, a certificate that is no authority,
    /// a weak key, or an authority made for another trust domain.
    pub fn load(path: &Path, trust_domain: TrustDomain) -> Result<Self, Error> {
        Self::from_pem(&files::read_public(path)?, trust_domain, &path.display().to_string())
    }

    /// Like [`TrustAnchors::load`], from memory; `label` names the text in errors.
    ///
    /// # Errors
    /// As [`TrustAnchors::load`].
    pub fn from_pem(pem: &[u8], trust_domain: TrustDomain, label: &str) -> Result<Self, Error> {
        let certificates = parse_pem_certificates(pem)
            .map_err(|problem| Error::Pem { label: label.into(), problem })?;
        Self::new(&certificates, trust_domain)
            .map_err(|refusal| Error::Certificate { label: label.into(), refusal })
    }

    /// Like [`TrustAnchors::load`], from certificates.
    pub(crate) fn new(
        certificates: &[CertificateDer<'_>],
        trust_domain: TrustDomain,
    ) -> Result<Self, Refusal> {
        let mut anchors = Vec::with_capacity(certificates.len());
        let mut rules = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            rules.push(AnchorRules::check(certificate, &trust_domain)?);
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|e| {
                Refusal::new(
                    RefusalCode::CertificateMalformed,
                    format!("the trust anchor cannot be used: {e}"),
                )
            })?;
            anchors.push(anchor.to_owned());
        }
        Ok(Self { trust_domain, anchors, rules })
    }

    /// The trust domain these anchors vouch for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// All anchors, whatever the time.
    pub(crate) fn all(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// What is known of each.
    pub(crate) fn each(&self) -> impl Iterator<Item = &AnchorRules> {
        self.rules.iter()
    }

    /// The anchors that are valid at `now`. webpki checks no anchor's validity.
    pub(crate) fn valid_at(&self, now: Timestamp) -> Cow<'_, [TrustAnchor<'static>]> {
        if self.rules.iter().all(|rules| rules.is_valid_at(now)) {
            return Cow::Borrowed(&self.anchors);
        }
        let pairs = self.anchors.iter().zip(&self.rules);
        Cow::Owned(pairs.filter(|(_, r)| r.is_valid_at(now)).map(|(a, _)| a.clone()).collect())
    }

    /// What else is known of an anchor that webpki chose. The same name and key may
    /// stand in several certificates, as after a renewal.
    pub(crate) fn rules<'s>(
        &'s self,
        chosen: &'s TrustAnchor<'_>,
    ) -> impl Iterator<Item = &'s AnchorRules> {
        let pairs = self.anchors.iter().zip(&self.rules);
        pairs.filter(move |(anchor, _)| *anchor == chosen).map(|(_, rules)| rules)
    }
}

/// What a trust anchor's certificate says and webpki forgets.
#[derive(Debug)]
pub(crate) struct AnchorRules {
    pub(crate) subject: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) path_len: Option<u32>,
}

impl AnchorRules {
    fn check(der: &CertificateDer<'_>, trust_domain: &TrustDomain) -> Result<Self, Refusal> {
        let place = "the trust anchor";
        let certificate = Certificate::parse(der, place)?;
        certificate.check_issuer(place)?;
        certificate.check_key_strength(place)?;
        certificate.check_claims(trust_domain, place)?;
        Ok(Self {
            subject: certificate.subject(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            path_len: certificate.path_len(),
        })
    }

    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}
