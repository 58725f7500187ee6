//! Scenario `envelope`: a message between agents, beside what it cannot do without.
//!
//! One core, 256 bytes of content. `primitives` is the same cryptography on the same backend,
//! with nothing around it; `map` is a bare hash map of as many keys as there are known agents.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as Iv, UnboundKey};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use sealwire_envelope::{
    Bundle, BundleRequest, Deferred, Directory, Draft, Group, GroupRef, KeyId, MessageType, Nonce,
    Receiving, RecipientKey, RecipientPublicKey, SecureAgentMessage, Sender, SigningKey, TimeRule,
    To, VerifyingKey, open, seal,
};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::mail;
use crate::setup::{Maker, Setup};
use crate::{Case, Effort, Figures, Limit, Measure, Ratio, Result, Scenario};

const CONTENT: usize = 256;
/// About what a message of that content has in header and payload: what is signed.
const SIGNED: usize = 720;
const MANY: usize = 64;
/// Known agents, few and many.
const KNOWN: [usize; 2] = [10, 1_000_000];
/// Those of many that really send; each message is from another one.
const SENDING: usize = 1_000;
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_359_845);

const MEASURES: [Measure; 4] = [
    Measure::more("seal", "1/s", "messages of 256 B sealed to one agent per second, on one core"),
    Measure::more("open", "1/s", "messages of 256 B opened per second, on one core"),
    Measure::less(
        "seal_64",
        "µs",
        "time to seal a message of 256 B to 64 agents; of `primitives`, to wrap a key for 64",
    ),
    Measure::less(
        "open_growth",
        "×",
        "time to open a message where 1,000,000 agents are known, by that where 10 are; of `map`, the same for finding a key in a bare hash map",
    ),
];

const OVER_PRIMITIVES: Ratio = Ratio { of: "sealwire", to: "primitives" };
const OVER_MAP: Ratio = Ratio { of: "sealwire", to: "map" };

const MAKERS: [Maker; 3] = [
    ("primitives", |_| Ok(Ok(Box::new(Primitives::new()?)))),
    ("map", |_| Ok(Ok(Box::new(Map::new()?)))),
    ("sealwire", |_| Ok(Ok(Box::new(Sealwire::new()?)))),
];

/// The scenario. With `only`, no other cases.
///
/// # Errors
/// If keys cannot be made or `only` names an unknown case.
pub fn scenario(mut setup: Setup, only: &[String]) -> Result<Scenario> {
    let (cases, skipped) = setup.cases(&[&MAKERS[..], &mail::MAKERS].concat(), only)?;
    Ok(Scenario {
        name: "envelope",
        about: "a message between agents, beside what it cannot do without",
        measures: [&MEASURES[..], &mail::MEASURES].concat(),
        cases,
        skipped,
        ratios: vec![OVER_PRIMITIVES, OVER_MAP, mail::OVER_INSERTS],
        limits: limits().into_iter().chain(mail::limits()).collect(),
        versions: setup.versions,
    })
}

fn limits() -> Vec<Limit> {
    let slower = "what is around the cryptography costs more than it may";
    let grows = "opening depends on how many agents are known";
    vec![
        Limit::at_least(0.85, OVER_PRIMITIVES, "seal", slower),
        Limit::at_least(0.85, OVER_PRIMITIVES, "open", slower),
        Limit::at_most(1.1, OVER_PRIMITIVES, "seal_64", slower),
        Limit::at_most(1.5, OVER_MAP, "open_growth", grows),
    ]
}

/// Times in a second that `work` can be done, measured for `effort.load`.
pub(crate) fn rate(effort: &Effort, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    repeat(effort.warm_up, &mut work)?;
    let (count, time) = repeat(effort.load, &mut work)?;
    Ok(count / time.as_secs_f64())
}

/// The time that `many` takes, by that of `few`. They take short turns, so that what else
/// goes on in the machine is the same for both.
fn growth(
    effort: &Effort,
    mut few: impl FnMut() -> Result<()>,
    mut many: impl FnMut() -> Result<()>,
) -> Result<f64> {
    let turn = effort.load / 50;
    let mut totals = [(0.0, Duration::ZERO); 2];
    repeat(effort.warm_up, &mut few)?;
    repeat(effort.warm_up, &mut many)?;
    for _ in 0..50 {
        for (total, (count, time)) in
            totals.iter_mut().zip([repeat(turn, &mut few)?, repeat(turn, &mut many)?])
        {
            total.0 += count;
            total.1 += time;
        }
    }
    let [few, many] = totals.map(|(count, time)| time.as_secs_f64() / count);
    Ok(many / few)
}

/// Does `work` until `time` is over; how often, and in which time.
fn repeat(time: Duration, work: &mut impl FnMut() -> Result<()>) -> Result<(f64, Duration)> {
    let (started, mut count) = (Instant::now(), 0.0);
    // A look at the clock is as nothing beside a signature, but not beside a hash map.
    while started.elapsed() < time {
        for _ in 0..16 {
            work()?;
        }
        count += 16.0;
    }
    Ok((count, started.elapsed()))
}

fn failed<E>(_: E) -> crate::Error {
    "the cryptographic library failed".into()
}

/// Signature, key wrap and content encryption, one after the other.
struct Primitives {
    signing: Ed25519KeyPair,
    private: HpkePrivateKey,
    public: HpkePublicKey,
}

impl Primitives {
    fn new() -> Result<Self> {
        let (public, private) = SUITE.generate_key_pair()?;
        Ok(Self { signing: Ed25519KeyPair::generate().map_err(failed)?, private, public })
    }

    fn wrap(&self, cek: &[u8; 32]) -> Result<(EncapsulatedSecret, Vec<u8>)> {
        Ok(SUITE.seal(&[0; 260], &[], cek, &self.public)?)
    }

    fn content_key(cek: &[u8; 32]) -> Result<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, cek).map(LessSafeKey::new).map_err(failed)
    }
}

impl Case for Primitives {
    fn name(&self) -> &'static str {
        "primitives"
    }

    fn about(&self) -> &'static str {
        "Ed25519, HPKE and AES-256-GCM on the same backend, with nothing around them"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        let (signed, aad) = ([7; SIGNED], [0; 48]);
        let seal_once = || -> Result<_> {
            let (mut cek, mut iv) = ([0; 32], [0; 12]);
            rand::fill(&mut cek).map_err(failed)?;
            rand::fill(&mut iv).map_err(failed)?;
            let wrapped = self.wrap(&cek)?;
            let mut content = Vec::with_capacity(CONTENT + 16);
            content.extend_from_slice(&[1; CONTENT]);
            let nonce = Iv::assume_unique_for_key(iv);
            let key = Self::content_key(&cek)?;
            let aad = Aad::from(&aad);
            key.seal_in_place_append_tag(nonce, aad, &mut content).map_err(failed)?;
            let signature = self.signing.try_sign(&signed).map_err(failed)?;
            Ok((cek, iv, wrapped, content, signature))
        };
        let sealing = rate(effort, || seal_once().map(|sealed| drop(black_box(sealed))))?;
        figures.insert("seal", sealing);

        let (cek, iv, (enc, wrapped), content, signature) = seal_once()?;
        let public = self.signing.public_key().as_ref();
        let opening = rate(effort, || {
            let key = UnparsedPublicKey::new(&ED25519, public);
            key.verify(&signed, signature.as_ref()).map_err(failed)?;
            let unwrapped = SUITE.open(&enc, &[0; 260], &[], &wrapped, &self.private)?;
            if unwrapped != cek {
                return Err("another key was unwrapped".into());
            }
            let mut content = content.clone();
            let nonce = Iv::assume_unique_for_key(iv);
            let key = Self::content_key(&cek)?;
            let opened = key.open_in_place(nonce, Aad::from(&aad), &mut content).map_err(failed)?;
            if opened != [1; CONTENT] {
                return Err("another content was opened".into());
            }
            Ok(())
        })?;
        figures.insert("open", opening);

        let wrapping = rate(effort, || self.wrap(&cek).map(|wrapped| drop(black_box(wrapped))))?;
        figures.insert("seal_64", 1e6 * MANY as f64 / wrapping);
        Ok(figures)
    }
}

/// A hash map of keys, as large as the directory.
struct Map {
    /// With few and with many.
    maps: Vec<Keys>,
}

struct Keys {
    map: HashMap<KeyId, [u8; 32]>,
    wanted: Vec<KeyId>,
}

impl Map {
    fn new() -> Result<Self> {
        let maps = KNOWN.map(|known| -> Result<_> {
            let mut map = HashMap::new();
            let mut wanted = Vec::new();
            for number in 0..known {
                let key = point(number)?;
                if number % (known / SENDING.min(known)) == 0 {
                    wanted.push(KeyId::of(&key));
                }
                map.insert(KeyId::of(&key), key);
            }
            Ok(Keys { map, wanted })
        });
        Ok(Self { maps: maps.into_iter().collect::<Result<_>>()? })
    }
}

impl Case for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn about(&self) -> &'static str {
        "a bare hash map of as many keys as there are known agents"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        let mut look = self.maps.iter().map(|Keys { map, wanted }| {
            let mut next = wanted.iter().cycle();
            move || {
                let found = next.next().and_then(|kid| map.get(black_box(kid)));
                black_box(found.ok_or("a key is gone")?);
                Ok(())
            }
        });
        let (Some(few), Some(many)) = (look.next(), look.next()) else {
            return Err("two maps are compared".into());
        };
        figures.insert("open_growth", growth(effort, few, many)?);
        Ok(figures)
    }
}

struct Sealwire {
    alice: Agent,
    bob: Agent,
    /// Bundles of 64 agents.
    many: Vec<Bundle>,
    content: Vec<u8>,
    seq: u64,
    /// Bob with few and with many that he knows, and messages from them.
    receivers: Vec<(Receiver, Vec<SecureAgentMessage>)>,
}

struct Agent {
    name: AgentId,
    signing: SigningKey,
    recipient: RecipientKey,
    bundle: Bundle,
}

impl Agent {
    fn new(name: &str) -> Result<Self> {
        let (signing, recipient) = (SigningKey::generate()?, RecipientKey::generate()?);
        let request = BundleRequest {
            agent: name.parse()?,
            number: 1,
            not_before: Timestamp::from_unix_seconds(0),
            not_after: Timestamp::from_unix_seconds(2 * NOW.unix_seconds()),
        };
        let bundle = Bundle::decode(&Bundle::make(&request, &signing, recipient.public())?)?;
        Ok(Self { name: request.agent, signing, recipient, bundle })
    }

    fn seal(&self, to: &To<'_>, content: &[u8], seq: u64) -> Result<SecureAgentMessage> {
        let draft = Draft::new(MessageType::TaskRequest, content);
        let sender = Sender { agent: &self.name, key: &self.signing };
        Ok(seal(&draft, &sender, to, Nonce { epoch: 1 << 63, seq }, NOW)?)
    }
}

/// Finds keys, and says yes to everything else, so that each message opens again and again.
struct Receiver {
    key: RecipientKey,
    directory: Directory,
}

impl Receiving for Receiver {
    fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> std::result::Result<VerifyingKey, Refusal> {
        self.directory.sender_key(from, kid, now)
    }

    fn group(&self, group: &GroupRef) -> std::result::Result<&Group, Refusal> {
        Err(Refusal::new(RefusalCode::RosterUnknown, group.to_string()))
    }

    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey> {
        Some(&self.key).filter(|key| key.public().kid() == *kid)
    }

    fn trusted(&self, _: &SecureAgentMessage) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    fn seen(&self, _: &SecureAgentMessage) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    fn admit(&mut self, _: &SecureAgentMessage) -> std::result::Result<(), Deferred> {
        Ok(())
    }

    fn claim(&mut self, _: &SecureAgentMessage) -> std::result::Result<(), Refusal> {
        Ok(())
    }
}

impl Sealwire {
    fn new() -> Result<Self> {
        let (alice, bob) = (Agent::new("Alice")?, Agent::new("Bob")?);
        let content = vec![1; CONTENT];
        let many: Result<_> = (0..MANY)
            .map(|number| Agent::new(&format!("agent-{number}")).map(|agent| agent.bundle))
            .collect();
        let receivers: Result<_> =
            KNOWN.into_iter().map(|known| receiver(&bob, known, &content)).collect();
        Ok(Self { alice, bob, many: many?, content, seq: 0, receivers: receivers? })
    }
}

/// A receiver that knows `known` agents, and a message of each of those who send.
fn receiver(
    bob: &Agent,
    known: usize,
    content: &[u8],
) -> Result<(Receiver, Vec<SecureAgentMessage>)> {
    let mut directory = Directory::new();
    let mut messages = Vec::new();
    for number in 0..known {
        let name = format!("sender-{number}");
        if number % (known / SENDING.min(known)) == 0 {
            let sender = Agent::new(&name)?;
            messages.push(sender.seal(&To::Agent(&bob.bundle), content, 1)?);
            directory.vouch(sender.bundle)?;
        } else {
            // Nobody has the key to it, so it need not be one that anybody could have.
            let mut bundle = bob.bundle.clone();
            bundle.agent = name.parse()?;
            bundle.signing = VerifyingKey::from_bytes(&point(number)?)?;
            directory.vouch(bundle)?;
        }
    }
    let key = RecipientKey::from_bytes(&bob.recipient.to_bytes())?;
    Ok((Receiver { key, directory }, messages))
}

/// 32 bytes that differ for each number, and pass for a public key.
fn point(number: usize) -> Result<[u8; 32]> {
    let mut bytes = *KeyId::of(&std::array::from_fn(|index| {
        number.to_le_bytes().get(index).copied().unwrap_or(0)
    }))
    .as_bytes();
    // Not the largest of numbers, which are no coordinates.
    bytes[31] &= 0x3f;
    RecipientPublicKey::from_bytes(&bytes)?;
    Ok(bytes)
}

impl Case for Sealwire {
    fn name(&self) -> &'static str {
        "sealwire"
    }

    fn about(&self) -> &'static str {
        "`seal` and `open` of sealwire-envelope"
    }

    fn round(&mut self, effort: &Effort) -> Result<Figures> {
        let mut figures = Figures::default();
        let Self { alice, bob, many, content, seq, receivers } = self;
        let mut sealing = |to: &To<'_>| {
            rate(effort, || {
                *seq += 1;
                alice.seal(to, content, *seq).map(|sealed| drop(black_box(sealed)))
            })
        };
        figures.insert("seal", sealing(&To::Agent(&bob.bundle))?);
        let many: Vec<_> = many.iter().collect();
        figures.insert("seal_64", 1e6 / sealing(&To::Agents(&many))?);

        let mut opening = receivers.iter_mut().map(|(receiver, messages)| {
            let (me, content) = (&bob.name, &*content);
            let mut next = messages.iter().cycle();
            move || {
                let message = next.next().ok_or("no message")?;
                let opened = open(message.as_bytes(), me, receiver, NOW, TimeRule::DIRECT)?;
                if *opened.content != *content {
                    return Err("another content was opened".into());
                }
                Ok(())
            }
        });
        let (Some(mut few), Some(many)) = (opening.next(), opening.next()) else {
            return Err("two directories are compared".into());
        };
        figures.insert("open", rate(effort, &mut few)?);
        figures.insert("open_growth", growth(effort, few, many)?);
        Ok(figures)
    }
}
