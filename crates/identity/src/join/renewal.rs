use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme, version};
use sealwire_names::{Refusal, RefusalCode, Timestamp};

use super::tls::{ServiceCredential, ServiceVerifier};
use crate::anchors::TrustAnchors;
use crate::credential::Credential;
use crate::error::Error;
use crate::refusal::to_rustls;
use crate::tls::{ALGORITHMS, no_tls12, provider};
use crate::verify::{PeerVerifier, Role, VerifiedPeer};

/// The name of renewal in TLS (RFC 7301). The service accepts it beside that of joining, each
/// with a configuration of its own.
pub const RENEWAL_ALPN: &[u8] = b"sealwire-renew/1";

/// TLS for the service: as for joining, with a peer's certificate required, of any kind.
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
        .with_client_cert_verifier(Arc::new(AnyPeer { anchors }))
        .with_cert_resolver(credential.resolver());
    config.alpn_protocols = vec![RENEWAL_ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// TLS for whoever renews: our certificate presented, the service of one of these authorities
/// accepted and nobody else.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn renewal_client_config(
    credential: &Credential,
    anchors: Arc<TrustAnchors>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServiceVerifier::Anchors(anchors)))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential.certified_key())));
    config.alpn_protocols = vec![RENEWAL_ALPN.to_vec()];
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
    let verify = |role| PeerVerifier::new(Arc::clone(anchors), role).verify(chain, None, now);
    match verify(Role::Client) {
        Err(refusal) if refusal.code == RefusalCode::KeyUsage => verify(Role::Server),
        verified => verified,
    }
}

/// [`verify_peer`], where rustls asks for a verifier.
#[derive(Debug)]
struct AnyPeer {
    anchors: Arc<TrustAnchors>,
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        verify_peer(&self.anchors, &chain, Timestamp::from_unix_seconds(seconds))
            .map_err(to_rustls)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}
