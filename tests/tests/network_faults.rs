//! Networks that misbehave, and strangers that only hold connections open: who is welcome is
//! served all the same.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sealwire_testkit::{ChaosProxy, Connect, Cut, Home, Serve, bin};
use sealwire_tests::restarted::word;
use sealwire_tests::{call_echo, echo_table, honest_session, serving_echo};
use serde_json::json;

/// These tests open hundreds of connections, and one looks at the clock: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The start of a TLS record with a ClientHello, which never goes on.
const HALF_A_HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// So many connections of strangers: silent ones, ones that stop in the middle of their
/// first message, and ones that send a byte of it now and then.
fn strangers(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let open = |number: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        if !number.is_multiple_of(3) {
            stream.write_all(&HALF_A_HELLO).unwrap();
        }
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn half_open_connections_leave_an_honest_client_under_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (home, serve) = serving_echo("");
    let strangers = strangers(serve.address(), 300);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for mut slow in strangers.iter().step_by(3) {
                    let _cut_off = slow.write_all(b"\0");
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let start = Instant::now();
        let mut client = Connect::start(&home, "echo", serve.address());
        client.initialize();
        call_echo(&mut client, "x");
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

/// With hundreds of connections and few descriptors, a server can still be started for whoever
/// proves a name: during the flood and after it.
#[test]
fn few_file_descriptors_and_hundreds_of_connections() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::with_config(&echo_table());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(bin("sealwire"));
    command.arg("--home").arg(home.path()).arg("serve");
    let serve = Serve::spawn(command);
    serve.log().wait_for(&["WARN", "limit of open files", "38"]);
    let mut early = Connect::start(&home, "echo", serve.address());
    early.initialize();
    for _ in 0..3 {
        let strangers = strangers(serve.address(), 400);
        honest_session(&home, serve.address());
        call_echo(&mut early, "undisturbed");
        drop(strangers);
        honest_session(&home, serve.address());
    }
    // Its own peers can fill it, too, and leave again.
    let peers: Vec<_> = (0..60).map(|_| Connect::start(&home, "echo", serve.address())).collect();
    drop(peers);
    honest_session(&home, serve.address());
    call_echo(&mut early, "undisturbed");
}

/// A connection that is accepted, and then nothing: neither at first nor later.
#[test]
fn a_black_hole_is_told_in_the_end() {
    let home = Home::initialized();
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let patience = "[listen]\nreconnect_timeout = \"1s\"\nhandshake_timeout = \"300ms\"";
    let address = hole.local_addr().unwrap();
    let mut client = Connect::spawn(home.connect_command("echo", address, patience));
    let id = client.send_request("initialize", &json!({}));
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(id), "not_sent"), "{answer}");
    assert_eq!(client.process().wait().code(), Some(1));
}

/// A conversation that falls into a black hole and finds nobody behind it any more: what was
/// sent is unknown, what was not is not.
#[test]
fn a_black_hole_under_way_tells_what_was_sent_from_what_was_not() {
    let (home, serve) = serving_echo("");
    let proxy = ChaosProxy::start(serve.address());
    let limits = "[listen]\nidle_timeout = \"500ms\"\nreconnect_timeout = \"2s\"";
    let mut client = Connect::spawn(home.connect_command("echo", proxy.address(), limits));
    client.initialize();
    proxy.refuse(true);
    proxy.cut(Cut::BlackHole);
    let sent = client.send_request("tools/call", &json!({"name": "echo"}));
    client.log().wait_for(&["WARN", "no connection"]);
    let unsent = client.send_request("tools/call", &json!({"name": "echo"}));
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(sent), "outcome_unknown"), "{answer}");
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(unsent), "not_sent"), "{answer}");
    assert_eq!(client.process().wait().code(), Some(1));
}
