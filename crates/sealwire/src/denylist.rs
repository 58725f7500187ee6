//! What an authority has revoked, said to other machines: a signed list that has a number, and an
//! age that it must not exceed.
//!
//! Whoever goes by such a list takes what is in it into his own state, where it stays: so nothing
//! that was revoked is forgotten, whatever comes next. What the list adds to that is until when it
//! is known what is revoked.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction};
use sealwire_identity::{Revocation, Revoked, StatementKind, verify_statement};
use sealwire_names::{Timestamp, TrustDomain};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::database::Tables;
use crate::revocations;

/// The version that is spoken.
const VERSION: u32 = 1;
/// How far ahead of ours the authority's clock may be, in milliseconds.
const SKEW: i64 = 5 * 60 * 1000;

pub(crate) const TABLES: Tables = Tables {
    component: "denylist",
    version: 1,
    create: "
CREATE TABLE denylist (
    made TEXT PRIMARY KEY,        -- 'here', by our authority, or 'elsewhere', for us to go by
    number INTEGER NOT NULL,
    issued INTEGER NOT NULL,      -- milliseconds since 1970
    max_age INTEGER NOT NULL      -- milliseconds
) STRICT, WITHOUT ROWID;
",
};

/// All that an authority has revoked by command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denylist {
    /// Which one it is, and since when it holds.
    pub edition: Edition,
    /// What is revoked.
    pub revoked: Vec<Revocation>,
}

/// Which list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// A later list has a greater one.
    pub number: i64,
    /// When it was made.
    pub issued: Timestamp,
    /// How old it may be when somebody goes by it.
    pub max_age: Duration,
}

impl Edition {
    /// Until when it says what is revoked.
    pub fn until(&self) -> Timestamp {
        let age = i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_millis(self.issued.unix_millis().saturating_add(age))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    version: u32,
    trust_domain: String,
    number: i64,
    issued: i64,
    max_age: i64,
    revoked: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<String>,
    at: i64,
    reason: String,
}

impl Denylist {
    /// The text that the authority signs.
    ///
    /// # Errors
    /// None that can be foreseen: it is JSON.
    pub fn text(&self, trust_domain: &TrustDomain) -> serde_json::Result<String> {
        let entry = |Revocation { what, at, reason }: &Revocation| Entry {
            kind: what.kind().to_owned(),
            what: what.text(),
            signed: what.signed().map(ToString::to_string),
            at: at.unix_millis(),
            reason: reason.clone(),
        };
        serde_json::to_string(&Encoded {
            version: VERSION,
            trust_domain: trust_domain.to_string(),
            number: self.edition.number,
            issued: self.edition.issued.unix_millis(),
            max_age: i64::try_from(self.edition.max_age.as_millis()).unwrap_or(i64::MAX),
            revoked: self.revoked.iter().map(entry).collect(),
        })
    }

    /// Reads a list that one of `issuers` has signed, authorities that are trusted, for that trust
    /// domain.
    ///
    /// # Errors
    /// What is wrong with it; that it is too old to go by, or comes from the future.
    pub fn read(
        text: &str,
        signature: &[u8],
        issuers: &[CertificateDer<'_>],
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, String> {
        verify_statement(StatementKind::Revocations, text, signature, issuers, now)?;
        let encoded: Encoded = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if encoded.version != VERSION {
            return Err(format!("it is of version {}", encoded.version));
        }
        if encoded.trust_domain != trust_domain.as_str() {
            return Err(format!("it is of the trust domain {}", encoded.trust_domain));
        }
        let edition = Edition {
            number: encoded.number,
            issued: Timestamp::from_unix_millis(encoded.issued),
            max_age: Duration::from_millis(u64::try_from(encoded.max_age).unwrap_or(0)),
        };
        if now > edition.until() {
            return Err(format!("it is out of date since {}: compare the clocks", edition.until()));
        }
        if encoded.issued > now.unix_millis().saturating_add(SKEW) {
            let issued = edition.issued;
            return Err(format!("it was made in the future, at {issued}: compare the clocks"));
        }
        // Of two lists the one with the greater number counts: after the greatest there is, none
        // would ever be taken again.
        if encoded.number > now.unix_millis().saturating_add(SKEW) {
            let number = encoded.number;
            return Err(format!("its number {number} is from the future: compare the clocks"));
        }
        let revocation = |Entry { kind, what, signed, at, reason }: Entry| {
            let found = Revoked::parse(&kind, &what, signed.as_deref());
            let is_foreign = |id: &sealwire_names::PeerId| id.trust_domain() != trust_domain;
            match found {
                Some(Revoked::Name(id)) if is_foreign(&id) => {
                    Err(format!("it revokes {id}, of another trust domain"))
                }
                Some(what) => Ok(Revocation { what, at: Timestamp::from_unix_millis(at), reason }),
                None => Err(format!("it revokes {kind:?} {what:?}, which cannot be")),
            }
        };
        let revoked = encoded.revoked.into_iter().map(revocation).collect::<Result<_, _>>()?;
        Ok(Self { edition, revoked })
    }
}

/// The edition that was made `here`, or is gone by.
pub(crate) fn edition(db: &Connection, here: bool) -> rusqlite::Result<Option<Edition>> {
    let select = "SELECT number, issued, max_age FROM denylist WHERE made = ?1";
    db.query_row(select, [place(here)], |row| {
        let max_age: i64 = row.get(2)?;
        Ok(Edition {
            number: row.get(0)?,
            issued: Timestamp::from_unix_millis(row.get(1)?),
            max_age: Duration::from_millis(max_age.unsigned_abs()),
        })
    })
    .optional()
}

/// The edition that follows the last one that was made here, also where the clock was set back.
pub(crate) fn next(
    db: &Transaction<'_>,
    issued: Timestamp,
    max_age: Duration,
) -> rusqlite::Result<Edition> {
    let last = edition(db, true)?.map_or(0, |last| last.number);
    // Numbers are times, and go on where the clock is put back. Nobody has taken one that was far
    // ahead of it, or would.
    let (now, most) = (issued.unix_millis(), issued.unix_millis().saturating_add(SKEW / 2));
    let number = now.max(last.saturating_add(1).min(most));
    let edition = Edition { number, issued, max_age };
    put(db, true, &edition)?;
    Ok(edition)
}

/// Takes over what a list says, unless a later one is gone by. How much of it is new; or why it
/// is not taken.
pub(crate) fn learn(
    db: &Transaction<'_>,
    list: &Denylist,
) -> rusqlite::Result<Result<usize, String>> {
    let number = list.edition.number;
    match edition(db, false)? {
        Some(held) if held.number > number => {
            let held = held.number;
            return Ok(Err(format!("it has the number {number}, and {held} is gone by")));
        }
        Some(held) if held.number == number => return Ok(Ok(0)),
        _ => {}
    }
    let mut new = 0;
    for revocation in &list.revoked {
        new += usize::from(revocations::keep(db, revocation)?);
    }
    put(db, false, &list.edition)?;
    Ok(Ok(new))
}

fn put(db: &Transaction<'_>, here: bool, edition: &Edition) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO denylist (made, number, issued, max_age) VALUES (?1, ?2, ?3, ?4)",
        (
            place(here),
            edition.number,
            edition.issued.unix_millis(),
            i64::try_from(edition.max_age.as_millis()).unwrap_or(i64::MAX),
        ),
    )?;
    Ok(())
}

const fn place(here: bool) -> &'static str {
    if here { "here" } else { "elsewhere" }
}

#[cfg(test)]
mod tests {
    use sealwire_identity::{CertificateAuthority, parse_pem_certificates};

    use super::*;
    use crate::home::Home;
    use crate::state::State;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn list(number: i64, issued: i64, names: &[&str]) -> Denylist {
        let max_age = Duration::from_secs(60);
        let revoked = names.iter().map(|name| Revocation {
            what: Revoked::parse("name", name, None).unwrap(),
            at: at(issued - 1),
            reason: "lost".to_owned(),
        });
        let edition = Edition { number, issued: at(issued), max_age };
        Denylist { edition, revoked: revoked.collect() }
    }

    #[test]
    fn only_what_a_trusted_authority_says_now_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let domain: TrustDomain = "x".parse().unwrap();
        let authority = |name: &str| {
            let hour = Duration::from_secs(3600);
            CertificateAuthority::create(&dir.path().join(name), &domain, hour).unwrap()
        };
        let (ours, other) = (authority("ours"), authority("other"));
        let anchors = parse_pem_certificates(ours.certificate_pem().as_bytes()).unwrap();
        let anchors = [&anchors[..], ours.chain()].concat();
        let now: Timestamp = std::time::SystemTime::now().into();
        let later = |seconds: i64| at(now.unix_millis() + seconds * 1000);
        let good = list(7, now.unix_millis(), &["spiffe://x/core/a", "spiffe://x/agent/B"]);
        let text = good.text(&domain).unwrap();
        let signed = |by: &CertificateAuthority, text: &str| {
            by.state(StatementKind::Revocations, text).unwrap()
        };
        let read = |text: &str, signature: &[u8], domain: &TrustDomain, now| {
            Denylist::read(text, signature, &anchors, domain, now)
        };
        let signature = signed(&ours, &text);
        assert_eq!(read(&text, &signature, &domain, later(60)), Ok(good));
        let refused = |text: &str, now, what: &str| {
            let reason = read(text, &signed(&ours, text), &domain, now).unwrap_err();
            assert!(reason.contains(what), "{reason}");
        };
        refused(&text, later(61), "out of date");
        let early = list(8, later(301).unix_millis(), &[]).text(&domain).unwrap();
        refused(&early, now, "future");
        let endless = list(i64::MAX, now.unix_millis(), &[]).text(&domain).unwrap();
        refused(&endless, now, "number 9223372036854775807 is from the future");
        let next = list(now.unix_millis() + 1, now.unix_millis(), &[]);
        let signature_of_next = signed(&ours, &next.text(&domain).unwrap());
        assert!(read(&next.text(&domain).unwrap(), &signature_of_next, &domain, now).is_ok());
        refused(&text.replace("\"version\":1", "\"version\":2"), now, "version 2");
        refused(&text.replace("\"reason\"", "\"raison\""), now, "unknown field");
        refused(&text.replace("spiffe://x/core/a", "spiffe://y/core/a"), now, "trust domain");
        refused(&text.replace("spiffe://x/core/a", "everybody"), now, "cannot be");
        refused(&text.replace("\"trust_domain\":\"x\"", "\"trust_domain\":\"y\""), now, "domain y");
        assert!(read(&text, &signed(&other, &text), &domain, now).is_err());
        assert!(read(&text.replace("core/a", "core/b"), &signature, &domain, now).is_err());
    }

    #[test]
    fn a_list_does_not_go_back_and_nothing_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let mut state = State::open(&home).unwrap();
        assert_eq!(state.denylist().unwrap(), None);
        let (a, b) = ("spiffe://x/core/a", "spiffe://x/core/b");
        assert_eq!(state.learn(&list(5, 1_000, &[a])).unwrap(), Ok(1));
        assert_eq!(state.learn(&list(5, 1_000, &[a, b])).unwrap(), Ok(0), "the same list");
        let reason = state.learn(&list(4, 2_000, &[a, b])).unwrap().unwrap_err();
        assert!(reason.contains("number 4"), "{reason}");
        // What is no longer in it stays revoked.
        assert_eq!(state.learn(&list(6, 3_000, &[b])).unwrap(), Ok(1));
        assert_eq!(state.revoked().unwrap().len(), 2);
        let held = state.denylist().unwrap().unwrap();
        assert_eq!((held.number, held.until()), (6, at(63_000)));
    }

    #[test]
    fn numbers_grow_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(&Home::at(dir.path()).unwrap()).unwrap();
        let mut number =
            |millis| state.next_denylist(at(millis), Duration::from_secs(1)).unwrap().number;
        assert_eq!(number(1_000), 1_000);
        assert_eq!(number(1_000), 1_001);
        assert_eq!(number(5), 1_002);
        assert_eq!(number(2_000), 2_000);
        // The clock was far ahead for a while. Nobody takes a list that is.
        let ahead = 10 * SKEW;
        assert_eq!(number(ahead), ahead);
        assert_eq!(number(3_000), 3_000 + SKEW / 2);
        assert_eq!(number(3_001), 3_001 + SKEW / 2);
    }
}
