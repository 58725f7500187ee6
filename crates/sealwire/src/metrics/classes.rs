//! What a refusal counts as, beside itself.

use sealwire_names::RefusalCode;

/// Why a TLS handshake fails, or a certificate is not accepted.
pub(super) const OF_MTLS: &[RefusalCode] = &[
    RefusalCode::TlsVersion,
    RefusalCode::TlsParameters,
    RefusalCode::TlsProtocol,
    RefusalCode::TlsHandshake,
    RefusalCode::HandshakeTimeout,
    RefusalCode::CertificateMissing,
    RefusalCode::CertificateMalformed,
    RefusalCode::UnknownIssuer,
    RefusalCode::CertificateExpired,
    RefusalCode::CertificateNotYetValid,
    RefusalCode::CertificateRevoked,
    RefusalCode::RevocationUnknown,
    RefusalCode::CertificateSignature,
    RefusalCode::SanMissing,
    RefusalCode::SanMultiple,
    RefusalCode::SpiffeSyntax,
    RefusalCode::TrustDomain,
    RefusalCode::PeerName,
    RefusalCode::CommonName,
    RefusalCode::CaAsLeaf,
    RefusalCode::KeyUsage,
    RefusalCode::WeakKey,
    RefusalCode::CertificatePath,
];

/// Too many, too much or too fast.
pub(super) const OF_LIMITS: &[RefusalCode] = &[
    RefusalCode::ConnectionLimit,
    RefusalCode::PeerLimit,
    RefusalCode::MessageTooLarge,
    RefusalCode::RequestsInFlight,
    RefusalCode::RateLimited,
    RefusalCode::SharedLimit,
    RefusalCode::AgentRateLimited,
    RefusalCode::MailboxFull,
];

/// Here before.
pub(super) const OF_REPLAYS: &[RefusalCode] =
    &[RefusalCode::MessageReplayed, RefusalCode::ReplayWindow, RefusalCode::ResumeStale];

/// Whether a message between agents that was refused for this had a signature that holds.
/// `None`: it was not verified, or both may be.
pub(super) fn signature_holds(code: RefusalCode) -> Option<bool> {
    match code {
        RefusalCode::SignatureInvalid => Some(false),
        RefusalCode::RecipientsDigest
        | RefusalCode::ContentKey
        | RefusalCode::CekCommitment
        | RefusalCode::ContentInvalid => Some(true),
        _ => None,
    }
}

/// Why connections are refused.
pub(super) fn of_connections() -> impl Iterator<Item = RefusalCode> {
    codes(|code| code <= RefusalCode::Draining)
}

/// Why messages of a conversation are.
pub(super) fn of_messages() -> impl Iterator<Item = RefusalCode> {
    let barred = [
        RefusalCode::PeerQuarantined,
        RefusalCode::ServerSuspended,
        RefusalCode::CertificateRevoked,
        RefusalCode::RevocationUnknown,
        RefusalCode::Draining,
    ];
    let of_message = RefusalCode::MessageMalformed..RefusalCode::EnvelopeMalformed;
    codes(move |code| of_message.contains(&code)).chain(barred)
}

/// Why definitions of servers are.
pub(super) const OF_DEFINITIONS: [RefusalCode; 3] =
    [RefusalCode::PinChanged, RefusalCode::PinAdded, RefusalCode::PinUnapproved];

/// Why messages between agents are.
pub(super) fn of_mail() -> impl Iterator<Item = RefusalCode> {
    let also = [RefusalCode::AgentQuarantined, RefusalCode::MessageTooLarge];
    codes(|code| code >= RefusalCode::EnvelopeMalformed).chain(also)
}

/// They are in this order: of connections, of messages, of mail.
fn codes(which: impl Fn(RefusalCode) -> bool) -> impl Iterator<Item = RefusalCode> {
    RefusalCode::ALL.iter().copied().filter(move |code| which(*code))
}
