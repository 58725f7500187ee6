use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;
use rustls::version;
use sealwire_names::{Refusal, RefusalCode, Timestamp};

use super::tls::{ServiceCredential, ServiceRule};
use crate::anchors::TrustAnchors;
use crate::chain_verifier::{ChainRule, ChainVerifier};
use crate::credential::Credential;
use crate::error::Error;
use crate::refusal::Refused;
use crate::tls::provider;
use crate::verify::{PeerVerifier, Role, VerifiedPeer};

/// The name of renewal in TLS (RFC 7301). The service accepts it beside that of joining, each
/// with a configuration of its own.
pub const RENEWAL_ALPN: &[u8] = b"sealwire-renew/1";
/// The same of being told what is revoked: the second protocol of who has a certificate.
pub const LISTS_ALPN: &[u8] = b"sealwire-lists/1";

/// TLS for the service, for renewing and telling what is revoked: as for joining, with a peer's
/// certificate required, of any kind.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn renewal_server_config(
    credential: &ServiceCredential,
    anchors: Arc<TrustAnchors>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .with_client_cert_verifier(Arc::new(ChainVerifier(AnyPeer(anchors))))
        .with_cert_resolver(credential.resolver());
    config.alpn_protocols = vec![RENEWAL_ALPN.to_vec(), LISTS_ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// TLS for whoever renews, or is told what is revoked, as `alpn` says: our certificate presented, the service of one of these authorities
/// accepted and nobody else.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn renewal_client_config(
    credential: &Credential,
    anchors: Arc<TrustAnchors>,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainVerifier(ServiceRule::Anchors(anchors))))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential.certified_key())));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// Checks the chain of a peer that may be of any kind, those that others connect to included.
///
/// # Errors
/// As [`PeerVerifier::verify`].
pub fn verify_peer(
    anchors: &Arc<TrustAnchors>,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<VerifiedPeer, Refusal> {
    Ok(check_peer(anchors, chain, now)?)
}

fn check_peer(
    anchors: &Arc<TrustAnchors>,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<VerifiedPeer, Refused> {
    let check = |role| PeerVerifier::new(Arc::clone(anchors), role).check_peer(chain, None, now);
    match check(Role::Client) {
        Err(refused) if refused.refusal.code == RefusalCode::KeyUsage => check(Role::Server),
        checked => checked,
    }
}

/// [`verify_peer`] for handshakes.
#[derive(Debug)]
struct AnyPeer(Arc<TrustAnchors>);

impl ChainRule for AnyPeer {
    fn check(
        &self,
        chain: &[CertificateDer<'_>],
        _: Option<&ServerName<'_>>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        check_peer(&self.0, chain, now).map(drop)
    }
}
