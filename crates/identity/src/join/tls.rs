use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConnectionCommon, version};
use sealwire_names::{Fingerprint, Refusal, RefusalCode, Timestamp};

use crate::anchors::TrustAnchors;
use crate::authority::{CertificateAuthority, SERVICE_PATH, service_name};
use crate::certificate::Certificate;
use crate::chain_verifier::{ChainRule, ChainVerifier};
use crate::error::Error;
use crate::refusal::Refused;
use crate::tls::provider;
use crate::verify::{PeerVerifier, Role};

/// The protocol's name in TLS (RFC 7301), the only one that is offered or accepted.
pub const ALPN: &[u8] = b"sealwire-join/1";

/// What proves that a service is the authority's own. Its key was made for it, and is in memory
/// alone.
#[derive(Debug)]
pub struct ServiceCredential(Arc<CertifiedKey>);

impl ServiceCredential {
    /// Issues one that is valid for so long.
    ///
    /// # Errors
    /// [`Error::Request`] if the authority itself has expired.
    pub fn issue(authority: &CertificateAuthority, validity: Duration) -> Result<Self, Error> {
        authority.issue_service(validity).map(|certified| Self(Arc::new(certified)))
    }

    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}

/// TLS for the service: TLS 1.3, no client certificate, no tickets and no sessions, so that every
/// connection is a handshake of its own.
///
/// rustls accepts a client that names no protocol: the caller sees to it that [`ALPN`] was agreed
/// upon.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn server_config(credential: &ServiceCredential) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .with_no_client_auth()
        .with_cert_resolver(credential.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// TLS for whoever joins: TLS 1.3, no certificate of ours, the service verified by the hash of its
/// authority's key. What name is dialled does not count, and is not sent.
///
/// # Errors
/// [`Error::Crypto`] if rustls refuses the combination, which would be a defect.
pub fn client_config(authority: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(Error::crypto("setting TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainVerifier(ServiceRule::Key(authority))))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The channel binding `tls-exporter` (RFC 9266 §2) of a connection: 32 bytes that its two ends
/// alone know, and that no other connection has.
///
/// # Errors
/// [`Error::Crypto`] before the handshake is complete.
pub fn tls_exporter<Data>(connection: &ConnectionCommon<Data>) -> Result<[u8; 32], Error> {
    connection
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
        .map_err(Error::crypto("exporting a channel binding"))
}

/// Accepts the service of an authority, and nothing else that it has certified.
#[derive(Debug)]
pub(super) enum ServiceRule {
    /// Of the one with this key, by whoever trusts no other yet.
    Key(Fingerprint),
    /// Of one of these.
    Anchors(Arc<TrustAnchors>),
}

impl ChainRule for ServiceRule {
    fn check(
        &self,
        chain: &[CertificateDer<'_>],
        _: Option<&ServerName<'_>>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let authority = match self {
            Self::Key(authority) => *authority,
            Self::Anchors(anchors) => {
                let service = service_name(anchors.trust_domain());
                let verifier = PeerVerifier::new(Arc::clone(anchors), Role::Server);
                return verifier.verify_service(chain, &service, now);
            }
        };
        let mut found = None;
        for certificate in &chain[1..] {
            if Certificate::parse(certificate, "the authority")?.key_hash() == authority {
                found = Some(certificate);
            }
        }
        let authority = found.ok_or_else(|| {
            let reason = "the authority there is not the one that the line names";
            Refusal::new(RefusalCode::UnknownIssuer, reason)
        })?;
        // The trust domain is what the authority says it is.
        let leaf = Certificate::parse(&chain[0], "the leaf")?;
        let uris = leaf.uri_sans();
        let trust_domain = match uris.as_slice() {
            [uri] => uri.strip_prefix("spiffe://").and_then(|uri| uri.strip_suffix(SERVICE_PATH)),
            _ => None,
        };
        let trust_domain =
            trust_domain.and_then(|domain| domain.parse().ok()).ok_or_else(|| {
                let reason =
                    format!("the certificate is of {uris:?}, not of the service to join at");
                Refusal::new(RefusalCode::PeerName, reason)
            })?;
        let service = service_name(&trust_domain);
        let anchors = TrustAnchors::new(std::slice::from_ref(authority), trust_domain)?;
        PeerVerifier::new(Arc::new(anchors), Role::Server).verify_service(chain, &service, now)
    }
}
