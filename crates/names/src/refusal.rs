use std::fmt;

/// Why something was refused: a stable code, and the full reason for our own log.
///
/// The reason may name files, certificates and rules; it is never sent to the peer,
/// who is told the code at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal this is.
    pub code: RefusalCode,
    /// What exactly was wrong, for the operator.
    pub reason: String,
}

impl Refusal {
    /// A refusal with its reason.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reason, self.code)
    }
}

impl std::error::Error for Refusal {}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $text:literal,)+) => {
        /// A stable word for each kind of refusal. Words are never renamed or reused:
        /// logs, metrics and alert rules depend on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum RefusalCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl RefusalCode {
            /// Every code, for documentation and metrics.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The peer does not offer TLS 1.3.
    TlsVersion => "tls_version",
    /// No cipher suite, group or signature scheme in common.
    TlsParameters => "tls_parameters",
    /// The peer speaks none of our application protocols.
    TlsProtocol => "tls_protocol",
    /// The TLS handshake failed in another way.
    TlsHandshake => "tls_handshake",
    /// The handshake took too long.
    HandshakeTimeout => "handshake_timeout",
    /// The peer presented no certificate.
    CertificateMissing => "certificate_missing",
    /// The certificate cannot be parsed, or is not X.509 v3.
    CertificateMalformed => "certificate_malformed",
    /// No trust anchor of ours vouches for the certificate.
    UnknownIssuer => "unknown_issuer",
    /// A certificate of the chain has expired.
    CertificateExpired => "certificate_expired",
    /// A certificate of the chain is not valid yet.
    CertificateNotYetValid => "certificate_not_yet_valid",
    /// A signature in the chain, or over the handshake, does not hold.
    CertificateSignature => "certificate_signature",
    /// The leaf carries no URI SAN.
    SanMissing => "san_missing",
    /// The leaf carries more than one URI SAN.
    SanMultiple => "san_multiple",
    /// The URI SAN is not a SPIFFE ID of the form this project uses.
    SpiffeSyntax => "spiffe_syntax",
    /// The SPIFFE ID belongs to a trust domain that these anchors do not serve.
    TrustDomain => "trust_domain",
    /// The certificate names another peer than the one expected.
    PeerName => "peer_name",
    /// The common name is not the expected one.
    CommonName => "common_name",
    /// A CA certificate was presented as a leaf.
    CaAsLeaf => "ca_as_leaf",
    /// keyUsage or extendedKeyUsage does not allow this use.
    KeyUsage => "key_usage",
    /// A key or signature algorithm is too weak.
    WeakKey => "weak_key",
    /// A rule of path validation other than the ones named here was broken.
    CertificatePath => "certificate_path",
    /// No server of that name is offered here.
    UnknownServer => "unknown_server",
    /// The server name in the hello is not the one in the TLS handshake.
    ServerNameMismatch => "server_name_mismatch",
    /// Too many connections in total.
    ConnectionLimit => "connection_limit",
    /// Too many connections, or detached conversations, of this peer.
    PeerLimit => "peer_limit",
    /// The peer broke a rule of the link protocol.
    LinkProtocol => "link_protocol",
    /// There is no conversation to resume under that handle, for that peer.
    ResumeUnknown => "resume_unknown",
    /// The resume attempt is older than one already accepted.
    ResumeStale => "resume_stale",
    /// The server could not be started.
    ServerStart => "server_start",
    /// We are shutting down and take nothing new.
    Draining => "draining",
    /// The message is not one JSON object in UTF-8 (RFC 8259).
    MessageMalformed => "message_malformed",
    /// The JSON object is not a JSON-RPC 2.0 request, notification or response.
    MessageInvalid => "message_invalid",
    /// A member that decides what the message does occurs twice, or in another case.
    MemberAmbiguous => "member_ambiguous",
    /// The message nests too deeply.
    MessageTooDeep => "message_too_deep",
    /// The message is larger than the limit.
    MessageTooLarge => "message_too_large",
    /// A JSON-RPC batch; send messages one by one.
    MessageBatch => "message_batch",
    /// A request with this id is still waiting for its answer.
    RequestIdInUse => "request_id_in_use",
    /// Too many requests wait for an answer.
    RequestsInFlight => "requests_in_flight",
    /// An answer that no request waits for.
    ResponseUnexpected => "response_unexpected",
    /// Policy does not allow it.
    NotAuthorized => "not_authorized",
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_snake_case() {
        let mut seen = HashSet::new();
        for code in RefusalCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
