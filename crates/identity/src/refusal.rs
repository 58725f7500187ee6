use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, OtherError, PeerIncompatible,
};
use sealwire_names::{Refusal, RefusalCode, Timestamp};

use crate::anchors::{AnchorRules, TrustAnchors};

/// How the reason of a refusal begins that is the peer's.
const BY_PEER: &str = "the peer refused us: ";
/// How the reason of a refusal begins that is of an anchor of ours, here and in verify.rs.
const OF_ANCHOR: &str = "the trust anchor ";
const THE_ANCHOR: &str = "the trust anchor of ours that vouches for the peer's certificate";
/// Anchors that are named where it can be any of them.
const MOST_ANCHORS: usize = 4;

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

/// Whether it is a trust anchor of ours that is not valid at this time, and nothing of the peer's.
pub fn is_of_anchor(refusal: &Refusal) -> bool {
    is_of_time(refusal.code) && refusal.reason.starts_with(OF_ANCHOR)
}

fn is_of_time(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::CertificateExpired | RefusalCode::CertificateNotYetValid)
}

/// Like [`io_refusal`], for a handshake in which the peer was verified against `anchors`: where it
/// is one of these that is not valid at this time, it is named, or all that it can be.
pub fn handshake_refusal(error: &io::Error, anchors: &TrustAnchors, now: Timestamp) -> Refusal {
    use RefusalCode as Code;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let expired = match inner {
        Some(Error::InvalidCertificate(CertificateError::Expired)) => true,
        Some(Error::InvalidCertificate(CertificateError::NotValidYet)) => false,
        _ => return io_refusal(error),
    };
    let bound = |rules: &AnchorRules| if expired { rules.not_after } else { rules.not_before };
    let is_it =
        |rules: &&AnchorRules| if expired { bound(rules) < now } else { now < bound(rules) };
    let found: Vec<_> = anchors.each().filter(is_it).collect();
    let (code, is, says) = if expired {
        (Code::CertificateExpired, "has expired", "expired at")
    } else {
        (Code::CertificateNotYetValid, "is not valid yet", "is not valid before")
    };
    let reason = match *found {
        [] => return io_refusal(error),
        [one] => {
            format!("{THE_ANCHOR}, {}, {says} {} (it is {now} here)", one.subject, bound(one))
        }
        _ => {
            let each = |rules: &&AnchorRules| format!("{} ({})", rules.subject, bound(rules));
            let mut each: Vec<_> = found.iter().take(MOST_ANCHORS).map(each).collect();
            let more = found.len() - each.len();
            each.extend((more > 0).then(|| format!("{more} more")));
            format!("{THE_ANCHOR} {is}; it is one of {} (it is {now} here)", each.join(", "))
        }
    };
    Refusal::new(code, reason)
}

/// Why a chain is refused; and, if a certificate of it is not valid at this time, the end of its
/// validity that is to blame. Where an anchor of ours is, there is none.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) bound: Option<UnixTime>,
}

impl Refused {
    /// Whether some certificate is not valid at this time.
    pub(crate) fn is_of_time(&self) -> bool {
        is_of_time(self.refusal.code)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, bound: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        refused.refusal
    }
}

/// Carries a refusal through rustls to [`refusal`].
///
/// rustls chooses the alert by the kind of error, and only the kind `Other` can carry
/// text. The peer is told what it can act on itself, that its certificate is not valid
/// now or not of our authority (RFC 8446 §6.2); about names and usages it learns
/// `certificate_unknown`, and our log everything.
///
/// Of the two about time, rustls carries when that was, too. Without it, it is none of the chain
/// that the peer presented, and so an anchor of ours.
pub(crate) fn to_rustls(refused: Refused, time: UnixTime) -> Error {
    let Refused { refusal, bound } = refused;
    Error::InvalidCertificate(match (refusal.code, bound) {
        (RefusalCode::UnknownIssuer, _) => CertificateError::UnknownIssuer,
        (RefusalCode::CertificateExpired, Some(not_after)) => {
            CertificateError::ExpiredContext { time, not_after }
        }
        (RefusalCode::CertificateExpired, None) => CertificateError::Expired,
        (RefusalCode::CertificateNotYetValid, Some(not_before)) => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        (RefusalCode::CertificateNotYetValid, None) => CertificateError::NotValidYet,
        _ => CertificateError::Other(OtherError(Arc::new(refusal))),
    })
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
        CertificateError::Expired => {
            (Code::CertificateExpired, format!("{THE_ANCHOR} has expired"))
        }
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
            format!("{THE_ANCHOR} is not valid yet: compare the clocks"),
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
