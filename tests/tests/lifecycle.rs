//! Starting, ending, and everything in between that an operator or a client's user sees.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use sealwire_testkit::openssl::s_client;
use sealwire_testkit::{ChaosProxy, Connect, GUARD, Home, Serve, run, server_table, wait_until};
use sealwire_tests::{call_echo, echo_params, echo_table, honest_session, serving_echo};
use serde_json::{Value, json};

/// A home whose server `scripted` is this shell script, run in the home.
fn scripted(script: &str) -> Home {
    scripted_with(script, "")
}

/// The same, with more keys of the server's table and more tables.
fn scripted_with(script: &str, extra: &str) -> Home {
    let home = Home::initialized();
    let script = home.script("server.sh", script);
    let table = server_table("scripted", "sh", &[script.to_str().unwrap()]);
    home.configure(&format!("{table}cwd = \".\"\n{extra}"));
    home.run(&["cert", "issue", "--all"]).ok();
    home
}

fn is_alive(pid: &str) -> bool {
    // A zombie has ended; its parent just has not looked yet.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

fn pids(home: &Home, file: &str) -> Vec<String> {
    let text = fs::read_to_string(home.file(file)).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn sigterm_lets_a_call_in_flight_finish() {
    // Answers the first request, whose id is 1, once the file `go` exists.
    let home = scripted(
        "read request\ntouch got\nuntil [ -e go ]; do sleep 0.02; done\n\
         echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"slow\":true}}'\ncat >/dev/null",
    );
    let mut serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    let id = client.send_request("tools/call", &json!({"name": "slow"}));
    wait_until("the call has reached the child", || home.file("got").exists());
    let mark = serve.log().mark();
    serve.process().terminate();
    serve.log().wait_after(mark, &["drain"]);
    home.write("go", "");
    assert_eq!(
        client.receive_json(),
        json!({"jsonrpc": "2.0", "id": id, "result": {"slow": true}})
    );
    assert_eq!(serve.process().wait().code(), Some(0));
}

#[test]
fn a_call_that_outlasts_the_drain_gets_an_error() {
    let listen = "\n[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"100ms\"\n";
    let home = scripted_with("read request\ntouch got\nexec sleep 1000", listen);
    let mut serve = Serve::start(&home);
    let patience = "[listen]\nreconnect_timeout = \"1s\"";
    let mut client = Connect::spawn(home.connect_command("scripted", serve.address(), patience));
    let id = client.send_request("tools/call", &json!({"name": "endless"}));
    wait_until("the call has reached the child", || home.file("got").exists());
    serve.process().terminate();
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(serve.process().wait().code(), Some(0));
}

#[test]
fn an_idle_server_ends_at_once_on_either_signal() {
    let (home, serve) = serving_echo("");
    honest_session(&home, serve.address());
    assert_eq!(serve.stop().code(), Some(0));

    let mut serve = Serve::start(&home);
    let _idle = Connect::start(&home, "echo", serve.address()).initialize();
    serve.process().interrupt();
    assert_eq!(serve.process().wait().code(), Some(0));
}

/// While it drains, a server takes nothing new.
#[test]
fn a_draining_server_takes_no_new_client() {
    let home = scripted("read request\ntouch got\nuntil [ -e go ]; do sleep 0.02; done");
    let mut serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send_request("tools/call", &json!({}));
    wait_until("the call has reached the child", || home.file("got").exists());
    serve.process().terminate();
    serve.log().wait_for(&["drain"]);
    // Either nobody listens any more or the listener turns us away; no child starts.
    fs::remove_file(home.file("got")).unwrap();
    let patience = "[listen]\nreconnect_timeout = \"200ms\"";
    let mut late = Connect::spawn(home.connect_command("scripted", serve.address(), patience));
    late.send_request("tools/call", &json!({}));
    assert_eq!(late.process().wait().code(), Some(1));
    assert!(!home.file("got").exists(), "a draining server has started a child");
    home.write("go", "");
    assert_eq!(serve.process().wait().code(), Some(0));
}

/// `printf … | sealwire connect NAME` prints every answer before it ends.
#[test]
fn the_end_of_input_waits_for_the_answers() {
    let (home, serve) = serving_echo("");
    let requests: Vec<_> = (1..=500)
        .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": echo_params("x")}))
        .collect();
    let input: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let output = home.connect_once("echo", serve.address(), input.as_bytes()).ok();
    let ids: Vec<_> = output.stdout.lines().map(|line| parsed(line)["id"].clone()).collect();
    assert_eq!(ids, (1..=500).map(Value::from).collect::<Vec<_>>());

    // A last line without its newline is a line.
    let output = home.connect_once("echo", serve.address(), input.trim_end().as_bytes()).ok();
    assert_eq!(output.stdout.lines().count(), 500);
    // No input, no output.
    assert_eq!(home.connect_once("echo", serve.address(), b"").ok().stdout, "");
}

/// A call under way when the input ends has as long as in a drain, which is longer than an
/// idle server has to end.
#[test]
fn the_end_of_input_does_not_cut_a_call_short() {
    let home = scripted(
        "read -r call\nsleep 4\necho '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"late\":true}}'",
    );
    let serve = Serve::start(&home);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}).to_string();
    let output = home.connect_once("scripted", serve.address(), call.as_bytes()).ok();
    assert_eq!(parsed(output.stdout.trim())["result"], json!({"late": true}), "{output}");
}

/// There may be more answers than the link holds at a time.
#[test]
fn the_end_of_input_waits_for_large_answers() {
    let (home, serve) = serving_echo("");
    let request = |id| {
        let params = json!({"name": "big", "arguments": {"bytes": 1_000_000}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    let input: String = (1..=24).map(|id| format!("{}\n", request(id))).collect();
    let output = home.connect_once("echo", serve.address(), input.as_bytes()).ok();
    let answers: Vec<_> = output.stdout.lines().map(parsed).collect();
    assert_eq!(answers.len(), 24);
    assert!(answers.iter().all(|answer| answer.get("error").is_none()));
}

/// Some take their time to end when their input does. They are ended, and that is no
/// failure of theirs.
#[test]
fn a_server_that_is_slow_to_end_has_not_failed() {
    let home = scripted(
        "read -r call\necho '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}'\nexec sleep 1000",
    );
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    assert_eq!(client.request("tools/list", &json!({}))["result"], json!({}));
    let (status, rest) = client.finish();
    assert!(status.success() && rest.is_empty(), "{status}, {rest:?}");
    assert!(!serve.log().lines().iter().any(|line| line.contains("the server failed")));
}

#[test]
fn sigterm_ends_connect() {
    let (home, serve) = serving_echo("");
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    client.process().terminate();
    let status = client.process().wait();
    assert_eq!(status.code(), Some(0), "ended by {status}");
}

/// Whatever the log level: a client reads nothing but MCP.
#[test]
fn standard_output_is_mcp_and_nothing_else() {
    let (home, serve) = serving_echo("");
    let mut command = home.sealwire();
    command.args(["--log-level", "trace", "connect", "--server-name", "echo", "--endpoint"]);
    command.arg(serve.address().to_string());
    command.arg("--ca").arg(home.file("certs/ca/ca-cert.pem"));
    command.arg("--cert").arg(home.file("certs/core/core-cert.pem"));
    command.arg("--key").arg(home.file("certs/core/core-key.pem"));
    let mut client = Connect::spawn(command);
    client.initialize();
    client.send("this is not JSON");
    assert!(client.receive_json()["error"].is_object());
    call_echo(&mut client, "x");
    client.log().wait_for(&["TRACE"]);
    let (status, rest) = client.finish();
    assert_eq!((status.code(), rest.len()), (Some(0), 0), "{rest:?}");
}

#[test]
fn the_log_goes_to_a_private_file_if_asked() {
    let (home, serve) = serving_echo("");
    let file = home.file("connect.log");
    let mut command = home.connect_command("echo", serve.address(), "");
    command.args(["--log-level", "debug", "--log-format", "json", "--log-file"]).arg(&file);
    let output = run(command, b"nonsense\n");
    assert_eq!(output.stderr, "", "{output}");
    let log = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = log.lines().map(parsed).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("message refused")), "{log}");
    let mode = fs::metadata(&file).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn needs_no_environment() {
    let (home, serve) = serving_echo("");
    let mut command = home.connect_command("echo", serve.address(), "");
    command.env_clear();
    let mut client = Connect::spawn(command);
    client.initialize();
    call_echo(&mut client, "no environment");
}

#[test]
fn a_crash_answers_every_request() {
    let home = scripted("read a\nread b\nread c\nexit 7");
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    let mut waiting: Vec<_> =
        (0..3).map(|_| client.send_request("tools/call", &json!({"name": "x"}))).collect();
    while !waiting.is_empty() {
        let answer = client.receive_json();
        assert!(answer["error"]["code"].is_i64(), "{answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
        waiting.retain(|id| answer["id"] != json!(id));
    }
    // Others are served on.
    assert!(serve.log().lines().iter().all(|line| !line.contains("panic")));
}

#[test]
fn a_child_that_cannot_start_is_an_error() {
    // A path can be checked at the start; what PATH holds may change at any time.
    let home = Home::with_config(&server_table("missing", "/no/such/program", &[]));
    let check = home.run(&["config", "check"]);
    assert_eq!(check.code, Some(78), "{check}");
    assert!(check.stderr.contains("/no/such/program"), "{check}");

    let home = Home::with_config(&server_table("missing", "no-such-program", &[]));
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "missing", serve.address());
    client.send_request("initialize", &json!({}));
    serve.refused(0, "server_start");
    assert_eq!(client.process().wait().code(), Some(1));
}

/// A helper that a server leaves behind, and that holds its output open, is not the server.
#[test]
fn a_crash_is_noticed_although_a_helper_lives_on() {
    let home = scripted("read -r request\nsleep 300 &\nexit 1");
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    let id = client.send_request("tools/call", &json!({}));
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["error"]["data"]["sealwire"], "server_ended", "{answer}");
    assert_eq!(client.process().wait().code(), Some(1));
}

/// A server that reads no more may still answer what it has read.
#[test]
fn an_answer_from_a_child_that_reads_no_more_arrives() {
    let home = scripted(
        "read -r request\nexec 0<&-\ntouch closed\nuntil [ -e go ]; do sleep 0.02; done\n\
         echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"late\":true}}'",
    );
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send_request("tools/call", &json!({}));
    wait_until("the child has closed its input", || home.file("closed").exists());
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/unread"}"#);
    serve.log().wait_for(&["takes no more input"]);
    home.write("go", "");
    assert_eq!(client.receive_json()["result"], json!({"late": true}));
}

#[test]
fn every_client_session_has_a_child_of_its_own() {
    let home = scripted("echo $$ >>pids\nexec cat");
    let serve = Serve::start(&home);
    let mut clients: Vec<_> =
        (0..3).map(|_| Connect::start(&home, "scripted", serve.address())).collect();
    for client in &mut clients {
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
        client.receive();
    }
    let children = pids(&home, "pids");
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|pid| is_alive(pid)));
    // A child ends with its session, and with no other.
    let (status, _) = clients.remove(0).finish();
    assert!(status.success());
    wait_until("one child has ended", || children.iter().filter(|pid| is_alive(pid)).count() == 2);
    drop(clients);
    assert_eq!(serve.stop().code(), Some(0));
    wait_until("all have", || !children.iter().any(|pid| is_alive(pid)));
}

/// What a child has started ends with it.
#[test]
fn a_child_ends_with_its_group() {
    let home = scripted("echo $$ >>pids\nsleep 1000 &\necho $! >>pids\ntrap '' TERM\ncat");
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    client.receive();
    let children = pids(&home, "pids");
    assert_eq!(children.len(), 2);
    assert_eq!(serve.stop().code(), Some(0));
    wait_until("the group has ended", || !children.iter().any(|pid| is_alive(pid)));
}

/// No shell takes the arguments apart, and the child sees the environment it is given,
/// not the secrets of the daemon's.
#[test]
fn a_child_gets_its_arguments_and_environment() {
    let home = Home::initialized();
    let script = home.script(
        "show.sh",
        "for argument in \"$@\"; do echo \"argument <$argument>\"; done >shown\n\
         env >>shown\npwd >>shown\nexec cat",
    );
    let odd = ["$(touch injected)", "two words", "", "*", "'\"\\", "é"];
    let args: Vec<_> = [script.to_str().unwrap()].into_iter().chain(odd).collect();
    home.configure(&format!(
        "[defaults]\nenv = {{ SHARED = \"all\", LEVEL = \"default\" }}\n\n{}cwd = \".\"\n\
         env = {{ LEVEL = \"own\" }}\n",
        server_table("shown", "sh", &args)
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let mut command = home.sealwire();
    command.arg("serve").env("SEALWIRE_TEST_SECRET", "hunter2");
    let serve = Serve::spawn(command);
    let mut client = Connect::start(&home, "shown", serve.address());
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    client.receive();
    let shown = fs::read_to_string(home.file("shown")).unwrap();
    for argument in odd {
        assert!(shown.contains(&format!("argument <{argument}>\n")), "{argument:?}: {shown}");
    }
    assert!(shown.contains("SHARED=all\n") && shown.contains("LEVEL=own\n"), "{shown}");
    assert!(shown.contains("PATH="), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let cwd = fs::canonicalize(home.path()).unwrap();
    assert!(shown.contains(&format!("\n{}\n", cwd.display())), "{shown}");
    assert!(!home.file("injected").exists());
}

#[test]
fn standard_error_of_a_child_is_in_the_log() {
    let home = scripted("echo 'the child complains' >&2\nexec cat");
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    client.receive();
    serve.log().wait_for(&["the child complains", "scripted"]);
}

/// Two servers on one listener, and a third on its own: each client gets the one it
/// names, wherever another would have been.
#[test]
fn servers_share_a_listener_or_have_their_own() {
    let home = Home::initialized();
    let announce = |name: &str| {
        let script = format!(
            "echo '{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/i-am-{name}\"}}'\nexec cat"
        );
        let script = home.script(&format!("{name}.sh"), &script);
        server_table(name, "sh", &[script.to_str().unwrap()])
    };
    home.configure(&format!(
        "{}\n{}\n{}bind_address = \"127.0.0.1:0\"\n\n{}server_name = \"wire-name\"\n",
        announce("one"),
        announce("two"),
        announce("three"),
        announce("four"),
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let shared = serve.address_of("one");
    let own = serve.address_of("three");
    assert_ne!(shared, own);
    for (name, address) in [("one", shared), ("two", shared), ("three", own)] {
        let client = Connect::start(&home, name, address);
        let method = client.receive_json()["method"].clone();
        assert_eq!(method, json!(format!("notifications/i-am-{name}")));
    }
    // The name on the wire need not be the name of the entry, on either side.
    let renamed = home.connect_command("mine", shared, "server_name = \"wire-name\"");
    assert_eq!(Connect::spawn(renamed).receive_json()["method"], "notifications/i-am-four");
    // What is not offered there is not found there.
    let mark = serve.log().mark();
    let mut lost = Connect::start(&home, "three", shared);
    serve.refused(mark, "unknown_server");
    assert_eq!(lost.process().wait().code(), Some(1));
}

#[test]
fn serve_can_be_limited_to_some_servers() {
    let home =
        Home::with_config(&format!("{}\n{}", echo_table(), server_table("other", "cat", &[])));
    let serve = Serve::start_with(&home, &[], &["echo"]);
    honest_session(&home, serve.address());
    let mark = serve.log().mark();
    let _other = Connect::start(&home, "other", serve.address());
    serve.refused(mark, "unknown_server");

    let output = home.run(&["serve", "ecco"]);
    assert!(matches!(output.code, Some(2 | 78)), "{output}");
    assert!(output.stderr.contains("ecco") && output.stderr.contains("echo"), "{output}");
}

#[test]
fn the_port_may_be_taken() {
    let (home, serve) = serving_echo("");
    let listen = format!("[listen]\naddress = \"{}\"\n{}", serve.address(), echo_table());
    let output = Home::with_config(&listen).run(&["serve"]);
    assert_eq!(output.code, Some(1), "{output}");
    for part in ["error:", &serve.address().to_string(), "to fix: stop what listens there"] {
        assert!(output.stderr.contains(part), "{part:?} missing: {output}");
    }
    honest_session(&home, serve.address());
}

fn limited(limits: &str) -> (Home, Serve) {
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{limits}\n[agent_security]\nagents = [\"Reviewer\"]\n\n{}",
        echo_table()
    );
    let home = Home::with_config(&config);
    let serve = Serve::start(&home);
    (home, serve)
}

#[test]
fn connections_are_limited_in_total() {
    let (home, serve) = limited("max_connections = 2");
    let mut first = Connect::start(&home, "echo", serve.address());
    first.initialize();
    let mut second = Connect::start(&home, "echo", serve.address());
    second.initialize();
    let mark = serve.log().mark();
    let third = TcpStream::connect(serve.address()).unwrap();
    serve.refused(mark, "connection_limit");
    is_closed(third);
    // Those who are in are not disturbed, and who leaves makes room.
    call_echo(&mut first, "first");
    call_echo(&mut second, "second");
    assert!(first.finish().0.success());
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    wait_until("there is room again", || {
        home.connect_once("echo", serve.address(), ping).stdout.contains("\"result\"")
    });
}

/// Whoever only holds connections open, without a certificate, keeps nobody out.
#[test]
fn strangers_make_room() {
    let (home, serve) = limited("max_connections = 8");
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    let mark = serve.log().mark();
    let strangers: Vec<_> = (0..20).map(|_| TcpStream::connect(serve.address()).unwrap()).collect();
    honest_session(&home, serve.address());
    call_echo(&mut client, "undisturbed");
    serve.refused(mark, "connection_limit");
    drop(strangers);
}

#[test]
fn connections_are_limited_per_peer() {
    let (home, serve) = limited("max_connections_per_peer = 1");
    let mut first = Connect::start(&home, "echo", serve.address());
    first.initialize();
    let mark = serve.log().mark();
    let _second = Connect::start(&home, "echo", serve.address());
    serve.refused(mark, "peer_limit");
    // Another peer has a limit of its own.
    let mut command = home.connect_command(
        "echo",
        serve.address(),
        "\n[agent_security]\nagents = [\"Reviewer\"]\n",
    );
    command.args(["--as", "Reviewer"]);
    let mut other = Connect::spawn(command);
    other.initialize();
    call_echo(&mut other, "other");
    call_echo(&mut first, "first");
}

#[test]
fn a_handshake_may_not_take_for_ever() {
    let (home, serve) = limited("handshake_timeout = \"200ms\"");
    let mark = serve.log().mark();
    let silent = TcpStream::connect(serve.address()).unwrap();
    serve.refused(mark, "handshake_timeout");
    is_closed(silent);

    // The handshake ends with the hello: TLS alone does not buy time.
    let mark = serve.log().mark();
    let quiet = s_client(serve.address(), "echo", Some(&home.core_pair()), &["-tls1_3"]);
    quiet.log().wait_for(&["CONNECTION ESTABLISHED"]);
    serve.refused(mark, "handshake_timeout");
    honest_session(&home, serve.address());
}

/// A session that says nothing for long is not cut: the link keeps itself alive.
#[test]
fn an_idle_session_stays() {
    let (home, serve) = limited("idle_timeout = \"1s\"");
    let proxy = ChaosProxy::start(serve.address());
    let extra = "[listen]\nidle_timeout = \"1s\"";
    let mut client = Connect::spawn(home.connect_command("echo", proxy.address(), extra));
    client.initialize();
    // What is waited for here is that nothing happens.
    thread::sleep(Duration::from_secs(4));
    call_echo(&mut client, "still here");
    assert_eq!(proxy.accepted(), 1, "the link was dialled again");
}

/// The first attempt tells the operator at once what is wrong.
#[test]
fn connect_says_that_nobody_listens() {
    let home = Home::initialized();
    // Port 1 of loopback: nobody listens there.
    let output = home.connect_once("echo", SocketAddr::from(([127, 0, 0, 1], 1)), b"");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output}");
    for part in ["error:", "127.0.0.1:1", "to fix:", "see: docs/doctor.md"] {
        assert!(output.stderr.contains(part), "{part:?} missing: {output}");
    }
}

/// `connect` may start before `serve` does: it keeps trying for `connect_timeout`.
#[test]
fn connect_waits_for_the_server() {
    let (home, serve) = serving_echo("");
    let address = serve.address();
    assert_eq!(serve.stop().code(), Some(0));
    // A slow machine takes its time.
    let patience = "[listen]\nconnect_timeout = \"60s\"";
    let mut client = Connect::spawn(home.connect_command("echo", address, patience));
    client.send_request("ping", &json!({}));
    client.log().wait_for(&["WARN", &address.to_string()]);
    home.configure(&format!("[listen]\naddress = \"{address}\"\n{}", echo_table()));
    let _serve = Serve::start(&home);
    assert_eq!(client.receive_json()["result"], json!({}));
}

/// A client whose server never appears is answered, not left to guess.
#[test]
fn what_could_not_be_sent_is_told() {
    let home = Home::initialized();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for patience in ["reconnect_timeout = \"300ms\"", "connect_timeout = \"300ms\""] {
        let patience = format!("[listen]\n{patience}");
        let mut client = Connect::spawn(home.connect_command("echo", nobody, &patience));
        is_told_why(&mut client, &nobody.to_string(), "refused");
    }
}

/// Of an address that takes connections and says nothing.
#[test]
fn a_silent_address_is_given_up_in_time() {
    let home = Home::initialized();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    // A single attempt would take longer than the test may.
    let patience = "[listen]\nconnect_timeout = \"300ms\"\nhandshake_timeout = \"1h\"";
    let mut client = Connect::spawn(home.connect_command("echo", address, patience));
    is_told_why(&mut client, &address.to_string(), "does not answer");
}

/// What its user reads: what, where, why, and what to do, in figures for people.
fn is_told_why(client: &mut Connect, address: &str, why: &str) {
    let id = client.send_request("initialize", &json!({}));
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert_eq!(answer["error"]["data"]["sealwire"], "not_sent", "{answer}");
    let text = answer["error"]["message"].as_str().unwrap();
    for part in ["sealwire: not sent", address, why, "within 300ms", "start `sealwire serve`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(client.process().wait().code(), Some(1));
    client.log().wait_for(&["no connection within 300ms"]);
}

/// The serving side's limit is unknown until it has greeted; a first message beyond it was
/// never sent, and is answered so.
#[test]
fn a_first_message_beyond_the_other_sides_limit_was_not_sent() {
    let (home, serve) = limited("max_message_size = \"64KiB\"");
    let mut client = Connect::start(&home, "echo", serve.address());
    let id = client.send_request("tools/call", &echo_params(&"x".repeat(100_000)));
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id));
    let word = answer["error"]["data"]["sealwire"].as_str();
    // By then the limit may be known: the message is refused for it.
    assert!(matches!(word, Some("not_sent" | "message_too_large")), "{answer}");
    honest_session(&home, serve.address());
}

/// A link that was up is dialled again for `reconnect_timeout`; then whoever waits is told.
#[test]
fn connect_gives_up_in_the_end() {
    let home = scripted("touch got\ncat >/dev/null");
    let serve = Serve::start(&home);
    let patience = "[listen]\nreconnect_timeout = \"300ms\"";
    let mut client = Connect::spawn(home.connect_command("scripted", serve.address(), patience));
    let id = client.send_request("tools/call", &json!({}));
    wait_until("the child runs", || home.file("got").exists());
    drop(serve);
    let answer = client.receive_json();
    assert_eq!(answer["id"], json!(id), "{answer}");
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(client.process().wait().code(), Some(1));
    client.log().wait_for(&["error:"]);
}

fn is_closed(mut stream: TcpStream) {
    stream.set_read_timeout(Some(GUARD)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn parsed(line: &str) -> Value {
    parsed_bytes(line.as_bytes())
}

fn parsed_bytes(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}
