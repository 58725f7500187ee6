//! The load client notices servers that lie, and programs that end.
#![forbid(unsafe_code)]

use sealwire_bench::process::Launch;
use sealwire_bench::session::Session;

const INITIALIZED: &str = r#"read line
echo '{"jsonrpc":"2.0","id":1000000000,"result":{"serverInfo":{"name":"sealwire-fake-server"}}}'
read line"#;

/// Starts a session with a shell script, and ends it.
fn session(script: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch::new("/bin/sh", directory.path().join("log")).args(["-c", script]);
    let (session, _) = Session::start(&launch).map_err(|error| error.to_string())?;
    session.finish().map_err(|error| error.to_string())
}

fn counting(count: &str, end: &str) -> Result<(), String> {
    let answer = r#"{"jsonrpc":"2.0","id":1000000001,"result":{"structuredContent":"#;
    session(&format!("{INITIALIZED}\nread line\necho '{answer}{count}}}}}'\ncat\n{end}"))
}

#[test]
fn executions_must_be_as_many_as_answers() {
    counting(r#"{"executed":0,"orderViolations":0}"#, "exit 0").unwrap();
    let error = counting(r#"{"executed":1,"orderViolations":0}"#, "exit 0").unwrap_err();
    assert!(error.starts_with("0 calls answered, but the server says"), "{error}");
    counting(r#"{"executed":0,"orderViolations":1}"#, "exit 0").unwrap_err();
}

#[test]
fn the_program_must_end_well_when_its_input_does() {
    let end = "echo went wrong >&2; exit 3";
    let error = counting(r#"{"executed":0,"orderViolations":0}"#, end).unwrap_err();
    assert!(error.contains("exit status: 3") && error.contains("went wrong"), "{error}");
}

#[test]
fn another_server_is_not_measured() {
    let error = session(&INITIALIZED.replace("sealwire-fake-server", "other")).unwrap_err();
    assert!(error.starts_with("unexpected answer to initialize"), "{error}");
}

#[test]
fn a_program_that_ends_early_is_an_error_with_its_last_words() {
    let error = session("read line; echo no such server >&2").unwrap_err();
    assert!(error.contains("end of output") && error.contains("no such server"), "{error}");
}
