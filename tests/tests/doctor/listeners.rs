//! The addresses that are listened on.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use sealwire_testkit::openssl::Leaf;
use sealwire_testkit::{Connect, Home, Serve, wait_until};
use sealwire_tests::{ECHO, echo_table, serving_echo};

use super::{Examination, doctor, doctor_with};

/// Examines a home that is to serve `echo` and more at an address.
#[track_caller]
fn at(home: &Home, address: &str, more: &str, args: &[&str]) -> Examination {
    let text = format!("[listen]\naddress = \"{address}\"\n\n{}{more}", echo_table());
    let config = home.write("same.toml", text);
    doctor_with(home, &["--config", config.to_str().unwrap()], args)
}

#[test]
fn another_program_has_the_address() {
    let home = Home::with_config(&echo_table());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let examination = at(&home, &address.to_string(), "", &["--timeout", "1s"]);
    let port = address.port().to_string();
    examination.one("error", "address_in_use", &["ss -ltnp", &port, "another port"]);
    at(&home, &address.to_string(), "", &["--offline"]).content();
}

#[test]
fn our_own_serve_has_the_address() {
    let (home, serve) = serving_echo("");
    let examination = at(&home, &serve.address().to_string(), "", &[]);
    examination.content();
    examination.passed(&["a serve runs there", ECHO]);
    let lines = serve.log().lines();
    assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:#?}");
}

#[test]
fn our_own_serve_has_another_configuration() {
    let (home, serve) = serving_echo("");
    let address = serve.address().to_string();
    let more = echo_table().replace("servers.echo", "servers.more");
    let config = home.write("both.toml", format!("{}{more}", echo_table()));
    let config = config.to_str().unwrap();
    home.run(&["--config", config, "cert", "issue", "--all"]).ok();
    let examination = at(&home, &address, &more, &[]);
    let found = examination.one("warning", "serve_outdated", &["restart", "serve"]);
    assert_eq!(found["server"], "more");

    // The same name, and another certificate than the one in the file.
    let other = home.authority().issue(&Leaf::server(ECHO));
    let pair =
        format!("tls_cert = \"{}\"\ntls_key = \"{}\"\n", other.cert.display(), other.key.display());
    let examination = at(&home, &address, &pair, &[]);
    let found: Vec<_> = examination.grave().iter().map(|f| f["id"].clone()).collect();
    // That of the foreign tool lives for 30 days.
    assert_eq!(found, ["certificate_expires_soon", "serve_outdated"], "{}", examination.output);
}

#[test]
fn our_own_serve_has_little_room_for_its_log() {
    let (home, serve) = serving_echo("[audit]\nmax_total_size = \"1MiB\"\n");
    let address = serve.address().to_string();
    at(&home, &address, "", &[]).passed(&["room for the audit log", "audit"]);
    let is_nearly_full = || {
        let status = home.run(&["status", "--json"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["audit"]["nearly_full"] == true
    };
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    // The id of a call is in its entry.
    let pad = "x".repeat(400);
    let mut is_allowed = |id: String| {
        let params = serde_json::json!({"name": "echo", "arguments": {"text": "x"}});
        let id = format!("{id}{pad}");
        let call = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        client.send(call.to_string());
        client.receive_json()["result"].is_object()
    };
    for round in 0..100 {
        if is_nearly_full() {
            break;
        }
        assert!((0..50).all(|number| is_allowed(format!("{round}.{number}"))));
    }
    let examination = at(&home, &address, "", &[]);
    let found = examination.one("warning", "audit_nearly_full", &["max_total_size"]);
    assert!(found["what"].as_str().unwrap().contains(" of 1048576: "), "{found:#}");
    assert!(found["where"].as_str().unwrap().ends_with("audit"), "{found:#}");

    assert!(
        !(0..5_000).all(|number| is_allowed(number.to_string())),
        "there is room for all of it"
    );
    let examination = at(&home, &address, "", &[]);
    let found = examination.grave();
    let unwritable = found.iter().find(|found| found["id"] == "audit_unwritable").unwrap();
    assert!(unwritable["what"].as_str().unwrap().contains("max_total_size"), "{found:#?}");
}

#[test]
fn another_program_has_the_address_of_admin_and_says_nothing() {
    let home = Home::initialized();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    home.configure(&format!("[admin]\naddress = \"{address}\"\n"));
    let found = doctor(&home, &["--timeout", "1s"]);
    let found = found.one("error", "address_in_use", &["ss -ltnp"]);
    assert!(found["what"].as_str().unwrap().contains("no answer within 1s"), "{found:#}");
}

/// Nothing of what it would tell is known then. As long as `--timeout` says is waited for it.
#[test]
fn our_own_serve_does_not_answer() {
    let home = Home::initialized();
    std::fs::create_dir_all(home.file("run")).unwrap();
    home.chmod("run", 0o700);
    let socket = UnixListener::bind(home.file("run/control.sock")).unwrap();
    let silent = ["no answer within 1s", "control.sock"];
    let found = doctor(&home, &["--timeout", "1s"]);
    let found = found.one("warning", "serve_silent", &["its log", "--timeout", "restart"]);
    for part in silent {
        assert!(found.to_string().contains(part), "{found:#}");
    }

    // It ends as it is asked.
    thread::spawn(move || socket.incoming().for_each(drop));
    let found = doctor(&home, &[]);
    let found = found.one("warning", "serve_silent", &["its log"]);
    assert!(!found.to_string().contains(silent[0]), "{found:#}");
    doctor(&home, &["--offline"]).content();
}

#[test]
fn an_address_of_another_machine() {
    let home = Home::with_config(&echo_table());
    // Set aside for documentation (RFC 5737): no machine has it.
    let examination = at(&home, "192.0.2.1:7443", "", &[]);
    examination.one("error", "address_unavailable", &["192.0.2.1:7443", "address of this machine"]);
}

#[test]
fn two_listeners_that_exclude_each_other() {
    let more = echo_table().replace("servers.echo", "servers.more");
    let home = Home::with_config(&format!("{}{more}", echo_table()));
    let more = format!("{more}bind_address = \"127.0.0.1:7999\"\n");
    let examination = at(&home, "0.0.0.0:7999", &more, &["--offline"]);
    examination.one("error", "address_overlap", &["another port", "bind_address"]);
    let admin = "[admin]\naddress = \"127.0.0.1:7999\"\n";
    let examination = at(&home, "0.0.0.0:7999", admin, &["--offline"]);
    examination.one("error", "address_overlap", &["0.0.0.0:7999", "another port"]);
}

/// One server that fails in a running `serve` does not hide another.
#[test]
fn two_servers_of_our_own_serve_end_at_once() {
    let tables = "[mcp_servers.a]\ncommand = \"false\"\n[mcp_servers.b]\ncommand = \"false\"\n";
    let home = Home::with_config(tables);
    let serve = Serve::start(&home);
    let listen = format!("[listen]\naddress = \"{}\"\n", serve.address());
    let config = home.write("same.toml", format!("{listen}{tables}"));
    let examination = doctor_with(&home, &["--config", config.to_str().unwrap()], &[]);
    let of_serve = examination.findings().filter(|found| found["id"] == "serve_outdated");
    let servers: Vec<_> = of_serve.map(|found| found["server"].clone()).collect();
    assert_eq!(servers, ["a", "b"], "{}", examination.output);
}

/// `serve` and the doctor agree on what can be served.
#[test]
fn what_is_in_order_can_be_served() {
    let home = Home::with_config(&echo_table());
    doctor(&home, &[]).content();
    let serve = Serve::start(&home);
    assert!(serve.stop().success());
}

/// Where health is told, `serve` says itself whether it is ready.
#[test]
fn the_address_of_admin() {
    let home = Home::with_config(&echo_table());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _gone = stream.write_all(b"SSH-2.0-x\r\n");
        }
    });
    home.configure(&format!("{}\n[admin]\naddress = \"{taken}\"\n", echo_table()));
    let port = taken.port().to_string();
    doctor(&home, &[]).one("error", "address_in_use", &["ss -ltnp", &port]);

    home.configure(&format!("{}\n[admin]\naddress = \"127.0.0.1:0\"\n", echo_table()));
    let serve = Serve::start(&home);
    let line = serve.log().wait_for(&["health", "address="]);
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let config = format!("{}\n[admin]\naddress = \"{address}\"\n", echo_table());
    home.write("admin.toml", format!("[listen]\naddress = \"127.0.0.1:0\"\n\n{config}"));
    let config = home.file("admin.toml");
    let examination = doctor_with(&home, &["--config", config.to_str().unwrap()], &[]);
    examination.content().passed(&["is ready", address]);

    // Ready it is still, and by other files than are there.
    let mark = serve.log().mark();
    home.write("sealwire.toml", "[listne]\n");
    serve.log().wait_after(mark, &["reload refused"]);
    let mut examination = examination;
    wait_until("the refusal is told", || {
        examination = doctor_with(&home, &["--config", config.to_str().unwrap()], &[]);
        !examination.grave().is_empty()
    });
    examination.one("warning", "serve_outdated", &[address, "put right"]);
    examination.passed(&["is ready", address]);
}
