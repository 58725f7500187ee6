//! Of agents, and of mail.

use sealwire_envelope::SecureAgentMessage;
use sealwire_testkit::{Connect, Home, Output, run, wait_until};
use sealwire_tests::mail;
use serde_json::{Value, json};

use crate::{incident, incidents, quarantined, rule};

/// Three agents, of which one may write to one, at this rate.
fn agents(rate: &str, burst: u32, rules: &str) -> String {
    format!(
        "[agent_security]\nagents = [\"Victim\", \"Reader\", \"Other\"]\n\
         [agent_security.rate_limiting]\nmax_messages_per_sec = {rate}\nburst_size = {burst}\n\
         [agent_security.trust.Victim]\ncan_communicate_with = [\"Reader\"]\n{rules}"
    )
}

/// The agents, as fast as they like.
pub(crate) fn team(rules: &str) -> Home {
    team_at("1000.0", 1_000, rules)
}

pub(crate) fn team_at(rate: &str, burst: u32, rules: &str) -> Home {
    let home = Home::with_config(&agents(rate, burst, rules));
    home.run(&["key", "new", "--all"]).ok();
    home
}

pub(crate) fn send(home: &Home, from: &str, to: &str) -> Output {
    let mut command = home.sealwire();
    command.args(["agent", "send", "--from", from, "--to", to]);
    run(command, b"hello")
}

pub(crate) fn receive(home: &Home) -> Output {
    home.run(&["agent", "recv", "--as", "Reader", "--json"]).ok()
}

/// By a configuration of the reader's own, that lets it hear so many at once.
pub(crate) fn receive_slowly(home: &Home, burst: u32, rules: &str) -> Output {
    let config = home.write("reader.toml", agents("0.00001", burst, rules));
    let mut command = home.sealwire();
    command.arg("--config").arg(config).args(["agent", "recv", "--as", "Reader", "--json"]);
    run(command, b"").ok()
}

/// What waits for the reader, as it is.
pub(crate) fn waiting(home: &Home) -> Vec<Vec<u8>> {
    mail::waiting(home, "Reader")
}

/// Puts it into the reader's mailbox.
pub(crate) fn put(home: &Home, messages: &[Vec<u8>]) {
    mail::put(home, "Reader", messages);
}

/// As if its sender had written another one: its signature does not hold.
pub(crate) fn forged(message: &[u8]) -> Vec<u8> {
    let id = *SecureAgentMessage::decode(message).unwrap().metadata.message_id.as_bytes();
    let at = message.windows(id.len()).position(|window| window == id).unwrap();
    let mut forged = message.to_vec();
    forged[at] ^= 1;
    forged
}

pub(crate) fn mcp(home: &Home, agent: &str) -> Connect {
    mcp_with(home, agent, &[])
}

/// A process of the reader's that runs on, by a configuration in which nobody may write to it.
pub(crate) fn distrusting_reader(home: &Home, rules: &str) -> Connect {
    let config = agents("1000.0", 1_000, rules).replace("[\"Reader\"]", "[\"Other\"]");
    let config = home.write("reader.toml", config);
    mcp_with(home, "Reader", &["--config", config.to_str().unwrap()])
}

fn mcp_with(home: &Home, agent: &str, options: &[&str]) -> Connect {
    let mut command = home.sealwire();
    command.args(options).args(["agent", "mcp", "--as", agent]);
    let mut client = Connect::spawn(command);
    client.initialize();
    client
}

pub(crate) fn send_by(client: &mut Connect, to: &str) -> Value {
    let arguments = json!({"to": to, "content": "hello"});
    client.request("tools/call", &json!({"name": "send_message", "arguments": arguments}))
}

/// Takes what waits for it.
pub(crate) fn receive_by(client: &mut Connect) -> Value {
    client.request("tools/call", &json!({"name": "receive_messages", "arguments": {}}))
}

/// An agent that runs wild is silenced by its own doing, and nobody else is.
#[test]
fn an_agent_that_goes_on_writing_where_it_may_not_is_silenced() {
    let home = team(&rule("denied_requests", 3, "quarantine", "1h"));
    let mut client = mcp(&home, "Victim");
    for _ in 0..3 {
        assert!(send_by(&mut client, "Other").to_string().contains("not_trusted"));
    }
    assert_eq!(quarantined(&home)[0]["name"], "Victim");
    let refused = send_by(&mut client, "Reader").to_string();
    assert!(refused.contains("agent_quarantined"), "{refused}");
    assert!(send(&home, "Victim", "Reader").stderr.contains("agent_quarantined"));
    home.run(&["quarantine", "lift", "agent", "Victim"]).ok();
    wait_until("it may write again", || send(&home, "Victim", "Reader").code == Some(0));
    assert_eq!(incidents(&home), [incident("denied_requests", "agent Victim", "quarantine")]);
}

/// What is wrong with mail is told once, with whose it was to be, and nobody is blamed.
#[test]
fn mail_that_is_wrong_is_told() {
    for kind in ["bad_signatures", "replays", "untrusted_mail"] {
        let home = team(&rule(kind, 2, "notify", "1h"));
        for _ in 0..4 {
            send(&home, "Victim", "Reader").ok();
        }
        let sent = waiting(&home);
        assert_eq!(sent.len(), 4);
        if kind == "untrusted_mail" {
            let text = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
            home.write("sealwire.toml", text.replace("[\"Reader\"]", "[\"Other\"]"));
        } else {
            assert_eq!(receive(&home).stdout.lines().count(), 4);
        }
        match kind {
            "bad_signatures" => {
                put(&home, &sent.iter().map(|sent| forged(sent)).collect::<Vec<_>>())
            }
            "replays" => put(&home, &sent),
            _ => {}
        }
        let output = receive(&home);
        assert_eq!(output.stdout, "", "{kind}: {output}");
        let told = output.stderr.lines().filter(|line| line.contains("audit: incident")).count();
        assert_eq!(told, 1, "{kind}: {output}");
        assert_eq!(incidents(&home), [incident(kind, "mailbox Reader", "notify")]);
        assert_eq!(quarantined(&home), json!([]));
    }
}
