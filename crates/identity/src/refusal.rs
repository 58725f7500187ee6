use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, OtherError, PeerIncompatible,
};
use sealwire_names::{Refusal, RefusalCode, Timestamp};

use crate::certificate::Certificate;

/// How the reason of a refusal begins that is the peer's.
const BY_PEER: &str = "the peer refused us: ";

/// Why a handshake failed, as a stable code and a full reason.
///
/// A [`Refusal`] of our own verifier comes back as it was made. An alert received
/// means that the peer refused *us*, and the reason says so.
pub fn refusal(error: &Error) -> Refusal {
    use RefusalCode as Code;
    let (code, reason) = match error {
        Error::InvalidCertificate(problem) => return certificate_refusal(problem),
        Error::AlertReceived(alert) => return alert_refusal(*alert),
        Error::NoCertificatesPresented => {
            (Code::CertificateMissing, "the peer presented no certificate".into())
        }
        Error::PeerIncompatible(problem) => (incompatible_code(problem), match problem {
            PeerIncompatible::NoCipherSuitesInCommon => {
                "the peer offers neither TLS13_AES_256_GCM_SHA384 nor TLS13_CHACHA20_POLY1305_SHA256".into()
            }
            PeerIncompatible::NoKxGroupsInCommon => {
                "the peer offers neither X25519MLKEM768 nor X25519".into()
            }
            problem if incompatible_code(problem) == Code::TlsVersion => {
                format!("the peer does not offer TLS 1.3 ({problem:?})")
            }
            problem => format!("the peer lacks a TLS feature that is required ({problem:?})"),
        }),
        Error::NoApplicationProtocol => {
            (Code::TlsProtocol, "the peer offers no application protocol of ours (ALPN)".into())
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            (Code::CertificateSignature, "the private key is of another certificate".into())
        }
        other => (Code::TlsHandshake, format!("the TLS handshake failed: {other}")),
    };
    Refusal::new(code, reason)
}

/// Whether it is the peer that refused us, rather than we the peer. It told us by a TLS
/// alert, so that the code says no more than the alert did.
pub fn is_by_peer(refusal: &Refusal) -> bool {
    refusal.reason.starts_with(BY_PEER)
}

/// Like [`refusal`], for an I/O error that may carry a TLS error inside.
pub fn io_refusal(error: &io::Error) -> Refusal {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => refusal(inner),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Refusal::new(
            RefusalCode::TlsHandshake,
            "the peer closed the connection during the TLS handshake, without an alert",
        ),
        None => Refusal::new(
            RefusalCode::TlsHandshake,
            format!("the connection failed during the TLS handshake: {error}"),
        ),
    }
}

/// Carries a refusal through rustls to [`refusal`].
///
/// rustls chooses the alert by the kind of error, and only the kind `Other` can carry
/// text. The peer is told what it can act on itself, that its certificate is not valid
/// now or not of our authority (RFC 8446 §6.2); about names and usages it learns
/// `certificate_unknown`, and our log everything.
///
/// Of the two about time, rustls carries when that was, too. Without it, it is none of the `chain`
/// that the peer presented, and so an anchor of ours.
pub(crate) fn to_rustls(refusal: Refusal, chain: &[CertificateDer<'_>], time: UnixTime) -> Error {
    let now = shown(time);
    let parsed = chain.iter().filter_map(|der| Certificate::parse(der, "a certificate").ok());
    Error::InvalidCertificate(match refusal.code {
        RefusalCode::UnknownIssuer => CertificateError::UnknownIssuer,
        RefusalCode::CertificateExpired => {
            let ends = parsed.map(|certificate| certificate.not_after());
            match ends.filter(|end| *end < now).min() {
                Some(end) => CertificateError::ExpiredContext { time, not_after: unix(end) },
                None => CertificateError::Expired,
            }
        }
        RefusalCode::CertificateNotYetValid => {
            let begins = parsed.map(|certificate| certificate.not_before());
            match begins.filter(|begin| *begin > now).max() {
                Some(begin) => {
                    CertificateError::NotValidYetContext { time, not_before: unix(begin) }
                }
                None => CertificateError::NotValidYet,
            }
        }
        _ => CertificateError::Other(OtherError(Arc::new(refusal))),
    })
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.unix_seconds().try_into().unwrap_or(0)))
}

/// A time of rustls's, for people.
pub(crate) fn shown(time: UnixTime) -> Timestamp {
    Timestamp::from_unix_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn certificate_refusal(error: &CertificateError) -> Refusal {
    use RefusalCode as Code;
    let (code, reason) = match error {
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<Refusal>() {
            Some(refusal) => return refusal.clone(),
            None => (Code::CertificateMalformed, format!("the certificate is refused: {other}")),
        },
        CertificateError::UnknownIssuer => (
            Code::UnknownIssuer,
            "no trust anchor of ours vouches for the peer's certificate".into(),
        ),
        CertificateError::ExpiredContext { time, not_after } => (
            Code::CertificateExpired,
            format!(
                "the peer's certificate, or an authority's that came with it, expired at {} (it \
                 is {} here): the peer needs a new one, or the clocks differ",
                shown(*not_after),
                shown(*time)
            ),
        ),
        CertificateError::Expired => (
            Code::CertificateExpired,
            "the trust anchor of ours that vouches for the peer's certificate has expired".into(),
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            Code::CertificateNotYetValid,
            format!(
                "the peer's certificate, or an authority's that came with it, is not valid before \
                 {} (it is {} here): compare the clocks",
                shown(*not_before),
                shown(*time)
            ),
        ),
        CertificateError::NotValidYet => (
            Code::CertificateNotYetValid,
            "the trust anchor of ours that vouches for the peer's certificate is not valid yet: \
             compare the clocks"
                .into(),
        ),
        CertificateError::BadSignature => (
            Code::CertificateSignature,
            "the peer does not hold the private key of its certificate".into(),
        ),
        CertificateError::BadEncoding => {
            (Code::CertificateMalformed, "the peer's certificate is malformed".into())
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            Code::TlsParameters,
            "the peer signed the handshake with an algorithm that does not fit its key".into(),
        ),
        other => (Code::CertificatePath, format!("the peer's certificate is refused: {other}")),
    };
    Refusal::new(code, reason)
}

fn incompatible_code(problem: &PeerIncompatible) -> RefusalCode {
    use PeerIncompatible as P;
    match problem {
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic => RefusalCode::TlsVersion,
        P::NoCipherSuitesInCommon
        | P::NoKxGroupsInCommon
        | P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon
        | P::NamedGroupsExtensionRequired
        | P::KeyShareExtensionRequired
        | P::SignatureAlgorithmsExtensionRequired => RefusalCode::TlsParameters,
        _ => RefusalCode::TlsHandshake,
    }
}

/// What a peer's fatal alert tells us (RFC 8446 §6.2).
fn alert_refusal(alert: AlertDescription) -> Refusal {
    use AlertDescription as A;
    use RefusalCode as Code;
    let (code, why) = match alert {
        A::ProtocolVersion => (Code::TlsVersion, "it does not speak TLS 1.3"),
        A::HandshakeFailure | A::InsufficientSecurity => {
            (Code::TlsParameters, "no cipher suite, group or signature scheme in common")
        }
        A::NoApplicationProtocol => (Code::TlsProtocol, "it is no sealwire port"),
        A::UnrecognisedName => (Code::UnknownServer, "it serves no server of that name"),
        A::CertificateRequired => {
            (Code::CertificateMissing, "it requires a client certificate and got none")
        }
        A::CertificateExpired => {
            let why = "our certificate, or one above it, is not valid at this time by its clock: \
                       we need a new one, or the clocks differ";
            (Code::CertificateExpired, why)
        }
        A::CertificateRevoked => (Code::CertificateRevoked, "our certificate is revoked for it"),
        A::UnknownCA => (Code::UnknownIssuer, "it does not trust the issuer of our certificate"),
        A::DecryptError => (Code::CertificateSignature, "a signature of ours does not hold for it"),
        A::CertificateUnknown | A::BadCertificate | A::UnsupportedCertificate | A::AccessDenied => {
            (Code::CertificatePath, "our certificate breaks a rule of its; its log names the rule")
        }
        _ => (Code::TlsHandshake, "it sent a fatal alert"),
    };
    Refusal::new(code, format!("{BY_PEER}{why} (TLS alert {alert:?})"))
}
