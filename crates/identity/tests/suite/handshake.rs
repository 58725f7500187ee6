//! What a handshake negotiates, and what it insists on.

use rustls::crypto::SupportedKxGroup;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite};
use sealwire_identity::{client_config, provider, refusal, server_config};
use sealwire_names::RefusalCode;

use crate::support::{ALPN, Ca, SERVER, client_without_certificate, handshake, uri};

#[test]
fn tls_1_3_aes_256_and_the_hybrid_group_are_negotiated() {
    let ca = Ca::new();
    let credential = ca.leaf(|_| ()).credential();
    let (client, server) = handshake(
        client_config(&credential, ca.anchors(), None, ALPN).unwrap(),
        server_config(&credential, ca.anchors(), ALPN).unwrap(),
        SERVER,
    )
    .unwrap();
    let suite = Some(CipherSuite::TLS13_AES_256_GCM_SHA384);
    for (version, negotiated, group) in [
        (
            client.protocol_version(),
            client.negotiated_cipher_suite(),
            client.negotiated_key_exchange_group(),
        ),
        (
            server.protocol_version(),
            server.negotiated_cipher_suite(),
            server.negotiated_key_exchange_group(),
        ),
    ] {
        assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
        assert_eq!(negotiated.map(|s| s.suite()), suite);
        assert_eq!(group.map(SupportedKxGroup::name), Some(NamedGroup::X25519MLKEM768));
    }
    assert_eq!(server.alpn_protocol(), Some(ALPN[0]));
    assert_eq!(server.server_name(), Some(SERVER));
    assert_eq!(server.peer_certificates(), Some(credential.chain()));
    assert_eq!(client.peer_certificates(), Some(credential.chain()));
}

#[test]
fn nothing_else_is_offered() {
    let provider = provider();
    let suites: Vec<_> = provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
    assert_eq!(
        suites,
        [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256]
    );
    let groups: Vec<_> = provider.kx_groups.iter().map(|g| g.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::X25519]);
}

#[test]
fn early_data_is_off_at_both_ends() {
    let ca = Ca::new();
    let credential = ca.leaf(|_| ()).credential();
    let client = client_config(&credential, ca.anchors(), None, ALPN).unwrap();
    let server = server_config(&credential, ca.anchors(), ALPN).unwrap();
    assert!(!client.enable_early_data);
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.send_half_rtt_data);
}

#[test]
fn a_client_without_certificate_is_refused_and_told() {
    let ca = Ca::new();
    let server = server_config(&ca.leaf(|_| ()).credential(), ca.anchors(), ALPN).unwrap();
    let ended = handshake(client_without_certificate(), server, SERVER);
    assert_eq!(refusal(&ended.server.unwrap_err()).code, RefusalCode::CertificateMissing);
    let told = refusal(&ended.client.unwrap_err());
    assert_eq!(told.code, RefusalCode::CertificateMissing);
    assert!(told.reason.starts_with("the peer refused us"), "{told}");
}

#[test]
fn no_common_protocol_is_refused_at_both_ends() {
    let ca = Ca::new();
    let credential = ca.leaf(|_| ()).credential();
    let ended = handshake(
        client_config(&credential, ca.anchors(), None, &[b"other/1"]).unwrap(),
        server_config(&credential, ca.anchors(), ALPN).unwrap(),
        SERVER,
    );
    assert_eq!(refusal(&ended.server.unwrap_err()).code, RefusalCode::TlsProtocol);
    assert_eq!(refusal(&ended.client.unwrap_err()).code, RefusalCode::TlsProtocol);
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused_in_both_roles() {
    let ca = Ca::new();
    let honest = ca.leaf(|_| ());
    let mut thief = ca.leaf(|_| ());
    thief.chain = honest.chain.clone();
    let server = server_config(&honest.credential(), ca.anchors(), ALPN).unwrap();
    let ended = handshake(thief.careless_client(), server, SERVER);
    assert_eq!(refusal(&ended.server.unwrap_err()).code, RefusalCode::CertificateSignature);
    let client = client_config(&honest.credential(), ca.anchors(), None, ALPN).unwrap();
    let ended = handshake(client, thief.careless_server(), SERVER);
    assert_eq!(refusal(&ended.client.unwrap_err()).code, RefusalCode::CertificateSignature);
}

#[test]
fn server_names_are_compared_without_case_in_the_handshake() {
    let ca = Ca::new();
    let leaf = ca.leaf(|p| {
        p.subject_alt_names = vec![uri("spiffe://test.example/mcp-server/GitHub")];
    });
    let client = client_config(&leaf.credential(), ca.anchors(), None, ALPN).unwrap();
    handshake(client, leaf.careless_server(), "github").unwrap();
}
