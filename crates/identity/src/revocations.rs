use std::collections::HashMap;
use std::fmt;

use rustls::pki_types::CertificateDer;
use sealwire_names::{Fingerprint, PeerId, Refusal, RefusalCode, Timestamp};

use crate::certificate::Certificate;
use crate::credential::Credential;
use crate::crl::{Link, RevocationLists};
use crate::summary::CertificateSummary;
use crate::verify::VerifiedPeer;

/// Which certificates are not to be believed any more: an immutable value, replaced as a whole
/// when it changes.
///
/// [`PeerVerifier`](crate::PeerVerifier) says whether a certificate is good by itself, and always
/// says the same of it; what is said here comes later, and while a connection stands. So it is
/// asked after each verification, and again whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// By what is signed of them.
    certificates: HashMap<Fingerprint, Revocation>,
    names: HashMap<PeerId, Revocation>,
    /// What authorities say.
    lists: RevocationLists,
    /// Until when it is known what is revoked by name, where that is told by others.
    known_until: Option<Timestamp>,
}

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// One certificate.
    Certificate {
        /// By which it is known to people and in logs.
        fingerprint: Fingerprint,
        /// SHA-256 of what its issuer has signed, by which it is found: the same certificate can
        /// be given another fingerprint by whoever has it, as an ECDSA signature can be written
        /// in two ways.
        signed: Fingerprint,
    },
    /// Every certificate of this name that is valid from the moment of the revocation or from an
    /// earlier one. See [`CertificateAuthority::issue_after`](crate::CertificateAuthority::issue_after).
    Name(PeerId),
}

/// A revocation. There is no way back from it: who was wrong issues another certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub what: Revoked,
    /// When it was.
    pub at: Timestamp,
    /// Why, for the log and for operators.
    pub reason: String,
}

impl Revoked {
    /// That certificate.
    pub fn certificate(summary: &CertificateSummary) -> Self {
        Self::Certificate { fingerprint: summary.fingerprint, signed: summary.signed }
    }

    /// What kind it is: `certificate` or `name`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "certificate",
            Self::Name(_) => "name",
        }
    }

    /// The fingerprint, or the name.
    pub fn text(&self) -> String {
        match self {
            Self::Certificate { fingerprint, .. } => fingerprint.to_string(),
            Self::Name(id) => id.to_string(),
        }
    }

    /// What is signed of a certificate; `None` for a name.
    pub fn signed(&self) -> Option<&Fingerprint> {
        match self {
            Self::Certificate { signed, .. } => Some(signed),
            Self::Name(_) => None,
        }
    }

    /// What is of that kind and text, with what is signed of it; `None` if nothing is.
    pub fn parse(kind: &str, text: &str, signed: Option<&str>) -> Option<Self> {
        match (kind, signed) {
            ("certificate", Some(signed)) => Some(Self::Certificate {
                fingerprint: text.parse().ok()?,
                signed: signed.parse().ok()?,
            }),
            ("name", None) => text.parse().ok().map(Self::Name),
            _ => None,
        }
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.text())
    }
}

impl Revocations {
    /// These, of which the latest counts where one of a name occurs twice.
    pub fn new(all: impl IntoIterator<Item = Revocation>) -> Self {
        let mut revocations = Self::default();
        for revocation in all {
            match &revocation.what {
                Revoked::Certificate { signed, .. } => {
                    revocations.certificates.insert(*signed, revocation);
                }
                Revoked::Name(id) => match revocations.names.get(id) {
                    Some(later) if later.at > revocation.at => {}
                    _ => drop(revocations.names.insert(id.clone(), revocation)),
                },
            }
        }
        revocations
    }

    /// These, and what the lists of authorities say.
    #[must_use]
    pub fn with_lists(self, lists: RevocationLists) -> Self {
        Self { lists, ..self }
    }

    /// These, which are known until then, never if that is 1970: afterwards nobody is believed. The caller sees to it that
    /// who was believed before is asked about again.
    #[must_use]
    pub fn with_known_until(self, known_until: Timestamp) -> Self {
        Self { known_until: Some(known_until), ..self }
    }

    /// What the lists of authorities say.
    pub fn lists(&self) -> &RevocationLists {
        &self.lists
    }

    /// Until when it is known what is revoked: a connection must not outlast that. Later than
    /// anything where no lists are gone by.
    pub fn valid_until(&self) -> Timestamp {
        self.lists.valid_until().unwrap_or(Timestamp::from_unix_millis(i64::MAX))
    }

    /// When certificates of that name were last revoked, if they were: what is issued to it
    /// must not be valid before.
    pub fn of_name(&self, id: &PeerId) -> Option<Timestamp> {
        self.names.get(id).map(|revocation| revocation.at)
    }

    /// Is the certificate by which this peer was verified still to be believed, and those of the
    /// authorities between it and the anchor?
    ///
    /// # Errors
    /// `certificate_revoked`, with whose it is, since when and why; `revocation_unknown` where
    /// lists are gone by and one is missing or out of date, or it is known no longer what is
    /// revoked by name.
    pub fn check_peer(&self, peer: &VerifiedPeer, now: Timestamp) -> Result<(), Refusal> {
        self.check(&peer.id, &peer.fingerprint, &peer.signed, peer.not_before)?;
        if let Some(until) = self.known_until.filter(|until| now > *until) {
            let since = match until.unix_millis() {
                0 => String::new(),
                _ => format!(" since {until}"),
            };
            let reason = format!(
                "what the authority says is revoked is not known{since}, and {} may be",
                peer.id
            );
            return Err(Refusal::new(RefusalCode::RevocationUnknown, reason));
        }
        self.check_issuers(&peer.chain)?;
        self.lists.check(&peer.chain, now)
    }

    /// Are the authorities between the leaf of this peer and its anchor still to be believed, which
    /// others have certificates of as well?
    ///
    /// # Errors
    /// `certificate_revoked`, of one that was revoked by command.
    pub fn check_authorities(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        self.check_issuers(&peer.chain)
    }

    /// Is that authority, which stands below an anchor, still to be believed?
    ///
    /// # Errors
    /// `certificate_revoked`; `revocation_unknown` where lists are gone by and that of the anchor is
    /// missing or out of date.
    pub fn check_authority(&self, der: &CertificateDer<'_>, now: Timestamp) -> Result<(), Refusal> {
        let link = Link::of(&Certificate::parse(der, "the authority")?);
        self.check_issuer(&link)?;
        self.lists.check(&[link], now)
    }

    /// Has that authority been revoked, whose word was believed when it was given?
    ///
    /// # Errors
    /// `certificate_revoked`.
    pub fn check_believed_authority(&self, der: &CertificateDer<'_>) -> Result<(), Refusal> {
        let link = Link::of(&Certificate::parse(der, "the authority")?);
        self.check_issuer(&link)?;
        self.lists.check_listed(&link)
    }

    /// Of the authorities that are revoked by command, is one between that leaf and its anchor?
    fn check_issuers(&self, chain: &[Link]) -> Result<(), Refusal> {
        chain.iter().skip(1).try_for_each(|link| self.check_issuer(link))
    }

    fn check_issuer(&self, link: &Link) -> Result<(), Refusal> {
        let Some(revocation) = self.certificates.get(link.signed()) else { return Ok(()) };
        let (authority, Revocation { at, reason, .. }) = (link.subject(), revocation);
        Err(Refusal::new(
            RefusalCode::CertificateRevoked,
            format!(
                "the authority {authority}, and so what it has issued, is revoked since {at}: \
                 {reason}"
            ),
        ))
    }

    /// Is the chain by which a service of the authority has proven itself still to be believed?
    ///
    /// # Errors
    /// `certificate_revoked`.
    pub fn check_service(&self, chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
        let place = "a certificate of the service";
        let links = chain
            .iter()
            .map(|der| Ok(Link::of(&Certificate::parse(der, place)?)))
            .collect::<Result<Vec<_>, Refusal>>()?;
        self.check_issuers(&links)?;
        links.iter().try_for_each(|link| self.lists.check_listed(link))
    }

    /// Is a certificate of our own still to be believed?
    ///
    /// # Errors
    /// As [`Self::check_peer`].
    pub fn check_own(&self, own: &Credential) -> Result<(), Refusal> {
        let (signed, not_before) = own.marks();
        self.check(own.id(), &own.fingerprint(), &signed, not_before)?;
        self.check_issuers(own.links())?;
        own.links().iter().try_for_each(|link| self.lists.check_listed(link))
    }

    /// Is a certificate that is only looked at still to be believed? A leaf that names no peer never
    /// was, and is not revoked.
    ///
    /// # Errors
    /// As [`Self::check_peer`].
    pub fn check_summary(&self, summary: &CertificateSummary) -> Result<(), Refusal> {
        let CertificateSummary { fingerprint, signed, not_before, .. } = summary;
        if summary.is_ca {
            return self.check_issuer(&summary.link);
        }
        let [uri] = summary.uris.as_slice() else { return Ok(()) };
        let Ok(id) = uri.parse() else { return Ok(()) };
        self.check(&id, fingerprint, signed, *not_before)?;
        self.lists.check_listed(&summary.link)
    }

    fn check(
        &self,
        id: &PeerId,
        fingerprint: &Fingerprint,
        signed: &Fingerprint,
        not_before: Timestamp,
    ) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal::new(RefusalCode::CertificateRevoked, reason));
        if let Some(Revocation { at, reason, .. }) = self.certificates.get(signed) {
            return refuse(format!(
                "the certificate {fingerprint} of {id} is revoked since {at}: {reason}"
            ));
        }
        // In whole seconds, as certificates have them: what begins in the second of the
        // revocation may have been issued before it.
        match self.names.get(id) {
            Some(Revocation { at, reason, .. })
                if not_before.unix_seconds() <= at.unix_seconds() =>
            {
                refuse(format!(
                    "the certificates of {id} from before {at} are revoked: {reason}; \
                     {fingerprint} is valid from {not_before}"
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(what: Revoked, millis: i64) -> Revocation {
        let at = Timestamp::from_unix_millis(millis);
        Revocation { what, at, reason: "stolen".to_owned() }
    }

    #[test]
    fn a_name_is_revoked_up_to_a_moment_and_a_certificate_for_ever() {
        let id: PeerId = "spiffe://x/core/a".parse().unwrap();
        let other: PeerId = "spiffe://x/core/b".parse().unwrap();
        let (one, two) = (Fingerprint::from_sha256([1; 32]), Fingerprint::from_sha256([2; 32]));
        let all = Revocations::new([
            revocation(Revoked::Name(id.clone()), 10_500),
            revocation(Revoked::Name(id.clone()), 7_000),
            revocation(Revoked::Certificate { fingerprint: two, signed: one }, 1),
        ]);
        let from = |id, signed, seconds| {
            let checked = all.check(id, &two, signed, Timestamp::from_unix_seconds(seconds));
            checked.err().map(|refusal| refusal.reason)
        };
        assert!(from(&id, &two, 8).unwrap().contains("stolen"));
        assert!(from(&id, &two, 10).is_some(), "it may have been issued in that second, before");
        assert_eq!(from(&id, &two, 11), None);
        assert_eq!(from(&other, &two, 8), None);
        assert!(from(&other, &one, i64::MAX / 1000).is_some());
        assert_eq!(all.of_name(&id), Some(Timestamp::from_unix_millis(10_500)));
        assert_eq!(all.of_name(&other), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (fingerprint, signed) =
            (Fingerprint::from_sha256([7; 32]), Fingerprint::from_sha256([8; 32]));
        for what in [
            Revoked::Certificate { fingerprint, signed },
            Revoked::Name("spiffe://x/agent/A".parse().unwrap()),
        ] {
            let signed = what.signed().map(ToString::to_string);
            assert_eq!(Revoked::parse(what.kind(), &what.text(), signed.as_deref()), Some(what));
        }
        assert_eq!(Revoked::parse("name", "a", None), None);
        assert_eq!(Revoked::parse("certificate", &fingerprint.to_string(), None), None);
        assert_eq!(Revoked::parse("all", "", None), None);
    }
}
