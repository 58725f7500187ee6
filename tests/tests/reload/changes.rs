use std::fs;
use std::os::unix::fs::symlink;

use sealwire_testkit::{Connect, Home};
use sealwire_tests::{call_echo, echo_params, echo_table, honest_session};

use super::{CERT, KEY, REFUSED, RELOADED, hang_up, issue, lines, serving, serving_echo, start};

fn table(name: &str) -> String {
    echo_table().replace("servers.echo", &format!("servers.{name}"))
}

/// One call in a session of its own.
fn reaches(home: &Home, server: &str, address: std::net::SocketAddr) -> bool {
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": echo_params("x"),
    });
    let output = home.connect_once(server, address, call.to_string().as_bytes());
    output.code == Some(0) && output.stdout.contains("result")
}

#[test]
fn a_server_added_is_reached_and_one_removed_is_not() {
    let (home, mut serve) = serving_echo();
    let address = serve.address();
    assert!(!reaches(&home, "more", address));
    let mark = serve.log().mark();
    home.configure(&format!("{}{}", echo_table(), table("more")));
    // The certificate comes after the configuration that names it.
    home.run(&["cert", "issue", "--all"]).ok();
    serve.log().wait_after(mark, &[RELOADED, "more: added"]);
    assert!(reaches(&home, "more", address));

    let mut there = Connect::start(&home, "echo", address);
    there.initialize();
    let mark = serve.log().mark();
    home.configure(&table("more"));
    hang_up(&mut serve);
    serve.log().wait_after(mark, &[RELOADED, "echo: removed"]);
    assert!(!reaches(&home, "echo", address));
    serve.refused(mark, "unknown_server");
    // Who is there may stay, for as long as the connection does.
    call_echo(&mut there, "still here");
    assert!(there.finish().0.success());
    assert!(reaches(&home, "more", address));
}

#[test]
fn included_files_come_and_go() {
    let include = "include = \"servers.d/*.toml\"\n";
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    let (home, serve) = serving(&format!("{include}{listen}{}", echo_table()));
    let mark = serve.log().mark();
    // The certificate first, so that the new file is all that is left to notice.
    home.write("other.toml", table("more"));
    let other = home.file("other.toml");
    home.run(&["--config", other.to_str().unwrap(), "cert", "issue", "--all"]).ok();
    fs::create_dir(home.file("servers.d")).unwrap();
    home.write("servers.d/more.toml", table("more"));
    serve.log().wait_after(mark, &[RELOADED, "more: added"]);
    assert!(reaches(&home, "more", serve.address()));
    fs::remove_file(home.file("servers.d/more.toml")).unwrap();
    serve.log().wait_after(mark, &[RELOADED, "more: removed"]);
}

#[test]
fn a_restriction_to_names_stays() {
    let home = Home::with_config(&format!("{}{}", echo_table(), table("more")));
    let mut serve = start(&home, &["echo"]);
    let mark = serve.log().mark();
    home.configure(&format!("{}{}args = [\"--verify-order\"]\n", echo_table(), {
        table("more").replace("args = []\n", "")
    }));
    hang_up(&mut serve);
    serve.log().wait_after(mark, &["nothing has changed"]);
    home.configure(&format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections = 9\n{}{}",
        echo_table(),
        table("more")
    ));
    serve.log().wait_after(mark, &[RELOADED, "max_connections 1024 -> 9"]);
    assert!(!reaches(&home, "more", serve.address()));
    honest_session(&home, serve.address());
    // Named on the command line, it must be there.
    home.configure(&table("more"));
    hang_up(&mut serve);
    serve.log().wait_after(mark, &[REFUSED, "echo"]);
    honest_session(&home, serve.address());
}

#[test]
fn a_listener_moves_and_a_server_gets_one_of_its_own() {
    let (home, serve) = serving_echo();
    let old = serve.address();
    let mut there = Connect::start(&home, "echo", old);
    there.initialize();
    let mark = serve.log().mark();
    home.configure(&format!("[listen]\naddress = \"127.0.0.2:0\"\n{}", echo_table()));
    serve.log().wait_after(mark, &[RELOADED, "address 127.0.0.1:0 -> 127.0.0.2:0"]);
    let line = serve.log().wait_after(mark, &["listening", "address=127.0.0.2:"]);
    let new = |line: &str| -> std::net::SocketAddr {
        let (_, rest) = line.split_once("address=").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    honest_session(&home, new(&line));
    assert!(std::net::TcpStream::connect(old).is_err(), "the old address is still open");
    call_echo(&mut there, "still here");

    let mark = serve.log().mark();
    let own = "bind_address = \"127.0.0.2:0\"\n";
    home.configure(&format!(
        "[listen]\naddress = \"127.0.0.2:0\"\n{}{own}{}",
        echo_table(),
        table("more")
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    serve.log().wait_after(mark, &[RELOADED, "echo: bind_address"]);
    let own = serve.log().wait_after(mark, &["listening", "servers=echo"]);
    assert_ne!(new(&own), new(&line), "the shared listener stays where it is");
    honest_session(&home, new(&own));
    assert!(reaches(&home, "more", new(&line)));
    assert!(!reaches(&home, "echo", new(&line)));
    call_echo(&mut there, "still here");
}

#[test]
fn limits_hold_from_then_on() {
    let (home, mut serve) = serving_echo();
    let limited = |most: usize| {
        home.configure(&format!(
            "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections_per_peer = {most}\n{}",
            echo_table()
        ));
    };
    let mut there = Connect::start(&home, "echo", serve.address());
    there.initialize();
    let mark = serve.log().mark();
    limited(1);
    hang_up(&mut serve);
    serve.log().wait_after(mark, &[RELOADED, "max_connections_per_peer 256 -> 1"]);
    assert!(!reaches(&home, "echo", serve.address()));
    serve.refused(mark, "peer_limit");
    limited(2);
    hang_up(&mut serve);
    serve.log().wait_after(mark, &[RELOADED, "max_connections_per_peer 1 -> 2"]);
    honest_session(&home, serve.address());
    call_echo(&mut there, "still here");
}

/// Another program is started for who comes; who is there keeps his own.
#[test]
fn a_command_changes_for_new_conversations() {
    let (home, serve) = serving_echo();
    let mut there = Connect::start(&home, "echo", serve.address());
    there.initialize();
    let mark = serve.log().mark();
    let record = home.file("record");
    let args = format!("args = [\"--record\", {}]", sealwire_testkit::quoted(&record));
    home.configure(&echo_table().replace("args = []", &args));
    serve.log().wait_after(mark, &[RELOADED, "echo: args"]);
    honest_session(&home, serve.address());
    let calls = fs::read_to_string(&record).unwrap();
    call_echo(&mut there, "still here");
    assert_eq!(fs::read_to_string(&record).unwrap(), calls, "it was moved to another process");
}

/// Kubernetes replaces all files of a mounted secret at once, by renaming the link that
/// leads to their directory.
#[test]
fn files_behind_links_that_are_swapped() {
    let (home, serve) = serving_echo();
    let version = |name: &str, cert: &[u8], key: &[u8]| {
        home.write(&format!("secret/{name}/tls.crt"), cert);
        home.write(&format!("secret/{name}/tls.key"), key);
        home.chmod(&format!("secret/{name}/tls.key"), 0o600);
        symlink(name, home.file("secret/..data_tmp")).unwrap();
        fs::rename(home.file("secret/..data_tmp"), home.file("secret/..data")).unwrap();
    };
    version("..1", &fs::read(home.file(CERT)).unwrap(), &fs::read(home.file(KEY)).unwrap());
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), home.file(&format!("secret/{file}"))).unwrap();
    }
    let mark = serve.log().mark();
    let files = "tls_cert = \"secret/tls.crt\"\ntls_key = \"secret/tls.key\"\n";
    home.configure(&format!("{}{files}", echo_table()));
    serve.log().wait_after(mark, &[RELOADED, "echo: tls_cert, tls_key"]);
    for name in ["..2", "..3"] {
        let mark = serve.log().mark();
        let pair = issue(&home.authority());
        version(name, &fs::read(&pair.cert).unwrap(), &fs::read(&pair.key).unwrap());
        serve.log().wait_after(mark, &[RELOADED, "echo: certificate"]);
        assert!(lines(&serve, mark, "ERROR").is_empty());
        honest_session(&home, serve.address());
    }
}

/// SIGHUP is also what a terminal says that is closed, and that means the end.
#[test]
fn a_closed_terminal_ends_serve() {
    let home = Home::with_config(&echo_table());
    let log = home.file("serve.log");
    let script = "import os, pty, sys\n\
        pid, terminal = pty.fork()\n\
        if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
        sys.stdin.readline()\n\
        os.close(terminal)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(sealwire_testkit::bin("sealwire"));
    command.arg("--home").arg(home.path()).arg("--log-file").arg(&log).arg("serve");
    command.stdin(std::process::Stdio::piped());
    let mut python = sealwire_testkit::Process::spawn(command);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    sealwire_testkit::wait_until("it listens", || said().contains("listening"));
    python.child().stdin = None;
    assert_eq!(python.wait().code(), Some(0), "{}", said());
    assert!(said().contains("stopped"), "{}", said());
}
