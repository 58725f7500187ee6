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
    /// The certificate is revoked.
    CertificateRevoked => "certificate_revoked",
    /// Whether the certificate is revoked is not known: a revocation list is missing or out of
    /// date.
    RevocationUnknown => "revocation_unknown",
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
    /// There is no such invitation to join, it is used up, or it was not proven.
    InvitationRefused => "invitation_refused",
    /// No server of that name is offered here.
    UnknownServer => "unknown_server",
    /// The server name in the hello is not the one in the TLS handshake.
    ServerNameMismatch => "server_name_mismatch",
    /// Too many connections in total.
    ConnectionLimit => "connection_limit",
    /// Too many connections, or detached conversations, of this peer.
    PeerLimit => "peer_limit",
    /// The peer is quarantined.
    PeerQuarantined => "peer_quarantined",
    /// The agent is quarantined.
    AgentQuarantined => "agent_quarantined",
    /// The server is suspended.
    ServerSuspended => "server_suspended",
    /// The connection was lost before the peer had said what it wants.
    ConnectionLost => "connection_lost",
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
    /// The call needs a token of the agent on whose behalf it is made.
    AgentTokenRequired => "agent_token_required",
    /// The call needs a person's approval.
    ApprovalRequired => "approval_required",
    /// The peer's own limit on requests is reached.
    RateLimited => "rate_limited",
    /// A limit on requests that the peer shares with others is reached.
    SharedLimit => "shared_limit",
    /// The peer has no limit of its own, and the configuration demands one.
    PeerNotRegistered => "peer_not_registered",
    /// The server's definition of it is not the one that was approved.
    PinChanged => "pin_changed",
    /// The server defines it in addition to what was approved.
    PinAdded => "pin_added",
    /// The server's definition of it has never been approved.
    PinUnapproved => "pin_unapproved",
    /// What has been approved of the server cannot be found out.
    PinsUnavailable => "pins_unavailable",
    /// The bytes are not an agent message, or bundle, of the form there is.
    EnvelopeMalformed => "envelope_malformed",
    /// The encoding is not the one deterministic encoding (RFC 8949 §4.2.1).
    EnvelopeNotDeterministic => "envelope_not_deterministic",
    /// A header's label is missing, unknown, repeated or out of order.
    EnvelopeHeader => "envelope_header",
    /// A header demands that something be understood that is not.
    EnvelopeCritical => "envelope_critical",
    /// An algorithm other than those of the version.
    EnvelopeAlgorithm => "envelope_algorithm",
    /// A type or version of message that is not known here.
    EnvelopeVersion => "envelope_version",
    /// A field of the header has a value that it cannot have.
    EnvelopeClaim => "envelope_claim",
    /// The message has more or fewer recipients than its audience.
    RecipientCount => "recipient_count",
    /// No agent of that name is known.
    SenderUnknown => "sender_unknown",
    /// The agent has no signing key of that identity.
    SenderKeyUnknown => "sender_key_unknown",
    /// The signing key is revoked.
    SenderKeyRevoked => "sender_key_revoked",
    /// The signing key is not valid now.
    SenderKeyExpired => "sender_key_expired",
    /// A bundle of keys contradicts one that is believed already.
    BundleConflict => "bundle_conflict",
    /// The message is for somebody else.
    NotAddressed => "not_addressed",
    /// The message is sealed to no key that the receiver has.
    RecipientKeyUnknown => "recipient_key_unknown",
    /// The version of a group's roster is not known.
    RosterUnknown => "roster_unknown",
    /// The trust matrix does not let the sender send that to the receiver.
    NotTrusted => "not_trusted",
    /// The message has expired.
    MessageExpired => "message_expired",
    /// The message was issued later than clocks may differ.
    MessageFromFuture => "message_from_future",
    /// The message is too old for a channel without a store.
    MessageStale => "message_stale",
    /// The message was issued before the receiver started, which has no memory of then.
    MessageBeforeStart => "message_before_start",
    /// The message was received before.
    MessageReplayed => "message_replayed",
    /// The message comes too far behind others to tell whether it was received.
    ReplayWindow => "replay_window",
    /// There is no room to remember one more epoch.
    ReplayCapacity => "replay_capacity",
    /// The signature does not hold.
    SignatureInvalid => "signature_invalid",
    /// The recipients are not those the header has the digest of.
    RecipientsDigest => "recipients_digest",
    /// The content key was not wrapped for this receiver, sender, audience and message.
    ContentKey => "content_key",
    /// The content key is not the one the header commits to.
    CekCommitment => "cek_commitment",
    /// The content is not what was sealed under this header.
    ContentInvalid => "content_invalid",
    /// No key of the receiver is known that is valid now.
    RecipientUnknown => "recipient_unknown",
    /// No rate is registered for the agent.
    AgentNotRegistered => "agent_not_registered",
    /// The agent sends more than its rate.
    AgentRateLimited => "agent_rate_limited",
    /// The receiver's mailbox has no room.
    MailboxFull => "mailbox_full",
    /// The message is to live longer than mail is kept.
    MessageLifetime => "message_lifetime",
    /// The message was delivered too often without being acknowledged.
    DeliveryLimit => "delivery_limit",
    /// What had been delivered is not known any more, and this may have been.
    ReplayStateLost => "replay_state_lost",
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
