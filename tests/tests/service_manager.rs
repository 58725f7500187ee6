//! What a service manager is told, with a socket as systemd has one.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;

use sealwire_testkit::{Connect, GUARD, Home, Process, Serve, server_table, wait_until};
use sealwire_tests::{echo_table, free_address};
use serde_json::json;

/// The receiving end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn at(home: &Home) -> Self {
        Self::new(UnixDatagram::bind(home.file("notify")).unwrap())
    }

    fn new(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(GUARD)).unwrap();
        Self(socket)
    }

    /// The next message: its assignments.
    fn receive(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a message in time");
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// The next message that is not for the watchdog.
    fn next(&self) -> Vec<String> {
        loop {
            let message = self.receive();
            if message != ["WATCHDOG=1"] {
                return message;
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        self.0.recv(&mut [0; 16]).is_err()
    }
}

fn holds(message: &[String], assignment: &str) -> bool {
    message.iter().any(|line| line == assignment)
}

#[test]
fn it_is_told_of_the_start_and_the_end() {
    let home = Home::initialized();
    let script = home.script(
        "server.sh",
        "env >environment\nread request\ntouch got\nuntil [ -e go ]; do sleep 0.02; done\n\
         echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}'\ncat >/dev/null",
    );
    let table = server_table("scripted", "sh", &[script.to_str().unwrap()]);
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"50s\"\n";
    home.configure(&format!("{listen}{table}cwd = \".\"\n"));
    home.run(&["cert", "issue", "--all"]).ok();
    let manager = Manager::at(&home);
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", home.file("notify"));
    let mut serve = Serve::spawn(command);
    let ready = manager.receive();
    assert!(holds(&ready, "READY=1"), "{ready:?}");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=Serving")), "{ready:?}");

    let mut client = Connect::start(&home, "scripted", serve.address());
    client.send_request("tools/call", &json!({}));
    wait_until("the call has reached the child", || home.file("got").exists());
    // A server that we start is not the service.
    let environment = std::fs::read_to_string(home.file("environment")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    serve.process().terminate();
    let stopping = manager.receive();
    assert!(holds(&stopping, "STOPPING=1"), "{stopping:?}");
    // It says how long the calls under way may take: longer than the drain's limit.
    assert!(holds(&stopping, "EXTEND_TIMEOUT_USEC=60000000"), "{stopping:?}");
    assert!(stopping.iter().any(|line| line.starts_with("STATUS=")), "{stopping:?}");
    home.write("go", "");
    assert_eq!(client.receive_json()["result"], json!({}));
    assert_eq!(serve.process().wait().code(), Some(0));
    assert!(manager.is_silent());
}

/// Ready means: whoever connects now is served.
#[test]
fn ready_comes_after_the_listeners() {
    let address = free_address();
    let listen = format!("[listen]\naddress = \"{address}\"\n");
    let home = Home::with_config(&format!("{listen}{}", echo_table()));
    let manager = Manager::at(&home);
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", home.file("notify")).stdin(Stdio::null());
    let _serve = Process::spawn(command);
    assert!(holds(&manager.receive(), "READY=1"));
    std::net::TcpStream::connect(address).expect("it listens when it says so");
}

#[test]
fn what_cannot_start_is_never_ready() {
    let home = Home::with_config(&echo_table());
    home.write("sealwire.toml", "[listen]\nadress = 1\n");
    let manager = Manager::at(&home);
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", home.file("notify")).stdin(Stdio::null());
    assert_eq!(Process::spawn(command).wait().code(), Some(78));
    assert!(manager.is_silent());
}

#[test]
fn the_watchdog_is_fed() {
    let home = Home::with_config(&echo_table());
    // A name that is in no file system, as some managers have it.
    let name = format!("sealwire-test-{}", std::process::id());
    let socket = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::new(UnixDatagram::bind_addr(&socket).unwrap());
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "200000");
    let serve = Serve::spawn(command);
    assert!(holds(&manager.next(), "READY=1"));
    for _ in 0..5 {
        assert_eq!(manager.receive(), ["WATCHDOG=1"]);
    }
    assert_eq!(serve.stop().code(), Some(0));
}

/// A socket that is not there is told, and is no reason not to serve.
#[test]
fn nobody_needs_to_listen() {
    let home = Home::with_config(&echo_table());
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", home.file("gone"));
    let serve = Serve::spawn(command);
    serve.log().wait_for(&["WARN", "cannot tell the service manager"]);
    assert_eq!(serve.stop().code(), Some(0));
}
