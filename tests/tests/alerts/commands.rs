//! `sealwire alerts test`, and what the doctor says.

use sealwire_testkit::Home;
use sealwire_testkit::receivers::{MailServer, Webhook};
use serde_json::Value;

use crate::{all_ways, authority, configured, one_webhook, secret};

#[test]
fn a_test_tells_of_each_way_how_it_went() {
    let home = Home::initialized();
    let (_authority, pair) = authority(&home);
    let (hook, slack) = (Webhook::start(Some(&pair)), Webhook::start(Some(&pair)));
    let mail = MailServer::start(Some(&pair));
    configured(&home, &all_ways(&home, &hook, &slack, &mail));
    let text = home.run(&["alerts", "test"]).ok().stdout;
    assert_eq!(text.matches(": delivered to ").count(), 3, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!((hook.posted().len(), slack.posted().len(), mail.mails().len()), (1, 1, 1));
    assert!(slack.posted()[0].body.contains("This is a test"));

    hook.answer("404 Not Found");
    let sent = home.run(&["alerts", "test", "--json"]);
    assert_eq!(sent.code, Some(1), "{sent}");
    let shown: Value = serde_json::from_str(&sent.stdout).unwrap();
    assert_eq!(shown["channels"]["slack"]["delivered"], true, "{shown}");
    assert_eq!(shown["channels"]["webhook"]["delivered"], false, "{shown}");
    assert!(shown["channels"]["webhook"]["failure"].as_str().unwrap().ends_with("answered 404"));

    home.run(&["alerts", "test", "email"]).ok();
    assert_eq!((slack.posted().len(), mail.mails().len()), (2, 3));
    let unknown = home.run(&["alerts", "test", "pigeon"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    configured(&home, "");
    assert_eq!(home.run(&["alerts", "test"]).code, Some(78));
}

/// Who is refused is told of in the log; who is not, is not kept from it.
#[test]
fn one_address_that_is_refused_keeps_no_other_from_its_mail() {
    let home = Home::initialized();
    let (_authority, pair) = authority(&home);
    let (hook, slack) = (Webhook::start(Some(&pair)), Webhook::start(Some(&pair)));
    let mail = MailServer::start(Some(&pair));
    let alerts = all_ways(&home, &hook, &slack, &mail);
    configured(&home, &alerts.replace("one@ops.example", "unknown@ops.example"));
    let sent = home.run(&["alerts", "test", "email"]).ok();
    assert!(
        sent.stderr.contains("unknown@ops.example") && sent.stderr.contains("550 5.1.1"),
        "{sent}"
    );
    assert_eq!(mail.mails()[0].to, ["<two@ops.example>"]);
    configured(
        &home,
        &alerts
            .replace("@ops.example", "@x")
            .replace("one@", "unknown@")
            .replace(", \"two@x\"", ""),
    );
    let sent = home.run(&["alerts", "test", "email"]);
    assert!(sent.stdout.trim_end().ends_with("refuses RCPT TO: 550 5.1.1"), "{sent}");
    assert!(!format!("{sent}").contains("s3cret-echo"), "{sent}");
}

/// Findings of the doctor about alerts: their severities and words.
fn findings(home: &Home, args: &[&str]) -> Vec<String> {
    let words = [&["doctor", "--json"], args].concat();
    let examined = home.run(&words);
    let shown: Value = serde_json::from_str(&examined.stdout).expect("JSON");
    let of_alerts = |finding: &Value| {
        let id = finding["id"].as_str()?;
        let severity = finding["severity"].as_str()?;
        id.starts_with("alerts_").then(|| format!("{severity} {id}"))
    };
    shown["findings"].as_array().unwrap().iter().filter_map(of_alerts).collect()
}

#[test]
fn the_doctor_finds_what_would_keep_an_alert_from_arriving() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    configured(&home, &one_webhook(&home, &hook.url("/")));
    assert_eq!(findings(&home, &[]), ["warning alerts_in_clear"]);
    assert!(hook.posted().is_empty(), "looking sends nothing");
    let url = hook.url("/");
    drop(hook);
    let expected = ["warning alerts_in_clear", "error alerts_unreachable"];
    assert_eq!(findings(&home, &[]), expected);
    assert_eq!(findings(&home, &["--offline"]), ["warning alerts_in_clear"]);
    home.chmod("hook-key", 0o640);
    assert_eq!(findings(&home, &["--offline"]), ["error alerts_secret"]);
    configured(&home, &format!("enabled = false\n{}", one_webhook(&home, &url)));
    assert_eq!(findings(&home, &["--offline"]), ["note alerts_off"]);
    secret(&home, "slack", "not a url");
    configured(&home, "alert_slack_webhook = { file = \"slack\" }\n");
    assert_eq!(findings(&home, &["--offline"]), ["error alerts_unusable"]);
    configured(&home, "alert_slack_webhook = \"${SEALWIRE_TEST_UNSET}\"\n");
    assert_eq!(findings(&home, &["--offline"]), ["warning alerts_secret"]);
    let mail = "alert_email = \"a@b.example\"\n[audit.alerts.smtp]\nhost = \"127.0.0.1\"\n\
                from = \"s@b.example\"\nsecurity = \"none\"\n";
    configured(&home, &format!("allow_private = true\n{mail}"));
    assert_eq!(findings(&home, &["--offline"]), ["warning alerts_in_clear"]);
}
