//! Of a peer whose certificate was verified: trigger, action, expiry, lift.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealwire_relay::link::frame::Frame;
use sealwire_testkit::openssl::Leaf;
use sealwire_testkit::{GUARD, Home, Log, Process, Serve, wait_until};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, echo_table, honest_session};
use serde_json::json;

use crate::{
    client, deny, incident, incidents, is_cut, is_refused, json_of, quarantined, rule, serving,
};

#[test]
fn who_asks_too_often_for_what_is_denied_is_cut_until_he_is_lifted() {
    let (home, mut serve) = serving(&rule("denied_requests", 3, "quarantine", "1h"));
    let mut first = client(&home, &serve);
    deny(&mut first, 3);
    is_cut(first, "peer_quarantined");
    let line = serve.log().wait_for(&["audit: incident", "kind=denied_requests"]);
    assert!(line.contains(CORE) && line.contains("action=\"quarantine\""), "{line}");
    is_refused(&home, &serve, "peer_quarantined");

    // It is told everywhere, with its cause.
    let shown = quarantined(&home);
    assert_eq!(shown[0]["name"], CORE, "{shown}");
    assert_eq!(shown[0]["incident"], 1, "{shown}");
    assert_eq!(shown[0]["reason"], "incident 1: 3 denied_requests within 3600s");
    let status = json_of(&home, &["status", "--json"]);
    assert_eq!(status["incidents"][0]["subject"], CORE, "{status}");
    assert_eq!(status["incidents"][0]["events"], 3, "{status}");
    let text = home.run(&["status"]).ok().stdout;
    assert!(text.contains("incident 1 ") && text.contains("denied_requests"), "{text}");
    let mut command = home.sealwire();
    command.args(["status", "--watch", "--every", "20ms"]).stdout(Stdio::piped());
    let mut watching = Process::spawn(command);
    let watched = Log::follow(watching.child().stdout.take().unwrap());
    watched.wait_for(&["incident 1 ", "denied_requests"]);

    // No restart forgets it.
    drop(serve);
    serve = Serve::start(&home);
    is_refused(&home, &serve, "peer_quarantined");
    assert_eq!(json_of(&home, &["status", "--json"])["incidents"][0]["id"], 1);

    // Lifted, he begins anew.
    home.run(&["quarantine", "lift", "peer", "core/core"]).ok();
    let mut again = client(&home, &serve);
    for _ in 0..2 {
        assert!(again.request("prompts/list", &json!({}))["error"].is_object());
    }
    honest_session(&home, serve.address());
    deny(&mut again, 1);
    is_cut(again, "peer_quarantined");
    home.run(&["quarantine", "lift", "peer", "core/core"]).ok();
    honest_session(&home, serve.address());
    let expected = incident("denied_requests", &format!("peer {CORE}"), "quarantine");
    assert_eq!(incidents(&home), [expected.clone(), expected]);
}

#[test]
fn it_expires_by_itself() {
    let (home, serve) = serving(&rule("denied_requests", 2, "quarantine", "4s"));
    let mut first = client(&home, &serve);
    deny(&mut first, 2);
    is_cut(first, "peer_quarantined");
    let deadline = Instant::now() + GUARD;
    while home.connect_once("echo", serve.address(), b"").code != Some(0) {
        assert!(Instant::now() < deadline, "it never ends");
    }
    assert_eq!(quarantined(&home), json!([]));
    // With none of what was counted before.
    let mut again = client(&home, &serve);
    assert!(again.request("prompts/list", &json!({}))["error"].is_object());
    honest_session(&home, serve.address());
    deny(&mut again, 1);
    is_cut(again, "peer_quarantined");
}

#[test]
fn who_goes_on_beyond_his_rate_is_cut() {
    let limits = "[security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 0.000001\n\
                  burst_size = 4\n";
    let rule = rule("rate_limited", 2, "quarantine", "1h");
    let (home, serve) = serving(&format!("{limits}{rule}"));
    let mut burst = client(&home, &serve);
    // However many at once, they count as one.
    let began = Instant::now();
    while burst.request("ping", &json!({}))["error"].is_null() {}
    for _ in 0..20 {
        burst.send_request("ping", &json!({}));
    }
    (0..20).for_each(|_| drop(burst.receive()));
    // A machine that takes longer than that for it has gone on beyond the rate indeed.
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(incidents(&home), []);
        sleep(Duration::from_secs(1));
        burst.send_request("ping", &json!({}));
    }
    is_cut(burst, "peer_quarantined");
    assert_eq!(incidents(&home), [incident("rate_limited", &format!("peer {CORE}"), "quarantine")]);
}

/// Others who have used up what all share are not the fault of whoever comes next.
#[test]
fn a_limit_that_is_shared_is_nobodys_fault() {
    let limits = "[security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 1000\n\
                  burst_size = 1000\ntotal_requests_per_sec = 0.000001\ntotal_burst_size = 2\n";
    let rule = rule("rate_limited", 1, "quarantine", "1h");
    let (home, serve) = serving(&format!("{limits}{rule}"));
    let mut client = client(&home, &serve);
    let mut last = json!({});
    for _ in 0..9 {
        last = client.request("ping", &json!({}));
    }
    assert_eq!(last["error"]["data"]["sealwire"], "shared_limit", "{last}");
    assert_eq!((incidents(&home), quarantined(&home)), (vec![], json!([])));
}

#[test]
fn who_breaks_the_rules_of_the_link_is_shut_out_and_is_the_agent_that_he_is() {
    let home = Home::with_config(&format!(
        "{}[agent_security]\nagents = [\"Rogue\"]\n{}",
        echo_table(),
        rule("protocol_violations", 3, "quarantine", "1h")
    ));
    let serve = Serve::start(&home);
    let rogue = "spiffe://sealwire.internal/agent/Rogue";
    let pair = home.authority().issue(&Leaf::client(rogue));
    for _ in 0..3 {
        let mut client = LinkClient::dial(&home, &pair, "echo", serve.address());
        client.send(&Frame::Ping(1));
        assert_eq!(client.granted(), Err("link_protocol".to_owned()));
    }
    wait_until("it is acted upon", || quarantined(&home) != json!([]));
    let mut client = LinkClient::dial(&home, &pair, "echo", serve.address());
    client.hello(None, 0);
    assert_eq!(client.granted(), Err("agent_quarantined".to_owned()));
    let shown = quarantined(&home);
    assert_eq!((&shown[0]["kind"], &shown[0]["name"]), (&json!("agent"), &json!("Rogue")));
    honest_session(&home, serve.address());
    home.run(&["quarantine", "lift", "agent", "Rogue"]).ok();
    LinkClient::dial(&home, &pair, "echo", serve.address()).open();
}

#[test]
fn what_a_reload_says_holds_from_then_on() {
    let (home, serve) = serving("");
    let mut stays = client(&home, &serve);
    deny(&mut stays, 5);
    stays.receive();
    let denied = "[[policy.deny]]\nmethods = [\"prompts/list\"]\n";
    let rules = rule("denied_requests", 3, "quarantine", "1h");
    home.configure(&format!("{}{denied}{rules}", echo_table()));
    home.run(&["reload"]).ok();
    deny(&mut stays, 1);
    is_cut(stays, "peer_quarantined");
}

#[test]
fn who_cannot_be_to_blame_cannot_be_shut_out_by_a_setting() {
    for kind in ["failed_handshakes", "bad_signatures", "replays", "untrusted_mail"] {
        let rule = rule(kind, 1, "quarantine", "1h");
        let home = Home::initialized();
        home.configure(&format!("{}{rule}", echo_table()));
        let refused = home.run(&["serve"]);
        assert_eq!(refused.code, Some(78), "{refused}");
        assert!(refused.stderr.contains("is not known"), "{refused}");
        assert!(refused.stderr.contains(&format!("[incidents.{kind}] action")), "{refused}");
    }
}
