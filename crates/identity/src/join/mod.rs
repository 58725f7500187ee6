//! Becoming a peer with nothing but one printed line: docs/spec/join.md.
//!
//! The line ([`JoinLine`]) names the authority by the hash of its key, says where its service
//! listens, and holds a token. Whoever joins
//!
//! 1. connects by [`client_config`], which accepts the service of that authority and nobody else:
//!    not even another holder of one of its certificates;
//! 2. sends a request to certify the key that he has just made, and a proof ([`Secret::prove`])
//!    that he has the token. The proof is bound to this TLS connection and this request, so that
//!    whoever sees it can do nothing with it, and the token itself is never sent;
//! 3. checks the same kind of proof over the answer.
//!
//! Whoever has joined has his certificate renewed there by presenting it
//! ([`renewal_client_config`]), for the same key and name.
//!
//! The service uses [`ServiceCredential`] and [`server_config`], and keeps of a token what
//! [`Token::secret`] and [`Token::id`] give.

mod line;
mod proof;
mod renewal;
mod tls;

pub use line::{JoinLine, JoinLineError};
pub use proof::{Binding, Secret, Side, Token, TokenId};
pub use renewal::{
    LISTS_ALPN, RENEWAL_ALPN, renewal_client_config, renewal_server_config, verify_peer,
};
pub use tls::{ALPN, ServiceCredential, client_config, server_config, tls_exporter};
