//! From the trigger to the action, and from there to its expiry, or to a lift: of each kind by
//! which a peer or an agent is shut out; and of those that are told, and nobody is to be lifted.
//! (Of servers: tests/pins/suspended.rs.)

use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use sealwire_relay::link::frame::Frame;
use sealwire_testkit::{Connect, Home, Serve, wait_until};
use sealwire_tests::CORE;
use sealwire_tests::link_client::LinkClient;
use serde_json::json;

use crate::mail::{
    distrusting_reader, forged, mcp, put, receive_by, send, send_by, team, team_at, waiting,
};
use crate::{client, deny, incident, incidents, is_cut, quarantined, rule, serving};

/// A home, and who is in it.
struct Stage {
    home: Home,
    /// `None` where agents write to each other.
    serve: Option<Serve>,
    /// A process of the agent that mail is for.
    reader: Option<Connect>,
}

/// One kind of incident, and one who brings it about.
struct Case {
    kind: &'static str,
    /// So many times.
    trigger: u32,
    /// As `quarantine` names him.
    target: [&'static str; 2],
    code: &'static str,
    /// With these rules.
    stage: fn(&str) -> Stage,
    /// Does it, and is shut out; comes back when that has shown.
    offend: fn(&Stage),
    /// What he is told when he tries again; `None` if he is let in.
    refusal: fn(&Stage) -> Option<String>,
}

impl Stage {
    fn serving(rules: &str) -> Self {
        let (home, serve) = serving(rules);
        Self { home, serve: Some(serve), reader: None }
    }

    fn of_agents(home: Home) -> Self {
        Self { home, serve: None, reader: None }
    }

    /// Mail for an agent whose process runs on.
    fn of_mail(rules: &str) -> Self {
        let home = team(rules);
        let reader = Some(mcp(&home, "Reader"));
        Self { home, serve: None, reader }
    }

    /// What is in the mailbox once the victim has written.
    fn sent(&self) -> Vec<Vec<u8>> {
        send(&self.home, "Victim", "Reader").ok();
        waiting(&self.home)
    }

    fn receive(&mut self) {
        let reader = self.reader.as_mut().expect("it reads");
        assert!(receive_by(reader)["error"].is_null());
    }

    fn serve(&self) -> &Serve {
        self.serve.as_ref().expect("it serves")
    }

    fn dial(&self) -> LinkClient {
        LinkClient::dial(&self.home, &self.home.core_pair(), "echo", self.serve().address())
    }
}

fn peer_refusal(stage: &Stage) -> Option<String> {
    let mut client = stage.dial();
    client.hello(None, 0);
    client.granted().err()
}

fn agent_refusal(stage: &Stage) -> Option<String> {
    let sent = send(&stage.home, "Victim", "Reader");
    (sent.code != Some(0)).then_some(sent.stderr)
}

/// Until he is shut out, an agent does this again and again.
fn goes_on(stage: &Stage, to: &str) {
    let mut agent = mcp(&stage.home, "Victim");
    wait_until("it is shut out", || {
        send_by(&mut agent, to).to_string().contains("agent_quarantined")
    });
}

const PEER: [&str; 2] = ["peer", CORE];
const AGENT: [&str; 2] = ["agent", "Victim"];

fn expires_and_is_lifted(case: &Case) {
    let Case { kind, target: [what, who], code, .. } = case;
    let begun = |expiry| {
        let stage = (case.stage)(&rule(kind, case.trigger, "quarantine", expiry));
        assert_eq!((case.refusal)(&stage), None, "before");
        (case.offend)(&stage);
        assert_eq!(
            incidents(&stage.home),
            [incident(kind, &format!("{what} {who}"), "quarantine")]
        );
        stage
    };
    // By itself. How soon is not asked: that it held meanwhile has shown.
    let stage = begun("3s");
    wait_until("it expires", || (case.refusal)(&stage).is_none());
    assert_eq!(quarantined(&stage.home), json!([]));

    // By an operator, and not before.
    let stage = begun("1h");
    let shown = quarantined(&stage.home);
    assert_eq!((&shown[0]["kind"], &shown[0]["name"]), (&json!(what), &json!(who)), "{shown}");
    let refusal = (case.refusal)(&stage).expect("it is shut out");
    assert!(refusal.contains(code), "{refusal}");
    stage.home.run(&["quarantine", "lift", what, who]).ok();
    assert_eq!(quarantined(&stage.home), json!([]));
    wait_until("it is let in", || (case.refusal)(&stage).is_none());
}

#[test]
fn a_peer_that_asks_for_what_is_denied() {
    expires_and_is_lifted(&Case {
        kind: "denied_requests",
        trigger: 3,
        target: PEER,
        code: "peer_quarantined",
        stage: Stage::serving,
        offend: |stage| {
            let mut client = client(&stage.home, stage.serve());
            deny(&mut client, 3);
            is_cut(client, "peer_quarantined");
        },
        refusal: peer_refusal,
    });
}

#[test]
fn a_peer_that_goes_on_beyond_its_rate() {
    expires_and_is_lifted(&Case {
        kind: "rate_limited",
        trigger: 2,
        target: PEER,
        code: "peer_quarantined",
        stage: |rules| {
            let limits = "[security.rate_limiting]\nenabled = true\n\
                          max_requests_per_sec = 0.000001\nburst_size = 4\n";
            Stage::serving(&format!("{limits}{rules}"))
        },
        offend: |stage| {
            let mut client = client(&stage.home, stage.serve());
            while client.request("ping", &json!({}))["error"].is_null() {}
            // What comes within a second of it counts as one.
            sleep(Duration::from_secs(1));
            client.send_request("ping", &json!({}));
            is_cut(client, "peer_quarantined");
        },
        refusal: peer_refusal,
    });
}

#[test]
fn a_peer_that_breaks_the_rules_of_the_link() {
    expires_and_is_lifted(&Case {
        kind: "protocol_violations",
        trigger: 3,
        target: PEER,
        code: "peer_quarantined",
        stage: Stage::serving,
        offend: |stage| {
            // What it has open is cut, although it breaks no rule.
            let live = client(&stage.home, stage.serve());
            for _ in 0..3 {
                let mut client = stage.dial();
                client.send(&Frame::Ping(1));
                assert_eq!(client.granted(), Err("link_protocol".to_owned()));
            }
            is_cut(live, "peer_quarantined");
        },
        refusal: peer_refusal,
    });
}

#[test]
fn an_agent_that_writes_where_it_may_not() {
    expires_and_is_lifted(&Case {
        kind: "denied_requests",
        trigger: 3,
        target: AGENT,
        code: "agent_quarantined",
        stage: |rules| Stage::of_agents(team(rules)),
        offend: |stage| goes_on(stage, "Other"),
        refusal: agent_refusal,
    });
}

#[test]
fn an_agent_that_goes_on_beyond_its_rate() {
    expires_and_is_lifted(&Case {
        kind: "rate_limited",
        trigger: 1,
        target: AGENT,
        code: "agent_quarantined",
        stage: |rules| Stage::of_agents(team_at("0.5", 2, rules)),
        offend: |stage| goes_on(stage, "Reader"),
        refusal: agent_refusal,
    });
}

/// A kind for which nobody is shut out: it is told, and not again before that has expired.
fn is_told_and_told_again(
    kind: &str,
    subject: &str,
    stage: fn(&str) -> Stage,
    event: fn(&mut Stage),
) {
    let expected = incident(kind, subject, "notify");
    let mut lasting = stage(&rule(kind, 1, "notify", "1h"));
    event(&mut lasting);
    wait_until("it is told", || incidents(&lasting.home) == std::slice::from_ref(&expected));
    (0..3).for_each(|_| event(&mut lasting));
    assert_eq!(incidents(&lasting.home), std::slice::from_ref(&expected));
    assert_eq!(quarantined(&lasting.home), json!([]));

    let mut passing = stage(&rule(kind, 1, "notify", "1s"));
    wait_until("it is told again", || {
        event(&mut passing);
        incidents(&passing.home).len() > 1
    });
    assert_eq!(incidents(&passing.home)[0], expected);
    assert_eq!(quarantined(&passing.home), json!([]));
}

#[test]
fn handshakes_that_fail() {
    is_told_and_told_again("failed_handshakes", "address 127.0.0.1", Stage::serving, |stage| {
        let mark = stage.serve().log().mark();
        drop(TcpStream::connect(stage.serve().address()).unwrap());
        stage.serve().log().wait_after(mark, &["connection refused"]);
    });
}

#[test]
fn mail_of_which_the_signature_does_not_hold() {
    is_told_and_told_again("bad_signatures", "mailbox Reader", Stage::of_mail, |stage| {
        let sent = stage.sent();
        put(&stage.home, &sent.iter().map(|sent| forged(sent)).collect::<Vec<_>>());
        stage.receive();
    });
}

#[test]
fn mail_that_was_there_before() {
    is_told_and_told_again("replays", "mailbox Reader", Stage::of_mail, |stage| {
        let sent = stage.sent();
        stage.receive();
        put(&stage.home, &sent);
        stage.receive();
    });
}

#[test]
fn mail_of_one_who_may_not_write() {
    let stage = |rules: &str| {
        let home = team(rules);
        let reader = Some(distrusting_reader(&home, rules));
        Stage { home, serve: None, reader }
    };
    is_told_and_told_again("untrusted_mail", "mailbox Reader", stage, |stage| {
        stage.sent();
        stage.receive();
    });
}
