//! Several that have the log in turn, and one of them stands still.

use std::fs::{self, File, OpenOptions};

use super::*;

/// The lock of a log that there is, opened.
fn lock(home: &Home) -> File {
    OpenOptions::new().write(true).open(home.file("audit/lock")).unwrap()
}

#[test]
fn one_that_is_stopped_while_it_has_the_log_does_not_keep_it_from_others() {
    let home = home(&local("default_level = 1"));
    let mut stopped = connect(&home);
    stopped.initialize();
    let lock = lock(&home);
    loop {
        call_echo(&mut stopped, "before");
        // It keeps the log for a moment, for what may follow.
        stopped.process().pause();
        if lock.try_lock().is_err() {
            break;
        }
        lock.unlock().unwrap();
        stopped.process().resume();
    }
    let mut other = connect(&home);
    other.initialize();
    call_echo(&mut other, "meanwhile");
    other.log().wait_for(&["WARN", "it was stopped while it had the audit log"]);
    assert!(other.finish().0.success());
    // Nothing was lost to the one that was stopped.
    call_echo(&mut stopped, "after");
    assert!(stopped.finish().0.success());
    assert!(calls(&home) >= 3);
}

#[test]
fn who_has_the_log_for_too_long_is_named() {
    let home = home(&local("default_level = 1"));
    let mut first = connect(&home);
    first.initialize();
    assert!(first.finish().0.success());
    let lock = lock(&home);
    lock.lock().unwrap();
    let us = std::process::id().to_string();
    fs::write(home.file("audit/lock"), &us).unwrap();
    let mut command = home.sealwire();
    command.args(["connect", "echo"]);
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": echo_params("x")});
    let output = run(command, format!("{call}\n").as_bytes());
    assert!(output.code == Some(1) && !output.stdout.contains("\"result\""), "{output}");
    assert!(output.stderr.contains(&format!("process {us} writes this log")), "{output}");
    assert!(output.stderr.contains(&format!("ps -p {us}")), "{output}");
    drop(lock);
    let mut again = connect(&home);
    again.initialize();
    call_echo(&mut again, "x");
}
