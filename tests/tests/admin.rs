//! Health, told to this machine alone: who is answered, what, and what nobody can do there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sealwire_testkit::openssl::{Leaf, Validity};
use sealwire_testkit::{Connect, GUARD, Home, Serve, quoted, run, server_table, wait_until};
use sealwire_tests::{echo_table, honest_session};
use serde_json::{Value, json};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// `serve` with health checks, and their address.
fn serving() -> (Home, Serve, SocketAddr) {
    let home = Home::with_config(&format!("{ADMIN}\n{}", echo_table()));
    let serve = Serve::start(&home);
    let admin = admin_address(&serve);
    (home, serve, admin)
}

fn admin_address(serve: &Serve) -> SocketAddr {
    let line = serve.log().wait_for(&["answering health checks", "address="]);
    line.split_once("address=").unwrap().1.trim().parse().unwrap()
}

/// Sends `head`, with its lines ended as HTTP wants it, and reads until the other side
/// closes: the status, the header fields, the body.
fn exchange(address: SocketAddr, head: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(GUARD)).unwrap();
    let request = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
    // It may be refused before it has been read to its end.
    let _ = tcp.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length) = tcp.read(&mut chunk)
        && length > 0
    {
        answer.extend_from_slice(&chunk[..length]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, _, body) = exchange(address, &format!("GET {path} HTTP/1.1\nHost: {address}"));
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")))
}

#[test]
fn nothing_listens_unless_asked() {
    let home = Home::with_config(&echo_table());
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    assert!(!serve.log().lines().iter().any(|line| line.contains("health")));
    let health = home.run(&["health"]);
    assert_eq!(health.code, Some(78), "{health}");
    assert!(health.stderr.contains("[admin]") && health.stderr.contains("to fix:"), "{health}");
}

#[test]
fn only_loopback_is_accepted() {
    let home = Home::with_config(&echo_table());
    for address in ["0.0.0.0:0", "10.1.2.3:9443", "[::]:0", "[::ffff:10.1.2.3]:1"] {
        home.configure(&format!("[admin]\naddress = \"{address}\"\n{}", echo_table()));
        for command in ["serve", "config check"] {
            let output = home.run(&command.split(' ').collect::<Vec<_>>());
            assert_eq!(output.code, Some(78), "{output}");
            for part in ["[admin] address", "not a loopback address", "to fix:"] {
                assert!(output.stderr.contains(part), "{part:?} missing: {output}");
            }
        }
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    home.configure(&format!("[admin]\naddress = \"{address}\"\n{}", echo_table()));
    let output = home.run(&["serve"]);
    assert_eq!(output.code, Some(1), "{output}");
    for part in [&address.to_string(), "stop what listens there"] {
        assert!(output.stderr.contains(part), "{part:?} missing: {output}");
    }
}

#[test]
fn health_and_readiness_are_told() {
    let (home, _serve, admin) = serving();
    let (status, body) = get(admin, "/healthz");
    assert_eq!((status, &body["status"]), (200, &json!("alive")), "{body}");
    assert_eq!(body["log_lines_lost"], 0, "{body}");
    let (status, body) = get(admin, "/readyz");
    assert_eq!((status, body), (200, json!({"status": "ready", "problems": []})));

    let (status, head, body) = exchange(admin, &format!("HEAD /healthz HTTP/1.1\nHost: {admin}"));
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("cache-control: no-store") && head.contains("connection: close"));
    assert!(!head.contains("access-control"), "{head}");

    let address = admin.to_string();
    let health = home.run(&["health", "--address", &address]).ok();
    assert_eq!(health.stdout, "alive");
    let health = home.run(&["health", "--ready", "--json", "--address", &address]).ok();
    assert_eq!(serde_json::from_str::<Value>(&health.stdout).unwrap()["status"], "ready");
    // Of the configuration, if nobody says.
    home.configure(&format!("[admin]\naddress = \"{address}\"\n{}", echo_table()));
    assert_eq!(home.run(&["health", "--ready"]).ok().stdout, "ready");
}

#[test]
fn nobody_is_misled() {
    let (_home, _serve, admin) = serving();
    let port = admin.port();
    let status = |head: &str| exchange(admin, head).0;
    let host = format!("Host: {admin}");
    for good in [format!("localhost:{port}"), format!("127.0.0.2:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(status(&format!("GET /healthz HTTP/1.1\nHost: {good}")), 200, "{good}");
    }
    // DNS rebinding: the page's own name leads here by now.
    for bad in [
        "Host: evil.example".to_owned(),
        format!("Host: evil.example:{port}"),
        format!("Host: localhost.evil.example:{port}"),
        format!("Host: 127.0.0.1.nip.io:{port}"),
        "Host: localhost:1".to_owned(),
        format!("Host: 10.0.0.1:{port}"),
        "Host:".to_owned(),
        format!("{host}\n{host}"),
        "X-Forwarded-Host: localhost".to_owned(),
    ] {
        for path in ["/healthz", "/readyz", "/metrics", "/"] {
            let status = status(&format!("GET {path} HTTP/1.1\n{bad}"));
            assert!(matches!(status, 421 | 400), "{bad}: {status}");
        }
    }
    let absolute = format!("GET http://evil.example/healthz HTTP/1.1\n{host}");
    assert_eq!(status(&absolute), 421);
    assert_eq!(status("GET /healthz HTTP/1.0"), 421);
    // What a page sends, from wherever it is.
    for page in [
        "Origin: http://evil.example".to_owned(),
        "Origin: null".to_owned(),
        format!("Origin: http://localhost:{port}"),
        "Sec-Fetch-Site: cross-site".to_owned(),
        "Sec-Fetch-Site: same-site".to_owned(),
    ] {
        let (status, head, body) =
            exchange(admin, &format!("GET /readyz HTTP/1.1\n{host}\n{page}"));
        assert_eq!(status, 403, "{page}");
        assert!(!head.contains("access-control") && !body.contains("status"), "{head}\n{body}");
    }
    for path in ["/", "/healthz/", "/HEALTHZ", "//healthz", "/metrics/", "/../readyz", "*"] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\n{host}")), 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        let (status, head, _) = exchange(admin, &format!("{method} /healthz HTTP/1.1\n{host}"));
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head"), "{head}");
    }
    // Neither heads without end, nor a body that never comes.
    let long = format!("GET /healthz HTTP/1.1\n{host}\nX: {}", "x".repeat(100_000));
    assert_eq!(status(&long), 431);
    let many = format!("GET /healthz HTTP/1.1\n{host}\n{}", "X: x\n".repeat(500));
    assert_eq!(status(&many), 431);
    let promise = format!("GET /healthz HTTP/1.1\n{host}\nContent-Length: 1000000000");
    assert_eq!(status(&promise), 200);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\n{host}", "x".repeat(5000))), 404);
    assert_eq!(status("this is no HTTP"), 400);
    assert_eq!(status("PRI * HTTP/2.0"), 400);
}

/// Whoever holds connections open, and says nothing or little, keeps neither a probe out
/// nor a file descriptor.
#[test]
fn slow_clients_keep_nobody_out() {
    let (home, mut serve, admin) = serving();
    let pid = serve.process().child().id();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let before = open();
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut tcp = TcpStream::connect(admin).unwrap();
            tcp.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").unwrap();
            tcp
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(get(admin, "/healthz").0, 200);
    }
    honest_session(&home, serve.address());
    assert!(open() <= before + 40, "{} file descriptors, {before} before", open());
    // Whoever sends a byte now and then is cut as well.
    let mut newest = TcpStream::connect(admin).unwrap();
    wait_until("a slow client is cut", || {
        thread::sleep(Duration::from_millis(100));
        newest.write_all(b"x").is_err()
    });
    drop(slow);
    wait_until("all have been let go", || open() <= before + 2);
    assert_eq!(get(admin, "/healthz").0, 200);
}

/// At once when it is told to stop, although calls go on; and whoever holds a connection
/// does not keep it from ending.
#[test]
fn draining_is_not_ready() {
    let home = Home::initialized();
    let script = home.script(
        "server.sh",
        "read request\ntouch got\nuntil [ -e go ]; do sleep 0.02; done\n\
         echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}'\ncat >/dev/null",
    );
    let table = server_table("scripted", "sh", &[script.to_str().unwrap()]);
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"60s\"\n";
    home.configure(&format!("{listen}{table}cwd = \".\"\n{ADMIN}"));
    home.run(&["cert", "issue", "--all"]).ok();
    let mut serve = Serve::start(&home);
    let admin = admin_address(&serve);
    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send_request("tools/call", &json!({"name": "slow"}));
    wait_until("the call has reached the child", || home.file("got").exists());
    assert_eq!(get(admin, "/readyz").0, 200);

    let silent: Vec<_> = (0..5).map(|_| TcpStream::connect(admin).unwrap()).collect();
    let mark = serve.log().mark();
    serve.process().terminate();
    serve.log().wait_after(mark, &["draining"]);
    let (status, body) = get(admin, "/readyz");
    assert_eq!((status, &body["problems"][0]["code"]), (503, &json!("draining")), "{body}");
    assert_eq!(get(admin, "/healthz").0, 200);
    let health = home.run(&["health", "--ready", "--address", &admin.to_string()]);
    assert_eq!(health.code, Some(1), "{health}");
    assert!(health.stderr.contains("draining"), "{health}");
    home.write("go", "");
    assert_eq!(client.receive_json()["result"], json!({}));
    assert_eq!(serve.process().wait().code(), Some(0));
    drop(silent);
    let health = home.run(&["health", "--json", "--address", &admin.to_string()]);
    assert_eq!((health.code, health.stdout.as_str()), (Some(1), ""), "{health}");
}

#[test]
fn a_revoked_certificate_of_ours_sends_clients_away_until_there_is_another() {
    let (home, _serve, admin) = serving();
    assert_eq!(get(admin, "/readyz").0, 200);
    home.run(&["cert", "revoke", "echo"]).ok();
    let (status, body) = get(admin, "/readyz");
    assert_eq!(status, 503, "{body}");
    let problem = &body["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["server"]),
        (&"certificate_revoked".into(), &"echo".into())
    );
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    wait_until("the other one is taken up", || get(admin, "/readyz").0 == 200);
}

/// A certificate that expires while it is served.
#[test]
fn an_expired_certificate_is_not_ready() {
    let home = Home::with_config(&format!("{ADMIN}\n{}", echo_table()));
    let mut leaf = Leaf::server("spiffe://sealwire.internal/mcp-server/brief");
    leaf.validity = Validity::Seconds(15);
    let brief = home.authority().issue(&leaf);
    let cert = format!("tls_cert = {}\ntls_key = {}\n", quoted(&brief.cert), quoted(&brief.key));
    let table = server_table("brief", "cat", &[]);
    home.configure(&format!("{ADMIN}\n{}\n{table}{cert}", echo_table()));
    let serve = Serve::start(&home);
    let admin = admin_address(&serve);
    assert_eq!(get(admin, "/readyz").0, 200);
    let mut told = (0, Value::Null);
    wait_until("it has expired", || {
        told = get(admin, "/readyz");
        told.0 == 503
    });
    let (_, body) = told;
    assert_eq!(body["problems"].as_array().unwrap().len(), 1, "{body}");
    let problem = &body["problems"][0];
    assert_eq!(problem["code"], "certificate_expired", "{body}");
    assert_eq!(problem["server"], "brief", "{body}");
    assert!(problem["not_after"].is_string(), "{body}");
    assert_eq!(get(admin, "/healthz").0, 200);
}

/// The same for whoever is no sealwire.
#[test]
fn health_knows_a_stranger() {
    let home = Home::initialized();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let stranger = thread::spawn(move || {
        let escapes = r#"{"problems":[{"code":"x","what":"\u001b[2K\nerror: forged"}]}"#;
        let length = escapes.len();
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "SSH-2.0-x\r\n",
            &format!("HTTP/1.1 503 No\r\ncontent-length: {length}\r\n\r\n{escapes}"),
        ] {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = tcp.read(&mut request);
            tcp.write_all(answer.as_bytes()).unwrap();
        }
    });
    for _ in 0..3 {
        let mut command = home.sealwire();
        command.args(["health", "--address", &address.to_string()]);
        let output = run(command, b"");
        assert_eq!(output.code, Some(1), "{output}");
        assert!(output.stderr.contains("to fix:"), "{output}");
        // Anybody may listen there while no serve does: a terminal must not obey him.
        assert!(!output.stderr.contains('\u{1b}'), "{output}");
        assert!(!output.stderr.contains("\nerror:"), "{output}");
    }
    stranger.join().unwrap();
}
