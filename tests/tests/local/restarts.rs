//! A `serve` that ends and begins, and local servers that are used meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sealwire_testkit::{Disk, Process, server_table};

use super::*;

/// A home with the local server `echo`, and `far`, which is served: that answers no call before
/// the file `go` is there.
fn home_with_a_slow_server() -> Home {
    let home = Home::initialized();
    let script =
        home.script("server.sh", "read request\ntouch got\nuntil [ -e go ]; do sleep 0.02; done");
    let far = server_table("far", "sh", &[script.to_str().unwrap()]);
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"10m\"\n";
    let local = local("default_level = 1");
    home.configure(&format!("{listen}{local}\n{far}cwd = \".\"\n"));
    home.run(&["cert", "issue", "--all"]).ok();
    home
}

#[test]
fn a_conversation_outlives_a_restart_of_serve_however_long_that_drains() {
    let home = home_with_a_slow_server();
    let mut first = Serve::start(&home);
    let mut far = Connect::start(&home, "far", first.address());
    far.send_request("tools/call", &echo_params("slow"));
    wait_until("the call has reached the child", || home.file("got").exists());

    let (count, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut client = connect(&home);
            client.initialize();
            while !is_over.load(Ordering::Relaxed) {
                call_echo(&mut client, "x");
                count.fetch_add(1, Ordering::Relaxed);
            }
            assert!(client.finish().0.success());
        });
        let more = |when: &str| {
            let wanted = count.load(Ordering::Relaxed) + 3;
            wait_until(format_args!("calls are answered {when}"), || {
                busy.is_finished() || count.load(Ordering::Relaxed) >= wanted
            });
            assert!(!busy.is_finished(), "{when}");
        };
        more("while the first one serves");
        first.process().terminate();
        first.log().wait_for(&["drain"]);
        more("while it drains");
        let told: Value =
            serde_json::from_str(&home.run(&["status", "--json"]).ok().stdout).unwrap();
        assert_eq!(told["process"], json!(first.process().id()), "{told}");
        let mut command = home.sealwire();
        command.arg("serve");
        let mut second = Process::spawn(command);
        second.log().wait_for(&["drains"]);
        more("while another one waits for its end");
        home.write("go", "");
        assert!(first.process().wait().success());
        second.log().wait_for(&["listening"]);
        more("after that has taken its place");
        second.terminate();
        assert!(second.wait().success());
        more("after that has ended");
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(calls(&home), count.into_inner());
}

/// What its operator has stopped, stays so, whatever waits for it.
#[test]
fn a_serve_that_is_stopped_is_not_let_go_on() {
    let far = echo_table().replace("echo]", "far]");
    let home = Home::with_config(&format!("{}\n{far}", local("default_level = 1")));
    let mut serve = Serve::start(&home);
    // It has the log, and nobody reaches it: as it is while one begins, and while one ends.
    fs::remove_file(home.file("run/control.sock")).unwrap();
    serve.process().pause();
    let mut command = home.sealwire();
    command.args(["connect", "echo"]);
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": echo_params("x")});
    let output = run(command, format!("{call}\n").as_bytes());
    assert!(output.code == Some(1) && !output.stdout.contains("\"result\""), "{output}");
    let process = serve.process().id();
    assert!(output.stderr.contains(&format!("process {process} writes this log")), "{output}");
    assert!(serve.process().is_paused(), "{output}");
    serve.process().resume();
    assert!(serve.stop().success());
}

/// For a moment: whoever needs the room makes it.
#[test]
fn a_disk_that_is_full_for_a_moment_ends_no_conversation() {
    for has_serve in [false, true] {
        let far = echo_table().replace("echo]", "far]");
        let home = Home::with_config(&format!("{}\n{far}", local("default_level = 1")));
        let log = home.file("audit");
        let Some(disk) = Disk::mount(&log, "size=1m,mode=700") else { return };
        let serve = has_serve.then(|| Serve::start(&home));
        let mut command = home.sealwire();
        command.args(["--log-level", "info", "connect", "echo"]);
        let mut client = Connect::spawn(command);
        client.initialize();
        call_echo(&mut client, "before");
        // All but what is left of the last block of a file.
        fs::write(log.join("ballast"), vec![0; 1 << 20]).unwrap_err();
        let mut calls_made = 1;
        let told = match &serve {
            Some(serve) => serve.log().clone(),
            None => client.log().clone(),
        };
        thread::scope(|scope| {
            let room = scope.spawn(|| {
                told.wait_for(&["audit log cannot be written"]);
                disk.change("size=64m");
                told.wait_for(&["audit log can be written again"]);
            });
            while !room.is_finished() {
                call_echo(&mut client, "meanwhile");
                calls_made += 1;
            }
        });
        assert!(client.finish().0.success());
        drop(serve);
        assert_eq!(calls(&home), calls_made);
    }
}
