use std::fmt;

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use crate::error::{Error, shell_quote};

/// Every certificate in a PEM text (RFC 7468), in order, leaf first.
///
/// Text between the blocks is ignored, as RFC 7468 §2 says. What decides is strict:
/// every block must be whole, and a private key among the certificates is refused,
/// because certificate files are readable by all.
///
/// # Errors
/// [`PemError`] tells empty, truncated and binary input apart.
pub fn parse_pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut certificates = Vec::new();
    for section in sections(pem)? {
        match section.label {
            "CERTIFICATE" => certificates.push(section.decode::<CertificateDer<'static>>()?),
            label if label.ends_with("PRIVATE KEY") => {
                return Err(PemError::KeyAmongCertificates);
            }
            "TRUSTED CERTIFICATE" => return Err(PemError::TrustedCertificate),
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(certificates)
}

/// The one private key in a PEM text: PKCS#8, SEC1, PKCS#1, or OpenSSH (Ed25519
/// only, converted to PKCS#8). It is wiped when dropped.
///
/// Blocks of other kinds, such as `EC PARAMETERS` and certificates, are ignored.
///
/// # Errors
/// [`PemError`]; encrypted keys and several keys in one text are refused.
pub fn parse_pem_private_key(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
    let mut key = None;
    for section in sections(pem)? {
        let found = match section.label {
            "PRIVATE KEY" => PrivateKeyDer::Pkcs8(section.decode::<PrivatePkcs8KeyDer<'static>>()?),
            "EC PRIVATE KEY" => {
                section.refuse_encrypted()?;
                PrivateKeyDer::Sec1(section.decode::<PrivateSec1KeyDer<'static>>()?)
            }
            "RSA PRIVATE KEY" => {
                section.refuse_encrypted()?;
                PrivateKeyDer::Pkcs1(section.decode::<PrivatePkcs1KeyDer<'static>>()?)
            }
            "OPENSSH PRIVATE KEY" => PrivateKeyDer::Pkcs8(openssh_to_pkcs8(section.text)?),
            "ENCRYPTED PRIVATE KEY" => return Err(PemError::Encrypted),
            _ => continue,
        };
        if key.replace(Zeroizing::new(found)).is_some() {
            return Err(PemError::SeveralKeys);
        }
    }
    key.ok_or(PemError::NoKey)
}

/// What is in the one block of a PEM text, which must have this label.
///
/// # Errors
/// [`PemError`]; further blocks are refused, whatever they are.
pub fn parse_pem_block(pem: &[u8], label: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    match &sections(pem)?[..] {
        [section] if section.label == label => {
            let (_, held) = pem_rfc7468::decode_vec(section.text).map_err(|_| PemError::Base64)?;
            Ok(Zeroizing::new(held))
        }
        _ => Err(PemError::OtherBlock),
    }
}

/// What is in the first block of a PEM text, which must have this label, and in the one after it,
/// if there is one, which must have the other.
///
/// # Errors
/// [`PemError`]; further blocks are refused, whatever they are.
pub fn parse_pem_blocks(
    pem: &[u8],
    label: &str,
    second: &str,
) -> Result<(Vec<u8>, Option<Vec<u8>>), PemError> {
    let decode = |section: &Section<'_>| {
        let decoded = pem_rfc7468::decode_vec(section.text);
        decoded.map(|(_, held)| held).map_err(|_| PemError::Base64)
    };
    match &sections(pem)?[..] {
        [one] if one.label == label => Ok((decode(one)?, None)),
        [one, two] if one.label == label && two.label == second => {
            Ok((decode(one)?, Some(decode(two)?)))
        }
        _ => Err(PemError::OtherBlock),
    }
}

/// A block of PEM, encoded in constant time into one buffer that is wiped.
///
/// # Errors
/// [`Error::Crypto`] if `label` is none (RFC 7468 §2).
pub fn encode_pem(label: &'static str, bytes: &[u8]) -> Result<Zeroizing<String>, Error> {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, bytes)
        .map(Zeroizing::new)
        .map_err(Error::crypto("encoding PEM"))
}

/// Why a text is not the PEM that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemError {
    /// Nothing, or only white space.
    Empty,
    /// Binary DER instead of PEM.
    Der,
    /// Some other file without any PEM block.
    NotPem,
    /// A block has a BEGIN line and no matching END line.
    Truncated,
    /// A block's base64 cannot be decoded.
    Base64,
    /// There is no CERTIFICATE block.
    NoCertificate,
    /// There is no private key block.
    NoKey,
    /// There is more than one private key block.
    SeveralKeys,
    /// The private key is encrypted with a passphrase.
    Encrypted,
    /// The OpenSSH private key is encrypted with a passphrase.
    OpenSshEncrypted,
    /// The OpenSSH private key cannot be parsed.
    OpenSsh,
    /// The OpenSSH private key is not Ed25519.
    OpenSshAlgorithm,
    /// The blocks are not one of the kind that is needed.
    OtherBlock,
    /// A private key stands in a certificate file.
    KeyAmongCertificates,
    /// The certificate is in OpenSSL's own "TRUSTED CERTIFICATE" form.
    TrustedCertificate,
}

impl PemError {
    /// What to do about it; `label` is the file's name.
    pub(crate) fn remedy(self, label: &str) -> String {
        let file = shell_quote(label);
        match self {
            Self::Empty | Self::Truncated | Self::Base64 | Self::OpenSsh => {
                format!("copy {label} again from where it was made, or issue it again")
            }
            Self::Der => format!(
                "convert it to PEM: openssl x509 -inform DER -in {file} (certificate) or openssl pkey -inform DER -in {file} (key)"
            ),
            Self::NotPem | Self::NoCertificate | Self::NoKey | Self::OtherBlock => {
                format!("check that {label} is the file you meant")
            }
            Self::SeveralKeys => "keep one private key in the file".into(),
            Self::Encrypted => format!("remove the passphrase: openssl pkey -in {file}"),
            Self::OpenSshEncrypted => {
                format!("remove the passphrase: ssh-keygen -p -N '' -f {file}")
            }
            Self::OpenSshAlgorithm => {
                format!("convert it to PKCS#8: ssh-keygen -p -N '' -m PKCS8 -f {file}")
            }
            Self::KeyAmongCertificates => {
                "move the private key to a file of its own with mode 0600".into()
            }
            Self::TrustedCertificate => format!("convert it: openssl x509 -in {file}"),
        }
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file is empty",
            Self::Der => "this is DER (binary), and PEM (text) is needed",
            Self::NotPem => "there is no PEM block in it",
            Self::Truncated => "a PEM block is truncated: its END line is missing",
            Self::Base64 => "a PEM block's base64 is damaged",
            Self::NoCertificate => "there is no CERTIFICATE block in it",
            Self::NoKey => "there is no private key block in it",
            Self::OtherBlock => "it does not hold one PEM block of the kind that is needed",
            Self::SeveralKeys => "there is more than one private key in it",
            Self::Encrypted | Self::OpenSshEncrypted => {
                "the private key is encrypted with a passphrase"
            }
            Self::OpenSsh => "the OpenSSH private key is damaged",
            Self::OpenSshAlgorithm => "of OpenSSH's own key format only Ed25519 is read",
            Self::KeyAmongCertificates => "a private key stands in a certificate file",
            Self::TrustedCertificate => "the certificate is in OpenSSL's TRUSTED CERTIFICATE form",
        })
    }
}

impl std::error::Error for PemError {}

/// One whole block, from its BEGIN to its END line.
struct Section<'a> {
    label: &'a str,
    text: &'a [u8],
}

impl Section<'_> {
    fn decode<T: PemObject>(&self) -> Result<T, PemError> {
        T::from_pem_slice(self.text).map_err(|_| PemError::Base64)
    }

    /// The pre-PKCS#8 forms announce encryption in a header (RFC 1421 §4.6.1.1).
    fn refuse_encrypted(&self) -> Result<(), PemError> {
        let encrypted = lines(self.text).any(|(_, line)| line.starts_with(b"Proc-Type:"));
        if encrypted { Err(PemError::Encrypted) } else { Ok(()) }
    }
}

/// Splits the text into its blocks.
///
/// The decoder below would skip a block without an END line when another block
/// follows; a chain or a set of trust anchors would then be smaller than the file
/// says, so blocks are paired here first.
fn sections(pem: &[u8]) -> Result<Vec<Section<'_>>, PemError> {
    let mut sections = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for (start, line) in lines(pem) {
        if let Some(label) = marker(line, b"-----BEGIN ") {
            if open.replace((label, start)).is_some() {
                return Err(PemError::Truncated);
            }
        } else if line.starts_with(b"-----BEGIN ") {
            return Err(PemError::Truncated);
        } else if let Some(end) = marker(line, b"-----END ") {
            match open.take() {
                Some((label, begin)) if label == end => {
                    sections.push(Section { label, text: &pem[begin..start + line.len()] });
                }
                _ => return Err(PemError::Truncated),
            }
        }
    }
    if open.is_some() {
        return Err(PemError::Truncated);
    }
    if sections.is_empty() {
        return Err(without_sections(pem));
    }
    Ok(sections)
}

/// Says what a file without any block is.
fn without_sections(bytes: &[u8]) -> PemError {
    match bytes {
        _ if bytes.iter().all(u8::is_ascii_whitespace) => PemError::Empty,
        // Certificates and keys alike are a DER SEQUENCE, nearly always longer
        // than 127 bytes, which puts the long form of a length behind the tag.
        [0x30, length, ..] if length & 0x80 != 0 || std::str::from_utf8(bytes).is_err() => {
            PemError::Der
        }
        _ => PemError::NotPem,
    }
}

/// The label of a BEGIN or END line (RFC 7468 §3).
fn marker<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    let label = line.strip_prefix(start)?.trim_ascii_end().strip_suffix(b"-----")?;
    std::str::from_utf8(label).ok()
}

/// Each line with its position, ended by LF, CR or both.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut position = 0;
    text.split(|&b| b == b'\n' || b == b'\r').map(move |line| {
        let start = position;
        position += line.len() + 1;
        (start, line)
    })
}

fn openssh_to_pkcs8(text: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, PemError> {
    let key = ssh_key::PrivateKey::from_openssh(text).map_err(|e| match e {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
            PemError::OpenSshAlgorithm
        }
        _ => PemError::OpenSsh,
    })?;
    if key.is_encrypted() {
        return Err(PemError::OpenSshEncrypted);
    }
    let pair = key.key_data().ed25519().ok_or(PemError::OpenSshAlgorithm)?;
    // Checks that the two halves belong together.
    let pair = Ed25519KeyPair::from_seed_and_public_key(pair.private.as_ref(), &pair.public.0)
        .map_err(|_| PemError::OpenSsh)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| PemError::OpenSsh)?;
    Ok(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()))
}
