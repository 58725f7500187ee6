//! What fails, and what becomes of it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use sealwire_testkit::openssl::Leaf;
use sealwire_testkit::receivers::{MailServer, Webhook};
use sealwire_testkit::{Connect, Home, Process, Serve, wait_until};
use sealwire_tests::{echo_params, free_address};
use serde_json::{Value, json};

use crate::{all_ways, authority, configured, let_in, one_webhook, shut_out, status};

fn webhook_at(address: SocketAddr) -> Webhook {
    Webhook::start_at(address, None)
}

#[test]
fn what_waits_outlives_both_sides() {
    let home = Home::initialized();
    let address = free_address();
    configured(&home, &one_webhook(&home, &format!("http://{address}/")));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    wait_until("an attempt has failed", || {
        let channel = status(&home)["channels"]["webhook"].clone();
        channel["failures"].as_u64() > Some(0) && channel["waiting"] == 1
    });
    let shown = home.run(&["status"]).ok().stdout;
    assert!(shown.contains("alerts by webhook: 0 delivered, 1 wait; "), "{shown}");
    serve.log().wait_for(&["alerts could not be delivered", "channel=webhook"]);
    // Killed, not stopped.
    drop(serve);

    let serve = Serve::start(&home);
    assert_eq!(status(&home)["channels"]["webhook"]["waiting"], 1);
    let hook = webhook_at(address);
    let first = hook.wait_for("Intern");
    wait_until("it is known to be delivered", || {
        status(&home)["channels"]["webhook"]["waiting"] == 0
    });

    // The receiver is restarted: what it refuses meanwhile comes again, and is known again.
    hook.answer("503 Service Unavailable");
    shut_out(&home, "Coder");
    let refused = hook.wait_for("Coder");
    drop(hook);
    let hook = webhook_at(address);
    let again = hook.wait_for("Coder");
    assert_eq!(refused.header("webhook-id"), again.header("webhook-id"));
    assert_ne!(first.header("webhook-id"), again.header("webhook-id"));
    assert_eq!(refused.body, again.body);
    wait_until("it is known to be delivered", || {
        status(&home)["channels"]["webhook"]["waiting"] == 0
    });
    drop(serve);

    // What was told is not told again by the next one; what happened meanwhile is.
    let_in(&home, "Coder");
    let_in(&home, "Intern");
    home.run(&["quarantine", "add", "server", "echo"]).ok();
    let before = hook.posted().len();
    let _serve = Serve::start(&home);
    let news = hook.wait_for("\"kind\":\"server\"");
    assert_eq!(news.json()["alerts"].as_array().unwrap().len(), 1, "{}", news.body);
    assert_eq!(hook.posted().len(), before + 1);
}

#[test]
fn one_way_that_fails_holds_up_no_other() {
    let home = Home::initialized();
    let (authority, pair) = authority(&home);
    let (hook, slack) = (Webhook::start(Some(&pair)), Webhook::start(Some(&pair)));
    let address = free_address();
    let mut by_address = Leaf::server("spiffe://receivers/mcp-server/mail");
    by_address.san.push(format!("IP:{}", address.ip()));
    let pair = authority.issue(&by_address);
    let mail = MailServer::start_at(address, Some(&pair));
    let alerts = all_ways(&home, &hook, &slack, &mail);
    let there = format!("host = \"{}\"", address.ip());
    configured(&home, &alerts.replace("host = \"localhost\"", &there));
    drop(mail);
    hook.answer("500 Internal Server Error");
    let _serve = Serve::start(&home);
    shut_out(&home, "Intern");
    slack.wait_for("Intern");
    hook.wait_for("Intern");
    wait_until("two are in trouble", || {
        let channels = status(&home)["channels"].clone();
        let failed = |name: &str| channels[name]["failures"].as_u64() > Some(0);
        failed("webhook") && failed("email") && channels["slack"]["delivered"] == 1
    });
    hook.answer("202 Accepted");
    let mail = MailServer::start_at(address, Some(&pair));
    mail.wait_for("the mail", |mail| mail.is_protected);
    wait_until("nothing waits", || {
        let channels = status(&home)["channels"].clone();
        ["webhook", "email", "slack"].iter().all(|name| channels[name]["waiting"] == 0)
    });
}

#[test]
fn what_nobody_takes_is_given_up_and_that_is_recorded() {
    let home = Home::initialized();
    let address = free_address();
    let alerts = one_webhook(&home, &format!("http://{address}/"));
    configured(&home, &format!("give_up_after = \"1s\"\n{alerts}"));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    let line = serve.log().wait_for(&["audit: alerts given up", "channel=webhook", "alerts=1"]);
    assert!(line.contains("WARN"), "{line}");
    wait_until("it is counted", || status(&home)["channels"]["webhook"]["given_up"] == 1);
    assert_eq!(status(&home)["channels"]["webhook"]["waiting"], 0);
}

/// What cannot be kept is told all the same: that a disk is full must not need the disk.
#[test]
fn what_cannot_be_kept_is_delivered_all_the_same() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    configured(&home, &one_webhook(&home, &hook.url("/")));
    let serve = Serve::start(&home);
    let script = "import sqlite3, sys\n\
                  db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  db.execute('BEGIN IMMEDIATE')\n\
                  print('held', file=sys.stderr, flush=True)\n\
                  sys.stdin.read()\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(home.file("state.db")).stdin(Stdio::piped());
    let holder = Process::spawn(command);
    holder.log().wait_for(&["held"]);
    home.write("sealwire.toml", "[securty]\n");
    hook.wait_for("reload_refused");
    serve.log().wait_for(&["alerts cannot be kept"]);
    drop(holder);
    wait_until("it is in order again", || status(&home)["unkept"].is_null());
    wait_until("it is told once", || status(&home)["channels"]["webhook"]["waiting"] == 0);
    assert_eq!(hook.posted().len(), 1);
}

/// What is wrong with the settings is put right while it runs, and what waits arrives.
#[test]
fn a_reload_takes_up_another_receiver_and_refuses_one_that_cannot_be() {
    let home = Home::initialized();
    let nowhere = free_address();
    configured(&home, &one_webhook(&home, &format!("http://{nowhere}/")));
    let serve = Serve::start(&home);
    shut_out(&home, "Intern");
    wait_until("it waits", || status(&home)["channels"]["webhook"]["waiting"] == 1);
    let hook = Webhook::start(None);
    // A key that others may read is refused, and all stays.
    let alerts = one_webhook(&home, &hook.url("/"));
    home.chmod("hook-key", 0o644);
    home.configure(&crate::configuration(&alerts));
    let refused = home.run(&["reload"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("hook-key"), "{refused}");
    home.chmod("hook-key", 0o600);
    let taken = home.run(&["reload"]).ok().stdout;
    // The files may have been noticed before.
    assert!(taken.contains("alerts") || taken.contains("nothing has changed"), "{taken}");
    hook.wait_for("Intern");
    drop(serve);
}

/// The alert of that kind, once it has arrived.
fn told_of(hook: &Webhook, kind: &str) -> Value {
    let posted = hook.wait_for(&format!("\"{kind}\""));
    let alerts = posted.json()["alerts"].as_array().unwrap().clone();
    alerts.into_iter().find(|alert| alert["kind"] == kind).unwrap()
}

/// One is told before there is no room, and when there is none; and what is told is evidence of
/// the log up to then.
#[test]
fn that_the_log_is_nearly_full_and_full_is_told() {
    let home = Home::initialized();
    let hook = Webhook::start(None);
    let configuration = crate::configuration(&one_webhook(&home, &hook.url("/")));
    home.configure(&format!("{configuration}[audit]\nmax_total_size = \"1MiB\"\n"));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    let pad = "x".repeat(400);
    let mut call = |number: usize| {
        let (id, params) = (format!("{number}{pad}"), echo_params("x"));
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        client.send(call.to_string());
        client.receive_json()
    };
    let refused = (0..5_000).map(&mut call).find(|answer| answer["error"].is_object());
    assert_eq!(refused.unwrap()["error"]["data"]["sealwire"], "not_authorized");
    let nearly = told_of(&hook, "audit_nearly_full");
    assert_eq!(nearly["details"]["max_total_size"], (1 << 20).to_string());
    let failed = told_of(&hook, "audit_failed");
    assert_eq!((&nearly["severity"], &failed["severity"]), (&json!("warning"), &json!("critical")));
    // More room, and it goes on.
    home.configure(&format!("{configuration}[audit]\nmax_total_size = \"64MiB\"\n"));
    home.run(&["reload"]).ok();
    serve.log().wait_for(&["audit log can be written again"]);
    assert!(call(9_999)["result"].is_object());
    drop(client);
    assert!(serve.stop().success());
    for alert in [nearly, failed] {
        let log = &alert["log"];
        assert!(log["tree_size"].as_u64() > Some(100), "{log}");
        let note = log["checkpoint"].as_str().unwrap();
        assert!(note.contains(log["root_hash"].as_str().unwrap()), "{log}");
        let kept = home.write("kept.txt", note);
        let verified =
            home.run(&["audit", "verify", "--json", "--checkpoint", kept.to_str().unwrap()]);
        let verified: Value = serde_json::from_str(&verified.ok().stdout).unwrap();
        assert_eq!(verified["checkpoints_elsewhere"], json!({"given": 1, "confirmed": 1}));
    }
}
