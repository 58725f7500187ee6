//! What a certificate must be by itself, whatever path leads to it: the rules that webpki leaves
//! out.

use sealwire_names::{Refusal, RefusalCode, TrustDomain};
use x509_parser::asn1_rs::{Any, FromDer, Sequence};
use x509_parser::certificate::BasicExtension;
use x509_parser::extensions::{
    BasicConstraints, KeyUsage, NameConstraints, SubjectAlternativeName,
};
use x509_parser::oid_registry as oid;
use x509_parser::time::ASN1Time;

use crate::certificate::Certificate;

/// Longest serial number, in octets (RFC 5280 §4.1.2.2).
const MAX_SERIAL: usize = 20;
/// From when on times are written with four digits of the year (RFC 5280 §4.1.2.5), in seconds
/// since 1970.
const YEAR_2050: i64 = 2_524_608_000;

impl Certificate<'_> {
    /// Refuses an authority that was made for another trust domain, or for a peer: a SPIFFE ID
    /// of an authority's is its trust domain without a path (X.509-SVID §4.1).
    pub(crate) fn check_claims(
        &self,
        trust_domain: &TrustDomain,
        place: &str,
    ) -> Result<(), Refusal> {
        let uris = self.uri_sans();
        let Some(other) = uris
            .iter()
            .filter_map(|uri| uri.strip_prefix("spiffe://"))
            .find(|claimed| *claimed != trust_domain.as_str())
        else {
            return Ok(());
        };
        let (code, why) = match other.parse::<TrustDomain>() {
            Ok(claimed) => (
                RefusalCode::TrustDomain,
                format!("was made for trust domain {claimed}, not {trust_domain}"),
            ),
            Err(_) => (
                RefusalCode::CertificatePath,
                format!(
                    "has the URI SAN \"spiffe://{}\", and an authority is named by a trust domain alone (X.509-SVID §4.1)",
                    other.escape_debug()
                ),
            ),
        };
        Err(Refusal::new(code, format!("{place} {why}")))
    }

    /// Refuses what RFC 5280 does not allow in any certificate, and path validation does not
    /// look at. Such a certificate is read in different ways by different readers, and what is
    /// revoked goes by its serial number.
    pub(crate) fn check_form(&self, place: &str) -> Result<(), Refusal> {
        let refuse = |why: &str| {
            Err(Refusal::new(RefusalCode::CertificateMalformed, format!("{place} {why}")))
        };
        let x509 = &self.x509.tbs_certificate;
        let serial = self.x509.raw_serial();
        if serial.first().is_none_or(|byte| byte & 0x80 != 0) || serial.iter().all(|b| *b == 0) {
            return refuse("has a serial number that is not positive (RFC 5280 §4.1.2.2)");
        }
        if serial.strip_prefix(&[0]).unwrap_or(serial).len() > MAX_SERIAL {
            return refuse("has a serial number of more than 20 octets (RFC 5280 §4.1.2.2)");
        }
        if x509.issuer_uid.is_some() || x509.subject_uid.is_some() {
            return refuse("has a unique identifier, which none may have (RFC 5280 §4.1.2.8)");
        }
        if x509.issuer.iter().next().is_none() {
            return refuse("names no issuer (RFC 5280 §4.1.2.4)");
        }
        let is_critical = |san: Option<BasicExtension<&SubjectAlternativeName<'_>>>| {
            san.is_some_and(|san| san.critical)
        };
        if x509.subject.iter().next().is_none()
            && !x509.subject_alternative_name().is_ok_and(is_critical)
        {
            return refuse("has no subject, and no critical SAN in its place (RFC 5280 §4.2.1.6)");
        }
        let san = x509.get_extension_unique(&oid::OID_X509_EXT_SUBJECT_ALT_NAME).ok().flatten();
        if san.is_some_and(|san| !are_in_form(san.value)) {
            return refuse("has a SAN in a form that no such name has (RFC 5280 §4.2.1.6)");
        }
        let validity = &x509.validity;
        let is_in_form = |time: ASN1Time| time.is_utctime() == (time.timestamp() < YEAR_2050);
        if !is_in_form(validity.not_before) || !is_in_form(validity.not_after) {
            return refuse("writes its validity in the wrong form (RFC 5280 §4.1.2.5)");
        }
        let has_path_len = |it: Option<BasicExtension<&BasicConstraints>>| {
            it.is_some_and(|it| it.value.path_len_constraint.is_some())
        };
        if !self.is_ca() && x509.basic_constraints().is_ok_and(has_path_len) {
            return refuse("has a pathLen and is no authority (RFC 5280 §4.2.1.9)");
        }
        if !self.is_ca() && !matches!(x509.name_constraints(), Ok(None)) {
            return refuse("has nameConstraints and is no authority (RFC 5280 §4.2.1.10)");
        }
        // webpki takes it for understood, and leaves the list to us; we go by those that we are given.
        let points = &oid::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;
        if x509.extensions().iter().any(|it| it.critical && it.oid == *points) {
            return Err(Refusal::new(
                RefusalCode::CertificatePath,
                format!(
                    "{place} has a critical cRLDistributionPoints, which is not followed (RFC 5280 §4.2)"
                ),
            ));
        }
        Ok(())
    }

    /// Refuses an authority's certificate as a leaf.
    pub(crate) fn check_not_ca(&self) -> Result<(), Refusal> {
        let why = if self.is_ca() {
            "its basicConstraints say cA"
        } else if self.key_usage().is_some_and(KeyUsage::key_cert_sign) {
            "its keyUsage allows keyCertSign"
        } else if self.key_usage().is_some_and(KeyUsage::crl_sign) {
            "its keyUsage allows cRLSign"
        } else {
            return Ok(());
        };
        Err(Refusal::new(
            RefusalCode::CaAsLeaf,
            format!("the leaf is a certificate authority: {why} (X.509-SVID §4.1)"),
        ))
    }

    /// Refuses a certificate that must not sign others, in the place of one that does.
    pub(crate) fn check_issuer(&self, place: &str) -> Result<(), Refusal> {
        let refuse =
            |why: &str| Err(Refusal::new(RefusalCode::CertificatePath, format!("{place} {why}")));
        if !self.is_ca() {
            return refuse("is not a certificate authority (RFC 5280 §4.2.1.9)");
        }
        if self.key_usage().is_some_and(|usage| !usage.key_cert_sign()) {
            return refuse(
                "may not sign certificates: its keyUsage lacks keyCertSign (RFC 5280 §4.2.1.3)",
            );
        }
        if matches!(self.x509.name_constraints(), Ok(Some(constraints)) if !constraints.critical) {
            return refuse("has nameConstraints that are not critical (RFC 5280 §4.2.1.10)");
        }
        if matches!(self.x509.name_constraints(), Ok(Some(constraints)) if is_empty(constraints.value))
        {
            return refuse("has nameConstraints that name nothing (RFC 5280 §4.2.1.10)");
        }
        Ok(())
    }

    /// Of an authority below an anchor, what RFC 5280 wants of its form as well. Anchors are
    /// trusted for what they are, and many of them leave this out.
    pub(crate) fn check_intermediate(&self, place: &str) -> Result<(), Refusal> {
        let refuse =
            |why: &str| Err(Refusal::new(RefusalCode::CertificatePath, format!("{place} {why}")));
        if self.key_usage().is_none() {
            return refuse("has no keyUsage (RFC 5280 §4.2.1.3)");
        }
        if matches!(self.x509.basic_constraints(), Ok(Some(constraints)) if !constraints.critical) {
            return refuse("has basicConstraints that are not critical (RFC 5280 §4.2.1.9)");
        }
        Ok(())
    }

    /// Refuses keys below 112-bit strength, and kinds that TLS 1.3 peers here do not sign with.
    pub(crate) fn check_key_strength(&self, place: &str) -> Result<(), Refusal> {
        let key = self.key();
        if key.strong {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::WeakKey,
            format!(
                "{place} has a key of kind {}; Ed25519, ECDSA on P-256, P-384 or P-521, or RSA of 2048 bits or more is needed",
                key.name
            ),
        ))
    }
}

fn is_empty(constraints: &NameConstraints<'_>) -> bool {
    let NameConstraints { permitted_subtrees, excluded_subtrees } = constraints;
    [permitted_subtrees, excluded_subtrees].iter().all(|it| it.as_ref().is_none_or(Vec::is_empty))
}

/// Whether each name of a SAN is written as names of its kind are: what is not, one reader takes for
/// a name and another for none. Whether a name is a good one is asked elsewhere.
fn are_in_form(san: &[u8]) -> bool {
    let Ok((_, names)) = Sequence::from_der(san) else { return false };
    let mut rest = names.content.as_ref();
    while !rest.is_empty() {
        let Ok((next, name)) = Any::from_der(rest) else { return false };
        let is_text = |it: &[u8]| !it.is_empty() && it.iter().all(u8::is_ascii_graphic);
        let is_in_form = match (name.tag().0, name.header.is_constructed()) {
            // otherName, x400Address, directoryName, ediPartyName.
            (0 | 3..=5, true) => true,
            // rfc822Name, dNSName, uniformResourceIdentifier: IA5String, and not empty. What a URI
            // is worth is told with more words when it is read.
            (1 | 2, false) => is_text(name.data),
            (6 | 8, false) => true,
            (7, false) => matches!(name.data.len(), 4 | 16),
            _ => false,
        };
        if !is_in_form {
            return false;
        }
        rest = next;
    }
    true
}
