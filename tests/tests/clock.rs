//! The clock of the machine jumps: certificates are judged by it, and nothing else is.

use sealwire_testkit::{Connect, Home, Serve};
use sealwire_tests::{call_echo, echo_table, honest_session};

/// Where Debian's package `faketime` has its library.
const LIBRARY: &str = "libfaketimeMT.so.1";

fn library() -> String {
    let found = std::process::Command::new("sh")
        .args([
            "-c",
            "ls /usr/lib/*/faketime/\"$0\" /usr/lib/faketime/\"$0\" 2>/dev/null | head -1",
            LIBRARY,
        ])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    assert!(!path.is_empty(), "{LIBRARY} is missing; `scripts/test` installs it");
    path
}

#[test]
fn a_clock_that_jumps_ends_what_is_expired_by_it_and_nothing_else() {
    let home = Home::with_config(&echo_table());
    let clock = home.write("clock", "+0");
    let library = library();
    let faked = |mut command: std::process::Command| {
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        command
    };
    let mut command = home.sealwire();
    command.arg("serve");
    let serve = Serve::spawn(faked(command));
    let connect = || {
        let mut client = Connect::spawn(faked(home.connect_command("echo", serve.address(), "")));
        client.initialize();
        call_echo(&mut client, "before");
        client
    };
    for (jump, code) in [
        ("+200d", "certificate_expired"),
        ("-2d", "certificate_not_yet_valid"),
        ("+200d", "certificate_expired"),
    ] {
        let mut client = connect();
        home.write("clock", jump);
        let mark = serve.log().mark();
        let mut late = Connect::start(&home, "echo", serve.address());
        serve.refused(mark, code);
        assert_eq!(late.process().wait().code(), Some(1));
        if code == "certificate_expired" {
            // What was good once and is not any more, nobody is left by.
            client.log().wait_for(&[&format!("[{code}]")]);
            assert_eq!(client.process().wait().code(), Some(1));
        } else {
            call_echo(&mut client, jump);
        }
        home.write("clock", "+0");
        honest_session(&home, serve.address());
    }
}
