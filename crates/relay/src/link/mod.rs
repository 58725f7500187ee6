//! The link: MCP messages between two sealwires over one mutual TLS connection, which
//! may be cut and dialled again without losing or repeating a message.
//!
//! docs/spec/link.md is the specification. From the wire up:
//! [`frame`] knows the bytes; `outgoing` and `session` know what was sent, received and
//! acknowledged, without I/O; [`LinkEndpoint`] moves bytes over whatever connection its
//! carrier has at the moment; `dial` and `accept` are the two carriers.

mod accept;
mod dial;
mod endpoint;
pub mod frame;
mod greeting;
mod outgoing;
mod session;
mod violation;

use sealwire_names::{Refusal, RefusalCode};

pub(crate) use accept::{Attachment, Attachments};
pub use dial::{DialConfig, DialIdentity, Dialer, IdentitySource, Redial};
pub(crate) use endpoint::Connected;
pub use endpoint::LinkEndpoint;
pub use frame::{ALPN, Ending, FrameError, Handle, InstanceId};
pub(crate) use greeting::{Wire, read_frame, write_frame};
pub(crate) use session::DEFAULT_WINDOW;
pub use violation::Violation;

/// A TCP connection read in large pieces: rustls asks for 4 KiB at a time, and a system
/// call for each would dominate the cost of a busy link.
pub(crate) type Tcp = tokio::io::BufReader<tokio::net::TcpStream>;

/// See [`Tcp`].
pub(crate) fn buffered(tcp: tokio::net::TcpStream) -> Tcp {
    tokio::io::BufReader::with_capacity(64 * 1024, tcp)
}

/// Why a link cannot be made, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The address could not be resolved or connected to.
    #[error("cannot reach {endpoint}: {source}")]
    Unreachable {
        /// The address as configured.
        endpoint: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The connection broke while it was being set up.
    #[error("the connection to {endpoint} broke off while it was being set up: {source}")]
    Interrupted {
        /// The address as configured.
        endpoint: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Setting up took too long.
    #[error("{endpoint} did not complete the handshake within {limit:?}")]
    Timeout {
        /// The address as configured.
        endpoint: String,
        /// The time allowed.
        limit: std::time::Duration,
    },
    /// The serving side could not be verified, or it refused us in the TLS handshake.
    #[error("{0}")]
    Refused(Refusal),
    /// The serving side refused the hello, with this word.
    #[error("the serving side refused us: {0}")]
    Declined(String),
    /// The serving side no longer knows the conversation: it has been restarted, has ended
    /// it, or we were away for longer than it keeps conversations.
    #[error(
        "the conversation is lost: the serving side was restarted or has ended it, \
         or we were away too long"
    )]
    Lost,
    /// The conversation is lost, and no other server can take the place of its.
    #[error("the serving side was restarted, and {0}")]
    NotReopened(&'static str),
    /// The client's first message, sent before the limit was known, exceeds it.
    #[error("the serving side takes messages of up to {0} bytes, and the first one is larger")]
    FirstMessageTooLarge(usize),
    /// Redialling did not succeed in time.
    #[error("no connection within {waited:?}; last attempt: {last}")]
    GaveUp {
        /// How long we tried, as configured.
        waited: std::time::Duration,
        /// Why the last attempt failed.
        last: String,
    },
    /// The peer broke the framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] Violation),
    /// The peer did not come back in time.
    #[error("the peer did not come back within {0:?}")]
    Abandoned(std::time::Duration),
}

impl LinkError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::GaveUp { .. } => {
                "start `sealwire serve` on that machine, or correct endpoint"
            }
            Self::Timeout { .. } | Self::Interrupted { .. } => {
                "see whether a sealwire, and nothing else, listens at that address"
            }
            Self::Refused(refusal) if refusal.code == RefusalCode::CertificateRevoked => {
                "see `sealwire cert list --revoked` why; the server needs another certificate"
            }
            Self::Declined(word) if *word == RefusalCode::CertificateRevoked.as_str() => {
                "our certificate was revoked there: have a new one issued (`sealwire cert issue \
                 NAME --force`, or a new bundle)"
            }
            Self::Refused(refusal)
                if matches!(
                    refusal.code,
                    RefusalCode::CertificateExpired | RefusalCode::CertificateNotYetValid
                ) =>
            {
                "compare the clocks: date -u on both machines; if they agree, `sealwire doctor` here \
                 tells which certificate needs another in its place"
            }
            Self::Refused(_) => {
                "compare `sealwire cert list` on both machines; the serving side's log tells more"
            }
            Self::Lost | Self::NotReopened(_) => "start the client's session again",
            _ => "see the log of the serving side",
        }
    }

    /// Whether another attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Timeout { .. } => true,
            Self::Declined(word) => [RefusalCode::Draining, RefusalCode::ConnectionLimit]
                .map(RefusalCode::as_str)
                .contains(&&**word),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use sealwire_names::Refusal;

    use super::*;

    /// In the midst of a session a client hears it, and nobody else is there to tell it more.
    #[test]
    fn a_certificate_that_is_out_of_date_may_be_a_matter_of_the_clocks() {
        use RefusalCode as Code;
        let told = |code| LinkError::Refused(Refusal::new(code, "it")).remedy();
        for code in [Code::CertificateExpired, Code::CertificateNotYetValid] {
            let told = told(code);
            assert!(told.contains("date -u") && told.contains("sealwire doctor"), "{told}");
        }
        assert!(!told(Code::UnknownIssuer).contains("date -u"));
    }
}
