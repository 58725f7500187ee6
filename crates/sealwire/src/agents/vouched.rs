//! The authority's word for whose an agent's keys are: a bundle with it is believed by whoever trusts
//! that authority, with no fingerprint to compare. docs/spec/envelope.md §8.1.
//!
//! The word stands beside the bundle, in a block of its own, and names all that it is for: the trust
//! domain, the agent, the number, the signing key, and by its hash the bundle as a whole.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use sealwire_envelope::Bundle;
use sealwire_identity::{
    CertificateAuthority, Revocations, StatementKind, authorities_below, encode_pem,
    verify_statement,
};
use sealwire_names::{Fingerprint, Timestamp, TrustDomain};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::KeyError;
use super::key_files;

/// The label of a statement in PEM.
pub(super) const STATEMENT: &str = "SEALWIRE AGENT STATEMENT";
/// The version that is spoken.
const VERSION: u32 = 1;
/// How far ahead of ours the authority's clock may be, in milliseconds.
const SKEW: i64 = 5 * 60 * 1000;

/// Who is believed here: the anchors of a trust domain, and what is revoked.
pub type Believed<'a> = (&'a [CertificateDer<'a>], &'a TrustDomain, &'a Revocations);

/// What is signed, as JSON.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    version: u32,
    trust_domain: String,
    agent: String,
    number: u64,
    /// The signing key's kid, in hexadecimal.
    signing_kid: String,
    /// SHA-256 of the bundle's bytes.
    bundle: String,
    /// Milliseconds since 1970.
    issued: i64,
}

impl Stated {
    fn of(bundle: &Bundle, encoded: &[u8], domain: &TrustDomain, issued: Timestamp) -> Self {
        Self {
            version: VERSION,
            trust_domain: domain.to_string(),
            agent: bundle.agent.to_string(),
            number: bundle.number,
            signing_kid: bundle.fingerprint().to_hex(),
            bundle: hash(encoded).to_string(),
            issued: issued.unix_millis(),
        }
    }
}

/// The text of a bundle, with the word of an authority for it in place of any that was there.
/// Whoever calls this knows that it is the agent's.
///
/// # Errors
/// If the bundle is damaged, or the authority cannot sign.
pub fn vouch(
    pem: &[u8],
    file: &Path,
    authority: &CertificateAuthority,
    now: Timestamp,
) -> Result<String, KeyError> {
    let (bundle, encoded, _) = key_files::parse_blocks(pem, file)?;
    let stated = Stated::of(&bundle, &encoded, authority.trust_domain(), now);
    let text = serde_json::to_string(&stated)
        .map_err(|error| KeyError::Crypto { reason: error.to_string() })?;
    let signature = authority.state(StatementKind::AgentKeys, &text)?;
    let length = u16::try_from(text.len())
        .map_err(|_| KeyError::Crypto { reason: "a statement is too long".to_owned() })?;
    // Whoever takes it knows the root alone.
    let below = authority.chain().first().map_or(&[][..], AsRef::as_ref);
    let length_below = u16::try_from(below.len())
        .map_err(|_| KeyError::Crypto { reason: "a certificate is too long".to_owned() })?;
    let statement = [
        &length.to_be_bytes()[..],
        text.as_bytes(),
        &length_below.to_be_bytes(),
        below,
        &signature,
    ];
    let statement = statement.concat();
    let bundle = encode_pem(key_files::BUNDLE, &encoded)?;
    let statement = encode_pem(STATEMENT, &statement)?;
    Ok(format!("{}{}", bundle.as_str(), statement.as_str()))
}

/// The bundle in a text, and whether the authority's word for it holds: `None` if there is none.
///
/// `anchors` are the authorities that are trusted here, for that trust domain. The word may be that of
/// one below them which is not revoked.
///
/// # Errors
/// What is wrong with the bundle. What is wrong with the word is in the result: the bundle may be
/// believed for another reason.
pub fn read_vouched(
    pem: &[u8],
    file: &Path,
    (anchors, domain, revocations): Believed<'_>,
    now: Timestamp,
) -> Result<(Bundle, Option<Result<(), String>>), KeyError> {
    let (bundle, encoded, statement) = key_files::parse_blocks(pem, file)?;
    let believed = statement.map(|statement| {
        let wanted = |issued| Stated::of(&bundle, &encoded, domain, issued);
        check(&statement, (anchors, domain, revocations), wanted, now)
    });
    Ok((bundle, believed))
}

/// Whether an authority that is revoked since has made a statement that was believed when it came.
pub(super) fn is_of_revoked(statement: &[u8], revocations: &Revocations) -> bool {
    match parts(statement) {
        Some((_, [], _)) => false,
        Some((_, below, _)) => {
            let below = CertificateDer::from(below);
            revocations.check_believed_authority(&below).is_err()
        }
        None => true,
    }
}

/// Whether a statement is by a trusted authority, and for what is `wanted`.
fn check(
    statement: &[u8],
    (anchors, domain, revocations): Believed<'_>,
    wanted: impl FnOnce(Timestamp) -> Stated,
    now: Timestamp,
) -> Result<(), String> {
    let (text, below, signature) =
        parts(statement).ok_or("the authority's statement is damaged")?;
    let below = CertificateDer::from(below);
    let below = authorities_below(anchors, std::slice::from_ref(&below), domain, now);
    let issuers: Vec<_> = anchors.iter().chain(&below).cloned().collect();
    // Before anything in it is looked at: what others have written is nobody's word.
    verify_statement(StatementKind::AgentKeys, text, signature, &issuers, now)
        .and_then(|()| {
            let all = below.iter().map(|der| revocations.check_authority(der, now));
            all.collect::<Result<(), _>>().map_err(|refusal| refusal.to_string())
        })
        .map_err(|reason| format!("the authority's statement does not count: {reason}"))?;
    let stated: Stated = serde_json::from_str(text)
        .map_err(|error| format!("the authority's statement is not understood: {error}"))?;
    let wanted = wanted(Timestamp::from_unix_millis(stated.issued));
    if stated.version != VERSION {
        return Err(format!("the authority's statement is of version {}", stated.version));
    }
    for (what, said, held) in [
        ("trust domain", &stated.trust_domain, &wanted.trust_domain),
        ("agent", &stated.agent, &wanted.agent),
        ("number", &stated.number.to_string(), &wanted.number.to_string()),
        ("signing key", &stated.signing_kid, &wanted.signing_kid),
        ("bundle", &stated.bundle, &wanted.bundle),
    ] {
        if said != held {
            return Err(format!("the authority vouches for {what} {said}, and this is {held}"));
        }
    }
    // Of two bundles the one with the greater number counts: after the greatest there is, none would.
    let latest = now.unix_millis().saturating_add(SKEW) / 1000;
    if i64::try_from(stated.number).map_or(true, |number| number > latest) {
        let number = stated.number;
        return Err(format!("the bundle's number {number} is from the future: compare the clocks"));
    }
    if stated.issued > now.unix_millis().saturating_add(SKEW) {
        let issued = Timestamp::from_unix_millis(stated.issued);
        return Err(format!(
            "the authority's statement is from the future, of {issued}: compare the clocks"
        ));
    }
    Ok(())
}

/// What is signed, the certificate of who has signed it, empty if that is an anchor, and the signature.
fn parts(statement: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (text, rest) = split(statement)?;
    let (below, signature) = split(rest)?;
    Some((std::str::from_utf8(text).ok()?, below, signature))
}

/// So many bytes as the first two say, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn hash(bytes: &[u8]) -> Fingerprint {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Fingerprint::from_sha256(hash)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use sealwire_envelope::{BundleRequest, RecipientKey, SigningKey};
    use sealwire_identity::{Revocation, Revoked, parse_pem_certificates};

    use super::*;

    const FILE: &str = "it";

    struct Case {
        _dir: tempfile::TempDir,
        authority: CertificateAuthority,
        anchors: Vec<CertificateDer<'static>>,
        now: Timestamp,
    }

    fn case(domain: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let authority =
            CertificateAuthority::create(&dir.path().join("ca"), &domain.parse().unwrap(), hour)
                .unwrap();
        let anchors = parse_pem_certificates(authority.certificate_pem().as_bytes()).unwrap();
        Case { _dir: dir, authority, anchors, now: SystemTime::now().into() }
    }

    fn bundle(agent: &str, number: u64, signing: &SigningKey) -> String {
        let now: Timestamp = SystemTime::now().into();
        let not_after = Timestamp::from_unix_seconds(now.unix_seconds() + 60);
        let agent = agent.parse().unwrap();
        let request = BundleRequest { agent, number, not_before: now, not_after };
        let recipient = RecipientKey::generate().unwrap();
        let bytes = Bundle::make(&request, signing, recipient.public()).unwrap();
        encode_pem(key_files::BUNDLE, &bytes).unwrap().to_string()
    }

    impl Case {
        fn vouched(&self, bundle: &str) -> String {
            vouch(bundle.as_bytes(), Path::new(FILE), &self.authority, self.now).unwrap()
        }

        /// What `anchors` of this make of it.
        fn read(&self, text: &str, domain: &str, now: Timestamp) -> Option<Result<(), String>> {
            self.read_where(text, domain, now, &Revocations::default())
        }

        fn read_where(
            &self,
            text: &str,
            domain: &str,
            now: Timestamp,
            revocations: &Revocations,
        ) -> Option<Result<(), String>> {
            let domain = domain.parse().unwrap();
            let believed = (&self.anchors[..], &domain, revocations);
            read_vouched(text.as_bytes(), Path::new(FILE), believed, now).unwrap().1
        }
    }

    fn blocks(text: &str) -> (&str, &str) {
        text.split_at(text.find("-----BEGIN SEALWIRE AGENT STATEMENT").unwrap())
    }

    #[test]
    fn a_bundle_is_believed_by_the_word_of_a_trusted_authority_alone() {
        let (ours, theirs) = (case("x.example"), case("x.example"));
        let signing = SigningKey::generate().unwrap();
        let plain = bundle("A", 7, &signing);
        assert_eq!(ours.read(&plain, "x.example", ours.now), None);
        let good = ours.vouched(&plain);
        assert_eq!(ours.read(&good, "x.example", ours.now), Some(Ok(())));
        // One word takes the place of another.
        let again = ours.vouched(&theirs.vouched(&plain));
        assert_eq!(ours.read(&again, "x.example", ours.now), Some(Ok(())));
        let refused = |text: &str, domain: &str, now, why: &str| {
            let reason = ours.read(text, domain, now).unwrap().unwrap_err();
            assert!(reason.contains(why), "{reason}");
        };
        refused(&theirs.vouched(&plain), "x.example", ours.now, "not signed by an authority");
        // An authority below a root speaks for its own trust domain alone.
        refused(&good, "y.example", ours.now, "not signed by an authority");
        let ahead = Timestamp::from_unix_millis(ours.now.unix_millis() + SKEW + 1_000);
        let early = vouch(plain.as_bytes(), Path::new(FILE), &ours.authority, ahead).unwrap();
        refused(&early, "x.example", ours.now, "from the future");
        let endless = ours.vouched(&bundle("A", u64::MAX, &signing));
        refused(&endless, "x.example", ours.now, "number 18446744073709551615 is from the future");
        // By an authority that is revoked since.
        let [below] = ours.authority.chain() else { panic!("it is below a root") };
        let summary = sealwire_identity::describe(below, "it").unwrap().remove(0);
        let revoked = Revocations::new([Revocation {
            what: Revoked::certificate(&summary),
            at: ours.now,
            reason: "stolen".to_owned(),
        }]);
        let reason = ours.read_where(&good, "x.example", ours.now, &revoked).unwrap().unwrap_err();
        assert!(reason.contains("stolen"), "{reason}");

        let (_, statement) = blocks(&good);
        let with = |other: &str| format!("{other}{statement}");
        refused(&with(&bundle("B", 7, &signing)), "x.example", ours.now, "agent A");
        refused(&with(&bundle("A", 8, &signing)), "x.example", ours.now, "number 7");
        let other = SigningKey::generate().unwrap();
        refused(&with(&bundle("A", 7, &other)), "x.example", ours.now, "signing key");
        // The same but for the key that messages are sealed to.
        refused(&with(&bundle("A", 7, &signing)), "x.example", ours.now, "vouches for bundle");
    }

    #[test]
    fn what_an_authority_says_of_other_things_is_not_its_word_for_keys() {
        let ours = case("x.example");
        let good = ours.vouched(&bundle("A", 7, &SigningKey::generate().unwrap()));
        let (_, _, statement) = key_files::parse_blocks(good.as_bytes(), Path::new(FILE)).unwrap();
        let statement = statement.unwrap();
        let (text, _, signature) = parts(&statement).unwrap();
        let before = &statement[..statement.len() - signature.len()];
        let signature = ours.authority.state(StatementKind::Revocations, text).unwrap();
        let other = [before, &signature].concat();
        let (domain, none) = ("x.example".parse().unwrap(), Revocations::default());
        let believed = (&ours.anchors[..], &domain, &none);
        let wanted = |_| serde_json::from_str(text).unwrap();
        check(&statement, believed, wanted, ours.now).unwrap();
        let wanted = |_| serde_json::from_str(text).unwrap();
        check(&other, believed, wanted, ours.now).unwrap_err();
    }

    proptest! {
        /// Whatever stands in the place of a statement, it is refused, and nothing breaks.
        #[test]
        fn no_other_bytes_are_a_statement(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let wanted = |_| unreachable!("nobody has signed it");
            let now = Timestamp::from_unix_millis(0);
            let (domain, none) = ("x.example".parse().unwrap(), Revocations::default());
            prop_assert!(check(&bytes, (&[], &domain, &none), wanted, now).is_err());
        }
    }
}
