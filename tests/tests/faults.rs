//! Servers and clients that misbehave: each is an affair of its own conversation, and whoever
//! waits is told.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sealwire_testkit::{Connect, Home, Process, Serve, server_table, wait_until};
use sealwire_tests::restarted::word;
use sealwire_tests::{call_echo, echo_table, honest_session};
use serde_json::{Value, json};

/// What a `serve` or a `connect` may take at most while somebody floods it, without the 100 MB
/// and more of the flood.
const MEMORY: usize = 64 << 20;

/// These tests keep both processors busy, and some look at the clock: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A home that serves this shell script as `scripted`, and the honest server `echo`.
fn serving(script: &str, limits: &str) -> (Home, Serve) {
    let home = Home::initialized();
    let script = home.script("server.sh", script);
    let table = server_table("scripted", "sh", &[script.to_str().unwrap()]);
    let listen = format!("[listen]\naddress = \"127.0.0.1:0\"\n{limits}\n");
    home.configure(&format!("{listen}{table}cwd = \".\"\n{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    (home, serve)
}

fn signal(signal: &str, pid: &str) {
    let status = Command::new("kill").args([signal, pid.trim()]).status().unwrap();
    assert!(status.success());
}

fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// Waits until these processes neither read nor write any more.
fn wait_until_still(pids: &[u32]) {
    let io = || -> Vec<_> {
        pids.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/io")).unwrap()).collect()
    };
    let mut before = Vec::new();
    wait_until("nothing moves any more", || {
        thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut before, io()) == before
    });
}

fn bounded(process: &Process) {
    let memory = process.peak_memory();
    assert!(memory < MEMORY, "{} MiB", memory >> 20);
}

#[test]
fn child_killed_every_pending_request_is_answered_within_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The second one leaves a helper that holds its output open.
    for helper in ["", "sleep 300 &\n"] {
        let script = format!("{helper}echo $$ >pid\nexec 3>&1\nexec cat >got");
        let (home, serve) = serving(&script, "");
        let mut client = Connect::start(&home, "scripted", serve.address());
        let mut waiting: Vec<_> =
            (0..50).map(|_| client.send_request("tools/call", &json!({"name": "x"}))).collect();
        let got = || fs::read_to_string(home.file("got")).unwrap_or_default();
        wait_until("all have arrived", || got().lines().count() == waiting.len());
        let pid = fs::read_to_string(home.file("pid")).unwrap();
        signal("-KILL", &pid);
        let died = Instant::now();
        while !waiting.is_empty() {
            let answer = client.receive_json();
            assert_eq!(word(&answer), "server_ended", "{answer}");
            waiting.retain(|id| answer["id"] != json!(id));
        }
        let took = died.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(client.process().wait().code(), Some(1));
        honest_session(&home, serve.address());
    }
}

#[test]
fn child_hung_holds_up_nobody_else_and_is_ended_with_its_client() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = "drain_timeout = \"500ms\"";
    let (home, serve) = serving("echo $$ >pid\nread -r line\ntouch got\nexec cat", limits);
    let extra = format!("[listen]\n{limits}");
    let mut client = Connect::spawn(home.connect_command("scripted", serve.address(), &extra));
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    wait_until("it runs", || home.file("got").exists());
    let pid = fs::read_to_string(home.file("pid")).unwrap();
    signal("-STOP", &pid);
    let id = client.send_request("tools/call", &json!({"name": "x"}));
    honest_session(&home, serve.address());
    let (_, rest) = client.finish();
    let answer: Value = serde_json::from_slice(&rest[0]).unwrap();
    assert_eq!((&answer["id"], word(&answer)), (&json!(id), "outcome_unknown"), "{answer}");
    // It takes no notice of SIGTERM.
    wait_until("it has ended", || !is_alive(&pid));
}

/// `connect`, fed without end; nobody reads what it says.
fn flooded(home: &Home, serve: &Serve, server: &str, message: &str) -> Process {
    let mut command = home.connect_command(server, serve.address(), "");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut connect = Process::spawn(command);
    let mut stdin = connect.child().stdin.take().unwrap();
    let line = format!("{message}\n");
    thread::spawn(move || while stdin.write_all(line.as_bytes()).is_ok() {});
    connect
}

#[test]
fn child_never_reading_fills_nobodys_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (home, mut serve) = serving("exec sleep 1000", "");
    let text = "x".repeat(400_000);
    let message = format!(r#"{{"jsonrpc":"2.0","method":"n","params":{{"text":"{text}"}}}}"#);
    let mut connect = flooded(&home, &serve, "scripted", &message);
    wait_until_still(&[connect.child().id(), serve.process().child().id()]);
    bounded(&connect);
    bounded(serve.process());
    honest_session(&home, serve.address());
}

#[test]
fn client_never_reading_fills_nobodys_memory_and_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (home, mut serve) = serving("exec cat", "");
    let mut command = home.connect_command("echo", serve.address(), "");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut connect = Process::spawn(command);
    let mut stdin = connect.child().stdin.take().unwrap();
    let call = |id| {
        let params = json!({"name": "big", "arguments": {"bytes": 500_000}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    for id in 0..200 {
        writeln!(stdin, "{}", call(id)).unwrap();
    }
    wait_until_still(&[connect.child().id(), serve.process().child().id()]);
    bounded(&connect);
    bounded(serve.process());
    honest_session(&home, serve.address());
    let stdout = connect.child().stdout.take().unwrap();
    for (id, line) in BufReader::new(stdout).lines().take(200).enumerate() {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(answer["id"], json!(id));
        assert!(answer["result"].is_object());
    }
    bounded(&connect);
    bounded(serve.process());
}

/// At most so many of `serve`'s log lines hold `text` for each second since `start`.
fn is_limited(serve: &Serve, text: &str, start: Instant, per_second: u64) {
    let lines = serve.log().lines().iter().filter(|line| line.contains(text)).count() as u64;
    let most = (start.elapsed().as_secs() + 2) * per_second;
    assert!((1..=most).contains(&lines), "{lines} lines, and at most {most} were to be");
}

#[test]
fn child_flooding_stderr_fills_neither_log_nor_memory_and_is_served_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let (home, mut serve) = serving("yes 'a complaint' >&2 &\nexec cat", "");
    let mut client = Connect::start(&home, "scripted", serve.address());
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    client.send(notification);
    let mark = serve.log().mark();
    serve.log().wait_after(mark, &["WARN", "scripted", "lines suppressed"]);
    let mark = serve.log().mark();
    serve.log().wait_after(mark, &["WARN", "scripted", "lines suppressed"]);
    assert_eq!(client.receive(), notification.as_bytes());
    for _ in 0..100 {
        client.send(notification);
        assert_eq!(client.receive(), notification.as_bytes());
    }
    // 64 KiB in a second, of which a line takes 128 bytes and its own.
    is_limited(&serve, "a complaint", start, 500);
    bounded(serve.process());
    honest_session(&home, serve.address());
}

#[test]
fn child_writing_garbage_to_stdout_is_served_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    // Lines that are no messages, and a hundred megabytes without any line end before them.
    let script = "head -c 100000000 /dev/zero\necho\nwhile :; do echo garbage; done &\nexec cat";
    let (home, mut serve) = serving(script, "max_message_size = \"1MiB\"");
    let mut client = Connect::start(&home, "scripted", serve.address());
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    client.send(notification);
    assert_eq!(client.receive(), notification.as_bytes());
    serve.refused_message(0, "message_too_large");
    serve.refused_message(0, "message_malformed");
    serve.log().wait_for(&["WARN", "scripted", "refusals", "suppressed"]);
    for _ in 0..100 {
        client.send(notification);
        assert_eq!(client.receive(), notification.as_bytes());
    }
    is_limited(&serve, "message_malformed", start, 20);
    bounded(serve.process());
}

/// Whoever waits for it is told, wherever in it the id stands.
#[test]
fn child_answering_too_much_is_answered_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = "head -c 3000000 /dev/zero | tr '\\0' y";
    let script = format!(
        r#"read -r line
printf '{{"jsonrpc":"2.0","id":1,"result":{{"x":"'; {text}; echo '"}}}}'
read -r line
printf '{{"result":{{"x":"'; {text}; echo '"}},"jsonrpc":"2.0","id":2}}'
exec cat"#
    );
    let (home, serve) = serving(&script, "max_message_size = \"1MiB\"");
    let mut client = Connect::start(&home, "scripted", serve.address());
    for _ in 0..2 {
        let answer = client.request("tools/call", &json!({}));
        assert_eq!(answer["error"]["data"]["sealwire"], "message_too_large", "{answer}");
    }
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    client.send(notification);
    assert_eq!(client.receive(), notification.as_bytes());
}

/// SIGTERM under load: what is in flight is answered, what comes later waits for the next.
#[test]
fn serve_stopped_under_load_loses_no_answer() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (home, mut serve) = serving(SLOW, "");
    let mut command = home.connect_command("scripted", serve.address(), "");
    command.args(["--log-level", "info"]);
    let mut client = Connect::spawn(command);
    let mut waiting: Vec<_> =
        (0..64).map(|_| client.send_request("tools/call", &json!({"name": "x"}))).collect();
    let got = || fs::read_to_string(home.file("got")).unwrap_or_default();
    wait_until("all are in flight", || got().lines().count() == waiting.len());
    serve.process().terminate();
    client.log().wait_for(&["shutting down"]);
    let later = client.send_request("tools/call", &json!({"name": "x"}));
    home.write("go", "");
    while !waiting.is_empty() {
        let answer = client.receive_json();
        assert_eq!(answer["result"], json!({}), "{answer}");
        waiting.retain(|id| answer["id"] != json!(id));
    }
    assert_eq!(serve.process().wait().code(), Some(0));
    let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    let address = serve.address().to_string();
    home.write("sealwire.toml", config.replacen("127.0.0.1:0", &address, 1));
    let _next = Serve::start(&home);
    let answer = client.receive_json();
    assert_eq!((&answer["id"], &answer["result"]), (&json!(later), &json!({})), "{answer}");
}

/// Takes 64 requests, answers them once the file `go` is there, and from then on each at once.
const SLOW: &str = r#"
answer() { id=${1#*'"id":'}; echo '{"jsonrpc":"2.0","id":'"${id%%,*}"',"result":{}}'; }
if [ ! -e go ]; then
    for number in $(seq 64); do read -r line; echo "$line" >>got; done
    until [ -e go ]; do sleep 0.02; done
    while read -r line; do answer "$line"; done <got
fi
while read -r line; do answer "$line"; done"#;

#[test]
fn child_that_ends_ends_its_own_conversation_only() {
    let (home, serve) = serving("read -r line\nexit 0", "");
    let mut other = Connect::start(&home, "echo", serve.address());
    other.initialize();
    let mut client = Connect::start(&home, "scripted", serve.address());
    let id = client.send_request("tools/call", &json!({"name": "x"}));
    let answer = client.receive_json();
    assert_eq!((&answer["id"], word(&answer)), (&json!(id), "server_ended"), "{answer}");
    // It has ended well, and is not started again behind the client's back.
    assert_eq!(client.process().wait().code(), Some(0));
    call_echo(&mut other, "undisturbed");
}
