use std::fmt::Debug;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerMisbehaved, SignatureScheme};
use sealwire_names::Timestamp;

use crate::refusal::{Refused, shown, to_rustls};
use crate::tls::ALGORITHMS;

/// What is asked of the chain that a peer presents.
pub(crate) trait ChainRule: Debug + Send + Sync {
    /// Checks a chain, leaf first and never empty, as it stands at `now`. `server` is what was
    /// dialled, if it is a server's chain.
    fn check(
        &self,
        chain: &[CertificateDer<'_>],
        server: Option<&ServerName<'_>>,
        now: Timestamp,
    ) -> Result<(), Refused>;
}

/// Puts a [`ChainRule`] where rustls asks for a verifier, in both roles.
#[derive(Debug)]
pub(crate) struct ChainVerifier<R>(pub(crate) R);

impl<R: ChainRule> ChainVerifier<R> {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf)
            .chain(intermediates)
            .map(|certificate| CertificateDer::from(certificate.as_ref()))
            .collect();
        let checked = self.0.check(&chain, server, shown(now));
        checked.map_err(|refused| to_rustls(refused, now))
    }
}

/// Handshake signatures, which are the same in both roles: those of TLS 1.3.
macro_rules! signatures {
    () => {
        /// Unreachable: no configuration here negotiates TLS 1.2.
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(PeerMisbehaved::SelectedTls12UsingTls13VersionExtension.into())
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
    };
}

impl<R: ChainRule> ClientCertVerifier for ChainVerifier<R> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients hold one certificate; the names of our authorities are nobody's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl<R: ChainRule> ServerCertVerifier for ChainVerifier<R> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, Some(server), now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
