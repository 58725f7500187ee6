//! Who is on the other end of a wire: keys, certificates, a certificate authority,
//! and TLS that believes nothing else.
#![forbid(unsafe_code)]

mod anchors;
mod authority;
mod certificate;
mod credential;
mod error;
pub mod files;
mod keys;
mod pem;
mod refusal;
mod signing;
mod summary;
mod tls;
mod verify;

pub use anchors::TrustAnchors;
pub use authority::{CertificateAuthority, IssuedLeaf, LeafRequest};
pub use credential::Credential;
pub use error::Error;
pub use keys::KeyAlgorithm;
pub use pem::{PemError, parse_pem_certificates, parse_pem_private_key};
pub use refusal::{io_refusal, refusal};
pub use signing::SigningKey;
pub use summary::{CertificateSummary, describe};
pub use tls::{client_config, provider, server_config};
pub use verify::{PeerVerifier, Role, VerifiedPeer};
