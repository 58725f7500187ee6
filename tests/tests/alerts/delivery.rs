//! What arrives, how it is proven, and what is not in it.

use std::process::Command;

use sealwire_testkit::receivers::{Mail, MailServer, Posted, Webhook};
use sealwire_testkit::{Home, Serve, run, wait_until};
use sealwire_tests::{CORE, honest_session};

use crate::{
    KEY, all_ways, authority, bring_about, configured, let_in, one_webhook, shut_out, status,
};

/// A mail's body as text, by a decoder that is not ours.
fn body(mail: &Mail) -> String {
    let mut command = Command::new("base64");
    command.arg("-d");
    run(command, mail.body.as_bytes()).ok().stdout
}

/// Computes the signature anew, with OpenSSL and by the text of Standard Webhooks alone.
fn verify(home: &Home, posted: &Posted) {
    let key = home.write("verify/key", KEY.strip_prefix("whsec_").unwrap());
    let id = posted.header("webhook-id");
    let timestamp = posted.header("webhook-timestamp");
    let signed = home.write("verify/signed", format!("{id}.{timestamp}.{}", posted.body));
    let script = "key=$(base64 -d \"$1\" | od -An -v -tx1 | tr -d ' \\n')\n\
                  openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary \"$2\" | base64";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(key).arg(signed);
    let expected = run(command, b"").ok().stdout;
    assert_eq!(posted.header("webhook-signature"), format!("v1,{}", expected.trim()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let sent: u64 = timestamp.parse().unwrap();
    assert!(sent <= now && now - sent < 600, "{timestamp}");
}

#[test]
fn what_happens_arrives_by_every_way_and_nothing_secret_with_it() {
    let home = Home::initialized();
    let (_authority, pair) = authority(&home);
    let (hook, slack) = (Webhook::start(Some(&pair)), Webhook::start(Some(&pair)));
    let mail = MailServer::start(Some(&pair));
    configured(&home, &all_ways(&home, &hook, &slack, &mail));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    bring_about(&home, &serve);
    home.run(&["cert", "revoke", "agent/Coder", "--reason", "reason-s3cret"]).ok();

    for part in ["Intern", CORE, "agent/Coder"] {
        verify(&home, &hook.wait_for(part));
        let text = slack.wait_for(part);
        assert!(text.request.starts_with("POST /services/T0/"), "{}", text.request);
        assert!(text.json()["text"].as_str().unwrap().contains(part), "{}", text.body);
        let mail = mail.wait_for(part, |mail| body(mail).contains(part));
        assert!(mail.is_protected);
        assert_eq!(mail.from, "<sealwire@here.example>");
        assert_eq!(mail.to, ["<one@ops.example>", "<two@ops.example>"]);
        assert!(mail.head.contains("\nSubject: [sealwire "), "{}", mail.head);
        // \0user\0pass-s3cret, by its own words.
        assert_eq!(mail.login, "AUTH PLAIN AHVzZXIAcGFzcy1zM2NyZXQ=");
    }
    let incident = hook.wait_for(CORE).json();
    let alerts = incident["alerts"].as_array().unwrap();
    let incident = alerts.iter().find(|alert| alert["subject"]["name"] == CORE).unwrap();
    assert_eq!(incident["kind"], "incident_acted");
    assert_eq!(incident["severity"], "critical");
    assert_eq!(incident["details"]["what"], "denied_requests");
    assert_eq!(incident["details"]["action"], "quarantine");
    assert!(incident["log"]["tree_size"].as_u64() > Some(0), "{incident}");

    wait_until("all of it is known to be delivered", || {
        let channels = status(&home)["channels"].clone();
        ["slack", "webhook", "email"].iter().all(|name| channels[name]["waiting"] == 0)
    });
    // Each was told once.
    let all: Vec<_> = hook.posted().iter().map(Posted::json).collect();
    let alerts = all.iter().flat_map(|posted| posted["alerts"].as_array().unwrap().clone());
    assert_eq!(alerts.count(), 3, "{all:?}");

    let mut said: Vec<String> = serve.log().lines();
    said.extend(hook.posted().into_iter().chain(slack.posted()).map(|posted| posted.body));
    said.extend(mail.mails().iter().map(|mail| format!("{}{}", mail.head, body(mail))));
    said.push(home.run(&["status"]).ok().stdout);
    said.push(status(&home).to_string());
    for text in &said {
        for part in ["argument-s3cret", "slack-s3cret", "pass-s3cret", KEY, &KEY[6..]] {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
    // An operator's reason is in the log of this machine, and goes nowhere else.
    assert!(said.iter().filter(|text| text.contains("reason-s3cret")).count() > 0);
    for posted in hook.posted().into_iter().chain(slack.posted()) {
        assert!(!posted.body.contains("reason-s3cret"), "{}", posted.body);
    }
}

#[test]
fn the_same_again_is_counted_and_told_once() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    configured(&home, &format!("repeat_after = \"8s\"\n{}", one_webhook(&home, &hook.url("/"))));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    hook.wait_for("Intern");
    for _ in 0..3 {
        let_in(&home, "Intern");
        shut_out(&home, "Intern");
        // What was and is no more between two looks at the state is not seen.
        std::thread::sleep(std::time::Duration::from_millis(1_200));
    }
    // Each is either counted or, on a slow machine, told by itself: none is lost, and there
    // are fewer messages than events.
    wait_until("four are told of", || events(&hook) == 4);
    assert!(hook.posted().len() < 4, "{:?}", hook.posted());
    drop(serve);
}

/// How many events the webhook was told of.
fn events(hook: &Webhook) -> u64 {
    let bodies: Vec<_> = hook.posted().iter().map(Posted::json).collect();
    let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    alerts.map(|alert| alert["count"].as_u64().unwrap()).sum()
}

#[test]
fn security_events_can_be_left_out_and_the_programs_own_failures_cannot() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    let alerts = one_webhook(&home, &hook.url("/"));
    configured(&home, &format!("alert_on_security_events = false\n{alerts}"));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    serve.log().wait_for(&["quarantined", "Intern"]);
    let good = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("{good}\n[securty]\nx = \"config-s3cret\"\n"));
    let posted = hook.wait_for("reload_refused");
    assert!(!posted.body.contains("config-s3cret"), "{}", posted.body);
    assert!(hook.posted().iter().all(|posted| !posted.body.contains("Intern")));
}

/// Nobody who calls waits for a receiver that takes a connection and says nothing.
#[test]
fn no_call_waits_for_an_alert() {
    let home = Home::initialized();
    let tarpit = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", tarpit.local_addr().unwrap());
    configured(&home, &one_webhook(&home, &url));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    let _held = tarpit.accept().unwrap();
    honest_session(&home, serve.address());
    assert_eq!(status(&home)["channels"]["webhook"]["waiting"], 1);
    assert!(serve.stop().success());
}
