//! The protected header of a message: all that is said about it in clear.
//!
//! docs/spec/envelope.md §3 has the labels. The header is a map whose labels are in the one
//! order there is; it is read in that order, so there is nothing to look up and nothing
//! that could be there twice.

use std::time::Duration;

use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::cbor::{Fault, Reader, Writer};
use crate::ids::{Audience, GroupRef, KeyId, MessageId, MessageType, Nonce};

/// Media type of a message (RFC 9596): says what the signature is over.
pub(crate) const TYPE: &str = "application/vnd.sealwire.message+cose";
/// Version of everything below; another one is another format.
pub(crate) const VERSION: u64 = 1;
/// Most agents a message is sealed to.
pub const MAX_RECIPIENTS: usize = 256;
/// Longest time between `iat` and `exp`.
pub const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);

/// RFC 9053 §2.2.
pub(crate) const EDDSA: i64 = -8;
pub(crate) const ALG: i64 = 1;
pub(crate) const CRIT: i64 = 2;
pub(crate) const KID: i64 = 4;
/// CWT claims in a header, RFC 9597.
const CLAIMS: i64 = 15;
/// RFC 9596.
pub(crate) const TYP: i64 = 16;
/// Ours, the first of the labels for private use: an array of what COSE has no label for.
const SEALWIRE: i64 = -65_537;

const ISS: i64 = 1;
const AUD: i64 = 3;
const EXP: i64 = 4;
const IAT: i64 = 6;
const CTI: i64 = 7;

/// Before a group's name in `aud`: no agent's name has a colon.
const GROUP: &str = "group:";

/// The header's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kid: KeyId,
    pub(crate) from: AgentId,
    pub(crate) audience: Audience,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) message_id: MessageId,
    pub(crate) message_type: MessageType,
    pub(crate) priority: u8,
    pub(crate) nonce: Nonce,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) recipients_digest: [u8; 32],
    pub(crate) cek_commitment: [u8; 32],
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(384);
        w.map(6).int(ALG).int(EDDSA);
        w.int(CRIT).array(2).int(CLAIMS).int(SEALWIRE);
        w.int(KID).bytes(self.kid.as_bytes());
        w.int(CLAIMS).map(5);
        w.int(ISS).text(self.from.as_str());
        w.int(AUD);
        encode_audience(&mut w, &self.audience);
        w.int(EXP).int(self.expires.unix_seconds());
        w.int(IAT).int(self.issued.unix_seconds());
        w.int(CTI).bytes(self.message_id.as_bytes());
        w.int(TYP).text(TYPE);
        w.int(SEALWIRE).array(9).uint(VERSION);
        w.uint(self.message_type.code()).uint(u64::from(self.priority));
        w.uint(self.nonce.epoch).uint(self.nonce.seq);
        match &self.in_reply_to {
            Some(id) => w.bytes(id.as_bytes()),
            None => w.null(),
        };
        match &self.audience {
            Audience::Group(group) => w.uint(group.version),
            Audience::Agent(_) | Audience::Agents(_) => w.null(),
        };
        w.bytes(&self.recipients_digest).bytes(&self.cek_commitment);
        w.finish()
    }

    /// Reads the header; `base` is where it begins in the message.
    pub(crate) fn decode(bytes: &[u8], base: usize) -> Result<Self, Refusal> {
        let mut r = Reader::within(bytes, base);
        r.map_with(6, RefusalCode::EnvelopeHeader, "the protected header is not a map of six")?;
        algorithm(&mut r, EDDSA)?;
        critical(&mut r)?;
        r.label(KID, "kid (4) must come here, and is not here")?;
        let kid = KeyId::from_bytes(r.array_of("kid is not 32 bytes")?);
        r.label(CLAIMS, "the claims (15) must come here, and are not here")?;
        r.map_with(5, RefusalCode::EnvelopeHeader, "the claims are not a map of five")?;
        r.label(ISS, "iss (1) must come here, and is not here")?;
        let from = agent(&mut r, "iss is not the name of an agent")?;
        r.label(AUD, "aud (3) must come here, and is not here")?;
        let to = decode_audience(&mut r)?;
        r.label(EXP, "exp (4) must come here, and is not here")?;
        let expires = seconds(&mut r, "exp is not a time in whole seconds since 1970")?;
        r.label(IAT, "iat (6) must come here, and is not here")?;
        let fault = r.fault(
            RefusalCode::EnvelopeClaim,
            "the message does not expire between one second and 30 days after it was issued",
        );
        let issued = seconds(&mut r, "iat is not a time in whole seconds since 1970")?;
        if issued.until(expires).is_none_or(|ttl| ttl > MAX_TTL) {
            return Err(fault.into());
        }
        r.label(CTI, "cti (7) must come here, and is not here")?;
        let message_id = MessageId::from_bytes(r.array_of("cti is not 16 bytes")?);
        typ(&mut r, TYPE)?;
        r.label(SEALWIRE, "the private label -65537 must come here, and is not here")?;
        r.array_with(9, "label -65537 is not an array of nine")?;
        version(&mut r)?;
        let fault = r.fault(RefusalCode::EnvelopeClaim, "there is no message type of this number");
        let kind = r.uint("the message type is not a number")?;
        let message_type = MessageType::from_code(kind).ok_or(fault)?;
        let fault = r.fault(RefusalCode::EnvelopeClaim, "the priority is not from 0 to 255");
        let priority = u8::try_from(r.uint("the priority is not a number")?).map_err(|_| fault)?;
        let epoch = r.uint("the epoch is not a number of 64 bits")?;
        let seq = r.uint("seq is not a number of 64 bits")?;
        let in_reply_to = match r.null() {
            true => None,
            false => Some(MessageId::from_bytes(r.array_of("in_reply_to is not 16 bytes")?)),
        };
        let audience = to.at_version(&mut r)?;
        let header = Self {
            kid,
            from,
            audience,
            issued,
            expires,
            message_id,
            message_type,
            priority,
            nonce: Nonce { epoch, seq },
            in_reply_to,
            recipients_digest: r.array_of("recipients_digest is not 32 bytes")?,
            cek_commitment: r.array_of("cek_commitment is not 32 bytes")?,
        };
        r.end("there is more in the protected header than belongs there")?;
        Ok(header)
    }
}

/// The audience as it stands in `aud`; the version of a group's roster stands elsewhere.
pub(crate) fn encode_audience(w: &mut Writer, audience: &Audience) {
    match audience {
        Audience::Agent(agent) => w.text(agent.as_str()),
        Audience::Agents(agents) => {
            w.array(agents.len());
            agents.iter().fold(w, |w, agent| w.text(agent.as_str()))
        }
        Audience::Group(group) => w.text(&format!("{GROUP}{}", group.name)),
    };
}

/// `alg`, which is the same for all of a version: there is nothing to be negotiated.
pub(crate) fn algorithm(r: &mut Reader<'_>, algorithm: i64) -> Result<(), Fault> {
    r.label(ALG, "alg (1) must come here, and is not here")?;
    let fault = r.fault(RefusalCode::EnvelopeAlgorithm, "not the algorithm of this version");
    if r.int("alg is not a number")? == algorithm { Ok(()) } else { Err(fault) }
}

/// `typ`, which keeps a signature over one kind of thing from being taken for another's.
pub(crate) fn typ(r: &mut Reader<'_>, typ: &str) -> Result<(), Fault> {
    r.label(TYP, "typ (16) must come here, and is not here")?;
    let fault = r.fault(RefusalCode::EnvelopeVersion, "typ is not the one expected here");
    if r.text("typ is not a text")? == typ { Ok(()) } else { Err(fault) }
}

pub(crate) fn version(r: &mut Reader<'_>) -> Result<(), Fault> {
    let fault = r.fault(RefusalCode::EnvelopeVersion, "a version that is not known here");
    if r.uint("the version is not a number")? == VERSION { Ok(()) } else { Err(fault) }
}

pub(crate) fn agent(r: &mut Reader<'_>, what: &'static str) -> Result<AgentId, Fault> {
    let fault = r.fault(RefusalCode::EnvelopeClaim, what);
    r.text(what)?.parse().map_err(|_| fault)
}

/// NumericDate of RFC 8392 §2, of which only whole seconds from 1970 on are used.
pub(crate) fn seconds(r: &mut Reader<'_>, what: &'static str) -> Result<Timestamp, Fault> {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let fault = r.fault(RefusalCode::EnvelopeClaim, what);
    let seconds = i64::try_from(r.uint(what)?.min(LAST + 1)).unwrap_or(i64::MAX);
    let end = Timestamp::from_unix_seconds(seconds);
    if end > Timestamp::from_unix_seconds(LAST as i64) { Err(fault) } else { Ok(end) }
}

/// Labels that must be understood (RFC 9052 §3.1): both of those that COSE itself does not
/// oblige a reader to know, always, and no others.
fn critical(r: &mut Reader<'_>) -> Result<(), Fault> {
    r.label(CRIT, "crit (2) must come here, and is not here")?;
    let fault = r.fault(
        RefusalCode::EnvelopeCritical,
        "crit must name the labels 15 and -65537, and no others are understood",
    );
    if r.array("crit is not an array")? != 2 {
        return Err(fault);
    }
    match (r.int("crit names something strange")?, r.int("crit names something strange")?) {
        (CLAIMS, SEALWIRE) => Ok(()),
        _ => Err(fault),
    }
}

/// `aud`, before the version of the roster is known.
enum To {
    Agents(Audience),
    Group(AgentId),
}

impl To {
    fn at_version(self, r: &mut Reader<'_>) -> Result<Audience, Fault> {
        let fault = r.fault(
            RefusalCode::EnvelopeClaim,
            "a roster's version belongs to a message to a group, and to no other",
        );
        match (self, r.null()) {
            (Self::Agents(audience), true) => Ok(audience),
            (Self::Group(name), false) => {
                let version = r.uint("the roster's version is not a number")?;
                Ok(Audience::Group(GroupRef { name, version }))
            }
            _ => Err(fault),
        }
    }
}

fn decode_audience(r: &mut Reader<'_>) -> Result<To, Fault> {
    let what = "aud is not the name of an agent or group, or a list of agents";
    let fault = r.fault(RefusalCode::EnvelopeClaim, what);
    if !r.at_array() {
        let name = r.text(what)?;
        return match name.strip_prefix(GROUP) {
            Some(group) => group.parse().map(To::Group),
            None => name.parse().map(|agent| To::Agents(Audience::Agent(agent))),
        }
        .map_err(|_| fault);
    }
    let count = r.array(what)?;
    if count < 2 || count > MAX_RECIPIENTS as u64 {
        return Err(Fault {
            what: "aud lists fewer than 2 agents, or more than 256",
            code: RefusalCode::RecipientCount,
            ..fault
        });
    }
    let mut agents: Vec<AgentId> = Vec::new();
    for _ in 0..count {
        let fault = r.fault(
            RefusalCode::EnvelopeNotDeterministic,
            "the agents in aud are not in ascending order, or one is there twice",
        );
        let next = agent(r, what)?;
        if agents.last().is_some_and(|last| *last >= next) {
            return Err(fault);
        }
        agents.push(next);
    }
    Ok(To::Agents(Audience::Agents(agents)))
}
