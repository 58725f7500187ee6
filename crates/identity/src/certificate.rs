//! What a certificate says, read once with x509-parser for every rule that
//! webpki does not check.

use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, PeerId, Refusal, RefusalCode, Timestamp};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage};
use x509_parser::oid_registry as oid;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

/// Smallest public exponent of an RSA key (FIPS 186-5 §5.1).
const MIN_EXPONENT: u64 = 65_537;

/// A parsed X.509 v3 certificate. The parse is strict about trailing bytes and
/// duplicate extensions; signatures are not looked at here.
pub(crate) struct Certificate<'a> {
    pub(crate) x509: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Parses DER; `place` says in reasons which certificate it is.
    pub(crate) fn parse(der: &'a [u8], place: &str) -> Result<Self, Refusal> {
        let malformed =
            |why: String| Refusal::new(RefusalCode::CertificateMalformed, format!("{place} {why}"));
        let (rest, x509) = x509_parser::parse_x509_certificate(der)
            .map_err(|e| malformed(format!("cannot be parsed: {e}")))?;
        if !rest.is_empty() {
            return Err(malformed("has bytes behind its end".into()));
        }
        if x509.version() != X509Version::V3 {
            return Err(malformed(format!(
                "is X.509 v{}, which cannot carry a name in a SAN; X.509 v3 is needed (RFC 5280 §4.1.2.1)",
                u64::from(x509.version().0) + 1
            )));
        }
        x509.extensions_map().map_err(|_| malformed("repeats an extension".into()))?;
        if let Some(broken) =
            x509.extensions().iter().find(|e| e.parsed_extension().error().is_some())
        {
            return Err(malformed(format!("has a broken extension {}", broken.oid)));
        }
        let certificate = Self { x509 };
        // A name that cannot be decoded might be a second URI that the rule of
        // exactly one would then miss.
        if certificate.sans().any(|name| matches!(name, GeneralName::Invalid(..))) {
            return Err(malformed("has a SAN that cannot be decoded".into()));
        }
        Ok(certificate)
    }

    pub(crate) fn not_before(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.x509.validity().not_before.timestamp())
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.x509.validity().not_after.timestamp())
    }

    /// The one SPIFFE ID (X.509-SVID §2: exactly one URI SAN).
    pub(crate) fn peer_id(&self) -> Result<PeerId, Refusal> {
        let uris = self.uri_sans();
        match uris.as_slice() {
            [] => Err(Refusal::new(
                RefusalCode::SanMissing,
                "the leaf has no URI SAN, so it names no peer (X.509-SVID §2)",
            )),
            [uri] => uri.parse().map_err(|e| {
                Refusal::new(
                    RefusalCode::SpiffeSyntax,
                    format!(
                        "the URI SAN {uri:?} is not spiffe://<trust-domain>/<kind>/<name>: {e}"
                    ),
                )
            }),
            _ => Err(Refusal::new(
                RefusalCode::SanMultiple,
                format!(
                    "the leaf has {} URI SANs; exactly one is allowed (X.509-SVID §2)",
                    uris.len()
                ),
            )),
        }
    }

    pub(crate) fn key(&self) -> KeyKind {
        key_kind(self.x509.public_key())
    }

    /// SHA-256 of the subjectPublicKeyInfo (RFC 5280 §4.1.2.7): names the key, whatever
    /// certificates it stands in.
    pub(crate) fn key_hash(&self) -> Fingerprint {
        sha256(self.public_key())
    }

    /// The subjectPublicKeyInfo, DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.x509.public_key().raw
    }

    pub(crate) fn has_public_key(&self, key: &impl rcgen::PublicKeyData) -> bool {
        self.x509.public_key().raw == key.subject_public_key_info()
    }

    pub(crate) fn is_ca(&self) -> bool {
        matches!(self.x509.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    }

    /// How many further authorities may stand below this one (RFC 5280 §4.2.1.9).
    pub(crate) fn path_len(&self) -> Option<u32> {
        let constraints = self.x509.basic_constraints().ok()??;
        constraints.value.path_len_constraint
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.x509.issuer().as_raw() == self.x509.subject().as_raw()
    }

    pub(crate) fn key_usage(&self) -> Option<&KeyUsage> {
        self.x509.key_usage().ok()?.map(|extension| extension.value)
    }

    pub(crate) fn extended_key_usage(&self) -> Option<&ExtendedKeyUsage<'_>> {
        self.x509.extended_key_usage().ok()?.map(|extension| extension.value)
    }

    pub(crate) fn uri_sans(&self) -> Vec<&str> {
        self.sans()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn sans(&self) -> impl Iterator<Item = &GeneralName<'a>> {
        let names = match self.x509.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.as_slice(),
            _ => &[],
        };
        names.iter()
    }

    /// The common name, if there is exactly one.
    pub(crate) fn common_name(&self) -> Option<&str> {
        let mut names = self.x509.subject().iter_common_name();
        let only = names.next()?;
        if names.next().is_some() { None } else { only.as_str().ok() }
    }

    /// Whether the issuer calls itself `O=organization`.
    pub(crate) fn issuer_organization_is(&self, organization: &str) -> bool {
        self.x509.issuer().iter_organization().any(|o| o.as_str() == Ok(organization))
    }

    pub(crate) fn subject(&self) -> String {
        self.x509.subject().to_string()
    }

    pub(crate) fn issuer(&self) -> String {
        self.x509.issuer().to_string()
    }

    /// SHA-256 of what its issuer has signed. Whoever has a certificate can write its signature in
    /// another way that holds as well (ECDSA: s and n - s), and so give it another fingerprint;
    /// this he cannot change.
    pub(crate) fn signed(&self) -> Fingerprint {
        sha256(self.x509.tbs_certificate.as_ref())
    }

    pub(crate) fn serial(&self) -> String {
        self.x509.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A public key's algorithm and size, e.g. `RSA-2048`, and whether it is strong enough.
pub(crate) struct KeyKind {
    pub(crate) name: String,
    pub(crate) strong: bool,
}

/// SHA-256 of the DER encoding.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    sha256(certificate)
}

pub(crate) fn sha256(bytes: &[u8]) -> Fingerprint {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Fingerprint::from_sha256(bytes)
}

pub(crate) fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let algorithm = &spki.algorithm;
    let key = spki.subject_public_key.data.as_ref();
    let kind = |name: &str, strong| KeyKind { name: name.into(), strong };
    // Points as TLS 1.3 has them, uncompressed (RFC 8446 §4.2.8.2), and of the curve's size.
    let curve = |name: &str, size: usize| match key {
        [4, point @ ..] if point.len() == 2 * size => kind(name, true),
        _ => kind(&format!("{name} in an encoding that is not accepted"), false),
    };
    if algorithm.algorithm == oid::OID_SIG_ED25519 {
        return kind("Ed25519", key.len() == 32 && algorithm.parameters.is_none());
    }
    if algorithm.algorithm == oid::OID_KEY_TYPE_EC_PUBLIC_KEY {
        let named = algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        return match named {
            Some(named) if named == oid::OID_EC_P256 => curve("ECDSA-P256", 32),
            Some(named) if named == oid::OID_NIST_EC_P384 => curve("ECDSA-P384", 48),
            Some(named) if named == oid::OID_NIST_EC_P521 => curve("ECDSA-P521", 66),
            Some(named) => kind(&format!("ECDSA on curve {named}"), false),
            None => kind("ECDSA with unnamed curve", false),
        };
    }
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) if algorithm.algorithm == oid::OID_PKCS1_RSAENCRYPTION => {
            let bits = bit_length(rsa.modulus);
            match rsa.try_exponent() {
                Ok(exponent) if exponent < MIN_EXPONENT => {
                    kind(&format!("RSA-{bits} with the public exponent {exponent}"), false)
                }
                _ => kind(&format!("RSA-{bits}"), bits >= 2048),
            }
        }
        _ => kind(&format!("{}", algorithm.algorithm), false),
    }
}

fn bit_length(number: &[u8]) -> usize {
    let significant = number.iter().position(|&byte| byte != 0).map_or(&[][..], |at| &number[at..]);
    let top = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    significant.len() * 8 - top
}
