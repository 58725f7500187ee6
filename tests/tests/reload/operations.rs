//! What those are told who look after a `serve` that reloads.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

use sealwire_testkit::{GUARD, Home, Serve};
use sealwire_tests::{echo_table, honest_session};

use super::{CERT, REFUSED, RELOADED, hang_up, lines, replace, serving, truncated};

fn admin_table(address: &str) -> String {
    format!("[admin]\naddress = \"{address}\"\n{}", echo_table())
}

fn admin_address(line: &str) -> SocketAddr {
    line.split_once("address=").unwrap().1.trim().parse().unwrap()
}

fn readiness(home: &Home, address: SocketAddr) -> serde_json::Value {
    let address = address.to_string();
    let told = home.run(&["health", "--ready", "--json", "--address", &address]).ok();
    serde_json::from_str(&told.stdout).unwrap()
}

#[test]
fn readiness_tells_of_a_reload_that_was_refused() {
    let (home, mut serve) = serving(&admin_table("127.0.0.1:0"));
    let admin = admin_address(&serve.log().wait_for(&["answering health checks"]));
    let good = std::fs::read(home.file(CERT)).unwrap();
    let mark = serve.log().mark();
    replace(&home, CERT, truncated(&home, CERT));
    hang_up(&mut serve);
    serve.log().wait_after(mark, &[REFUSED]);
    // Clients are still served as before, so that it is ready.
    sealwire_testkit::wait_until("the refusal is told", || {
        let told = readiness(&home, admin);
        told["status"] == "ready"
            && told["reload_refused"]["reason"].as_str().is_some_and(|why| why.contains(CERT))
    });
    replace(&home, CERT, good);
    hang_up(&mut serve);
    serve.log().wait_after(mark, &["nothing has changed"]);
    sealwire_testkit::wait_until("it is over", || {
        readiness(&home, admin).get("reload_refused").is_none()
    });
}

#[test]
fn health_checks_move_to_another_address() {
    let (home, serve) = serving(&admin_table("127.0.0.1:0"));
    let old = admin_address(&serve.log().wait_for(&["answering health checks"]));
    let mark = serve.log().mark();
    home.configure(&admin_table("127.0.0.2:0"));
    serve.log().wait_after(mark, &[RELOADED, "[admin] address 127.0.0.1:0 -> 127.0.0.2:0"]);
    let line = serve.log().wait_after(mark, &["answering health checks", "127.0.0.2"]);
    assert_eq!(readiness(&home, admin_address(&line))["status"], "ready");
    sealwire_testkit::wait_until("the old address is given up", || {
        std::net::TcpStream::connect(old).is_err()
    });

    // One that is taken refuses everything.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap().to_string();
    let mark = serve.log().mark();
    let more = echo_table().replace("servers.echo", "servers.more");
    home.configure(&format!("{}{more}", admin_table(&held)));
    home.run(&["cert", "issue", "--all"]).ok();
    serve.log().wait_after(mark, &[REFUSED, &held, "[admin]"]);
    assert!(lines(&serve, mark, RELOADED).is_empty());
    assert_eq!(readiness(&home, admin_address(&line))["status"], "ready");

    let mark = serve.log().mark();
    home.configure(&echo_table());
    serve.log().wait_after(mark, &[RELOADED, "-> none"]);
    honest_session(&home, serve.address());
}

/// What a running process cannot change is not passed over in silence.
#[test]
fn what_needs_a_restart_is_named() {
    let (home, mut serve) = serving(&echo_table());
    let mark = serve.log().mark();
    home.configure(&format!("{}[log]\nlevel = \"error\"\nformat = \"json\"\n", echo_table()));
    hang_up(&mut serve);
    let line = serve.log().wait_after(mark, &["WARN", "only when serve is started anew"]);
    assert!(line.contains("[log] level, [log] format"), "{line}");
    serve.log().wait_after(mark, &["nothing has changed"]);
}

/// As systemd has it with `Type=notify-reload`: a reload begins and ends, however it ends.
#[test]
fn the_service_manager_is_told_of_each_reload() {
    let home = Home::with_config(&echo_table());
    let manager = UnixDatagram::bind(home.file("notify")).unwrap();
    manager.set_read_timeout(Some(GUARD)).unwrap();
    let receive = || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect("a message in time");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut command = home.sealwire();
    command.arg("serve").env("NOTIFY_SOCKET", home.file("notify"));
    let mut serve = Serve::spawn(command);
    assert!(receive().starts_with("READY=1"));
    for (config, status) in [
        ("", "STATUS=Serving\n"),
        ("[nonsense]\n", "STATUS=Serving; the last reload was refused\n"),
    ] {
        let text = std::fs::read_to_string(home.file("sealwire.toml")).unwrap();
        replace(&home, "sealwire.toml", format!("{text}{config}"));
        hang_up(&mut serve);
        // The change itself may be noticed before the signal.
        loop {
            let begun = receive();
            assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
            let ended = receive() + "\n";
            assert!(ended.starts_with("READY=1\n"), "{ended}");
            if ended.contains(status) {
                break;
            }
        }
    }
}
