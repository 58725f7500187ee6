//! Authorities that stand below a trust anchor, where no path to a leaf has been validated.

use rustls::pki_types::CertificateDer;
use sealwire_names::{Timestamp, TrustDomain};
use x509_parser::oid_registry as oid;

use crate::certificate::Certificate;

/// What they are called in reasons.
const PLACE: &str = "the authority";

/// Of `given`, the authorities that one of `anchors` has certified itself for that trust domain, as
/// it stands at `now`: by its name in the SAN, and for TLS in both roles. Others among them are left out: what somebody hands over with his word may
/// be anything.
///
/// One step below an anchor is all that an authority of ours has.
pub fn authorities_below(
    anchors: &[CertificateDer<'_>],
    given: &[CertificateDer<'_>],
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Vec<CertificateDer<'static>> {
    let is_ours = |certificate: &Certificate<'_>| {
        certificate.check_claims(trust_domain, PLACE).is_ok()
            && is_of(certificate, trust_domain)
            && anchor_of(certificate, anchors, now).is_some()
    };
    given
        .iter()
        .filter(|der| Certificate::parse(der, PLACE).is_ok_and(|it| is_ours(&it)))
        .map(|der| der.clone().into_owned())
        .collect()
}

/// Whether it is the authority of that trust domain and of nothing else, to certify peers.
fn is_of(authority: &Certificate<'_>, trust_domain: &TrustDomain) -> bool {
    authority.uri_sans() == [format!("spiffe://{trust_domain}").as_str()]
        && authority.sans().count() == 1
        && authority
            .extended_key_usage()
            .is_some_and(|usage| usage.server_auth && usage.client_auth)
}

/// The anchor that has certified that authority, if it may do so, and both are valid at `now` and
/// as RFC 5280 wants them.
pub(crate) fn anchor_of<'a, 'b>(
    authority: &Certificate<'_>,
    anchors: &'a [CertificateDer<'b>],
    now: Timestamp,
) -> Option<&'a CertificateDer<'b>> {
    let is_valid = |it: &Certificate<'_>| (it.not_before()..=it.not_after()).contains(&now);
    let in_order = authority
        .check_form(PLACE)
        .and(authority.check_issuer(PLACE))
        .and(authority.check_intermediate(PLACE))
        .and(authority.check_key_strength(PLACE));
    if in_order.is_err() || !is_valid(authority) {
        return None;
    }
    anchors.iter().find(|der| {
        let Ok(anchor) = Certificate::parse(der, PLACE) else { return false };
        is_valid(&anchor)
            && anchor.check_issuer(PLACE).and(anchor.check_key_strength(PLACE)).is_ok()
            && anchor.path_len() != Some(0)
            && has_certified(&anchor, authority)
    })
}

/// Whether the one has signed the other, whatever the time.
pub(crate) fn has_certified(issuer: &Certificate<'_>, certificate: &Certificate<'_>) -> bool {
    // Where TLS is spoken, webpki refuses it.
    let is_weak = is_sha1(&certificate.x509.signature_algorithm.algorithm);
    !is_weak
        && issuer.x509.subject().as_raw() == certificate.x509.issuer().as_raw()
        && certificate.x509.verify_signature(Some(issuer.x509.public_key())).is_ok()
}

/// Whether a signature is over a digest that can be met by another text.
pub(crate) fn is_sha1(algorithm: &oid::Oid<'_>) -> bool {
    [oid::OID_PKCS1_SHA1WITHRSA, oid::OID_SHA1_WITH_RSA].contains(algorithm)
}
