use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConfig, ServerSessionMemoryCache};
use rustls::sign::SingleCertAndKey;
use rustls::{SignatureScheme, version};
use sealwire_names::{Kind, PeerId, Refusal, RefusalCode, Timestamp};
use webpki::aws_lc_rs as algorithm;

use crate::anchors::TrustAnchors;
use crate::chain_verifier::{ChainRule, ChainVerifier};
use crate::credential::Credential;
use crate::error::Error;
use crate::refusal::Refused;
use crate::verify::{PeerVerifier, Role};

/// Sessions a server keeps for resumption; the oldest make room.
const SERVER_SESSIONS: usize = 1024;
/// Servers whose sessions a client keeps for resumption.
const CLIENT_SESSIONS: usize = 64;

/// TLS for accepting connections: TLS 1.3, a client certificate required, peers
/// verified by [`PeerVerifier`] in [`Role::Client`].
///
/// Resumption is on, with sessions in this process's memory, and skips the verifier:
/// the caller runs [`PeerVerifier::verify`] on the peer's certificates after every
/// handshake. There is no 0-RTT, whose data an attacker can replay (RFC 8446 §8).
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn server_config(
    credential: &Credential,
    anchors: Arc<TrustAnchors>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let verifier = ChainVerifier(PeerRule(PeerVerifier::new(anchors, Role::Client)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential.certified_key())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS);
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// TLS for connecting: TLS 1.3, our certificate presented, the server verified by
/// [`PeerVerifier`] in [`Role::Server`].
///
/// The server expected is `spiffe://<trust-domain of the anchors>/mcp-server/<name>`,
/// where `name` is the DNS name given to rustls for the connection. DNS names have no
/// case and SPIFFE IDs do: here the name is compared without case, and the caller
/// compares it exactly when it verifies the peer again after the handshake.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn client_config(
    credential: &Credential,
    anchors: Arc<TrustAnchors>,
    expected_cn: Option<&str>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Error> {
    let mut peers = PeerVerifier::new(anchors, Role::Server);
    if let Some(cn) = expected_cn {
        peers = peers.with_expected_cn(cn);
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainVerifier(PeerRule(peers))))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential.certified_key())));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The algorithms of every TLS configuration here, passed explicitly so that nothing
/// another library sets as the process's default can weaken them.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        // The hybrid holds as long as either X25519 or ML-KEM-768 does.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        signature_verification_algorithms: ALGORITHMS,
        ..default_provider()
    })
}

/// Signatures accepted in certificates (`all`) and over TLS 1.3 handshakes
/// (`mapping`, RFC 8446 §4.2.3: each scheme with one curve, RSA with PSS only).
pub(crate) static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithm::ECDSA_P256_SHA256,
        algorithm::ECDSA_P256_SHA384,
        algorithm::ECDSA_P256_SHA512,
        algorithm::ECDSA_P384_SHA256,
        algorithm::ECDSA_P384_SHA384,
        algorithm::ECDSA_P384_SHA512,
        algorithm::ECDSA_P521_SHA256,
        algorithm::ECDSA_P521_SHA384,
        algorithm::ECDSA_P521_SHA512,
        algorithm::ED25519,
        algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithm::RSA_PKCS1_2048_8192_SHA256,
        algorithm::RSA_PKCS1_2048_8192_SHA384,
        algorithm::RSA_PKCS1_2048_8192_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ED25519, &[algorithm::ED25519]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithm::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithm::ECDSA_P384_SHA384]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[algorithm::ECDSA_P521_SHA512]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
    ],
};

/// [`PeerVerifier`] for handshakes.
#[derive(Debug)]
struct PeerRule(PeerVerifier);

impl ChainRule for PeerRule {
    fn check(
        &self,
        chain: &[CertificateDer<'_>],
        server: Option<&ServerName<'_>>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let peer = self.0.check_peer(chain, None, now)?;
        Ok(server.map_or(Ok(()), |server| check_server_name(&peer.id, server))?)
    }
}

fn check_server_name(id: &PeerId, server_name: &ServerName<'_>) -> Result<(), Refusal> {
    if let ServerName::DnsName(name) = server_name
        && id.kind() == Kind::McpServer
        && id.name().eq_ignore_ascii_case(name.as_ref())
    {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::PeerName,
        format!("the certificate is of {id}, not of MCP server {}", server_name.to_str()),
    ))
}
