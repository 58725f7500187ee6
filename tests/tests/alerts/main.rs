//! An operator is told at the time: by a webhook, by mail, whatever fails meanwhile.

mod commands;
mod delivery;
mod failures;
mod refused;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sealwire_testkit::openssl::{Authority, Leaf, Pair};
use sealwire_testkit::receivers::{MailServer, Webhook};
use sealwire_testkit::{Connect, Home, Serve};
use sealwire_tests::echo_table;
use serde_json::{Value, json};

const KEY: &str = "whsec_c2VhbHdpcmUgc2VjcmV0IG9mIDMyIGJ5dGVzISEhISE=";
const PASSWORD: &str = "pass-s3cret";
const SLACK_PATH: &str = "/services/T0/slack-s3cret";

/// What receivers prove themselves with, from an authority that nobody else trusts.
fn authority(home: &Home) -> (Authority, Pair) {
    let authority = Authority::create(&home.file("receivers"));
    let pair = authority.issue(&Leaf::server("spiffe://receivers/mcp-server/receiver"));
    (authority, pair)
}

/// Writes a file that is for its owner alone.
fn secret(home: &Home, name: &str, text: &str) {
    fs::set_permissions(home.write(name, text), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Keys of `[audit.alerts]`: all three ways, to these receivers.
fn all_ways(home: &Home, hook: &Webhook, slack: &Webhook, mail: &MailServer) -> String {
    secret(home, "slack", &slack.url(SLACK_PATH));
    secret(home, "hook-key", KEY);
    secret(home, "password", PASSWORD);
    format!(
        "allow_private = true\nca_cert = \"receivers/ca-cert.pem\"\n\
         alert_slack_webhook = {{ file = \"slack\" }}\n\
         alert_webhook = \"{}\"\nalert_webhook_secret = {{ file = \"hook-key\" }}\n\
         alert_email = [\"one@ops.example\", \"two@ops.example\"]\n\
         [audit.alerts.smtp]\nhost = \"localhost\"\nport = {}\nfrom = \"sealwire@here.example\"\n\
         username = \"user\"\npassword = {{ file = \"password\" }}\n",
        hook.url("/alerts"),
        mail.address().port(),
    )
}

/// Keys of `[audit.alerts]`: one signed webhook.
fn one_webhook(home: &Home, url: &str) -> String {
    secret(home, "hook-key", KEY);
    format!(
        "allow_private = true\nalert_webhook = \"{url}\"\n\
         alert_webhook_secret = {{ file = \"hook-key\" }}\n"
    )
}

/// `echo` is served, with agents, and with these keys of `[audit.alerts]`.
fn configuration(alerts: &str) -> String {
    format!(
        "{}[[policy.deny]]\nmethods = [\"prompts/list\"]\n\
         [agent_security]\nagents = [\"Intern\", \"Coder\"]\n\
         [incidents.denied_requests]\ntrigger = 2\nwindow = \"1h\"\naction = \"quarantine\"\n\
         expiry = \"1h\"\n[audit.alerts]\n{alerts}",
        echo_table()
    )
}

/// A home of which that is the configuration, without its certificates for `serve`.
fn configured(home: &Home, alerts: &str) {
    home.configure(&configuration(alerts));
    home.run(&["cert", "issue", "--all"]).ok();
}

fn shut_out(home: &Home, agent: &str) {
    home.run(&["quarantine", "add", "agent", agent, "--reason", "reason-s3cret"]).ok();
}

fn let_in(home: &Home, agent: &str) {
    home.run(&["quarantine", "lift", "agent", agent]).ok();
}

/// Asks so often for what is denied that it is an incident.
fn bring_about(home: &Home, serve: &Serve) {
    let mut client = Connect::start(home, "echo", serve.address());
    client.initialize();
    client.request("prompts/list", &json!({"cursor": "argument-s3cret"}));
    client.send_request("prompts/list", &json!({"cursor": "argument-s3cret"}));
    assert!(!client.process().wait().success());
}

fn status(home: &Home) -> Value {
    let shown = home.run(&["status", "--json"]).ok().stdout;
    serde_json::from_str::<Value>(&shown).unwrap()["alerts"].clone()
}
