//! docs/spec/envelope-vectors.json: made here, from fixed keys and fixed "random" bytes.
//!
//! After a deliberate change of the format `SEALWIRE_BLESS=1 cargo test -p sealwire-envelope
//! vectors` writes the file anew.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as AeadNonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::support::{Everybody, Forged, HOUR, NOW, agent, later};
use crate::error::CryptoError;
use crate::hpke::{ENC, WRAPPED};
use crate::ids::sha256;
use crate::layers;
use crate::message::Parsed;
use crate::seal::{Randomness, seal_with};
use crate::*;

/// Bytes that anybody can compute: SHA-256 of a label and a number.
fn fixed(label: &str, number: u64) -> [u8; 32] {
    sha256(&[b"sealwire test vector ", label.as_bytes(), b" ", number.to_string().as_bytes()])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In the order they are asked for: the message id, the content key, the IV, and an
/// ephemeral key for each recipient.
struct Fixed {
    label: &'static str,
    count: u64,
    drawn: Vec<Vec<u8>>,
}

impl Randomness for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CryptoError> {
        bytes.copy_from_slice(&fixed(self.label, self.count)[..bytes.len()]);
        self.count += 1;
        self.drawn.push(bytes.to_vec());
        Ok(())
    }

    fn wrap(
        &mut self,
        to: &RecipientPublicKey,
        cek: &[u8; 32],
        info: &[u8],
    ) -> Result<([u8; ENC], [u8; WRAPPED]), CryptoError> {
        let mut ephemeral = [0; 32];
        self.fill(&mut ephemeral)?;
        Ok(hpke_seal(&ephemeral, to.as_bytes(), cek, info))
    }
}

/// The sender's side of HPKE, single-shot, with a given ephemeral key (RFC 9180 §4.1, §5.1):
/// written from the RFC, beside the implementation that is used.
fn hpke_seal(
    ephemeral: &[u8; 32],
    to: &[u8; 32],
    plaintext: &[u8],
    info: &[u8],
) -> ([u8; ENC], [u8; WRAPPED]) {
    let private = PrivateKey::from_private_key(&X25519, ephemeral).unwrap();
    let enc: [u8; 32] = private.compute_public_key().unwrap().as_ref().try_into().unwrap();
    let peer = UnparsedPublicKey::new(&X25519, to);
    let dh = agree(&private, peer, (), |shared| Ok(shared.to_vec())).unwrap();

    // KEM 0x0020, KDF 0x0001, AEAD 0x0003.
    let kem = b"KEM\x00\x20";
    let suite = b"HPKE\x00\x20\x00\x01\x00\x03";
    let mac = |key: &[u8], parts: &[&[u8]]| {
        let message = parts.concat();
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message).as_ref().to_vec()
    };
    let extract = |suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]| {
        mac(salt, &[b"HPKE-v1", suite, label, ikm])
    };
    // One block of HKDF-Expand is enough for all lengths here.
    let expand = |suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], length: u16| {
        let length_bytes = length.to_be_bytes();
        let parts = [&length_bytes[..], b"HPKE-v1", suite, label, info, &[1]];
        mac(prk, &parts)[..usize::from(length)].to_vec()
    };
    let eae_prk = extract(kem, b"", b"eae_prk", &dh);
    let shared = expand(kem, &eae_prk, b"shared_secret", &[&enc[..], to].concat(), 32);
    let psk_id_hash = extract(suite, b"", b"psk_id_hash", b"");
    let info_hash = extract(suite, b"", b"info_hash", info);
    let context = [&[0][..], &psk_id_hash, &info_hash].concat();
    let secret = extract(suite, &shared, b"secret", b"");
    let key = expand(suite, &secret, b"key", &context, 32);
    let nonce = expand(suite, &secret, b"base_nonce", &context, 12);

    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
    let nonce = AeadNonce::try_assume_unique_for_key(&nonce).unwrap();
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).unwrap();
    (enc, sealed.try_into().unwrap())
}

struct Keys {
    agent: sealwire_names::AgentId,
    signing: SigningKey,
    recipient: RecipientKey,
    bundle: Bundle,
    json: Value,
}

fn keys(name: &str) -> Keys {
    let seed = fixed(&format!("{name} signing seed"), 0);
    let private = fixed(&format!("{name} recipient private key"), 0);
    let signing = SigningKey::from_seed(&seed).unwrap();
    let recipient = RecipientKey::from_bytes(&private).unwrap();
    let (not_before, not_after) = (later(-HOUR), later(90 * 24 * HOUR));
    let request = BundleRequest { agent: agent(name), number: 1, not_before, not_after };
    let bytes = Bundle::make(&request, &signing, recipient.public()).unwrap();
    let bundle = Bundle::decode(&bytes).unwrap();
    let json = json!({
        "name": name,
        "signing_seed": hex(&seed),
        "signing_public": hex(signing.verifying_key().as_bytes()),
        "signing_kid": signing.verifying_key().kid().to_hex(),
        "fingerprint": signing.verifying_key().kid().to_string(),
        "recipient_private": hex(&private),
        "recipient_public": hex(recipient.public().as_bytes()),
        "recipient_kid": recipient.public().kid().to_hex(),
        "bundle": {
            "number": 1,
            "not_before": not_before.unix_seconds(),
            "not_after": not_after.unix_seconds(),
            "bytes": hex(&bytes),
        },
    });
    Keys { agent: agent(name), signing, recipient, bundle, json }
}

fn message(
    label: &'static str,
    sender: &Keys,
    draft: &Draft<'_>,
    to: &To<'_>,
    nonce: Nonce,
) -> (SecureAgentMessage, Value) {
    let mut random = Fixed { label, count: 0, drawn: Vec::new() };
    let from = Sender { agent: &sender.agent, key: &sender.signing };
    let sealed = seal_with(&mut random, draft, &from, to, nonce, NOW).unwrap();
    let Parsed { signed, header, encrypted } = Parsed::decode(sealed.as_bytes()).unwrap();
    let infos = encrypted.recipients.iter().map(|r| hex(&layers::wrap_info(&header, &r.kid)));
    let json = json!({
        "what": label,
        "now": NOW.unix_seconds(),
        "from": sender.agent.as_str(),
        "to": sealed.audience.to_string(),
        "message_type": draft.message_type.as_str(),
        "priority": draft.priority,
        "epoch": nonce.epoch,
        "seq": nonce.seq,
        "in_reply_to": draft.in_reply_to.map(|id| id.to_string()),
        "content": hex(draft.content),
        "message_id": hex(&random.drawn[0]),
        "cek": hex(&random.drawn[1]),
        "iv": hex(&random.drawn[2]),
        "ephemeral_private": random.drawn[3..].iter().map(|key| hex(key)).collect::<Vec<_>>(),
        "wrap_info": infos.collect::<Vec<_>>(),
        "recipients": hex(encrypted.encoded_recipients),
        "recipients_digest": hex(&header.recipients_digest),
        "cek_commitment": hex(&header.cek_commitment),
        "protected": hex(signed.protected),
        "content_aad": hex(&layers::content_aad(signed.protected)),
        "payload": hex(signed.payload),
        "to_be_signed": hex(&layers::message_to_be_signed(signed.protected, signed.payload)),
        "signature": hex(&signed.signature),
        "message": hex(sealed.as_bytes()),
    });
    (sealed, json)
}

/// Bob, who knows Alice and the group, and has received nothing.
fn bob(keys: &[Keys; 3], group: &Group) -> DirectReceiver<Everybody> {
    let [alice, bob, _] = keys;
    let mut directory = Directory::new();
    directory.vouch(alice.bundle.clone()).unwrap();
    let recipient = RecipientKey::from_bytes(&bob.recipient.to_bytes()).unwrap();
    let rules = Everybody { budget: usize::MAX.into(), distrusted: None };
    let (limits, since) = (ReplayLimits::default(), later(-HOUR));
    let agent = bob.agent.clone();
    let mut receiver = DirectReceiver::new(agent, vec![recipient], directory, rules, limits, since);
    receiver.add_group(group.clone());
    receiver
}

#[test]
fn vectors_are_those_of_the_specification() {
    let all = ["Alice", "Bob", "Carol"].map(keys);
    let [alice, bob_keys, carol] = &all;
    let group = Group::new(agent("team"), 3, all.iter().map(|keys| keys.agent.clone()));
    let both = [&bob_keys.bundle, &carol.bundle];
    let nonce = Nonce { epoch: 0x0123_4567_89ab_cdef, seq: 1 };
    let hour = Duration::from_secs(3600);
    let mut draft = Draft::new(MessageType::TaskRequest, b"Review the patch.");
    draft.ttl = hour;
    let mut answer = Draft::new(MessageType::TaskResponse, "It is sound. ✓".as_bytes());
    (answer.ttl, answer.priority) = (hour, 200);
    answer.in_reply_to = Some(MessageId::from_bytes([0xab; 16]));
    let empty = Draft { ttl: hour, ..Draft::new(MessageType::Shutdown, b"") };

    let opened = [
        message("to one agent", alice, &draft, &To::Agent(&bob_keys.bundle), nonce),
        message("to a list", alice, &answer, &To::Agents(&both), Nonce { seq: 2, ..nonce }),
        message("to a group", alice, &empty, &To::Group(&group, &both), Nonce { seq: 3, ..nonce }),
    ];
    for (sealed, json) in &opened {
        let content = bob(&all, &group).open(sealed.as_bytes(), NOW).unwrap().content;
        assert_eq!(json["content"], hex(&content));
    }

    let refused: Vec<_> = refused(&opened[0].0, alice, carol)
        .into_iter()
        .map(|(what, bytes)| {
            let code = super::support::refused(&bob(&all, &group), &bytes);
            json!({"what": what, "code": code.as_str(), "message": hex(&bytes)})
        })
        .collect();
    let vectors = json!({
        "about": "Test vectors of docs/spec/envelope.md. Bytes are hexadecimal, times are in \
            seconds. Bob receives: he knows Alice's bundle, and roster 3 of the group team.",
        "agents": all.iter().map(|keys| &keys.json).collect::<Vec<_>>(),
        "group": {"name": "team", "version": 3, "members": ["Alice", "Bob", "Carol"]},
        "opened": opened.iter().map(|(_, json)| json).collect::<Vec<_>>(),
        "refused": refused,
    });
    let text = format!("{vectors:#}\n");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/envelope-vectors.json");
    if std::env::var_os("SEALWIRE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept == text, "the vectors changed; see the head of this file");
    let example = std::fs::read_to_string(file.with_file_name("envelope.md")).unwrap();
    assert_eq!(worked_example(&example), opened[0].1["message"], "the example in envelope.md");
}

/// The hexadecimal digits of the last block of code, without what is said about them.
fn worked_example(page: &str) -> String {
    let (_, block) = page.rsplit("```").nth(1).unwrap().split_once("text\n").unwrap();
    block.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

/// Messages that look right and are not, most of them signed by Alice's real key.
fn refused(
    sealed: &SecureAgentMessage,
    alice: &Keys,
    carol: &Keys,
) -> Vec<(&'static str, Vec<u8>)> {
    let resigned = |change: fn(&mut Forged)| Forged::with(sealed, change).signed(&alice.signing);
    let mut flipped = sealed.as_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let long_head = {
        // Tag 18 in two bytes in place of one.
        [&[0xd8, 0x12][..], &sealed.as_bytes()[1..]].concat()
    };
    let mut s_beyond_order = sealed.as_bytes().to_vec();
    *s_beyond_order.last_mut().unwrap() |= 0xe0;
    let mut small_r = sealed.as_bytes().to_vec();
    let signature = small_r.len() - 64;
    small_r[signature..signature + 32].copy_from_slice(&[0; 32]);
    vec![
        ("a byte more", [sealed.as_bytes(), &[0]].concat()),
        ("a tag that is not of minimal length", long_head),
        ("the last bit of the signature", flipped),
        ("S of the signature not below the order", s_beyond_order),
        ("R of the signature of small order", small_r),
        ("signed by Carol", Forged::of(sealed).signed(&carol.signing)),
        ("another priority, signed", resigned(|f| f.header.priority = 255)),
        ("another seq, signed", resigned(|f| f.header.nonce.seq = 9)),
        ("issued 301 s ago, signed", resigned(|f| f.header.issued = later(-301))),
        ("issued in 11 s, signed", resigned(|f| f.header.issued = later(11))),
        ("a life of 31 days, signed", resigned(|f| f.header.expires = later(31 * 24 * HOUR))),
        ("to Carol, signed", resigned(|f| f.header.audience = Audience::Agent(agent("Carol")))),
        (
            "another message id, signed",
            resigned(|f| {
                f.header.message_id = MessageId::from_bytes([0; 16]);
            }),
        ),
        ("another recipients_digest, signed", resigned(|f| f.header.recipients_digest = [0; 32])),
        ("another cek_commitment, signed", resigned(|f| f.header.cek_commitment = [0; 32])),
        (
            "an all-zero ek, signed",
            resigned(|f| {
                f.recipients[0].enc = [0; 32];
                f.redigest();
            }),
        ),
        ("another iv, signed", resigned(|f| f.iv = [0; 12])),
    ]
}
