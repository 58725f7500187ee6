//! Many come at once, or somebody has the state in his hands, and others are served all the same.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use sealwire_testkit::{Connect, Home, bin, run, wait_until};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

use super::renewal::joined_for_20_s;
use super::{invite, inviting};

/// Whoever else wants to write the state waits from now on.
fn writing(home: &Home) -> Connection {
    let db = Connection::open(home.file("state.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

/// The line is used up when a proof of it is accepted: so whoever has brought it hears the answer,
/// however many come meanwhile.
#[test]
fn a_crowd_does_not_burn_a_line() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let db = writing(&home);
    let laptop = Home::empty();
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let joining = thread::scope(|scope| {
        let joining = scope.spawn(|| laptop.run(&["join", &line]));
        // It waits for the state by then; if not, less is shown.
        thread::sleep(Duration::from_millis(500));
        let crowd: Vec<_> =
            (0..84).map(|number| connected(&runtime, ca.address, 2 + number / 28)).collect();
        // The last one has been accepted, and the place of the oldest given away.
        wait_until("somebody was put out", || crowd.iter().any(is_closed));
        db.execute_batch("COMMIT").unwrap();
        joining.join().unwrap()
    });
    joining.ok();
}

/// A connection from 127.0.0.`from`.
fn connected(runtime: &Runtime, address: SocketAddr, from: usize) -> TcpStream {
    let socket = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("127.0.0.{from}:0").parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap()
    });
    socket.into_std().unwrap()
}

fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.peek(&mut [0]) {
        Ok(0) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}

/// What strangers say is only looked up.
#[test]
fn who_has_no_invitation_does_not_wait_for_the_state() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let mut parts: Vec<_> = line.split('/').collect();
    let other = parts[2].chars().rev().collect::<String>();
    parts[2] = &other;
    let db = writing(&home);
    let output = Home::empty().run(&["join", &parts.join("/")]);
    assert!(output.stderr.contains("not known there"), "{output}");
    db.execute_batch("COMMIT").unwrap();
}

/// Where there is no room for a home, the line is not used up for it.
#[test]
fn a_full_disk_leaves_nothing_behind_and_the_line_good() {
    let (home, ca) = inviting();
    let line = invite(&home, ca.address, &["laptop"]);
    let other = Home::empty();
    let joining = |blocks: &str| {
        // Files can be no longer than that: as on a disk that is full.
        let script = "trap '' XFSZ; ulimit -f \"$1\"; exec \"$2\" --home \"$3\" join \"$4\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", blocks]).arg(bin("sealwire")).arg(other.path());
        run(
            {
                command.arg(&line);
                command
            },
            b"",
        )
    };
    for blocks in ["0", "8", "40"] {
        let output = joining(blocks);
        assert_eq!(output.code, Some(1), "{output}");
        let left = std::fs::read_dir(other.path()).unwrap().map(|it| it.unwrap().file_name());
        assert!(left.into_iter().all(|name| name == ".lock"), "{output}");
    }
    joining("10000").ok();
    other.run(&["config", "check"]).ok();
}

/// A service that takes its time keeps nobody from his work.
#[test]
fn a_home_is_not_locked_while_the_service_is_asked() {
    let (authority, ca) = inviting();
    let (client, _serve) = joined_for_20_s(&authority, &ca);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = std::fs::read_to_string(client.file("sealwire.toml")).unwrap();
    let silent_at = silent.local_addr().unwrap().to_string();
    client.write("sealwire.toml", config.replace(&ca.address.to_string(), &silent_at));
    let mut command = client.sealwire();
    command.args(["connect", "echo"]).stderr(Stdio::inherit());
    let connect = Connect::spawn(command);
    let (mut asking, _) = silent.accept().unwrap();
    client.run(&["init"]).ok();
    // It has waited for an answer all the time.
    asking.set_nonblocking(true).unwrap();
    let mut hello = [0; 4096];
    loop {
        match asking.read(&mut hello) {
            Ok(0) => panic!("it has given up"),
            Ok(_) => {}
            Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    drop(connect);
}
