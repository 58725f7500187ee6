//! Joining: who is accepted as the service, and what a man in the middle has.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, ServerConfig, version};
use sealwire_identity::join::{
    ALPN, Binding, ServiceCredential, Side, Token, client_config, server_config, tls_exporter,
};
use sealwire_identity::{
    CertificateAuthority, KeyAlgorithm, KeyRequest, LeafRequest, PeerVerifier, RequestedKey, Role,
    TrustAnchors, describe, provider, refusal,
};
use sealwire_names::{RefusalCode, Timestamp};

use crate::support::{SERVER, client_without_certificate, handshake, now, peer, trust_domain};

const DAY: Duration = Duration::from_secs(86_400);

fn authority(dir: &Path) -> CertificateAuthority {
    CertificateAuthority::create(&dir.join("ca"), &trust_domain(), DAY).unwrap()
}

fn service(authority: &CertificateAuthority) -> Arc<ServerConfig> {
    server_config(&ServiceCredential::issue(authority, DAY).unwrap()).unwrap()
}

fn request(name: &str) -> LeafRequest {
    LeafRequest {
        id: peer(&format!("spiffe://test.example/{name}")),
        dns: vec![],
        ip: vec![],
        validity: DAY,
        key_algorithm: KeyAlgorithm::EcdsaP256,
    }
}

/// A server with a leaf of that name by `issuer`, which presents the certificate of `authority`
/// behind it.
fn impostor(
    issuer: &CertificateAuthority,
    authority: &CertificateAuthority,
    name: &str,
    alpn: &[u8],
) -> Arc<ServerConfig> {
    let leaf = issuer.issue(&request(name)).unwrap();
    let chain = format!("{}{}", leaf.cert_pem, authority.certificate_pem());
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

fn client_refuses(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> RefusalCode {
    let ended = handshake(client, server, SERVER);
    refusal(&ended.client.unwrap_err()).code
}

#[test]
fn the_service_of_the_authority_is_accepted_and_both_ends_have_one_binding() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let client = client_config(authority.key_hash()).unwrap();
    let (client, server) = handshake(client, service(&authority), SERVER).unwrap();
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(server.server_name(), None);
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!(tls_exporter(&client).unwrap(), tls_exporter(&server).unwrap());
}

#[test]
fn no_other_holder_of_a_certificate_of_the_authority_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let client = || client_config(authority.key_hash()).unwrap();
    for name in ["mcp-server/github", "mcp-server/join", "mcp-server/ca"] {
        let code = client_refuses(client(), impostor(&authority, &authority, name, ALPN));
        assert_eq!(code, RefusalCode::PeerName, "{name}");
    }
    // A client's certificate does not even have the purpose; its name is looked at first.
    let code = client_refuses(client(), impostor(&authority, &authority, "core/join", ALPN));
    assert_eq!(code, RefusalCode::PeerName);
}

#[test]
fn another_authority_is_not_accepted_whatever_it_calls_itself() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, other) = (authority(dir.path()), authority(other.path()));
    let client = client_config(authority.key_hash()).unwrap();
    assert_eq!(client_refuses(client, service(&other)), RefusalCode::UnknownIssuer);
}

/// The true authority's certificate is no secret: it may stand in anybody's chain.
#[test]
fn the_authoritys_certificate_beside_a_foreign_leaf_proves_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, other) = (authority(dir.path()), authority(other.path()));
    let client = client_config(authority.key_hash()).unwrap();
    let code = client_refuses(client, impostor(&other, &authority, "mcp-server/github", ALPN));
    assert_ne!(code, RefusalCode::TlsHandshake);
}

#[test]
fn the_services_leaf_is_accepted_as_no_peer() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let client = client_config(authority.key_hash()).unwrap();
    let (client, _) = handshake(client, service(&authority), SERVER).unwrap();
    let chain = client.peer_certificates().unwrap();
    let anchors = TrustAnchors::load(&dir.path().join("ca/ca-cert.pem"), trust_domain()).unwrap();
    let verifier = PeerVerifier::new(Arc::new(anchors), Role::Server);
    let refused = verifier.verify(chain, None, now()).unwrap_err();
    assert_eq!(refused.code, RefusalCode::SpiffeSyntax);
}

#[test]
fn an_expired_service_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let credential = ServiceCredential::issue(&authority, Duration::from_millis(1)).unwrap();
    let server = server_config(&credential).unwrap();
    let client = client_config(authority.key_hash()).unwrap();
    // Certificates count in whole seconds.
    let second = Timestamp::from_unix_seconds(now().unix_seconds() + 2);
    std::thread::sleep(now().until(second).unwrap_or_default());
    assert_eq!(client_refuses(client, server), RefusalCode::CertificateExpired);
}

#[test]
fn who_speaks_another_protocol_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let ended = handshake(client_without_certificate(), service(&authority), SERVER);
    assert_eq!(refusal(&ended.server.unwrap_err()).code, RefusalCode::TlsProtocol);
    let client = client_config(authority.key_hash()).unwrap();
    let ended =
        handshake(client, impostor(&authority, &authority, "mcp-server/x", b"sealwire/1"), SERVER);
    assert_eq!(refusal(&ended.client.unwrap_err()).code, RefusalCode::TlsProtocol);
}

/// Even if he had the service's own certificate and key, which are never written anywhere: each
/// of his two connections has a binding of its own.
#[test]
fn a_proof_that_is_passed_on_is_worth_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let connect = || {
        let client = client_config(authority.key_hash()).unwrap();
        handshake(client, service(&authority), SERVER).unwrap()
    };
    let ((victim, _), (_, true_service)) = (connect(), connect());
    let key = KeyRequest::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let secret = Token::generate().unwrap().secret();
    let at_victim = Binding { exporter: tls_exporter(&victim).unwrap(), request: key.digest() };
    let at_service =
        Binding { exporter: tls_exporter(&true_service).unwrap(), request: key.digest() };
    let proof = secret.prove(Side::Client, &at_victim);
    assert!(secret.verify(Side::Client, &at_victim, &proof));
    assert!(!secret.verify(Side::Client, &at_service, &proof));
}

#[test]
fn a_request_is_certified_for_its_key_and_for_nothing_that_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(dir.path());
    let made = KeyRequest::generate(KeyAlgorithm::Ed25519).unwrap();
    let key = RequestedKey::parse(made.request_pem().as_bytes()).unwrap();
    assert_eq!(key.digest(), made.digest());
    let issued = authority.issue_for(&request("core/laptop"), None, &key).unwrap();
    let pair = sealwire_identity::Credential::from_pem(
        issued.cert_pem.as_bytes(),
        made.key_pem().as_bytes(),
        "it",
    );
    assert_eq!(pair.unwrap().id().to_string(), "spiffe://test.example/core/laptop");

    // One that asks for more, by another program.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["evil.example".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.subject_alt_names.push(crate::support::uri("spiffe://test.example/core/core"));
    params.is_ca = rcgen::IsCa::NoCa;
    let greedy = params.serialize_request(&key).unwrap().pem().unwrap();
    let key = RequestedKey::parse(greedy.as_bytes()).unwrap();
    let issued = authority.issue_for(&request("core/laptop"), None, &key).unwrap();
    let summary = describe(issued.cert_pem.as_bytes(), "it").unwrap().remove(0);
    assert_eq!(summary.uris, ["spiffe://test.example/core/laptop"]);
    assert!(summary.dns.is_empty() && !summary.is_ca, "{summary:?}");
}

#[test]
fn a_request_that_is_not_signed_by_its_key_is_refused() {
    let pem = KeyRequest::generate(KeyAlgorithm::EcdsaP256).unwrap().request_pem().to_owned();
    let der = sealwire_identity::parse_pem_block(pem.as_bytes(), "CERTIFICATE REQUEST").unwrap();
    let refused = |der: &[u8]| {
        let pem = sealwire_identity::encode_pem("CERTIFICATE REQUEST", der).unwrap();
        RequestedKey::parse(pem.as_bytes()).unwrap_err().code
    };
    // The last byte is of the signature; one in the middle, of the key.
    let mut other = der.to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&other), RefusalCode::CertificateSignature);
    assert_eq!(refused(&[&der[..], b"x"].concat()), RefusalCode::CertificateMalformed);
    assert_eq!(refused(&der[..der.len() - 1]), RefusalCode::CertificateMalformed);
    let none = RequestedKey::parse(b"-----BEGIN CERTIFICATE-----\n").unwrap_err();
    assert_eq!(none.code, RefusalCode::CertificateMalformed);
}
