//! What commands do is recorded, whether `serve` runs or not; and so is what it is told.

use sealwire_testkit::{Connect, Home, Serve, bin, quoted, run, server_table, wait_until};
use sealwire_tests::{echo_params, echo_table, honest_session};

use super::{entries, of_type};

fn with_agents() -> Home {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let text = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    home.write("sealwire.toml", format!("{listen}{text}\n{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    home
}

#[test]
fn agents_messages_are_entries_with_and_without_serve() {
    let home = with_agents();
    let log = home.file("audit");
    let send = || {
        let mut send = home.sealwire();
        send.args(["agent", "send", "--from", "General", "--to", "CodeExpert"]);
        run(send, b"hello").ok();
        home.run(&["agent", "recv", "--as", "CodeExpert"]).ok();
    };
    send();
    let alone = entries(&log);
    let steps =
        ["sending", "sent", "delivered", "acknowledged"].map(|step| format!("message.{step}"));
    for step in &steps {
        assert_eq!(of_type(&alone, step).len(), 1, "{step}");
    }
    let sent = of_type(&alone, "message.sent")[0];
    assert_eq!((&sent["from"], &sent["agent"]), (&"General".into(), &"General".into()));
    let serve = Serve::start(&home);
    send();
    serve.stop();
    let both = entries(&log);
    for step in &steps {
        assert_eq!(of_type(&both, step).len(), 2, "{step}");
    }
    let text = format!("{both:?}");
    assert!(!text.contains("hello"), "{text}");
}

/// The hash that `policy show` has for the server `echo`.
fn policy_shown(home: &Home) -> String {
    let shown = home.run(&["policy", "show", "echo", "--json"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let hash = shown["servers"]["echo"]["policy"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 64, "{hash}");
    assert!(home.run(&["policy", "show"]).ok().stdout.contains(&hash));
    hash
}

#[test]
fn each_decision_names_the_policy_by_which_it_was_made() {
    let home = Home::with_config(&echo_table());
    let before = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    let first = policy_shown(&home);
    let call = |client: &mut Connect| client.request("tools/call", &echo_params("x"));
    assert!(call(&mut client)["result"].is_object());
    // Written otherwise, and the same.
    home.write("sealwire.toml", format!("# A remark.\n{before}"));
    home.run(&["reload"]).ok();
    assert!(call(&mut client)["result"].is_object());
    assert_eq!(policy_shown(&home), first);
    // In the same conversation, the next call is decided by what holds then.
    let denied = "[[policy.deny]]\ntools = [\"echo\"]\n";
    home.write("sealwire.toml", format!("{before}\n{denied}"));
    home.run(&["reload"]).ok();
    assert!(call(&mut client)["error"].is_object());
    let second = policy_shown(&home);
    assert_ne!(first, second);
    client.finish();
    serve.stop();
    let entries = entries(&home.file("audit"));
    let decisions = of_type(&entries, "call.decision");
    let calls: Vec<_> = decisions
        .iter()
        .filter(|entry| entry["mcp.method.name"] == "tools/call")
        .map(|entry| (entry["decision"].as_str().unwrap(), entry["policy"].as_str().unwrap()))
        .collect();
    assert_eq!(calls, [("allow", &*first), ("allow", &first), ("deny", &second)]);
    assert!(decisions.iter().all(|entry| entry["policy"].is_string()), "{decisions:?}");
}

#[test]
fn what_an_operator_changes_is_recorded() {
    let home = Home::with_config(&echo_table());
    let serve = Serve::start(&home);
    let peer = "spiffe://sealwire.internal/agent/Mallory";
    home.run(&["quarantine", "add", "peer", peer, "--reason", "a \"test\""]).ok();
    home.run(&["quarantine", "lift", "peer", peer]).ok();
    let text = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("{text}\n[audit]\nretention_days = 7\n"));
    home.run(&["reload"]).ok();
    home.write("sealwire.toml", format!("{text}\n[audit]\nenabled = false\n"));
    assert_eq!(home.run(&["reload"]).code, Some(1));
    home.write(
        "sealwire.toml",
        format!("{text}\n[audit]\nretention_days = 7\ninclude_mcp_calls = false\n"),
    );
    home.run(&["reload"]).ok();
    honest_session(&home, serve.address());
    serve.stop();
    let entries = entries(&home.file("audit"));
    let added = of_type(&entries, "quarantine.added")[0];
    assert!(added["subject"].as_str().unwrap().contains(peer), "{added}");
    assert_eq!(added["detail"], "a \"test\"");
    assert_eq!(of_type(&entries, "quarantine.lifted").len(), 1);
    assert_eq!(of_type(&entries, "config.changed")[0]["detail"], "audit");
    let refused = of_type(&entries, "config.refused")[0]["detail"].as_str().unwrap();
    assert!(refused.contains("[audit] enabled"), "{refused}");
    // From then on, what is allowed is not an entry.
    assert_eq!(of_type(&entries, "call.decision").len(), 0);
    assert_eq!(of_type(&entries, "connection.accepted").len(), 1);
    wait_until("it has ended", || !home.file("run/control.sock").exists());
}

#[test]
fn a_certificate_that_is_handed_out_in_a_bundle_is_an_entry() {
    let home = Home::with_config(&echo_table());
    Serve::start(&home).stop();
    let bundle = home.file("laptop.bundle");
    let out = ["--out", bundle.to_str().unwrap(), "--endpoint", "127.0.0.1:7443"];
    home.run(&[&["cert", "bundle", "laptop"], &out[..]].concat()).ok();
    let entries = entries(&home.file("audit"));
    let issued = of_type(&entries, "certificate.issued");
    assert_eq!(issued.len(), 1, "{issued:?}");
    assert_eq!(issued[0]["subject"], "spiffe://sealwire.internal/core/laptop");
    assert!(issued[0]["detail"].as_str().unwrap().ends_with(", for another machine"));
}

#[test]
fn a_request_that_takes_long_is_an_entry_while_it_lasts() {
    for durability in ["fsync", "interval"] {
        let home = Home::initialized();
        let wait = "while [ ! -e \"$(dirname \"$0\")/go\" ]; do sleep 0.01; done";
        let server = quoted(bin("sealwire-fake-server"));
        let script = home.script("server.sh", &format!("{wait}\nexec {server}"));
        let audit = format!("[audit]\ndurability = \"{durability}\"\n");
        let table = server_table("echo", "sh", &[script.to_str().unwrap()]);
        home.configure(&format!("{audit}{table}"));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let mut client = Connect::start(&home, "echo", serve.address());
        client.send_request("server/discover", &serde_json::json!({}));
        let log = home.file("audit");
        let is_there = |entry: &&serde_json::Value| entry["mcp.method.name"] == "server/discover";
        wait_until("it is in the log", || entries(&log).iter().any(|entry| is_there(&entry)));
        home.write("go", "");
        assert!(client.receive_json()["result"].is_object());
        let entries = entries(&log);
        let decision = entries.iter().find(is_there).unwrap();
        assert!(decision.get("outcome").is_none(), "{durability}: {decision}");
        let outcomes = of_type(&entries, "call.outcome");
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        assert_eq!(outcomes[0]["decision_entry"], decision["entry"]);
        client.finish();
        serve.stop();
    }
}
