//! Where nothing is sent.

use sealwire_testkit::openssl::{Authority, Leaf};
use sealwire_testkit::receivers::{MailServer, Webhook};
use sealwire_testkit::{Home, Serve, wait_until};

use crate::{all_ways, authority, configured, one_webhook, secret, shut_out, status};

/// Why the one webhook fails, as `status` says.
fn failure(home: &Home) -> String {
    let mut why = String::new();
    wait_until("it fails", || {
        let status = status(home);
        why = status["channels"]["webhook"]["last_failure"].as_str().unwrap_or_default().to_owned();
        !why.is_empty()
    });
    why
}

#[test]
fn a_redirect_is_not_followed_anywhere() {
    let other = Webhook::start(None);
    for (to, code) in [
        ("http://169.254.169.254/latest/meta-data/", "302 Found"),
        (&*other.url("/stolen"), "307 Temporary Redirect"),
        ("https://example.org/", "301 Moved Permanently"),
    ] {
        let home = Home::initialized();
        let hook = Webhook::start(None);
        hook.answer(&format!("{code}\r\nLocation: {to}"));
        configured(&home, &one_webhook(&home, &hook.url("/")));
        let serve = Serve::start(&home);
        shut_out(&home, "Intern");
        hook.wait_for("Intern");
        let why = failure(&home);
        assert!(why.ends_with("redirects are not followed"), "{why}");
        assert!(!why.contains("169.254"), "{why}");
        drop(serve);
    }
    assert!(other.posted().is_empty());
}

/// A name counts for nothing: what counts is where it leads.
#[test]
fn a_private_address_is_refused_unless_allowed_and_metadata_always() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    let port = hook.address().port();
    for (host, allow, part) in [
        ("localhost", false, "allow_private"),
        ("127.0.0.1", false, "allow_private"),
        ("[::ffff:127.0.0.1]", false, "allow_private"),
    ] {
        let scheme = if host.starts_with('[') { "https" } else { "http" };
        let alerts = one_webhook(&home, &format!("{scheme}://{host}:{port}/"));
        configured(
            &home,
            &alerts.replace("allow_private = true", &format!("allow_private = {allow}")),
        );
        let sent = home.run(&["alerts", "test"]);
        assert_eq!(sent.code, Some(1), "{sent}");
        assert!(sent.stdout.contains(part), "{sent}");
    }
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"] {
        configured(&home, &one_webhook(&home, &format!("https://{host}/")));
        let sent = home.run(&["alerts", "test"]);
        assert!(sent.stdout.contains("to which nothing is ever sent"), "{sent}");
    }
    assert!(hook.posted().is_empty());
}

#[test]
fn whose_certificate_is_not_good_gets_nothing() {
    let home = Home::initialized();
    let (own, good) = authority(&home);
    let stranger = Authority::create(&home.file("stranger"));
    let of_stranger = stranger.issue(&Leaf::server("spiffe://receivers/mcp-server/receiver"));
    let mut elsewhere = Leaf::server("spiffe://receivers/mcp-server/elsewhere");
    elsewhere.san = vec!["DNS:elsewhere.example".to_owned()];
    for bad in [of_stranger, own.issue(&elsewhere)] {
        let (hook, slack) = (Webhook::start(Some(&bad)), Webhook::start(Some(&bad)));
        let mail = MailServer::start(Some(&bad));
        configured(&home, &all_ways(&home, &hook, &slack, &mail));
        let sent = home.run(&["alerts", "test"]);
        assert_eq!(sent.stdout.matches("not delivered").count(), 3, "{sent}");
        assert_eq!(sent.stdout.matches("TLS with localhost failed").count(), 3, "{sent}");
        assert!(hook.posted().is_empty() && slack.posted().is_empty() && mail.mails().is_empty());
    }
    // By the system's authorities, it is nobody's.
    let (hook, slack) = (Webhook::start(Some(&good)), Webhook::start(Some(&good)));
    let mail = MailServer::start(Some(&good));
    let alerts = all_ways(&home, &hook, &slack, &mail);
    configured(&home, &alerts.replace("ca_cert = \"receivers/ca-cert.pem\"\n", ""));
    let sent = home.run(&["alerts", "test"]);
    assert!(sent.code == Some(1) || sent.code == Some(78), "{sent}");
    assert!(hook.posted().is_empty() && mail.mails().is_empty());
}

/// Whoever is in between can strip the offer of TLS; he gets neither mail nor password.
#[test]
fn a_mail_server_without_starttls_gets_neither_mail_nor_password() {
    let home = Home::initialized();
    let (_authority, pair) = authority(&home);
    let (hook, slack) = (Webhook::start(Some(&pair)), Webhook::start(Some(&pair)));
    let mail = MailServer::start(None);
    configured(&home, &all_ways(&home, &hook, &slack, &mail));
    let sent = home.run(&["alerts", "test", "email"]);
    assert_eq!(sent.code, Some(1), "{sent}");
    assert!(sent.stdout.contains("does not offer STARTTLS"), "{sent}");
    assert!(mail.mails().is_empty());
}

#[test]
fn settings_that_cannot_be_honoured_end_the_start() {
    let home = Home::initialized();
    for (alerts, part) in [
        ("alert_slack_webhook = \"https://hooks.example/s3cret\"", "is a secret"),
        ("alert_slack_webhook = { file = \"missing\" }", "missing"),
        ("alert_slack_webhook = { file = \"open\" }", "open"),
        ("alert_slack_webhook = { file = \"clear\" }", "in the clear"),
        ("alert_slack_webhook = { file = \"not-a-url\" }", "https://"),
        ("alert_slack_webhook = \"${SEALWIRE_TEST_UNSET}\"", "SEALWIRE_TEST_UNSET is not set"),
        (
            "alert_webhook = \"https://a.example/\"\nalert_webhook_secret = { file = \"short\" }",
            "shorter than 24 bytes",
        ),
        ("alert_slack_webhook = { file = \"fine\" }\nca_cert = \"short\"", "no certificate"),
        ("enabled = true", "nobody to tell"),
        ("slack = \"x\"", "the nearest known key"),
    ] {
        secret(&home, "open", "https://hooks.example/s3cret");
        home.chmod("open", 0o644);
        secret(&home, "clear", "http://hooks.example/s3cret");
        secret(&home, "not-a-url", "s3cret");
        secret(&home, "short", "s3cret");
        secret(&home, "fine", "https://hooks.example/s3cret");
        configured_badly(&home, alerts);
        let mut commands = vec![vec!["serve"], vec!["alerts", "test"]];
        // Where `serve` runs, the variable may be set.
        if !part.ends_with("not set") {
            commands.push(vec!["config", "check"]);
        }
        for command in commands {
            let output = home.run(&command);
            assert_eq!(output.code, Some(78), "{alerts}: {output}");
            assert!(output.stderr.contains(part), "{alerts}: {output}");
            assert!(!format!("{output}").contains("s3cret"), "{output}");
        }
    }
}

fn configured_badly(home: &Home, alerts: &str) {
    configured(home, "enabled = false\nalert_slack_webhook = \"${X}\"\n");
    home.configure(&crate::configuration(alerts));
}
