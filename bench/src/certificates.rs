//! Certificates for the tunnels that sealwire is compared with: one CA, one
//! server leaf, one client leaf, ECDSA P-256 as sealwire makes them.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::Result;

/// Name in the server's certificate, and the one that clients ask for.
pub const SERVER_NAME: &str = "localhost";

/// PEM files of both ends of a tunnel.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA that both trust.
    pub ca: PathBuf,
    /// The serving side.
    pub server: Pair,
    /// The connecting side.
    pub client: Pair,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// Its PKCS#8 key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bench CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = directory.join("ca.pem");
        fs::write(&ca, params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let leaf = |name, usage| issue(&issuer, directory, name, usage);
        Ok(Self {
            ca,
            server: leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)?,
            client: leaf("client", ExtendedKeyUsagePurpose::ClientAuth)?,
        })
    }
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    directory: &Path,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair> {
    let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let cert = directory.join(format!("{name}-cert.pem"));
    fs::write(&cert, params.signed_by(&leaf_key, issuer)?.pem())?;
    let key = directory.join(format!("{name}-key.pem"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key)?;
    std::io::Write::write_all(&mut file, leaf_key.serialize_pem().as_bytes())?;
    Ok(Pair { cert, key })
}
