//! Agent messages are read, and made, by COSE implementations that have nothing to do with
//! this one: `cwt` with `pyhpke`, and `pycose` (tests/python/envelope.py).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use sealwire_envelope::*;
use sealwire_names::{AgentId, Refusal, Timestamp};
use sealwire_testkit::tool;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_359_845);

/// The other implementations, waiting for jobs.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/envelope.py");
        let mut child = Command::new(tool("venv-cose/bin/python"))
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn job(&mut self, job: &Value) -> Value {
        writeln!(self.input, "{job}").expect("python reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("python answers");
        assert!(!line.is_empty(), "python failed, see above, at {job}");
        serde_json::from_str(&line).expect("JSON")
    }

    fn open(&mut self, message: &[u8], signer: &VerifyingKey, key: &RecipientKey) -> Value {
        self.job(&json!({
            "do": "open",
            "message": hex(message),
            "signing_public": hex(signer.as_bytes()),
            "recipient_private": hex(&*key.to_bytes()),
        }))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("a text");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

struct Agent {
    name: AgentId,
    signing: SigningKey,
    recipient: RecipientKey,
    bundle: Bundle,
}

fn agent(name: &str) -> Agent {
    let (signing, recipient) = (SigningKey::generate().unwrap(), RecipientKey::generate().unwrap());
    let request = BundleRequest {
        agent: name.parse().unwrap(),
        number: 1,
        not_before: Timestamp::from_unix_seconds(0),
        not_after: Timestamp::from_unix_seconds(2 * NOW.unix_seconds()),
    };
    let bytes = Bundle::make(&request, &signing, recipient.public()).unwrap();
    let bundle = Bundle::decode(&bytes).unwrap();
    Agent { name: request.agent, signing, recipient, bundle }
}

struct Anybody;

impl Rules for Anybody {
    fn trusted(&self, _: &SecureAgentMessage) -> Result<(), Refusal> {
        Ok(())
    }

    fn admit(&self, _: &SecureAgentMessage) -> Result<(), Deferred> {
        Ok(())
    }
}

fn receiver(me: &Agent, known: &Agent, group: &Group) -> DirectReceiver<Anybody> {
    let mut directory = Directory::new();
    directory.vouch(known.bundle.clone()).unwrap();
    let key = RecipientKey::from_bytes(&me.recipient.to_bytes()).unwrap();
    let limits = ReplayLimits::default();
    let since = Timestamp::from_unix_seconds(NOW.unix_seconds() - 3600);
    let name = me.name.clone();
    let mut receiver = DirectReceiver::new(name, vec![key], directory, Anybody, limits, since);
    receiver.add_group(group.clone());
    receiver
}

#[test]
fn others_open_what_is_sealed_here() {
    let agents = ["Alice", "Bob", "Carol"].map(agent);
    let [alice, bob, carol] = &agents;
    let group = Group::new("team".parse().unwrap(), 7, agents.iter().map(|a| a.name.clone()));
    let both = [&bob.bundle, &carol.bundle];
    let mut python = Python::start();
    let mut seq = 0;
    for length in [0, 1, 23, 24, 255, 256, 65_536] {
        for (to, aud) in [
            (To::Agent(&bob.bundle), json!("Bob")),
            (To::Agents(&both), json!(["Bob", "Carol"])),
            (To::Group(&group, &both), json!("group:team")),
        ] {
            seq += 1;
            let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut draft = Draft::new(MessageType::StatusUpdate, &content);
            draft.in_reply_to = (seq % 2 == 0).then(|| MessageId::from_bytes([seq as u8; 16]));
            let sender = Sender { agent: &alice.name, key: &alice.signing };
            let sealed = seal(&draft, &sender, &to, Nonce { epoch: u64::MAX, seq }, NOW).unwrap();
            for reader in [bob, carol] {
                if matches!(to, To::Agent(_)) && reader.name != bob.name {
                    continue;
                }
                let key = alice.signing.verifying_key();
                let read = python.open(sealed.as_bytes(), key, &reader.recipient);
                assert_eq!(read["content"], hex(&content));
                assert_eq!((&read["iss"], &read["aud"]), (&json!("Alice"), &aud));
                assert_eq!(read["iat"], NOW.unix_seconds());
                assert_eq!(read["exp"], sealed.expires.unix_seconds());
                assert_eq!(read["cti"], sealed.metadata.message_id.to_string());
                let fields = &read["private"];
                assert_eq!(fields[0], 1);
                assert_eq!(fields[1], MessageType::StatusUpdate.code());
                assert_eq!((&fields[3], &fields[4]), (&json!(u64::MAX), &json!(seq)));
                assert_eq!(fields[5], json!(draft.in_reply_to.map(|id| id.to_string())));
            }
        }
    }
}

#[test]
fn messages_made_by_others_open_here() {
    let agents = ["Alice", "Bob", "Carol"].map(agent);
    let [alice, bob, carol] = &agents;
    let group = Group::new("team".parse().unwrap(), 7, agents.iter().map(|a| a.name.clone()));
    let receivers = [bob, carol].map(|member| receiver(member, alice, &group));
    let mut python = Python::start();
    let keys = [bob, carol].map(|member| hex(member.recipient.public().as_bytes()));
    let mut seq = 0;
    for length in [0, 1, 300, 70_000] {
        for (aud, roster, recipients) in [
            (json!("Bob"), Value::Null, &keys[..1]),
            (json!(["Bob", "Carol"]), Value::Null, &keys[..]),
            (json!("group:team"), json!(7), &keys[..]),
        ] {
            seq += 1;
            let content: Vec<u8> = (0..length).map(|index| (index % 249) as u8).collect();
            let made = python.job(&json!({
                "do": "make",
                "signing_seed": hex(&*alice.signing.to_seed().unwrap()),
                "iss": "Alice",
                "aud": aud,
                "iat": NOW.unix_seconds(),
                "exp": NOW.unix_seconds() + 60,
                "recipients": recipients,
                "type": 2,
                "priority": 9,
                "epoch": 1,
                "seq": seq,
                "in_reply_to": "0102030405060708090a0b0c0d0e0f10",
                "roster": roster,
                "content": hex(&content),
            }));
            let message = unhex(&made["message"]);
            for (receiver, _) in receivers.iter().zip(recipients) {
                let opened = receiver.open(&message, NOW).unwrap();
                assert_eq!(*opened.content, content);
                assert_eq!(opened.message.as_bytes(), message);
                assert_eq!(opened.message.metadata.message_type, MessageType::TaskResponse);
                assert_eq!(opened.message.metadata.priority, 9);
                let replied = opened.message.in_reply_to.unwrap().to_string();
                assert_eq!(replied, "0102030405060708090a0b0c0d0e0f10");
                assert!(receiver.open(&message, NOW).is_err(), "a copy");
            }
        }
    }
}

/// The vectors of the specification are enough for them.
#[test]
fn others_open_the_vectors() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/envelope-vectors.json");
    let vectors: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut python = Python::start();
    let key = |name: usize, field: &str| vectors["agents"][name][field].clone();
    let opened = vectors["opened"].as_array().unwrap();
    assert!(opened.len() >= 3);
    for vector in opened {
        let read = python.job(&json!({
            "do": "open",
            "message": vector["message"],
            "signing_public": key(0, "signing_public"),
            "recipient_private": key(1, "recipient_private"),
        }));
        assert_eq!(read["content"], vector["content"]);
        assert_eq!(read["cti"], vector["message_id"]);
        assert_eq!(read["private"][8], vector["cek_commitment"]);
    }
}
