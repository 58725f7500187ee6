//! A certificate authority that makes what ours never would, and handshakes in memory.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SigningKey,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName as Hint, ServerConfig,
    ServerConnection, SignatureScheme, version,
};
use sealwire_identity::{Credential, TrustAnchors, provider};
use sealwire_names::{PeerId, Timestamp, TrustDomain};

use crate::der::Der;

pub(crate) const URI: &str = "spiffe://test.example/mcp-server/github";
pub(crate) const SERVER: &str = "github";
pub(crate) const ALPN: &[&[u8]] = &[b"test/1"];

pub(crate) fn trust_domain() -> TrustDomain {
    "test.example".parse().unwrap()
}

pub(crate) fn peer(uri: &str) -> PeerId {
    uri.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

pub(crate) fn days_from_now(days: i64) -> Timestamp {
    Timestamp::from_unix_millis(now().unix_millis() + days * 86_400_000)
}

/// An authority made with rcgen, changed as the test wants.
pub(crate) struct Ca(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params();
        change(&mut params);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params();
        params.distinguished_name.push(DnType::CommonName, "Test Intermediate");
        change(&mut params);
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// A good leaf for both roles, unless `change` spoils it.
    pub(crate) fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, SERVER);
        params.subject_alt_names = vec![uri(URI)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key_pem: key.serialize_pem() }
    }

    /// A good leaf, of which what is signed was written anew.
    pub(crate) fn edited(&self, edit: impl FnOnce(&mut Der)) -> Leaf {
        let mut leaf = self.leaf(|_| ());
        leaf.chain[0] = self.signed_again(&leaf.chain[0], edit);
        leaf
    }

    /// A certificate of ours, of which what is signed was written anew.
    pub(crate) fn signed_again(
        &self,
        certificate: &[u8],
        edit: impl FnOnce(&mut Der),
    ) -> CertificateDer<'static> {
        let mut parsed = Der::parse(certificate);
        edit(parsed.at(0));
        let signature = self.0.key().sign(&parsed.at(0).encode()).unwrap();
        *parsed.at(2) = Der::bytes(3, &[&[0], signature.as_slice()].concat());
        parsed.encode().into()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn anchors(&self) -> Arc<TrustAnchors> {
        anchors(&self.0.pem())
    }
}

pub(crate) fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test Authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn anchors(pem: &str) -> Arc<TrustAnchors> {
    Arc::new(TrustAnchors::from_pem(pem.as_bytes(), trust_domain(), "test anchors").unwrap())
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A chain and its key, whether or not our own code would take them.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key_pem: String,
}

impl Leaf {
    pub(crate) fn with_issuer(mut self, issuer: &Ca) -> Self {
        self.chain.push(issuer.der());
        self
    }

    pub(crate) fn pem(&self) -> String {
        self.chain.iter().map(|der| certificate_pem(der)).collect()
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential::from_pem(self.pem().as_bytes(), self.key_pem.as_bytes(), "test leaf").unwrap()
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        let key = sealwire_identity::parse_pem_private_key(self.key_pem.as_bytes()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.secret_der().to_vec()).into();
        let key = provider().key_provider.load_private_key(key).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), key)))
    }

    /// A client that trusts everyone and presents this leaf.
    pub(crate) fn careless_client(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAll))
            .with_client_cert_resolver(self.resolver());
        config.alpn_protocols = ALPN.iter().map(|p| p.to_vec()).collect();
        Arc::new(config)
    }

    /// A server that trusts everyone and presents this leaf.
    pub(crate) fn careless_server(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(TrustAll))
            .with_cert_resolver(self.resolver());
        config.alpn_protocols = ALPN.iter().map(|p| p.to_vec()).collect();
        Arc::new(config)
    }
}

pub(crate) fn certificate_pem(der: &[u8]) -> String {
    let body = run("openssl", &["x509", "-inform", "DER"], der);
    String::from_utf8(body).unwrap()
}

/// How a handshake in memory ended at each end.
pub(crate) struct Ended {
    pub(crate) client: Result<(), rustls::Error>,
    pub(crate) server: Result<(), rustls::Error>,
    pub(crate) client_end: ClientConnection,
    pub(crate) server_end: ServerConnection,
}

impl Ended {
    pub(crate) fn unwrap(self) -> (ClientConnection, ServerConnection) {
        self.client.unwrap();
        self.server.unwrap();
        assert!(!self.client_end.is_handshaking() && !self.server_end.is_handshaking());
        (self.client_end, self.server_end)
    }
}

/// Runs a handshake until neither end has anything left to say.
pub(crate) fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>, name: &str) -> Ended {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut ended = Ended {
        client: Ok(()),
        server: Ok(()),
        client_end: ClientConnection::new(client, name).unwrap(),
        server_end: ServerConnection::new(server).unwrap(),
    };
    while ended.client_end.wants_write() || ended.server_end.wants_write() {
        let mut wire = Vec::new();
        while ended.client_end.wants_write() {
            ended.client_end.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && ended.server.is_ok() {
            ended.server_end.read_tls(&mut wire).unwrap();
            ended.server = ended.server_end.process_new_packets().map(drop);
        }
        let mut wire = Vec::new();
        while ended.server_end.wants_write() {
            ended.server_end.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && ended.client.is_ok() {
            ended.client_end.read_tls(&mut wire).unwrap();
            ended.client = ended.client_end.process_new_packets().map(drop);
        }
    }
    ended
}

/// Runs a command with input, and returns its output; fails with its diagnostics.
pub(crate) fn run(command: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    run_in(Path::new("."), command, arguments, input)
}

pub(crate) fn run_in(dir: &Path, command: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("these tests need the command {command}: {e}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A client that trusts everyone and has no certificate.
pub(crate) fn client_without_certificate() -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll))
        .with_no_client_auth();
    config.alpn_protocols = ALPN.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

/// The careless end of a handshake with a bad certificate.
#[derive(Debug)]
struct TrustAll;

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for TrustAll {
    fn root_hint_subjects(&self) -> &[Hint] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
