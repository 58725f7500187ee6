//! Who is on the other end of a wire: keys, certificates, a certificate authority,
//! and TLS that takes nobody's word.
//!
//! # The life of an identity
//!
//! A [`CertificateAuthority`] is made once per trust domain: a root, and below it the authority
//! that issues leaves, so that the root's key ([`RootAuthority`]) can be elsewhere. A leaf
//! names one peer in one URI SAN, `spiffe://<trust-domain>/<kind>/<name>`, and has a
//! purpose: MCP servers accept connections (serverAuth), all others make them
//! (clientAuth). A [`Credential`] is a leaf with its private key; [`TrustAnchors`]
//! are the authorities one believes. From these two come the TLS configurations,
//! [`server_config`] and [`client_config`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sealwire_identity::{
//!     CertificateAuthority, Credential, KeyAlgorithm, LeafRequest, TrustAnchors, server_config,
//! };
//! use std::{sync::Arc, time::Duration};
//!
//! let home = tempfile::tempdir()?;
//! let trust_domain = "example.org".parse()?;
//! let year = Duration::from_secs(365 * 86_400);
//! let ca = CertificateAuthority::create(&home.path().join("ca"), &trust_domain, 10 * year)?;
//! let leaf = ca.issue(&LeafRequest {
//!     id: "spiffe://example.org/mcp-server/github".parse()?,
//!     dns: vec!["github".into()],
//!     ip: vec![],
//!     validity: year / 4,
//!     key_algorithm: KeyAlgorithm::EcdsaP256,
//! })?;
//! let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
//! leaf.write(&cert, &key)?;
//!
//! let anchors = TrustAnchors::load(&home.path().join("ca/ca-cert.pem"), trust_domain)?;
//! // The leaf is presented with the authority that issued it, which is no anchor.
//! let tls = server_config(&Credential::load(&cert, &key)?, Arc::new(anchors), &[b"sealwire/1"])?;
//! # assert!(tls.alpn_protocols == [b"sealwire/1"]);
//! # Ok(()) }
//! ```
//!
//! # What a handshake means here
//!
//! TLS 1.3 only, with AES-256-GCM or ChaCha20-Poly1305, the hybrid group
//! X25519MLKEM768 before X25519, certificates at both ends, no 0-RTT. Both ends
//! verify the other with [`PeerVerifier`]: RFC 5280 path validation by webpki, and
//! the rules that webpki leaves out:
//!
//! | rule | code |
//! |---|---|
//! | X.509 v3, well-formed, no extension twice; a positive serial number, times and an empty subject as RFC 5280 has them | `certificate_malformed` |
//! | a path to an anchor of ours, anchors' pathLen included; authorities with critical basicConstraints and keyCertSign | `unknown_issuer`, `certificate_path` |
//! | every link valid now, the anchor included | `certificate_expired`, `certificate_not_yet_valid` |
//! | no SHA-1; RSA of 2048 bits and an exponent of 65537, P-256 or Ed25519 at least | `weak_key` |
//! | the leaf is no authority and may sign neither certificates nor revocation lists | `ca_as_leaf` |
//! | keyUsage is there and allows signatures; extendedKeyUsage states the role | `key_usage` |
//! | exactly one URI SAN, of SPIFFE form, compared as bytes | `san_missing`, `san_multiple`, `spiffe_syntax` |
//! | the trust domain is the one these anchors vouch for, of every authority that states one, too | `trust_domain` |
//! | the peer is the one expected, and its common name | `peer_name`, `common_name` |
//!
//! **rustls asks no verifier when a session is resumed.** After every handshake the
//! caller runs [`PeerVerifier::verify`] on the peer's certificates, and again as time
//! goes by on a connection that stays open; [`VerifiedPeer::not_after`] says when it
//! ends at the latest. A program also runs it on its own credential before it serves.
//!
//! [`Revocations`] are asked after each of these, and whenever they change: `certificate_revoked`.
//! They hold what was revoked by command, and [`RevocationLists`] that authorities have signed
//! (RFC 5280 §5), beside which nothing is accepted that no list of its issuer's covers:
//! `revocation_unknown`.
//! A revoked peer is refused by the first thing that is said within TLS, rather than by an alert:
//! so it is told the code, and the log who it was and why.
//!
//! A failed handshake becomes a stable code and a reason by [`refusal`]; the peer
//! learns no more than a TLS alert.
//!
//! # Joining
//!
//! [`join`] is how a machine that has nothing but one printed line becomes a peer: what the line
//! says, TLS to the authority's own service, and the proof that one holds the line. [`KeyRequest`]
//! is a key made there, [`RequestedKey`] the half of it that the authority signs. What the service
//! tells that others are to go by is signed by the authority itself: [`verify_statement`], with
//! [`authorities_below`] where it is the one below a root.
//!
//! # Keys in a token
//!
//! Wherever a private key's file is named, a [`TokenUri`] may stand, or a file that holds one in the
//! place of the key: it is then in a hardware security module and never in this process
//! (PKCS #11).
//!
//! # Files
//!
//! [`files`] reads private keys only if nobody else can (0600; the authority's 0400;
//! directories 0700) and writes whole files or nothing. No key or certificate is ever
//! overwritten. Private keys live in memory that is wiped when freed. Every
//! [`Error`] says what and where, and [`Error::remedy`] what to do.
#![forbid(unsafe_code)]

mod anchors;
mod authority;
mod below;
mod certificate;
mod chain_verifier;
mod credential;
mod crl;
mod crl_issue;
mod encrypted;
mod error;
pub mod files;
pub mod join;
mod keys;
mod pem;
mod refusal;
mod request;
mod revocations;
mod rules;
mod signing;
mod statement;
mod summary;
mod tls;
mod token;
mod verify;
mod x25519;

pub use anchors::TrustAnchors;
pub use authority::{
    CertificateAuthority, ISSUING_VALIDITY, IssuedLeaf, LeafRequest, RenewedIssuing, Replacement,
    RootAuthority, check_issuable, check_passphrase,
};
pub use below::authorities_below;
pub use credential::Credential;
pub use crl::{Link, RevocationList, RevocationLists};
pub use error::Error;
pub use keys::KeyAlgorithm;
pub use pem::{
    PemError, encode_pem, parse_pem_block, parse_pem_blocks, parse_pem_certificates,
    parse_pem_private_key,
};
pub use refusal::{handshake_refusal, io_refusal, is_by_peer, is_of_anchor, refusal};
pub use request::{IssuedCertificate, KeyRequest, RequestedKey};
pub use revocations::{Revocation, Revocations, Revoked};
pub use signing::SigningKey;
pub use statement::{StatementKind, verify_statement};
pub use summary::{CertificateSummary, describe};
pub use tls::{client_config, provider, server_config};
pub use token::{TokenUri, token_of};
pub use verify::{PeerVerifier, Role, VerifiedPeer};
pub use x25519::{parse_x25519_private, x25519_private_pem, x25519_public_pem};
