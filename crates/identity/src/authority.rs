use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, DnsName};
use rustls::sign::CertifiedKey;
use sealwire_names::{Fingerprint, Kind, PeerId, Timestamp, TrustDomain};
use zeroize::Zeroizing;

use crate::anchors::TrustAnchors;
use crate::certificate::{Certificate, sha256};
use crate::error::Error;
use crate::files;
use crate::keys::{KeyAlgorithm, PrivateKey};
use crate::pem::parse_pem_certificates;
use crate::request::{IssuedCertificate, RequestedKey};
use crate::summary::{CertificateSummary, describe};
use crate::token::{KeyPlace, TokenUri};

/// The organization in our own authorities' names: their leaves' common names are
/// always checked.
pub(crate) const ORGANIZATION: &str = "sealwire";

/// What follows the trust domain in the name of [`service_name`].
pub(crate) const SERVICE_PATH: &str = "/ca/join";

/// How long before now a certificate becomes valid, for peers whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Longest validity, in days: dates stay within what every parser reads.
const MAX_VALIDITY_DAYS: u64 = 50 * 365;
/// What was tried when it failed.
const SIGNING: &str = "signing a certificate";
/// Longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// A certificate authority of our own: one self-signed certificate and its key.
pub struct CertificateAuthority {
    issuer: Issuer<'static, PrivateKey>,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_hash: Fingerprint,
    trust_domain: TrustDomain,
    not_after: Timestamp,
}

impl CertificateAuthority {
    /// Makes a new authority for a trust domain in `dir`: `ca-cert.pem`, and
    /// `ca-key.pem` of mode 0400. It may issue leaves only (pathLen 0).
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one already; [`Error::Request`] for a validity
    /// of no time or over 50 years; file errors.
    pub fn create(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
    ) -> Result<Self, Error> {
        Self::create_in(dir, trust_domain, validity, None)
    }

    /// The same with its key in a token, made there unless there is one of that name:
    /// `ca-key.pem` holds the URI then.
    ///
    /// # Errors
    /// As [`Self::create`], and [`Error::Token`].
    pub fn create_in(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
        token: Option<&TokenUri>,
    ) -> Result<Self, Error> {
        let (certificate_path, key_path) = paths(dir);
        files::create_private_dir(dir)?;
        files::refuse_existing(&[&certificate_path, &key_path])?;

        let (key_pem, certificate_pem) = new_pair(trust_domain, validity, token)?;
        files::write_new(&key_path, key_pem.as_bytes(), files::CA_KEY_FILE)?;
        files::write_new(&certificate_path, certificate_pem.as_bytes(), files::PUBLIC_FILE)?;
        Self::load(dir, trust_domain)
    }

    /// Begins a rotation: makes the key of the authority to come in `dir`, `next-key.pem`, and adds
    /// its certificate to `ca-cert.pem`, so that it is trusted before it issues anything. `false`
    /// if that has been done already. If the present key is in a token, the next is made there, too,
    /// with the same name and 8 digits behind it.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::load`]; nothing that is in use is changed then.
    pub fn prepare_next(
        dir: &Path,
        trust_domain: &TrustDomain,
        validity: Duration,
    ) -> Result<bool, Error> {
        if Self::next(dir)?.is_some() {
            return Ok(false);
        }
        Self::load(dir, trust_domain)?;
        let (certificate_path, key_path) = paths(dir);
        let mut trusted = files::read_public(&certificate_path)?;
        let token = match KeyPlace::read(&key_path, files::CA_KEY_FILE)? {
            KeyPlace::Token(present) => Some(present.successor(&suffix()?)),
            KeyPlace::Text(_) => None,
        };
        let (key_pem, certificate_pem) = new_pair(trust_domain, validity, token.as_ref())?;
        // One that is there belongs to no certificate: somebody was interrupted here.
        files::write_atomic(&next_key(dir), key_pem.as_bytes(), files::CA_KEY_FILE)?;
        trusted.extend(certificate_pem.as_bytes());
        files::write_atomic(&certificate_path, &trusted, files::PUBLIC_FILE)?;
        Ok(true)
    }

    /// The certificate of the authority to come, if a rotation has begun.
    ///
    /// # Errors
    /// Of files that cannot be read or used.
    pub fn next(dir: &Path) -> Result<Option<CertificateSummary>, Error> {
        let key_path = next_key(dir);
        if !key_path.exists() {
            return Ok(None);
        }
        let key = PrivateKey::load(&key_path, files::CA_KEY_FILE)?;
        let (certificate_path, _) = paths(dir);
        let label = certificate_path.display().to_string();
        let all = describe(&files::read_public(&certificate_path)?, &label)?;
        let hash = sha256(&key.subject_public_key_info());
        Ok(all.into_iter().find(|certificate| certificate.key_hash == hash))
    }

    /// Puts the key of the authority to come in the place of the present one, which is gone then:
    /// from now on it issues. What the old one has issued stays trusted with its certificate.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none, or it cannot be renamed; nothing is changed then.
    pub fn activate_next(dir: &Path) -> Result<(), Error> {
        let (_, key_path) = paths(dir);
        files::rename(&next_key(dir), &key_path)
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// Names the file: a key open to others (wider than 0400), a key of another
    /// certificate, an authority of another trust domain, and file errors.
    pub fn load(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, Error> {
        let (certificate_path, key_path) = paths(dir);
        let certificate_label = certificate_path.display().to_string();
        let pem = files::read_public(&certificate_path)?;
        // The same rules as for any trust anchor.
        TrustAnchors::from_pem(&pem, trust_domain.clone(), &certificate_label)?;
        let chain = parse_pem_certificates(&pem)
            .map_err(|problem| Error::Pem { label: certificate_label.clone(), problem })?;
        let key = PrivateKey::load(&key_path, files::CA_KEY_FILE)?;

        let refuse = |refusal| Error::Certificate { label: certificate_label.clone(), refusal };
        // While one authority takes another's place, both are trusted, and one has the key.
        let mut own = None;
        for der in &chain {
            let certificate = Certificate::parse(der, "the authority").map_err(refuse)?;
            if own.is_none() && certificate.has_public_key(key.public()) {
                own = Some((der, certificate));
            }
        }
        let Some((der, certificate)) = own else {
            return Err(Error::KeyMismatch {
                certificate: certificate_label,
                key: key_path.display().to_string(),
            });
        };
        let (not_after, key_hash) = (certificate.not_after(), certificate.key_hash());
        let issuer = Issuer::from_ca_cert_der(der, key)
            .map_err(Error::crypto("reading the authority's certificate"))?;
        Ok(Self {
            issuer,
            certificate_pem: String::from_utf8_lossy(&pem).into_owned(),
            certificate: der.clone(),
            key_hash,
            trust_domain: trust_domain.clone(),
            not_after,
        })
    }

    /// Issues a leaf with a new key.
    ///
    /// # Errors
    /// [`Error::Request`] names the rule that the request breaks.
    pub fn issue(&self, request: &LeafRequest) -> Result<IssuedLeaf, Error> {
        self.issue_after(request, None)
    }

    /// The same for a name of which everything up to `revoked` is revoked: the leaf is valid from
    /// the first whole second after that, rather than from five minutes ago. Until then it is
    /// not valid anywhere.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_after(
        &self,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
    ) -> Result<IssuedLeaf, Error> {
        self.issue_in(None, request, revoked)
    }

    /// As [`Self::issue_after`]; with `token` the key is there, made unless there is one of that
    /// name.
    ///
    /// # Errors
    /// As [`Self::issue`], and [`Error::Token`].
    pub fn issue_in(
        &self,
        token: Option<&TokenUri>,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
    ) -> Result<IssuedLeaf, Error> {
        let params = self.leaf(request, revoked)?;
        let (key, key_pem) = PrivateKey::make(request.key_algorithm, token)?;
        let IssuedCertificate { cert_pem, not_after } = self.sign(&params, &key)?;
        Ok(IssuedLeaf { cert_pem, key_pem, not_after })
    }

    /// As [`Self::issue_after`], for a key that somebody else has made and holds. Nothing else of
    /// what he asks for counts: the rest is in `request`, but for the algorithm.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_for(
        &self,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
        key: &RequestedKey,
    ) -> Result<IssuedCertificate, Error> {
        self.sign(&self.leaf(request, revoked)?, &key.public)
    }

    /// A leaf, with its key, for the service that lets others join: the authority's own name in
    /// its URI SAN is none that [`Self::issue`] can give to a peer.
    pub(crate) fn issue_service(&self, validity: Duration) -> Result<CertifiedKey, Error> {
        let name = service_name(&self.trust_domain);
        let mut params = params(&name, validity, Some(self.not_after))?;
        params.distinguished_name.push(DnType::CommonName, "join");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(uri_san(&name)?);
        let (key, _never_written) = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(Error::crypto(SIGNING))?;
        Ok(CertifiedKey::new(vec![leaf.der().clone(), self.certificate.clone()], key.signer()))
    }

    /// All that a leaf says but its key.
    fn leaf(
        &self,
        request: &LeafRequest,
        revoked: Option<Timestamp>,
    ) -> Result<CertificateParams, Error> {
        let id = &request.id;
        let refuse = |reason: String| Error::Request { name: id.to_string(), reason };
        if *id.trust_domain() != self.trust_domain {
            return Err(refuse(format!("this authority is of trust domain {}", self.trust_domain)));
        }
        if id.name().len() > MAX_COMMON_NAME {
            return Err(refuse(format!(
                "a name in a certificate has at most {MAX_COMMON_NAME} characters (RFC 5280 appendix A.1)"
            )));
        }
        let mut params = params(&id.to_string(), request.validity, Some(self.not_after))?;
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
        for name in &request.dns {
            DnsName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name:?} is not a DNS name")))?;
            let name = name.as_str().try_into().map_err(|e| refuse(format!("{name:?}: {e}")))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(request.ip.iter().copied().map(SanType::IpAddress));
        Ok(params)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<IssuedCertificate, Error> {
        let certificate = params.signed_by(key, &self.issuer).map_err(Error::crypto(SIGNING))?;
        let not_after = Timestamp::from_unix_seconds(params.not_after.unix_timestamp());
        Ok(IssuedCertificate { cert_pem: certificate.pem(), not_after })
    }

    /// SHA-256 of its subjectPublicKeyInfo: by this, whoever joins knows it.
    pub fn key_hash(&self) -> Fingerprint {
        self.key_hash
    }

    /// The certificate whose key signs: of those that are trusted, it need not be the first.
    pub(crate) fn issuing_certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, PrivateKey> {
        &self.issuer
    }

    /// The authority's certificate, which every peer needs as its trust anchor.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The trust domain it issues names in.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When its certificate expires; no leaf outlives it.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

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
    /// The leaf.
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

/// A new self-signed authority: what stands in its key's file, and its certificate, PEM.
fn new_pair(
    trust_domain: &TrustDomain,
    validity: Duration,
    token: Option<&TokenUri>,
) -> Result<(Zeroizing<String>, String), Error> {
    let (key, key_pem) = PrivateKey::make(KeyAlgorithm::EcdsaP256, token)?;
    let mut params = params(trust_domain.as_str(), validity, None)?;
    // The suffix keeps two authorities' names apart, so that a certificate of
    // another one is refused as what it is and not as a broken signature.
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::CommonName, format!("sealwire CA {}", suffix()?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri_san(&format!("spiffe://{trust_domain}"))?];
    let certificate = params.self_signed(&key).map_err(Error::crypto(SIGNING))?;
    Ok((key_pem, certificate.pem()))
}

/// The key of the authority to come.
fn next_key(dir: &Path) -> PathBuf {
    dir.join("next-key.pem")
}

fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("ca-cert.pem"), dir.join("ca-key.pem"))
}

/// Parameters common to all certificates: no name yet, a random serial, the validity.
fn params(
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

fn uri_san(uri: &str) -> Result<SanType, Error> {
    uri.try_into().map(SanType::URI).map_err(Error::crypto("encoding a SAN"))
}

/// Eight digits that tell one from another.
fn suffix() -> Result<String, Error> {
    let suffix: [u8; 4] = random()?;
    Ok(suffix.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(Error::crypto("reading randomness"))?;
    Ok(bytes)
}
