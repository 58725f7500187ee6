//! The serving side is restarted, and the client's session goes on: whatever was under way is
//! answered once, with what is known of it, and nothing is carried out twice.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use sealwire_testkit::fake_server::read_record;
use sealwire_testkit::{Connect, Home, Serve, bin, server_table, wait_until};
use sealwire_tests::{call_echo, echo_params};
use serde_json::{Value, json};

/// A home with one server and a `serve` that keeps its address from one run to the next.
struct Restarted {
    home: Home,
    serve: Option<Serve>,
}

impl Restarted {
    fn with_home(home: Home, table: &str) -> Self {
        home.configure(table);
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
        let address = serve.address().to_string();
        home.write("sealwire.toml", config.replace("127.0.0.1:0", &address));
        Self { home, serve: Some(serve) }
    }

    /// A server that records what it executes.
    fn recording() -> (Self, PathBuf) {
        let home = Home::initialized();
        let record = home.file("record");
        let args = ["--record", record.to_str().unwrap()];
        let table = server_table("counted", bin("sealwire-fake-server"), &args);
        (Self::with_home(home, &table), record)
    }

    fn client(&self, server: &str, extra: &str) -> Connect {
        let address = self.serve.as_ref().unwrap().address();
        Connect::spawn(self.home.connect_command(server, address, extra))
    }

    /// SIGKILL: no word to anybody.
    fn kill(&mut self) {
        self.serve = None;
    }

    /// SIGTERM, and its end.
    fn stop(&mut self) {
        assert_eq!(self.serve.take().unwrap().stop().code(), Some(0));
    }

    fn start(&mut self) {
        self.serve = Some(Serve::start(&self.home));
    }
}

fn word(answer: &Value) -> &str {
    answer["error"]["data"]["sealwire"].as_str().unwrap_or("")
}

/// How many times each id was executed, and none twice.
fn executed(record: &Path) -> HashSet<String> {
    let calls: Vec<String> = read_record(record)
        .unwrap()
        .into_iter()
        .filter(|(_, method)| method == "tools/call")
        .map(|(id, _)| id)
        .collect();
    let once: HashSet<String> = calls.iter().cloned().collect();
    assert_eq!(once.len(), calls.len(), "something was executed twice");
    once
}

/// Keeps calls under way through five restarts and beyond. The words of those that failed.
fn under_load(restart: impl Fn(&mut Restarted)) -> Vec<String> {
    let (calls, in_flight, mut restarts) = (3_600, 64, 0);
    let (mut serving, record) = Restarted::recording();
    let mut client = serving.client("counted", "");
    client.initialize();
    let (mut waiting, mut succeeded, mut failed) = (HashSet::new(), HashSet::new(), Vec::new());
    let mut sent = 0;
    while succeeded.len() + failed.len() < calls {
        while sent < calls && waiting.len() < in_flight {
            waiting.insert(client.send_request("tools/call", &echo_params("x")).to_string());
            sent += 1;
        }
        if restarts < 5 && succeeded.len() + failed.len() > 600 * restarts + 300 {
            restart(&mut serving);
            restarts += 1;
        }
        let answer = client.receive_json();
        let id = answer["id"].to_string();
        assert!(waiting.remove(&id), "twice, or never asked: {answer}");
        if answer["error"].is_null() {
            assert_eq!(answer["result"]["content"][0]["text"], json!("x"), "{answer}");
            succeeded.insert(id);
        } else {
            failed.push((id, word(&answer).to_owned()));
        }
    }
    let executed = executed(&record);
    assert!(executed.is_superset(&succeeded));
    for (id, word) in &failed {
        match word.as_str() {
            "outcome_unknown" | "server_ended" => {}
            "not_sent" | "draining" => assert!(!executed.contains(id), "{word}, yet executed"),
            _ => panic!("{id}: {word}"),
        }
    }
    call_echo(&mut client, "afterwards");
    assert!(client.finish().0.success());
    failed.into_iter().map(|(_, word)| word).collect()
}

#[test]
fn killed_under_load_each_call_has_one_answer_and_none_is_executed_twice() {
    let failed = under_load(|serving| {
        serving.kill();
        serving.start();
    });
    assert!(failed.iter().all(|word| matches!(word.as_str(), "outcome_unknown" | "not_sent")));
    assert!(!failed.is_empty(), "no call was under way");
}

#[test]
fn stopped_under_load_each_call_has_one_answer_and_none_is_executed_twice() {
    let failed = under_load(|serving| {
        serving.stop();
        serving.start();
    });
    // What was under way has been finished; what came too late was not begun.
    assert!(failed.iter().all(|word| word == "draining"), "{failed:?}");
}

/// A server that writes down what it gets, opens with what the file `opening` says (and not
/// at all without it), answers calls of `later`, and no others.
const SCRIPT: &str = r#"
while read -r line; do
    echo "$line" >>record
    id=${line#*'"id":'}
    case $line in
    *'"initialize"'*) [ -e opening ] && result=$(cat opening) || continue ;;
    *'"later"'*) result='{}' ;;
    *) continue ;;
    esac
    echo '{"jsonrpc":"2.0","id":'"${id%%,*}"',"result":'"$result"'}'
done"#;
const OPENING: &str = r#"{"protocolVersion":"2025-11-25","serverInfo":{"name":"x","version":"1"},"capabilities":{"tools":{"listChanged":true},"resources":{}}}"#;

fn scripted() -> (Restarted, Connect) {
    let home = Home::initialized();
    let script = home.script("server.sh", SCRIPT);
    home.write("opening", OPENING);
    let table = server_table("scripted", "sh", &[script.to_str().unwrap()]);
    let serving = Restarted::with_home(home, &format!("{table}cwd = \".\"\n"));
    let client = serving.client("scripted", "");
    (serving, client)
}

impl Restarted {
    fn recorded(&self) -> String {
        fs::read_to_string(self.home.file("record")).unwrap_or_default()
    }
}

/// What was under way when the process died; what came after it; and what came meanwhile.
#[test]
fn a_call_under_way_is_told_as_unknown_and_later_ones_are_carried_over() {
    let (mut serving, mut client) = scripted();
    client.initialize();
    let lost = client.send_request("tools/call", &json!({"name": "transfer"}));
    wait_until("the call is executed", || serving.recorded().contains("transfer"));
    serving.kill();
    client.log().wait_for(&["WARN", "no connection"]);
    let later: Vec<_> =
        (0..3).map(|_| client.send_request("tools/call", &json!({"name": "later"}))).collect();
    serving.start();

    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(lost), "outcome_unknown"), "{answer}");
    // Only what announces changes of its list has them announced.
    let told = client.receive_json();
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    for id in later {
        let answer = client.receive_json();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(id), &json!({})), "{answer}");
    }
    let recorded = serving.recorded();
    assert_eq!(recorded.matches("transfer").count(), 1, "executed twice: {recorded}");
    assert_eq!(recorded.matches("\"initialize\"").count(), 2, "{recorded}");
    assert_eq!(recorded.matches("notifications/initialized").count(), 2, "{recorded}");
}
