//! The network breaks and neither client nor server notices: nothing is lost, nothing
//! happens twice, everything keeps its order.

use std::fs;

use sealwire_testkit::fake_server::read_record;
use sealwire_testkit::{
    ChaosProxy, Connect, Cut, Home, Serve, bin, server_table, soak, wait_until,
};
use sealwire_tests::{echo_params, wire_table};
use serde_json::json;

/// Black holes are noticed by silence alone; the tests shall not wait long for it.
const LIMITS: &str = "idle_timeout = \"500ms\"\nhandshake_timeout = \"5s\"\n";

/// A client of a server behind a network that breaks.
struct Broken {
    client: Connect,
    proxy: ChaosProxy,
    serve: Serve,
    _home: Home,
}

impl Broken {
    fn new(home: Home, server: &str, table: &str) -> Self {
        home.configure(&format!("[listen]\naddress = \"127.0.0.1:0\"\n{LIMITS}\n{table}"));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        let proxy = ChaosProxy::start(serve.address());
        let extra = format!("[listen]\n{LIMITS}");
        let client = Connect::spawn(home.connect_command(server, proxy.address(), &extra));
        Self { client, proxy, serve, _home: home }
    }

    /// Cuts in every way in turn, in mid-frame at ever other places.
    fn cut(&self, number: usize) {
        self.proxy.cut(match number % 3 {
            0 => Cut::Reset,
            1 => Cut::MidFrame((number as u64 * 37) % 1_500),
            _ => Cut::BlackHole,
        });
    }

    /// The cuts happened, and nobody took a resumed link for an intruder.
    fn was_cut(&self, times: usize) {
        wait_until("the last cut has happened", || self.proxy.cuts() == times);
        assert!(self.proxy.accepted() > times, "a cut link was not dialled again");
        for log in [self.serve.log(), self.client.log()] {
            let refused: Vec<_> =
                log.lines().into_iter().filter(|line| line.contains("refused")).collect();
            assert!(refused.is_empty(), "{refused:#?}");
        }
    }
}

#[test]
fn every_call_is_executed_once_and_answered_once() {
    let (calls, cuts) = (soak(10_000, 200_000), soak(100, 1_000));
    let in_flight = 64;
    let text = |call: usize| format!("call {call} {}", "x".repeat(call % 300));

    let home = Home::initialized();
    let record = home.file("record");
    let args = ["--verify-order", "--record", record.to_str().unwrap()];
    let table = server_table("counted", bin("sealwire-fake-server"), &args);
    let mut broken = Broken::new(home, "counted", &table);
    broken.client.initialize();

    let mut ids = Vec::with_capacity(calls);
    let mut cut = 0;
    for answered in 0..calls {
        while ids.len() < calls && ids.len() - answered < in_flight {
            let params = echo_params(&text(ids.len()));
            ids.push(broken.client.send_request("tools/call", &params));
        }
        let answer = broken.client.receive_json();
        assert_eq!(answer["id"], json!(ids[answered]), "lost, twice or out of order: {answer}");
        assert_eq!(answer["result"]["content"][0]["text"], json!(text(answered)), "{answer}");
        if cut < cuts && (answered + 1) % (calls / (cuts + 1)) == 0 {
            broken.cut(cut);
            cut += 1;
        }
    }

    let counted = broken.client.request("tools/call", &json!({"name": "count", "arguments": {}}));
    assert_eq!(
        counted["result"]["structuredContent"],
        json!({"executed": calls, "orderViolations": 0}),
        "{counted}"
    );
    let executed: Vec<_> =
        read_record(&record).unwrap().into_iter().filter(|(_, m)| m == "tools/call").collect();
    // The last one is the count itself.
    let executed: Vec<_> =
        executed[..executed.len() - 1].iter().map(|(id, _)| id.clone()).collect();
    assert!(executed.iter().eq(ids.iter().map(ToString::to_string).collect::<Vec<_>>().iter()));
    broken.was_cut(cuts);
}

/// The same for messages that nobody answers, of all sizes, in both directions at once.
#[test]
fn every_byte_arrives_once_in_both_directions() {
    let (messages, cuts, in_flight) = (soak(2_000, 50_000), soak(19, 400), 64);
    let message = |number: usize| {
        let text = "y".repeat(number * 7_919 % 50_000);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/n","params":{{"{number}":"{text}"}}}}"#
        )
    };

    let home = Home::initialized();
    let (table, record) = wire_table(&home);
    let mut broken = Broken::new(home, "wire", &table);
    let (mut sent, mut cut) = (0, 0);
    for received in 0..messages {
        while sent < messages && sent - received < in_flight {
            broken.client.send(message(sent));
            sent += 1;
        }
        let back = broken.client.receive();
        assert!(
            back == message(received).as_bytes(),
            "expected message {received}, got {}",
            String::from_utf8_lossy(&back[..back.len().min(100)])
        );
        if cut < cuts && (received + 1) % (messages / (cuts + 1)) == 0 {
            broken.cut(cut);
            cut += 1;
        }
    }
    let expected: Vec<String> = (0..messages).map(|number| message(number) + "\n").collect();
    assert!(
        fs::read(&record).unwrap() == expected.concat().as_bytes(),
        "the child got other bytes"
    );
    broken.was_cut(cuts);
}

/// Requests of the server's, and their answers, survive a cut as well.
#[test]
fn a_request_of_the_servers_survives() {
    let home = Home::initialized();
    let (table, _) = wire_table(&home);
    let mut broken = Broken::new(home, "wire", &table);
    for (id, cut) in [Cut::Reset, Cut::MidFrame(20), Cut::BlackHole].into_iter().enumerate() {
        // Comes back as a request of the server's.
        let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage"}}"#);
        broken.client.send(&request);
        assert_eq!(broken.client.receive(), request.as_bytes());
        broken.proxy.cut(cut);
        // Comes back as the answer to ours.
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        broken.client.send(&answer);
        assert_eq!(broken.client.receive(), answer.as_bytes());
    }
    broken.was_cut(3);
}

/// One failed attempt to dial again is not the end.
#[test]
fn a_network_that_stays_away_for_a_while() {
    let home = Home::initialized();
    let (table, _) = wire_table(&home);
    let mut broken = Broken::new(home, "wire", &table);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
    broken.client.send(message);
    assert_eq!(broken.client.receive(), message.as_bytes());
    broken.proxy.refuse(true);
    broken.proxy.cut(Cut::Reset);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    broken.client.send(answer);
    wait_until("it has been turned away three times", || broken.proxy.refused() >= 3);
    broken.proxy.refuse(false);
    assert_eq!(broken.client.receive(), answer.as_bytes());
}

/// When the serving process itself is gone, `connect` says that the outcome is unknown
/// and does not repeat the call.
#[test]
fn a_restarted_server_gets_no_call_twice() {
    let home = Home::initialized();
    let record = home.file("record");
    // Takes calls and answers none.
    let script = home.script("silent.sh", "cat >>record");
    home.configure(&format!(
        "{}cwd = \".\"\n",
        server_table("silent", "sh", &[script.to_str().unwrap()])
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let first = Serve::start(&home);
    let address = first.address();
    let mut client = Connect::start(&home, "silent", address);
    let id = client.send_request("tools/call", &json!({"name": "transfer"}));
    let recorded = || fs::read_to_string(&record).unwrap_or_default();
    wait_until("the call is executed", || recorded().contains("transfer"));

    // The new process listens where the old one did.
    drop(first);
    let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", config.replace("127.0.0.1:0", &address.to_string()));
    let _second = Serve::start(&home);

    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["error"]["data"]["sealwire"], "outcome_unknown", "{answer}");
    assert_eq!(recorded().matches("transfer").count(), 1, "executed twice");
}
